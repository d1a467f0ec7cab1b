# SPDX-License-Identifier: Apache-2.0
"""A real journal for the parts that need one."""

import pathlib
from collections.abc import Iterator

import pytest

from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from tests.journals import record


@pytest.fixture
def journal(tmp_path: pathlib.Path) -> Iterator[Journal]:
    database = Database(f"sqlite:///{tmp_path}/journal.sqlite")
    database.migrate()
    journal = Journal(database)
    record(journal, "home", *"ABCDEFGH")
    yield journal
    database.dispose()
