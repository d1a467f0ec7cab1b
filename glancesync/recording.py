# SPDX-License-Identifier: Apache-2.0
"""What is on record of a replica while a task works on it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

from glancesync import ends
from glancesync.bundle import Bundle
from glancesync.counts import Count, Counter
from glancesync.destinations import Destinations
from glancesync.interfaces import (
    Ask,
    Changes,
    Clock,
    Heard,
    Leaver,
    Lost,
    Note,
    Queue,
    Reader,
    Replicas,
    Services,
    Target,
    Transport,
)
from glancesync.model import Image, Original, Replica, Snooze, Task
from glancesync.pacing import Pacing
from glancesync.placement.strategies import Placement
from glancesync.retry import snooze_delay
from glancesync.snapshots import USUAL, Patience
from glancesync.states import DeleteMode, ReplicaState
from glancesync.verification import Verification

LOG = logging.getLogger(__name__)

_REPORT_EVERY = 1.0  # seconds between two notes of progress


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the operator says about replicas. Times are seconds."""

    destinations: Destinations
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
    home_mapping: bool = False
    snapshots: Patience = USUAL


class Recording:
    """A replica task, and how it writes down what it does."""

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
        self._placement: Placement | None = None  # of an image that home has
        self.record = replicas.image(task.image_id)
        self._original = Original.of(task.image_id, self.record, services.home)
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
    def source_region(self) -> str:
        """The region of the original."""
        return self._original.region

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

    def _wait(self, reason: str) -> Snooze:
        delay = snooze_delay(self._waited, self._settings.poll, self._settings.poll_cap)
        return Snooze(delay, reason)

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

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._bundle.leave()
