# SPDX-License-Identifier: Apache-2.0
"""What people ask the journal: lists with ``limit`` and ``marker``, and counts.

A list is ordered by its key; ``marker`` is the key of the last row of the page before. Each
function runs in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from glancesync.journal import audits, queue, regions, rows
from glancesync.journal.database import now
from glancesync.journal.replicas import get_image
from glancesync.journal.schema import binding as b
from glancesync.journal.schema import image as i
from glancesync.journal.schema import pin as p
from glancesync.journal.schema import replica as r
from glancesync.journal.schema import task as t
from glancesync.model import Audit, ImageRecord, Need, ReplicaView, Standing, Task
from glancesync.states import BEHIND, ENDING, OPEN, ReplicaState, TaskKind

#: States of replicas that may lack their bytes.
_TO_COPY = sorted(BEHIND - {ReplicaState.CONFLICT})
#: Tasks that somebody waits for, other than of images that are still being uploaded.
_WANTED = (t.c.state.in_(sorted(OPEN)), t.c.kind.in_(sorted(ENDING)), t.c.since <= now())


def images(
    connection: sa.Connection,
    *,
    owner: str | None,
    name: str | None,
    limit: int,
    marker: str | None,
) -> list[ImageRecord]:
    query = sa.select(i).order_by(i.c.image_id).limit(limit)
    for column, value in ((i.c.owner, owner), (i.c.name, name)):
        if value is not None:
            query = query.where(column == value)
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
        p.c.used_at,
    ).select_from(
        r.join(i, i.c.image_id == r.c.image_id)
        .outerjoin(t, t.c.open_key == open_key)
        .outerjoin(p, sa.and_(p.c.image_id == r.c.image_id, p.c.region == r.c.region))
    )


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
        used_at=data["used_at"],
    )


def replicas_of(connection: sa.Connection, image_ids: Collection[str]) -> list[ReplicaView]:
    """The replicas of some images, by image and region."""
    query = _views().where(r.c.image_id.in_(sorted(image_ids)))
    return [_view(row) for row in connection.execute(query.order_by(r.c.image_id, r.c.region))]


def need(connection: sa.Connection, image_id: str, region: str) -> Need:
    """What there is to know of an image that somebody needs in a region."""
    query = _views().where(r.c.image_id == image_id, r.c.region == region)
    replica = connection.execute(query).first()
    keys = [queue.key(TaskKind.REPLICA, image_id, region), queue.key(TaskKind.IMAGE, image_id)]
    tasks = {
        row.open_key: rows.task(row)
        for row in connection.execute(sa.select(t).where(t.c.open_key.in_(keys)))
    }
    return Need(
        image=get_image(connection, image_id),
        region=regions.get(connection, region),
        replica=None if replica is None else _view(replica),
        task=next((tasks[key] for key in keys if key in tasks), None),
        now=float(connection.execute(sa.select(now())).scalar_one()),
    )


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
    newest: bool,
    limit: int,
    marker: int | None,
) -> list[Task]:
    """Tasks by id, upwards or downwards."""
    query = sa.select(t).where(t.c.state.in_(sorted(states)), t.c.kind.in_(sorted(kinds)))
    query = query.order_by(t.c.id.desc() if newest else t.c.id).limit(limit)
    for column, value in ((t.c.region, region), (t.c.image_id, image_id)):
        if value is not None:
            query = query.where(column == value)
    if marker is not None:
        query = query.where(t.c.id < marker if newest else t.c.id > marker)
    return [rows.task(row) for row in connection.execute(query)]


def standings(connection: sa.Connection) -> list[Standing]:
    """How far each region is, by name."""
    audit = {one.region: one for one in audits.every(connection)}
    replica, backlog, missing = _replicas(connection), _backlog(connection), _missing(connection)
    bound = _bindings(connection)
    found = []
    for region in regions.every(connection):
        tasks, oldest = backlog.get("" if region.home else region.name, ({}, 0.0))
        found.append(
            Standing(
                region,
                audit.get(region.name, Audit(region.name)),
                replica.get(region.name, {}),
                tasks,
                oldest,
                missing.get(region.name, 0),
                bound.get(region.name, 0),
            )
        )
    return found


def images_behind(connection: sa.Connection) -> int:
    """How many images are to be looked at, or have a replica that is not as it should be."""
    replica = sa.select(r.c.image_id).where(r.c.state.in_(sorted(BEHIND)))
    task = sa.select(t.c.image_id).where(*_WANTED)
    query = sa.select(sa.func.count()).select_from(replica.union(task).subquery())
    return int(connection.execute(query).scalar_one())


def _replicas(connection: sa.Connection) -> dict[str, dict[str, int]]:
    """How many replicas are in which state, by region."""
    query = sa.select(r.c.region, r.c.state, sa.func.count()).group_by(r.c.region, r.c.state)
    found: dict[str, dict[str, int]] = {}
    for region, state, count in connection.execute(query):
        found.setdefault(region, {})[state] = count
    return found


def _bindings(connection: sa.Connection) -> dict[str, int]:
    """How many projects, or groups of theirs, are bound to it now, by region."""
    query = sa.select(b.c.region, sa.func.count()).where(b.c.active.is_not(None))
    return {row[0]: row[1] for row in connection.execute(query.group_by(b.c.region))}


def _backlog(connection: sa.Connection) -> dict[str, tuple[dict[str, int], float]]:
    """By region ("" are image tasks): tasks by state, seconds the oldest is waited for."""
    query = (
        sa.select(t.c.region, t.c.state, sa.func.count(), now() - sa.func.min(t.c.since))
        .where(*_WANTED)
        .group_by(t.c.region, t.c.state)
    )
    found: dict[str, tuple[dict[str, int], float]] = {}
    for region, state, count, age in connection.execute(query):
        tasks, oldest = found.get(region, ({}, 0.0))
        found[region] = ({**tasks, state: count}, max(oldest, float(age)))
    return found


def _missing(connection: sa.Connection) -> dict[str, int]:
    """Bytes still to come, by region."""
    arrived = sa.case((r.c.replica_id.is_(None), 0), else_=r.c.bytes_done)
    query = (
        sa.select(r.c.region, sa.func.sum(sa.func.coalesce(i.c.size, 0) - arrived))
        .select_from(r.join(i, i.c.image_id == r.c.image_id))
        .where(
            i.c.present,
            r.c.state.in_(_TO_COPY),
            sa.or_(
                r.c.synced_at.is_(None),
                r.c.replica_id.is_(None),
                r.c.state == ReplicaState.COPYING.value,
            ),
        )
        .group_by(r.c.region)
    )
    return {region: max(0, int(total or 0)) for region, total in connection.execute(query)}
