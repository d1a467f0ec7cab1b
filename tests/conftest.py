# SPDX-License-Identifier: Apache-2.0
"""What all tests share: the options of ours that pytest takes, who runs what, what is left out."""

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


class Scheduling(LoadScopeScheduling):
    """A file is one process's, and the hook's files are, which change from Glance to Glance."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "hook" if file.startswith("tests/hook/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    config.option.loadscopereorder = False  # the short ones, tests/unit, stay the last
    return Scheduling(config, log)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "matrix(**values): run with --matrix only, since others show the same; with "
        "matrix(name=values) that is so where the parameter has one of the values",
    )
    config.addinivalue_line("markers", "always: run with all values, whatever its file's matrix is")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--matrix"):
        return
    left = [item for item in items if _only_in_the_matrix(item)]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


def _only_in_the_matrix(item: pytest.Item) -> bool:
    found = item.callspec.params if hasattr(item, "callspec") else {}
    always = item.get_closest_marker("always") is not None
    return any(
        not (always and mark.kwargs)
        and all(found.get(name) in values for name, values in mark.kwargs.items())
        for mark in item.iter_markers("matrix")
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matrix",
        action="store_true",
        help="run the tests of the real cloud on every supported Glance, not only the oldest "
        "and the newest, and tests that vary what others have shown",
    )
