# SPDX-License-Identifier: Apache-2.0
"""The statements about regions. Each runs in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from glancesync.breaker import Breaker, unwell
from glancesync.errors import ConfigurationError, RegionError, Throttled
from glancesync.interfaces import Note
from glancesync.journal import events, rows
from glancesync.journal.database import now
from glancesync.journal.schema import region as g
from glancesync.model import Actor, Region

_AS_JSON = ("labels", "limits", "capacity")


def _regions() -> sa.Select[Any]:
    return sa.select(g, (g.c.broken_until - now()).label("broken_for")).order_by(g.c.name)


def every(connection: sa.Connection) -> list[Region]:
    return [rows.region(row) for row in connection.execute(_regions())]


def some(connection: sa.Connection, name: str) -> list[Region]:
    """A region, and home."""
    query = _regions().where(sa.or_(g.c.name == name, g.c.home))
    return [rows.region(row) for row in connection.execute(query)]


def get(connection: sa.Connection, name: str) -> Region | None:
    row = connection.execute(_regions().where(g.c.name == name)).first()
    return rows.region(row) if row else None


def discovered(connection: sa.Connection, urls: Mapping[str, str], home: str) -> list[str]:
    """Record what the catalog lists (name -> URL); return the names that are new.

    A region that is no longer listed is kept and shown as not present.

    :raises ConfigurationError: the journal's home is listed, and is another
    """
    known = {region.name: region for region in every(connection)}
    for region in known.values():
        if region.home and region.name in urls and region.name != home:
            raise ConfigurationError(
                "[DEFAULT] cascading_endpoint_url",
                f"is the endpoint of {home}, yet the home of this journal is {region.name}, at "
                f"{urls[region.name]}. All that share a journal share its home; for another home "
                "take an empty database",
            )
    notes = [Note("found", urls[name], name) for name in sorted(urls.keys() - known.keys())]
    for name, region in known.items():
        if region.present != (name in urls):
            said = "left the catalog" if region.present else "is in the catalog again"
            notes.append(Note("catalog", said, name))
    events.add(connection, "", notes, Actor())
    for name, url in urls.items():
        values = {"url": url, "home": name == home, "present": True, "seen_at": now()}
        if name in known:
            connection.execute(sa.update(g).where(g.c.name == name).values(values))
        else:
            connection.execute(
                sa.insert(g).values(
                    name=name,
                    enabled=True,
                    maintenance=False,
                    labels="{}",
                    limits="{}",
                    failures=0,
                    found_at=now(),
                    **values,
                )
            )
    gone = [name for name in known if name not in urls]
    connection.execute(sa.update(g).where(g.c.name.in_(gone)).values(present=False, home=False))
    return sorted(urls.keys() - known.keys())


def update(connection: sa.Connection, name: str, changes: Mapping[str, Any]) -> None:
    """Set some of what an operator may say of a region; a capacity is said as of now."""
    values = {
        field: value if value is None or field not in _AS_JSON else json.dumps(value)
        for field, value in changes.items()
    }
    if "capacity" in changes:
        values["capacity_at"] = now()
    connection.execute(sa.update(g).where(g.c.name == name).values(values))


def note(
    connection: sa.Connection, name: str, error: RegionError | None, breaker: Breaker
) -> float | None:
    """Remember how a region did.

    If it had been left alone as it failed, and answers again: since when it had failed.
    """
    row = connection.execute(_regions().where(g.c.name == name).with_for_update()).first()
    if row is None:
        return None
    region = rows.region(row)
    resting = region.broken_for is not None and region.broken_for > 0
    if error is None or not unwell(error):
        if resting:
            return None
        well = {"last_error": None, "failures": 0, "failing_since": None, "broken_until": None}
        connection.execute(sa.update(g).where(g.c.name == name).values(well))
        if region.failures >= breaker.threshold:
            events.add(connection, "", [Note("well", "", name)], Actor())
        return None if region.broken_for is None else region.failing_since
    throttled = isinstance(error, Throttled)
    if resting and not throttled:
        return None
    failures = region.failures + (not throttled)
    values: dict[str, Any] = {"last_error": str(error), "failures": failures}
    if not throttled and region.failing_since is None:
        values["failing_since"] = now()
    rest = breaker.rest(error, failures)
    if rest is not None and rest > (region.broken_for or 0):
        values["broken_until"] = now() + rest
    connection.execute(sa.update(g).where(g.c.name == name).values(values))
    if not throttled and failures == breaker.threshold:
        events.add(connection, "", [Note("unwell", str(error), name)], Actor())
    return None
