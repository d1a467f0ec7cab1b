# SPDX-License-Identifier: Apache-2.0
"""Replicas across images, by image and region."""

from __future__ import annotations

from glancesync.api import views
from glancesync.api.call import Answer, Call
from glancesync.api.handlers.images import visible_project
from glancesync.api.schemas import replicas as schemas
from glancesync.errors import BadRequest


def index(call: Call) -> Answer:
    """``GET /v1/replicas``: filtered by region, state, project_id."""
    call.allow("glancesync:replicas:list")
    query = call.query(schemas.INDEX)
    owner = visible_project(call, query.get("project_id"))
    limit = call.limit()
    found = call.journal.list_replicas(
        region=query.get("region"),
        state=query.get("state"),
        owner=owner,
        limit=limit,
        marker=_marker(call.marker()),
    )
    rows = [views.replica(view) for view in found]
    last = f"{rows[-1]['image_id']},{rows[-1]['region']}" if rows else None
    return 200, call.page("replicas", rows, last, limit)


def _marker(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    image_id, comma, region = text.partition(",")
    if not comma:
        raise BadRequest("query: marker: take it from the 'next' of the page before")
    return image_id, region
