# SPDX-License-Identifier: Apache-2.0
"""What has to be done so that a replica becomes what it should be: ``plan(...) -> actions``.

Pure: no I/O, no clock. The executor observes, asks for a plan, acts, and observes again until the
plan is empty; so a plan only has to name the next sensible steps, and never has to foresee how a
region reacts to them.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from glancesync.model import Image, Replica
from glancesync.states import DeleteMode, ReplicaState

#: Attributes a replica takes over, in the order in which they are patched.
ATTRIBUTES = ("name", "min_disk", "min_ram", "visibility", "protected", "os_hidden", "owner")
#: Attributes Glance lets one change only while an image has no data.
FORMATS = ("container_format", "disk_format")
#: Properties that name another image. Source: Nova's and Glance's AMI support.
REFERENCES = ("kernel_id", "ramdisk_id")
#: The usual reason why there should be no replica.
GONE = "the home image is deleted"


@dataclasses.dataclass(frozen=True)
class Op:
    """One change of one attribute or custom property."""

    op: str  # add, replace, remove
    name: str
    value: Any = None
    custom: bool = False  # a custom property, not an attribute


@dataclasses.dataclass(frozen=True)
class Create:
    """Make the image record, without data, unseen by users until its bytes are verified."""

    image: Image


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Bring the bytes."""


@dataclasses.dataclass(frozen=True)
class Patch:
    ops: tuple[Op, ...]


@dataclasses.dataclass(frozen=True)
class Members:
    """Add or change ``put`` (project -> status), take away ``remove``."""

    put: Mapping[str, str]
    remove: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Deactivate:
    pass


@dataclasses.dataclass(frozen=True)
class Reactivate:
    pass


@dataclasses.dataclass(frozen=True)
class Delete:
    """Remove the region's image; ``cause`` goes into the event log (P4)."""

    cause: str


@dataclasses.dataclass(frozen=True)
class Wait:
    """Somebody is writing the image; look again later."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Clash:
    """The region holds an image that is not ours and must not be touched."""

    reason: str


Action = Create | Transfer | Patch | Members | Deactivate | Reactivate | Delete | Wait | Clash


def desired_replica(home: Image, replica_id: str, id_map: Mapping[str, str]) -> Image:
    """The replica that ``home`` should have in a region.

    :param replica_id: its id there
    :param id_map: home id -> id in that region, for the images ``home`` refers to
    """
    properties = {
        name: id_map.get(value, value) if name in REFERENCES else value
        for name, value in home.properties.items()
    }
    return dataclasses.replace(home, id=replica_id, properties=properties)


def desired_for(
    home: Image, replica: Replica, id_map: Callable[[str, Collection[str]], Mapping[str, str]]
) -> Image:
    """The replica that ``home`` should have, by what is on record of it.

    :param id_map: region and home ids -> their ids there
    """
    references = [one for name in REFERENCES if (one := home.properties.get(name))]
    ids = id_map(replica.region, references) if references else {}
    return desired_replica(home, replica.replica_id or replica.image_id, ids)


def plan(
    desired: Image | None,
    observed: Image | None,
    replica: Replica,
    *,
    preserve: Sequence[str] = (),
    refused: Collection[str] = (),
    force: bool = False,
    stuck: bool = False,
    delete_mode: DeleteMode = DeleteMode.MIRROR,
    cause: str = GONE,
) -> list[Action]:
    """The next steps from ``observed`` to ``desired``; empty when there is nothing to do.

    :param desired: what the replica should be; None: there should be none
    :param observed: what the region answered; None: it is not there
    :param replica: the journal's record; only what it says we made is ever deleted
    :param preserve: patterns (:mod:`fnmatch`) of properties that belong to the region
    :param refused: what the region refused in this run; not asked again
    :param force: an operator said that an image that is not ours may be replaced
    :param stuck: somebody has been writing the image for longer than is believable
    :param delete_mode: what becomes of it if there should be none
    :param cause: why there should be none
    """
    if desired is None:
        return _farewell(observed, replica, delete_mode, refused, cause)
    if observed is None:
        return [Create(_own(desired, preserve))] if desired.has_data else []
    if observed.in_flight:
        if stuck and replica.made:
            return _removal(observed, replica, f"the region's image was stuck in {observed.status}")
        return [Wait(f"the region's image is {observed.status}")]
    if not observed.has_data:
        return _without_data(desired, observed, replica, force)
    if not desired.has_data:
        # Stale bytes must not be booted; home may get the same bytes back, so keep them.
        stale = replica.made and observed.status == "active" and "status" not in refused
        return [Deactivate()] if stale else []
    if not observed.same_bytes(desired):
        return _replacement(observed, replica, force, "its bytes differ from the home image's")
    if any(getattr(observed, name) != getattr(desired, name) for name in FORMATS):
        return _replacement(observed, replica, force, "its format differs from the home image's")
    return _metadata(desired, observed, preserve, refused, replica.kept)


def unfit(home: Image | None, observed: Image | None) -> str | None:
    """Why an image of a region can't be adopted as the replica of ``home``; None if it can."""
    if home is None or not home.has_data:
        return "home has no such image" if home is None else f"home's image is {home.status}"
    if observed is None:
        return "there is no such image"
    if not observed.has_data:
        return f"it is {observed.status}"
    if not observed.same_bytes(home):
        return "its bytes differ from the home image's"
    if any(getattr(observed, name) != getattr(home, name) for name in FORMATS):
        return "its format differs from the home image's"
    return None


def _own(desired: Image, preserve: Sequence[str]) -> Image:
    """``desired`` without the properties that belong to the region."""
    return dataclasses.replace(
        desired,
        properties={
            name: value
            for name, value in desired.properties.items()
            if not _preserved(name, preserve)
        },
    )


def regions_own(observed: Image, preserve: Sequence[str]) -> dict[str, str]:
    """The properties of ``observed`` that belong to the region, for its replacement to have."""
    return {
        name: value for name, value in observed.properties.items() if _preserved(name, preserve)
    }


def _preserved(name: str, preserve: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in preserve)


def _without_data(desired: Image, observed: Image, replica: Replica, force: bool) -> list[Action]:
    if not desired.has_data:
        return []
    if not replica.made:
        return _replacement(observed, replica, force, f"it is {observed.status}, without data")
    if observed.status != "queued":
        return _removal(observed, replica, f"the region's image was {observed.status}")
    formats = tuple(
        Op("replace", name, getattr(desired, name))
        for name in FORMATS
        if getattr(desired, name) != getattr(observed, name)
    )
    return [Patch(formats), Transfer()] if formats else [Transfer()]


def _farewell(
    observed: Image | None,
    replica: Replica,
    mode: DeleteMode,
    refused: Collection[str],
    cause: str,
) -> list[Action]:
    """What is done to a replica that is not wanted any more; nothing to one we did not make.

    A copy that was never finished is nothing to keep: nobody has seen it, and its bytes can't be
    compared any more.
    """
    if observed is None or not replica.made:
        return []
    if replica.state is ReplicaState.DELETED and observed.has_data:
        return []  # it was gone; what has bytes now, somebody else has put there
    finished = observed.has_data and replica.synced_at is not None
    if mode is DeleteMode.MIRROR or not finished:
        return _removal(observed, replica, cause)
    if mode is DeleteMode.DEACTIVATE and observed.status == "active" and "status" not in refused:
        return [Deactivate()]
    if mode is DeleteMode.HIDE and not observed.os_hidden and "os_hidden" not in refused:
        return [Patch((Op("replace", "os_hidden", True),))]
    return []


def _removal(observed: Image | None, replica: Replica, cause: str) -> list[Action]:
    if observed is None or not replica.made:
        return []
    unprotect: list[Action] = []
    if observed.protected:
        unprotect.append(Patch((Op("replace", "protected", False),)))
    return [*unprotect, Delete(cause)]


def _replacement(observed: Image, replica: Replica, force: bool, reason: str) -> list[Action]:
    if replica.made:
        return _removal(observed, replica, reason)
    if force:
        forced = dataclasses.replace(replica, made=True)
        return _removal(observed, forced, f"forced by an operator: {reason}")
    return [Clash(f"image {observed.id} of the region was not made by glancesync and {reason}")]


def _metadata(
    desired: Image,
    observed: Image,
    preserve: Sequence[str],
    refused: Collection[str],
    kept: Mapping[str, str],
) -> list[Action]:
    actions: list[Action] = []
    ops = [
        *attribute_ops(desired, observed),
        *property_ops(desired.properties, observed.properties, preserve, kept),
    ]
    ops = [op for op in ops if op.name not in refused]
    if ops:
        actions.append(Patch(tuple(ops)))
    put = {
        project: status
        for project, status in desired.members.items()
        if observed.members.get(project) != status and f"member {project}" not in refused
    }
    remove = tuple(
        project
        for project in sorted(observed.members)
        if project not in desired.members and f"member {project}" not in refused
    )
    # Glance has members of shared images only, and only of those were they observed.
    if (put or remove) and desired.visibility == observed.visibility == "shared":
        actions.append(Members(put, remove))
    if desired.status != observed.status and "status" not in refused:
        actions.append(Deactivate() if desired.status == "deactivated" else Reactivate())
    return actions


def attribute_ops(desired: Image, observed: Image) -> list[Op]:
    """Changes of attributes and tags."""
    ops = [
        Op("replace", name, getattr(desired, name))
        for name in ATTRIBUTES
        if getattr(desired, name) != getattr(observed, name)
    ]
    if desired.tags != observed.tags:
        ops.append(Op("replace", "tags", sorted(desired.tags)))
    return ops


def property_ops(
    desired: Mapping[str, str],
    observed: Mapping[str, str],
    preserve: Sequence[str],
    kept: Mapping[str, str],
) -> list[Op]:
    """Changes of custom properties; those matching ``preserve`` are the region's own.

    :param kept: the region's own that the image had which this one replaces
    """
    ops = []
    for name in sorted(desired.keys() | observed.keys() | kept.keys()):
        if _preserved(name, preserve):
            if name in kept and name not in observed:
                ops.append(Op("add", name, kept[name], custom=True))
        elif name not in desired and name not in observed:
            continue  # kept once, and no longer said to be the region's own
        elif name not in desired:
            ops.append(Op("remove", name, custom=True))
        elif name not in observed:
            ops.append(Op("add", name, desired[name], custom=True))
        elif observed[name] != desired[name]:
            ops.append(Op("replace", name, desired[name], custom=True))
    return ops
