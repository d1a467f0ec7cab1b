"""The statements about home images and their replicas. Each runs in the caller's transaction."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa

from glancesync.journal import rows
from glancesync.journal.database import now
from glancesync.journal.schema import image as i
from glancesync.journal.schema import replica as r
from glancesync.model import ImageRecord, Replica
from glancesync.states import SETTLED, ReplicaState, check_move


def save_image(connection: sa.Connection, record: ImageRecord) -> None:
    """Insert or replace the record of a home image; its times become the database's now."""
    values = dataclasses.asdict(record)
    old = connection.execute(sa.select(i.c.generation).where(i.c.image_id == record.image_id))
    generation = old.scalar()
    values["observed_at"] = now()
    if generation is None:
        connection.execute(sa.insert(i).values({**values, "changed_at": now()}))
        return
    if generation == record.generation:
        del values["changed_at"]
    else:
        values["changed_at"] = now()
    connection.execute(sa.update(i).where(i.c.image_id == record.image_id).values(values))


def get_image(connection: sa.Connection, image_id: str) -> ImageRecord | None:
    row = connection.execute(sa.select(i).where(i.c.image_id == image_id)).first()
    return rows.image(row) if row else None


def get(connection: sa.Connection, image_id: str, region: str) -> Replica | None:
    row = connection.execute(
        sa.select(r).where(r.c.image_id == image_id, r.c.region == region)
    ).first()
    return rows.replica(row) if row else None


def of_image(connection: sa.Connection, image_id: str) -> list[Replica]:
    found = connection.execute(sa.select(r).where(r.c.image_id == image_id).order_by(r.c.region))
    return [rows.replica(row) for row in found]


def save(connection: sa.Connection, replica: Replica) -> None:
    """Insert or replace the record of a replica.

    :raises ValueError: the record may not move to that state
    """
    old = get(connection, replica.image_id, replica.region)
    values: dict[str, Any] = {**rows.replica_values(replica), "updated_at": now()}
    if replica.state in SETTLED:
        values["synced_at"] = now()
    if old is None:
        connection.execute(sa.insert(r).values(values))
        return
    check_move(old.state, replica.state)
    connection.execute(
        sa.update(r)
        .where(r.c.image_id == replica.image_id, r.c.region == replica.region)
        .values(values)
    )


def make_pending(connection: sa.Connection, image_id: str, regions: Iterable[str]) -> None:
    """Show the replicas of an image in ``regions`` as pending; those missing are recorded."""
    known = {replica.region: replica for replica in of_image(connection, image_id)}
    for region in regions:
        if region not in known:
            save(connection, Replica(image_id, region))
        elif known[region].state not in (ReplicaState.COPYING, ReplicaState.EXPIRING):
            connection.execute(
                sa.update(r)
                .where(r.c.image_id == image_id, r.c.region == region)
                .values(state=ReplicaState.PENDING.value, updated_at=now())
            )


def expire(connection: sa.Connection, image_id: str, region: str) -> None:
    """End the grace period of those replicas that expire, in a region or ("") in all."""
    which = [r.c.image_id == image_id, r.c.state == ReplicaState.EXPIRING.value]
    if region:
        which.append(r.c.region == region)
    connection.execute(sa.update(r).where(*which).values(expires_at=now(), updated_at=now()))


def progress(
    connection: sa.Connection, image_id: str, region: str, done: int, total: int | None
) -> None:
    connection.execute(
        sa.update(r)
        .where(r.c.image_id == image_id, r.c.region == region)
        .values(bytes_done=done, bytes_total=total, updated_at=now())
    )


def id_map(connection: sa.Connection, region: str, image_ids: Collection[str]) -> dict[str, str]:
    found = connection.execute(
        sa.select(r.c.image_id, r.c.replica_id).where(
            r.c.region == region, r.c.image_id.in_(sorted(image_ids)), r.c.replica_id.is_not(None)
        )
    )
    return {row.image_id: row.replica_id for row in found}


def referrers(connection: sa.Connection, image_id: str) -> list[str]:
    found = connection.execute(
        sa.select(i.c.image_id)
        .where(sa.or_(i.c.kernel_id == image_id, i.c.ramdisk_id == image_id), i.c.present)
        .order_by(i.c.image_id)
    )
    return list(found.scalars())
