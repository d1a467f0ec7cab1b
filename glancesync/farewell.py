# SPDX-License-Identifier: Apache-2.0
"""When a replica that is not wanted is dealt with, and what is said of one that stays. Pure.

What is done to it is the planner's business.
"""

from __future__ import annotations

from collections.abc import Collection

from glancesync.model import Image, Replica
from glancesync.states import DeleteMode, ReplicaState


def expiry(since: float, replica: Replica, grace: float) -> float:
    """When the grace period ends; as it was first said, whatever the option says by now.

    :param since: when it was found not to be wanted any more
    :param grace: seconds
    """
    return since + grace if replica.expires_at is None else replica.expires_at


def remains(observed: Image, replica: Replica, mode: DeleteMode, refused: Collection[str]) -> str:
    """In words, what was left in the region, and why."""
    if not replica.made or replica.state is ReplicaState.DELETED:
        return "left there as it was: it was not made by glance-sync"
    if refused:
        did = f"left there, as the region refused to change its {', '.join(refused)}"
    elif mode is DeleteMode.KEEP:
        did = "left there as it was"
    else:
        did = "left there, hidden" if observed.os_hidden else "left there, deactivated"
    return f"{did} (delete_mode {mode})"
