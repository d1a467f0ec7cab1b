# SPDX-License-Identifier: Apache-2.0
"""Makes plans, and asks for their steps when they are applied.

A plan is what the planner would do to each replica if its task ran now, with the fingerprints of
what that was based on. Nothing is changed by making one. Applied, each step is put on the task of
its replica as a decision (:class:`~glancesync.model.Decision`): the task looks anew, and only if it
sees what the plan saw and would do what the plan says, it does that; see
:mod:`glancesync.replication`. So between the making and the doing nothing has to be held still.

Home is listed page by page, and of each region those of its images are read that a page is about.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from glancesync import planner
from glancesync.errors import LeaseLost, Refused, RegionError
from glancesync.farewell import expiry
from glancesync.home import read, with_lent_bytes
from glancesync.interfaces import (
    Ask,
    Baselines,
    Changes,
    ImageService,
    Lost,
    Note,
    Plans,
    Queue,
    Replicas,
    Services,
)
from glancesync.listing import listing, with_members
from glancesync.model import (
    Again,
    Decision,
    Done,
    Finding,
    Image,
    ImageRecord,
    Outcome,
    Priority,
    Region,
    Replica,
    Task,
    fingerprint_of,
    priority_for,
)
from glancesync.orders import Plan, Step
from glancesync.outline import outline
from glancesync.placement.places import delete_mode, targets, why_not
from glancesync.placement.strategies import STRATEGIES, Placement
from glancesync.recording import Settings
from glancesync.states import (
    ENDED,
    DecisionKind,
    DeleteMode,
    FindingKind,
    PlanState,
    StepState,
    TaskKind,
)

_AT_ONCE = 500  # steps asked for in one transaction
_HASH_READS = 8  # at a time, of one region


@dataclasses.dataclass(frozen=True)
class _Page:
    """Some images: what home has of them, and what is on record."""

    homes: Mapping[str, Image | None]
    records: Mapping[str, ImageRecord]
    known: Mapping[str, Mapping[str, Replica]]  # replicas by image and region

    @property
    def present(self) -> list[Image]:
        return [home for home in self.homes.values() if home is not None]


class Planning:
    """Runs tasks of plans. Safe to call from many threads."""

    def __init__(
        self,
        queue: Queue,
        replicas: Replicas,
        baselines: Baselines,
        plans: Plans,
        services: Services,
        settings: Settings,
    ) -> None:
        self._queue = queue
        self._replicas = replicas
        self._baselines = baselines
        self._plans = plans
        self._services = services
        self._settings = settings

    def run(self, task: Task, lost: Lost) -> tuple[Changes, Outcome]:
        """Make the plan that the task is about, or ask for its steps.

        :raises RegionError: home did not let us; the plan is begun anew
        """
        plan = self._plans.get(int(task.image_id))
        if plan is not None:
            plan = dataclasses.replace(plan, reason=None)
        if plan is not None and plan.state is PlanState.PLANNING:
            return self._make(task, plan, lost)
        if plan is not None and plan.state is PlanState.APPLYING:
            return self._hand_out(task, plan, lost)
        return Changes(), Done("there is nothing to do for it")

    # -- making one -------------------------------------------------------------------------------

    def _make(self, task: Task, plan: Plan, lost: Lost) -> tuple[Changes, Outcome]:
        # Under no strategy, what the simplest one would do is of interest.
        destinations = self._settings.destinations
        if not destinations.strategy.active:
            destinations = destinations.under(STRATEGIES["ALL"])
        regions = [
            region
            for region in self._replicas.regions()
            if not region.home and (not plan.regions or region.name in plan.regions)
        ]
        self._queue.commit(task, Changes(plan=plan))
        unread: dict[str, str] = {}
        found = False
        try:
            for page in self._pages(plan):
                found = True
                placements = destinations.each(page.present, page.known)
                for region in regions:
                    if lost.is_set():
                        raise LeaseLost(f"the lease on {task.key} was lost")
                    if region.name in unread:
                        continue
                    try:
                        changes = self._look(task, plan, placements, region, page)
                    except RegionError as error:
                        unread[region.name] = error.message
                    else:
                        self._queue.commit(task, changes)
        except Refused as error:
            # Glance can't go on after an image that was deleted meanwhile: begin anew.
            return Changes(), Again(1, str(error))
        if not found:
            why = f"home has no image {plan.image_id}"
            plan = dataclasses.replace(plan, state=PlanState.FAILED, reason=why)
            return Changes(plan=plan), Done(why)
        plan = dataclasses.replace(
            plan,
            state=PlanState.READY,
            strategy=destinations.strategy.name,
            regions=tuple(region.name for region in regions),
            unread=unread,
        )
        return Changes(plan=plan), Done("the plan is ready")

    def _pages(self, plan: Plan) -> Iterator[_Page]:
        """The images home has, and those it is on record to have had; or none."""
        if plan.image_id is not None:
            image = read(self._services, plan.image_id, None)
            page = self._page(self._with_bytes([image]) if image else {plan.image_id: None})
            record = page.records.get(plan.image_id)
            if image is not None or (record and not record.present):
                yield page
            return
        home = self._services(self._services.home)
        home.require_admin()
        after = ""
        for images, upto in listing(home, None):
            full = with_members(home, images)
            looked = [full[one.id] or home.get(one.id) for one in images]
            # One that is not there any more may be gone: an audit says so, not a plan (P4).
            there = [image for image in looked if image is not None]
            gone = {record.image_id for record in self._baselines.gone(after, upto)}
            gone -= {image.id for image in there}
            yield self._page({**dict.fromkeys(gone), **self._with_bytes(there)})
            after = upto or ""

    def _with_bytes(self, images: Iterable[Image]) -> dict[str, Image | None]:
        """By id, without those whose bytes another region lends that does not show them now.

        To these nothing would be done.
        """
        found: dict[str, Image | None] = {}
        for image in images:
            with contextlib.suppress(RegionError):
                found[image.id] = with_lent_bytes(self._services, self._replicas.regions, image)
        return found

    def _page(self, homes: Mapping[str, Image | None]) -> _Page:
        views = self._baselines.replicas_for(homes)
        known: dict[str, dict[str, Replica]] = {image_id: {} for image_id in homes}
        for view in views:
            known[view.replica.image_id][view.replica.region] = view.replica
        return _Page(homes, self._baselines.images_by_id(homes), known)

    def _look(
        self,
        task: Task,
        plan: Plan,
        placements: Mapping[str, Placement],
        region: Region,
        page: _Page,
    ) -> Changes:
        """The steps for the images of a page in one region, and what might be adopted there."""
        service = self._services(region.name)
        service.require_admin()
        todo: dict[str, Replica] = {}
        causes: dict[str, str] = {}  # image -> why there should be no replica
        for image_id, home in page.homes.items():
            known = page.known[image_id]
            replica = known.get(region.name) or Replica(image_id, region.name)
            if home is not None and region.name in targets(home, placements[image_id], known):
                todo[image_id] = replica
                continue
            cause = self._cause(home, placements.get(image_id), known, region.name)
            if cause is not None and self._is_over(task, page, replica):
                todo[image_id], causes[image_id] = replica, cause
        ids = {image_id: one.replica_id or image_id for image_id, one in todo.items()}
        there = with_members(service, service.some(ids.values()))
        steps: list[Step] = []
        for image_id, replica in todo.items():
            replica_id = ids[image_id]
            seen = there.get(replica_id)
            if replica_id in there and seen is None:  # it changed while it was looked at
                seen = service.get(replica_id)
            home = page.homes[image_id]
            mode = self._delete_mode(region, replica, placements.get(image_id))
            step = self._step(plan, region, home, replica, seen, causes.get(image_id), mode)
            if step is not None:
                steps.append(step)
        lacking = [
            home
            for step in steps
            if step.actions[0] == "create" and todo[step.image_id].replica_id is None
            if (home := page.homes[step.image_id]) is not None and home.os_hash_value
        ]
        offers = self._offers(service, lacking)
        findings = [
            Finding(
                region.name,
                FindingKind.ADOPTABLE,
                home_id,
                one.id,
                f"{one.name!r}, {one.size} bytes",
            )
            for home_id, found in offers.items()
            for one in found
        ]
        return Changes(
            steps=tuple(
                dataclasses.replace(
                    step, adoptable=tuple(one.id for one in offers.get(step.image_id, ()))
                )
                for step in steps
            ),
            findings=tuple(findings),
        )

    @staticmethod
    def _cause(
        home: Image | None,
        placement: Placement | None,
        known: Mapping[str, Replica],
        region: str,
    ) -> str | None:
        """Why a replica that there is should not be; None: there is none, or it should."""
        if region not in known or known[region].state in ENDED:
            return None
        if home is None or placement is None:
            return planner.GONE
        return why_not(home, placement, region)

    def _is_over(self, task: Task, page: _Page, replica: Replica) -> bool:
        """Whether the grace period of a replica that is not wanted has ended."""
        gone = page.homes[replica.image_id] is None
        since = page.records[replica.image_id].changed_at if gone else task.updated_at
        return expiry(since, replica, self._settings.delete_grace) <= task.updated_at

    def _delete_mode(
        self, region: Region, replica: Replica, placement: Placement | None
    ) -> DeleteMode:
        said = replica.delete_mode
        if placement is not None:
            said = delete_mode(placement, region.name)
        return said or region.delete_mode or self._settings.delete_mode

    def _step(
        self,
        plan: Plan,
        region: Region,
        home: Image | None,
        replica: Replica,
        observed: Image | None,
        cause: str | None,
        mode: DeleteMode,
    ) -> Step | None:
        desired = None
        if home is not None and cause is None:
            desired = planner.desired_for(home, replica, self._replicas.id_map)
        actions = planner.plan(
            desired,
            observed,
            replica,
            preserve=self._settings.preserve,
            delete_mode=mode,
            cause=cause or "",
        )
        said = outline(desired, observed, replica, actions, cause or "")
        if said is None:
            return None
        named = home or observed
        return Step(
            plan_id=plan.id,
            region=region.name,
            image_id=replica.image_id,
            name=named.name if named else None,
            actions=said.actions,
            why=said.why,
            bytes=said.bytes,
            home=fingerprint_of(home),
            observed=fingerprint_of(observed),
        )

    def _offers(self, service: ImageService, homes: Sequence[Image]) -> dict[str, Sequence[Image]]:
        """Home image -> images of the region that are no replicas and have its name and bytes."""

        def look(home: Image) -> list[Image]:
            return [
                one
                for one in service.with_bytes(str(home.os_hash_value))
                if one.name == home.name and planner.unfit(home, one) is None
            ]

        with concurrent.futures.ThreadPoolExecutor(_HASH_READS) as pool:
            found = dict(zip((home.id for home in homes), pool.map(look, homes), strict=True))
        ids = {one.id for several in found.values() for one in several}
        taken = {one.replica.replica_id for one in self._baselines.placed_as(service.region, ids)}
        return {
            home_id: [one for one in several if one.id not in taken]
            for home_id, several in found.items()
        }

    # -- applying one -----------------------------------------------------------------------------

    def _hand_out(self, task: Task, plan: Plan, lost: Lost) -> tuple[Changes, Outcome]:
        """Put each step on the task of its replica."""
        decision = Decision(DecisionKind.PLAN, str(plan.id))
        while steps := self._plans.planned(plan.id, _AT_ONCE):
            if lost.is_set():
                raise LeaseLost(f"the lease on {task.key} was lost")
            asks = tuple(
                Ask(
                    TaskKind.REPLICA,
                    step.image_id,
                    step.region,
                    priority_for(Priority.PLAN, step.bytes),
                    task.actor,
                    decision=decision,
                )
                for step in steps
            )
            notes = tuple(
                Note(
                    "asked",
                    f"plan {plan.id}: {', '.join(step.actions)}",
                    step.region,
                    step.image_id,
                )
                for step in steps
            )
            asked = tuple(dataclasses.replace(step, state=StepState.ASKED) for step in steps)
            self._queue.commit(task, Changes(steps=asked, asks=asks, notes=notes))
        plan = dataclasses.replace(plan, state=PlanState.APPLIED)
        return Changes(plan=plan), Done("all steps are asked for")
