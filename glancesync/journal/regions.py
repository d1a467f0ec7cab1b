"""The statements about regions. Each runs in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from glancesync.journal import rows
from glancesync.journal.database import now
from glancesync.journal.schema import region as g
from glancesync.model import Region


def every(connection: sa.Connection) -> list[Region]:
    return [rows.region(row) for row in connection.execute(sa.select(g).order_by(g.c.name))]


def get(connection: sa.Connection, name: str) -> Region | None:
    row = connection.execute(sa.select(g).where(g.c.name == name)).first()
    return rows.region(row) if row else None


def discovered(connection: sa.Connection, urls: Mapping[str, str], home: str) -> list[str]:
    """Record what the catalog lists (name -> URL); return the names that are new.

    A region that is no longer listed is kept and shown as not present.
    """
    known = {region.name: region for region in every(connection)}
    for name, url in urls.items():
        values = {"url": url, "home": name == home, "present": True, "seen_at": now()}
        if name in known:
            connection.execute(sa.update(g).where(g.c.name == name).values(values))
        else:
            connection.execute(
                sa.insert(g).values(
                    name=name, enabled=True, maintenance=False, labels="{}", limits="{}", **values
                )
            )
    gone = [name for name in known if name not in urls]
    connection.execute(sa.update(g).where(g.c.name.in_(gone)).values(present=False, home=False))
    return sorted(urls.keys() - known.keys())


def update(connection: sa.Connection, name: str, changes: Mapping[str, Any]) -> None:
    """Set some of ``enabled``, ``maintenance``, ``labels``, ``limits``."""
    values = {
        field: json.dumps(value) if field in ("labels", "limits") else value
        for field, value in changes.items()
    }
    connection.execute(sa.update(g).where(g.c.name == name).values(values))


def note_error(connection: sa.Connection, name: str, error: str | None) -> None:
    """Remember the last error of a region, or that it answers again."""
    connection.execute(sa.update(g).where(g.c.name == name).values(last_error=error))
