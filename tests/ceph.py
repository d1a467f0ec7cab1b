# SPDX-License-Identifier: Apache-2.0
"""Two real Ceph clusters, for the session: each of one node, in memory if there is enough."""

import os
import pathlib
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from devcloud import ceph
from tests.databases import scratch


@pytest.fixture(scope="session")
def clusters() -> Iterator[tuple[ceph.Cluster, ceph.Cluster]]:
    """Two clusters with a pool ``images`` and one called ``other``.

    Where Ceph is not installed, tests that need it are skipped; in CI they fail.
    """
    if absent := ceph.missing():
        said = f"Ceph is not installed: no {', '.join(absent)}"
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)
    with ExitStack() as closing:
        made = []
        for name in ("a", "b"):
            directory = closing.enter_context(
                tempfile.TemporaryDirectory(prefix=f"glancesync-ceph-{name}-", dir=scratch())
            )
            made.append(ceph.Cluster(pathlib.Path(directory), pools=("images", "other")))
            closing.callback(made[-1].down)
        with ThreadPoolExecutor() as pool:
            list(pool.map(ceph.Cluster.up, made))
        yield made[0], made[1]
