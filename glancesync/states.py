# SPDX-License-Identifier: Apache-2.0
"""The states of tasks and replicas, and the moves between them that are legal.

A task::

    ready ──claim──> running ──> done
      ^                 │
      ├──asked again────┤            while it ran; or its lease ended
      │                 │
      ├──due── waiting <┤            too early, or between two fast attempts
      └──due── failed <─┘            fast attempts used up; shown, tried again at the cap

    ready, waiting, running, failed ──cancel──> cancelled

All but ``done`` and ``cancelled`` are *open*: a key has at most one open task. Only what is due is
``ready``, so that a claim never reads past tasks that wait. ``failed`` is not an end: it says that
a human may want to look, and is tried again with a capped backoff.

A replica follows what was last recorded about it, so most moves are legal; those that are not
would hide something (see :data:`REPLICA_MOVES`).
"""

from __future__ import annotations

import enum


class TaskState(enum.StrEnum):
    """Where a task is in its life."""

    READY = "ready"
    WAITING = "waiting"
    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"
    CANCELLED = "cancelled"


OPEN = frozenset({TaskState.READY, TaskState.WAITING, TaskState.RUNNING, TaskState.FAILED})
#: Open, and ready as soon as due.
POSTPONED = frozenset({TaskState.WAITING, TaskState.FAILED})

TASK_MOVES: dict[TaskState, frozenset[TaskState]] = {
    TaskState.READY: frozenset({TaskState.RUNNING, TaskState.CANCELLED}),
    TaskState.WAITING: frozenset({TaskState.READY, TaskState.CANCELLED}),
    TaskState.RUNNING: frozenset(
        {
            TaskState.READY,
            TaskState.WAITING,
            TaskState.FAILED,
            TaskState.DONE,
            TaskState.CANCELLED,
        }
    ),
    TaskState.FAILED: frozenset({TaskState.READY, TaskState.CANCELLED}),
    TaskState.DONE: frozenset(),
    TaskState.CANCELLED: frozenset(),
}


class TaskKind(enum.StrEnum):
    """What a task works on."""

    IMAGE = "image"  #: a home image: which regions does it go to?
    REPLICA = "replica"  #: one replica of an image
    WATCH = "watch"  #: what changed lately in a region; never ends
    AUDIT = "audit"  #: everything a region has; never ends
    PLAN = "plan"  #: a plan: it is made, or its steps are asked for
    JOB = "job"  #: a job: its images are looked up, and asked for


#: Kinds of tasks that are opened by a wish and end with it.
ENDING = frozenset({TaskKind.IMAGE, TaskKind.REPLICA})


class ReplicaState(enum.StrEnum):
    """What we last recorded of a replica."""

    PENDING = "pending"  #: work is queued
    COPYING = "copying"  #: bytes are on their way
    WAITING = "waiting"  #: the home image has no data at the moment
    IN_SYNC = "in_sync"  #: equals the home image at the observed generation
    PARTIAL = "partial"  #: as in_sync, but for what the region refused (listed)
    CONFLICT = "conflict"  #: the region holds an image of that id that is not ours
    FAILED = "failed"  #: the last attempt failed; will soon be tried again
    STALLED = "stalled"  #: the fast attempts are used up; tried again at long intervals
    EXPIRING = "expiring"  #: not wanted any more; dealt with at the end of the grace period
    DELETED = "deleted"  #: not wanted any more, and gone
    RELEASED = "released"  #: not wanted any more, yet it stays: not ours, or by delete_mode


class DeleteMode(enum.StrEnum):
    """What becomes of a replica that we made when it is not wanted any more."""

    MIRROR = "mirror"  #: it is deleted
    DEACTIVATE = "deactivate"  #: it stays, and users can't use it
    HIDE = "hide"  #: it stays, and users don't find it in lists
    KEEP = "keep"  #: it stays as it is


#: Not as it should be, whether or not a task works on it.
BEHIND = frozenset(
    {
        ReplicaState.PENDING,
        ReplicaState.COPYING,
        ReplicaState.FAILED,
        ReplicaState.STALLED,
        ReplicaState.CONFLICT,
    }
)
SETTLED = frozenset({ReplicaState.IN_SYNC, ReplicaState.PARTIAL})
ENDED = frozenset({ReplicaState.DELETED, ReplicaState.RELEASED})

_ANY = frozenset(ReplicaState)
_ALIVE = SETTLED | {ReplicaState.COPYING, ReplicaState.WAITING}

#: Who finds something in a region that is ``deleted`` or ``released`` may record that, or that it
#: failed. To have a replica again it must first be ``pending``: only home's wish brings that.
REPLICA_MOVES: dict[ReplicaState, frozenset[ReplicaState]] = {
    state: (_ANY - _ALIVE if state in ENDED else _ANY) for state in ReplicaState
}


def check_move(old: ReplicaState, new: ReplicaState) -> None:
    """Raise ValueError unless a replica may move from ``old`` to ``new``."""
    if new not in REPLICA_MOVES[old]:
        raise ValueError(f"a replica can't move from {old} to {new}")


class BreakerState(enum.StrEnum):
    """Whether a region is left alone because it is unwell."""

    CLOSED = "closed"  #: it is well
    OPEN = "open"  #: no work for it starts
    HALF_OPEN = "half_open"  #: one task at a time sees whether it answers again


class DecisionKind(enum.StrEnum):
    """What a human may decide about one replica."""

    PLAN = "plan"  #: what a plan says of it is to be done, and nothing else
    ADOPT = "adopt"  #: this image of the region is the replica from now on
    OWN = "own"  #: as ``adopt``, and glance-sync may delete it one day as if it had made it


class PlanState(enum.StrEnum):
    """Where a plan is in its life."""

    PLANNING = "planning"  #: its steps are being worked out
    READY = "ready"  #: may be applied
    APPLYING = "applying"  #: its steps are being asked for
    APPLIED = "applied"  #: all its steps were asked for; each has a state of its own
    FAILED = "failed"  #: it can't be made, or its task was ended by hand


class StepState(enum.StrEnum):
    """What became of a step of a plan. The last two are not recorded but seen by its task."""

    PLANNED = "planned"  #: the plan was not applied
    ASKED = "asked"  #: a task has it
    BEGUN = "begun"  #: its task found everything as planned
    DONE = "done"  #: what was planned is done
    STALE = "stale"  #: something was not as planned any more; nothing (more) was done
    FAILED = "failed"  #: the fast attempts are used up; it is tried again at long intervals
    CANCELLED = "cancelled"  #: its task was ended by hand


class JobState(enum.StrEnum):
    """Where a job is; seen by its items, so true at every moment."""

    ACTIVE = "active"  #: images are still to be looked up, or an item has not ended
    DONE = "done"  #: all that was asked for is in place
    FAILED = "failed"  #: it has ended, and an item has not got what was asked for
    CANCELLED = "cancelled"  #: somebody ended it before it was done


class ItemState(enum.StrEnum):
    """What became of one image of a job in one region."""

    WAITING = "waiting"  #: for its kernel and ramdisk, which come first
    PENDING = "pending"  #: a task has it
    COPYING = "copying"  #: its bytes are on their way; not recorded, but seen by its replica
    DONE = "done"  #: it was copied, or brought up to date
    IN_SYNC = "in_sync"  #: it was there as it should be; nothing was copied
    CONFLICT = "conflict"  #: the region holds another image under that id
    FAILED = "failed"  #: the fast attempts are used up; it is tried again at long intervals
    REFUSED = "refused"  #: it can't be done, nothing was tried
    CANCELLED = "cancelled"  #: the job was ended first


#: An item in one of these keeps its job active.
UNENDED = frozenset({ItemState.WAITING, ItemState.PENDING})
#: Items whose task may still bring them what was asked for.
TRIED = frozenset({ItemState.PENDING, ItemState.CONFLICT, ItemState.FAILED})
ARRIVED = frozenset({ItemState.DONE, ItemState.IN_SYNC})
MISSED = frozenset({ItemState.CONFLICT, ItemState.FAILED, ItemState.REFUSED})


class FindingKind(enum.StrEnum):
    """What an audit saw and did not act on by itself."""

    GONE = "gone"  #: home no longer lists an image that has replicas
    UNPLACED = "unplaced"  #: an image has replicas where it does not go any more
    CORRUPT = "corrupt"  #: a replica's size or hash is not the home image's any more
    ADOPTABLE = "adoptable"  #: an image with the name and the bytes of one at home, other id


#: Acted on at the end of the audit, unless there are too many of them (P4).
DELETING = frozenset({FindingKind.GONE, FindingKind.UNPLACED, FindingKind.CORRUPT})
#: Of these, those that are about an image, and not about one replica.
OF_IMAGES = frozenset({FindingKind.GONE, FindingKind.UNPLACED})
