"""One answer to "is all in sync?"."""

from __future__ import annotations

from typing import Any

from glancesync.api import views
from glancesync.api.call import Answer, Call
from glancesync.api.schemas import NO_QUERY
from glancesync.states import ReplicaState, TaskState

_OPEN = (TaskState.READY, TaskState.WAITING, TaskState.RUNNING, TaskState.FAILED)
#: Replica states of what is not (yet) as it should be, whether or not a task works on it.
_BEHIND = (
    ReplicaState.PENDING,
    ReplicaState.COPYING,
    ReplicaState.FAILED,
    ReplicaState.STALLED,
    ReplicaState.CONFLICT,
)

#: Replica states that want a person's eye.
_TROUBLE = (ReplicaState.STALLED, ReplicaState.CONFLICT, ReplicaState.PARTIAL)


def show(call: Call) -> Answer:
    """``GET /v1/status``: in sync or behind, by how much, and what needs a human."""
    call.allow("glancesync:status:show")
    call.query(NO_QUERY)
    counts = call.journal.counts()
    regions = []
    for region in call.journal.regions():
        backlog = counts["backlog"].get(region.name, {})
        replicas = counts["replicas"].get(region.name, {})
        regions.append(
            {
                **views.region(region),
                "replicas": replicas,
                "tasks": {state.value: backlog.get(state, 0) for state in _OPEN},
                "oldest_seconds": round(backlog.get("oldest_seconds", 0.0), 3),
                "bytes_behind": counts["bytes_behind"].get(region.name, 0),
                "in_sync": not any(backlog.get(state) for state in _OPEN)
                and not any(replicas.get(state) for state in _BEHIND),
                "needs_human": {
                    state.value: replicas[state] for state in _TROUBLE if replicas.get(state)
                },
            }
        )
    images: dict[str, Any] = counts["backlog"].get("", {})
    waiting = sum(images.get(state, 0) for state in _OPEN)
    return 200, {
        "status": {
            "in_sync": not waiting and all(one["in_sync"] for one in regions),
            "images_to_look_at": waiting,
            "regions": regions,
        }
    }
