"""How replicas stand, as the API shows them, and how that reads."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING

from glancesync.states import ENDED, ReplicaState

if TYPE_CHECKING:
    from glancesync.osc.client import Json


class Standing(enum.Enum):
    """What a state means to somebody who wants to know whether to worry."""

    IN_SYNC = "in sync"
    BEHIND = "behind"  # work is queued or under way, or home has no data yet
    TROUBLE = "trouble"  # wants a person's eye
    ENDED = "ended"  # home's image is gone, and so is our replica


_TROUBLE = frozenset({ReplicaState.FAILED, ReplicaState.CONFLICT, ReplicaState.PARTIAL})


def standing(replica: Json) -> Standing:
    """Where one replica stands."""
    state = replica["state"]
    if state in ENDED:
        return Standing.ENDED
    if state in _TROUBLE:
        return Standing.TROUBLE
    current = replica["observed_generation"] >= replica["desired_generation"]
    return Standing.IN_SYNC if state == ReplicaState.IN_SYNC and current else Standing.BEHIND


def standings(replicas: Iterable[Json]) -> dict[Standing, dict[str, str]]:
    """Region -> state in words, for each standing."""
    found: dict[Standing, dict[str, str]] = {one: {} for one in Standing}
    for replica in replicas:
        found[standing(replica)][replica["region"]] = in_words(replica)
    return found


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
