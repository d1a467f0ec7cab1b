# SPDX-License-Identifier: Apache-2.0
"""``POST /v1/images/{id}/ensure``: an image is to be in a region, because somebody needs it there.

However many ask, and however often, there is one task, and one copy. Whoever asks again is told how
far it is; that costs a read, and once a minute a write.
"""

from __future__ import annotations

from glancesync.api import views
from glancesync.api.call import Answer, Call
from glancesync.api.handlers.images import image_id_of
from glancesync.api.schemas import images as schemas
from glancesync.errors import BadRequest
from glancesync.interfaces import Ask
from glancesync.model import WITH_DATA, Image, Need, Pin, Priority, Region, priority_for
from glancesync.placement.strategies import OFF
from glancesync.planner import REFERENCES
from glancesync.states import ReplicaState, TaskKind

_RULE = "glancesync:images:ensure"
_FRESH = 60.0  # seconds in which a wish is not written down again


def ensure(call: Call) -> Answer:
    """200: it is there, as home has it; 202: it is on its way, and how far."""
    image_id = image_id_of(call)
    name = call.body(schemas.ENSURE)["region"]
    need = call.journal.need(image_id, name)
    image = None
    if need.image is None or not call.allows(_RULE, need.image.owner):
        image = _at_home(call, image_id)
    if need.region is None:
        raise BadRequest(f"there is no region {name!r}", 404)
    if need.image is not None and need.image.origin == name:
        raise BadRequest(f"the image comes from {name}: it is there", 409)
    if need.region.home:
        raise BadRequest(f"{name} is the home region: what it has is there", 409)
    if call.strategy == "None":
        raise BadRequest(OFF, 409)
    if need.image is not None and not need.image.present:
        raise BadRequest(f"image {image_id} is gone from home", 404)
    if not need.there:
        _check(call, need, need.region, image_id, image)
    ready = _see_to(call, need, image_id, name)
    for other in _references(need, image):
        its = call.journal.need(other, name)
        if its.image is not None and its.image.present and its.image.status in WITH_DATA:
            ready &= _see_to(call, its, other, name)
    seen = need if need.there else call.journal.need(image_id, name)
    said = views.need(seen, image_id, need.region, ready=ready)
    return 200 if ready else 202, {"ensure": said}


def _at_home(call: Call, image_id: str) -> Image:
    """What home has of an image that is not the caller's, or of which nothing is known yet.

    :raises BadRequest: 404, it may not see it
    :raises RegionError: home does not answer
    """
    image = call.routing.home_image(image_id)
    project = call.context.project_id
    if image is not None:
        whose = project if project and _sees(project, image) else image.owner
        if call.allows(_RULE, whose):
            return image
    raise BadRequest(f"image {image_id} is not known", 404)


def _sees(project: str, image: Image) -> bool:
    """Whether Glance would show the image to a project. Source: Glance API, "Image visibility"."""
    if image.visibility in ("public", "community") or image.owner == project:
        return True
    return image.visibility == "shared" and project in image.members


def _check(call: Call, need: Need, region: Region, image_id: str, image: Image | None) -> None:
    """Go on only if an image can be brought to a region where it is not.

    :raises BadRequest: 409, and why
    """
    if why := views.closed(region):
        raise BadRequest(f"{region.name} takes no work: {why}", 409)
    if need.image is None or need.image.status not in WITH_DATA:
        image = image or call.routing.home_image(image_id)
        if image is None:
            raise BadRequest(f"image {image_id} is gone from home", 404)
        if not image.has_data:
            raise BadRequest(f"home's image is {image.status}: it has no data", 409)
    own = None if need.replica is None else need.replica.replica
    clash = own is not None and own.state is ReplicaState.CONFLICT
    if own is not None and clash and (need.unused < _FRESH or not _pins(call)):
        raise BadRequest(own.last_error or "the region has another image of that id", 409)


def _see_to(call: Call, need: Need, image_id: str, region: str) -> bool:
    """Whether it is there; if not it is asked for, and in any case it is remembered as needed."""
    ask = None if need.there else _ask(call, need, image_id, region)
    if _pins(call) and (ask is not None or _stale(need)):
        cause = "somebody needs it there"
        call.journal.ensure(Pin(image_id, region, cause, call.actor), ask)
    elif ask is not None:
        call.journal.hurry(ask)
    return need.there


def _pins(call: Call) -> bool:
    """Whether it makes a difference that somebody wants an image by name."""
    return call.strategy != "ALL"


def _stale(need: Need) -> bool:
    return need.replica is not None and need.unused >= _FRESH


def _ask(call: Call, need: Need, image_id: str, region: str) -> Ask | None:
    """The wish for the task that brings it; None: it is under way, or tried again when due."""
    known = need.image is not None and need.image.status in WITH_DATA
    size = need.image.size if need.image else None
    priority = priority_for(Priority.USER, size)
    task = need.task
    if task is not None and task.priority <= priority and not (_pins(call) and _stale(need)):
        return None
    return Ask(
        TaskKind.REPLICA if known else TaskKind.IMAGE,
        image_id,
        region if known else "",
        priority=priority if known else Priority.USER,
        actor=call.actor,
        urgent=True,
    )


def _references(need: Need, image: Image | None) -> list[str]:
    """The images without which it can't be used."""
    if need.image is not None:
        found = [need.image.kernel_id, need.image.ramdisk_id]
    else:
        found = [image.properties.get(name) for name in REFERENCES] if image else []
    return [one for one in found if one]
