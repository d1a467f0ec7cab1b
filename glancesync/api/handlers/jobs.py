# SPDX-License-Identifier: Apache-2.0
"""Jobs: images that users want, by name, from one region in others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from glancesync.api import views
from glancesync.api.call import Answer, Call, check, natural
from glancesync.api.handlers.images import visible_project
from glancesync.api.schemas import jobs as schemas
from glancesync.errors import BadRequest, RegionError
from glancesync.jobs import Unfit, find, may_see
from glancesync.model import Image
from glancesync.orders import Job, Wish
from glancesync.placement.strategies import OFF
from glancesync.states import ItemState, JobState

_MOST = 100_000  # items of a job
_LOOKED_UP = 100  # resources that are looked up before the answer


def index(call: Call) -> Answer:
    """``GET /v1/jobs``: the newest first; other projects' only with ``jobs:all``."""
    call.allow("glancesync:jobs:list")
    query = call.query(schemas.INDEX)
    project = visible_project(call, query.get("project_id"), "glancesync:jobs:all")
    state = JobState(query["state"]) if "state" in query else None
    limit, marker = call.limit(), call.number_marker("a job")
    found = call.journal.jobs.every(project_id=project, state=state, limit=limit, marker=marker)
    tallies = call.journal.jobs.tallies([job.id for job in found])
    rows = [views.job(job, tallies[job.id]) for job in found]
    return 200, call.page("jobs", rows, str(rows[-1]["id"]) if rows else None, limit)


def create(call: Call) -> Answer:
    """``POST /v1/jobs``: one set of images, source and targets, or a template of several."""
    call.allow("glancesync:jobs:create")
    wishes = [_wish(call, one, f"body{where}") for where, one in _sets(call.body(schemas.ANY))]
    if any(one.replace for one in wishes):
        call.allow("glancesync:jobs:replace")
    return 202, {"job": _taken_on(call, wishes)}


def promote(call: Call) -> Answer:
    """``POST /v1/regions/{name}/promote``: an image that was made in a region goes to home."""
    call.allow("glancesync:jobs:promote")
    body = call.body(schemas.PROMOTE)
    region = call.params["name"]
    known = {one.name: one for one in call.journal.regions()}
    if region not in known:
        raise BadRequest(f"there is no region {region!r}", 404)
    if known[region].home:
        raise BadRequest(f"{region} is the home region", 409)
    home = tuple(one.name for one in known.values() if one.home)
    wish = Wish(region, home, (body["image"],), force=body.get("force", False))
    return 202, {"job": _taken_on(call, [wish])}


def show(call: Call) -> Answer:
    """``GET /v1/jobs/{id}``: with a page of its items."""
    call.allow("glancesync:jobs:show")
    query = call.query(schemas.SHOW)
    job, limit = _job(call), call.limit()
    state = ItemState(query["state"]) if "state" in query else None
    found = call.journal.jobs.items(
        job.id, state=state, limit=limit, marker=call.number_marker("an item")
    )
    closed = {one.name: views.closed(one) for one in call.journal.regions()}
    rows = [views.item(one, closed.get(one.item.region)) for one in found]
    last = str(rows[-1]["number"]) if rows else None
    return 200, {"job": _shown(call, job), **call.page("items", rows, last, limit)}


def cancel(call: Call) -> Answer:
    """``POST /v1/jobs/{id}/cancel``: end what is open; what is being copied goes on."""
    call.allow("glancesync:jobs:cancel")
    job = _job(call)
    if not call.journal.jobs.cancel(job.id, call.actor):
        raise BadRequest(f"job {job.id} has ended ({_state(call, job)}): nothing to cancel", 409)
    return 202, {"job": _shown(call, _job(call))}


def delete(call: Call) -> Answer:
    """``DELETE /v1/jobs/{id}``: forget it; its images stay."""
    call.allow("glancesync:jobs:delete")
    job = _job(call)
    if not call.journal.jobs.delete(job.id):
        raise BadRequest(f"job {job.id} is active; cancel it first", 409)
    return 200, {"deleted": job.id}


# -- taking one on --------------------------------------------------------------------------------


def _sets(body: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The sets that a body holds, with where in it they stand."""
    if isinstance(body, dict) and "template" not in body:
        check(body, schemas.SET, "body")
        yield "", body
        return
    if isinstance(body, list):
        body = {"template": body}
    check(body, schemas.TEMPLATE, "body")
    for number, one in enumerate(body["template"]):
        yield f".template[{number}]", one


def _wish(call: Call, body: Mapping[str, Any], where: str) -> Wish:
    """What one set of a body asks for.

    :raises BadRequest: 400, naming field and rule
    """
    source, targets = body["source"], tuple(dict.fromkeys(body["target"]))
    known = {one.name for one in call.journal.regions()}
    for field, name in [("source", source), *(("target", name) for name in targets)]:
        if name not in known:
            raise BadRequest(f"{where}.{field}: there is no region {name!r}")
    if source in targets:
        raise BadRequest(f"{where}.target: {source} is the source")
    force, replace = body.get("force", False), body.get("on_conflict") == "replace"
    if force and replace:
        raise BadRequest(f"{where}.on_conflict: under a new id nothing is in the way")
    return Wish(source, targets, tuple(dict.fromkeys(body["resources"])), force, replace)


def _taken_on(call: Call, wishes: Sequence[Wish]) -> dict[str, Any]:
    """The job as it is shown.

    :raises BadRequest: 409 synchronization is off, 413 it is too large, 403 there are too many; as
        of :func:`_look_up`
    """
    if call.strategy == "None":
        raise BadRequest(OFF, 409)
    items = sum(len(one.resources) * len(one.targets) for one in wishes)
    if items > _MOST:
        raise BadRequest(f"a job may have {_MOST} images times regions, not {items}", 413)
    project, everything = call.context.project_id, call.allows("glancesync:jobs:all")
    if project is None and not everything:
        raise BadRequest("a job needs a token for a project", 403)
    if sum(len(one.resources) for one in wishes) <= _LOOKED_UP:
        for wish in wishes:
            _look_up(call, wish, project, everything=everything)
    most = None if everything else call.limits.jobs or None
    job = call.journal.jobs.create(
        wishes, call.actor, project_id=project, everything=everything, most=most
    )
    return _shown(call, job)


def _look_up(call: Call, wish: Wish, project: str | None, *, everything: bool) -> None:
    """See whether there is what is asked for, so that who mistyped a name learns it at once.

    A source that does not answer now will be asked again.

    :raises BadRequest: 404 an image is not there, or not to be seen; 409 a name means several
    """

    def sees(image: Image) -> bool:
        return everything or may_see(image, project)

    try:
        found = find(call.routing.service(wish.source), wish.resources, sees)
    except RegionError:
        return
    for one in found.values():
        if isinstance(one, Unfit):
            raise BadRequest(str(one), 409 if one.ids else 404)


# -- what is there --------------------------------------------------------------------------------


def _job(call: Call) -> Job:
    """The job named in the path; one that the caller may not see does not exist for it."""
    call_id = call.params["id"]
    number = natural(call_id)
    job = None if number is None else call.journal.jobs.get(number)
    if job is not None:
        own = job.project_id is not None and job.project_id == call.context.project_id
        if own or call.allows("glancesync:jobs:all"):
            return job
    raise BadRequest(f"there is no job {call_id}", 404)


def _shown(call: Call, job: Job) -> dict[str, Any]:
    tally = call.journal.jobs.tallies([job.id])[job.id]
    done, total = call.journal.jobs.bytes(job.id)
    return {**views.job(job, tally), "bytes_done": done, "bytes_total": total}


def _state(call: Call, job: Job) -> str:
    return str(_shown(call, job)["state"])
