"""The statements about tasks. Each function runs inside the caller's transaction.

Claims compare and set: a task is taken by an UPDATE that still finds it claimable, and every later
write of its owner first finds the lease token again (fencing). Where the database has
``FOR UPDATE SKIP LOCKED``, claimers pass each other's rows instead of waiting for them.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from glancesync.errors import LeaseLost
from glancesync.interfaces import Ask
from glancesync.journal import rows
from glancesync.journal.database import now
from glancesync.journal.schema import task as t
from glancesync.model import Done, Outcome, Retry, Snooze, Task
from glancesync.states import CLAIMABLE, OPEN, TaskKind, TaskState

_CLAIMABLE = sorted(CLAIMABLE)
_NO_LEASE = {"lease_owner": None, "lease_token": None, "lease_until": None}


def key(kind: TaskKind, image_id: str, region: str = "") -> str:
    """The key of a task: ``image:<id>`` or ``replica:<id>:<region>``."""
    return f"{kind}:{image_id}:{region}" if region else f"{kind}:{image_id}"


def ask(connection: sa.Connection, asks: Collection[Ask]) -> None:
    """Open a task for each of ``asks``, or raise ``asked`` of the one that is open."""
    merged: dict[str, Ask] = {}
    for one in asks:  # a statement may not touch the same row twice on every database
        name = key(one.kind, one.image_id, one.region)
        before = merged.get(name)
        if before is not None:
            one = dataclasses.replace(
                one,
                priority=min(before.priority, one.priority),
                count=before.count + one.count,
                urgent=before.urgent or one.urgent,
                force=before.force or one.force,
            )
        merged[name] = one
    if not merged:
        return
    at = float(connection.execute(sa.select(now())).scalar_one())
    values = [
        {
            "task_key": name,
            "open_key": name,
            "kind": one.kind.value,
            "image_id": one.image_id,
            "region": one.region,
            "state": TaskState.READY.value,
            "priority": one.priority,
            "asked": one.count,
            "attempt": 0,
            "force": one.force,
            "due_at": at,
            "actor": rows.actor_text(one.actor),
            "created_at": at,
            "updated_at": at,
        }
        for name, one in merged.items()
    ]
    hints = [value for value, one in zip(values, merged.values(), strict=True) if not one.urgent]
    urgent = [value for value, one in zip(values, merged.values(), strict=True) if one.urgent]
    if hints:
        connection.execute(_upsert(connection.dialect.name, urgent=False), hints)
    if urgent:
        connection.execute(_upsert(connection.dialect.name, urgent=True), urgent)


def _upsert(dialect: str, *, urgent: bool) -> sa.Insert:
    """INSERT, or on an open key: count, take the newer actor and the higher urgency.

    A task between two fast attempts keeps its time unless the wish is urgent. One that is merely
    snoozed is due, and so is one that failed: the change may have removed the reason.
    """

    def merged(new: Any) -> dict[str, Any]:
        patient = sa.and_(t.c.attempt > 0, t.c.state != TaskState.FAILED.value)
        # Never later than it was: what changes all the time must not go back in the queue.
        sooner = t.c.due_at < new.due_at
        keep = sooner if urgent else sa.or_(sooner, patient)
        due = sa.case((keep, t.c.due_at), else_=new.due_at)
        return {
            "due_at": due,
            "asked": t.c.asked + new.asked,
            "priority": sa.case((new.priority < t.c.priority, new.priority), else_=t.c.priority),
            "force": sa.or_(t.c.force, new.force),
            "actor": new.actor,
            "updated_at": new.updated_at,
        }

    if dialect in ("mysql", "mariadb"):
        insert = mysql.insert(t)
        return insert.on_duplicate_key_update(merged(insert.inserted))
    constructor = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = constructor(t)
    return statement.on_conflict_do_update(
        index_elements=["open_key"], set_=merged(statement.excluded)
    )


def claim(
    connection: sa.Connection, owner: str, lease: float, limit: int, closed: Collection[str]
) -> list[Task]:
    """Take the most urgent due task and its siblings; see ``interfaces.Queue.claim``."""
    due = [
        t.c.state.in_(_CLAIMABLE),
        t.c.due_at <= now(),
        t.c.region.not_in(sorted(closed)),
    ]
    order = (t.c.priority, t.c.due_at, t.c.id)
    first = connection.execute(
        sa.select(t.c.id, t.c.image_id, t.c.kind)
        .where(*due)
        .order_by(*order)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if first is None:
        return []
    ids = [first.id]
    if first.kind == TaskKind.REPLICA and limit > 1:
        siblings = (
            sa.select(t.c.id)
            .where(*due, t.c.image_id == first.image_id, t.c.kind == TaskKind.REPLICA.value)
            .where(t.c.id != first.id)
            .order_by(*order)
            .limit(limit - 1)
            .with_for_update(skip_locked=True)
        )
        ids += connection.execute(siblings).scalars()
    token = str(uuid.uuid4())
    connection.execute(
        sa.update(t)
        .where(t.c.id.in_(ids), t.c.state.in_(_CLAIMABLE))
        .values(
            state=TaskState.RUNNING.value,
            lease_owner=owner,
            lease_token=token,
            lease_until=now() + lease,
            updated_at=now(),
        )
    )
    found = connection.execute(sa.select(t).where(t.c.lease_token == token).order_by(t.c.id))
    return [rows.task(row) for row in found]


def mine(task: Task) -> tuple[sa.ColumnElement[bool], ...]:
    """The condition that ``task`` is still run by the one who claimed it."""
    return (t.c.id == task.id, t.c.lease_token == task.lease_token)


def fence(connection: sa.Connection, task: Task) -> sa.Row[Any]:
    """Lock the task's row; LeaseLost unless it is still the caller's."""
    row = connection.execute(sa.select(t).where(*mine(task)).with_for_update()).first()
    if row is None:
        raise LeaseLost(f"the lease on {task.key} was lost")
    return row


def renew(connection: sa.Connection, tasks: Iterable[Task], lease: float) -> set[int]:
    kept = set()
    for task in tasks:
        changed = connection.execute(
            sa.update(t).where(*mine(task)).values(lease_until=now() + lease)
        )
        if changed.rowcount:
            kept.add(task.id)
    return kept


def release(connection: sa.Connection, tasks: Iterable[Task]) -> None:
    for task in tasks:
        connection.execute(
            sa.update(t)
            .where(*mine(task))
            .values(state=TaskState.READY.value, due_at=now(), updated_at=now(), **_NO_LEASE)
        )


def rescue(connection: sa.Connection) -> int:
    return connection.execute(
        sa.update(t)
        .where(t.c.state == TaskState.RUNNING.value, t.c.lease_until < now())
        .values(
            state=TaskState.READY.value,
            due_at=now(),
            updated_at=now(),
            reason="its worker gave no sign of life",
            **_NO_LEASE,
        )
    ).rowcount


def conclude(connection: sa.Connection, task: Task, outcome: Outcome, asked: int) -> None:
    """Write what was decided about a task whose row is fenced.

    :param asked: the row's counter now; more than at the claim means that it is due again
    """
    values: dict[str, Any] = {"updated_at": now(), **_NO_LEASE}
    match outcome:
        case Done(result) if asked > task.asked:
            values |= {"state": TaskState.READY.value, "due_at": now(), "attempt": 0}
            values |= {"reason": result, "waiting_since": None}
        case Done(result):
            values |= {"state": TaskState.DONE.value, "open_key": None, "ended_at": now()}
            values |= {"reason": result, "attempt": 0, "waiting_since": None, "force": False}
        case Snooze(seconds, reason):
            seconds = 0 if asked > task.asked else seconds
            values |= {"state": TaskState.READY.value, "due_at": now() + seconds}
            since = sa.func.coalesce(t.c.waiting_since, now())
            values |= {"reason": reason, "waiting_since": since}
        case Retry(seconds, error, failed):
            state = TaskState.FAILED if failed else TaskState.READY
            values |= {"state": state.value, "due_at": now() + seconds}
            values |= {"reason": error, "attempt": task.attempt + 1, "waiting_since": None}
    connection.execute(sa.update(t).where(*mine(task)).values(**values))


def get(connection: sa.Connection, task_id: int) -> Task | None:
    row = connection.execute(sa.select(t).where(t.c.id == task_id)).first()
    return rows.task(row) if row else None


def retry(connection: sa.Connection, task_id: int) -> bool:
    """Make an open task due now and forget its failed attempts; False if it has ended."""
    state = sa.case((t.c.state == TaskState.FAILED.value, TaskState.READY.value), else_=t.c.state)
    return bool(
        connection.execute(
            sa.update(t)
            .where(t.c.id == task_id, t.c.state.in_(sorted(OPEN)))
            .values(state=state, due_at=now(), attempt=0, asked=t.c.asked + 1, updated_at=now())
        ).rowcount
    )


def cancel(connection: sa.Connection, task_id: int, reason: str) -> bool:
    """End an open task; its worker, if any, finds the lease gone. False if it has ended."""
    return bool(
        connection.execute(
            sa.update(t)
            .where(t.c.id == task_id, t.c.state.in_(sorted(OPEN)))
            .values(
                state=TaskState.CANCELLED.value,
                open_key=None,
                ended_at=now(),
                updated_at=now(),
                reason=reason,
                **_NO_LEASE,
            )
        ).rowcount
    )
