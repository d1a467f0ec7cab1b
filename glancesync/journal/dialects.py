# SPDX-License-Identifier: Apache-2.0
"""What differs between databases: how each is connected to, and what its errors mean."""

from __future__ import annotations

import urllib.parse
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db

from glancesync.errors import JournalError, JournalRefused, JournalUnavailable

#: Backend -> the driver that lets other green threads run while it waits, and the package that
#: has it. With any other, one that waits for a row would stop the one that holds it.
_DRIVERS = {
    "sqlite": ("sqlite", ""),
    "postgresql": ("postgresql+psycopg2", "psycopg2-binary"),
    "mysql": ("mysql+pymysql", "PyMySQL"),
    "mariadb": ("mysql+pymysql", "PyMySQL"),  # oslo.db knows it by this name
}

#: Driver -> what it is told unless the operator says otherwise. A server whose host is gone without
#: a word is noticed within a minute; a statement that waits for its turn is not cut off.
_DEFAULTS = {
    "postgresql+psycopg2": {
        "connect_timeout": "10",
        "keepalives_idle": "20",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "tcp_user_timeout": "60000",
    },
    "mysql+pymysql": {
        "charset": "utf8mb4",
        "connect_timeout": "10",
        "read_timeout": "60",
        "write_timeout": "60",
    },
}

#: The oldest servers with SKIP LOCKED, ON CONFLICT and enforced CHECK constraints.
_OLDEST = {"postgresql": (12,), "mariadb": (10, 6), "mysql": (8, 0, 16)}


def url(text: str, parameters: str = "") -> sa.URL:
    """A database's URL with our driver and defaults.

    :param parameters: more of the query string (``[database] connection_parameters``)
    :raises JournalError: a database or driver that the journal can't use
    """
    made = sa.make_url(text)
    backend, _, driver = made.drivername.partition("+")
    if backend not in _DRIVERS:
        known = ", ".join(sorted({name for name, _ in _DRIVERS.values()}))
        raise JournalError(f"{backend} is not a database it can use; use {known}")
    ours, package = _DRIVERS[backend]
    if driver and driver != ours.rpartition("+")[2]:
        raise JournalError(f"{made.drivername} is not a driver it can use; use {ours}")
    made = made.set(drivername=ours)
    said = {*made.query, *urllib.parse.parse_qs(parameters)}
    made = made.update_query_dict(
        {name: value for name, value in _DEFAULTS.get(ours, {}).items() if name not in said}
    )
    try:
        made.get_dialect().import_dbapi()
    except ImportError as error:
        raise JournalError(f"{error}: install {package} beside glance-sync") from None
    return made


def prepare(dialect: sa.Dialect, connection: Any) -> None:
    """Set up a new connection of the driver.

    SQLite: WAL, and commits that survive power loss. Others: READ COMMITTED, whatever the server's
    default, for statements that lock single rows in single steps need no more, and MariaDB would
    else lock the gaps between rows (see the decision record on the queue).
    """
    if dialect.name == "sqlite":
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=20000"):
            connection.execute(f"PRAGMA {pragma}").close()
        return
    dialect.set_isolation_level(connection, "READ COMMITTED")
    if dialect.name == "mysql":
        # now() reads a local time, which is not told from another when summer time ends.
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00'")


def check_server(dialect: sa.Dialect) -> None:
    """Raise JournalError if the server connected to is too old."""
    name = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
    have: tuple[Any, ...] = getattr(dialect, "server_version_info", ())
    want = _OLDEST.get(name, ())
    if have < want:
        had, wanted = (".".join(map(str, version)) for version in (have, want))
        raise JournalError(f"the server is {name} {had}; {wanted} or newer is needed")


#: Passes by itself, or when an operator has mended the database: deadlocks, serialization failures,
#: lost connections, a full disk, a server that shuts down or only reads.
_PASSING = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError)
#: MySQL's and MariaDB's codes of a constraint that failed, which PyMySQL calls operational.
_CHECKS = (3819, 4025)


def translated(error: Exception, dialect: sa.Dialect) -> JournalError:
    """What an error of SQLAlchemy or oslo.db means for us.

    Its message is the driver's first line: the statement and its values are no one's business.
    """
    said = str(error).partition("\n")[0]
    if isinstance(error, sa.exc.TimeoutError):  # of the pool, which has waited already
        return JournalUnavailable(f"all connections are in use: {said}", retries=0)
    if isinstance(error, db.DBDuplicateEntry):  # the second look finds the other's row
        return JournalRefused(said, retries=1)
    cause = getattr(error, "inner_exception", None) or error
    code = next(iter(getattr(getattr(cause, "orig", None), "args", ())), None)
    if isinstance(cause, _PASSING) and code not in _CHECKS:
        # SQLite has waited in its busy handler, and has no connection to lose.
        return JournalUnavailable(said, retries=0 if dialect.name == "sqlite" else 5)
    return JournalRefused(said)
