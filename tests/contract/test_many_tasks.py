# SPDX-License-Identifier: Apache-2.0
"""What workers do all the time takes as long with many tasks in the journal as with few."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from glancesync.journal import queue, schema
from glancesync.journal.journal import Journal
from glancesync.model import Hint
from glancesync.states import TaskState
from tests.contract.conftest import REGIONS
from tests.contract.test_queue import replica_ask

MANY = 4000  # of each; servers read a small table as a whole, and rightly so
ANALYZE = {"sqlite": "ANALYZE", "postgresql": "ANALYZE", "mysql": "ANALYZE TABLE task"}


def fill(journal: Journal) -> None:
    """Tasks of all that keep many: done long ago, failed and due later, ready."""
    t = schema.task
    with journal.database.write() as connection:
        for region, state, later in (("A", "done", 0), ("B", "failed", 3600), ("C", "ready", 0)):
            asks = [replica_ask(region, str(uuid.uuid4())) for _ in range(MANY)]
            queue.ask(connection, asks)
            values: dict[str, Any] = {"state": state, "due_at": t.c.due_at + later}
            if state == TaskState.DONE:
                values |= {"open_key": None, "ended_at": t.c.due_at}
            connection.execute(sa.update(t).where(t.c.region == region).values(values))
    with journal.database.engine.connect() as connection:
        autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
        autocommit.exec_driver_sql(ANALYZE[connection.dialect.name])


@contextmanager
def statements(journal: Journal) -> Iterator[list[tuple[str, Any]]]:
    """What the journal asks of its tasks meanwhile."""
    seen: list[tuple[str, Any]] = []

    def see(*said: Any) -> None:
        _, _, statement, parameters, _, many = said
        if not many and "task" in statement and not statement.startswith("INSERT"):
            seen.append((statement, parameters))

    sa.event.listen(journal.database.engine, "before_cursor_execute", see)
    yield seen
    sa.event.remove(journal.database.engine, "before_cursor_execute", see)


def reads_all(connection: sa.Connection, statement: str, parameters: Any) -> str | None:
    """How a statement would be done, if tasks were looked at without an index."""
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    rows = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
    match connection.dialect.name:
        case "sqlite":
            bad = any(row.detail == "SCAN task" for row in rows)
        case "postgresql":
            bad = any("Seq Scan on task" in row[0] for row in rows)
        case _:
            bad = any(row.table == "task" and row.type in ("ALL", "index") for row in rows)
    return "\n".join([statement, *map(str, rows)]) if bad else None


def test_no_statement_of_a_worker_or_a_hint_reads_all_tasks(journal: Journal) -> None:
    fill(journal)
    with statements(journal) as seen:
        journal.hint([Hint(str(uuid.uuid4()))])
        tasks = journal.claim("me", lease=60, limit=16, regions={"", *REGIONS})
        assert tasks
        journal.renew(tasks, lease=60)
        journal.rescue(5, 600)
        journal.release(tasks)
    assert len(seen) > 6
    with journal.database.read() as connection:
        found = [reads_all(connection, *one) for one in seen]
    assert not [one for one in found if one]


def test_postgresql_is_told_of_a_batch_of_hints_at_once(journal: Journal) -> None:
    """Not in one statement for each, with a way there and back."""
    if journal.database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no way to go; PyMySQL puts many rows into one statement by itself")
    seen: list[int] = []

    def see(*said: Any) -> None:
        _, _, _, parameters, _, many = said
        seen.append(len(parameters) if many and isinstance(parameters, list | tuple) else 1)

    sa.event.listen(journal.database.engine, "before_cursor_execute", see)
    journal.hint([Hint(str(uuid.uuid4())) for _ in range(500)], dropped=1)
    assert 0 < sum(seen) < 10
