# SPDX-License-Identifier: Apache-2.0
"""One answer to "is all in sync?"."""

from __future__ import annotations

from typing import Any

from glancesync.api import views
from glancesync.api.call import Answer, Call
from glancesync.api.schemas import NO_QUERY
from glancesync.model import Standing, differences
from glancesync.states import BEHIND, OPEN, ReplicaState, TaskState

#: Replica states that want a person's eye.
_TROUBLE = (ReplicaState.STALLED, ReplicaState.CONFLICT, ReplicaState.PARTIAL)


def show(call: Call) -> Answer:
    """``GET /v1/status``: in sync or behind, by how much, since when, and what needs a human."""
    call.allow("glancesync:status:show")
    call.query(NO_QUERY)
    standings, behind = call.journal.standings()
    return 200, {
        "status": {
            "in_sync": not behind,
            "images_behind": behind,
            "bytes_behind": sum(one.bytes_behind for one in standings),
            "behind_seconds": round(max((one.oldest for one in standings), default=0.0), 3),
            "differences": differences(call.journal.nodes()),
            "regions": [_region(one) for one in standings],
        }
    }


def _region(one: Standing) -> dict[str, Any]:
    trouble = {state.value: one.replicas.get(state, 0) for state in _TROUBLE}
    trouble["held"] = one.audit.held
    return {
        **views.region(one.region),
        "in_sync": not one.tasks and not any(one.replicas.get(state) for state in BEHIND),
        "replicas": dict(one.replicas),
        "tasks": {state.value: one.tasks.get(state, 0) for state in TaskState if state in OPEN},
        "oldest_seconds": round(one.oldest, 3),
        "bytes_behind": one.bytes_behind,
        "needs_human": {what: count for what, count in trouble.items() if count},
        "audit": views.audit(one.audit),
    }
