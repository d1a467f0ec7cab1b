# SPDX-License-Identifier: Apache-2.0
"""Plans: what would be done and why, and the word that it be done."""

from __future__ import annotations

from typing import Any

from glancesync.api import views
from glancesync.api.call import Answer, Call, natural
from glancesync.api.handlers.images import check_regions
from glancesync.api.schemas import NO_QUERY
from glancesync.api.schemas import plans as schemas
from glancesync.errors import BadRequest
from glancesync.orders import Plan


def index(call: Call) -> Answer:
    """``GET /v1/plans``: the newest first, without their steps."""
    call.allow("glancesync:plans:list")
    call.query(NO_QUERY)
    limit, marker = call.limit(), call.number_marker("a plan")
    rows = [_shown(call, plan) for plan in call.journal.plans.every(limit=limit, marker=marker)]
    return 200, call.page("plans", rows, str(rows[-1]["id"]) if rows else None, limit)


def create(call: Call) -> Answer:
    """``POST /v1/plans``: a worker makes it; nothing else is done."""
    call.allow("glancesync:plans:create")
    body = call.body(schemas.CREATE, optional=True)
    regions = sorted(set(body.get("regions", [])))
    check_regions(call, "body.regions", regions)
    plan = call.journal.plans.create(regions, body.get("image_id"), call.actor)
    return 202, {"plan": _shown(call, plan)}


def show(call: Call) -> Answer:
    """``GET /v1/plans/{id}``: with a page of its steps, by region and image."""
    call.allow("glancesync:plans:show")
    query = call.query(schemas.SHOW)
    plan, limit = _plan(call), call.limit()
    found = call.journal.plans.steps(
        plan.id, region=query.get("region"), limit=limit, marker=_marker(call.marker())
    )
    closed = {one.name: views.closed(one) for one in call.journal.regions()}
    rows = [views.step(one, closed.get(one.region)) for one in found]
    last = f"{rows[-1]['region']},{rows[-1]['image_id']}" if rows else None
    return 200, {"plan": _shown(call, plan), **call.page("steps", rows, last, limit)}


def apply(call: Call) -> Answer:
    """``POST /v1/plans/{id}/apply``: do exactly that; each step looks anew before it does."""
    call.allow("glancesync:plans:apply")
    plan = _plan(call)
    why_not = call.journal.plans.apply(plan.id, call.actor)
    if why_not is not None:
        raise BadRequest(why_not, 409)
    return 202, {"plan": _shown(call, _plan(call))}


def _plan(call: Call) -> Plan:
    number = natural(call.params["id"])
    plan = None if number is None else call.journal.plans.get(number)
    if plan is None:
        raise BadRequest(f"there is no plan {call.params['id']}", 404)
    return plan


def _shown(call: Call, plan: Plan) -> dict[str, Any]:
    regions = {one.name: one for one in call.journal.regions()}
    return views.plan(plan, call.journal.plans.counts(plan.id), regions)


def _marker(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    region, comma, image_id = text.rpartition(",")
    if not comma:
        raise BadRequest("query: marker: take it from the 'next' of the page before")
    return region, image_id
