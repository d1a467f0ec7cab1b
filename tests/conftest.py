# SPDX-License-Identifier: Apache-2.0
"""What all tests share: the options of ours that pytest takes."""

import pytest

pytest_plugins = ["tests.clouds", "tests.databases"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matrix",
        action="store_true",
        help="run the tests of the real cloud on every supported Glance, not only the oldest "
        "and the newest",
    )
