# SPDX-License-Identifier: Apache-2.0
"""The statements about pins. Each runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from glancesync.journal import bindings, rows
from glancesync.journal.database import now
from glancesync.journal.schema import image as i
from glancesync.journal.schema import pin as p
from glancesync.model import Image, Pin, Region
from glancesync.placement.rules import of_bytes
from glancesync.placement.strategies import Facts
from glancesync.snapshots import is_complaint

_SOME = 500  # rows that one statement names


def put(connection: sa.Connection, pins: Iterable[Pin]) -> list[Pin]:
    """Insert, or say again; the times become the database's now. Those that are new."""
    wanted = {(one.image_id, one.region): one for one in pins}
    keys = sorted(wanted)
    known: set[tuple[str, str]] = set()
    for start in range(0, len(keys), _SOME):
        these = sa.tuple_(p.c.image_id, p.c.region).in_(keys[start : start + _SOME])
        query = sa.select(p.c.image_id, p.c.region).where(these).with_for_update()
        found = {(row.image_id, row.region) for row in connection.execute(query)}
        if found:
            connection.execute(sa.update(p).where(these).values(used_at=now()))
        known |= found
    new = [wanted[key] for key in keys if key not in known]
    if new:
        at = float(connection.execute(sa.select(now())).scalar_one())
        values = [
            {
                "image_id": one.image_id,
                "region": one.region,
                "cause": one.cause,
                "actor": rows.actor_text(one.actor),
                "pinned_at": at,
                "used_at": at,
            }
            for one in new
        ]
        connection.execute(sa.insert(p), values)
    return new


def use(connection: sa.Connection, image_id: str, region: str) -> bool:
    """Say again that an image is wanted in a region; False if nobody had said so."""
    same = sa.and_(p.c.image_id == image_id, p.c.region == region)
    return bool(connection.execute(sa.update(p).where(same).values(used_at=now())).rowcount)


def of_images(connection: sa.Connection, image_ids: Collection[str]) -> list[Pin]:
    query = sa.select(p).where(p.c.image_id.in_(sorted(image_ids)))
    found = connection.execute(query.order_by(p.c.image_id, p.c.region))
    return [rows.pin(row) for row in found]


def remove(connection: sa.Connection, image_id: str, regions: Collection[str]) -> None:
    connection.execute(
        sa.delete(p).where(p.c.image_id == image_id, p.c.region.in_(sorted(regions)))
    )


def lapse(connection: sa.Connection, image_id: str, region: str, unused: float) -> None:
    """Remove a pin unless it was used later than at ``unused``."""
    connection.execute(
        sa.delete(p).where(p.c.image_id == image_id, p.c.region == region, p.c.used_at <= unused)
    )


def facts(
    connection: sa.Connection, images: Collection[Image], regions: Collection[Region]
) -> dict[str, Facts]:
    """What the place of each of ``images`` goes by, by its id."""
    ids = sorted(image.id for image in images)
    pins: dict[str, dict[str, Pin]] = {image_id: {} for image_id in ids}
    for one in of_images(connection, ids):
        pins[one.image_id][one.region] = one
    columns = (i.c.image_id, i.c.actor, i.c.origin, i.c.last_error)
    query = sa.select(*columns).where(i.c.image_id.in_(ids))
    records = {row.image_id: row for row in connection.execute(query)}
    bound = bindings.bound(connection, {image.owner for image in images if image.owner})
    at = float(connection.execute(sa.select(now())).scalar_one())
    found = {}
    for image in images:
        record = records.get(image.id)
        found[image.id] = Facts(
            tuple(regions),
            rows.actor(record.actor if record else None),
            record.origin if record else None,
            pins[image.id],
            bound=bound.get(image.owner or "", frozenset()),
            sound=record is None or _sound(record.last_error),
            now=at,
        )
    return found


def _sound(last_error: str | None) -> bool:
    return of_bytes(last_error) is None and not is_complaint(last_error or "")
