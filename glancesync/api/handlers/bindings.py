# SPDX-License-Identifier: Apache-2.0
"""Bindings: which region a project belongs to, chosen at its first request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from glancesync.api import views
from glancesync.api.call import Answer, Call, natural
from glancesync.api.handlers.images import check_regions
from glancesync.api.schemas import NO_QUERY
from glancesync.api.schemas import bindings as schemas
from glancesync.errors import BadRequest
from glancesync.orders import Binding
from glancesync.placement.selection import Judged, Wish

_TOLD = 5  # regions whose reasons a refusal lists


def select(call: Call) -> Answer:
    """``POST /v1/bindings/select``: the project's region, chosen now if it has none that will do.

    With ``?dry_run=1`` nothing is bound, and the answer says how each region does.
    """
    query = call.query(schemas.SELECT_QUERY)
    body = call.body(schemas.SELECT)
    wish = Wish(body["project_id"], body.get("group", ""), **body.get("requirements", {}))
    selection = call.selecting.selection
    if query.get("dry_run") == "1":
        call.allow("glancesync:bindings:explain", wish.project_id)
        return 200, {"selection": _explained(call, wish)}
    call.allow("glancesync:bindings:select", wish.project_id)
    everything = call.allows("glancesync:bindings:list_all")
    most = None if everything else call.limits.groups or None
    found = call.journal.bindings.select(wish, selection, call.actor, most)
    if found.binding is None:
        # Who may not see the regions is not told of them.
        explained = call.allows("glancesync:bindings:explain", wish.project_id)
        told = f": {_reasons(found.ranked)}" if explained else ""
        raise BadRequest(f"no region will do{told}", 409)
    return 201 if found.created else 200, {"binding": _shown(call, found.binding)}


def index(call: Call) -> Answer:
    """``GET /v1/bindings``: the newest first; other projects' only with ``bindings:list_all``."""
    call.allow("glancesync:bindings:list")
    query = call.query(schemas.INDEX)
    project_id = query.get("project_id")
    if not call.allows("glancesync:bindings:list_all"):
        own = call.context.project_id
        if own is None or project_id not in (None, own):
            raise BadRequest("query: project_id: this token may see its own project's only", 403)
        project_id = own
    limit = call.limit()
    found = call.journal.bindings.every(
        project_id=project_id,
        region=query.get("region"),
        active={"0": False, "1": True}.get(query.get("active", "")),
        limit=limit,
        marker=call.number_marker("a binding"),
    )
    rows = [_shown(call, one) for one in found]
    return 200, call.page("bindings", rows, str(rows[-1]["id"]) if rows else None, limit)


def show(call: Call) -> Answer:
    """``GET /v1/bindings/{id}``"""
    call.query(NO_QUERY)
    binding = _binding(call)
    if not call.allows("glancesync:bindings:show", binding.project_id):
        raise _unknown(call)
    return 200, {"binding": _shown(call, binding)}


def create(call: Call) -> Answer:
    """``POST /v1/bindings``: bind by hand; what the project was bound to ends."""
    call.allow("glancesync:bindings:create")
    call.query(NO_QUERY)
    body = call.body(schemas.CREATE)
    check_regions(call, "body.region", [body["region"]])
    binding, new = call.journal.bindings.bind(
        body["project_id"],
        body.get("group", ""),
        body["region"],
        body.get("cause", "by hand"),
        call.actor,
    )
    return 201 if new else 200, {"binding": _shown(call, binding)}


def delete(call: Call) -> Answer:
    """``DELETE /v1/bindings/{id}``: it ends; the images stay, unless with ``?release=1``."""
    call.allow("glancesync:bindings:delete")
    query = call.query(schemas.DELETE)
    binding, release = _binding(call), query.get("release") == "1"
    if not binding.active and not release:
        raise BadRequest(f"binding {binding.id} has ended already", 409)
    cause = query.get("cause", "by hand")
    ended = call.journal.bindings.end(binding.id, cause, call.actor, release=release)
    if ended is None:
        raise _unknown(call)
    return 200, {"binding": _shown(call, ended)}


def _binding(call: Call) -> Binding:
    number = natural(call.params["id"])
    binding = None if number is None else call.journal.bindings.get(number)
    if binding is None:
        raise _unknown(call)
    return binding


def _unknown(call: Call) -> BadRequest:
    return BadRequest(f"there is no binding {call.params['id']}", 404)


def _shown(call: Call, binding: Binding) -> dict[str, Any]:
    return views.binding(binding, shows_actor=call.allows("glancesync:bindings:list_all"))


def _explained(call: Call, wish: Wish) -> dict[str, Any]:
    found = call.journal.bindings.explain(wish, call.selecting.selection)
    passing = [one.region for one in found.ranked if one.passes]
    region = passing[0] if passing else None
    if found.binding is not None and found.binding.region in passing:
        region = found.binding.region  # nobody moves without need
    return {
        "project_id": wish.project_id,
        "group": wish.group,
        "region": region,
        "binding": None if found.binding is None else _shown(call, found.binding),
        "regions": [views.judged(one) for one in found.ranked],
    }


def _reasons(ranked: Sequence[Judged]) -> str:
    if not ranked:
        return "there is none but home"
    told = [f"{one.region}: {', '.join(one.reasons)}" for one in ranked[:_TOLD]]
    more = [f"and {len(ranked) - _TOLD} more"] if len(ranked) > _TOLD else []
    return "; ".join([*told, *more])
