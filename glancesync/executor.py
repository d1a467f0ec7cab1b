# SPDX-License-Identifier: Apache-2.0
"""One task: look, decide, act, look again, record.

An *image task* looks at the home image and asks for replica tasks where the strategy wants a
replica that is not up to date. A *replica task* is run by :mod:`glancesync.replication`, or by
:mod:`glancesync.decided` if there is a decision; the tasks that never end by
:mod:`glancesync.reconciler`, those of plans by :mod:`glancesync.planning`. Each ends in exactly one
commit that concludes the task and records what came of it (P2).
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping

from glancesync import snapshots
from glancesync.bundle import Bundle
from glancesync.counts import Count, Counter, reason
from glancesync.decided import kind_of
from glancesync.errors import (
    Corrupt,
    JournalUnavailable,
    LeaseLost,
    Misdirected,
    Refused,
    RegionError,
    Throttled,
    Unready,
    WayBlocked,
)
from glancesync.home import Turns, observed, read, with_lent_bytes
from glancesync.interfaces import (
    Ask,
    Changes,
    Heard,
    Lost,
    Note,
    Queue,
    Replicas,
    Services,
    Target,
)
from glancesync.mapping import mapped, remapping
from glancesync.model import (
    Done,
    Image,
    ImageRecord,
    Original,
    Outcome,
    Priority,
    Replica,
    Retry,
    Snooze,
    Task,
    priority_for,
)
from glancesync.placement.places import targets, unplaced
from glancesync.placement.rules import of_bytes
from glancesync.placement.strategies import OFF
from glancesync.recording import Settings
from glancesync.replication import Replication
from glancesync.retry import RetryPolicy, snooze_delay
from glancesync.states import ENDED, SETTLED, ReplicaState, TaskKind
from glancesync.verification import Verification

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Flow:
    """How tasks of another kind are run."""

    run: Callable[[Task, Lost], tuple[Changes, Outcome]]
    interval: float = math.inf  # seconds between two runs of one that never ends


class Executor:
    """Runs tasks. Safe to call from many threads.

    :param random: a number in [0, 1), for the jitter of retries
    """

    def __init__(
        self,
        queue: Queue,
        replicas: Replicas,
        services: Services,
        policy: RetryPolicy,
        settings: Settings,
        random: Callable[[], float],
        flows: Mapping[TaskKind, Flow],
        heard: Heard,
    ) -> None:
        self._queue = queue
        self._replicas = replicas
        self._services = services
        self._strategy = settings.destinations.strategy
        self._policy = policy
        self._settings = settings
        self._random = random
        self._flows = flows
        self._heard = heard
        self._turns = Turns()

    def run(self, task: Task, bundle: Bundle, lost: Lost) -> None:
        """Run a claimed task to its conclusion.

        :param lost: set by the worker when the lease is gone
        :raises JournalUnavailable: the task is still to be given back
        """
        replication: Replication | None = None
        try:
            changes: Changes
            outcome: Outcome
            if task.kind is TaskKind.IMAGE:
                changes, outcome = self._image(task, lost)
            elif task.kind in self._flows:
                changes, outcome = self._flows[task.kind].run(task, lost)
            elif not self._strategy.active and task.decision is None:
                changes, outcome = Changes(), Snooze(self._policy.cap, OFF)
                bundle.leave()
            else:
                replication = kind_of(task)(
                    task,
                    bundle,
                    lost,
                    self._queue,
                    self._replicas,
                    self._services,
                    self._settings,
                    self._heard,
                )
                record = replication.record
                changes, outcome = replication.run(lambda: self._whole(task, record))
            self._queue.commit(task, changes, outcome)
        except LeaseLost as error:
            LOG.warning("%s; leaving it alone", error)
        except JournalUnavailable:
            raise  # no failure of the task, and could not be written down
        except RegionError as error:
            if not lost.is_set() and self._tells(error, replication):
                self._heard(error.region, error)
            self._fail(task, error, replication)
        except Exception as error:
            LOG.exception("task %s failed unexpectedly", task.key)
            self._fail(task, error, replication)

    def _tells(self, error: RegionError, replication: Replication | None) -> bool:
        """Whether ``error`` says how its region is.

        Not if the region of the original has answered, and does not give the bytes of an image:
        that would count once for each region which wants them, and soon nothing were done for any
        image. Nor if the ways of bytes are blocked, beside the Glances that have answered.
        """
        if isinstance(error, WayBlocked):
            return False
        if replication is None or not replication.has_home:
            return True
        return error.region != replication.source_region or isinstance(error, Throttled)

    def _read(self, task: Task, record: ImageRecord | None) -> Image | None:
        image = read(self._services, task.image_id, record)
        self._heard(Original.of(task.image_id, record, self._services.home).region, None)
        return image

    def _whole(self, task: Task, record: ImageRecord | None) -> Image | None:
        image = self._read(task, record)
        return None if image is None else self._with_bytes(task, image, record)

    def _with_bytes(self, task: Task, image: Image, record: ImageRecord | None) -> Image:
        """An image with its bytes, also if another region lends them; see :mod:`.home`."""
        if record is not None and record.origin is not None:
            return image
        same = record is not None and record.fingerprint == image.fingerprint()
        waited = task.updated_at - record.changed_at if record and same else 0.0
        patience = self._settings.snapshots
        parts = (self._services, self._replicas.regions, image)
        return with_lent_bytes(*parts, waited, patience, self._turns)

    def _fail(self, task: Task, error: Exception, replication: Replication | None) -> None:
        policy = self._policy
        if task.kind in self._flows:
            # No later than it would be due if all were well: it also finds out that all is well.
            cap = min(policy.cap, self._flows[task.kind].interval)
            policy = dataclasses.replace(policy, cap=cap)
        outcome = policy.decide(error, task.attempt, self._random())
        said = outcome.error if isinstance(outcome, Retry) else outcome.reason
        LOG.info("%s: attempt %d: %s", task.key, task.attempt + 1, said)
        replica = None if replication is None else replication.after(error, outcome, said)
        where = error.region if isinstance(error, RegionError) else task.region
        counts = () if replication is None else replication.counts
        counts += (Count(Counter.FAILURES, where, reason(error)),)
        if isinstance(error, Corrupt):
            counts += (Count(Counter.MISMATCHES, where),)
        notes = (Note("failed", said, task.region),)
        changes = Changes(replica=replica, notes=notes, counts=counts)
        try:
            self._queue.commit(task, changes, outcome)
        except LeaseLost as lost:
            LOG.warning("%s; leaving it alone", lost)

    def _image(self, task: Task, lost: Lost) -> tuple[Changes, Outcome]:
        old = self._replicas.image(task.image_id)
        image = self._read(task, old)
        if image is None and old is None:
            return Changes(), Done("home has no such image")
        if image is None and old is not None and old.origin is not None:
            return Changes(), Done(f"{old.origin} no longer has it; what was copied stays")
        witnessed = task.removed or task.priority <= Priority.USER
        if image is None and old and old.present and not witnessed:
            # Only an audit, which sees how much is missing, may tell this from a loss (P4).
            return Changes(), Done("home no longer has it, yet nobody said so: the audit decides")
        trouble: RegionError | None = None
        try:
            image = image and self._with_bytes(task, image, old)
        except RegionError as error:
            trouble = error
        record = observed(task.image_id, image, old)
        changed = old is None or old.generation != record.generation
        # A watch may have seen the change before the hint came that says whose it is.
        unsaid = not record.actor.user_id and task.priority > Priority.USER
        if task.actor.user_id and (changed or unsaid):
            record = dataclasses.replace(record, actor=task.actor)
        if not self._strategy.active:
            # That it is gone is left for an audit to find when there is a strategy again.
            return Changes(image=record if record.present else None), Done(OFF)
        if trouble is not None:
            return self._without_bytes(task, old, record, trouble)
        asks, complaint = self._asks(task, image, record)
        record = dataclasses.replace(record, last_error=_wrong(record.last_error, complaint))
        # What has gone meanwhile must not look as if it were on its way.
        regions = tuple(one.region for one in asks if not one.removed)
        notes = _news(old, record, "override", complaint)
        changes = Changes(image=record, pending=regions, notes=notes, asks=asks)
        if image is not None and image.in_flight:
            waited = task.updated_at - (task.waiting_since or task.updated_at)
            delay = snooze_delay(waited, self._settings.poll, self._policy.cap)
            return changes, Snooze(delay, f"the home image is {image.status}", wanted=False)
        said = f"{len(asks)} replicas to bring up to date"
        if self._settings.home_mapping and image is not None and record.origin is None:
            self._queue.commit(task, changes)  # that home does not let us delays nobody
            changes = self._map(image)
        if task.verify and image is not None and image.has_data:
            self._queue.commit(task, changes)  # the regions read theirs at the same time
            original = Original.of(image.id, record, self._services.home)
            if image.lent is not None:
                original = image.lent.original
            wrong = self._verify_original(image, original, lost)
            note = Note("verify", wrong or f"{image.size} bytes are right", original.region)
            record = dataclasses.replace(record, last_error=wrong or complaint)
            changes = Changes(image=record, notes=(note,))
            at_home = original.region == self._services.home
            said += f"; {'home' if at_home else 'the original'}: {note.detail}"
        return changes, Done(said)

    def _without_bytes(
        self, task: Task, old: ImageRecord | None, record: ImageRecord, trouble: RegionError
    ) -> tuple[Changes, Outcome]:
        """A home image whose bytes another region was to lend: what it has stays as it is.

        :raises RegionError: ``trouble``, if it may go away by itself
        """
        complaint = None if isinstance(trouble, Unready) else snapshots.complaint(trouble)
        record = dataclasses.replace(record, last_error=_wrong(record.last_error, complaint))
        if old is not None and old.fingerprint == record.fingerprint:
            record = dataclasses.replace(
                record, status=old.status, size=old.size, os_hash_value=old.os_hash_value
            )
        changes = Changes(image=record, notes=_news(old, record, "snapshot", complaint))
        if isinstance(trouble, Unready):
            delay = trouble.retry_after or self._settings.snapshots.interval
            return changes, Snooze(delay, str(trouble), wanted=False)
        if isinstance(trouble, Misdirected):
            return changes, Done(trouble.message)
        self._queue.commit(task, changes)
        raise trouble

    def _map(self, image: Image) -> Changes:
        """Have home say where else it is; what to record."""
        change = remapping(image, mapped(self._replicas.replicas_of(image.id)))
        if change is None:
            return Changes()
        home = self._services(self._services.home)
        try:
            home.patch(image.id, [change])
            done = str(change.value or "nowhere")
        except Refused as error:  # for good, as by its property protections
            done = error.message
            LOG.warning("home_mapping: %s", error)
        return Changes(notes=(Note("mapping", done, home.region),))

    def _verify_original(self, image: Image, original: Original, lost: Lost) -> str | None:
        """What is wrong with the bytes that home stores, in words; None: nothing.

        It is only said: that is where bytes come from, and ours to read.
        """
        home = self._services(original.region)
        target = Target(home.region, original.image_id, home, lambda done: None, lost.is_set)
        look = Verification()
        look.look(self._settings.reader, target, image, patient=False)
        if look.rot is not None:
            LOG.error("%s: image %s: %s", home.region, image.id, look.said)
        return look.said

    def _asks(
        self, task: Task, image: Image | None, record: ImageRecord
    ) -> tuple[tuple[Ask, ...], str | None]:
        """For the regions where there is something to do, or to look at if a user asked.

        And what is wrong with what the image itself says of them.
        """
        known = {replica.region: replica for replica in self._replicas.replicas_of(task.image_id)}
        ask = Ask(
            TaskKind.REPLICA,
            task.image_id,
            priority=priority_for(task.priority, image.size if image else None),
            actor=task.actor,
            urgent=task.priority <= Priority.USER,
            force=task.force,
            verify=task.verify,
            since=task.since,
        )
        if image is None:
            over = {ReplicaState.DELETED} if task.priority <= Priority.USER else ENDED
            names = [name for name, one in known.items() if one.state not in over]
            return tuple(dataclasses.replace(ask, region=name) for name in sorted(names)), None
        placement = self._settings.destinations.of(image, known, record.actor)
        if task.priority > Priority.USER:
            ask = dataclasses.replace(ask, priority=max(1, ask.priority - placement.haste))
        wanted = [
            dataclasses.replace(ask, region=name)
            for name in sorted(targets(image, placement, known))
            if task.priority <= Priority.USER or behind(known.get(name), record)
        ]
        # An audit alone, which sees how much is to go, may let go what only an audit has noticed.
        witnessed = task.removed or task.priority < Priority.AUDIT
        unwanted = [
            dataclasses.replace(ask, region=name, removed=True)
            for name in unplaced(image, placement, known)
            if witnessed or not known[name].made
        ]
        return (*wanted, *unwanted), placement.complaint


def _news(
    old: ImageRecord | None, record: ImageRecord, what: str, complaint: str | None
) -> tuple[Note, ...]:
    """For the log: that a home image has changed, and what is newly wrong with what it says."""
    notes = []
    if old is None or old.generation != record.generation:
        notes.append(Note("home", f"generation {record.generation}: {record.status}"))
    if complaint is not None and (old is None or old.last_error != complaint):
        notes.append(Note(what, complaint))
    return tuple(notes)


def _wrong(before: str | None, complaint: str | None) -> str | None:
    """What is wrong with a home image: with its bytes, as was found before, or what it asks for."""
    return of_bytes(before) or complaint


def behind(replica: Replica | None, record: ImageRecord) -> bool:
    """True unless the replica is what home's image was when last looked."""
    if replica is None or replica.observed_generation < record.generation:
        return True
    return replica.state not in SETTLED | {ReplicaState.WAITING}
