# SPDX-License-Identifier: Apache-2.0
"""Events: told by the hook, that images changed; and the log of what came of them."""

from __future__ import annotations

import logging

from glancesync.api import views
from glancesync.api.call import Answer, Call
from glancesync.api.schemas import NO_QUERY
from glancesync.api.schemas import events as schemas
from glancesync.errors import BadRequest
from glancesync.model import Actor, Hint

LOG = logging.getLogger(__name__)


def create(call: Call) -> Answer:
    """``POST /v1/events``: answered with 202 when the hints are committed (P2)."""
    call.allow("glancesync:events:create")
    body = call.body(schemas.CREATE)
    events = body["events"]
    if len(events) > call.limits.events:
        raise BadRequest(
            f"body.events: {len(events)} events; at most {call.limits.events} are taken at a time",
            413,
        )
    call.journal.hint(
        [
            Hint(
                event["image_id"],
                Actor.from_dict(event.get("actor") or {}),
                int(event.get("merged", 1)),  # JSON Schema calls 2.0 an integer
                event.get("removed", False),
            )
            for event in events
        ],
        dropped=int(body.get("dropped", 0)),
    )
    if body.get("dropped"):
        LOG.warning("a hook had to drop %d hints since it last got through", body["dropped"])
    return 202, {"accepted": len(events)}


def log(call: Call, image_id: str, region: str | None = None) -> Answer:
    """A page of the event log about an image, or with "" about a region as such.

    Who caused an event is shown only to those that policy lets see it.
    """
    call.query(NO_QUERY)
    limit = call.limit()
    found = call.journal.events(
        image_id, region, limit=limit, marker=call.number_marker("an event")
    )
    rows = [
        views.event(one, shows_actor=call.allows("glancesync:events:actor", one.actor.project_id))
        for one in found
    ]
    return 200, call.page("events", rows, str(rows[-1]["id"]) if rows else None, limit)
