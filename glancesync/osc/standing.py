# SPDX-License-Identifier: Apache-2.0
"""How replicas and regions stand, as the API shows them, and how that reads."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from glancesync.states import ENDED, BreakerState, ReplicaState

if TYPE_CHECKING:
    from glancesync.osc.client import Json


class Standing(enum.Enum):
    """What a state means to somebody who wants to know whether to worry."""

    IN_SYNC = "in sync"
    BEHIND = "behind"  # work is queued or under way, or home has no data yet
    TROUBLE = "trouble"  # wants a person's eye
    ENDED = "ended"  # home's image is gone, and so is our replica


_TROUBLE = frozenset({ReplicaState.STALLED, ReplicaState.CONFLICT, ReplicaState.PARTIAL})


def standing(replica: Json) -> Standing:
    """Where one replica stands."""
    state = replica["state"]
    if state in ENDED:
        return Standing.ENDED
    if state in _TROUBLE:
        return Standing.TROUBLE
    current = replica["observed_generation"] >= replica["desired_generation"]
    return Standing.IN_SYNC if state == ReplicaState.IN_SYNC and current else Standing.BEHIND


def standings(image: Json) -> dict[Standing, list[Json]]:
    """The replicas of an image by their standing."""
    found: dict[Standing, list[Json]] = {one: [] for one in Standing}
    for replica in image["replicas"]:
        found[standing(replica)].append(replica)
    return found


def alive(image: Json) -> bool:
    """Whether the image is at home or still has a replica."""
    return image["present"] or any(
        standing(replica) is not Standing.ENDED for replica in image["replicas"]
    )


def in_words(replica: Json) -> str:
    """The state, and how far a copy has come."""
    state: str = replica["state"].replace("_", " ")
    if replica["state"] == ReplicaState.COPYING and replica["bytes_total"]:
        state += f" {percent(replica)}"
    return state


def percent(replica: Json) -> str:
    """How much of the bytes is there, rounded down; nothing if there are none to count."""
    total = replica["bytes_total"]
    return f"{100 * replica['bytes_done'] // total} %" if total else ""


def openness(region: Json) -> str:
    """Whether work for the region may start, in a word or two."""
    if region["home"]:
        return "home"
    if not region["present"]:
        return "not in catalog"
    if not region["enabled"]:
        return "disabled"
    if region["maintenance"]:
        return "in maintenance"
    return "open" if region["breaker"] == BreakerState.CLOSED else "broken"
