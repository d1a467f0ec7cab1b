# SPDX-License-Identifier: Apache-2.0
"""The REST API as data: every file in ``gabbits`` runs against the whole WSGI pipeline.

One test here is one file, whose requests build on each other; all that fail are told. (Gabbi's own
plugin for pytest is not used: it takes every test of the session that has a colon in its name for
one of its own.)
"""

import pathlib
import shutil
import unittest

import pytest
from gabbi import driver

from tests.api import service

GABBITS = sorted((pathlib.Path(__file__).parent / "gabbits").glob("*.yaml"))


@pytest.mark.parametrize("file", GABBITS, ids=lambda file: file.stem)
def test_requests(file: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shutil.copy(file, tmp_path)
    suite = driver.build_tests(
        str(tmp_path),
        unittest.TestLoader(),
        test_loader_name="api",
        intercept=service.app,
        fixture_module=service,
    )
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun > 0
    told = [f"{test}\n{text}" for test, text in (*result.failures, *result.errors)]
    assert not told, f"{len(told)} of {result.testsRun} requests failed:\n\n" + "\n".join(told)
