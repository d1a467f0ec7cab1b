# SPDX-License-Identifier: Apache-2.0
"""Loaded by uWSGI into Keystone and Glance: SQLite transactions that wait instead of failing.

oslo.db begins SQLite transactions with a plain ``BEGIN``, which takes no lock. Two requests that
read and then write at the same time cannot both become the writer, and SQLite fails one of them
at once with "database is locked", whatever the busy timeout (https://sqlite.org/isolation.html);
a user would see a 500 that no production database gives. ``BEGIN IMMEDIATE`` takes the lock
first, where the timeout counts. oslo.db leaves a transaction alone that has begun already.

Glance 30 sometimes reads on a second connection while it is in a transaction on the first. That one
begins plainly: it would wait for itself otherwise, and a reader needs no lock.
"""

import sqlite3
import threading
import time
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

TIMEOUT = 60.0  # seconds a transaction may wait for others

_thread = threading.local()  # .holds: the DBAPI connection on which this thread has the lock


@event.listens_for(Engine, "begin")
def begin_immediate(connection: Connection) -> None:
    """Begin for real, before oslo.db does; the mark is the one it looks for, and clears."""
    if connection.dialect.name != "sqlite" or "in_transaction" in connection.info:
        return
    holds: Any = getattr(_thread, "holds", None)
    if holds is not None and holds.in_transaction:
        return
    raw: Any = connection.connection.dbapi_connection
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            raw.execute("BEGIN IMMEDIATE").close()
            break
        except sqlite3.OperationalError as error:
            # Against connections that are just being opened the busy timeout does not count.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
    connection.info["in_transaction"] = True
    _thread.holds = raw


@event.listens_for(Engine, "commit")
@event.listens_for(Engine, "rollback")
def let_go(connection: Connection) -> None:
    """The lock goes with the transaction that took it."""
    if connection.connection.dbapi_connection is getattr(_thread, "holds", None):
        _thread.holds = None
