"""One replica task: observe the region, plan, act, verify, until there is nothing left to do."""

from __future__ import annotations

import dataclasses
import functools
import logging
import uuid
from collections.abc import Callable, Sequence

from glancesync import choice, planner
from glancesync.bundle import Bundle
from glancesync.counts import Count, Counter
from glancesync.errors import Conflict, Corrupt, LeaseLost, Refused, RegionError, Transient
from glancesync.home import fingerprint_of
from glancesync.home import observed as observed_home
from glancesync.interfaces import (
    Ask,
    Changes,
    Clock,
    Heard,
    Lost,
    Note,
    Queue,
    Replicas,
    Services,
    Source,
    Target,
    Transport,
)
from glancesync.model import (
    Again,
    Decision,
    Done,
    Image,
    ImageRecord,
    Outcome,
    Priority,
    Replica,
    Retry,
    Snooze,
    Task,
)
from glancesync.planner import Action, Op
from glancesync.retry import snooze_delay
from glancesync.states import DecisionKind, DeleteMode, ReplicaState, TaskKind

LOG = logging.getLogger(__name__)

#: Looks at a region in one run; a replica that needs more is fighting somebody else.
MAX_ROUNDS = 8
_REPORT_EVERY = 1.0  # seconds between two notes of progress


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the operator says about replicas. Times are seconds."""

    transports: Sequence[Transport]
    clock: Clock
    preserve: Sequence[str] = ()
    poll: float = 2.0  # first look at something that takes its time
    poll_cap: float = 60.0
    stuck: float = 3600.0
    delete_mode: DeleteMode = DeleteMode.MIRROR
    delete_grace: float = 0.0


class Replication:
    """The run of one replica task."""

    def __init__(
        self,
        task: Task,
        bundle: Bundle,
        lost: Lost,
        queue: Queue,
        replicas: Replicas,
        services: Services,
        settings: Settings,
        heard: Heard,
    ) -> None:
        self._task = task
        self._bundle = bundle
        self._lost = lost
        self._queue = queue
        self._replicas = replicas
        self._services = services
        self._service = services(task.region)
        self._settings = settings
        self._heard = heard
        self._left = False
        self._refused: dict[str, str] = {}
        self._done: list[str] = []  # what was done, in words
        self.counts: tuple[Count, ...] = ()  # what is to be counted when it ends
        self._waited = task.updated_at - (task.waiting_since or task.updated_at)
        self.replica = replicas.replica(task.image_id, task.region) or Replica(
            task.image_id, task.region
        )

    def run(self, read_home: Callable[[], Image | None]) -> tuple[Changes, Outcome]:
        """Bring the replica to what it should be; what to record, and the outcome.

        :raises RegionError: home or the region did not let us
        :raises LeaseLost: another worker has the task now
        """
        try:
            home = self._bundle.home_image(read_home)
            if self._task.decision is not None:
                return self._adopt(self._task.decision, home)
            gone = None if home else self._replicas.image(self._task.image_id)
            if home is None and (gone is None or gone.present):
                return self._undecided()
            self._know(home)
            for _ in range(MAX_ROUNDS):
                desired = self._desired(home)
                observed = self._service.get(self._replica_id)
                self._heard(self._task.region, None)
                if observed is None and self.replica.made:
                    self._service.require_admin()
                self._count_bytes(observed)
                actions = self._plan(desired, observed)
                if not actions:
                    return self._settled(home, desired, observed)
                if gone is not None and self._expiry(gone) > self._task.updated_at:
                    return self._expiring(gone)
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
        finally:
            self._leave()

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
        """
        said = "home does not have the image; its image task says whether it is gone"
        asked = self._task.priority <= Priority.USER
        ask = self._image_task(Priority.USER if asked else Priority.AUDIT)
        replica = dataclasses.replace(self.replica, state=ReplicaState.PENDING, last_error=said)
        return Changes(replica=replica, asks=(ask,)), Done(said)

    def _image_task(self, priority: int) -> Ask:
        return Ask(TaskKind.IMAGE, self._task.image_id, priority=priority, actor=self._task.actor)

    @functools.cached_property
    def _delete_mode(self) -> DeleteMode:
        modes = {region.name: region.delete_mode for region in self._replicas.regions()}
        return modes.get(self._task.region) or self._settings.delete_mode

    def _expiry(self, gone: ImageRecord) -> float:
        """When the grace period ends; as it was first said, whatever the option says by now."""
        if self.replica.expires_at is not None:
            return self.replica.expires_at
        return gone.changed_at + self._settings.delete_grace

    def _expiring(self, gone: ImageRecord) -> tuple[Changes, Outcome]:
        until = self._expiry(gone)
        said = "the home image is gone; the grace period is not over"
        notes = () if self.replica.expires_at else (self._note("expiring"),)
        replica = dataclasses.replace(
            self.replica, state=ReplicaState.EXPIRING, expires_at=until, last_error=None
        )
        left = until - self._task.updated_at
        return Changes(replica=replica, notes=notes), Snooze(left, said, wanted=False)

    def _left_there(self, observed: Image) -> str:
        """In words, what was left in the region, and why."""
        if not self.replica.made or self.replica.state is ReplicaState.DELETED:
            return "left there as it was: it was not made by glance-sync"
        if self._refused:
            did = f"left there, as the region refused to change its {', '.join(self._refused)}"
        elif self._delete_mode is DeleteMode.KEEP:
            did = "left there as it was"
        else:
            did = "left there, hidden" if observed.os_hidden else "left there, deactivated"
        return f"{did} (delete_mode {self._delete_mode})"

    # -- what it works on -------------------------------------------------------------------------

    @property
    def _replica_id(self) -> str:
        return self.replica.replica_id or self._task.image_id

    def _know(self, home: Image | None) -> None:
        """Put on record what home has, if that is news, and have the other regions looked at."""
        old = self._replicas.image(self._task.image_id)
        if home is None or (old is not None and old.fingerprint == home.fingerprint()):
            return
        record = observed_home(self._task.image_id, home, old)
        ask = self._image_task(Priority.AUDIT)
        self._queue.commit(self._task, Changes(image=record, asks=(ask,)))

    def _plan(self, desired: Image | None, observed: Image | None) -> list[Action]:
        return planner.plan(
            desired,
            observed,
            self.replica,
            preserve=self._settings.preserve,
            refused=self._refused,
            force=self._task.force,
            stuck=self._waited > self._settings.stuck,
            delete_mode=self._delete_mode,
        )

    def _desired(self, home: Image | None) -> Image | None:
        if home is None:
            return None
        references = [home.properties.get(name) for name in planner.REFERENCES]
        id_map = self._replicas.id_map(self._task.region, [one for one in references if one])
        return planner.desired_replica(home, self._replica_id, id_map)

    def _record(self, *notes: Note, asks: tuple[Ask, ...] = (), **changes: object) -> None:
        """Change the replica's record, durably; LeaseLost if the task is not ours any more."""
        self.replica = dataclasses.replace(self.replica, **changes)  # type: ignore[arg-type]
        self._queue.commit(self._task, Changes(replica=self.replica, notes=notes, asks=asks))

    def _note(self, what: str, detail: str = "") -> Note:
        self._done.append(what)
        return Note(what, detail, self._task.region)

    def _count_bytes(self, observed: Image | None) -> None:
        """Count the bytes that a transfer has brought, once."""
        copied = self.replica.state is ReplicaState.COPYING and not self.counts
        if copied and observed is not None and observed.has_data:
            transport = self.replica.transport or ""
            size = observed.size or 0
            self.counts = (Count(Counter.BYTES, self._task.region, transport, size),)

    # -- acting -----------------------------------------------------------------------------------

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
        # Recorded first, so that after a crash the image is known to be ours.
        self._record(self._note("create", image.id), replica_id=image.id, made=True)
        try:
            self._create_record(image)
        except Conflict:
            if self._service.get(image.id) is not None:
                self._record(made=False)  # somebody else was faster; look again
                return
            self._service.require_admin()
            self._create_mapped(image)

    def _create_mapped(self, image: Image) -> None:
        """The region never takes the id of a deleted image again: take a new one."""
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

    def _transfer(self, home: Image) -> Snooze | None:
        transports = self._settings.transports
        methods: frozenset[str] = frozenset()
        if any(one.capabilities.needs_import_method for one in transports):
            methods = self._service.import_methods()
        transport, passed = choice.choose(transports, home, methods)
        if transport is None:
            why = "; ".join(f"{name}: {reason}" for name, reason in passed.items())
            raise Refused(self._task.region, f"no transport fits: {why}")
        started = self.replica.state is ReplicaState.COPYING and self.replica.transport
        if transport.capabilities.asynchronous and started == transport.name:
            raise Transient(self._task.region, f"the transfer by {transport.name} failed there")
        self._record(
            self._note("transfer", f"{home.size} bytes by {transport.name}"),
            state=ReplicaState.COPYING,
            transport=transport.name,
            bytes_done=0,
            bytes_total=home.size,
        )
        source = Source(home, self._services(self._services.home))
        target = Target(
            self._task.region,
            self._replica_id,
            self._service,
            self._reporter(home),
            self._lost.is_set,
        )
        if transport.capabilities.asynchronous:
            outcome: list[RegionError] = []
            transport.move(
                source,
                [target],
                lambda _, error: outcome.append(error) if error else None,
            )
            if outcome:
                self._record(state=ReplicaState.PENDING)  # nothing was started
                raise outcome[0]
            return Snooze(self._settings.poll, f"the region imports it by {transport.name}")
        self._left = True
        self._bundle.transfer(transport, source, target)
        return None

    def _reporter(self, home: Image) -> Callable[[int], None]:
        clock = self._settings.clock
        noted_at = clock.monotonic()

        def report(done: int) -> None:
            nonlocal noted_at
            if clock.monotonic() - noted_at >= _REPORT_EVERY:
                noted_at = clock.monotonic()
                try:
                    self._replicas.progress(self._task.image_id, self._task.region, done, home.size)
                except Exception as error:  # a figure for people is no reason to stop the bytes
                    LOG.warning("could not note the progress of %s: %s", self._task.key, error)

        return report

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
        self._service.delete(self._replica_id)
        copied_wrong = arrived and observed is not None and observed.has_data and home is not None
        self._record(
            bytes_done=0,
            synced_at=None,
            state=ReplicaState.FAILED if copied_wrong else ReplicaState.PENDING,
        )
        if copied_wrong:
            raise Corrupt(self._task.region, f"the copy was removed: {cause}")

    # -- adopting ---------------------------------------------------------------------------------

    def _adopt(self, decision: Decision, home: Image | None) -> tuple[Changes, Outcome]:
        """Take an image of the region for the replica; nothing is changed there."""
        observed = self._service.get(decision.id)
        if observed is None:
            self._service.require_admin()
        why = self._unfit(decision.id, home, observed)
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

    def _unfit(self, replica_id: str, home: Image | None, observed: Image | None) -> str | None:
        """Why that image can't be the replica."""
        if self.replica.replica_id not in (None, replica_id):
            return f"the replica there is image {self.replica.replica_id}"
        holder = self._replicas.holder(self._task.region, replica_id)
        if holder not in (None, self._task.image_id):
            return f"it is the replica of image {holder}"
        return planner.unfit(home, observed)

    # -- the end ----------------------------------------------------------------------------------

    def _settled(
        self, home: Image | None, desired: Image | None, observed: Image | None
    ) -> tuple[Changes, Outcome]:
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
            last_error=self._left_there(observed) if observed and not desired else None,
            expires_at=None,
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
        if self._done and self._task.priority >= Priority.AUDIT:
            counts += (Count(Counter.REPAIRED, self._task.region),)
        return Changes(replica=replica, notes=notes, counts=counts), Done(said)

    def _end_state(self, desired: Image | None, observed: Image | None) -> ReplicaState:
        if desired is None:
            return ReplicaState.DELETED if observed is None else ReplicaState.RELEASED
        if not desired.has_data:
            return ReplicaState.WAITING
        return ReplicaState.PARTIAL if self._refused else ReplicaState.IN_SYNC

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._bundle.leave()
