# SPDX-License-Identifier: Apache-2.0
"""Jobs and their items.

An item ends in the transaction in which the task of its replica ends; so a job's state, which is
that of its items, is true at every moment, and a later drift of the replica does not change it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from glancesync.errors import BadRequest
from glancesync.interfaces import Ask, Changes, Note
from glancesync.journal import events, pins, queue, replicas, rows
from glancesync.journal.database import Database, now
from glancesync.journal.retries import retried
from glancesync.journal.schema import item as m
from glancesync.journal.schema import job as j
from glancesync.journal.schema import pin as p
from glancesync.journal.schema import region as g
from glancesync.journal.schema import replica as r
from glancesync.journal.schema import task as t
from glancesync.model import (
    Actor,
    Done,
    ImageRecord,
    Outcome,
    Pin,
    Priority,
    Retry,
    Task,
    priority_for,
)
from glancesync.orders import Item, ItemView, Job, Tally, Wish
from glancesync.states import (
    ARRIVED,
    MISSED,
    SETTLED,
    TRIED,
    UNENDED,
    ItemState,
    JobState,
    ReplicaState,
    TaskKind,
)

_FEW = 100  # images of a job that go before what others change meanwhile
_SOME = 500  # rows that one statement names
NOTHING_DONE = "nothing to do"  # what a replica task says that found everything as it should be

_BUSY = sa.exists().where(m.c.job_id == j.c.id, m.c.state.in_(sorted(UNENDED)))
_ACTIVE = sa.or_(sa.and_(j.c.position < j.c.total, j.c.cancelled_at.is_(None)), _BUSY)
_LACKING = sa.exists().where(m.c.job_id == j.c.id, m.c.state.in_(sorted(MISSED)))
_IN_STATE = {
    JobState.ACTIVE: _ACTIVE,
    JobState.CANCELLED: sa.and_(sa.not_(_ACTIVE), j.c.cancelled_at.is_not(None)),
    JobState.FAILED: sa.and_(sa.not_(_ACTIVE), j.c.cancelled_at.is_(None), _LACKING),
    JobState.DONE: sa.and_(sa.not_(_ACTIVE), j.c.cancelled_at.is_(None), sa.not_(_LACKING)),
}


class Jobs:
    """What the API and the flow of jobs ask about jobs, part of the journal.

    :param wake: called after a commit that made a task due
    """

    def __init__(self, database: Database, wake: Callable[[], None]) -> None:
        self._database = database
        self._wake = wake

    # -- what people ask --------------------------------------------------------------------------

    @retried
    def create(
        self,
        wishes: Sequence[Wish],
        actor: Actor,
        *,
        project_id: str | None,
        everything: bool,
        most: int | None,
    ) -> Job:
        """Take a job on; a worker looks its images up.

        :param everything: whoever asks may see the images of all projects
        :param most: jobs that the project may have active at a time, this one among them
        :raises BadRequest: 403, it has as many already
        """
        with self._database.write() as connection:
            if most is not None:
                self._check_most(connection, project_id, most)
            values = {
                "project_id": project_id,
                "everything": everything,
                "wishes": json.dumps([dataclasses.asdict(one) for one in wishes]),
                "total": sum(len(one.resources) for one in wishes),
                "position": 0,
                "actor": rows.actor_text(actor),
                "created_at": now(),
            }
            key = connection.execute(sa.insert(j).values(values)).inserted_primary_key
            assert key is not None  # noqa: S101 - one row was inserted
            job_id = int(key[0])
            _ask(connection, [job_id], actor)
            events.add(connection, "", [Note("asked", f"job {job_id}")], actor)
            job = get(connection, job_id)
        assert job is not None  # noqa: S101 - it was inserted above
        self._wake()
        return job

    @staticmethod
    def _check_most(connection: sa.Connection, project_id: str | None, most: int) -> None:
        # One at a time: two that count at the same time would both find room.
        connection.execute(sa.select(g.c.name).where(g.c.home).with_for_update())
        query = sa.select(sa.func.count()).select_from(j)
        found = connection.execute(query.where(j.c.project_id == project_id, _ACTIVE)).scalar_one()
        if found >= most:
            raise BadRequest(
                f"the project has {found} active jobs; open_jobs_per_project allows {most}", 403
            )

    @retried
    def get(self, job_id: int) -> Job | None:
        """A job by its number."""
        with self._database.read() as connection:
            return get(connection, job_id)

    @retried
    def every(
        self,
        *,
        project_id: str | None,
        state: JobState | None,
        limit: int,
        marker: int | None,
    ) -> list[Job]:
        """A page of jobs, of one project or of all, the newest first."""
        query = _select().order_by(j.c.id.desc()).limit(limit)
        if project_id is not None:
            query = query.where(j.c.project_id == project_id)
        if state is not None:
            query = query.where(_IN_STATE[state])
        if marker is not None:
            query = query.where(j.c.id < marker)
        with self._database.read() as connection:
            return [rows.job(row) for row in connection.execute(query)]

    @retried
    def tallies(self, job_ids: Collection[int]) -> dict[int, Tally]:
        """How far some jobs are."""
        query = (
            sa.select(m.c.job_id, m.c.state, sa.func.count(), sa.func.max(m.c.ended_at))
            .where(m.c.job_id.in_(sorted(job_ids)))
            .group_by(m.c.job_id, m.c.state)
        )
        found = dict.fromkeys(job_ids, Tally({}))
        with self._database.read() as connection:
            for job_id, state, count, ended_at in connection.execute(query):
                old = found[job_id]
                last = max((at for at in (old.ended_at, ended_at) if at is not None), default=None)
                found[job_id] = Tally({**old.states, ItemState(state): count}, last)
        return found

    @retried
    def bytes(self, job_id: int) -> tuple[int, int]:
        """How many bytes of a job are where they are to be, and of how many."""
        size = sa.func.coalesce(m.c.size, 0)
        there = sa.case(
            (m.c.state.in_(sorted(ARRIVED)), size),
            (_COPYING, r.c.bytes_done),
            else_=0,
        )
        query = (
            sa.select(sa.func.sum(there), sa.func.sum(size))
            .select_from(m.outerjoin(r, _REPLICA))
            .where(
                m.c.job_id == job_id,
                m.c.state.not_in([ItemState.REFUSED.value, ItemState.CANCELLED.value]),
            )
        )
        with self._database.read() as connection:
            done, total = connection.execute(query).one()
        return int(done or 0), int(total or 0)

    @retried
    def items(
        self, job_id: int, *, state: ItemState | None, limit: int, marker: int | None
    ) -> list[ItemView]:
        """A page of items by number, each with what is known of its replica."""
        open_key = sa.literal("replica:") + m.c.image_id + ":" + m.c.region
        query = (
            sa.select(
                m,
                r.c.state.label("replica_state"),
                r.c.replica_id,
                r.c.bytes_done,
                t.c.reason.label("task_reason"),
            )
            .select_from(m.outerjoin(r, _REPLICA).outerjoin(t, t.c.open_key == open_key))
            .where(m.c.job_id == job_id)
            .order_by(m.c.number)
            .limit(limit)
        )
        if state is ItemState.COPYING:
            query = query.where(_COPYING)
        elif state is not None:
            query = query.where(m.c.state == state.value)
        if marker is not None:
            query = query.where(m.c.number > marker)
        with self._database.read() as connection:
            return [_shown(row) for row in connection.execute(query)]

    @retried
    def cancel(self, job_id: int, actor: Actor) -> bool:
        """End what is open of a job; False if nothing is.

        What has begun to be copied goes on, as it is wanted there; where nothing was made yet, it
        is not wanted any more.
        """
        with self._database.write() as connection:
            done = cancel(connection, job_id, actor)
        if done:
            self._wake()
        return done

    @retried
    def delete(self, job_id: int) -> bool:
        """Forget a job; False if it is active. Its images stay, where they are and wanted."""
        with self._database.write() as connection:
            locked = sa.select(j.c.id).where(j.c.id == job_id).with_for_update()
            connection.execute(locked)
            if connection.execute(locked.where(_ACTIVE)).first() is not None:
                return False
            connection.execute(sa.delete(m).where(m.c.job_id == job_id))
            connection.execute(sa.delete(j).where(j.c.id == job_id))
        return True

    # -- interfaces.Jobs --------------------------------------------------------------------------

    @retried
    def copied(self, job_id: int, source: str, source_ids: Collection[str]) -> list[Item]:
        which = [m.c.job_id == job_id, m.c.source == source, m.c.source_id.in_(sorted(source_ids))]
        with self._database.read() as connection:
            found = connection.execute(sa.select(m).where(*which).order_by(m.c.number))
            return [rows.item(row) for row in found]

    @retried
    def expand(
        self,
        task: Task,
        job: Job,
        count: int,
        items: Sequence[Item],
        records: Sequence[ImageRecord],
    ) -> None:
        with self._database.write() as connection:
            queue.fence(connection, task)
            locked = sa.select(j.c.cancelled_at).where(j.c.id == job.id).with_for_update()
            row = connection.execute(locked).first()
            if row is None or row.cancelled_at is not None:
                return
            for record in records:
                replicas.save_image(connection, record, taken=True)
            wanted = [one for one in items if one.state in UNENDED]
            pinned = _pin(connection, job, wanted)
            copying = _copying(connection, wanted)
            last = sa.select(sa.func.coalesce(sa.func.max(m.c.number), 0))
            before = int(connection.execute(last.where(m.c.job_id == job.id)).scalar_one())
            at = float(connection.execute(sa.select(now())).scalar_one())
            values = [
                rows.item_values(
                    dataclasses.replace(
                        one,
                        number=number,
                        pinned=(one.image_id, one.region) in pinned,
                        touched=(one.image_id, one.region) in copying,
                        ended_at=None if one.state in UNENDED else at,
                    )
                )
                for number, one in enumerate(items, before + 1)
            ]
            if values:
                connection.execute(sa.insert(m), values)
            _begin(connection, job, [one for one in wanted if one.state is ItemState.PENDING])
            where = sa.update(j).where(j.c.id == job.id)
            connection.execute(where.values(position=job.position + count))
        self._wake()

    @retried
    def let_go(self, task: Task, job: Job) -> None:
        with self._database.write() as connection:
            queue.fence(connection, task)
            held = sa.select(m).where(
                m.c.job_id == job.id,
                m.c.state.in_([ItemState.WAITING.value, ItemState.FAILED.value]),
                m.c.needs != "[]",
            )
            waiting = [rows.item(row) for row in connection.execute(held.with_for_update())]
            parts = sa.select(m).where(m.c.job_id == job.id, m.c.part)
            if not waiting:
                return
            there = {
                (one.image_id, one.region): one
                for row in connection.execute(parts)
                for one in [rows.item(row)]
            }
            for one in waiting:
                self._judge(connection, job, one, [there.get((n, one.region)) for n in one.needs])
        self._wake()

    @staticmethod
    def _judge(
        connection: sa.Connection, job: Job, one: Item, needs: Sequence[Item | None]
    ) -> None:
        this = sa.update(m).where(m.c.job_id == one.job_id, m.c.number == one.number)
        wrong = [part for part in needs if part is None or part.state in MISSED]
        if wrong:
            said = "; ".join(
                f"image {part.source_id}, which it needs, is {part.state.value} there: "
                f"{part.result}"
                for part in wrong
                if part is not None
            )
            connection.execute(
                this.values(state=ItemState.FAILED.value, result=said, ended_at=now())
            )
        elif all(part is not None and part.state in ARRIVED for part in needs):
            connection.execute(
                this.values(state=ItemState.PENDING.value, needs="[]", result=None, ended_at=None)
            )
            _begin(connection, job, [one])


_REPLICA = sa.and_(r.c.image_id == m.c.image_id, r.c.region == m.c.region)
_COPYING = sa.and_(m.c.state == ItemState.PENDING.value, r.c.state == ReplicaState.COPYING.value)


def _select() -> sa.Select[Any]:
    """Jobs, with the reason for which their task, if it is open, waits."""
    open_key = sa.literal("job:") + sa.cast(j.c.id, sa.String(20))
    return sa.select(j, t.c.reason).select_from(j.outerjoin(t, t.c.open_key == open_key))


def get(connection: sa.Connection, job_id: int) -> Job | None:
    row = connection.execute(_select().where(j.c.id == job_id)).first()
    return rows.job(row) if row else None


def _shown(row: sa.Row[Any]) -> ItemView:
    item = rows.item(row)
    copying = item.state is ItemState.PENDING and row.replica_state == ReplicaState.COPYING
    state = ItemState.COPYING if copying else item.state
    done = 0
    if item.state in ARRIVED:
        done = item.size or 0
    elif copying:
        done = row.bytes_done
    return ItemView(item, state, row.replica_id, done, row.task_reason)


def _ask(connection: sa.Connection, job_ids: Iterable[int], actor: Actor) -> None:
    queue.ask(
        connection,
        [
            Ask(TaskKind.JOB, str(job_id), "", Priority.USER, actor, urgent=True)
            for job_id in sorted(set(job_ids))
        ],
    )


def _pin(connection: sa.Connection, job: Job, items: Sequence[Item]) -> set[tuple[str, str]]:
    """Want these images there by name; those that nobody had wanted so."""
    wanted = [
        Pin(one.image_id, one.region, cause(job.id), job.actor) for one in items if one.image_id
    ]
    return {(one.image_id, one.region) for one in pins.put(connection, wanted)}


def cause(job_id: int) -> str:
    """What a pin of a job says of itself."""
    return f"job {job_id}"


def _copying(connection: sa.Connection, items: Sequence[Item]) -> set[tuple[str, str]]:
    """Those whose bytes are on their way already."""
    ids = sorted({one.image_id for one in items if one.image_id is not None})
    query = sa.select(r.c.image_id, r.c.region).where(
        r.c.image_id.in_(ids), r.c.state == ReplicaState.COPYING.value
    )
    return {(row.image_id, row.region) for row in connection.execute(query)}


def _begin(connection: sa.Connection, job: Job, items: Sequence[Item]) -> None:
    """Have a task opened for each of these."""
    base = Priority.USER if job.size <= _FEW else Priority.PLAN
    regions: dict[str, list[str]] = {}
    for one in items:
        regions.setdefault(str(one.image_id), []).append(one.region)
    for image_id, names in regions.items():
        replicas.make_pending(connection, image_id, names)
        notes = [Note("asked", cause(job.id), name) for name in names]
        events.add(connection, image_id, notes, job.actor)
    queue.ask(
        connection,
        [
            Ask(
                TaskKind.REPLICA,
                str(one.image_id),
                one.region,
                priority_for(base, one.size),
                job.actor,
                urgent=base <= Priority.USER,
                force=one.replace,
            )
            for one in items
        ],
    )


# -- what other transactions do to jobs ------------------------------------------------------------


def follow(
    connection: sa.Connection,
    task: Task,
    changes: Changes,
    outcome: Outcome | None,
    *,
    over: bool,
) -> None:
    """Write what a replica task has brought to the items that wait for it.

    :param over: nobody has asked for the task again since it was claimed, or in vain
    """
    replica = changes.replica
    which = [m.c.image_id == task.image_id, m.c.region == task.region]
    if outcome is None:
        if replica is not None and replica.state is ReplicaState.COPYING:
            pending = m.c.state == ItemState.PENDING.value
            connection.execute(sa.update(m).where(*which, pending).values(touched=True))
        return
    if not over or (found := _fate(changes, outcome)) is None:
        return
    state, said = found
    which += [m.c.state.in_(sorted(TRIED)), m.c.needs == "[]"]
    waiting = connection.execute(sa.select(m.c.job_id, m.c.part).where(*which)).all()
    if not waiting:
        return
    if state in ARRIVED:
        shown: Any = sa.case(
            (m.c.touched, ItemState.DONE.value), else_=sa.literal(state.value, sa.String)
        )
    else:
        shown = state.value
    values = {"state": shown, "result": said, "ended_at": now()}
    connection.execute(sa.update(m).where(*which).values(values))
    _ask(connection, [row.job_id for row in waiting if row.part], task.actor)


def _fate(changes: Changes, outcome: Outcome) -> tuple[ItemState, str] | None:
    """What the end of a task means to an item, and why; None: it goes on."""
    replica = changes.replica
    if isinstance(outcome, Retry):
        clash = replica is not None and replica.state is ReplicaState.CONFLICT
        state = ItemState.CONFLICT if clash else ItemState.FAILED
        return (state, outcome.error) if outcome.failed else None
    if not isinstance(outcome, Done):
        return None
    if replica is None:
        state = ItemState.IN_SYNC if changes.promoted else ItemState.FAILED
        return state, outcome.result
    if replica.state in SETTLED:
        state = ItemState.IN_SYNC if outcome.result == NOTHING_DONE else ItemState.DONE
        refused = "".join(
            f"; the region refused {what}: {why}" for what, why in replica.refused.items()
        )
        return state, outcome.result + refused
    if replica.state is ReplicaState.PENDING:
        return None  # another task is to say what it is about
    said = replica.last_error or f"the replica is {replica.state.value}: {outcome.result}"
    conflict = replica.state is ReplicaState.CONFLICT
    return ItemState.CONFLICT if conflict else ItemState.FAILED, said


def abandon(connection: sa.Connection, image_id: str, region: str, why: str) -> None:
    """Say of the items that wait for a task that was ended by hand that nobody works on them."""
    which = [m.c.image_id == image_id, m.c.region == region, m.c.state == ItemState.PENDING.value]
    parts = connection.execute(sa.select(m.c.job_id).where(*which, m.c.part)).scalars().all()
    values = {"state": ItemState.FAILED.value, "result": why, "ended_at": now()}
    connection.execute(sa.update(m).where(*which).values(values))
    _ask(connection, parts, Actor())


def cancel(connection: sa.Connection, job_id: int, actor: Actor) -> bool:
    """See :meth:`Jobs.cancel`."""
    locked = sa.select(j.c.id).where(j.c.id == job_id).with_for_update()
    connection.execute(locked)
    if connection.execute(locked.where(_ACTIVE)).first() is None:
        return False
    connection.execute(sa.update(j).where(j.c.id == job_id).values(cancelled_at=now()))
    task = sa.select(t.c.id).where(t.c.open_key == queue.key(TaskKind.JOB, str(job_id)))
    task_id = connection.execute(task).scalar()
    if task_id is not None:
        queue.cancel(connection, task_id, f"job {job_id} was cancelled")
    _unpin(connection, job_id)
    connection.execute(
        sa.update(m)
        .where(m.c.job_id == job_id, m.c.state.in_(sorted(UNENDED)))
        .values(state=ItemState.CANCELLED.value, ended_at=now())
    )
    events.add(connection, "", [Note("asked", f"job {job_id} cancelled")], actor)
    return True


def _unpin(connection: sa.Connection, job_id: int) -> None:
    """Take back the wishes of a job that have made nothing yet, but what another job wants, too."""
    other = m.alias()
    wanted = sa.and_(
        other.c.image_id == m.c.image_id,
        other.c.region == m.c.region,
        other.c.job_id != job_id,
        other.c.state.not_in([ItemState.CANCELLED.value, ItemState.REFUSED.value]),
    )
    heir = sa.select(sa.func.min(other.c.job_id)).where(wanted).scalar_subquery()
    query = (
        sa.select(m.c.image_id, m.c.region, heir.label("heir"))
        .select_from(m.outerjoin(r, _REPLICA))
        .where(
            m.c.job_id == job_id,
            m.c.state.in_(sorted(UNENDED)),
            m.c.pinned,
            sa.or_(r.c.made.is_(None), sa.not_(r.c.made)),
        )
    )
    gone: list[tuple[str, str]] = []
    for row in connection.execute(query).all():
        if row.heir is None:
            gone.append((row.image_id, row.region))
            continue
        which = [p.c.image_id == row.image_id, p.c.region == row.region]
        connection.execute(
            sa.update(p).where(*which, p.c.cause == cause(job_id)).values(cause=cause(row.heir))
        )
        heirs = [m.c.image_id == row.image_id, m.c.region == row.region]
        connection.execute(sa.update(m).where(*heirs, m.c.job_id == row.heir).values(pinned=True))
    for start in range(0, len(gone), _SOME):
        some = sa.tuple_(p.c.image_id, p.c.region).in_(gone[start : start + _SOME])
        connection.execute(sa.delete(p).where(some, p.c.cause == cause(job_id)))


def purge(connection: sa.Connection, before: sa.ColumnElement[float], limit: int) -> int:
    """The items of jobs that ended before, then the jobs; how many rows went."""
    later = sa.exists().where(m.c.job_id == j.c.id, m.c.ended_at >= before)
    ended = (j.c.created_at < before, sa.not_(_ACTIVE), sa.not_(later))
    ids = list(connection.execute(sa.select(j.c.id).where(*ended).limit(limit)).scalars())
    if not ids:
        return 0
    found = [
        tuple(row)
        for row in connection.execute(
            sa.select(m.c.job_id, m.c.number).where(m.c.job_id.in_(ids)).limit(limit)
        )
    ]
    if found:
        some = sa.tuple_(m.c.job_id, m.c.number).in_(found)
        return connection.execute(sa.delete(m).where(some)).rowcount
    return connection.execute(sa.delete(j).where(j.c.id.in_(ids))).rowcount
