# SPDX-License-Identifier: Apache-2.0
"""The real clouds that functional tests run against.

``cloud`` is one devcloud for the whole session of a test process: three regions with hook and sync
server, as ``make demo`` has it. Tests leave it as they found it: images they made go, services they
stopped run again.

``versioned_cloud`` has two regions, and makes a test run once for each home Glance: the newest, and
with ``--matrix`` all others that are supported. What the hook does in the oldest, ``tests/hook``
shows in any case.

Nothing is skipped: what is missing fails, in devcloud's words. The logs of the last session stay
in ``.devcloud/test-logs``.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devcloud import PORT_WIDTH, Cloud
from devcloud.ports import find_base

#: Tests look at what travels from Glance to Glance; those of other ways say so.
OVERRIDES = {"glance-sync": {"DEFAULT": {"transports": "upload"}}}
ENDS_OF_SUPPORT = ["30", "33"]
BETWEEN = ["31", "32"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "versioned_cloud" in metafunc.fixturenames:
        every = metafunc.config.getoption("--matrix")
        metafunc.parametrize(
            "versioned_cloud",
            sorted(ENDS_OF_SUPPORT + BETWEEN) if every else ENDS_OF_SUPPORT[-1:],
            indirect=True,
            scope="session",
            ids="glance-{}".format,
        )


def own(name: str) -> str:
    """What a cloud is called that each test process makes for itself."""
    return name + os.environ.get("PYTEST_XDIST_WORKER", "").replace("gw", "-")


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """Three regions with hook and sync server, built once and cleaned away at the end."""
    fresh = Cloud(
        name=own("test"),
        regions=3,
        base_port=find_base(PORT_WIDTH),
        hook=True,
        sync=True,
        overrides=OVERRIDES,
    )
    with cleaned(fresh):
        fresh.up()
        yield fresh


@pytest.fixture(scope="session")
def versioned_cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """Home on one Glance release after the other, RegionTwo on the newest."""
    fresh = Cloud(
        name=own(f"test-{request.param}"),
        regions=2,
        base_port=find_base(PORT_WIDTH),
        glance_version={"RegionOne": request.param, "RegionTwo": ENDS_OF_SUPPORT[-1]},
        hook=True,
        sync=True,
        overrides=OVERRIDES,
    )
    with cleaned(fresh):
        fresh.up()
        yield fresh


@contextmanager
def cleaned(cloud: Cloud) -> Iterator[None]:
    """Clean *cloud* before, as an interrupted session may have left it, and after.

    A cloud of that name is one process's at a time, lest two of them clean each other's.
    """
    with _alone(cloud):
        cloud.clean()
        try:
            yield
        finally:
            cloud.down()
            logs = cloud.directory / "logs"
            if logs.exists():
                kept = cloud.root / "test-logs" / cloud.name
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(logs, kept)
            cloud.clean()


@contextmanager
def _alone(cloud: Cloud) -> Iterator[None]:
    cloud.root.mkdir(parents=True, exist_ok=True)
    with (cloud.root / f"{cloud.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.fail(f"the cloud '{cloud.name}' is another process's")
        yield
