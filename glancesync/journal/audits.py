# SPDX-License-Identifier: Apache-2.0
"""The statements about audits and what they compare with. Each runs in the caller's transaction."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable

import sqlalchemy as sa

from glancesync.interfaces import Ask, Placed
from glancesync.journal import rows
from glancesync.journal.database import now
from glancesync.journal.schema import audit as a
from glancesync.journal.schema import finding as f
from glancesync.journal.schema import image as i
from glancesync.journal.schema import region as g
from glancesync.journal.schema import replica as r
from glancesync.journal.schema import task as t
from glancesync.model import Actor, Audit, Finding, ImageRecord
from glancesync.states import DELETING, ENDED, OF_IMAGES, FindingKind, ReplicaState, TaskKind

_HERE = sa.and_(r.c.replica_id.is_not(None), r.c.state.not_in(sorted(ENDED)))
_AT_HOME = sa.and_(i.c.present, i.c.origin.is_(None))
# Also the deleted: a request to create one that was long under way may arrive afterwards.
_OURS = sa.and_(r.c.replica_id.is_not(None), r.c.state != ReplicaState.RELEASED.value)


def get(connection: sa.Connection, region: str) -> Audit:
    row = connection.execute(sa.select(a).where(a.c.region == region)).first()
    return rows.audit(row) if row else Audit(region)


def every(connection: sa.Connection) -> list[Audit]:
    return [rows.audit(row) for row in connection.execute(sa.select(a).order_by(a.c.region))]


def save(connection: sa.Connection, audit: Audit) -> None:
    """Write how far a pass has come; what others write, ``watched_to``, stays."""
    _ensure(connection, audit.region)
    values = dataclasses.asdict(audit)
    del values["watched_to"]
    if audit.started_at is not None and audit.finished_at == audit.started_at:
        values |= {"finished_at": now(), "took": now() - a.c.started_at}
    connection.execute(sa.update(a).where(a.c.region == audit.region).values(values))


def watched(connection: sa.Connection, region: str, upto: str) -> None:
    """Write how far the changes of a region were looked at."""
    _ensure(connection, region)
    connection.execute(sa.update(a).where(a.c.region == region).values(watched_to=upto))


def _ensure(connection: sa.Connection, region: str) -> None:
    if connection.execute(sa.select(a.c.region).where(a.c.region == region)).first() is None:
        connection.execute(sa.insert(a).values(dataclasses.asdict(Audit(region))))


def release(connection: sa.Connection, audit: Audit) -> list[Finding]:
    """The deletions that a pass holds back: held no longer, and forgotten as findings.

    None if there are none, or if that pass is not the last one any more.
    """
    ended = [a.c.finished_at == audit.finished_at, a.c.finished_at >= a.c.started_at]
    done = connection.execute(
        sa.update(a).where(a.c.region == audit.region, a.c.held > 0, *ended).values(held=0)
    )
    if not done.rowcount:
        return []
    seen = [
        f.c.region == audit.region,
        f.c.what.in_(sorted(DELETING)),
        f.c.found_at <= audit.finished_at,
    ]
    held = [rows.finding(row) for row in connection.execute(sa.select(f).where(*seen))]
    connection.execute(sa.delete(f).where(*seen))
    return held


def task_of(finding: Finding, actor: Actor) -> Ask:
    """The task of a deletion that ``actor`` lets through. It looks before it deletes."""
    of_image = finding.what in OF_IMAGES
    return Ask(
        TaskKind.IMAGE if of_image else TaskKind.REPLICA,
        finding.image_id,
        "" if of_image else finding.region,
        actor=actor,
        urgent=True,
        removed=of_image,
    )


# -- findings -------------------------------------------------------------------------------------


def add_findings(connection: sa.Connection, findings: Iterable[Finding]) -> None:
    """Insert or replace; the time becomes the database's now."""
    for one in findings:
        values = {**dataclasses.asdict(one), "what": one.what.value, "found_at": now()}
        same = [
            column == values[column.name]
            for column in (f.c.region, f.c.what, f.c.image_id, f.c.other_id)
        ]
        connection.execute(sa.delete(f).where(*same))
        connection.execute(sa.insert(f).values(values))


def forget(connection: sa.Connection, region: str, kinds: Collection[FindingKind]) -> None:
    connection.execute(sa.delete(f).where(f.c.region == region, f.c.what.in_(sorted(kinds))))


def findings(
    connection: sa.Connection,
    region: str,
    kinds: Collection[FindingKind],
) -> list[Finding]:
    """By kind and image."""
    query = sa.select(f).where(f.c.region == region, f.c.what.in_(sorted(kinds)))
    query = query.order_by(f.c.what, f.c.image_id, f.c.other_id)
    return [rows.finding(row) for row in connection.execute(query)]


def count_findings(connection: sa.Connection, region: str) -> dict[FindingKind, int]:
    query = sa.select(f.c.what, sa.func.count()).where(f.c.region == region).group_by(f.c.what)
    return {FindingKind(what): count for what, count in connection.execute(query)}


# -- what regions are compared with ---------------------------------------------------------------


def nth(
    connection: sa.Connection, region: str, after: str, until: str | None, count: int
) -> str | None:
    column, of_region = (
        (i.c.image_id, _AT_HOME)
        if _is_home(connection, region)
        else (r.c.replica_id, sa.and_(_HERE, r.c.region == region))
    )
    query = sa.select(column).where(of_region, column > after).order_by(column)
    if until is not None:
        query = query.where(column <= until)
    return connection.execute(query.offset(count - 1).limit(1)).scalar()


def present_images(connection: sa.Connection, after: str, until: str | None) -> list[ImageRecord]:
    query = sa.select(i).where(_AT_HOME, i.c.image_id > after).order_by(i.c.image_id)
    if until is not None:
        query = query.where(i.c.image_id <= until)
    return [rows.image(row) for row in connection.execute(query)]


def gone(connection: sa.Connection, after: str, until: str | None) -> list[ImageRecord]:
    left = sa.exists().where(r.c.image_id == i.c.image_id, r.c.state.not_in(sorted(ENDED)))
    query = sa.select(i).where(sa.not_(i.c.present), i.c.image_id > after, left)
    if until is not None:
        query = query.where(i.c.image_id <= until)
    return [rows.image(row) for row in connection.execute(query.order_by(i.c.image_id))]


def images_by_id(connection: sa.Connection, image_ids: Collection[str]) -> dict[str, ImageRecord]:
    found = connection.execute(sa.select(i).where(i.c.image_id.in_(sorted(image_ids))))
    return {row.image_id: rows.image(row) for row in found}


def images_by_hash(connection: sa.Connection, hashes: Collection[str]) -> list[ImageRecord]:
    query = sa.select(i).where(_AT_HOME, i.c.os_hash_value.in_(sorted(hashes)))
    return [rows.image(row) for row in connection.execute(query.order_by(i.c.image_id))]


def _placed(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[Placed]:
    task_key = sa.literal("replica:") + r.c.image_id + ":" + r.c.region
    pairs = r.join(i, i.c.image_id == r.c.image_id).outerjoin(t, t.c.open_key == task_key)
    own = [column.label(f"r_{column.name}") for column in r.c]
    query = (
        sa.select(i, *own, t.c.id.label("task_id"))
        .select_from(pairs)
        .where(*conditions)
        .order_by(r.c.replica_id)
    )
    found = []
    for row in connection.execute(query):
        data = row._mapping
        found.append(
            Placed(
                replica=rows.replica_of({column.name: data[f"r_{column.name}"] for column in r.c}),
                image=rows.image_of({column.name: data[column.name] for column in i.c}),
                busy=data["task_id"] is not None,
            )
        )
    return found


def placed(connection: sa.Connection, region: str, after: str, until: str | None) -> list[Placed]:
    conditions = [_HERE, r.c.region == region, r.c.replica_id > after]
    if until is not None:
        conditions.append(r.c.replica_id <= until)
    return _placed(connection, *conditions)


def placed_as(connection: sa.Connection, region: str, replica_ids: Collection[str]) -> list[Placed]:
    return _placed(connection, _OURS, r.c.region == region, r.c.replica_id.in_(sorted(replica_ids)))


def known(connection: sa.Connection, region: str) -> int:
    query = (
        sa.select(sa.func.count()).select_from(i).where(_AT_HOME)
        if _is_home(connection, region)
        else sa.select(sa.func.count()).select_from(r).where(r.c.region == region, _HERE)
    )
    return int(connection.execute(query).scalar_one())


def _is_home(connection: sa.Connection, region: str) -> bool:
    return bool(connection.execute(sa.select(g.c.home).where(g.c.name == region)).scalar())
