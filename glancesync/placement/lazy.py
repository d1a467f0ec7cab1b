# SPDX-License-Identifier: Apache-2.0
"""The strategy LAZY: an image is where somebody has needed it, and may go again. Pure."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from glancesync.model import Image
from glancesync.placement.strategies import STRATEGIES, Facts, Placement, Strategy, there
from glancesync.states import ReplicaState

_DAY = 86400.0


def lazy(evict_after: float) -> Strategy:
    """It stays where it is, unless nobody has needed it there for that many seconds (0: for ever).

    Also what was wanted by name goes then. Never what we did not make, what is not complete, what
    another region copies from, or what home could not replace.
    """
    name = "LAZY"
    if not evict_after:
        return STRATEGIES[name]
    place = functools.partial(_where_needed, evict_after)
    return Strategy(name, place, version=f"{evict_after:.12g}", evicts=True)


def _where_needed(evict_after: float, image: Image, facts: Facts) -> Placement:
    unused = _unused(evict_after, image, facts)
    why = f"nobody has needed it there for {_in_words(evict_after)}"
    return Placement(there(facts) - unused.keys(), why, unused=unused)


def _unused(evict_after: float, image: Image, facts: Facts) -> Mapping[str, float]:
    if image.status != "active" or not facts.sound:
        return {}  # home might not be able to bring it back
    sources = {one.source for one in facts.held.values() if one.state is ReplicaState.COPYING}
    found: dict[str, float] = {}
    for region in facts.held.keys() | facts.pins.keys():
        pin, replica = facts.pins.get(region), facts.held.get(region)
        if replica is not None:
            complete = replica.synced_at is not None and replica.state is not ReplicaState.COPYING
            if not (replica.made and complete) or region in sources:
                continue
        used = pin.used_at if pin is not None else replica.synced_at if replica else None
        if used is not None and facts.now - used >= evict_after:
            found[region] = used
    return found


def _in_words(seconds: float) -> str:
    return f"{seconds / _DAY:g} days" if seconds >= _DAY else f"{seconds:g} s"
