# SPDX-License-Identifier: Apache-2.0
"""From which region an image's bytes come, where they go straight from one region to another.

Regions that have the image serve it to the next, each to so many at a time: the copies form a tree,
and the time until N regions have the image grows with log N.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from glancesync.model import Region, Replica
from glancesync.states import SETTLED

#: The label that says where a region is, from the large to the small, as in ``eu/fr/paris``.
PLACE = "place"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A region that can be copied from.

    ``original``: it has what the others are copies of. ``distance``: to where the bytes go;
    ``room``: how many regions may copy from it at a time.
    """

    region: str
    original: bool
    distance: int
    room: int


def distance(one: Region, other: Region) -> int:
    """Steps up from one place to what both are in, and down to the other."""
    ways = [[part for part in it.labels.get(PLACE, "").split("/") if part] for it in (one, other)]
    shared = 0
    for here, there in zip(*ways, strict=False):
        if here != there:
            break
        shared += 1
    return sum(len(way) - shared for way in ways)


def candidates(
    target: str,
    regions: Sequence[Region],
    replicas: Iterable[Replica],
    room: int,
    origin: str,
) -> tuple[Candidate, ...]:
    """The region of the original, and those that are well and have the image; the best first.

    :param target: where the bytes go
    :param regions: all
    :param replicas: of the image
    :param room: of regions that have no limit of their own
    :param origin: the region of the original
    """
    to = next(region for region in regions if region.name == target)
    holders = {one.region for one in replicas if one.state in SETTLED and one.replica_id} - {target}
    well = {one.name for one in regions if one.open and one.broken_for is None}
    found = [
        Candidate(one.name, one.name == origin, distance(one, to), one.limits.get("sources", room))
        for one in regions
        if one.name == origin or one.name in holders & well
    ]
    return tuple(sorted(found, key=_merit))


def choose(found: Iterable[Candidate], busy: Mapping[str, int]) -> str | None:
    """The best that has room; of equals the one that serves the fewest. None: all are busy.

    :param busy: region -> how many copy from it
    """
    free = [one for one in found if busy.get(one.region, 0) < one.room]
    best = min(free, key=lambda one: (*_merit(one)[:2], busy.get(one.region, 0)), default=None)
    return None if best is None else best.region


def _merit(one: Candidate) -> tuple[int, bool, str]:
    """The nearest first; the original, which all need too, after others that are as near."""
    return one.distance, one.original, one.region
