# SPDX-License-Identifier: Apache-2.0
"""The statements about tasks. Each function runs inside the caller's transaction.

Claims compare and set: a task is taken by an UPDATE that still finds it claimable, and every later
write of its owner first finds the lease token again (fencing). Where the database has
``FOR UPDATE SKIP LOCKED``, claimers pass each other's rows instead of waiting for them.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from glancesync.errors import LeaseLost
from glancesync.interfaces import Ask
from glancesync.journal import rows
from glancesync.journal.database import now
from glancesync.journal.schema import region as g
from glancesync.journal.schema import task as t
from glancesync.model import Actor, Again, Done, Outcome, Priority, Retry, Snooze, Task
from glancesync.states import OPEN, POSTPONED, TaskKind, TaskState

_DUE_AT_ONCE = 500  # postponed tasks made ready by one claim
_NOBODY: sa.ColumnElement[str] = sa.literal_column(f"'{rows.actor_text(Actor())}'")
_NO_LEASE = {"lease_owner": None, "lease_token": None, "lease_until": None}


def key(kind: TaskKind, image_id: str, region: str = "") -> str:
    """The key of a task, as in ``image:<id>``, ``replica:<id>:<region>``, ``audit:<region>``."""
    return ":".join(part for part in (kind.value, image_id, region) if part)


def ask(connection: sa.Connection, asks: Collection[Ask]) -> None:
    """Open a task for each of ``asks``, or raise ``asked`` of the one that is open."""
    if not asks:
        return
    # In one order for all: who locks two rows the other way round waits for us, and we for them.
    merged = dict(sorted(_merged(asks).items()))
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
            "verify": one.verify,
            "removed": one.removed,
            "decision": None if one.decision is None else str(one.decision),
            "due_at": at,
            "since": at if one.since is None else one.since,
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


def _merged(asks: Iterable[Ask]) -> dict[str, Ask]:
    """One for each key: a statement may not touch the same row twice on every database."""
    merged: dict[str, Ask] = {}
    for one in asks:
        name = key(one.kind, one.image_id, one.region)
        if one.decision is not None:
            one = dataclasses.replace(one, count=0)
        before = merged.get(name)
        if before is not None:
            one = dataclasses.replace(
                one,
                actor=before.actor if before.decision or one.actor == Actor() else one.actor,
                priority=min(before.priority, one.priority),
                count=before.count + one.count,
                decision=before.decision or one.decision,
                urgent=before.urgent or one.urgent,
                force=before.force or one.force,
                verify=before.verify or one.verify,
                removed=before.removed or one.removed,
                since=min((s for s in (before.since, one.since) if s is not None), default=None),
            )
        merged[name] = one
    return merged


def _upsert(dialect: str, *, urgent: bool) -> sa.Insert:
    """INSERT, or on an open key: count, take the newer actor, if any, and the higher urgency.

    A task between two fast attempts keeps its time unless the wish is urgent. One that is merely
    snoozed is due, and so is one that failed: the change may have removed the reason.

    What does not come from the new row is spelled out: PyMySQL sends many rows in one statement
    only if all parameters are theirs.
    """

    def merged(new: Any) -> list[tuple[str, Any]]:
        """In an order that also means the same where assignments see those before (MySQL)."""
        ready, waiting = _spelled(TaskState.READY), _spelled(TaskState.WAITING)
        patient = sa.and_(t.c.attempt > sa.literal_column("0"), t.c.state == waiting)
        postponed = sa.or_(*(t.c.state == _spelled(state) for state in sorted(POSTPONED)))
        wakes: list[sa.ColumnElement[bool]] = [postponed]
        if not urgent:
            wakes.append(sa.not_(patient))
        # Never later than it was: what changes all the time must not go back in the queue.
        due = sa.and_(*wakes, t.c.due_at > new.due_at)
        return [
            ("due_at", sa.case((due, new.due_at), else_=t.c.due_at)),
            ("state", sa.case((sa.and_(*wakes), ready), else_=t.c.state)),
            ("since", sa.case((new.since < t.c.since, new.since), else_=t.c.since)),
            ("asked", t.c.asked + new.asked),
            (
                "priority",
                sa.case((new.priority < t.c.priority, new.priority), else_=t.c.priority),
            ),
            ("force", sa.or_(t.c.force, new.force)),
            ("verify", sa.or_(t.c.verify, new.verify)),
            ("removed", sa.or_(t.c.removed, new.removed)),
            # Whose decision it is must not get lost in the wishes of others, nor who changed an
            # image in what nobody has asked for.
            (
                "actor",
                sa.case(
                    (sa.or_(t.c.decision.is_not(None), new.actor == _NOBODY), t.c.actor),
                    else_=new.actor,
                ),
            ),
            ("decision", sa.func.coalesce(t.c.decision, new.decision)),
            ("updated_at", new.updated_at),
        ]

    if dialect in ("mysql", "mariadb"):
        insert = mysql.insert(t)
        return insert.on_duplicate_key_update(merged(insert.inserted))
    constructor = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = constructor(t)
    made = statement.on_conflict_do_update(
        index_elements=["open_key"], set_=dict(merged(statement.excluded))
    )
    # Without it SQLAlchemy sends PostgreSQL one statement for each row.
    return made.returning(t.c.id) if dialect == "postgresql" else made


def _spelled(state: TaskState) -> sa.ColumnElement[str]:
    return sa.literal_column(f"'{state.value}'")


def open_always(
    connection: sa.Connection, kinds: Iterable[TaskKind], regions: Iterable[str]
) -> None:
    """Open the tasks of ``regions`` that never end, where they are not open yet."""
    wanted = {key(kind, "", region): (kind, region) for region in regions for kind in kinds}
    found = connection.execute(sa.select(t.c.open_key).where(t.c.open_key.in_(sorted(wanted))))
    missing = sorted(wanted.keys() - set(found.scalars()))
    ask(connection, [Ask(wanted[name][0], "", wanted[name][1]) for name in missing])


def claim(
    connection: sa.Connection, owner: str, lease: float, limit: int, regions: Collection[str]
) -> list[Task]:
    """Take the most urgent due task and its siblings; see ``interfaces.Queue.claim``."""
    _wake(connection)
    for region in _with_work(connection, regions):
        first = connection.execute(
            sa.select(t.c.id, t.c.image_id, t.c.kind)
            # By another way it would lock all that is ready before it chose one.
            .with_hint(t, "FORCE INDEX (ix_task_state_region_rank)", "mysql")
            .where(t.c.state == TaskState.READY.value, t.c.region == region)
            .order_by(t.c.rank, t.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).first()
        if first is None:
            continue  # others were faster
        ids = [first.id]
        if first.kind == TaskKind.REPLICA and limit > 1:
            others = [name for name in regions if name not in ("", region)]
            ids += _siblings(connection, first.image_id, others, limit - 1)
        return _take(connection, owner, lease, ids)
    return []


def _wake(connection: sa.Connection) -> None:
    """Make ready what is due by now.

    One step into the index for each state: asked for both at once, and in no order, PostgreSQL
    reads all tasks as soon as many wait.
    """
    heads = []
    for state in sorted(POSTPONED):
        due = sa.select(t.c.id).where(t.c.state == state.value, t.c.due_at <= now())
        heads.append(sa.select(due.order_by(t.c.due_at).limit(_DUE_AT_ONCE).subquery()))
    still = (t.c.state.in_(sorted(POSTPONED)), t.c.due_at <= now())
    ids = [row.id for row in _found_and_locked(connection, sa.union_all(*heads), *still)]
    if ids:
        connection.execute(sa.update(t).where(t.c.id.in_(ids)).values(state=TaskState.READY.value))


def _found_and_locked(
    connection: sa.Connection,
    wanted: sa.Select[Any] | sa.CompoundSelect[Any],
    *which: sa.ColumnElement[bool],
) -> Sequence[Any]:
    """The tasks (id, attempt, region) of ``wanted``, locked; without those that others have locked.

    :param wanted: selects ids
    :param which: what must still hold when they are locked

    They are looked for without locks: where a database locks what it passes in search of a row
    (MariaDB), others would meanwhile see nothing to claim.
    """
    ids = list(connection.execute(wanted).scalars())
    if not ids:
        return []
    still = sa.select(t.c.id, t.c.attempt, t.c.region).where(t.c.id.in_(ids), *which)
    return connection.execute(still.with_for_update(skip_locked=True)).all()


def _with_work(connection: sa.Connection, regions: Collection[str]) -> list[str]:
    """Those of ``regions`` that have a task ready, the one with the most urgent first.

    One step into the index for each region, however long the queues are.
    """
    known = sa.select(g.c.name).where(g.c.name.in_(sorted(regions)))
    images = sa.select(sa.literal("")).where(sa.literal("" in regions))
    region = known.union_all(images).subquery()
    head = (
        sa.select(t.c.rank)
        .where(t.c.state == TaskState.READY.value, t.c.region == region.c.name)
        .order_by(t.c.rank)
        .limit(1)
        .scalar_subquery()
    )
    heads = sa.select(region.c.name, head.label("rank")).subquery()
    found = connection.execute(
        sa.select(heads.c.name).where(heads.c.rank.is_not(None)).order_by(heads.c.rank)
    )
    return list(found.scalars())


def _siblings(
    connection: sa.Connection, image_id: str, regions: Collection[str], limit: int
) -> list[int]:
    """The ready tasks of the image's replicas in other regions."""
    keys = sorted(key(TaskKind.REPLICA, image_id, name) for name in regions)
    found = connection.execute(
        sa.select(t.c.id)
        .where(t.c.open_key.in_(keys), t.c.state == TaskState.READY.value)
        .order_by(t.c.rank, t.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(found.scalars())


def _take(connection: sa.Connection, owner: str, lease: float, ids: list[int]) -> list[Task]:
    token = str(uuid.uuid4())
    connection.execute(
        sa.update(t)
        .where(t.c.id.in_(ids), t.c.state == TaskState.READY.value)
        .values(
            state=TaskState.RUNNING.value,
            lease_owner=owner,
            lease_token=token,
            lease_until=now() + lease,
            updated_at=now(),
        )
    )
    found = connection.execute(
        sa.select(t).where(t.c.id.in_(ids), t.c.lease_token == token).order_by(t.c.id)
    )
    return [rows.task(row) for row in found]


def hurry(connection: sa.Connection, region: str | None, since: float) -> None:
    """Make due what waits after a failure in ``region``, or in any: it answers again.

    Not what had failed before ``since``: it did so while the region was well, and keeps its pause.
    """
    which = [t.c.state.in_(sorted(POSTPONED)), t.c.attempt > 0, t.c.updated_at >= since]
    if region is not None:
        which.append(t.c.region == region)
    _make_ready(connection, *which)


def hurry_those(
    connection: sa.Connection, reason: str, image_id: str = "", most: int | None = None
) -> None:
    """Make due the replica tasks, of one image or of all, that wait for ``reason``.

    :param most: so many at most, the longest waiting
    """
    which = [t.c.state == TaskState.WAITING.value, t.c.kind == TaskKind.REPLICA.value]
    if image_id:  # of which few wait, while of all a hundred thousand may
        which.append(t.c.image_id == image_id)
    which.append(t.c.reason == reason)
    if most is not None:
        longest = sa.select(t.c.id).where(*which).order_by(t.c.since, t.c.id).limit(most)
        ids = [row.id for row in _found_and_locked(connection, longest, *which)]
        which = [t.c.id.in_(ids)]
    _make_ready(connection, *which)


def make_due(connection: sa.Connection, kind: TaskKind, regions: Iterable[str]) -> None:
    """Make due the tasks of a kind that wait for their time; one that runs will run again."""
    open_keys = t.c.open_key.in_(sorted(key(kind, "", region) for region in regions))
    connection.execute(
        sa.update(t)
        .where(open_keys, t.c.state == TaskState.RUNNING.value)
        .values(asked=t.c.asked + 1)
    )
    _make_ready(connection, open_keys, t.c.state.in_(sorted(POSTPONED)))


def _make_ready(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> None:
    connection.execute(
        sa.update(t)
        .where(*which)
        .values(state=TaskState.READY.value, due_at=now(), updated_at=now())
    )


def mine(task: Task) -> tuple[sa.ColumnElement[bool], ...]:
    """The condition that ``task`` is still run by the one who claimed it."""
    return (t.c.id == task.id, t.c.lease_token == task.lease_token)


def fence(connection: sa.Connection, task: Task) -> sa.Row[Any]:
    """Lock the task's row; LeaseLost unless it is still the caller's.

    The row tells also how long somebody has ``waited`` for it, in seconds.
    """
    waited = (now() - t.c.since).label("waited")
    row = connection.execute(sa.select(t, waited).where(*mine(task)).with_for_update()).first()
    if row is None:
        raise LeaseLost(f"the lease on {task.key} was lost")
    return row


def renew(connection: sa.Connection, tasks: Iterable[Task], lease: float) -> set[int]:
    """In one statement: those whose tasks want to commit meanwhile wait for all of it."""
    tokens = {task.id: task.lease_token for task in tasks}
    if not tokens:
        return set()
    # By the first condition they are found; by the second alone some databases would scan.
    held = (t.c.id.in_(sorted(tokens)), sa.tuple_(t.c.id, t.c.lease_token).in_(tokens.items()))
    connection.execute(sa.update(t).where(*held).values(lease_until=now() + lease))
    return set(connection.execute(sa.select(t.c.id).where(*held)).scalars())


def release(connection: sa.Connection, tasks: Iterable[Task]) -> None:
    for task in tasks:
        connection.execute(
            sa.update(t)
            .where(*mine(task))
            .values(state=TaskState.READY.value, due_at=now(), updated_at=now(), **_NO_LEASE)
        )


def rescue(connection: sa.Connection, fast_attempts: int, pause: float) -> list[str]:
    """Make the tasks of expired leases ready again; return the region of each.

    A task that takes its workers down with it is slowed down like one that fails.
    """
    ended = (t.c.state == TaskState.RUNNING.value, t.c.lease_until < now())
    expired = _found_and_locked(connection, sa.select(t.c.id).where(*ended), *ended)
    for failed in (False, True):
        ids = [row.id for row in expired if (row.attempt + 1 >= fast_attempts) is failed]
        if ids:
            connection.execute(
                sa.update(t)
                .where(t.c.id.in_(ids))
                .values(
                    attempt=t.c.attempt + 1,
                    updated_at=now(),
                    reason="its worker gave no sign of life",
                    **_postponed(pause if failed else 0, failed=failed),
                    **_NO_LEASE,
                )
            )
    return [row.region for row in expired]


def begin(connection: sa.Connection, task: Task) -> None:
    """Forget how long it has waited."""
    connection.execute(sa.update(t).where(*mine(task)).values(waiting_since=None))


def _since(task: Task, row: sa.Row[Any]) -> bool:
    """Whether somebody has asked for the task since it was claimed."""
    return bool(row.asked > task.asked or (row.decision is not None and task.decision is None))


def again(task: Task, row: sa.Row[Any]) -> bool:
    """Whether a task that is done is due again, as not all was done that was asked for.

    :param row: the task's row, fenced
    """
    return _since(task, row) or (task.decision is not None and row.asked > 0)


def conclude(connection: sa.Connection, task: Task, outcome: Outcome, row: sa.Row[Any]) -> None:
    """Write what was decided about a task.

    :param row: the task's row, fenced; asked more often than at the claim, it is due again
    """
    decided = task.decision is not None
    asked_again = _since(task, row)
    values: dict[str, Any] = {"updated_at": now(), **_NO_LEASE}
    if decided and isinstance(outcome, Done | Again):
        values["decision"] = None
    match outcome:
        # With a decision only that was carried out, and nothing that others asked for.
        case Done(result) if again(task, row):
            values |= {"reason": result, "attempt": 0, "waiting_since": None, **_postponed(0)}
            values |= {"since": task.updated_at}  # when it was claimed: the new wish came later
            if row.decision is not None and not decided:
                values["asked"] = row.asked - task.asked  # what is left when it is carried out
        case Done(result):
            values |= {"state": TaskState.DONE.value, "open_key": None, "ended_at": now()}
            values |= {"reason": result, "attempt": 0, "waiting_since": None}
            values |= {"force": False, "verify": False}
        case Again(seconds, result):
            values |= {"reason": result, "attempt": 0, "waiting_since": None}
            values |= _postponed(0 if asked_again else seconds)
        case Snooze(seconds, reason, wanted):
            values |= _postponed(0 if asked_again else seconds)
            if not wanted:
                values |= {"since": task.updated_at if asked_again else now() + seconds}
            values |= {
                "reason": reason,
                "waiting_since": sa.func.coalesce(t.c.waiting_since, now()),
            }
        case Retry(seconds, error, failed):
            urgent = asked_again and row.priority <= Priority.USER
            values |= _postponed(0 if urgent else seconds, failed=failed)
            values |= {"reason": error, "attempt": task.attempt + 1, "waiting_since": None}
    connection.execute(sa.update(t).where(*mine(task)).values(**values))


def _postponed(seconds: float, *, failed: bool = False) -> dict[str, Any]:
    late = TaskState.FAILED if failed else TaskState.WAITING
    state = late if seconds > 0 else TaskState.READY
    return {"state": state.value, "due_at": now() + seconds}


def get(connection: sa.Connection, task_id: int) -> Task | None:
    row = connection.execute(sa.select(t).where(t.c.id == task_id)).first()
    return rows.task(row) if row else None


def retry(connection: sa.Connection, task_id: int) -> bool:
    """Make an open task due now and forget its failed attempts; False if it has ended.

    One that runs is due again when it ends, however it ends.
    """
    state = sa.case((t.c.state.in_(sorted(POSTPONED)), TaskState.READY.value), else_=t.c.state)
    asked = sa.case((t.c.decision.is_(None), t.c.asked + 1), else_=t.c.asked)
    return bool(
        connection.execute(
            sa.update(t)
            .where(t.c.id == task_id, t.c.state.in_(sorted(OPEN)))
            .values(
                state=state,
                priority=Priority.USER,
                due_at=now(),
                attempt=0,
                asked=asked,
                updated_at=now(),
            )
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
