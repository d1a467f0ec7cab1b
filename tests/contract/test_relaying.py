# SPDX-License-Identifier: Apache-2.0
"""A region that has an image serves it to the next; home does if that fails, or has to wait too.

The far ends are :class:`ListingGlance`; the transport says which way it was sent, and fills the
record that it finds. Real bytes from region to region: ``tests/functional/test_relay.py``.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
import sqlalchemy as sa

from glancesync.bundle import Bundle
from glancesync.destinations import Destinations
from glancesync.ends import Schemes
from glancesync.errors import Corrupt, RegionError, Transient, WayBlocked
from glancesync.executor import Executor
from glancesync.interfaces import (
    Ask,
    Capabilities,
    Changes,
    ImageService,
    Source,
    Target,
    Transport,
)
from glancesync.journal.journal import Journal
from glancesync.journal.schema import task as table
from glancesync.model import Done, Replica, Task
from glancesync.pacing import Limits, Pacing, StoreUse
from glancesync.placement.strategies import STRATEGIES
from glancesync.recording import Settings
from glancesync.retry import RetryPolicy
from glancesync.schemes import Http
from glancesync.sources import Candidate, candidates
from glancesync.states import ReplicaState, TaskKind, TaskState
from glancesync.transports.reading import Reading
from glancesync.transports.settings import TransferSettings
from glancesync.wiring import SystemClock
from tests.contract.listing_glance import Answer, ListingGlance

pytestmark = pytest.mark.matrix(database_kind=("postgresql", "mariadb"))

IMAGE = "11111111-2222-3333-4444-555555555555"
THERE = "99999999-2222-3333-4444-555555555555"  # what B calls it
HOME = "E"  # of the journal fixture
NONE = ("size", "checksum", "os_hash_algo", "os_hash_value")
QUEUED = {"status": "queued", **dict.fromkeys(NONE)}


class Straight:
    """``fails``: region it is to copy from -> what goes wrong."""

    def __init__(
        self, bench: "Bench", name: str = "straight", *, asynchronous: bool = False
    ) -> None:
        self.name = name
        self.capabilities = Capabilities(direct=True, asynchronous=asynchronous)
        self.fails: dict[str, RegionError] = {}
        self.meanwhile: Callable[[], None] = lambda: None
        self.sent: list[tuple[str, str, bool]] = []
        self._bench = bench

    def move(
        self,
        source: Source,
        targets: Sequence[Target],
        settle: Callable[[Target, RegionError | None], None],
    ) -> None:
        (target,) = targets
        self.sent.append((source.service.region, source.image.id, source.relayed))
        self.meanwhile()
        error = self.fails.get(source.service.region)
        if error is None and not self.capabilities.asynchronous:
            self._bench.glances[target.region].add(IMAGE)
        settle(target, None if self.capabilities.asynchronous else error)


class Bench:
    """Home and the regions A, B and D; B has the image already."""

    def __init__(self, journal: Journal) -> None:
        self.journal, self.home = journal, HOME
        self.glances = {name: ListingGlance(name) for name in (HOME, "A", "B", "D")}
        self.straight = Straight(self)
        self.before: list[Transport] = []  # transports that are tried first
        self.after: list[Transport] = []
        self.schemes: Schemes = {}
        self.pacing = Pacing(self.journal.regions, lambda: 1, SystemClock(), lambda: 0, Limits())
        self.room = 1
        self.lost = threading.Event()
        self.heard: list[tuple[str, RegionError | None]] = []
        for name, image_id in ((HOME, IMAGE), ("B", THERE)):
            self.glances[name].add(image_id)
        for name in ("A", "D"):
            self.glances[name].add(IMAGE, **QUEUED)
            self.record(Replica(IMAGE, name, replica_id=IMAGE, made=True))
        self.record(Replica(IMAGE, "B", ReplicaState.IN_SYNC, replica_id=THERE, made=True))

    def __call__(self, region: str) -> ImageService:
        return self.glances[region].service

    def record(self, replica: Replica) -> None:
        task = self._claim(replica.region)
        self.journal.commit(task, Changes(replica=replica), Done("recorded"))

    def _claim(self, region: str, image_id: str = IMAGE) -> Task:
        self.journal.ask([Ask(TaskKind.REPLICA, image_id, region, urgent=True)], "test")
        (task,) = self.journal.claim("me", lease=600, limit=1, regions={region})
        return task

    def time_passes(self, task: Task, seconds: float) -> None:
        """Have the task wait for so much longer."""
        earlier = table.c.waiting_since - seconds
        with self.journal.database.write() as connection:
            this = sa.update(table).where(table.c.id == task.id)
            connection.execute(this.values(waiting_since=earlier))

    def occupy(self, *sources: str) -> None:
        """Have each of ``sources`` serve somebody."""
        for number, source in enumerate(sources):
            image_id = f"{number}{IMAGE[1:]}"
            task = self._claim("C", image_id)
            replica = Replica(image_id, "C", ReplicaState.COPYING)
            found = [one for one in self.candidates() if one.region == source]
            assert self.journal.reserve(task, replica, found, 600)

    def candidates(self) -> Sequence[Candidate]:
        return candidates(
            "A", self.journal.regions(), self.journal.replicas_of(IMAGE), self.room, "E"
        )

    def run(self, region: str = "A") -> Task:
        """Run the region's task, due or not; the task as it is then."""
        task = self._claim(region)
        Executor(
            self.journal,
            self.journal,
            self,
            RetryPolicy(fast_attempts=3, base=10, cap=1000),
            Settings(
                Destinations(STRATEGIES["ALL"], self.journal),
                [*self.before, self.straight, *self.after],
                Reading(TransferSettings()),
                SystemClock(),
                self.pacing,
                self.schemes,
                source_transfers=self.room,
            ),
            lambda: 0.999,
            {},
            lambda region, error: self.heard.append((region, error)),
        ).run(task, Bundle(1), self.lost)
        after = self.journal.task(task.id)
        assert after is not None
        return after

    def replica(self) -> Replica:
        found = self.journal.replica(IMAGE, "A")
        assert found is not None
        return found


@pytest.fixture
def bench(journal: Journal) -> Iterator[Bench]:
    bench = Bench(journal)
    yield bench
    for glance in bench.glances.values():
        glance.close()


def test_a_region_that_has_it_serves_it_by_the_id_it_has_there(bench: Bench) -> None:
    assert bench.run().state is TaskState.DONE
    assert bench.straight.sent == [("B", THERE, True)]
    assert (bench.replica().state, bench.replica().source) == (ReplicaState.IN_SYNC, "B")
    assert bench.replica().copying_since is None


def test_a_region_that_lost_it_is_not_served_by_itself(bench: Bench) -> None:
    bench.record(Replica(IMAGE, "A", ReplicaState.IN_SYNC, replica_id=IMAGE, made=True))
    assert bench.run().state is TaskState.DONE
    assert bench.straight.sent == [("B", THERE, True)]


def test_home_serves_if_the_other_is_left_alone(bench: Bench) -> None:
    bench.journal.update_region("B", {"maintenance": True})
    assert bench.run().state is TaskState.DONE
    assert bench.straight.sent == [(HOME, IMAGE, False)]
    assert bench.replica().source == HOME


def test_the_nearest_serves(bench: Bench) -> None:
    for name, place in (("A", "eu/fr"), (HOME, "eu/fr"), ("B", "us/ny")):
        bench.journal.update_region(name, {"labels": {"place": place}})
    bench.run()
    assert [region for region, _, _ in bench.straight.sent] == [HOME]


def test_who_is_busy_is_passed_over(bench: Bench) -> None:
    bench.occupy("B")
    bench.run()
    assert [region for region, _, _ in bench.straight.sent] == [HOME]


def test_all_busy_it_waits_at_no_cost_and_is_due_when_one_more_has_it(bench: Bench) -> None:
    bench.occupy("B", HOME)
    task = bench.run()
    assert (task.state, task.attempt) == (TaskState.WAITING, 0)
    assert f"image {IMAGE} can be copied from" in str(task.reason)
    assert bench.replica().state is ReplicaState.PENDING
    assert bench.straight.sent == []

    bench.room = 2
    assert bench.run("D").state is TaskState.DONE
    waiting = bench.journal.task(task.id)
    assert waiting is not None
    assert waiting.state is TaskState.READY


@pytest.mark.parametrize("kind", [WayBlocked, Transient, Corrupt])
def test_home_serves_if_the_other_fails(bench: Bench, kind: type[RegionError]) -> None:
    bench.straight.fails["B"] = kind("B", "its disk is broken")
    assert bench.run().state is TaskState.DONE
    assert [region for region, _, _ in bench.straight.sent] == ["B", HOME]
    assert (bench.replica().state, bench.replica().source) == (ReplicaState.IN_SYNC, HOME)
    said = [event.detail for event in bench.journal.events(IMAGE) if event.what == "blocked"]
    assert said == ["straight: its disk is broken (from B)"]
    doubted = [task for task in bench.journal.list_tasks(region="B") if task.verify]
    assert len(doubted) == (kind is Corrupt), "wrong bytes are read where they came from"


@pytest.mark.parametrize("kind", [WayBlocked, Transient])
def test_what_fails_from_home_too_is_a_failure(bench: Bench, kind: type[RegionError]) -> None:
    for name in ("B", HOME):
        bench.straight.fails[name] = kind(name, "no")
    assert bench.run().state is not TaskState.DONE
    assert [region for region, _, _ in bench.straight.sent] == ["B", HOME]
    assert bench.replica().state is ReplicaState.FAILED
    assert "no" in (bench.replica().last_error or "")
    assert "straight: no (from B)" in (bench.replica().last_error or ""), "it may be the cause"


def test_blocked_ways_do_not_say_that_the_region_is_unwell(bench: Bench) -> None:
    """Its Glance has just answered; it may even be home whose files are out of reach."""
    for name in ("B", HOME):
        bench.straight.fails[name] = WayBlocked(name, "the host does not answer")
    task = bench.run()
    assert "no transport could bring the bytes" in str(task.reason)
    assert task.attempt == 1
    assert [error for _, error in bench.heard if error] == []


def test_a_copy_that_is_broken_off_does_not_say_that_the_region_is_unwell(bench: Bench) -> None:
    """As where a node stops, and all its copies to a region end at the same moment."""
    bench.straight.fails[HOME] = Transient("A", "the transfer ended without a word about it")
    bench.journal.update_region("B", {"maintenance": True})
    bench.run()
    assert [region for region, error in bench.heard if error] == ["A"]

    bench.heard.clear()
    bench.straight.meanwhile = bench.lost.set
    bench.run()
    assert [region for region, error in bench.heard if error] == []


def test_an_import_that_failed_is_tried_from_home_and_then_not_again(bench: Bench) -> None:
    bench.straight = Straight(bench, asynchronous=True)
    tasks = [bench.run() for _ in range(3)]
    assert [region for region, _, _ in bench.straight.sent] == ["B", HOME]
    assert [task.state for task in tasks[:2]] == [TaskState.WAITING] * 2
    assert "straight: it failed there" in str(tasks[2].reason)


def test_after_a_failed_import_comes_the_next_also_if_others_were_tried_before(
    bench: Bench,
) -> None:
    """Each look costs no attempt: begun again and again, it would be tried for ever."""
    blocked, first = Straight(bench, "blocked"), Straight(bench, "first", asynchronous=True)
    for name in (HOME, "B"):
        blocked.fails[name] = WayBlocked(name, "no")
    bench.straight = Straight(bench, asynchronous=True)
    last = Straight(bench, "last")
    bench.before, bench.after = [blocked, first], [last]
    tasks = [bench.run() for _ in range(5)]
    assert [region for region, _, _ in first.sent] == ["B", HOME]
    assert [region for region, _, _ in bench.straight.sent] == ["B", HOME]
    assert [region for region, _, _ in last.sent] == ["B"]
    assert [task.state for task in tasks] == [TaskState.WAITING] * 4 + [TaskState.DONE]


def test_an_import_that_waits_for_home_takes_no_room_and_stays_with_home(bench: Bench) -> None:
    bench.straight = Straight(bench, asynchronous=True)
    bench.run()
    assert bench.replica().copying_since is not None
    bench.occupy(HOME)
    for _ in range(2):
        assert "can be copied from" in str(bench.run().reason)
        assert bench.replica().copying_since is None
    bench.room = 2
    bench.run()
    assert [region for region, _, _ in bench.straight.sent] == ["B", HOME]


def test_what_waits_for_home_after_a_failure_takes_no_room(bench: Bench) -> None:
    bench.straight.fails["B"] = WayBlocked("B", "no")
    bench.occupy(HOME)
    assert "can be copied from" in str(bench.run().reason)
    assert (bench.replica().state, bench.replica().copying_since) == (ReplicaState.PENDING, None)


def test_wrong_bytes_by_an_import_are_looked_at_where_they_came_from(bench: Bench) -> None:
    bench.straight = Straight(bench, asynchronous=True)
    bench.run()
    bench.glances["A"].add(IMAGE, os_hash_value="0" * 128)
    assert bench.run().attempt == 1
    assert bench.replica().state is ReplicaState.FAILED
    assert [task.verify for task in bench.journal.list_tasks(region="B")] == [True]

    bench.glances["A"].add(IMAGE, **QUEUED)
    bench.run()
    assert [region for region, _, _ in bench.straight.sent] == ["B", HOME]


def located(name: str) -> Callable[[str, str], Answer | None]:
    """A Glance whose one store reads from a web server."""

    def says(method: str, path: str) -> Answer | None:
        if path.endswith("/locations"):
            return 200, {}, json.dumps([{"url": f"http://{name}.example/{path}"}]).encode()
        return (404, {}, b"") if path.startswith("/v2/info") else None

    return says


def test_home_serves_if_the_others_store_has_no_room(bench: Bench) -> None:
    """It may have none for a long time, while it is itself being filled."""
    bench.straight.capabilities = Capabilities(direct=True, reads=frozenset({Http.name}))
    for name in (HOME, "B"):
        bench.glances[name].says = located(name)
    bench.schemes = {name: [Http(netloc=f"{name}.example", max_parallel=1)] for name in (HOME, "B")}
    uses = [StoreUse(f"{name} http", None, 1) for name in ("B", HOME)]
    with bench.pacing.flow("another", "upload", [], uses):
        assert bench.run().state is TaskState.WAITING
        assert (bench.replica().state, bench.replica().source) == (ReplicaState.PENDING, HOME)
    with bench.pacing.flow("another", "upload", [], uses[:1]):
        assert bench.run().state is TaskState.DONE
    assert [region for region, _, _ in bench.straight.sent] == [HOME]


def test_an_import_is_not_taken_for_stuck_as_it_had_to_wait_for_room(bench: Bench) -> None:
    bench.straight = Straight(bench, asynchronous=True)
    bench.occupy("B", HOME)
    task = bench.run()
    bench.time_passes(task, Settings.stuck + 1)
    bench.room = 2
    assert "imports it" in str(bench.run().reason)
    bench.glances["A"].images[IMAGE]["status"] = "importing"
    assert "is importing" in str(bench.run().reason)
    assert bench.glances["A"].deleted == []


def test_an_import_that_is_stuck_is_begun_again_from_home(bench: Bench) -> None:
    glance = bench.glances["A"]

    def says(method: str, path: str) -> Answer | None:
        if method != "POST":
            return None
        glance.add(IMAGE, **QUEUED)
        return 201, {}, json.dumps(glance.images[IMAGE]).encode()

    glance.says = says
    bench.straight = Straight(bench, asynchronous=True)
    task = bench.run()
    glance.images[IMAGE]["status"] = "importing"
    bench.time_passes(task, Settings.stuck + 1)
    bench.run()
    assert glance.deleted == [IMAGE]
    assert [region for region, _, _ in bench.straight.sent] == ["B", HOME]
