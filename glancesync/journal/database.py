# SPDX-License-Identifier: Apache-2.0
"""The connection to the journal's database and its two kinds of transaction.

Engines come from oslo.db, so that an operator's ``[database]`` section means what it means
elsewhere; ``dialects`` knows how the databases differ. Every error that leaves is a JournalError.
"""

from __future__ import annotations

import contextlib
import logging
import pathlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from oslo_db.exception import DBError
from oslo_db.sqlalchemy import enginefacade
from sqlalchemy import event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from glancesync.errors import JournalError, JournalUnavailable
from glancesync.journal import dialects, schema

LOG = logging.getLogger(__name__)

_REVISIONS = pathlib.Path(__file__).parent / "migrations" / "versions"


class now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock at the start of the statement: seconds since the epoch, with fractions.

    That it does not move within a statement lets the database look it up in an index.
    """

    type = sa.Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **kw: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS DOUBLE PRECISION)"


@compiles(now, "mysql")
def _now_mysql(element: now, compiler: Any, **kw: Any) -> str:
    return "(UNIX_TIMESTAMP(NOW(6)) + 0e0)"


class Database:
    """One database, shared by all threads of a process. Nothing is asked of it yet.

    :param url: an SQLAlchemy URL
    :param options: further options of oslo.db's ``[database]`` section
    :raises JournalError: the URL can't be used
    """

    def __init__(self, url: str, **options: Any) -> None:
        connection = dialects.url(url, options.get("connection_parameters") or "")
        self.sqlite = connection.get_backend_name() == "sqlite"
        facade = enginefacade.transaction_context()
        facade.configure(connection=connection, sqlite_fk=True, max_retries=0, **options)
        self.engine = facade.writer.get_engine()

        @event.listens_for(self.engine, "connect")
        def connect(connection: Any, record: Any) -> None:
            dialects.prepare(self.engine.dialect, connection)

        # Writers of one process take turns here, not in SQLite's busy handler: that one would
        # block the whole process, and with it the green thread that holds the lock.
        self._turn: contextlib.AbstractContextManager[Any] = (
            threading.Lock() if self.sqlite else contextlib.nullcontext()
        )
        if self.sqlite:
            # Without one connection that stays open, each last close would checkpoint the WAL.
            with self._translated():
                self._anchor = self.engine.raw_connection()

    def wait(self, attempts: int, pause: float) -> None:
        """Return when the database answers and is at this program's revision.

        Asks at most ``attempts`` times more than once (-1: for ever) if it does not answer, also if
        that is in the middle of it.

        :param pause: seconds between two attempts
        :raises JournalUnavailable: of the last attempt
        :raises JournalError: it answers, and can't be used; see :meth:`check`
        """
        while True:
            try:
                self.check()
                return
            except JournalUnavailable as error:
                if attempts == 0:
                    raise
                LOG.warning("the journal does not answer, waiting for it: %s", error)
            attempts -= 1
            time.sleep(pause)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, DBError) as error:
            raise dialects.translated(error, self.engine.dialect) from error

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads."""
        with self._translated(), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that is committed at the end, or rolled back by an exception.

        No other I/O may happen inside.
        """
        with self._translated(), self._turn, self.engine.connect() as connection:
            if self.sqlite:
                # oslo.db emits a plain BEGIN unless it finds this mark; a writer takes its lock
                # when it begins, so that it never works on a snapshot it may not write to.
                connection.info["in_transaction"] = True
            with connection.begin():
                if self.sqlite:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection

    def now(self) -> float:
        """The database's clock."""
        with self.read() as connection:
            return float(connection.execute(sa.select(now())).scalar_one())

    def dispose(self) -> None:
        """Close all connections."""
        if self.sqlite:
            self._anchor.close()
        self.engine.dispose()

    # -- versions -------------------------------------------------------------------------------

    def version(self) -> str | None:
        """The revision the database is at; None if it holds nothing of ours yet.

        :raises JournalError: it belongs to another program
        """
        with self.read() as connection:
            tables = set(sa.inspect(connection).get_table_names())
            if not tables:
                return None
            if schema.mark.name not in tables:
                raise JournalError(
                    "the database holds tables of another program: " + ", ".join(sorted(tables)[:5])
                )
            if "alembic_version" not in tables:
                return None
            found = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            return None if found is None else str(found)

    def check(self) -> None:
        """Raise JournalError unless the database is at exactly this program's revision."""
        have, want = self.version(), head()
        dialects.check_server(self.engine.dialect)
        if have is None:
            raise JournalError("the database is empty: run 'glance-sync-manage db_sync'")
        if have == want:
            return
        if have in revisions():
            raise JournalError(
                f"the database is at revision {have}, older than this program's {want}: "
                "run 'glance-sync-manage db_sync'"
            )
        raise JournalError(
            f"the database is at revision {have}, which this program does not know: "
            "it was made by a newer glance-sync; upgrade this one"
        )

    def migrate(self) -> str:
        """Bring the database to this program's revision and return it; repeating is safe."""
        if self.version() not in {None, *revisions()}:
            self.check()
        dialects.check_server(self.engine.dialect)
        from glancesync.journal import migrations  # loads Alembic, which a start has no use for

        with self._translated(), self.engine.connect() as connection:
            migrations.upgrade(connection)
            connection.commit()
        return head()


def head() -> str:
    """This program's revision."""
    return max(revisions())


def revisions() -> frozenset[str]:
    """All revisions this program can upgrade from, and its own: the first words of their files."""
    return frozenset(path.stem.partition("_")[0] for path in _REVISIONS.glob("[0-9]*.py"))
