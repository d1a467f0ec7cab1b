# SPDX-License-Identifier: Apache-2.0
"""The implementations every contract suite runs against.

A journal is named by the kind of its database; no test below knows which it has, unless it is
about one.
"""

import pathlib
from collections.abc import Iterator

import pytest

from glancesync.journal import schema
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from tests.databases import SERVERS
from tests.journals import record


@pytest.fixture(params=["sqlite", *SERVERS])
def empty_url(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[str]:
    """The URL of a database that holds nothing."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/journal.sqlite"
    else:
        with request.getfixturevalue(request.param).database() as url:
            yield url


@pytest.fixture
def url(empty_url: str) -> str:
    """The URL of a database with our tables.

    Made in one go: that the revisions make the same is a test of its own.
    """
    database = Database(empty_url)
    with database.write() as connection:
        schema.metadata.create_all(connection)
    database.dispose()
    return empty_url


REGIONS = ("A", "B", "C", "D", "E")


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    database = Database(url)
    journal = Journal(database)
    record(journal, *reversed(REGIONS))
    yield journal
    database.dispose()
