# SPDX-License-Identifier: Apache-2.0
"""The words of glancesync as values: frozen dataclasses without behaviour that does I/O.

Times are seconds since the epoch as the database's clock gives them, sizes are bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from glancesync.states import (
    SETTLED,
    BreakerState,
    DecisionKind,
    DeleteMode,
    FindingKind,
    ReplicaState,
    TaskKind,
    TaskState,
)

#: Statuses in which an image has its bytes. Source: Glance API, "Image statuses".
WITH_DATA = frozenset({"active", "deactivated"})
#: A property of home's images, which is ours and says where else they are.
MAPPING = "glance_sync_regions"
#: Statuses in which bytes are just being written.
IN_FLIGHT = frozenset({"saving", "uploading", "importing"})


#: Fields of an image that are about the one it was read from, and not synced.
OWN = ("failed_import", "created_at", "importing_to", "mapping", "lent")
_HALF = 32  # hex digits of a fingerprint's halves


@dataclasses.dataclass(frozen=True)
class Actor:
    """Who caused a change, as Glance's request context or a Keystone token names them."""

    user_id: str | None = None
    project_id: str | None = None
    roles: tuple[str, ...] = ()
    request_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "roles": list(self.roles)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Actor:
        return cls(
            user_id=data.get("user_id"),
            project_id=data.get("project_id"),
            roles=tuple(data.get("roles") or ()),
            request_id=data.get("request_id"),
        )


@dataclasses.dataclass(frozen=True)
class Project:
    """A project, as Keystone knows it."""

    id: str
    name: str
    domain_id: str
    domain_name: str


@dataclasses.dataclass(frozen=True)
class Hint:
    """ "This image changed." How it changed is found out by looking."""

    image_id: str
    actor: Actor = Actor()
    merged: int = 1  # how many changes the sender merged into this hint
    removed: bool = False  # one of them removed it


@dataclasses.dataclass(frozen=True)
class Image:
    """An image as a Glance answered it; also what a replica is desired to be.

    ``properties`` holds the custom properties only: nothing read-only, nothing reserved.
    """

    id: str
    status: str
    name: str | None = None
    container_format: str | None = None
    disk_format: str | None = None
    min_disk: int = 0  # GiB
    min_ram: int = 0  # MiB
    visibility: str = "shared"
    protected: bool = False
    os_hidden: bool = False
    owner: str | None = None
    tags: frozenset[str] = frozenset()
    properties: Mapping[str, str] = dataclasses.field(default_factory=dict)
    members: Mapping[str, str] = dataclasses.field(default_factory=dict)  # project -> status
    size: int | None = None
    checksum: str | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    failed_import: str = ""  # stores a failed import named (os_glance_failed_import)
    created_at: float | None = dataclasses.field(default=None, compare=False)  # each Glance's own
    importing_to: str = dataclasses.field(default="", compare=False)  # stores, by an import
    mapping: str = dataclasses.field(default="", compare=False)  # what it says of where else it is
    lent: Lent | None = dataclasses.field(default=None, compare=False)  # its bytes are another's

    @property
    def has_data(self) -> bool:
        return self.status in WITH_DATA

    @property
    def in_flight(self) -> bool:
        return self.status in IN_FLIGHT

    def fingerprint(self) -> str:
        """A hash over everything that a replica takes over; equal images have equal ones.

        Its second half is over the members, which lists of images do not show. Lent bytes count by
        the address that the image has for them: an image's never change.
        """
        if self.lent is not None:
            return self.lent.fingerprint
        said = self.as_dict()
        members = said.pop("members")
        return _half(said) + _half(members)

    def is_as(self, fingerprint: str | None) -> bool:
        """True if ``fingerprint`` is that of this image."""
        return fingerprint == self.fingerprint()

    def is_listed_as(self, fingerprint: str | None) -> bool:
        """True if ``fingerprint`` is that of this image but for its members."""
        return fingerprint is not None and fingerprint[:_HALF] == self.fingerprint()[:_HALF]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, without what is not synced."""
        data = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in OWN:
            del data[name]
        data["tags"] = sorted(self.tags)
        data["properties"] = dict(self.properties)
        data["members"] = dict(self.members)
        return data

    def same_bytes(self, home: Image) -> bool:
        """True if this replica holds the bytes of ``home``, by the strongest evidence both have.

        A home image registered by location may carry no hash; then ``checksum`` (md5) decides, or
        the size alone. A replica without evidence against a hash of home's does not pass (P3).
        """
        if self.size != home.size:
            return False
        if self.os_hash_value and home.os_hash_value and self.os_hash_algo == home.os_hash_algo:
            return self.os_hash_value == home.os_hash_value
        if self.checksum and home.checksum:
            return self.checksum == home.checksum
        return not (home.os_hash_value or home.checksum)

    @property
    def digest(self) -> tuple[str, str] | None:
        """Algorithm and value of the strongest hash it says its bytes have."""
        if self.os_hash_algo and self.os_hash_value:
            return self.os_hash_algo, self.os_hash_value
        return ("md5", self.checksum) if self.checksum else None

    def holding(self, algorithm: str, value: str) -> Image:
        """The same image, if its bytes have another hash than it says."""
        if algorithm == "md5":
            return dataclasses.replace(self, checksum=value, os_hash_algo=None, os_hash_value=None)
        return dataclasses.replace(self, os_hash_algo=algorithm, os_hash_value=value)


def _half(said: Mapping[str, Any]) -> str:
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_HALF]


def fingerprint_of(image: Image | None) -> str:
    """The fingerprint of what a Glance answered, also if that is that there is no such image."""
    return "absent" if image is None else image.fingerprint()


@dataclasses.dataclass(frozen=True)
class ImageRecord:
    """What the journal knows of a home image."""

    image_id: str
    generation: int  # raised whenever the home image is found changed
    fingerprint: str
    present: bool
    name: str | None
    owner: str | None
    status: str
    size: int | None
    os_hash_value: str | None
    kernel_id: str | None
    ramdisk_id: str | None
    changed_at: float
    observed_at: float
    last_error: str | None = None  # what is wrong with home's own bytes, or its sync_regions
    actor: Actor = Actor()  # who changed it last, as far as anybody said
    origin: str | None = None  # the region it is copied from; None: it is a home image
    origin_id: str | None = None  # its id there


@dataclasses.dataclass(frozen=True)
class Original:
    """Where the image is that all its replicas are made from: its region, and its id there."""

    region: str
    image_id: str

    @classmethod
    def of(cls, image_id: str, record: ImageRecord | None, home: str) -> Original:
        """That of an image by its record; of one that nothing is known of, at home."""
        if record is None or record.origin is None:
            return cls(home, image_id)
        return cls(record.origin, record.origin_id or image_id)


@dataclasses.dataclass(frozen=True)
class Lent:
    """The image of another region that a home image has its bytes from.

    ``fingerprint``: of the home image as home has it, without bytes.
    """

    original: Original
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Replica:
    """What the journal knows of one image in one region."""

    image_id: str
    region: str
    state: ReplicaState = ReplicaState.PENDING
    replica_id: str | None = None  # the id there; differs where the region refused ours
    made: bool = False  # we made it, so we may delete it
    observed_generation: int = 0
    baseline: str | None = None  # fingerprint of what we last observed
    transport: str | None = None
    source: str | None = None  # the region that the bytes come from, or came from
    copying_since: float | None = None  # while it takes room there; see :mod:`glancesync.sources`
    bytes_done: int = 0
    bytes_total: int | None = None
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)  # what -> why
    kept: Mapping[str, str] = dataclasses.field(default_factory=dict)  # to outlive a replacement
    last_error: str | None = None
    synced_at: float | None = None
    verified_at: float | None = None  # when its bytes were last read, and were right
    expires_at: float | None = None  # end of the grace period, once it is not wanted there
    delete_mode: DeleteMode | None = None  # what the strategy last said of it
    updated_at: float = 0.0


@dataclasses.dataclass(frozen=True)
class Pin:
    """Somebody wants an image in a region, by name: it goes there whatever the strategy says."""

    image_id: str
    region: str
    cause: str  # in words
    actor: Actor = Actor()
    pinned_at: float = 0.0
    used_at: float = 0.0  # when somebody last said so


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a human decided about one replica. It is carried out before any other work on it.

    ``id`` is that of the region's image, or of the plan.
    """

    what: DecisionKind
    id: str

    def __str__(self) -> str:
        return f"{self.what.value}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Decision:
        """The decision that reads as ``text``."""
        what, _, subject = text.partition(":")
        return cls(DecisionKind(what), subject)


@dataclasses.dataclass(frozen=True)
class Task:
    """A durable unit of work. ``key`` is unique among open tasks."""

    id: int
    key: str
    kind: TaskKind
    image_id: str
    region: str  # "" for image tasks
    state: TaskState
    priority: int  # seconds it may wait behind others that are due; smaller is sooner
    asked: int  # how often it was asked for since it was opened; decisions do not count
    attempt: int  # failed attempts since the last success
    force: bool
    verify: bool  # read the bytes in the region, don't believe its hash
    removed: bool  # somebody with a right to say so wants it gone, or an audit found that it is
    decision: Decision | None  # comes first; with nothing else asked for, the task ends with it
    due_at: float
    since: float  # from when on somebody waits for it
    waiting_since: float | None  # first of the snoozes in a row
    lease_owner: str | None
    lease_token: str | None
    lease_until: float | None
    actor: Actor
    reason: str | None  # result, error or why it waits, in words
    created_at: float
    updated_at: float
    ended_at: float | None = None


@dataclasses.dataclass(frozen=True)
class Capacity:
    """What somebody who knows has said of the room a region has for images."""

    free_bytes: int
    total_bytes: int | None = None
    said_at: float = 0.0


@dataclasses.dataclass(frozen=True)
class Region:
    """A Keystone region with a Glance, as the catalog and the operator describe it."""

    name: str
    url: str
    home: bool = False
    present: bool = True  # in the catalog when last looked
    enabled: bool = True
    maintenance: bool = False
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limits: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # tasks, sources, bandwidth
    delete_mode: DeleteMode | None = None  # overrides the option delete_mode
    capacity: Capacity | None = None
    found_at: float | None = None  # when the catalog listed it first
    seen_at: float | None = None
    last_error: str | None = None
    failures: int = 0  # in a row, of the region itself
    failing_since: float | None = None  # the first of these
    broken_for: float | None = None  # seconds in which no work starts; past: one task probes

    @property
    def open(self) -> bool:
        """True if work for this region may start."""
        return self.present and self.enabled and not self.maintenance

    @property
    def breaker(self) -> BreakerState:
        if self.broken_for is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self.broken_for > 0 else BreakerState.HALF_OPEN


def unversioned(endpoint: str) -> str:
    """An image endpoint as catalogs list it, without ``/v2`` and without a slash at the end."""
    return re.sub(r"/v\d+(\.\d+)?$", "", endpoint.rstrip("/")).rstrip("/")


@dataclasses.dataclass(frozen=True)
class Event:
    """One line of the journal's log about an image."""

    id: int
    at: float
    image_id: str
    region: str
    what: str
    detail: str
    actor: Actor


class Priority:
    """The order of work, as seconds that a due task may wait behind others that are due.

    A region's next task is the one with the smallest ``due_at + priority``. So users go before
    hints, hints before plans, plans before audits and small images before large ones, and nothing
    waits for ever. The steps are longer than a backlog normally lasts: while a new region is filled
    for days, what users change meanwhile must not queue up behind that.
    """

    USER = 0  # somebody asked for it by name
    HINT = 3600
    PLAN = 86400  # somebody asked for it, and for all the others of a plan
    AUDIT = 7 * 86400

    @classmethod
    def of_audit(cls, priority: int) -> bool:
        """Whether only an audit asked for it, with the haste or patience that rules may add."""
        return priority > (cls.PLAN + cls.AUDIT) // 2


_LONGEST_BONUS = 600
_BYTES_PER_SECOND = 100_000_000


def priority_for(base: int, size: int | None) -> int:
    """``base`` for a task that may have to move ``size`` bytes: small first."""
    return base + min(_LONGEST_BONUS, (size or 0) // _BYTES_PER_SECOND)


@dataclasses.dataclass(frozen=True)
class Audit:
    """How far the reconciler is with one region.

    The counts are those of the complete pass that runs, or of the last one that ended.
    """

    region: str
    watched_to: str | None = None  # newest updated_at that was dealt with, in the region's words
    strategy: str | None = None  # the one that the last complete pass went by
    marker: str | None = None  # id up to which the running pass has come
    started_at: float | None = None
    finished_at: float | None = None  # before started_at: a pass is running
    took: float | None = None  # seconds, the last pass that ended
    seen: int = 0
    drifted: int = 0
    missing: int = 0
    held: int = 0  # deletions that wait for a human

    @property
    def running(self) -> bool:
        return self.started_at is not None and (
            self.finished_at is None or self.finished_at < self.started_at
        )


@dataclasses.dataclass(frozen=True)
class Finding:
    """What an audit saw and did not act on by itself."""

    region: str
    what: FindingKind
    image_id: str
    other_id: str = ""  # the image in the region, where its id differs
    detail: str = ""
    found_at: float = 0.0


@dataclasses.dataclass(frozen=True)
class ReplicaView:
    """A replica with what is known around it, as it is shown to people."""

    replica: Replica
    desired_generation: int
    name: str | None
    owner: str | None
    task_id: int | None = None  # of the open task, if there is one
    attempt: int = 0
    next_try_at: float | None = None
    used_at: float | None = None  # when somebody last said by name that it is wanted there


@dataclasses.dataclass(frozen=True)
class Need:
    """What there is to know, at ``now``, of an image that somebody needs in a region."""

    image: ImageRecord | None
    region: Region | None
    replica: ReplicaView | None
    task: Task | None  # the open one that brings it there, or sees about that
    now: float

    @property
    def there(self) -> bool:
        """Whether the region has it, as home's image was when last looked at."""
        if self.image is None or self.replica is None:
            return False
        own = self.replica.replica
        return own.state in SETTLED and own.observed_generation >= self.image.generation

    @property
    def unused(self) -> float:
        """Seconds since somebody last said that it is wanted; infinite if nobody did."""
        used = None if self.replica is None else self.replica.used_at
        return math.inf if used is None else self.now - used


@dataclasses.dataclass(frozen=True)
class Standing:
    """How far a region is, for people and for monitoring. Home's tasks are those of images."""

    region: Region
    audit: Audit
    replicas: Mapping[str, int]  # how many are in which state; states that none is in are left out
    tasks: Mapping[str, int]  # the same of open tasks that somebody waits for
    oldest: float = 0.0  # seconds since the first of them was wanted
    bytes_behind: int = 0
    bindings: int = 0  # of projects that it is chosen for now


# -- outcomes: what a worker decided about the task it ran ---------------------------------------


@dataclasses.dataclass(frozen=True)
class Done:
    """The work is finished; ``result`` says in words what was done."""

    result: str


@dataclasses.dataclass(frozen=True)
class Snooze:
    """Nothing went wrong, but it is too early; costs no attempt.

    ``wanted``: somebody waits for the work meanwhile.
    """

    seconds: float
    reason: str
    wanted: bool = True


@dataclasses.dataclass(frozen=True)
class Retry:
    """It failed; try again after ``seconds``. ``failed``: the fast retries are used up."""

    seconds: float
    error: str
    failed: bool


@dataclasses.dataclass(frozen=True)
class Again:
    """Done for this time; the task stays open and is due again after ``seconds``."""

    seconds: float
    result: str


Outcome = Done | Snooze | Retry | Again


@dataclasses.dataclass(frozen=True)
class Node:
    """A process that works on the journal. ``settings`` are those that all should share."""

    name: str
    settings: Mapping[str, str]


def differences(nodes: Sequence[Node]) -> dict[str, dict[str, list[str]]]:
    """Option -> value -> names of the nodes, where not all have the same."""
    found: dict[str, dict[str, list[str]]] = {}
    for node in nodes:
        for option, value in node.settings.items():
            found.setdefault(option, {}).setdefault(value, []).append(node.name)
    return {option: values for option, values in sorted(found.items()) if len(values) > 1}
