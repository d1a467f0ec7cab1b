# SPDX-License-Identifier: Apache-2.0
"""Replica tasks that carry out what a human decided: an adoption, or a step of a plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from glancesync import planner
from glancesync.interfaces import Changes
from glancesync.model import Again, Decision, Done, Image, Outcome, Task, fingerprint_of
from glancesync.orders import Step
from glancesync.outline import differs, outline
from glancesync.planner import Action
from glancesync.replication import Replication
from glancesync.states import ENDED, DecisionKind, ReplicaState, StepState


def kind_of(task: Task) -> type[Replication]:
    """What runs a replica task."""
    if task.decision is None:
        return Replication
    return Stepping if task.decision.what is DecisionKind.PLAN else Adoption


class Adoption(Replication):
    """Takes an image that the region has for the replica; nothing is changed there."""

    def _run(self, home: Image | None) -> tuple[Changes, Outcome]:
        decision = self._task.decision
        assert decision is not None  # noqa: S101 - or it would not be an adoption
        observed = self._service.get(decision.id)
        if observed is None:
            self._service.require_admin()
        why = self._unfit(decision, home, observed)
        if why is not None:
            said = f"image {decision.id} of {self._task.region} is not adopted: {why}"
            return Changes(notes=(self._note("refused", said),)), Done(said)
        self._know(home)
        own = decision.what is DecisionKind.OWN
        said = f"image {decision.id}" + ("; glance-sync may delete it" if own else "")
        notes = (self._note(decision.what.value, said),)
        asks = self._referrers() if self.replica.replica_id is None else ()
        self.replica = dataclasses.replace(
            self.replica,
            state=ReplicaState.PENDING,
            replica_id=decision.id,
            made=self.replica.made or own,
            last_error=None,
        )
        desired = self._desired(home)
        if self._plan(desired, observed):
            changes = Changes(replica=self.replica, notes=notes, asks=asks)
            return changes, Again(0, said)  # the rest is work as any other
        self._queue.commit(self._task, Changes(replica=self.replica, notes=notes, asks=asks))
        return self._settled(home, desired, observed)

    def _unfit(self, decision: Decision, home: Image | None, observed: Image | None) -> str | None:
        """Why that image can't be the replica."""
        if self.replica.replica_id not in (None, decision.id):
            return f"the replica there is image {self.replica.replica_id}"
        holder = self._replicas.holder(self._task.region, decision.id)
        if holder not in (None, self._task.image_id):
            return f"it is the replica of image {holder}"
        return planner.unfit(home, observed)


class Stepping(Replication):
    """Does what a plan says of the replica, or nothing if it went stale.

    The first look is held against the step: home's image, the region's, and what would be done.
    From then on it is work as any other, over several attempts if need be; but for home's image,
    which is held against the step in each.
    """

    _step: Step

    def _run(self, home: Image | None) -> tuple[Changes, Outcome]:
        decision = self._task.decision
        assert decision is not None  # noqa: S101 - or it would not be a step
        step = self._replicas.step(int(decision.id), self._task.image_id, self._task.region)
        if step is None:
            return Changes(), Done(f"plan {decision.id} is gone")
        self._step = step
        if step.home != fingerprint_of(home):
            return self._stale("home's image is not what it was")
        return super()._run(home)

    @property
    def _to_go(self) -> bool:
        return True  # whoever applied the plan has said so

    def _undecided(self) -> tuple[Changes, Outcome]:
        return self._stale("home does not have the image, and it is not on record that it is gone")

    def _instead(
        self, desired: Image | None, observed: Image | None, actions: Sequence[Action]
    ) -> tuple[Changes, Outcome] | None:
        if self._step.state is StepState.ASKED:
            now = outline(desired, observed, self.replica, actions)
            why = differs(self._step, observed, now)
            if why is not None:
                return self._stale(why)
            self._step = dataclasses.replace(self._step, state=StepState.BEGUN)
            if self.replica.state in ENDED:
                self.replica = dataclasses.replace(self.replica, state=ReplicaState.PENDING)
            self._queue.commit(self._task, Changes(replica=self.replica, steps=(self._step,)))
        if actions and isinstance(actions[0], planner.Clash):  # the plan was to leave it alone
            said = actions[0].reason
            conflict = dataclasses.replace(
                self.replica, state=ReplicaState.CONFLICT, last_error=said
            )
            return Changes(replica=conflict, steps=(self._done_with(said),)), Done(said)
        return None

    def _stale(self, why: str) -> tuple[Changes, Outcome]:
        step = dataclasses.replace(self._step, state=StepState.STALE, result=why)
        said = f"plan {step.plan_id} went stale: {why}"
        return Changes(steps=(step,), notes=(self._note("stale", said),)), Done(said)

    def _settled(
        self, home: Image | None, desired: Image | None, observed: Image | None
    ) -> tuple[Changes, Outcome]:
        changes, outcome = super()._settled(home, desired, observed)
        assert isinstance(outcome, Done)  # noqa: S101 - settled is done
        step = self._done_with(outcome.result)
        return dataclasses.replace(changes, steps=(step,)), outcome

    def _done_with(self, said: str) -> Step:
        return dataclasses.replace(self._step, state=StepState.DONE, result=said)
