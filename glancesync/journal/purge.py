# SPDX-License-Identifier: Apache-2.0
"""Forgetting what ended long ago. Each statement runs in the caller's transaction.

Nothing that is open goes, nothing about an image that home has but its log, and no record of an
image that we made and that a region still has: the journal is the only one who knows that it is
ours.
"""

from __future__ import annotations

import sqlalchemy as sa

from glancesync.journal import jobs
from glancesync.journal.database import now
from glancesync.journal.schema import binding as b
from glancesync.journal.schema import event as e
from glancesync.journal.schema import finding as f
from glancesync.journal.schema import image as i
from glancesync.journal.schema import pin
from glancesync.journal.schema import plan as p
from glancesync.journal.schema import replica as r
from glancesync.journal.schema import step as s
from glancesync.journal.schema import task as t
from glancesync.states import ReplicaState

_ROWS_OF_AN_IMAGE = 10  # about as many, with those of its replicas


def purge(connection: sa.Connection, seconds: float, limit: int) -> int:
    """Forget about ``limit`` rows that ended more than ``seconds`` ago; return how many went."""
    before = now() - seconds
    gone = _tasks(connection, before, limit)
    if gone < limit:
        gone += _events(connection, before, limit - gone)
    if gone < limit:
        gone += _plans(connection, before, limit - gone)
    if gone < limit:
        gone += _bindings(connection, before, limit - gone)
    if gone < limit:
        gone += jobs.purge(connection, before, limit - gone)
    if gone < limit:
        gone += _images(connection, before, limit - gone)
    return gone


def _tasks(connection: sa.Connection, before: sa.ColumnElement[float], limit: int) -> int:
    ended = (t.c.ended_at < before, t.c.open_key.is_(None))
    query = sa.select(t.c.id).where(*ended).order_by(t.c.ended_at).limit(limit)
    ids = list(connection.execute(query).scalars())
    return connection.execute(sa.delete(t).where(t.c.id.in_(ids))).rowcount if ids else 0


def _events(connection: sa.Connection, before: sa.ColumnElement[float], limit: int) -> int:
    query = sa.select(e.c.id).where(e.c.at < before).order_by(e.c.at).limit(limit)
    ids = list(connection.execute(query).scalars())
    return connection.execute(sa.delete(e).where(e.c.id.in_(ids))).rowcount if ids else 0


def _plans(connection: sa.Connection, before: sa.ColumnElement[float], limit: int) -> int:
    """The steps of plans, then the plans, unless a task is to carry one out."""
    decision = sa.literal("plan:") + sa.cast(p.c.id, sa.String)
    in_use = sa.exists().where(t.c.decision == decision, t.c.open_key.is_not(None))
    query = sa.select(p.c.id).where(p.c.created_at < before, sa.not_(in_use)).limit(limit)
    ids = list(connection.execute(query).scalars())
    if not ids:
        return 0
    steps = sa.select(*s.primary_key).where(s.c.plan_id.in_(ids)).limit(limit)
    if found := [tuple(row) for row in connection.execute(steps)]:
        some = sa.tuple_(*s.primary_key).in_(found)
        return connection.execute(sa.delete(s).where(some)).rowcount
    return connection.execute(sa.delete(p).where(p.c.id.in_(ids))).rowcount


def _bindings(connection: sa.Connection, before: sa.ColumnElement[float], limit: int) -> int:
    """Those released; the others still say where images go."""
    query = sa.select(b.c.id).where(b.c.ended_at < before, b.c.released).limit(limit)
    ids = list(connection.execute(query).scalars())
    return connection.execute(sa.delete(b).where(b.c.id.in_(ids))).rowcount if ids else 0


def _images(connection: sa.Connection, before: sa.ColumnElement[float], limit: int) -> int:
    """Images that are gone everywhere, with their replicas and what audits had found of them."""
    left = sa.and_(r.c.state == ReplicaState.RELEASED.value, sa.not_(r.c.made))
    over = sa.or_(r.c.state == ReplicaState.DELETED.value, left)
    alive = sa.exists().where(
        r.c.image_id == i.c.image_id, sa.not_(sa.and_(over, r.c.updated_at < before))
    )
    open_task = sa.exists().where(t.c.image_id == i.c.image_id, t.c.open_key.is_not(None))
    gone = (sa.not_(i.c.present), i.c.observed_at < before, sa.not_(alive), sa.not_(open_task))
    query = sa.select(i.c.image_id).where(*gone).limit(-(-limit // _ROWS_OF_AN_IMAGE))
    ids = list(connection.execute(query.with_for_update(skip_locked=True)).scalars())
    if not ids:
        return 0
    connection.execute(sa.delete(f).where(f.c.image_id.in_(ids)))
    connection.execute(sa.delete(pin).where(pin.c.image_id.in_(ids)))
    replicas = connection.execute(sa.delete(r).where(r.c.image_id.in_(ids))).rowcount
    return replicas + connection.execute(sa.delete(i).where(i.c.image_id.in_(ids))).rowcount
