# SPDX-License-Identifier: Apache-2.0
"""The statements about nodes. Each runs in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping

import sqlalchemy as sa

from glancesync.journal.database import now
from glancesync.journal.schema import node as n
from glancesync.model import Node

_SILENT = 60.0  # seconds after which a node that says nothing is taken for dead


def say(connection: sa.Connection, name: str, settings: Mapping[str, str]) -> None:
    """Record that a node lives, and how it is set up; forget those that are dead."""
    values = {"settings": json.dumps(dict(settings), sort_keys=True), "seen_at": now()}
    if not connection.execute(sa.update(n).where(n.c.name == name).values(values)).rowcount:
        connection.execute(sa.insert(n).values(name=name, **values))
        connection.execute(sa.delete(n).where(n.c.seen_at < now() - _SILENT))


def leave(connection: sa.Connection, name: str) -> None:
    """Forget a node that ends."""
    connection.execute(sa.delete(n).where(n.c.name == name))


def alive(connection: sa.Connection) -> list[Node]:
    """Those heard of lately, by name."""
    query = sa.select(n).where(n.c.seen_at >= now() - _SILENT).order_by(n.c.name)
    return [Node(row.name, json.loads(row.settings)) for row in connection.execute(query)]
