# SPDX-License-Identifier: Apache-2.0
"""What people order beyond a single change: plans, jobs, and regions for their projects."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from glancesync.model import Actor
from glancesync.states import ItemState, PlanState, StepState


@dataclasses.dataclass(frozen=True)
class Binding:
    """A project, or a group of what it has, belongs to a region; of each one is active at most.

    While it is active, and after that until it is ``released``, the project's images go there.
    """

    id: int
    project_id: str
    group: str  # "": the project as such
    region: str
    cause: str  # why it was bound, in words
    actor: Actor
    began_at: float
    ended_at: float | None = None
    end_cause: str | None = None
    ended_by: Actor | None = None
    released: bool = False

    @property
    def active(self) -> bool:
        return self.ended_at is None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What would be done, and why, as of when it was looked at. Its steps are kept apart."""

    id: int
    state: PlanState
    strategy: str  # "" until it is made
    image_id: str | None  # only this one
    regions: tuple[str, ...]  # until it is made: those asked for, none means all
    unread: Mapping[str, str]  # regions that could not be looked at -> why
    reason: str | None  # why it can't be made
    actor: Actor
    created_at: float = 0.0
    ready_at: float | None = None
    applied_at: float | None = None
    applied_by: Actor | None = None


@dataclasses.dataclass(frozen=True)
class Step:
    """What would be done to one replica, and what that was based on."""

    plan_id: int
    region: str
    image_id: str
    name: str | None
    actions: tuple[str, ...]  # in words
    why: str
    bytes: int  # to be copied
    home: str  # fingerprint of the home image
    observed: str  # fingerprint of the region's image
    adoptable: tuple[str, ...] = ()  # images there that could be adopted instead
    state: StepState = StepState.PLANNED
    result: str | None = None
    looked_at: float = 0.0


@dataclasses.dataclass(frozen=True)
class Wish:
    """Part of a job: these images of one region are to be in others, too."""

    source: str
    targets: tuple[str, ...]
    resources: tuple[str, ...]  # ids or names at the source
    force: bool = False  # under new ids
    replace: bool = False  # what has an image's id in a target, differs and is not ours


@dataclasses.dataclass(frozen=True)
class Job:
    """What a user asked for by name. Its items are kept apart."""

    id: int
    project_id: str | None
    everything: bool  # the user may see the images of all projects
    wishes: tuple[Wish, ...]
    actor: Actor
    position: int = 0  # so many of all resources were looked up
    reason: str | None = None  # why that takes its time
    created_at: float = 0.0
    cancelled_at: float | None = None

    @property
    def size(self) -> int:
        """How many resources there are."""
        return sum(len(wish.resources) for wish in self.wishes)

    def next(self, items: int) -> tuple[Wish, tuple[str, ...]]:
        """The resources to be looked up next, with their wish; about so many ``items``."""
        before = 0
        for wish in self.wishes:
            start = self.position - before
            if start < len(wish.resources):
                count = max(1, items // len(wish.targets))
                return wish, wish.resources[start : start + count]
            before += len(wish.resources)
        raise IndexError(f"job {self.id} has no resource {self.position}")


@dataclasses.dataclass(frozen=True)
class Item:
    """One image of a job in one region. ``number`` counts the items of the job."""

    job_id: int
    resource: str  # as the user named it, or who needs it
    source: str
    region: str
    state: ItemState = ItemState.PENDING
    number: int = 0
    source_id: str | None = None  # its id at the source
    image_id: str | None = None  # the journal's id of it
    name: str | None = None
    size: int | None = None
    force: bool = False
    replace: bool = False
    needs: tuple[str, ...] = ()  # images that must be in the region first
    part: bool = False  # another image of the job needs it
    pinned: bool = False  # nobody had wanted it there by name before
    touched: bool = False  # bytes were copied
    result: str | None = None
    ended_at: float | None = None


@dataclasses.dataclass(frozen=True)
class ItemView:
    """An item with what is known of its replica."""

    item: Item
    state: ItemState
    replica_id: str | None = None
    bytes_done: int = 0
    reason: str | None = None  # of its open task, if there is one


@dataclasses.dataclass(frozen=True)
class Tally:
    """How far a job is: how many items are in which state, and when the last one ended."""

    states: Mapping[ItemState, int]
    ended_at: float | None = None
