# SPDX-License-Identifier: Apache-2.0
"""One replica task: observe the region, plan, act, verify, until there is nothing left to do."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence

from glancesync import farewell, planner
from glancesync.acting import Acting
from glancesync.counts import Count, Counter
from glancesync.errors import Conflict, LeaseLost, Refused, Transient
from glancesync.home import doubt
from glancesync.home import observed as observed_home
from glancesync.interfaces import Ask, Changes, Note
from glancesync.mapping import shown_id
from glancesync.model import (
    Done,
    Image,
    ImageRecord,
    Outcome,
    Priority,
    Replica,
    Retry,
    Snooze,
    fingerprint_of,
)
from glancesync.placement.places import delete_mode, why_not
from glancesync.planner import Action
from glancesync.states import ENDED, SETTLED, DeleteMode, ReplicaState, TaskKind

LOG = logging.getLogger(__name__)

#: Looks at a region in one run; a replica that needs more is fighting somebody else.
MAX_ROUNDS = 8
#: Attempts at reading all bytes of a replica; then it is said that they could not be read.
MAX_READS = 3


class Replication(Acting):
    """The run of one replica task."""

    has_home = False  # home has said whether it has the image

    def run(self, read_home: Callable[[], Image | None]) -> tuple[Changes, Outcome]:
        """Bring the replica to what it should be; what to record, and the outcome.

        :raises RegionError: home or the region did not let us
        :raises LeaseLost: another worker has the task now
        """
        try:
            home = self._bundle.home_image(read_home)
            self.has_home = True
            return self._run(home)
        finally:
            self._leave()

    def _run(self, home: Image | None) -> tuple[Changes, Outcome]:
        if self._task.region == self._services.home == self._original.region:
            # It was promoted since somebody has asked for it there.
            return Changes(promoted=True), Done("it is one of home's images")
        if home is not None and home.lent is not None:
            self._original = home.lent.original
        gone = None if home else self._replicas.image(self._task.image_id)
        if home is None and (gone is None or gone.present):
            return self._undecided()
        self._know(home)
        cause = planner.GONE if home is None else self._unplaced(home)
        if gone is None and cause is not None and not self._to_go:
            return self._left_alone(cause)
        if cause is None and self._task.decision is None and self.replica.state in ENDED:
            self._record(state=ReplicaState.PENDING)  # it was wanted again before it had gone
        for _ in range(MAX_ROUNDS):
            desired = self._desired(home if cause is None else None)
            observed = self._observe()
            actions = self._plan(desired, observed, cause or "")
            instead = self._instead(desired, observed, actions)
            if instead is not None:
                return instead
            if not actions:
                if desired is not None and self._unread(desired, observed):
                    self._read(desired)
                    continue
                return self._settled(home, desired, observed)
            if cause is not None and self._expiry(gone) > self._task.updated_at:
                return self._expiring(self._expiry(gone), cause)
            for action in actions:
                if self._lost.is_set():
                    raise LeaseLost(f"the lease on {self._task.key} was lost")
                snooze = self._act(action, home, observed)
                if snooze is not None:
                    return Changes(replica=self.replica), snooze
        raise Transient(
            self._task.region,
            f"the replica was still not as it should be after {MAX_ROUNDS} rounds; "
            "is something else changing it?",
        )

    def _instead(
        self, desired: Image | None, observed: Image | None, actions: Sequence[Action]
    ) -> tuple[Changes, Outcome] | None:
        """How the run ends instead of acting, where somebody decided about the replica."""
        return None

    def after(self, error: Exception, outcome: Retry | Snooze, said: str) -> Replica:
        """The record of the replica after ``error``."""
        clash = isinstance(error, Conflict) and not self.replica.made
        state = ReplicaState.CONFLICT if clash else ReplicaState.FAILED
        if isinstance(outcome, Snooze):
            state = ReplicaState.PENDING
        elif outcome.failed and not clash:
            state = ReplicaState.STALLED
        return dataclasses.replace(self.replica, state=state, last_error=said)

    # -- when home does not have the image --------------------------------------------------------

    def _undecided(self) -> tuple[Changes, Outcome]:
        """It is not on record that the image is gone.

        A replica is not the one to say so: its task may be days old, and be one of thousands.

        :raises Refused: it was to be copied from a region that does not have it
        """
        if self.record is not None and self.record.origin is not None:
            raise Refused(self._original.region, f"no longer has image {self._original.image_id}")
        said = "home does not have the image; its image task says whether it is gone"
        asked = self._task.priority <= Priority.USER
        ask = self._image_task(Priority.USER if asked else Priority.AUDIT)
        replica = dataclasses.replace(self.replica, state=ReplicaState.PENDING, last_error=said)
        return Changes(replica=replica, asks=(ask,)), Done(said)

    def _image_task(self, priority: int) -> Ask:
        return Ask(TaskKind.IMAGE, self._task.image_id, priority=priority, actor=self._task.actor)

    # -- when it is not wanted in the region ------------------------------------------------------

    def _unplaced(self, home: Image) -> str | None:
        """Why there should be no replica of an image that home has; None: there should be one.

        While synchronization is off, what is carried out is a person's decision and nothing else.
        """
        if not self._settings.destinations.strategy.active:
            return None
        known = {one.region: one for one in self._replicas.replicas_of(home.id)}
        self._placement = self._settings.destinations.of(home, known)
        return why_not(home, self._placement, self._task.region)

    @property
    def _to_go(self) -> bool:
        """Whether there is nothing to lose, or who may say so wants the replica gone (P4)."""
        return self._task.removed or not self.replica.made

    def _left_alone(self, cause: str) -> tuple[Changes, Outcome]:
        said = f"{cause}; an audit of home decides whether its replica goes"
        return Changes(notes=(self._note("unplaced", said),)), Done(said)

    @functools.cached_property
    def _delete_mode(self) -> DeleteMode:
        said = self.replica.delete_mode
        if self._placement is not None:
            said = delete_mode(self._placement, self._task.region)
        modes = {region.name: region.delete_mode for region in self._replicas.regions()}
        return said or modes.get(self._task.region) or self._settings.delete_mode

    def _expiry(self, gone: ImageRecord | None) -> float:
        since = self._task.updated_at if gone is None else gone.changed_at
        return farewell.expiry(since, self.replica, self._settings.delete_grace)

    def _expiring(self, until: float, cause: str) -> tuple[Changes, Outcome]:
        said = f"{cause}; the grace period is not over"
        notes = () if self.replica.expires_at else (self._note("expiring"),)
        replica = dataclasses.replace(
            self.replica, state=ReplicaState.EXPIRING, expires_at=until, last_error=None
        )
        left = until - self._task.updated_at
        return Changes(replica=replica, notes=notes), Snooze(left, said, wanted=False)

    # -- what it works on -------------------------------------------------------------------------

    def _know(self, home: Image | None) -> None:
        """Put on record what home has, if that is news, and have the other regions looked at."""
        old = self._replicas.image(self._task.image_id)
        if home is None or (old is not None and old.fingerprint == home.fingerprint()):
            return
        record = observed_home(self._task.image_id, home, old)
        ask = self._image_task(Priority.AUDIT)
        self._queue.commit(self._task, Changes(image=record, asks=(ask,)))

    def _plan(
        self, desired: Image | None, observed: Image | None, cause: str = planner.GONE
    ) -> list[Action]:
        return planner.plan(
            desired,
            observed,
            self.replica,
            preserve=self._settings.preserve,
            refused=self._refused,
            force=self._task.force,
            stuck=self._waited > self._settings.stuck,
            delete_mode=self._delete_mode,
            cause=cause,
        )

    def _desired(self, home: Image | None) -> Image | None:
        if home is None:
            return None
        return planner.desired_for(home, self.replica, self._replicas.id_map)

    def _observe(self) -> Image | None:
        """The region's image; with the hash of its bytes as they are, if they were read."""
        observed = self._service.get(self._replica_id)
        self._heard(self._task.region, None)
        if observed is None and self.replica.made:
            doubt(self._service, self._replica_id)
        self._count_bytes(observed)
        rot = self._bytes.of(observed)
        if observed is not None and rot is not None and self._may_replace:
            return observed.holding(rot.algorithm, rot.value)
        return observed

    def _unread(self, desired: Image, observed: Image | None) -> bool:
        """Whether somebody wants to know what the bytes are like, and we have not looked yet."""
        asked = self._task.verify and not self._bytes.looked
        return asked and desired.has_data and observed is not None and observed.has_data

    @property
    def _may_replace(self) -> bool:
        return self.replica.made or self._task.force

    def _read(self, home: Image) -> None:
        """Hash what the region stores, instead of believing the hash it says."""
        size = home.size or 0
        self._record(
            self._note("verify", f"{size} bytes"),
            state=ReplicaState.PENDING,
            bytes_done=0,
            bytes_total=size,
        )
        patient = self._task.attempt + 1 < MAX_READS
        self._bytes.look(self._settings.reader, self._target(home), home, patient=patient)
        said = self._bytes.said
        if said is None:
            self.replica = dataclasses.replace(self.replica, verified_at=self._task.updated_at)
        elif self._bytes.rot is not None:
            LOG.error("%s: image %s: %s", self._task.region, self._replica_id, said)
            count = Count(Counter.MISMATCHES, self._task.region)
            changes = Changes(notes=(self._note("rotten", said),), counts=(count,))
            self._queue.commit(self._task, changes)

    # -- the end ----------------------------------------------------------------------------------

    def _settled(
        self, home: Image | None, desired: Image | None, observed: Image | None
    ) -> tuple[Changes, Outcome]:
        if desired is None and observed is None and not self._done:
            self._clear_leftovers()  # the region's image went without us
        record = self._replicas.image(self._task.image_id)
        current = record is not None and record.fingerprint == fingerprint_of(home)
        replica = dataclasses.replace(
            self.replica,
            state=self._end_state(desired, observed),
            observed_generation=(
                record.generation if current and record else self.replica.observed_generation
            ),
            baseline=observed.fingerprint() if observed else None,
            refused=dict(self._refused),
            kept={k: v for k, v in self.replica.kept.items() if k in self._refused},
            last_error=self._standing(desired, observed),
            expires_at=None,
            delete_mode=self._placement.delete_mode if self._placement else None,
            copying_since=None,
        )
        if observed is not None and self.replica.state is ReplicaState.DELETED:
            replica = dataclasses.replace(replica, made=False)  # ours was deleted
        elif observed is None and not self.replica.made:
            replica = dataclasses.replace(replica, replica_id=None)
        elif observed is not None and self.replica.replica_id is None:
            replica = dataclasses.replace(replica, replica_id=observed.id)  # adopted, not made
        if observed is not None and observed.has_data:
            replica = dataclasses.replace(
                replica, bytes_done=observed.size or 0, bytes_total=observed.size
            )
        said = ", ".join(self._done) or "nothing to do"
        notes = (Note(replica.state.value, said, self._task.region),)
        counts = self.counts
        if self._done and Priority.of_audit(self._task.priority):
            counts += (Count(Counter.REPAIRED, self._task.region),)
        changes = Changes(replica=replica, notes=notes, counts=counts, unused=self._unused)
        at_home = self._task.region == self._services.home and replica.state in SETTLED
        if at_home and replica.replica_id == replica.image_id:
            changes = dataclasses.replace(changes, promoted=True)
        moved = shown_id(self._last) != shown_id(replica)
        if self._settings.home_mapping and home is not None and moved:
            changes = dataclasses.replace(changes, asks=(self._image_task(Priority.AUDIT),))
        if self.replica.copying_since:  # there is room for as many as it serves, and where it was
            more = self._settings.source_transfers + 1
            changes = dataclasses.replace(changes, hurry=self._room, hurry_most=more)
        return changes, Done(said)

    @property
    def _unused(self) -> float | None:
        """Since when nobody has needed it, if that is why it has gone."""
        return self._placement.unused.get(self._task.region) if self._placement else None

    def _standing(self, desired: Image | None, observed: Image | None) -> str | None:
        """What is to be said about a replica that needs no more work."""
        if desired is None:
            if observed is None:
                return None
            return farewell.remains(observed, self.replica, self._delete_mode, self._refused)
        return self._bytes.unsound(observed)

    def _end_state(self, desired: Image | None, observed: Image | None) -> ReplicaState:
        if desired is None:
            return ReplicaState.DELETED if observed is None else ReplicaState.RELEASED
        if not desired.has_data:
            return ReplicaState.WAITING
        if self._bytes.of(observed):
            return ReplicaState.CONFLICT
        return ReplicaState.PARTIAL if self._refused else ReplicaState.IN_SYNC
