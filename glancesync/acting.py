# SPDX-License-Identifier: Apache-2.0
"""What a replica task does to a region."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Sequence

from glancesync import planner
from glancesync.errors import Conflict, Corrupt, Refused
from glancesync.interfaces import Ask
from glancesync.model import Image, Snooze
from glancesync.planner import Action, Op
from glancesync.retry import snooze_delay
from glancesync.states import ReplicaState, TaskKind
from glancesync.transferring import Transferring


class Acting(Transferring):
    """The hands of a replica task; what to do is decided by who inherits from it."""

    def _act(self, action: Action, home: Image | None, observed: Image | None) -> Snooze | None:
        """Carry out one action; a Snooze if the rest has to wait."""
        match action:
            case planner.Create(image):
                self._create(image)
            case planner.Transfer():
                assert home is not None  # noqa: S101 - only planned for a home image with data
                return self._transfer(home)
            case planner.Patch(ops):
                self._patch(ops)
            case planner.Members(put, remove):
                for project, status in put.items():
                    self._try(f"member {project}", self._service.put_member, project, status)
                for project in remove:
                    self._try(f"member {project}", self._service.remove_member, project)
                self._done.append("members")
            case planner.Deactivate():
                self._try("status", self._service.deactivate)
                self._done.append("deactivate")
            case planner.Reactivate():
                self._try("status", self._service.reactivate)
                self._done.append("reactivate")
            case planner.Delete(cause):
                self._delete(cause, home, observed)
            case planner.Wait(reason):
                delay = snooze_delay(self._waited, self._settings.poll, self._settings.poll_cap)
                return Snooze(delay, reason)
            case planner.Clash(reason):
                raise Conflict(self._task.region, reason)
        return None

    def _create(self, image: Image) -> None:
        ours = self.replica.made and self.replica.state is not ReplicaState.DELETED
        # Recorded first, so that after a crash the image is known to be ours.
        self._record(
            self._note("create", image.id),
            replica_id=image.id,
            made=True,
            state=ReplicaState.PENDING,
        )
        try:
            self._create_record(image)
        except Conflict:
            if not self._service.confirm_absent(image.id):
                self._record(made=ours)  # or somebody else was faster; look again
                return
            self._create_mapped(image)

    def _create_mapped(self, image: Image) -> None:
        """The region never takes the id of a deleted image again: take a new one."""
        self._clear_leftovers()
        replica_id = str(uuid.uuid4())
        self._record(
            self._note("map", f"the region refuses id {image.id}; its image is {replica_id}"),
            asks=self._referrers(),
            replica_id=replica_id,
            made=True,
        )
        self._create_record(dataclasses.replace(image, id=replica_id))

    def _referrers(self) -> tuple[Ask, ...]:
        """Have the replicas looked at that refer to this one, as its id there changed."""
        return tuple(
            Ask(TaskKind.REPLICA, referrer, self._task.region, actor=self._task.actor)
            for referrer in self._replicas.referrers(self._task.image_id)
        )

    def _create_record(self, image: Image) -> None:
        try:
            self._service.create(image)
        except Refused:
            # One property the region protects must not keep the image away; the properties are
            # patched in one by one when the bytes are there.
            self._service.create(dataclasses.replace(image, properties={}))

    def _patch(self, ops: Sequence[Op]) -> None:
        """Patch all at once; what the region refuses is found by halving and set aside."""
        try:
            self._service.patch(self._replica_id, ops)
            self._done.append("patch " + " ".join(op.name for op in ops))
        except Refused as error:
            if len(ops) == 1:
                self._refused[ops[0].name] = error.message
                return
            middle = len(ops) // 2
            self._patch(ops[:middle])
            self._patch(ops[middle:])

    def _try(self, what: str, method: Callable[..., None], *args: str) -> None:
        try:
            method(self._replica_id, *args)
        except Refused as error:
            self._refused[what] = error.message

    def _delete(self, cause: str, home: Image | None, observed: Image | None) -> None:
        arrived = self.replica.state is ReplicaState.COPYING and observed is not None
        own: dict[str, str] = {}
        if home is not None and observed is not None:  # another will take its place
            own = planner.regions_own(observed, self._settings.preserve)
        self._record(
            self._note("delete", f"{self._replica_id}: {cause}"),
            kept={**self.replica.kept, **own},
        )
        if observed is not None and not observed.has_data:
            self._clear_leftovers()
        self._service.delete(self._replica_id)
        copied_wrong = arrived and observed is not None and observed.has_data and home is not None
        self._record(
            bytes_done=0,
            synced_at=None,
            verified_at=None,
            state=ReplicaState.FAILED if copied_wrong else ReplicaState.PENDING,
        )
        if copied_wrong:
            if not self._from_home:
                self._doubt()
            raise Corrupt(self._task.region, f"the copy was removed: {cause}")
