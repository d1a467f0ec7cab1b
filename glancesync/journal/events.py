# SPDX-License-Identifier: Apache-2.0
"""The statements about the event log: who asked, what was done, when, with what result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sqlalchemy as sa

from glancesync.interfaces import Note
from glancesync.journal import rows
from glancesync.journal.database import now
from glancesync.journal.schema import event as e
from glancesync.model import Actor, Event, Hint


def add(connection: sa.Connection, image_id: str, notes: Iterable[Note], actor: Actor) -> None:
    """Append notes, about ``image_id`` unless they say otherwise."""
    text = rows.actor_text(actor)
    _append(
        connection,
        [
            {
                "image_id": image_id if note.image_id is None else note.image_id,
                "region": note.region,
                "what": note.what,
                "detail": note.detail,
                "actor": text,
            }
            for note in notes
        ],
    )


def add_hints(connection: sa.Connection, hints: Iterable[Hint]) -> None:
    """Append a line for each hint."""
    _append(
        connection,
        [
            {
                "image_id": hint.image_id,
                "region": "",
                "what": "hint",
                "detail": ", ".join(_words(hint)),
                "actor": rows.actor_text(hint.actor),
            }
            for hint in hints
        ],
    )


def _append(connection: sa.Connection, lines: list[dict[str, str]]) -> None:
    """In one statement, however many there are."""
    if len(lines) == 1:
        connection.execute(sa.insert(e).values(at=now(), **lines[0]))
    elif lines:
        at = float(connection.execute(sa.select(now())).scalar_one())
        connection.execute(sa.insert(e), [{"at": at, **line} for line in lines])


def _words(hint: Hint) -> Iterator[str]:
    if hint.merged > 1:
        yield f"{hint.merged} changes"
    if hint.removed:
        yield "removed"


def about(
    connection: sa.Connection, image_id: str, region: str | None, limit: int, marker: int | None
) -> list[Event]:
    """A page of events about an image, or with "" about a region as such; newest first."""
    query = sa.select(e).where(e.c.image_id == image_id).order_by(e.c.id.desc()).limit(limit)
    if region is not None:
        query = query.where(e.c.region == region)
    if marker is not None:
        query = query.where(e.c.id < marker)
    return [rows.event(row) for row in connection.execute(query)]
