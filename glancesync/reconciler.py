# SPDX-License-Identifier: Apache-2.0
"""Compares what the regions have with what is on record, and asks for the usual tasks.

Two tasks per region never end. ``watch`` looks every minute at what changed lately; ``audit`` goes
through everything, in the order of the ids, and remembers after each page how far it came. Neither
changes an image: what differs from its baseline gets the task that a hint would have given it, so
there is one path by which anything is repaired.

Absence is seen by audits only, and only between two ids that one unbroken listing has passed. What
may end in a deletion is kept as a *finding* until the listing has come to its end, and is held for
a human if there is too much of it (P4).
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from glancesync.counts import Count, Counter
from glancesync.destinations import Destinations
from glancesync.errors import LeaseLost, Refused
from glancesync.executor import behind
from glancesync.interfaces import (
    Ask,
    Baselines,
    Changes,
    Heard,
    ImageService,
    Lost,
    Note,
    Placed,
    Queue,
    Replicas,
    Services,
)
from glancesync.listing import listing, pages, with_members
from glancesync.mapping import mapped, remapping
from glancesync.model import (
    Again,
    Audit,
    Finding,
    Image,
    ImageRecord,
    Outcome,
    Priority,
    Replica,
    ReplicaView,
    Task,
)
from glancesync.placement.places import unplaced
from glancesync.placement.strategies import OFF, Placement
from glancesync.snapshots import is_lent, recalled
from glancesync.states import DELETING, OF_IMAGES, FindingKind, TaskKind

LOG = logging.getLogger(__name__)

_FIRST_LOOK_BACK = 3600.0  # seconds; what is older, the first audit sees


@dataclasses.dataclass(frozen=True)
class AuditSettings:
    """Times are seconds."""

    watch_interval: float = 60.0
    audit_interval: float = 86400.0
    guard_images: int = 10  # deletions in one audit that need no human, ...
    guard_percent: float = 5.0  # ... or this share of what is known, if that is more
    home_mapping: bool = False
    batch: int = 1000  # records compared at a time, however few images a region lists (P7)


@dataclasses.dataclass
class _Seen:
    """What came of comparing some images of a region."""

    region: str
    asks: list[Ask] = dataclasses.field(default_factory=list)
    notes: list[Note] = dataclasses.field(default_factory=list)
    findings: list[Finding] = dataclasses.field(default_factory=list)
    drifted: int = 0
    missing: int = 0

    def ask(
        self,
        kind: TaskKind,
        image_id: str,
        region: str,
        why: str,
        *,
        gone: bool = False,
    ) -> None:
        """Have the image or replica looked at; ``why`` goes into the event log."""
        where = region if kind is TaskKind.REPLICA else ""
        priority = Priority.HINT if gone else Priority.AUDIT
        self.asks.append(Ask(kind, image_id, where, priority=priority, removed=gone))
        self.notes.append(Note("audit", why, region, image_id))

    def counts(self) -> tuple[Count, ...]:
        return (
            Count(Counter.DRIFT, self.region, "drifted", self.drifted),
            Count(Counter.DRIFT, self.region, "missing", self.missing),
        )


class Reconciler:
    """Runs ``watch`` and ``audit`` tasks. Safe to call from many threads.

    :param random: a number in [0, 1), so that audits of many regions spread out
    """

    def __init__(
        self,
        queue: Queue,
        replicas: Replicas,
        baselines: Baselines,
        services: Services,
        destinations: Destinations,
        settings: AuditSettings,
        random: Callable[[], float],
        heard: Heard,
    ) -> None:
        self._queue = queue
        self._replicas = replicas
        self._baselines = baselines
        self._services = services
        self._destinations = destinations
        self._strategy = destinations.strategy
        self._settings = settings
        self._random = random
        self._heard = heard

    # -- what changed lately ----------------------------------------------------------------------

    def watch(self, task: Task, lost: Lost) -> tuple[Changes, Outcome]:
        """Compare the images that a region says were changed since the last look."""
        home = task.region == self._services.home
        audit = self._baselines.audit(task.region)
        if not self._strategy.active:
            changes = Changes()
            if home and audit.strategy not in (None, self._strategy.mark):
                # What changes from now on is found by an audit when there is a strategy again.
                audit = dataclasses.replace(
                    audit,
                    strategy=self._strategy.mark,
                    marker=None,
                    started_at=None if audit.running else audit.started_at,
                )
                changes = Changes(audit=audit)
            return changes, self._again(self._settings.watch_interval, OFF)
        service = self._services(task.region)
        newest = audit.watched_to or _iso(task.updated_at - _FIRST_LOOK_BACK)
        # Glance's transactions become visible later than their updated_at says.
        since = _iso(_seconds(newest) - 2 * self._settings.watch_interval - 60)
        changed = 0
        for hidden in (False, True):
            for page in pages(service, hidden=hidden, updated_since=since):
                self._heard(task.region, None)
                newest = max([newest, *page.updated_at])
                if home:
                    images = with_members(service, page.images)
                    seen = self._home(images, self._baselines.images_by_id(images))
                else:
                    # Members are left to audits: who is added does not make an image a changed one.
                    listed = {image.id: image for image in page.images}
                    there = self._baselines.placed_as(task.region, listed)
                    seen = self._region(task.region, listed, there, Image.is_listed_as)
                changed += seen.drifted
                _still_ours(task, lost)
                self._queue.commit(task, _changes(seen))
        asks: tuple[Ask, ...] = ()
        if home and audit.strategy != self._strategy.mark and not audit.running:
            asks = (Ask(TaskKind.AUDIT, "", task.region, urgent=True),)
        outcome = self._again(self._settings.watch_interval, f"{changed} changed")
        return Changes(watched_to=newest, asks=asks, hurry=OFF if home else None), outcome

    # -- everything -------------------------------------------------------------------------------

    def audit(self, task: Task, lost: Lost) -> tuple[Changes, Outcome]:
        """Compare all images of a region, from where an interrupted pass had come to."""
        if not self._strategy.active:
            return Changes(), self._again(self._settings.watch_interval, OFF)
        service = self._services(task.region)
        audit = self._baselines.audit(task.region)
        if not audit.running or audit.marker is None:
            audit = dataclasses.replace(
                audit, started_at=task.updated_at, marker=None, seen=0, drifted=0, missing=0
            )
            self._queue.commit(task, Changes(audit=audit, settled=frozenset(FindingKind)))
        try:
            for images, upto in listing(service, audit.marker):
                self._heard(task.region, None)
                for part, after, to in self._parts(task.region, images, audit.marker or "", upto):
                    _still_ours(task, lost)
                    seen = self._compare(task, service, part, after, to)
                    audit = dataclasses.replace(
                        audit,
                        seen=audit.seen + len(part),
                        drifted=audit.drifted + seen.drifted,
                        missing=audit.missing + seen.missing,
                    )
                    if to != upto:  # no place to go on from: the region may have no such image
                        self._queue.commit(task, _changes(seen))
                audit = dataclasses.replace(audit, marker=upto)
                if upto is not None:
                    self._queue.commit(task, _changes(seen, audit))
        except Refused as error:
            if audit.marker is None:
                raise
            # Glance can't go on after an image that was deleted meanwhile: begin anew.
            audit = dataclasses.replace(audit, marker=None, started_at=None)
            return Changes(audit=audit), self._again(self._settings.watch_interval, str(error))
        self._queue.commit(task, _changes(seen, audit))
        return self._finish(task, audit)

    def _parts(
        self, region: str, images: Sequence[Image], after: str, upto: str | None
    ) -> Iterator[tuple[Sequence[Image], str, str | None]]:
        """What is listed between two ids in parts, none of which concerns too many records.

        Each with the ids it is between. A list may leave out any number of them.
        """
        batch = self._settings.batch
        while (to := self._baselines.nth(region, after, upto, batch)) not in (None, upto):
            assert to is not None  # noqa: S101 - for the type checker
            yield [one for one in images if one.id <= to], after, to
            images, after = [one for one in images if one.id > to], to
        yield images, after, upto

    def _compare(
        self,
        task: Task,
        service: ImageService,
        images: Sequence[Image],
        after: str,
        upto: str | None,
    ) -> _Seen:
        """Compare what a region lists between two ids with what is on record there."""
        region = task.region
        full = with_members(service, images)
        if region == self._services.home:
            known = {
                record.image_id: record for record in self._baselines.present_images(after, upto)
            }
            seen = self._home(full, known)
            self._unplaced(full, known, seen)
            for image_id in sorted(known.keys() - full.keys()):
                # What was seen since this run began may be younger than the page.
                if known[image_id].observed_at < task.updated_at:
                    seen.missing += 1
                    name = known[image_id].name or ""
                    seen.findings.append(Finding(region, FindingKind.GONE, image_id, detail=name))
            if seen.findings:
                service.require_admin()
            return seen
        there = self._baselines.placed(region, after, upto)
        listed = [placed for placed in there if placed.replica.replica_id in full]
        others = full.keys() - {placed.replica.replica_id for placed in listed}
        listed += self._baselines.placed_as(region, others)  # deleted once, and there again
        seen = self._region(region, full, listed, Image.is_as)
        for placed in there:
            if placed.replica.replica_id not in full and not placed.busy:
                seen.missing += 1
                image_id = placed.replica.image_id
                seen.ask(TaskKind.REPLICA, image_id, region, "the region no longer lists it")
        ours = {placed.replica.replica_id for placed in listed}
        self._strangers(region, [image for image in images if image.id not in ours], seen)
        return seen

    def _finish(self, task: Task, audit: Audit) -> tuple[Changes, Outcome]:
        """The listing is complete: act on what was kept back, or hold it for a human."""
        found = self._baselines.count_findings(task.region)
        evictions = found.get(FindingKind.UNPLACED, 0) if self._strategy.evicts else 0
        deletions = sum(found.get(kind, 0) for kind in DELETING) - evictions
        corrupt = found.get(FindingKind.CORRUPT, 0)
        mismatches = (Count(Counter.MISMATCHES, task.region, amount=corrupt),)
        why = self._guard(audit, deletions)
        said = (
            f"{audit.seen} images in the region, {audit.drifted} differed, {audit.missing} missing"
        )
        audit = dataclasses.replace(
            audit,
            marker=None,
            finished_at=audit.started_at,
            strategy=self._strategy.mark,
            held=deletions if why else 0,
        )
        if why:
            said += f"; {deletions} deletions are held until somebody releases them: {why}"
            LOG.error("audit of %s: %s", task.region, said)
            notes = (Note("held", said, task.region),)
            # What is to make room is found again when nothing is held.
            settled = frozenset({FindingKind.UNPLACED} if evictions else ())
            changes = Changes(audit=audit, notes=notes, settled=settled, counts=mismatches)
            return changes, self._again(self._settings.audit_interval, said)
        seen = _Seen(task.region)
        most = int(self._allowed(audit.region))
        if evictions > most:
            said += f"; {evictions} have not been needed somewhere, {most} go at a time"
        for finding in self._baselines.findings(task.region, DELETING):
            if finding.what is FindingKind.UNPLACED and self._strategy.evicts:
                most -= 1
                if most < 0:
                    continue
            if finding.what in OF_IMAGES:
                # As if a user had said so: the image task may now find that it is.
                gone = finding.what is FindingKind.GONE
                why = "home no longer lists it" if gone else finding.detail
                seen.ask(TaskKind.IMAGE, finding.image_id, task.region, why, gone=True)
            else:
                seen.ask(TaskKind.REPLICA, finding.image_id, task.region, finding.detail)
        seen.notes.append(Note("audit", said, task.region))
        changes = dataclasses.replace(_changes(seen, audit), settled=DELETING, counts=mismatches)
        return changes, self._again(self._settings.audit_interval, said)

    def _guard(self, audit: Audit, deletions: int) -> str | None:
        """Why so many deletions need a human, in words; None: they need none (P4)."""
        if not deletions:
            return None
        if not audit.seen:
            return "the region lists no image at all"
        known = self._baselines.known(audit.region)
        if deletions >= known > 1:
            return f"these are all of the {known} that were known"
        allowed = self._allowed(audit.region)
        return f"no more than {allowed:g} need no human" if deletions > allowed else None

    def _allowed(self, region: str) -> float:
        """How many deletions one audit of a region may cause by itself."""
        share = self._baselines.known(region) * self._settings.guard_percent / 100
        return max(self._settings.guard_images, share)

    def _again(self, seconds: float, said: str) -> Again:
        return Again(seconds * (0.9 + 0.2 * self._random()), said)

    # -- comparing --------------------------------------------------------------------------------

    def _home(
        self, images: Mapping[str, Image | None], records: Mapping[str, ImageRecord]
    ) -> _Seen:
        """Home's images against their records."""
        seen = _Seen(self._services.home)
        for image_id, image in images.items():
            record = records.get(image_id)
            if record is None:
                why = "home has it, and nothing was known of it"
            elif not record.present or image is None or image.fingerprint() != record.fingerprint:
                why = "home's image is not what it was when last looked at"
            else:
                continue
            seen.drifted += 1
            seen.ask(TaskKind.IMAGE, image_id, self._services.home, why)
        return seen

    def _unplaced(
        self,
        images: Mapping[str, Image | None],
        records: Mapping[str, ImageRecord],
        seen: _Seen,
    ) -> None:
        """Ask for the images that lack an up-to-date replica which nobody is working on.

        And find those that have replicas where they do not go any more.
        """
        asked = {one.image_id for one in seen.asks}
        regions = functools.cache(self._replicas.regions)
        known = {
            image_id: image and recalled(image, records[image_id], regions)
            for image_id, image in images.items()
            if image_id not in asked
        }
        views: dict[str, dict[str, ReplicaView]] = {image_id: {} for image_id in known}
        for view in self._baselines.replicas_for(known):
            views[view.replica.image_id][view.replica.region] = view
        present = [image for image in known.values() if image is not None and image.has_data]
        replicas = {
            image_id: {name: view.replica for name, view in of_image.items()}
            for image_id, of_image in views.items()
        }
        for image in known.values():
            if image is not None and not image.has_data and is_lent(image, regions):
                why = "no bytes were found where it says that it has them"
                seen.ask(TaskKind.IMAGE, image.id, self._services.home, why)
        placements = self._destinations.each(present, replicas)
        for image in present:
            image_id, placement = image.id, placements[image.id]
            lacking = _lacking(placement, records[image_id], views[image_id])
            if over := unplaced(image, placement, replicas[image_id]):
                said = f"not to be in {', '.join(over)} any more: {placement.why}"
                if any(replicas[image_id][name].made for name in over):
                    home = self._services.home
                    finding = Finding(home, FindingKind.UNPLACED, image_id, detail=said)
                    seen.findings.append(finding)
                else:  # there is nothing to lose
                    seen.ask(TaskKind.IMAGE, image_id, self._services.home, said)
            if lacking:
                seen.missing += len(lacking)
                why = f"not up to date in {', '.join(lacking)}"
                seen.ask(TaskKind.IMAGE, image_id, self._services.home, why)
            elif self._settings.home_mapping:
                self._mapping(image, replicas[image_id].values(), seen)

    def _mapping(self, image: Image, replicas: Iterable[Replica], seen: _Seen) -> None:
        """Ask for an image of which home does not say where else it is."""
        if remapping(image, mapped(replicas)) is not None:
            seen.drifted += 1
            why = "home does not say where else it is"
            seen.ask(TaskKind.IMAGE, image.id, self._services.home, why)

    def _region(
        self,
        region: str,
        images: Mapping[str, Image | None],
        there: Sequence[Placed],
        unchanged: Callable[[Image, str | None], bool],
    ) -> _Seen:
        """A region's images against the baselines of the replicas they are."""
        seen = _Seen(region)
        for placed in there:
            assert placed.replica.replica_id is not None  # noqa: S101 - by it they were chosen
            image = images[placed.replica.replica_id]
            if placed.busy or (image and unchanged(image, placed.replica.baseline)):
                continue
            seen.drifted += 1
            if image is not None and _corrupt(image, placed):
                seen.findings.append(
                    Finding(
                        region,
                        FindingKind.CORRUPT,
                        placed.replica.image_id,
                        image.id,
                        "the region says that it has other bytes than home's image",
                    )
                )
            else:
                why = "it is not what it was when last looked at"
                seen.ask(TaskKind.REPLICA, placed.replica.image_id, region, why)
        return seen

    def _strangers(self, region: str, images: Sequence[Image], seen: _Seen) -> None:
        """Find those of ``images``, none a replica, with name and bytes of one of home's."""
        strangers = [one for one in images if one.os_hash_value]
        if not strangers:
            return
        homes = collections.defaultdict(list)
        for record in self._baselines.images_by_hash({str(one.os_hash_value) for one in strangers}):
            homes[(record.os_hash_value, record.name)].append(record.image_id)
        for stranger in strangers:
            for image_id in homes[(stranger.os_hash_value, stranger.name)]:
                if image_id != stranger.id:
                    seen.findings.append(
                        Finding(
                            region,
                            FindingKind.ADOPTABLE,
                            image_id,
                            stranger.id,
                            f"{stranger.name!r}, {stranger.size} bytes",
                        )
                    )


def _lacking(
    placement: Placement, record: ImageRecord, views: Mapping[str, ReplicaView]
) -> list[str]:
    """Where the image goes and is not up to date, and nobody is working on that."""
    found = []
    for name in sorted(placement.regions):
        view = views.get(name)
        if view is None or (view.task_id is None and behind(view.replica, record)):
            found.append(name)
    return found


def _corrupt(image: Image, placed: Placed) -> bool:
    """True if the region itself says that a replica has other bytes than home's image."""
    home, theirs = placed.image.os_hash_value, image.os_hash_value or ""
    if not image.has_data or not home:
        return False
    if image.size != placed.image.size:
        return True
    return len(theirs) == len(home) and theirs != home  # another length: another algorithm


def _changes(seen: _Seen, audit: Audit | None = None) -> Changes:
    return Changes(
        audit=audit,
        findings=tuple(seen.findings),
        notes=tuple(seen.notes),
        asks=tuple(seen.asks),
        counts=seen.counts(),
    )


def _still_ours(task: Task, lost: Lost) -> None:
    if lost.is_set():
        raise LeaseLost(f"the lease on {task.key} was lost")


def _iso(seconds: float) -> str:
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _seconds(iso: str) -> float:
    at = datetime.datetime.fromisoformat(iso)
    return at.replace(tzinfo=at.tzinfo or datetime.UTC).timestamp()
