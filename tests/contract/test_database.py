# SPDX-License-Identifier: Apache-2.0
"""Versions of the journal's database, and its transactions."""

import pathlib
import sqlite3
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from glancesync.errors import JournalError
from glancesync.journal import migrations, schema
from glancesync.journal.database import Database, head, revisions
from glancesync.journal.journal import Journal
from glancesync.model import Hint

IMAGE = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def database(empty_url: str) -> Iterator[Database]:
    database = Database(empty_url)
    yield database
    database.dispose()


def _set_revision(database: Database, revision: str) -> None:
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :r"), {"r": revision})


def test_an_empty_database_is_refused_with_the_way_out(database: Database) -> None:
    assert database.version() is None
    with pytest.raises(JournalError, match="empty: run 'glance-sync-manage db_sync'"):
        database.check()


def test_migrating_twice_changes_nothing(database: Database) -> None:
    assert database.migrate() == head()
    Journal(database).hint([Hint(IMAGE)])
    assert database.migrate() == head()

    database.check()
    assert database.version() == head()
    assert len(Journal(database).list_tasks()) == 1


def test_a_database_of_another_program_is_left_alone(database: Database) -> None:
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE nova_things (x INTEGER)"))
    for attempt in (database.check, database.migrate, database.version):
        with pytest.raises(JournalError, match="another program: nova_things"):
            attempt()
    with database.read() as connection:
        assert sa.inspect(connection).get_table_names() == ["nova_things"]


def test_a_database_of_a_newer_program_is_left_alone(database: Database) -> None:
    database.migrate()
    _set_revision(database, "9999")
    for attempt in (database.check, database.migrate):
        with pytest.raises(JournalError, match="revision 9999, which this program does not know"):
            attempt()
    assert database.version() == "9999"


def test_the_revisions_are_those_alembic_knows() -> None:
    scripts = ScriptDirectory.from_config(migrations.alembic())
    assert scripts.get_current_head() == head()
    assert {one.revision for one in scripts.walk_revisions()} == revisions()


def test_the_revisions_make_what_the_schema_says(database: Database) -> None:
    database.migrate()
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
        inspector = sa.inspect(connection)
        for table in schema.metadata.sorted_tables:
            wanted = {one.name for one in table.constraints if isinstance(one, sa.CheckConstraint)}
            found = {one["name"] for one in inspector.get_check_constraints(table.name)}
            assert found == wanted, table.name


def test_the_check_constraints_say_what_the_schema_says(database: Database) -> None:
    """By name is not enough: the words of a state are listed in the revision as well."""
    database.migrate()
    fresh = sa.create_engine("sqlite://")
    schema.metadata.create_all(fresh)
    with database.read() as ours, fresh.connect() as theirs:
        if ours.dialect.name != "sqlite":
            pytest.skip("other databases rewrite the text of a constraint")
        for table in schema.metadata.sorted_tables:
            texts = [
                {c["name"]: c["sqltext"] for c in sa.inspect(one).get_check_constraints(table.name)}
                for one in (ours, theirs)
            ]
            assert texts[0] == texts[1], table.name
    fresh.dispose()


def test_an_exception_rolls_back(database: Database) -> None:
    database.migrate()

    def write() -> None:
        with database.write() as connection:
            connection.execute(sa.insert(schema.mark).values(mark="x"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    with database.read() as connection:
        assert connection.execute(sa.select(schema.mark)).all() == []


def test_a_reader_sees_no_half_of_a_write_and_waits_for_none(database: Database) -> None:
    database.migrate()
    inside, go_on = threading.Event(), threading.Event()

    def write() -> None:
        with database.write() as connection:
            connection.execute(sa.insert(schema.mark).values(mark="x"))
            inside.set()
            go_on.wait(30)

    writer = threading.Thread(target=write)
    writer.start()
    assert inside.wait(30)
    with database.read() as connection:
        assert connection.execute(sa.select(schema.mark)).all() == []
    go_on.set()
    writer.join(30)
    with database.read() as connection:
        assert len(connection.execute(sa.select(schema.mark)).all()) == 1


def test_the_databases_clock_counts_fractions(database: Database) -> None:
    first = database.now()
    seen = {database.now() for _ in range(200)}
    assert all(first <= one < first + 60 for one in seen)
    assert len(seen) > 1


def test_sqlite_keeps_what_was_committed_through_power_loss(database: Database) -> None:
    if not database.sqlite:
        pytest.skip("a matter of SQLite's settings")
    with database.read() as connection:
        said = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert said == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_file_that_is_no_database(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.sqlite").write_bytes(b"this is a letter to my grandmother" * 100)
    with pytest.raises(Exception, match="not a database"):
        Database(f"sqlite:///{tmp_path}/x.sqlite").version()


def test_a_broken_half_is_not_taken_for_empty(database: Database) -> None:
    """A migration that died between its tables and its revision is no empty database."""
    database.migrate()
    with database.write() as connection:
        connection.execute(sa.text("DELETE FROM alembic_version"))
    with pytest.raises(JournalError, match="db_sync"):
        database.check()


def test_another_programs_lock_is_waited_for(database: Database, empty_url: str) -> None:
    if not database.sqlite:
        pytest.skip("a matter of SQLite's locks")
    database.migrate()
    path = empty_url.removeprefix("sqlite:///")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, other.close)
    release.start()
    Journal(database).hint([Hint(IMAGE)])
    release.join()
    assert len(Journal(database).list_tasks()) == 1
