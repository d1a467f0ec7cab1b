# SPDX-License-Identifier: Apache-2.0
"""Loaded by uWSGI into Keystone and Glance: SQLite transactions that wait instead of failing.

oslo.db begins SQLite transactions with a plain ``BEGIN``, which takes no lock. Two requests that
read and then write at the same time cannot both become the writer, and SQLite fails one of them
at once with "database is locked", whatever the busy timeout (https://sqlite.org/isolation.html);
a user would see a 500 that no production database gives. ``BEGIN IMMEDIATE`` takes the lock
first, where the timeout counts. oslo.db leaves a transaction alone that has begun already.

Older Glances leave sessions, and with them transactions, to the garbage collector. A reader left
behind is harmless elsewhere; here it would hold the lock, so a waiter has them collected.
"""

import gc
import sqlite3
import time

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

PATIENCE = 60.0  # seconds, in steps of the connection's own timeout


@event.listens_for(Engine, "begin")
def begin_immediate(connection: Connection) -> None:
    """Begin for real, before oslo.db does; the mark is the one it looks for, and clears."""
    if connection.dialect.name != "sqlite" or "in_transaction" in connection.info:
        return
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection.connection.cursor().execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            gc.collect()
        else:
            break
    connection.info["in_transaction"] = True
