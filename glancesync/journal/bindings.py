# SPDX-License-Identifier: Apache-2.0
"""Bindings: which region a project belongs to, now and before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa

from glancesync.errors import BadRequest
from glancesync.interfaces import Ask, Note
from glancesync.journal import events, queue, regions, rows
from glancesync.journal.database import Database, now
from glancesync.journal.retries import retried
from glancesync.journal.schema import binding as b
from glancesync.journal.schema import image as i
from glancesync.journal.schema import region as g
from glancesync.journal.schema import replica as r
from glancesync.journal.schema import task as t
from glancesync.model import Actor, Region
from glancesync.orders import Binding
from glancesync.placement.selection import Candidate, Judged, Selection, Wish
from glancesync.sources import distance
from glancesync.states import ENDED, SETTLED, TaskKind, TaskState

_PAGE = 1000  # images asked for by one statement
_FIRST = "the first request"


@dataclasses.dataclass(frozen=True)
class Selected:
    """What came of a wish.

    ``binding``: None if no region will do. ``ranked``: the regions that were looked at, the best
    first; only that of the binding if it was there and still will do.
    """

    binding: Binding | None
    created: bool
    ranked: Sequence[Judged]


class Bindings:
    """What the API asks about bindings, part of the journal.

    :param wake: called after a commit that may have made a task due
    """

    def __init__(self, database: Database, wake: Callable[[], None]) -> None:
        self._database = database
        self._wake = wake

    @retried
    def select(
        self, wish: Wish, selection: Selection, actor: Actor, most: int | None = None
    ) -> Selected:
        """The binding of a project and group, made if there is none or its region will not do.

        However many ask at once, one of them makes it and all get it. What was bound before ends,
        and keeps its images until it is released.

        :param most: groups of the project that may be bound, this one among them
        :raises BadRequest: more are
        """
        with self._database.read() as connection:
            current = _active(connection, wish.project_id, wish.group)
            if current is not None:
                judged = _judged(connection, wish, selection, current.region)
                if judged is not None and judged.passes:
                    return Selected(current, False, [judged])
        with self._database.write() as connection:
            current = _active(connection, wish.project_id, wish.group, lock=True)
            ranked = selection.rank(wish, _candidates(connection, wish))
            found = {one.region: one for one in ranked}
            if current is not None and current.region in found and found[current.region].passes:
                return Selected(current, False, ranked)
            if not ranked or not ranked[0].passes:
                return Selected(None, False, ranked)
            cause = _FIRST
            if current is None:
                _check_most(connection, wish.project_id, most)
            else:
                cause = f"{current.region} will not do: {_why(found.get(current.region))}"
            binding = _bind(connection, wish, ranked[0].region, cause, actor, current)
        self._wake()
        return Selected(binding, True, ranked)

    @retried
    def explain(self, wish: Wish, selection: Selection) -> Selected:
        """What a wish would come to, with all regions; the binding is the one that is there."""
        with self._database.read() as connection:
            current = _active(connection, wish.project_id, wish.group)
            return Selected(current, False, selection.rank(wish, _candidates(connection, wish)))

    @retried
    def bind(
        self, project_id: str, group: str, region: str, cause: str, actor: Actor
    ) -> tuple[Binding, bool]:
        """Bind by hand; False: it was bound to that region before."""
        with self._database.write() as connection:
            current = _active(connection, project_id, group, lock=True)
            if current is not None and current.region == region:
                return current, False
            binding = _bind(connection, Wish(project_id, group), region, cause, actor, current)
        self._wake()
        return binding, True

    @retried
    def end(self, binding_id: int, cause: str, actor: Actor, *, release: bool) -> Binding | None:
        """End a binding, if it has not ended yet; None: there is none of that number.

        :param release: the images need not stay in its region, for this binding or for earlier
            ones of the same project and group to it
        """
        with self._database.write() as connection:
            binding = _get(connection, binding_id, lock=True)
            if binding is None:
                return None
            if binding.active:
                _end(connection, binding, cause, actor)
            if release:
                _release(connection, binding, cause, actor)
            binding = _get(connection, binding_id)
        self._wake()
        return binding

    @retried
    def get(self, binding_id: int) -> Binding | None:
        """A binding by its number."""
        with self._database.read() as connection:
            return _get(connection, binding_id)

    @retried
    def every(
        self,
        *,
        project_id: str | None = None,
        region: str | None = None,
        active: bool | None = None,
        limit: int = 100,
        marker: int | None = None,
    ) -> list[Binding]:
        """A page of bindings, the newest first."""
        query = sa.select(b).order_by(b.c.id.desc()).limit(limit)
        for column, value in ((b.c.project_id, project_id), (b.c.region, region)):
            if value is not None:
                query = query.where(column == value)
        if active is not None:
            query = query.where(b.c.active.is_not(None) if active else b.c.active.is_(None))
        if marker is not None:
            query = query.where(b.c.id < marker)
        with self._database.read() as connection:
            return [rows.binding(row) for row in connection.execute(query)]


def bound(connection: sa.Connection, projects: Collection[str]) -> dict[str, frozenset[str]]:
    """Project -> the regions that its images go to by its bindings."""
    query = sa.select(b.c.project_id, b.c.region).distinct()
    found: dict[str, set[str]] = {}
    for row in connection.execute(
        query.where(b.c.project_id.in_(sorted(projects)), sa.not_(b.c.released))
    ):
        found.setdefault(row.project_id, set()).add(row.region)
    return {project: frozenset(names) for project, names in found.items()}


# -- the binding of a project and group ----------------------------------------------------------


def _check_most(connection: sa.Connection, project_id: str, most: int | None) -> None:
    if most is None:
        return
    # One at a time: two that count at the same time would both find room.
    connection.execute(sa.select(g.c.name).where(g.c.home).with_for_update())
    query = sa.select(sa.func.count()).where(b.c.project_id == project_id, b.c.active.is_not(None))
    found = connection.execute(query).scalar_one()
    if found >= most:
        raise BadRequest(
            f"{found} groups of the project are bound; bindings_per_project allows {most}", 403
        )


def _get(connection: sa.Connection, binding_id: int, *, lock: bool = False) -> Binding | None:
    return _one(connection, sa.select(b).where(b.c.id == binding_id), lock=lock)


def _active(
    connection: sa.Connection, project_id: str, group: str, *, lock: bool = False
) -> Binding | None:
    same = (b.c.project_id == project_id, b.c.group_name == group, b.c.active.is_not(None))
    return _one(connection, sa.select(b).where(*same), lock=lock)


def _one(connection: sa.Connection, query: sa.Select[Any], *, lock: bool) -> Binding | None:
    row = connection.execute(query.with_for_update() if lock else query).first()
    return rows.binding(row) if row else None


def _bind(
    connection: sa.Connection,
    wish: Wish,
    region: str,
    cause: str,
    actor: Actor,
    before: Binding | None,
) -> Binding:
    """Of two that come here at the same time the database lets one through."""
    if before is not None:
        _end(connection, before, f"bound to {region} instead: {cause}", actor)
    key = connection.execute(
        sa.insert(b).values(
            project_id=wish.project_id,
            group_name=wish.group,
            region=region,
            active=True,
            released=False,
            cause=cause,
            actor=rows.actor_text(actor),
            began_at=now(),
        )
    ).inserted_primary_key
    assert key is not None  # noqa: S101 - one row was inserted
    binding = _get(connection, int(key[0]))
    assert binding is not None  # noqa: S101 - it was just inserted
    _note(connection, "bound", binding, cause, actor)
    _follow(connection, binding)
    return binding


def _end(connection: sa.Connection, binding: Binding, cause: str, actor: Actor) -> None:
    connection.execute(
        sa.update(b)
        .where(b.c.id == binding.id)
        .values(active=None, ended_at=now(), end_cause=cause, ended_by=rows.actor_text(actor))
    )
    _note(connection, "unbound", binding, cause, actor)


def _release(connection: sa.Connection, binding: Binding, cause: str, actor: Actor) -> None:
    """Of the images that are in the region because of it, those go that nothing else wants."""
    same = (
        b.c.project_id == binding.project_id,
        b.c.group_name == binding.group,
        b.c.region == binding.region,
        b.c.active.is_(None),
    )
    connection.execute(sa.update(b).where(*same).values(released=True))
    _note(connection, "released", binding, cause, actor)
    there = sa.exists().where(
        r.c.image_id == i.c.image_id,
        r.c.region == binding.region,
        r.c.state.not_in(sorted(ENDED)),
    )
    _ask_for(connection, binding, there)


def _follow(connection: sa.Connection, binding: Binding) -> None:
    """Have the project's images brought to the region, ahead of need."""
    there = sa.exists().where(
        r.c.image_id == i.c.image_id,
        r.c.region == binding.region,
        r.c.state.in_(sorted(SETTLED)),
    )
    _ask_for(connection, binding, sa.not_(there))


def _ask_for(connection: sa.Connection, binding: Binding, which: sa.ColumnElement[bool]) -> None:
    """Have some of the project's images looked at, by nobody: who binds does not change them.

    And what is being looked at just now: it may be one of them that is not on record as such yet,
    by a look that has not seen this binding.
    """
    own = (i.c.owner == binding.project_id, i.c.present, i.c.origin.is_(None))
    images = sa.select(i.c.image_id).where(*own, which)
    images = images.order_by(i.c.image_id).limit(_PAGE)
    after = ""
    while ids := list(connection.execute(images.where(i.c.image_id > after)).scalars()):
        queue.ask(connection, [Ask(TaskKind.IMAGE, image_id) for image_id in ids])
        after = ids[-1]
    running = (t.c.state == TaskState.RUNNING.value, t.c.region == "")
    query = sa.select(t.c.image_id).where(*running, t.c.kind == TaskKind.IMAGE.value)
    ids = list(connection.execute(query).scalars())
    queue.ask(connection, [Ask(TaskKind.IMAGE, image_id) for image_id in ids])


def _note(connection: sa.Connection, what: str, binding: Binding, cause: str, actor: Actor) -> None:
    who = f"project {binding.project_id}" + (f", {binding.group}" if binding.group else "")
    events.add(connection, "", [Note(what, f"{who}: {cause}", binding.region)], actor)


# -- what a choice goes by ------------------------------------------------------------------------


def _judged(
    connection: sa.Connection, wish: Wish, selection: Selection, region: str
) -> Judged | None:
    found = _candidates(connection, wish, region)
    return selection.judge(wish, found[0]) if found else None


def _why(judged: Judged | None) -> str:
    return "it is not known any more" if judged is None else "; ".join(judged.reasons)


def _candidates(connection: sa.Connection, wish: Wish, only: str | None = None) -> list[Candidate]:
    """All regions but home, or one of them, with what a choice goes by."""
    known = regions.every(connection) if only is None else regions.some(connection, only)
    home = next((one for one in known if one.home), Region("", ""))
    at = float(connection.execute(sa.select(now())).scalar_one())
    held = sa.select(r.c.region, sa.func.sum(i.c.size))
    held = held.select_from(r.join(i, i.c.image_id == r.c.image_id)).where(
        i.c.owner == wish.project_id, i.c.present, r.c.state.in_(sorted(SETTLED))
    )
    busy = [TaskState.READY.value, TaskState.RUNNING.value]
    backlog = sa.select(t.c.region, sa.func.count()).where(t.c.state.in_(busy), t.c.region != "")
    bindings = sa.select(b.c.region, sa.func.count()).where(b.c.active.is_not(None))
    bytes_held = _by_region(connection, held, r.c.region, only)
    tasks = _by_region(connection, backlog, t.c.region, only)
    bound_there = _by_region(connection, bindings, b.c.region, only)
    return [
        Candidate(
            one,
            distance=distance(home, one),
            held=bytes_held.get(one.name, 0),
            backlog=tasks.get(one.name, 0),
            bindings=bound_there.get(one.name, 0),
            age=None if one.found_at is None else max(0.0, at - one.found_at),
            capacity_age=0.0 if one.capacity is None else max(0.0, at - one.capacity.said_at),
        )
        for one in known
        if not one.home and only in (None, one.name)
    ]


def _by_region(
    connection: sa.Connection, query: sa.Select[Any], region: sa.Column[str], only: str | None
) -> dict[str, int]:
    if only is not None:
        query = query.where(region == only)
    return {row[0]: int(row[1] or 0) for row in connection.execute(query.group_by(region))}
