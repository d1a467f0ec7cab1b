"""The states of tasks and replicas, and the moves between them that are legal.

A task::

    ready ──claim──> running ──> done
      ^                 │
      ├──retry, snooze──┤            asked again while it ran: ready, due at once
      │                 ├──> failed  fast retries used up; shown, claimed again when due
      └──lease ended────┘
    ready, running, failed ──cancel──> cancelled

``ready``, ``running`` and ``failed`` are *open*: a key has at most one open task. ``failed`` is
not an end: it says that a human may want to look, and is tried again with a capped backoff.

A replica follows what was last recorded about it, so most moves are legal; those that are not
would hide something (see :data:`REPLICA_MOVES`).
"""

from __future__ import annotations

import enum


class TaskState(enum.StrEnum):
    """Where a task is in its life."""

    READY = "ready"
    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"
    CANCELLED = "cancelled"


OPEN = frozenset({TaskState.READY, TaskState.RUNNING, TaskState.FAILED})
CLAIMABLE = frozenset({TaskState.READY, TaskState.FAILED})

TASK_MOVES: dict[TaskState, frozenset[TaskState]] = {
    TaskState.READY: frozenset({TaskState.RUNNING, TaskState.CANCELLED}),
    TaskState.RUNNING: frozenset(
        {TaskState.READY, TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED}
    ),
    TaskState.FAILED: frozenset({TaskState.RUNNING, TaskState.READY, TaskState.CANCELLED}),
    TaskState.DONE: frozenset(),
    TaskState.CANCELLED: frozenset(),
}


class TaskKind(enum.StrEnum):
    """What a task works on: an image (which regions?) or one replica of it."""

    IMAGE = "image"
    REPLICA = "replica"


class ReplicaState(enum.StrEnum):
    """What we last recorded of a replica."""

    PENDING = "pending"  #: work is queued
    COPYING = "copying"  #: bytes are on their way
    WAITING = "waiting"  #: the home image has no data at the moment
    IN_SYNC = "in_sync"  #: equals the home image at the observed generation
    PARTIAL = "partial"  #: as in_sync, but for what the region refused (listed)
    CONFLICT = "conflict"  #: the region holds an image of that id that is not ours
    FAILED = "failed"  #: the last attempt failed; will be tried again
    DELETED = "deleted"  #: the home image is gone, and so is the replica
    RELEASED = "released"  #: the home image is gone; the replica was not ours to delete


SETTLED = frozenset({ReplicaState.IN_SYNC, ReplicaState.PARTIAL})
ENDED = frozenset({ReplicaState.DELETED, ReplicaState.RELEASED})

_ANY = frozenset(ReplicaState)

#: ``deleted`` and ``released`` are left only by new work, never straight into a result:
#: a replica can't be ``in_sync`` again without having been observed by a task.
REPLICA_MOVES: dict[ReplicaState, frozenset[ReplicaState]] = {
    state: (frozenset({state, ReplicaState.PENDING}) if state in ENDED else _ANY)
    for state in ReplicaState
}


def check_move(old: ReplicaState, new: ReplicaState) -> None:
    """Raise ValueError unless a replica may move from ``old`` to ``new``."""
    if new not in REPLICA_MOVES[old]:
        raise ValueError(f"a replica can't move from {old} to {new}")
