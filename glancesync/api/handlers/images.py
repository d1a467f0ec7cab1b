# SPDX-License-Identifier: Apache-2.0
"""Images of home, each with its replicas."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from glancesync.api import views
from glancesync.api.call import Answer, Call
from glancesync.api.handlers import events
from glancesync.api.schemas import IMAGE_ID, NO_QUERY
from glancesync.api.schemas import images as schemas
from glancesync.errors import BadRequest
from glancesync.interfaces import Ask
from glancesync.model import ImageRecord, Priority, Task
from glancesync.states import ENDED, TaskKind


def index(call: Call) -> Answer:
    """``GET /v1/images``: by id; other projects' only with ``images:list_all``."""
    call.allow("glancesync:images:list")
    query = call.query(schemas.INDEX)
    owner = visible_project(call, query.get("project_id"))
    limit = call.limit()
    records = call.journal.list_images(
        owner=owner, name=query.get("name"), limit=limit, marker=call.marker()
    )
    ids = [record.image_id for record in records]
    replicas, pins = call.journal.replicas_for(ids), call.journal.pins(ids)
    rows = [views.image(record, replicas, pins) for record in records]
    return 200, call.page("images", rows, rows[-1]["id"] if rows else None, limit)


def show(call: Call) -> Answer:
    """``GET /v1/images/{id}``"""
    call.query(NO_QUERY)
    record = _record(call)
    ids = [record.image_id]
    shown = views.image(record, call.journal.replicas_for(ids), call.journal.pins(ids))
    return 200, {"image": shown}


def unpin(call: Call) -> Answer:
    """``DELETE /v1/images/{id}/pins/{region}``: nobody wants it there by name any more.

    Where the strategy does not want it either, the replica that we made goes.
    """
    record, region = _record(call), call.params["region"]
    call.allow("glancesync:images:unpin", record.owner)
    if region not in {one.region for one in call.journal.pins([record.image_id])}:
        raise BadRequest(f"nobody wants image {record.image_id} in {region} by name", 404)
    call.journal.unpin(record.image_id, [region], "not wanted by name any more", call.actor)
    return 202, {"image_id": record.image_id, "region": region}


def sync(call: Call) -> Answer:
    """``POST /v1/images/{id}/sync``: look at the image now, in some regions or in all it goes to.

    ``force``: an image of the same id in a region that glancesync did not make and that differs
    may be replaced. A grace period that runs since home's image was deleted ends.
    """
    call.allow("glancesync:images:sync")
    image_id = image_id_of(call)
    body = call.body(schemas.SYNC, optional=True)
    force = body.get("force", False)
    regions = _regions(call, body)
    if regions and call.journal.image(image_id) is None:
        raise BadRequest(
            f"image {image_id} is not known yet; sync it without naming regions first", 404
        )
    asks = _asks(call, image_id, regions, force=force)
    call.journal.ask(asks, "sync" + (" with force" if force else ""), expire=True)
    return 202, {"image_id": image_id, "regions": regions or None, "force": force}


def verify(call: Call) -> Answer:
    """``POST /v1/images/{id}/verify``: compare the regions with home, and mend what differs.

    ``full``: read all bytes that the regions store, and without ``regions`` also home's, instead
    of believing the hashes they say.
    """
    call.allow("glancesync:images:verify")
    body = call.body(schemas.VERIFY, optional=True)
    full = body.get("full", False)
    regions = _regions(call, body)
    record = _record(call)
    if not record.present:
        raise BadRequest(f"image {record.image_id} is gone from home: nothing to compare with", 409)
    asks = _asks(call, record.image_id, regions, verify=full)
    call.journal.ask(asks, "verify all bytes" if full else "verify")
    return 202, {"image_id": record.image_id, "regions": regions or None, "full": full}


def routes(call: Call) -> Answer:
    """``GET /v1/images/{id}/routes?region=``: which way its bytes would go there, and why."""
    call.allow("glancesync:images:routes")
    region = call.query(schemas.ROUTES)["region"]
    check_regions(call, "query: region", [region])
    image_id = image_id_of(call)
    return 200, {
        "image_id": image_id,
        "region": region,
        "routes": [views.route(one) for one in call.routing.routes(image_id, region)],
    }


def _regions(call: Call, body: Mapping[str, Any]) -> list[str]:
    """The regions that a body names; none: all that the image goes to.

    :raises BadRequest: one is not known, or home
    """
    regions = sorted(set(body.get("regions", [])))
    check_regions(call, "body.regions", regions)
    return regions


def _asks(
    call: Call,
    image_id: str,
    regions: Sequence[str],
    *,
    force: bool = False,
    verify: bool = False,
) -> list[Ask]:
    ask = Ask(
        TaskKind.REPLICA if regions else TaskKind.IMAGE,
        image_id,
        priority=Priority.USER,
        actor=call.actor,
        urgent=True,
        force=force,
        verify=verify,
    )
    return [dataclasses.replace(ask, region=name) for name in regions or [""]]


def adopt(call: Call) -> Answer:
    """``POST /v1/images/{id}/adopt``: an image of a region is the replica from now on.

    A worker looks at both first. ``own``: glance-sync may delete it one day.
    """
    call.allow("glancesync:images:adopt")
    image_id = image_id_of(call)
    body = call.body(schemas.ADOPT)
    region, own = body["region"], body.get("own", False)
    check_regions(call, "body.region", [region])
    replica = call.journal.replica(image_id, region)
    has = None if replica is None or replica.state in ENDED else replica.replica_id
    replica_id = body.get("replica_id") or has or _offered(call, image_id, region)
    if has not in (None, replica_id):
        raise BadRequest(f"the replica in {region} is image {has}", 409)
    holder = call.journal.holder(region, replica_id)
    if holder not in (None, image_id):
        raise BadRequest(f"image {replica_id} of {region} is the replica of image {holder}", 409)
    task = _open_task(call, image_id, region)
    if task is not None and task.decision is not None:
        raise BadRequest(f"task {task.id} has yet to carry out {task.decision}", 409)
    call.journal.adoptions.adopt(image_id, region, replica_id, call.actor, own=own)
    task = _open_task(call, image_id, region)
    return 202, {
        "image_id": image_id,
        "region": region,
        "replica_id": replica_id,
        "own": own,
        "task_id": None if task is None else task.id,
    }


def _offered(call: Call, image_id: str, region: str) -> str:
    """The image in the region that was found to have name and bytes, or the one of the same id."""
    offered = call.journal.adoptions.offered(region, image_id)
    if len(offered) > 1:
        raise BadRequest(f"say which by replica_id: {', '.join(offered)}", 409)
    return offered[0] if offered else image_id


def _open_task(call: Call, image_id: str, region: str) -> Task | None:
    tasks = call.journal.list_tasks(image_id=image_id, region=region)
    return tasks[0] if tasks else None


def check_regions(call: Call, field: str, regions: Iterable[str]) -> None:
    """Go on only if all of them are regions that can have replicas.

    :raises BadRequest: 400, naming the field and the region
    """
    known = {region.name: region for region in call.journal.regions()}
    for name in regions:
        if name not in known:
            raise BadRequest(f"{field}: there is no region {name!r}")
        if known[name].home:
            raise BadRequest(f"{field}: {name} is the home region")


def history(call: Call) -> Answer:
    """``GET /v1/images/{id}/events``: who asked, what was done, when, with what result."""
    image_id = image_id_of(call)
    record = call.journal.image(image_id)
    allowed = call.allows("glancesync:images:history", record.owner if record else None)
    if not allowed or (record is None and not call.journal.events(image_id, limit=1)):
        raise BadRequest(f"image {image_id} is not known", 404)
    return events.log(call, image_id)


def visible_project(
    call: Call, wanted: str | None, rule: str = "glancesync:images:list_all"
) -> str | None:
    """The project whose images, or what else, the caller gets to see; None: all.

    :param rule: lets see those of all projects
    :raises BadRequest: 403, another project than the caller's was asked for
    """
    if call.allows(rule):
        return wanted
    own = call.context.project_id
    if own is None or wanted not in (None, own):
        raise BadRequest("query: project_id: this token may see its own project's only", 403)
    return own


def image_id_of(call: Call) -> str:
    """The image named in the path, as it may be known or not."""
    image_id = call.params["id"]
    if not re.fullmatch(IMAGE_ID["pattern"], image_id):
        raise BadRequest(f"{call.params['id']!r} is not the id of an image")
    return image_id


def _record(call: Call) -> ImageRecord:
    """The image named in the path; one that the caller may not see does not exist for it."""
    image_id = image_id_of(call)
    record = call.journal.image(image_id)
    if record is None or not call.allows("glancesync:images:show", record.owner):
        raise BadRequest(f"image {image_id} is not known", 404)
    return record
