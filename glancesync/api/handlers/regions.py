# SPDX-License-Identifier: Apache-2.0
"""Regions: found in the Keystone catalog, opened and closed by the operator."""

from __future__ import annotations

import math

from glancesync.api import views
from glancesync.api.call import Answer, Call
from glancesync.api.handlers import events
from glancesync.api.schemas import NO_QUERY
from glancesync.api.schemas import regions as schemas
from glancesync.bandwidth import Timetable
from glancesync.errors import BadRequest
from glancesync.model import Region


def index(call: Call) -> Answer:
    """``GET /v1/regions``: all that were ever in the catalog, by name."""
    call.allow("glancesync:regions:list")
    call.query(NO_QUERY)
    return 200, {"regions": [views.region(region) for region in call.journal.regions()]}


def show(call: Call) -> Answer:
    """``GET /v1/regions/{name}``"""
    call.allow("glancesync:regions:show")
    call.query(NO_QUERY)
    return 200, {"region": views.region(_region(call))}


def update(call: Call) -> Answer:
    """``PATCH /v1/regions/{name}``: what is given replaces what was.

    Work for a region that is not enabled, or in maintenance, is kept until it is open again.
    """
    call.allow("glancesync:regions:update")
    region = _region(call)
    body = call.body(schemas.UPDATE)
    if region.home and body.keys() & {"enabled", "maintenance"}:
        raise BadRequest(f"{region.name} is the home region: it can't be closed")
    if bandwidth := body.get("limits", {}).get("bandwidth"):
        try:
            Timetable.parse(bandwidth)
        except ValueError as error:
            raise BadRequest(f"body.limits.bandwidth: {error}") from None
    capacity = body.get("capacity") or {}
    if capacity.get("free_bytes", 0) > capacity.get("total_bytes", math.inf):
        raise BadRequest("body.capacity: more is free than there is in total")
    call.journal.update_region(region.name, body, call.actor)
    return 200, {"region": views.region(_region(call))}


def adopt(call: Call) -> Answer:
    """``POST /v1/regions/{name}/adopt``: all that is offered there; each is looked at first.

    ``own``: glance-sync may delete one day what was adopted there, now or before.
    """
    call.allow("glancesync:regions:adopt")
    region = _region(call)
    body = call.body(schemas.ADOPT, optional=True)
    if region.home:
        raise BadRequest(f"{region.name} is the home region")
    asked, several = call.journal.adoptions.adopt_offered(
        region.name, call.actor, own=body.get("own", False)
    )
    return 202, {"region": region.name, "asked": asked, "several": several}


def history(call: Call) -> Answer:
    """``GET /v1/regions/{name}/events``: of the region as such, not of images in it."""
    call.allow("glancesync:regions:history")
    return events.log(call, "", _region(call).name)


def _region(call: Call) -> Region:
    region = call.journal.region(call.params["name"])
    if region is None:
        raise BadRequest(f"there is no region {call.params['name']!r}", 404)
    return region
