"""The statements about pins. Each runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from glancesync.journal import bindings, rows
from glancesync.journal.database import now
from glancesync.journal.schema import image as i
from glancesync.journal.schema import pin as p
from glancesync.model import Actor, Image, Pin, Region
from glancesync.placement.strategies import Facts


def put(connection: sa.Connection, pins: Iterable[Pin]) -> None:
    """Insert, or say again; the times become the database's now."""
    for one in pins:
        same = sa.and_(p.c.image_id == one.image_id, p.c.region == one.region)
        used = connection.execute(sa.update(p).where(same).values(used_at=now()))
        if not used.rowcount:
            connection.execute(
                sa.insert(p).values(
                    image_id=one.image_id,
                    region=one.region,
                    cause=one.cause,
                    actor=rows.actor_text(one.actor),
                    pinned_at=now(),
                    used_at=now(),
                )
            )


def remove(connection: sa.Connection, image_id: str, regions: Collection[str]) -> None:
    connection.execute(
        sa.delete(p).where(p.c.image_id == image_id, p.c.region.in_(sorted(regions)))
    )


def facts(
    connection: sa.Connection, images: Collection[Image], regions: Collection[Region]
) -> dict[str, Facts]:
    """What the place of each of ``images`` goes by, by its id."""
    ids = sorted(image.id for image in images)
    pins: dict[str, dict[str, Pin]] = {image_id: {} for image_id in ids}
    for row in connection.execute(sa.select(p).where(p.c.image_id.in_(ids))):
        pins[row.image_id][row.region] = rows.pin(row)
    query = sa.select(i.c.image_id, i.c.actor, i.c.origin).where(i.c.image_id.in_(ids))
    known = {row.image_id: (rows.actor(row.actor), row.origin) for row in connection.execute(query)}
    bound = bindings.bound(connection, {image.owner for image in images if image.owner})
    found = {}
    for image in images:
        actor, origin = known.get(image.id, (Actor(), None))
        found[image.id] = Facts(
            tuple(regions),
            actor,
            origin,
            pins[image.id],
            bound=bound.get(image.owner or "", frozenset()),
        )
    return found
