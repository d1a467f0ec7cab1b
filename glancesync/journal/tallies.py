# SPDX-License-Identifier: Apache-2.0
"""The statements about counts. Each runs in the caller's transaction."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from glancesync import counts
from glancesync.counts import Count, Counter
from glancesync.interfaces import Changes
from glancesync.journal.schema import tally as c
from glancesync.model import Again, Done, Outcome, Priority, Task
from glancesync.states import ENDED, SETTLED, TaskKind


def add(connection: sa.Connection, more: Iterable[Count]) -> None:
    """Add to the counts.

    The last statement of a transaction, and in one order: many wait for these rows, and who has
    them must not wait for others.
    """
    amounts: dict[tuple[str, str, str], float] = collections.defaultdict(float)
    for one in more:
        amounts[one.counter.value, one.region, one.label] += one.amount
    rows = [
        {"counter": counter, "region": region, "label": label, "amount": amount}
        for (counter, region, label), amount in sorted(amounts.items())
        if amount
    ]
    if rows:
        connection.execute(_upsert(connection.dialect.name), rows)


def _upsert(dialect: str) -> sa.Insert:
    if dialect in ("mysql", "mariadb"):
        insert = mysql.insert(c)
        return insert.on_duplicate_key_update(amount=c.c.amount + insert.inserted.amount)
    constructor: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = constructor(c)
    new: sa.Insert = statement.on_conflict_do_update(
        index_elements=["counter", "region", "label"],
        set_={"amount": c.c.amount + statement.excluded.amount},
    )
    # Without it SQLAlchemy sends PostgreSQL one statement for each row.
    return new.returning(c.c.amount) if dialect == "postgresql" else new


def of_end(task: Task, changes: Changes, outcome: Outcome | None, waited: float) -> list[Count]:
    """What the end of a task's run counts for.

    :param waited: seconds since somebody wanted it
    """
    found = list(changes.counts)
    if isinstance(outcome, Done | Again):
        found.append(Count(Counter.TASKS, task.region, task.kind.value))
    replica = changes.replica
    followed = isinstance(outcome, Done) and replica and replica.state in SETTLED | ENDED
    if followed and task.kind is TaskKind.REPLICA and not Priority.of_audit(task.priority):
        found += counts.sync(task.region, max(0.0, waited))
    return found


def every(connection: sa.Connection) -> list[Count]:
    return [
        Count(Counter(row.counter), row.region, row.label, row.amount)
        for row in connection.execute(sa.select(c).order_by(c.c.counter, c.c.region, c.c.label))
    ]
