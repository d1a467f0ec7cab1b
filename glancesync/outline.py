# SPDX-License-Identifier: Apache-2.0
"""What would be done to a replica, in words, and why. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from glancesync import planner
from glancesync.model import Image, Replica, fingerprint_of
from glancesync.orders import Step
from glancesync.planner import Action


@dataclasses.dataclass(frozen=True)
class Outline:
    """What the actions of a plan come to; two that are equal in ``actions`` do the same.

    ``bytes``: how many will be copied.
    """

    actions: tuple[str, ...]
    why: str
    bytes: int = 0


def outline(
    desired: Image | None,
    observed: Image | None,
    replica: Replica,
    actions: Sequence[Action],
    cause: str = planner.GONE,
) -> Outline | None:
    """What ``actions`` lead to, also what can only be planned when they are done.

    None if there is nothing to do, or nothing but to wait for somebody else.
    """
    words = [_in_words(action) for action in actions if not isinstance(action, planner.Wait)]
    if observed is not None and desired is not None and _is_adoption(observed, replica, actions):
        return Outline(("adopt", *words), "it has home's bytes; glance-sync did not make it")
    if not words:
        return None
    copies = desired is not None and desired.has_data
    if copies and isinstance(actions[-1], planner.Delete):
        words += ["create", "copy"]
    elif copies and isinstance(actions[-1], planner.Create):
        words.append("copy")
    size = (desired.size or 0) if desired is not None and "copy" in words else 0
    return Outline(tuple(words), _why(desired, observed, replica, actions, cause), size)


def differs(step: Step, observed: Image | None, now: Outline | None) -> str | None:
    """Why a step of a plan is not what would be done now; None if it is."""
    if step.observed != fingerprint_of(observed):
        return "the region's image is not what it was"
    if now is None or now.actions != step.actions:
        return f"now it would be: {'nothing' if now is None else ', '.join(now.actions)}"
    return None


def _is_adoption(observed: Image, replica: Replica, actions: Sequence[Action]) -> bool:
    refused = any(isinstance(one, planner.Clash | planner.Delete) for one in actions)
    return observed.has_data and replica.replica_id is None and not refused


def _in_words(action: Action) -> str:
    match action:
        case planner.Create():
            return "create"
        case planner.Transfer():
            return "copy"
        case planner.Patch(ops):
            return f"change {', '.join(op.name for op in ops)}"
        case planner.Members():
            return "change members"
        case planner.Deactivate():
            return "deactivate"
        case planner.Reactivate():
            return "reactivate"
        case planner.Delete():
            return "delete"
        case planner.Clash():
            return "leave alone"
        case planner.Wait():
            return "wait"


def _why(
    desired: Image | None,
    observed: Image | None,
    replica: Replica,
    actions: Sequence[Action],
    cause: str,
) -> str:
    for action in actions:
        if isinstance(action, planner.Delete):
            return action.cause
        if isinstance(action, planner.Clash):
            return action.reason
    if desired is None:
        return cause
    if observed is None:
        gone = replica.made and replica.replica_id is not None
        return "its replica is gone" if gone else "the region has no image of that id"
    if not desired.has_data:
        return f"home's image is {desired.status}, without data"
    if not observed.has_data:
        return "its bytes have not arrived"
    return "it is not as home's image is"
