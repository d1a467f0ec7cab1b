# SPDX-License-Identifier: Apache-2.0
"""What all tests share: the options of ours that pytest takes, and who runs what."""

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

_CLOUDS = ("tests/functional/", "tests/faults/", "tests/hook/")
_CLOUDLESS = tuple(
    f"tests/faults/test_{name}.py" for name in ("database_faults", "links", "ssh_faults")
)


class Scheduling(LoadScopeScheduling):
    """One process runs what needs a cloud, one test after the other; the rest goes by file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "clouds" if file.startswith(_CLOUDS) and file not in _CLOUDLESS else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matrix",
        action="store_true",
        help="run the tests of the real cloud on every supported Glance, not only the oldest "
        "and the newest",
    )
