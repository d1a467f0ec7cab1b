# SPDX-License-Identifier: Apache-2.0
"""A real Swift, which is a real S3 too, for the session; in memory if there is enough."""

import os
import pathlib
import tempfile
from collections.abc import Iterator

import pytest

from devcloud import PORT_WIDTH, Cloud, configs, swift
from devcloud.identity import Identity
from devcloud.layout import CHECKOUT
from devcloud.ports import find_base
from tests.clouds import cleaned, own
from tests.databases import scratch


@pytest.fixture(scope="session")
def keystone() -> Iterator[Cloud]:
    """A Keystone, for what asks one; there is a Glance as well."""
    fresh = Cloud(
        name=own("test-keystone"),
        regions=1,
        base_port=find_base(PORT_WIDTH),
        hook=False,
        sync=False,
    )
    with cleaned(fresh):
        fresh.up()
        yield fresh


@pytest.fixture(scope="session")
def object_store(keystone: Cloud) -> Iterator[swift.Swift]:
    """A Swift, whose clients log in by ``keystone``, or by what it says itself for S3.

    Where its memcached is not installed, tests that need it are skipped; in CI they fail.
    """
    if said := swift.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)
    environment = swift.ensure(CHECKOUT / ".devcloud" / "venvs")
    login = configs.password_login(keystone.auth_url, "glance", keystone.password("glance"))
    with tempfile.TemporaryDirectory(prefix="glancesync-swift-", dir=scratch()) as directory:
        store = swift.Swift(pathlib.Path(directory), environment, login)
        try:
            store.up()
            account = {keystone.home: store.account("%(project_id)s")}
            admin = Identity(keystone.session(), keystone.auth_url)
            admin.ensure_endpoints("object-store", "swift", account)
            yield store
        finally:
            store.down()
