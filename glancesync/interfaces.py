# SPDX-License-Identifier: Apache-2.0
"""What the flows need from the world, as Protocols. The contract is in the docstrings.

Implementations live in ``journal`` (:class:`Queue`, :class:`Replicas`), ``regions``
(:class:`ImageService`) and ``transports`` (:class:`Transport`); one suite in ``tests/contract``
runs against each of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from glancesync.counts import Count
from glancesync.errors import RegionError
from glancesync.model import (
    Actor,
    Audit,
    Decision,
    Finding,
    Image,
    ImageRecord,
    Outcome,
    Priority,
    Project,
    Region,
    Replica,
    ReplicaView,
    Task,
)
from glancesync.orders import Item, Job, Plan, Step
from glancesync.placement.strategies import Facts
from glancesync.planner import Op
from glancesync.schemes import Location, Place, StoreInfo
from glancesync.sources import Candidate
from glancesync.states import FindingKind, TaskKind


class Lost(Protocol):
    """Says whether a task is still its worker's."""

    def is_set(self) -> bool:
        """True if the lease is lost: start nothing more."""


#: Told how a region does, as soon as it is known: what went wrong, or None if it answered.
Heard = Callable[[str, RegionError | None], None]


class Projects(Protocol):
    """What Keystone knows of projects."""

    def __call__(self, project_id: str) -> Project | None:
        """The project; None: there is none of that id.

        :raises RegionError: Keystone does not say
        """


class Clock(Protocol):
    """Time of this process; never compared with another machine's."""

    def monotonic(self) -> float:
        """Seconds since some fixed point."""


@dataclasses.dataclass(frozen=True)
class Ask:
    """A wish for work. On a task that is open already it only raises ``asked``.

    A ``decision`` is put on the open task, unless there is one already, and does not count.
    """

    kind: TaskKind
    image_id: str
    region: str = ""
    priority: int = Priority.HINT
    actor: Actor = Actor()
    count: int = 1
    urgent: bool = False  # due now, also in the middle of a backoff
    force: bool = False
    verify: bool = False
    removed: bool = False
    since: float | None = None  # when it was first wanted; now, unless told
    decision: Decision | None = None


@dataclasses.dataclass(frozen=True)
class Note:
    """A line for the event log; ``image_id`` is the task's unless given."""

    what: str
    detail: str = ""
    region: str = ""
    image_id: str | None = None


@dataclasses.dataclass(frozen=True)
class Changes:
    """What a task writes, in one transaction.

    ``pending``: regions in which a replica of the task's image is to be shown as pending.
    ``audit``: all but its ``watched_to``; its times become the database's now when it ends.
    ``plan``: how far it is; ``steps``: new ones, or what became of them.
    ``hurry``: replica tasks that wait for this reason are due, as it is no more; with
    ``hurry_most`` so many of them, the longest waiting.
    ``begun``: what the task has waited for is over; how long it waits counts anew.
    ``promoted``: home has the task's image now; it is a home image from now on.
    ``settled``: kinds of findings about the task's region that are dealt with and forgotten.
    ``unused``: nobody wants the task's replica by name any more, who has not said so since then.
    """

    image: ImageRecord | None = None
    replica: Replica | None = None
    audit: Audit | None = None
    watched_to: str | None = None
    settled: frozenset[FindingKind] = frozenset()
    findings: tuple[Finding, ...] = ()
    pending: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    asks: tuple[Ask, ...] = ()
    counts: tuple[Count, ...] = ()
    plan: Plan | None = None
    steps: tuple[Step, ...] = ()
    hurry: str | None = None
    hurry_most: int | None = None
    begun: bool = False
    promoted: bool = False
    unused: float | None = None


class Queue(Protocol):
    """Durable tasks with leases. All times are the database's."""

    def claim(
        self, owner: str, *, lease: float, limit: int, regions: Collection[str]
    ) -> list[Task]:
        """Take the most urgent due task, and with it the due replica tasks of the same image.

        Never two owners the same task. Only tasks of ``regions`` are taken ("" are image tasks),
        at the most one of each, and ``limit`` in all. Nothing may be returned although there is
        work, but only while others claim.
        """

    def renew(self, tasks: Iterable[Task], *, lease: float) -> set[int]:
        """Prolong the leases; return the ids of those tasks that are still the caller's."""

    def commit(self, task: Task, changes: Changes, outcome: Outcome | None = None) -> None:
        """Write ``changes`` and, with an ``outcome``, conclude the task: all or nothing.

        A task that was asked for again since it was claimed is due at once instead of done.
        LeaseLost: it is no longer the caller's, nothing was written.
        """

    def reserve(
        self,
        task: Task,
        replica: Replica,
        candidates: Sequence[Candidate],
        patience: float,
    ) -> Replica | None:
        """Write that a replica is being copied, from the best of ``candidates`` that has room.

        The record as it is now; None: none has room, nothing was written. A replica takes room from
        then on until it is written to be in another state, and for ``patience`` seconds at most.
        LeaseLost: as of :meth:`commit`.
        """

    def release(self, tasks: Iterable[Task]) -> None:
        """Give claimed tasks back untouched, at no cost; those lost already are passed over."""

    def rescue(self, fast_attempts: int, pause: float) -> int:
        """Make the tasks of expired leases ready again; return how many.

        It counts as a failed attempt; from the ``fast_attempts``-th on they rest for ``pause``
        seconds first.
        """


@dataclasses.dataclass(frozen=True)
class Placed:
    """A replica that a region should hold, and its image."""

    replica: Replica
    image: ImageRecord
    busy: bool  # a task for it is open


class Replicas(Protocol):
    """What the flows read of the journal's records."""

    def image(self, image_id: str) -> ImageRecord | None:
        """The record of a home image."""

    def replica(self, image_id: str, region: str) -> Replica | None:
        """The record of a replica."""

    def replicas_of(self, image_id: str) -> list[Replica]:
        """All records of one image, by region."""

    def holder(self, region: str, replica_id: str) -> str | None:
        """The home image whose replica in ``region`` has that id there."""

    def id_map(self, region: str, image_ids: Collection[str]) -> dict[str, str]:
        """Home id -> id in ``region`` of those images that have a replica there."""

    def step(self, plan_id: int, image_id: str, region: str) -> Step | None:
        """What a plan says of a replica."""

    def referrers(self, image_id: str) -> list[str]:
        """The home images whose kernel or ramdisk is ``image_id``."""

    def regions(self) -> list[Region]:
        """All regions ever seen, by name."""

    def facts(self, images: Collection[Image]) -> dict[str, Facts]:
        """What the place of each of these goes by, by its id; but for ``held``."""

    def progress(self, image_id: str, region: str, done: int, total: int | None) -> None:
        """Note how many bytes have arrived."""


class Baselines(Protocol):
    """What the reconciler compares regions with. Ids are ordered as :func:`sorted` does."""

    def audit(self, region: str) -> Audit:
        """How far the reconciler is with a region."""

    def nth(self, region: str, after: str, until: str | None, count: int) -> str | None:
        """Of the ids on record in a region, the ``count``-th with ``after < id <= until``, if any.

        The ids of images home had when last looked, or of the replicas thought to be there.
        """

    def present_images(self, after: str, until: str | None) -> list[ImageRecord]:
        """The images home had when last looked, with ``after < id <= until``."""

    def images_by_id(self, image_ids: Collection[str]) -> dict[str, ImageRecord]:
        """The records of some images."""

    def images_by_hash(self, hashes: Collection[str]) -> list[ImageRecord]:
        """The images home had when last looked whose bytes have one of these hashes."""

    def placed(self, region: str, after: str, until: str | None) -> list[Placed]:
        """The replicas thought to be in ``region``, with ``after < id there <= until``."""

    def placed_as(self, region: str, replica_ids: Collection[str]) -> list[Placed]:
        """The replicas that are, or were until they were deleted, in ``region`` under these ids."""

    def replicas_for(self, image_ids: Collection[str]) -> list[ReplicaView]:
        """All records of replicas of some images."""

    def findings(self, region: str, kinds: Collection[FindingKind]) -> list[Finding]:
        """What audits of ``region`` have left."""

    def gone(self, after: str, until: str | None) -> list[ImageRecord]:
        """The images home is on record not to have, with ``after < id <= until``, if any region
        may still have a replica.
        """

    def count_findings(self, region: str) -> dict[FindingKind, int]:
        """How many there are, by kind; kinds of which there are none are left out."""

    def known(self, region: str) -> int:
        """How many images home has, or how many replicas a region; for proportions."""


class Plans(Protocol):
    """What is read of plans by what makes and applies them."""

    def get(self, plan_id: int) -> Plan | None:
        """A plan by its number."""

    def planned(self, plan_id: int, limit: int) -> list[Step]:
        """Steps that were not asked for yet."""


class Jobs(Protocol):
    """What is read and written of jobs by what looks up their images."""

    def get(self, job_id: int) -> Job | None:
        """A job by its number."""

    def copied(self, job_id: int, source: str, source_ids: Collection[str]) -> list[Item]:
        """The items of a job that are about these images of ``source``."""

    def expand(
        self,
        task: Task,
        job: Job,
        count: int,
        items: Sequence[Item],
        records: Sequence[ImageRecord],
    ) -> None:
        """Write the items of the next ``count`` resources, and have tasks opened for them.

        Nothing is written if the job was cancelled. LeaseLost: as of :meth:`Queue.commit`.
        """

    def let_go(self, task: Task, job: Job) -> None:
        """Have tasks opened for the items whose needs are met by now."""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """How to reach an image's ``/file`` in a Glance. Holds a token: never log it."""

    region: str
    url: str
    token: str = dataclasses.field(repr=False)


class ImageService(Protocol):
    """One region's Glance. Every error it raises is a RegionError that names the region."""

    region: str

    def get(self, image_id: str) -> Image | None:
        """The image with its members; None if Glance says that there is none."""

    def page(
        self, *, hidden: bool, after: str | None = None, updated_since: str | None = None
    ) -> Page:
        """Images of all projects, without their members.

        By id, those after the id ``after``; or with ``updated_since`` by time of change.
        """

    def some(self, image_ids: Collection[str]) -> list[Image]:
        """Those of these images that it lists, hidden ones too, without their members."""

    def named(self, name: str) -> list[Image]:
        """The images, hidden ones too, that have exactly that name; without their members."""

    def with_bytes(self, hash_value: str) -> list[Image]:
        """The images, hidden ones too, whose ``os_hash_value`` is that; without their members."""

    def members(self, image_id: str) -> dict[str, str] | None:
        """Project -> status; None if the image is gone or not shared (any more)."""

    def confirm_absent(self, image_id: str) -> bool:
        """True only if a complete, clean listing, seen as an admin, does not hold it either (P4).

        Credential: see :meth:`require_admin`.
        """

    def require_admin(self) -> None:
        """Credential, if the region does not show us the images of all projects.

        To whom an image is hidden, Glance says that there is none; so an absence that contradicts
        what is known is believed only after this.
        """

    def create(self, image: Image) -> None:
        """Make an image record without data. Conflict: the id is or was in use."""

    def patch(self, image_id: str, ops: Sequence[Op]) -> None:
        """Apply all of ``ops`` or none. Refused: the region does not allow one of them."""

    def put_member(self, image_id: str, project_id: str, status: str) -> None:
        """Add the member if need be and set its status; repeating is safe."""

    def remove_member(self, image_id: str, project_id: str) -> None:
        """Remove a member; repeating is safe."""

    def deactivate(self, image_id: str) -> None:
        """Forbid download by users; repeating is safe."""

    def reactivate(self, image_id: str) -> None:
        """Undo :meth:`deactivate`; repeating is safe."""

    def delete(self, image_id: str) -> None:
        """Delete; an image that is gone already is no error."""

    def import_from(self, image_id: str, source_region: str, source_id: str) -> None:
        """Start Glance's ``glance-download`` import of a queued image."""

    def import_methods(self) -> frozenset[str]:
        """What ``GET /v2/info/import`` offers."""

    def stores(self) -> tuple[StoreInfo, ...]:
        """What Glance says of its stores; none if it has only the one store without a name."""

    def locations(self, image_id: str) -> tuple[Location, ...]:
        """Where its Glance has the bytes of an image."""

    def file_stores(self) -> Mapping[str, str]:
        """The stores in which the region adopts a file that was put there: id -> directory.

        Those of ``glance_patch.locations``; a stock Glance has none.
        """

    def register(self, image_id: str, location: Location, home: Image) -> None:
        """Have a queued image use the bytes at a location, which are those of ``home``.

        A file is there when this returns; any other location Glance may go on to look at by itself,
        and the image is importing meanwhile. Refused: the region does not take such locations.
        """

    def file(self, image_id: str) -> Endpoint:
        """Where its bytes are read from and written to, with a fresh token."""


@dataclasses.dataclass(frozen=True)
class Page:
    """Part of a listing, in the order asked for."""

    images: tuple[Image, ...]
    updated_at: tuple[str, ...]  # of each, as the region wrote it
    next: str | None  # the id to go on after; None: that was the last page


class Services(Protocol):
    """The Glances of all regions."""

    home: str

    def __call__(self, region: str) -> ImageService:
        """The service of ``region``; Transient if the catalog does not list it now."""


# -- transports -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """What a transport needs and can do; data, so that the choice needs no type checks.

    ``reads`` and ``writes``: names of the schemes of stores that it goes to by itself; none: it
    goes through the Glance of that end.
    """

    needs_import_method: str | None = None  # the target must offer it
    needs_formats: bool = False  # container_format and disk_format must be set
    fan_out: bool = False  # one read of the source serves several targets
    asynchronous: bool = False  # the region works on by itself; look again later
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    here: bool = False  # what it reads and writes must be directories of this host
    same_store: bool = False  # both ends must be one and the same store
    same_service: bool = False  # both ends must be stores of one and the same service
    tidies: bool = False  # it is a :class:`Leaver`, too
    direct: bool = False  # the bytes can go straight from end to end, not by way of this host


@dataclasses.dataclass(frozen=True)
class Target:
    """One end of a transfer.

    ``report`` is called with the bytes that have arrived so far; when ``cancelled()`` is true,
    nobody wants them any more. ``pace()`` is how many bytes per second it may have now; None: any.
    ``place`` is where the bytes are to be put, for a transport that
    writes to stores.
    """

    region: str
    image_id: str
    service: ImageService
    report: Callable[[int], None]
    cancelled: Callable[[], bool]
    place: Place | None = None
    pace: Callable[[], int | None] = lambda: None


@dataclasses.dataclass(frozen=True)
class Source:
    """The other end; ``place`` is where the bytes are, for a transport that reads from stores.

    ``image`` has the id that it has there. If it is ``relayed``, the region is not home: bytes that
    can't go straight from it to the target are not worth the detour.
    """

    image: Image
    service: ImageService
    place: Place | None = None
    relayed: bool = False


class Transport(Protocol):
    """A way to move the bytes of one image. Registered as ``glancesync.transports``."""

    name: str
    capabilities: Capabilities

    def move(
        self,
        source: Source,
        targets: Sequence[Target],
        settle: Callable[[Target, RegionError | None], None],
    ) -> None:
        """Bring the source's bytes to the targets.

        ``settle`` is called exactly once for each target, as soon as its fate is known, with None
        for success; the slow do not delay the word about the fast (P8). An asynchronous transport
        settles when the region has accepted the work. A target that is cancelled is let go.

        A transport that writes to a store puts the bytes at ``target.place``, under a name that
        Glance does not know until they are complete, compares their hash, and has the region's
        Glance register them; what it put there goes again if that fails. For a reason of its own,
        as a host that is not reached, it settles with :class:`~glancesync.errors.WayBlocked`: then
        the next transport that fits is tried.

        Returns, or raises, when all is over; targets not settled by then are settled by the caller.
        """


class Leaver(Protocol):
    """A transport whose killed processes may leave what Glance does not know of: it ``tidies``."""

    name: str
    capabilities: Capabilities

    def tidy(self, target: Target) -> None:
        """Remove what an earlier :meth:`Transport.move` has left at ``target.place``.

        Only called when the region's Glance has no data of the image. What bears no mark of ours
        stays (P4). Repeating is safe.

        :raises WayBlocked: something may be left over
        """


class Reader(Protocol):
    """Looks at the bytes themselves that a region stores of an image."""

    def digest(self, target: Target, size: int, algorithm: str) -> str:
        """The hash, in hex, of all bytes the target's image has.

        :param size: how many there must be, as the region says itself
        :param algorithm: as :mod:`hashlib` names it
        :raises RegionError: they could not be read to the end; that says nothing about them
        """
