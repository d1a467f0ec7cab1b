"""What people ask the journal: lists with ``limit`` and ``marker``, and counts.

A list is ordered by its key; ``marker`` is the key of the last row of the page before. Each
function runs in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from glancesync.journal import rows
from glancesync.journal.database import now
from glancesync.journal.schema import image as i
from glancesync.journal.schema import replica as r
from glancesync.journal.schema import task as t
from glancesync.model import ImageRecord, ReplicaView, Task
from glancesync.states import ENDING, OPEN, ReplicaState

_ON_THE_WAY = [
    ReplicaState.PENDING,
    ReplicaState.COPYING,
    ReplicaState.FAILED,
    ReplicaState.STALLED,
]


def images(
    connection: sa.Connection, *, owner: str | None, limit: int, marker: str | None
) -> list[ImageRecord]:
    query = sa.select(i).order_by(i.c.image_id).limit(limit)
    if owner is not None:
        query = query.where(i.c.owner == owner)
    if marker is not None:
        query = query.where(i.c.image_id > marker)
    return [rows.image(row) for row in connection.execute(query)]


def _views() -> sa.Select[Any]:
    open_key = sa.literal("replica:") + r.c.image_id + ":" + r.c.region
    return sa.select(
        r,
        i.c.generation.label("desired_generation"),
        i.c.name,
        i.c.owner,
        t.c.id.label("task_id"),
        t.c.attempt,
        t.c.due_at,
    ).select_from(r.join(i, i.c.image_id == r.c.image_id).outerjoin(t, t.c.open_key == open_key))


def _view(row: sa.Row[Any]) -> ReplicaView:
    data = row._mapping
    own = sa.select(r).selected_columns.keys()
    return ReplicaView(
        replica=rows.replica_of({name: data[name] for name in own}),
        desired_generation=data["desired_generation"],
        name=data["name"],
        owner=data["owner"],
        task_id=data["task_id"],
        attempt=data["attempt"] or 0,
        next_try_at=data["due_at"],
    )


def replicas_of(connection: sa.Connection, image_ids: Collection[str]) -> list[ReplicaView]:
    """The replicas of some images, by image and region."""
    query = _views().where(r.c.image_id.in_(sorted(image_ids)))
    return [_view(row) for row in connection.execute(query.order_by(r.c.image_id, r.c.region))]


def replicas(
    connection: sa.Connection,
    *,
    region: str | None,
    state: str | None,
    owner: str | None,
    limit: int,
    marker: tuple[str, str] | None,
) -> list[ReplicaView]:
    """Replicas by (image, region)."""
    query = _views().order_by(r.c.image_id, r.c.region).limit(limit)
    for column, value in ((r.c.region, region), (r.c.state, state), (i.c.owner, owner)):
        if value is not None:
            query = query.where(column == value)
    if marker is not None:
        image_id, after = marker
        query = query.where(
            sa.or_(r.c.image_id > image_id, sa.and_(r.c.image_id == image_id, r.c.region > after))
        )
    return [_view(row) for row in connection.execute(query)]


def tasks(
    connection: sa.Connection,
    *,
    states: Collection[str],
    kinds: Collection[str],
    region: str | None,
    image_id: str | None,
    limit: int,
    marker: int | None,
) -> list[Task]:
    """Tasks by id."""
    query = sa.select(t).where(t.c.state.in_(sorted(states)), t.c.kind.in_(sorted(kinds)))
    query = query.order_by(t.c.id).limit(limit)
    for column, value in ((t.c.region, region), (t.c.image_id, image_id)):
        if value is not None:
            query = query.where(column == value)
    if marker is not None:
        query = query.where(t.c.id > marker)
    return [rows.task(row) for row in connection.execute(query)]


def replica_counts(connection: sa.Connection) -> dict[str, dict[str, int]]:
    """How many replicas are in which state, by region."""
    query = sa.select(r.c.region, r.c.state, sa.func.count()).group_by(r.c.region, r.c.state)
    counts: dict[str, dict[str, int]] = {}
    for region, state, count in connection.execute(query):
        counts.setdefault(region, {})[state] = count
    return counts


def backlog(connection: sa.Connection) -> dict[str, dict[str, Any]]:
    """Open tasks by region ("" are image tasks): counts by state, age of the oldest in seconds."""
    query = (
        sa.select(t.c.region, t.c.state, sa.func.count(), now() - sa.func.min(t.c.created_at))
        .where(t.c.state.in_(sorted(OPEN)), t.c.kind.in_(sorted(ENDING)))
        .group_by(t.c.region, t.c.state)
    )
    found: dict[str, dict[str, Any]] = {}
    for region, state, count, age in connection.execute(query):
        entry = found.setdefault(region, {"oldest_seconds": 0.0})
        entry[state] = count
        entry["oldest_seconds"] = max(entry["oldest_seconds"], max(0.0, float(age)))
    return found


def behind(connection: sa.Connection) -> dict[str, int]:
    """Bytes still to come, by region: of replicas without data that their image has."""
    missing = sa.func.coalesce(r.c.bytes_total, i.c.size, 0) - r.c.bytes_done
    query = (
        sa.select(r.c.region, sa.func.sum(missing))
        .select_from(r.join(i, i.c.image_id == r.c.image_id))
        .where(
            i.c.present,
            r.c.synced_at.is_(None),
            r.c.state.in_(_ON_THE_WAY),
        )
        .group_by(r.c.region)
    )
    return {region: int(total or 0) for region, total in connection.execute(query)}
