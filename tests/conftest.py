# SPDX-License-Identifier: Apache-2.0
"""What all tests share: the options of ours that pytest takes, who runs what, what is left out."""

import re
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = [
    "tests.clouds",
    "tests.databases",
    "tests.ceph",
    "tests.sshd",
    "tests.swift",
]

#: They share one cloud; but for those with another one, or none.
_ONE_CLOUD = ("tests/functional/", "tests/faults/")
_OTHERS = (
    *(f"tests/functional/test_{name}.py" for name in ("changes", "devcloud")),
    *(f"tests/functional/test_{name}.py" for name in ("file_locations", "rbd_regions")),
    *(f"tests/faults/test_{name}.py" for name in ("database_faults", "links", "mass_deletes")),
    *(f"tests/faults/test_{name}.py" for name in ("ssh_faults", "thrash")),
)
#: They share one Keystone, and what trusts it.
_ONE_KEYSTONE = (
    *(f"tests/contract/test_{name}.py" for name in ("key_manager", "object_stores", "server_copy")),
    "tests/functional/test_swift_regions.py",
)


class Scheduling(LoadScopeScheduling):
    """One process runs what shares a cloud, one test after the other; the rest goes by file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.startswith("tests/hook/"):
            return "hook"
        if file in _ONE_KEYSTONE:
            return "keystone"
        return "cloud" if file.startswith(_ONE_CLOUD) and file not in _OTHERS else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


#: What they show does not depend on the database: once without ``--matrix``.
_ONE_DATABASE = tuple(
    f"tests/contract/test_{name}.py" for name in ("executor", "reconciler", "relaying", "plans")
)
#: Their statements are of kinds that others show on MariaDB: there only with ``--matrix``, but for
#: tests in which many write at the same time.
_NOT_MARIADB = tuple(
    f"tests/contract/test_{name}.py"
    for name in (
        *("audit_records", "counts", "due", "jobs_expanded", "lazy_eviction", "lazy_pins"),
        *("region_health", "room", "rules_at_work"),
    )
)
_AT_ONCE = "at_once|at_the_same"


#: Here links and hosts fail, which is alike for both; rsync's own ways have tests without a twin.
_ONE_WAY = ("tests/faults/test_links.py", "tests/faults/test_ssh_faults.py")
_RSYNC_TOO = "_cut_|_cut\\["


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "matrix: only run with --matrix")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--matrix"):
        return
    left = [item for item in items if _only_in_the_matrix(item)]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


def _only_in_the_matrix(item: pytest.Item) -> bool:
    """Whether another test shows the same but for a database or a way, or says so itself."""
    twin = item.nodeid.startswith(_ONE_DATABASE) and re.search("postgresql|mariadb", item.name)
    other = item.nodeid.startswith(_NOT_MARIADB) and "mariadb" in item.name
    other = other and re.search(_AT_ONCE, item.name) is None
    rsync = item.nodeid.startswith(_ONE_WAY) and "[rsync" in item.name
    rsync = rsync and re.search(_RSYNC_TOO, item.name) is None
    return bool(twin) or other or rsync or item.get_closest_marker("matrix") is not None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matrix",
        action="store_true",
        help="run the tests of the real cloud on every supported Glance, not only the oldest "
        "and the newest, and tests that vary what others have shown",
    )
