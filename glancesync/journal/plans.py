# SPDX-License-Identifier: Apache-2.0
"""Plans and their steps."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa

from glancesync.interfaces import Ask, Note
from glancesync.journal import events, queue, rows
from glancesync.journal.database import Database, now
from glancesync.journal.retries import retried
from glancesync.journal.schema import image as i
from glancesync.journal.schema import plan as p
from glancesync.journal.schema import replica as r
from glancesync.journal.schema import step as s
from glancesync.journal.schema import task as t
from glancesync.model import Actor, Decision, Priority
from glancesync.orders import Plan, Step
from glancesync.states import DecisionKind, PlanState, StepState, TaskKind, TaskState

_NAMED = 3  # reasons that a refusal lists


class Plans:
    """What the API and the planning ask about plans, part of the journal.

    :param wake: called after a commit that made a task due
    """

    def __init__(self, database: Database, wake: Callable[[], None]) -> None:
        self._database = database
        self._wake = wake

    @retried
    def create(self, regions: Collection[str], image_id: str | None, actor: Actor) -> Plan:
        """Have a plan made: of all regions and images, unless some are named."""
        with self._database.write() as connection:
            values = {
                "state": PlanState.PLANNING.value,
                "strategy": "",
                "image_id": image_id,
                "regions": json.dumps(sorted(regions)),
                "unread": "{}",
                "actor": rows.actor_text(actor),
                "created_at": now(),
            }
            key = connection.execute(sa.insert(p).values(values)).inserted_primary_key
            assert key is not None  # noqa: S101 - one row was inserted
            plan_id = int(key[0])
            self._ask(connection, plan_id, "plan", actor)
            plan = get(connection, plan_id)
        assert plan is not None  # noqa: S101 - it was inserted above
        self._wake()
        return plan

    @retried
    def apply(self, plan_id: int, actor: Actor) -> str | None:
        """Have a plan applied; why not, in words, if it can't be."""
        with self._database.write() as connection:
            locked = sa.select(p).where(p.c.id == plan_id).with_for_update()
            plan = rows.plan(connection.execute(locked).one())
            why = _unfit(plan) or _stale(connection, plan_id)
            if why is not None:
                return why
            connection.execute(
                sa.update(p)
                .where(p.c.id == plan_id)
                .values(
                    state=PlanState.APPLYING.value,
                    applied_at=now(),
                    applied_by=rows.actor_text(actor),
                )
            )
            self._ask(connection, plan_id, "apply plan", actor)
        self._wake()
        return None

    @staticmethod
    def _ask(connection: sa.Connection, plan_id: int, what: str, actor: Actor) -> None:
        ask = Ask(TaskKind.PLAN, str(plan_id), "", Priority.USER, actor, urgent=True)
        queue.ask(connection, [ask])
        events.add(connection, "", [Note("asked", f"{what} {plan_id}")], actor)

    @retried
    def get(self, plan_id: int) -> Plan | None:
        """A plan by its number."""
        with self._database.read() as connection:
            return get(connection, plan_id)

    @retried
    def every(self, *, limit: int, marker: int | None) -> list[Plan]:
        """A page of plans, the newest first."""
        query = sa.select(p).order_by(p.c.id.desc()).limit(limit)
        if marker is not None:
            query = query.where(p.c.id < marker)
        with self._database.read() as connection:
            return [rows.plan(row) for row in connection.execute(query)]

    @retried
    def step(self, plan_id: int, image_id: str, region: str) -> Step | None:
        """What a plan says of a replica, as it is on record."""
        which = [s.c.plan_id == plan_id, s.c.image_id == image_id, s.c.region == region]
        with self._database.read() as connection:
            row = connection.execute(sa.select(s).where(*which)).first()
            return rows.step(row) if row else None

    @retried
    def planned(self, plan_id: int, limit: int) -> list[Step]:
        """Steps that were not asked for yet."""
        which = [s.c.plan_id == plan_id, s.c.state == StepState.PLANNED.value]
        query = sa.select(s).where(*which).order_by(s.c.region, s.c.image_id).limit(limit)
        with self._database.read() as connection:
            return [rows.step(row) for row in connection.execute(query)]

    @retried
    def steps(
        self, plan_id: int, *, region: str | None, limit: int, marker: tuple[str, str] | None
    ) -> list[Step]:
        """A page of steps by region and image, each with the state in which its task is."""
        query = (
            sa.select(s, *_TASK)
            .select_from(_with_task(plan_id))
            .where(s.c.plan_id == plan_id)
            .order_by(s.c.region, s.c.image_id)
            .limit(limit)
        )
        if region is not None:
            query = query.where(s.c.region == region)
        if marker is not None:
            where, after = marker
            same = sa.and_(s.c.region == where, s.c.image_id > after)
            query = query.where(sa.or_(s.c.region > where, same))
        with self._database.read() as connection:
            return [_shown(row) for row in connection.execute(query)]

    @retried
    def counts(self, plan_id: int) -> dict[str, tuple[dict[StepState, int], int]]:
        """Region -> how many steps are in which state, and how many bytes they copy."""
        query = (
            sa.select(s.c.region, s.c.state, t.c.state, sa.func.count(), sa.func.sum(s.c.bytes))
            .select_from(_with_task(plan_id))
            .where(s.c.plan_id == plan_id)
            .group_by(s.c.region, s.c.state, t.c.state)
        )
        found: dict[str, tuple[dict[StepState, int], int]] = {}
        with self._database.read() as connection:
            for region, state, task_state, count, size in connection.execute(query):
                states, before = found.get(region, ({}, 0))
                shown = _state(StepState(state), task_state)
                states[shown] = states.get(shown, 0) + count
                found[region] = (states, before + int(size))
        return found


def _with_task(plan_id: int) -> sa.FromClause:
    """Steps with the open task that has them, if there is one."""
    open_key = sa.literal("replica:") + s.c.image_id + ":" + s.c.region
    decision = str(Decision(DecisionKind.PLAN, str(plan_id)))
    return s.outerjoin(t, sa.and_(t.c.open_key == open_key, t.c.decision == decision))


_TASK = (t.c.state.label("task_state"), t.c.reason.label("task_reason"))


def _state(state: StepState, task_state: str | None) -> StepState:
    """The state of a step as people see it."""
    if state not in (StepState.ASKED, StepState.BEGUN):
        return state
    if task_state is None:
        return StepState.CANCELLED
    return StepState.FAILED if task_state == TaskState.FAILED else state


def _shown(row: sa.Row[Any]) -> Step:
    step = rows.step(row)
    state = _state(step.state, row.task_state)
    return dataclasses.replace(step, state=state, result=step.result or row.task_reason)


def get(connection: sa.Connection, plan_id: int) -> Plan | None:
    """With the reason for which its task, if it is open, waits."""
    row = connection.execute(sa.select(p).where(p.c.id == plan_id)).first()
    if row is None:
        return None
    open_key = queue.key(TaskKind.PLAN, str(plan_id))
    reason = connection.execute(sa.select(t.c.reason).where(t.c.open_key == open_key)).scalar()
    plan = rows.plan(row)
    return dataclasses.replace(plan, reason=plan.reason or reason)


def _unfit(plan: Plan) -> str | None:
    """Why a plan in that state can't be applied."""
    match plan.state:
        case PlanState.READY:
            return None
        case PlanState.PLANNING:
            return f"plan {plan.id} is not ready yet"
        case PlanState.FAILED:
            return f"plan {plan.id} could not be made: {plan.reason}"
        case _:
            return f"plan {plan.id} was applied already; make a new one to see what is left"


def _stale(connection: sa.Connection, plan_id: int) -> str | None:
    """What the journal knows to have changed since the plan was made, in words."""
    open_key = sa.literal("replica:") + s.c.image_id + ":" + s.c.region
    tables = (
        s.outerjoin(i, i.c.image_id == s.c.image_id)
        .outerjoin(r, sa.and_(r.c.image_id == s.c.image_id, r.c.region == s.c.region))
        .outerjoin(t, sa.and_(t.c.open_key == open_key, t.c.decision.is_not(None)))
    )
    changed = sa.and_(i.c.changed_at > s.c.looked_at, i.c.fingerprint != s.c.home)
    worked_on = r.c.updated_at > s.c.looked_at
    decided = t.c.decision.is_not(None)
    query = (
        sa.select(s.c.image_id, s.c.region, changed.label("changed"), t.c.decision)
        .select_from(tables)
        .where(s.c.plan_id == plan_id, sa.or_(changed, worked_on, decided))
        .order_by(s.c.region, s.c.image_id)
    )
    found = connection.execute(query.limit(_NAMED + 1)).all()
    if not found:
        return None
    named = [
        f"image {row.image_id} has changed at home"
        if row.changed
        else f"the replica of {row.image_id} in {row.region} "
        + (f"is subject to {row.decision}" if row.decision else "was worked on")
        for row in found[:_NAMED]
    ]
    more = " and more" if len(found) > _NAMED else ""
    return f"plan {plan_id} went stale: {'; '.join(named)}{more}; make a new one"


def abandon(connection: sa.Connection, plan_id: int, why: str) -> None:
    """Say of a plan that is not ready, or not quite applied, that nobody works on it any more."""
    unfinished = [PlanState.PLANNING.value, PlanState.APPLYING.value]
    connection.execute(
        sa.update(p)
        .where(p.c.id == plan_id, p.c.state.in_(unfinished))
        .values(state=PlanState.FAILED.value, reason=why)
    )


# -- what tasks write, in their transaction --------------------------------------------------------


def save(connection: sa.Connection, plan: Plan) -> None:
    """Write how far a plan is. One that is being made has no steps yet, or not any more."""
    values: dict[str, Any] = {
        "state": plan.state.value,
        "strategy": plan.strategy,
        "regions": json.dumps(plan.regions),
        "unread": json.dumps(dict(plan.unread)),
        "reason": plan.reason,
    }
    if plan.state is PlanState.PLANNING:
        connection.execute(sa.delete(s).where(s.c.plan_id == plan.id))
    if plan.state is PlanState.READY:
        values["ready_at"] = now()
        which = [s.c.plan_id == plan.id, s.c.region.in_(sorted(plan.unread))]
        connection.execute(sa.delete(s).where(*which))
    connection.execute(sa.update(p).where(p.c.id == plan.id).values(values))


def save_steps(connection: sa.Connection, steps: Sequence[Step]) -> None:
    """Insert those that are planned; of the others write what became of them."""
    new = [step for step in steps if step.state is StepState.PLANNED]
    if new:
        at = float(connection.execute(sa.select(now())).scalar_one())
        connection.execute(sa.insert(s), [_values(step, at) for step in new])
    old = [step for step in steps if step.state is not StepState.PLANNED]
    if old:
        names = ("plan_id", "region", "image_id")
        update = sa.update(s).where(*(s.c[name] == sa.bindparam(f"of_{name}") for name in names))
        connection.execute(
            update.values(state=sa.bindparam("to_state"), result=sa.bindparam("to_result")),
            [
                {f"of_{name}": getattr(step, name) for name in names}
                | {"to_state": step.state.value, "to_result": step.result}
                for step in old
            ],
        )


def _values(step: Step, looked_at: float) -> dict[str, Any]:
    lists = {name: json.dumps(getattr(step, name)) for name in ("actions", "adoptable")}
    return {**vars(step), **lists, "state": step.state.value, "looked_at": looked_at}
