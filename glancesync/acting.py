"""What a replica task does to a region, and how it writes down what it does."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence

from glancesync import ends, leftovers, planner
from glancesync.bundle import Bundle
from glancesync.choice import Route
from glancesync.counts import Count, Counter
from glancesync.errors import Conflict, Corrupt, Refused, RegionError, WayBlocked
from glancesync.interfaces import (
    Ask,
    Changes,
    Clock,
    Heard,
    ImageService,
    Leaver,
    Lost,
    Note,
    Queue,
    Reader,
    Replicas,
    Services,
    Source,
    Target,
    Transport,
)
from glancesync.model import Image, Priority, Replica, Snooze, Task
from glancesync.pacing import CrowdedError, Pacing, StoreUse
from glancesync.planner import Action, Op
from glancesync.retry import snooze_delay
from glancesync.sources import Candidate, candidates
from glancesync.states import DeleteMode, ReplicaState, TaskKind
from glancesync.verification import Verification

LOG = logging.getLogger(__name__)

_UNFINISHED = (ReplicaState.COPYING, ReplicaState.FAILED, ReplicaState.STALLED)
_REPORT_EVERY = 1.0  # seconds between two notes of progress


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the operator says about replicas. Times are seconds."""

    transports: Sequence[Transport]
    reader: Reader
    clock: Clock
    pacing: Pacing
    schemes: ends.Schemes = dataclasses.field(default_factory=dict)  # how stores are reached
    leavers: Mapping[str, Leaver] = dataclasses.field(default_factory=dict)
    preserve: Sequence[str] = ()
    source_transfers: int = 4  # regions that copy from one at a time, unless it says otherwise
    source_patience: float = 600.0  # how long a copy counts for that
    poll: float = 2.0  # first look at something that takes its time
    poll_cap: float = 60.0
    stuck: float = 3600.0
    delete_mode: DeleteMode = DeleteMode.MIRROR
    delete_grace: float = 0.0


class Acting:
    """The hands of a replica task; what to do is decided by who inherits from it."""

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
        self._bytes = Verification()
        self._done: list[str] = []  # what was done, in words
        self.counts: tuple[Count, ...] = ()  # what is to be counted when it ends
        self._waited = task.updated_at - (task.waiting_since or task.updated_at)
        self.replica = replicas.replica(task.image_id, task.region) or Replica(
            task.image_id, task.region
        )
        self._last = self.replica  # as an earlier run left it
        #: By that run; it may have left something.
        self._begun = self.replica.transport
        if self.replica.state is ReplicaState.DELETED:
            self._begun = None

    @property
    def _replica_id(self) -> str:
        return self.replica.replica_id or self._task.image_id

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
        self._record(self._note("create", image.id), replica_id=image.id, made=True)
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

    def _transfer(self, home: Image) -> Snooze | None:
        """Bring the bytes by the first transport that fits; by the next if that one can't."""
        transports, schemes = self._settings.transports, self._settings.schemes
        source = self._services(self._services.home)
        ways = ends.ways(transports, schemes, home, source, self._service, self._replica_id)
        passed: list[str] = []
        blocked: list[str] = []
        for route in ways.routes:
            if route.unfit is not None:
                passed.append(f"{route.transport.name}: {route.unfit}")
                continue
            rounds = self._rounds(route.transport)
            if not rounds:
                passed.append(self._blocked(route.transport, "it failed there"))
            for found in rounds:
                try:
                    return self._move(home, ways, route, found)
                except CrowdedError as error:
                    if route.transport.capabilities.direct and not self._from_home:
                        continue
                    self._record(state=ReplicaState.PENDING)
                    return self._wait(str(error))
                except RegionError as error:
                    if self._from_home and not isinstance(error, WayBlocked):
                        raise error.after(blocked) from error
                    blocked.append(self._blocked(route.transport, error.message))
                    passed.append(blocked[-1])
                    if self._from_home:
                        break
                    if isinstance(error, Corrupt):
                        self._doubt()
        said = "; ".join(passed)
        if any(route.unfit is None for route in ways.routes):
            raise WayBlocked(self._task.region, f"no transport could bring the bytes: {said}")
        raise Refused(self._task.region, f"no transport fits: {said}")

    def _rounds(self, transport: Transport) -> Sequence[tuple[Candidate, ...]]:
        """From where a transport is tried: the best that has the image; if that fails, home."""
        if self._failed(transport):
            return ()
        if not transport.capabilities.direct:
            return ((),)  # home, always: nobody has to be looked for
        found = candidates(
            self._task.region,
            self._replicas.regions(),
            self._replicas.replicas_of(self._task.image_id),
            self._settings.source_transfers,
        )
        home = tuple(one for one in found if one.home)
        return (home,) if self._failed_elsewhere(transport) else (found, home)

    def _failed_elsewhere(self, transport: Transport) -> bool:
        """Whether the region's own work by ``transport`` failed, and it was not from home."""
        last = self._last
        return (
            transport.capabilities.asynchronous
            and transport.name == last.transport
            and last.state in _UNFINISHED
            and last.source not in (None, self._services.home)
        )

    def _failed(self, transport: Transport) -> bool:
        """Whether the region's own work by ``transport`` failed, from home too.

        So did all before the one that an earlier run has begun, as only then it was its turn.
        """
        names = [one.name for one in self._settings.transports]
        begun = self._last.transport or ""
        return (
            transport.capabilities.asynchronous
            and self._last.state is ReplicaState.COPYING
            and not self._failed_elsewhere(transport)
            and begun in names
            and names.index(transport.name) <= names.index(begun)
        )

    @property
    def _from_home(self) -> bool:
        return self.replica.source in (None, self._services.home)

    def _blocked(self, transport: Transport, said: str) -> str:
        said = f"{transport.name}: {said}"
        if not self._from_home:
            said += f" (from {self.replica.source})"
        self._queue.commit(self._task, Changes(notes=(self._note("blocked", said),)))
        return said

    def _doubt(self) -> None:
        """Have the bytes looked at, where they came from, that turned out wrong here."""
        region = self.replica.source or ""
        ask = Ask(TaskKind.REPLICA, self._task.image_id, region, Priority.AUDIT, verify=True)
        self._queue.commit(self._task, Changes(asks=(ask,)))

    def _wait(self, reason: str) -> Snooze:
        delay = snooze_delay(self._waited, self._settings.poll, self._settings.poll_cap)
        return Snooze(delay, reason)

    @property
    def _room(self) -> str:
        """The reason to wait that ends when another region has the image."""
        return f"no region that image {self._task.image_id} can be copied from has room"

    def _move(
        self, home: Image, ways: ends.Ways, route: Route, found: Sequence[Candidate]
    ) -> Snooze | None:
        transport = route.transport
        if self._begun != transport.name:  # which finds by itself what it has left
            self._clear_leftovers()
        self._begun = None
        service, image = self._services(self._services.home), home
        copying = dataclasses.replace(
            self.replica,
            state=ReplicaState.COPYING,
            transport=transport.name,
            source=service.region,
            copying_since=None,
            bytes_done=0,
            bytes_total=home.size,
        )
        if transport.capabilities.direct:
            patience = self._settings.source_patience
            reserved = self._queue.reserve(self._task, copying, found, patience)
            if reserved is None:
                return self._wait_for_room(transport)
            self.replica = copying = reserved
            if not self._from_home:
                service, image, route = self._relay(home, ways, transport)
        with self._flow(home, transport, service.region, route) as pace:
            said = f"{home.size} bytes by {transport.name} from {service.region}"
            self.replica = copying
            note = self._note("transfer", said)
            self._queue.commit(self._task, Changes(replica=copying, notes=(note,), begun=True))
            source = Source(image, service, route.source, relayed=not self._from_home)
            target = dataclasses.replace(self._target(home), place=route.target, pace=pace)
            return self._bring(transport, source, target)

    def _wait_for_room(self, transport: Transport) -> Snooze:
        was = dataclasses.replace(self.replica, state=ReplicaState.PENDING)
        if self._failed_elsewhere(transport):  # the next run, too, has to know that
            last = self._last
            was = dataclasses.replace(
                was, state=last.state, transport=last.transport, source=last.source
            )
        self.replica = dataclasses.replace(was, copying_since=None)
        return self._wait(self._room)

    def _relay(
        self, home: Image, ways: ends.Ways, transport: Transport
    ) -> tuple[ImageService, Image, Route]:
        """Another region that has the image: its Glance, the image there, the way from there."""
        region = self.replica.source or ""
        replica = self._replicas.replica(self._task.image_id, region)
        service = self._services(region)
        image = dataclasses.replace(home, id=(replica and replica.replica_id) or home.id)
        route = ways.relayed(transport, image, service)
        if route.unfit is not None:
            raise WayBlocked(region, route.unfit)
        return service, image, route

    def _flow(
        self, home: Image, transport: Transport, source: str, route: Route
    ) -> contextlib.AbstractContextManager[Callable[[], int | None]]:
        ends_of_it = ((source, route.source), (self._task.region, route.target))
        stores = [
            StoreUse(
                f"{region} {place.scheme.name} {place.scheme.store}".strip(),
                place.scheme.bandwidth,
                place.scheme.max_parallel,
            )
            for region, place in ends_of_it
            if place is not None
        ]
        regions = (source, self._task.region)
        return self._settings.pacing.flow(home.id, transport.name, regions, stores)

    def _bring(self, transport: Transport, source: Source, target: Target) -> Snooze | None:
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
        if self._left:
            self._bundle.stay()  # another transport was tried before
        self._left = True
        self._bundle.transfer(transport, source, target)
        return None

    def _target(self, home: Image) -> Target:
        return Target(
            self._task.region,
            self._replica_id,
            self._service,
            self._reporter(home.size),
            self._lost.is_set,
        )

    def _reporter(self, size: int | None) -> Callable[[int], None]:
        clock = self._settings.clock
        noted_at = clock.monotonic()

        def report(done: int) -> None:
            nonlocal noted_at
            if clock.monotonic() - noted_at >= _REPORT_EVERY:
                noted_at = clock.monotonic()
                try:
                    self._replicas.progress(self._task.image_id, self._task.region, done, size)
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

    def _clear_leftovers(self) -> None:
        """Remove what an earlier run has put into the store, and the region's Glance not taken."""
        settings = self._settings
        said = leftovers.clear(
            settings.leavers, settings.schemes, self._begun, self._service, self._replica_id
        )
        if said:
            self._queue.commit(self._task, Changes(notes=(self._note("left", said),)))
        self._begun = None

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._bundle.leave()
