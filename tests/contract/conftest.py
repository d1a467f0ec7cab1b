# SPDX-License-Identifier: Apache-2.0
"""The implementations every contract suite runs against.

A journal is named by the kind of its database; no test below knows which it has, unless it is
about one.
"""

import pathlib
import shutil
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from glancesync.journal import schema
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from tests.databases import SERVERS, Server
from tests.journals import record


@pytest.fixture(params=["sqlite", *SERVERS])
def database_kind(request: pytest.FixtureRequest) -> str:
    """A name that no test has for what it is repeated with."""
    return str(request.param)


@pytest.fixture
def empty_url(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: pathlib.Path
) -> Iterator[str]:
    """The URL of a database that holds nothing."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path}/journal.sqlite"
    else:
        with request.getfixturevalue(database_kind).database() as url:
            yield url


@pytest.fixture
def url(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: pathlib.Path
) -> Iterator[str]:
    """The URL of a database with our tables: a copy, where that is less work."""
    if database_kind == "sqlite":
        path = shutil.copyfile(
            request.getfixturevalue("sqlite_template"), tmp_path / "journal.sqlite"
        )
        yield f"sqlite:///{path}"
    elif database_kind == "postgresql":
        template = request.getfixturevalue("postgresql_template")
        with request.getfixturevalue(database_kind).database(f"TEMPLATE {template}") as url:
            yield url
    else:
        yield _filled(request.getfixturevalue("empty_url"))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("template") / "journal.sqlite"
    _filled(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgresql_template(postgresql: Server) -> Iterator[str]:
    with postgresql.database() as url:
        yield str(sa.make_url(_filled(url)).database)


def _filled(url: str) -> str:
    """Make our tables in one go: that the revisions make the same is a test of its own."""
    database = Database(url)
    with database.write() as connection:
        schema.metadata.create_all(connection)
    database.dispose()
    return url


REGIONS = ("A", "B", "C", "D", "E")


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    database = Database(url)
    journal = Journal(database)
    record(journal, *reversed(REGIONS))
    yield journal
    database.dispose()
