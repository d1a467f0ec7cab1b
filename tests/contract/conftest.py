# SPDX-License-Identifier: Apache-2.0
"""The implementations every contract suite runs against.

A journal is named by the kind of its database; ``URLS`` makes an empty one of that kind. Another
database joins by one more entry: no test below knows which it has.
"""

import pathlib
from collections.abc import Callable, Iterator

import pytest

from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from tests.journals import record

#: kind -> makes the URL of an empty database of that kind, given a scratch directory
URLS: dict[str, Callable[[pathlib.Path], str]] = {
    "sqlite": lambda directory: f"sqlite:///{directory}/journal.sqlite",
}


@pytest.fixture(params=sorted(URLS))
def empty_url(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    """The URL of a database that holds nothing."""
    return URLS[request.param](tmp_path)


@pytest.fixture
def url(empty_url: str) -> str:
    """The URL of a database at this program's revision."""
    database = Database(empty_url)
    database.migrate()
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
