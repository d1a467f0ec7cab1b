# SPDX-License-Identifier: Apache-2.0
"""The statements about home images and their replicas. Each runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa

from glancesync.journal import pins, rows
from glancesync.journal.database import now
from glancesync.journal.schema import image as i
from glancesync.journal.schema import region as g
from glancesync.journal.schema import replica as r
from glancesync.model import ImageRecord, Replica
from glancesync.states import BEHIND, ENDED, SETTLED, ReplicaState, check_move


def save_image(connection: sa.Connection, record: ImageRecord, *, taken: bool = False) -> None:
    """Insert or replace the record of an image; its times become the database's now.

    Where an image comes from stays as it is on record, unless it is ``taken`` from there by this:
    it may have become one of home's since the caller has read it.

    Several tasks may see the same change at the same time. Each other fingerprint has another
    generation, so that no replica is taken for up to date that was made from an older look.
    """
    same = i.c.image_id == record.image_id
    values = {**rows.image_values(record), "observed_at": now(), "changed_at": now()}
    old = connection.execute(sa.select(i).where(same).with_for_update()).first()
    if old is None:
        connection.execute(sa.insert(i).values(values))
        return
    if not taken:
        del values["origin"], values["origin_id"]
    changed = old.fingerprint != record.fingerprint
    values["generation"] = max(record.generation, old.generation + changed)
    if values["generation"] == old.generation:
        del values["changed_at"]
    connection.execute(sa.update(i).where(same).values(values))


def get_image(connection: sa.Connection, image_id: str) -> ImageRecord | None:
    row = connection.execute(sa.select(i).where(i.c.image_id == image_id)).first()
    return rows.image(row) if row else None


def promote(connection: sa.Connection, image_id: str, home: str) -> None:
    """What home has as a replica is a home image from now on."""
    connection.execute(sa.delete(r).where(r.c.image_id == image_id, r.c.region == home))
    same = i.c.image_id == image_id
    connection.execute(sa.update(i).where(same).values(origin=None, origin_id=None))


def get(
    connection: sa.Connection, image_id: str, region: str, *, lock: bool = False
) -> Replica | None:
    query = sa.select(r).where(r.c.image_id == image_id, r.c.region == region)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return rows.replica(row) if row else None


def of_image(connection: sa.Connection, image_id: str) -> list[Replica]:
    found = connection.execute(sa.select(r).where(r.c.image_id == image_id).order_by(r.c.region))
    return [rows.replica(row) for row in found]


def holder(connection: sa.Connection, region: str, replica_id: str) -> str | None:
    return connection.execute(
        sa.select(r.c.image_id).where(
            r.c.region == region, r.c.replica_id == replica_id, r.c.state.not_in(sorted(ENDED))
        )
    ).scalar()


def save(connection: sa.Connection, replica: Replica) -> None:
    """Insert or replace the record of a replica; a grace period only ever gets shorter.

    :raises ValueError: the record may not move to that state
    """
    old = get(connection, replica.image_id, replica.region, lock=True)
    if replica.replica_id is not None and (old is None or old.replica_id != replica.replica_id):
        _let_go(connection, replica.region, replica.replica_id)
    values: dict[str, Any] = {**rows.replica_values(replica), "updated_at": now()}
    if replica.state in SETTLED:
        values["synced_at"] = now()
        if old is None or old.synced_at is None:
            pins.use(connection, replica.image_id, replica.region)  # it only now can be
    if old is None:
        connection.execute(sa.insert(r).values(values))
        return
    check_move(old.state, replica.state)
    if old.state is replica.state is ReplicaState.EXPIRING:
        ends = [at for at in (old.expires_at, replica.expires_at) if at is not None]
        values["expires_at"] = min(ends, default=None)
    connection.execute(
        sa.update(r)
        .where(r.c.image_id == replica.image_id, r.c.region == replica.region)
        .values(values)
    )


def served(
    connection: sa.Connection, sources: Collection[str], but: Replica, patience: float
) -> dict[str, int]:
    """How many replicas are being copied from each of ``sources``, besides ``but``.

    The regions stay locked: nobody else finds the same room before the caller has taken it.
    """
    names = sorted(sources)
    connection.execute(
        sa.select(g.c.name).where(g.c.name.in_(names)).order_by(g.c.name).with_for_update()
    )
    found = connection.execute(
        sa.select(r.c.source, sa.func.count())
        .where(
            r.c.source.in_(names),
            r.c.copying_since > now() - patience,
            r.c.state == ReplicaState.COPYING.value,
            sa.or_(r.c.image_id != but.image_id, r.c.region != but.region),
        )
        .group_by(r.c.source)
    )
    return {row[0]: row[1] for row in found}


def take_room(connection: sa.Connection, replica: Replica) -> None:
    """It is copied from its source from now on."""
    connection.execute(
        sa.update(r)
        .where(r.c.image_id == replica.image_id, r.c.region == replica.region)
        .values(copying_since=now())
    )


def _let_go(connection: sa.Connection, region: str, replica_id: str) -> None:
    """A region's image that was released may become the replica of another home image."""
    connection.execute(
        sa.update(r)
        .where(r.c.region == region, r.c.replica_id == replica_id, r.c.state.in_(sorted(ENDED)))
        .values(replica_id=None, made=False)
    )


def make_pending(connection: sa.Connection, image_id: str, regions: Iterable[str]) -> None:
    """Show the replicas of an image in ``regions`` as pending; those missing are recorded.

    Those that are being copied, or expire, say more than that.
    """
    wanted = set(regions)
    if not wanted:
        return
    known = set(connection.execute(sa.select(r.c.region).where(r.c.image_id == image_id)).scalars())
    if new := sorted(wanted - known):
        at = float(connection.execute(sa.select(now())).scalar_one())
        values = [rows.replica_values(Replica(image_id, region)) for region in new]
        connection.execute(sa.insert(r), [{**one, "updated_at": at} for one in values])
    if not wanted & known:
        return
    telling = [ReplicaState.COPYING.value, ReplicaState.EXPIRING.value]
    connection.execute(
        sa.update(r)
        .where(
            r.c.image_id == image_id,
            r.c.region.in_(sorted(wanted & known)),
            r.c.state.not_in(telling),
        )
        .values(state=ReplicaState.PENDING.value, updated_at=now())
    )


def expire(connection: sa.Connection, image_id: str, region: str) -> None:
    """End the grace period of those replicas that expire, in a region or ("") in all."""
    which = [r.c.image_id == image_id, r.c.state == ReplicaState.EXPIRING.value]
    if region:
        which.append(r.c.region == region)
    connection.execute(sa.update(r).where(*which).values(expires_at=now(), updated_at=now()))


def abandon(connection: sa.Connection, image_id: str, region: str, why: str) -> None:
    """Say of a replica that is not as it should be that nobody works on it any more, and why."""
    unfinished = sorted(BEHIND - {ReplicaState.CONFLICT} | {ReplicaState.EXPIRING})
    connection.execute(
        sa.update(r)
        .where(r.c.image_id == image_id, r.c.region == region, r.c.state.in_(unfinished))
        .values(state=ReplicaState.STALLED.value, last_error=why, updated_at=now())
    )


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
