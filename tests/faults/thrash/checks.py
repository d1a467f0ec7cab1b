# SPDX-License-Identifier: Apache-2.0
"""What must hold of a run: each check looks at what was seen, and yields what is wrong, in words.

Nothing is asked here, so that each can be shown to find what it is there for.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from tests.faults.proxy import Request
from tests.faults.thrash.users import Call
from tests.faults.watcher import Sight
from tests.functional.estate import LOCAL

Looks = dict[str, Any]  # of an image: what its Glance says of it, and its ``members``

_WITH_DATA = ("active", "deactivated")
#: Left by a Glance that was killed while it deleted them; nobody can delete them any more.
GONE = ("deleted", "pending_delete")
#: What a worker says only of its own mistakes.
_NEVER_SAID = ("failed unexpectedly", "could not conclude", "Traceback")


@dataclasses.dataclass(frozen=True)
class Noted:
    """A line of the event log."""

    image_id: str
    region: str
    what: str
    detail: str
    at: float = 0.0  # seconds since the epoch


@dataclasses.dataclass(frozen=True)
class Side:
    """A region's images by id.

    :param once: home's id -> the ids that its replicas have had there
    """

    name: str
    images: Mapping[str, Looks]
    once: Mapping[str, Collection[str]] = dataclasses.field(default_factory=dict)


# -- every region equals home, each image once ----------------------------------------------------


def strangers_changed(there: Side, strangers: Mapping[str, Looks]) -> Iterator[str]:
    """An image that is no replica is left alone."""
    for image_id, looks in strangers.items():
        found = there.images.get(image_id, {"status": "gone"})
        if found["status"] != "active" or not looks.items() <= found.items():
            yield f"{there.name}: {image_id}, which is not ours, was {looks}, is {found}"


def differences(home: Mapping[str, Looks], there: Side) -> Iterator[str]:
    """A region has what home has and no more: each image once, and the same.

    Images say by their property ``origin`` which of home's they are.
    """
    replicas = collections.defaultdict(list)
    for image in there.images.values():
        if image["status"] not in GONE and "stranger" not in image:
            replicas[str(image.get("origin"))].append(image["id"])
    for origin, ids in replicas.items():
        if origin not in home or home[origin]["status"] not in _WITH_DATA:
            yield f"{there.name}: {', '.join(ids)} of {origin} should not be there"
        elif len(ids) > 1:
            yield f"{there.name}: {origin} is there more than once: {', '.join(ids)}"
    for origin, image in home.items():
        if image["status"] not in _WITH_DATA:
            continue
        if origin not in replicas:
            yield f"{there.name}: {origin} is missing"
            continue
        replica = dict(there.images[replicas[origin][0]])
        kernel = image.get("kernel_id")
        if kernel and replica.get("kernel_id") in _known_as(kernel, home, replicas, there):
            replica["kernel_id"] = kernel
        ours, theirs = _essence(image), _essence(replica)
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                yield (
                    f"{there.name}: {name} of {origin} (there {replica['id']}) is "
                    f"{theirs.get(name)!r}, not {ours.get(name)!r}"
                )


def _known_as(
    kernel: str, home: Mapping[str, Looks], replicas: Mapping[str, list[str]], there: Side
) -> set[str]:
    """What a reference to a home image may be in a region."""
    if kernel in replicas:
        return set(replicas[kernel])
    if kernel in home:
        return {kernel}
    return {kernel, *there.once.get(kernel, ())}  # it is gone: nobody cares


def _essence(image: Looks) -> Looks:
    """What a replica must have in common with its home image."""
    kept = {
        name: value
        for name, value in image.items()
        if name not in LOCAL and not name.startswith("os_glance_")
    }
    return {**kept, "tags": sorted(image["tags"])}


def left_over(
    there: Side, files: Iterable[str], requests: Iterable[Request], killed: bool
) -> Iterator[str]:
    """Each file of a region's store is an image's that its Glance has; no copy is half-done.

    A Glance that is killed while it writes or deletes a file leaves it. The small files that say
    whose a file is (``.IMAGE.glance-sync``) may outlive what they are about.

    :param killed: the region's Glance was, at any time
    """
    told = {
        found[1]
        for one in requests
        if (found := re.fullmatch(r"/v2/images/([0-9a-f-]{36})/(file|locations)", one.path))
        and one.method in ("PUT", "POST")
    }
    for name in sorted(files):
        if name.endswith(".partial"):
            yield f"{there.name}: {name} is left over in its store"
        elif name.startswith(".") or name in there.images or (killed and name in told):
            continue
        else:
            yield f"{there.name}: {name} is in its store, and no image of its Glance"


# -- what happened on the way ---------------------------------------------------------------------


def hints_lost(acknowledged: Mapping[str, int], log: Iterable[Noted]) -> Iterator[str]:
    """P2: each change that an API acknowledged is on record.

    :param acknowledged: image -> changes
    """
    known: collections.Counter[str] = collections.Counter()
    for one in log:
        if one.what == "hint":
            merged = re.match(r"\d+", one.detail)
            known[one.image_id] += int(merged.group()) if merged else 1
    for image, count in acknowledged.items():
        if known[image] < count:
            yield (
                f"hints lost: {count} changes of {image} were acknowledged, "
                f"{known[image]} are on record"
            )


def wrong_bytes(sights: Iterable[Sight]) -> Iterator[str]:
    """P3: nobody ever saw wrong bytes."""
    return (f"wrong bytes: {one}" for one in sights if not one.private)


def deletes(
    region: str,
    requests: Iterable[Request],
    flipped: Collection[str],
    log: Iterable[Noted],
    deleted: Collection[str],
) -> Iterator[str]:
    """P4: whatever a region was asked to delete has a cause on record, and a true one.

    :param flipped: the paths of uploads that were spoilt on the way
    :param deleted: the images that users have deleted at home
    """
    causes = collections.defaultdict(set)
    for one in log:
        if one.what == "delete" and one.region == region:
            replica, _, cause = one.detail.partition(": ")
            causes[replica].add((one.image_id, cause))
    for request in requests:
        target = re.fullmatch(r"/v2/images/([0-9a-f-]{36})", request.path)
        if request.method != "DELETE" or target is None:
            continue
        replica = target.group(1)
        if not causes[replica]:
            yield f"{region}: {replica} was deleted, without a cause"
        for image, cause in sorted(causes[replica]):
            if not _is_true(cause, image, replica, flipped, deleted):
                yield f"{region}: {replica}, of {image}, was deleted, as if {cause}"


def _is_true(
    cause: str, image: str, replica: str, flipped: Collection[str], deleted: Collection[str]
) -> bool:
    if cause == "the home image is deleted":
        return image in deleted
    if cause == "its bytes differ from the home image's":
        return f"/v2/images/{replica}/file" in flipped
    return cause.startswith(("the region's image was stuck in", "the region's image was killed"))


def calls_failed(calls: Iterable[Call], excused: Callable[[Call], bool]) -> Iterator[str]:
    """P1: while home's Glance and Keystone are well, no call of a user fails."""
    for call in calls:
        if call.failed and not excused(call):
            yield (
                f"a user's {call.what} failed with status {call.status} "
                f"after {call.ended - call.began:.1f} s"
            )


def said(name: str, log: str, secrets: Iterable[str]) -> Iterator[str]:
    """No surprises in the log of a process of ours, and no secrets."""
    for what in _NEVER_SAID:
        if what in log:
            first = next(line for line in log.splitlines() if what in line)
            yield f"in the log of {name}: {first}"
    if any(secret in log for secret in (*secrets, "gAAAAA")):
        yield f"a secret is in the log of {name}"
