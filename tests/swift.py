# SPDX-License-Identifier: Apache-2.0
"""A real Swift, which is a real S3 too, for the session; in memory if there is enough."""

import os
import pathlib
import tempfile
from collections.abc import Iterator

import pytest

from devcloud import swift
from devcloud.layout import CHECKOUT
from tests.databases import scratch


@pytest.fixture(scope="session")
def object_store() -> Iterator[swift.Swift]:
    """A Swift. Where its memcached is not installed, tests that need it are skipped; in CI they
    fail.
    """
    if said := swift.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)
    environment = swift.ensure(CHECKOUT / ".devcloud" / "venvs")
    with tempfile.TemporaryDirectory(prefix="glancesync-swift-", dir=scratch()) as directory:
        store = swift.Swift(pathlib.Path(directory), environment)
        try:
            store.up()
            yield store
        finally:
            store.down()
