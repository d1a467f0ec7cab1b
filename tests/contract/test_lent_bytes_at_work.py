# SPDX-License-Identifier: Apache-2.0
"""Tasks of home images whose bytes another region lends: what they wait for, and whom they ask."""

import concurrent.futures
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from glancesync.breaker import Breaker
from glancesync.bundle import Bundle
from glancesync.destinations import Destinations
from glancesync.errors import RegionError, Transient
from glancesync.executor import Executor
from glancesync.interfaces import Ask, Changes, ImageService
from glancesync.journal import queue, schema
from glancesync.journal.journal import Journal
from glancesync.model import Done, Hint, Priority, Replica, Task
from glancesync.pacing import Limits, Pacing
from glancesync.placement.strategies import STRATEGIES
from glancesync.reconciler import AuditSettings, Reconciler
from glancesync.recording import Settings
from glancesync.retry import RetryPolicy
from glancesync.snapshots import Patience
from glancesync.states import ReplicaState, TaskKind, TaskState
from glancesync.transports.reading import Reading
from glancesync.transports.settings import TransferSettings
from glancesync.wiring import SystemClock
from tests.contract.listing_glance import ListingGlance, listed

IMAGE = "11111111-2222-3333-4444-555555555555"
SNAPSHOT = "66666666-7777-8888-9999-000000000000"
HOME, LENDS = "E", "A"  # of the journal fixture, as are B to D
NO_BYTES = {"size": None, "checksum": None, "os_hash_algo": None, "os_hash_value": None}
PATIENCE = Patience(timeout=300, interval=10)


class Works:
    """Home, one region that lends, and the tasks of images."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.home = HOME
        self.glances = {name: ListingGlance(name) for name in (HOME, LENDS)}
        self.heard: list[tuple[str, RegionError | None]] = []

    def __call__(self, region: str) -> ImageService:
        return self.glances[region].service

    def born(self, status: str = "active", **fields: Any) -> None:
        """The region has the image that lends."""
        none = {} if status == "active" else NO_BYTES
        self.glances[LENDS].images[SNAPSHOT] = listed(SNAPSHOT, status=status, **none, **fields)

    def change(self, **fields: Any) -> Task:
        """A user changes the home image; its task when it has run."""
        usual = {"image_from": "snapshot", "image_location": f"http://{LENDS}/v2/images/{SNAPSHOT}"}
        fields = {**NO_BYTES, **usual, **fields}
        self.glances[HOME].images[IMAGE] = listed(IMAGE, status="queued", **fields)
        self.journal.hint([Hint(IMAGE)])
        return self.work()

    def work(self, region: str = "") -> Task:
        return self.run(self.executor(), self.claim(region))

    def claim(self, region: str = "") -> Task:
        (task,) = self.journal.claim("me", lease=60, limit=1, regions={region})
        return task

    def run(self, executor: Executor, task: Task) -> Task:
        executor.run(task, Bundle(1), threading.Event())
        after = self.journal.task(task.id)
        assert after is not None
        return after

    def executor(self) -> Executor:
        return Executor(
            self.journal,
            self.journal,
            self,
            RetryPolicy(),
            Settings(
                Destinations(STRATEGIES["ALL"], self.journal),
                [],
                Reading(TransferSettings()),
                SystemClock(),
                Pacing(self.journal.regions, lambda: 1, SystemClock(), lambda: 0, Limits()),
                snapshots=PATIENCE,
            ),
            lambda: 0.5,
            {},
            lambda region, error: self.heard.append((region, error)),
        )

    def audit(self) -> None:
        """Home is audited."""
        with self.journal.database.write() as connection:
            queue.open_always(connection, [TaskKind.AUDIT], [HOME])
            queue.make_due(connection, TaskKind.AUDIT, [HOME])
        (task,) = self.journal.claim("me", lease=60, limit=1, regions={HOME})
        destinations = Destinations(STRATEGIES["ALL"], self.journal)
        parts = (self.journal, self.journal, self.journal, self, destinations, AuditSettings())
        reconciler = Reconciler(*parts, lambda: 0.5, lambda region, error: None)
        changes, outcome = reconciler.audit(task, threading.Event())
        self.journal.commit(task, changes, outcome)

    def asked(self) -> set[str]:
        """Where replicas of it are asked for; "": it is to be looked at itself."""
        return {task.region for task in self.journal.list_tasks(image_id=IMAGE)}

    def done(self, *regions: str) -> None:
        """The replicas in these regions are made."""
        for _ in regions:
            (task,) = self.journal.claim("me", lease=60, limit=1, regions=set(regions))
            made = Replica(IMAGE, task.region, ReplicaState.IN_SYNC, IMAGE, made=True)
            made = dataclasses.replace(made, observed_generation=1)
            self.journal.commit(task, Changes(replica=made), Done("made"))

    def last_error(self) -> str | None:
        record = self.journal.image(IMAGE)
        assert record is not None
        return record.last_error

    def age(self, seconds: float) -> None:
        """So much time passes since the image was found changed."""
        i = schema.image
        with self.journal.database.write() as connection:
            connection.execute(sa.update(i).values(changed_at=i.c.changed_at - seconds))


@pytest.fixture
def works(journal: Journal) -> Iterator[Works]:
    works = Works(journal)
    yield works
    for glance in works.glances.values():
        glance.close()


def test_it_is_put_off_until_there_are_bytes_and_goes_where_they_are_not(works: Works) -> None:
    works.born("saving")
    task = works.change()
    assert (task.state, task.attempt) == (TaskState.WAITING, 0)
    assert task.reason == f"A: image {SNAPSHOT} is saving"
    assert task.due_at - task.updated_at == pytest.approx(PATIENCE.interval, abs=1)
    assert works.asked() == {""}
    works.born()
    works.journal.hint([Hint(IMAGE)])
    assert works.work().state is TaskState.DONE
    assert works.asked() == {"B", "C", "D"}
    record = works.journal.image(IMAGE)
    assert record is not None
    assert (record.generation, record.status, record.size) == (1, "active", 100)


def test_the_time_counts_from_when_it_was_last_changed(works: Works) -> None:
    works.glances[HOME].images[IMAGE] = listed(IMAGE, status="queued", **NO_BYTES)
    works.journal.hint([Hint(IMAGE)])
    works.work()
    works.age(10_000)
    works.born("queued")
    assert works.change().state is TaskState.WAITING, "it only now points there"
    works.age(PATIENCE.timeout - 100)
    works.journal.hint([Hint(IMAGE)])
    assert works.work().state is TaskState.WAITING
    works.age(100)
    works.journal.hint([Hint(IMAGE)])
    assert works.work().state is TaskState.FAILED
    said = f"A: image {SNAPSHOT} is queued after 300 s still (snapshot_timeout)"
    assert works.last_error() == f"image_location: {said}"
    works.age(-1000)  # a clock was put back
    works.journal.hint([Hint(IMAGE)])
    assert works.work().state is TaskState.WAITING
    assert works.last_error() is None


def test_one_that_was_killed_never_gets_any(works: Works) -> None:
    works.born("killed")
    assert works.change().state is TaskState.FAILED
    assert works.last_error() == f"image_location: A: image {SNAPSHOT} is killed: " + (
        "its bytes can't be had"
    )


@pytest.mark.parametrize("how", ["broken", "broken before", "closed"])
def test_a_region_that_takes_no_work_is_not_asked(works: Works, how: str) -> None:
    """Its silence would hold up home's tasks (P8), and a failure would count against it."""
    works.born()
    if how == "closed":
        works.journal.update_region(LENDS, {"enabled": False})
    else:
        breaker = Breaker(threshold=1, pause=1000 if how == "broken" else 0.001)
        works.journal.note_region(LENDS, Transient(LENDS, "silence"), breaker=breaker)
    task = works.change()
    assert (task.state, task.attempt) == (TaskState.WAITING, 1)
    assert works.glances[LENDS].asked == []
    assert [region for region, _ in works.heard] == [HOME]
    assert works.last_error() == (
        f"image_location: A: takes no work, and its image {SNAPSHOT} has the bytes"
    )


def test_a_region_that_is_slow_holds_up_no_more_than_half_of_homes_tasks(works: Works) -> None:
    works.born()
    works.change()
    go_on = threading.Event()

    def slow(method: str, path: str) -> None:
        if "/images/" in path and "members" not in path:
            go_on.wait(30)

    works.glances[LENDS].says = slow
    works.glances[LENDS].asked.clear()
    lent = [IMAGE[:-1] + str(number) for number in range(7)]
    for image in lent:
        works.glances[HOME].images[image] = {**works.glances[HOME].images[IMAGE], "id": image}
    works.journal.hint([Hint(image) for image in lent])
    tasks = [works.claim() for _ in lent]
    executor = works.executor()
    with concurrent.futures.ThreadPoolExecutor(len(tasks)) as pool:
        runs = [pool.submit(works.run, executor, task) for task in tasks]
        done, hanging = concurrent.futures.wait(runs, timeout=10)
        assert (len(done), len(hanging)) == (3, 4)
        for run in done:
            task = run.result()
            assert (task.state, task.attempt) == (TaskState.WAITING, 0)
            assert task.reason == "A: is slow to answer others that have asked for what it lends"
            assert task.due_at - task.updated_at == pytest.approx(PATIENCE.interval, abs=1)
        go_on.set()
    assert {run.result().state for run in hanging} == {TaskState.DONE}
    works.glances[HOME].images[lent[0]]["min_ram"] = 3
    works.journal.hint([Hint(lent[0])])
    assert works.run(executor, works.claim()).state is TaskState.DONE, "it is its turn again"


def test_a_region_that_fails_is_heard_of(works: Works) -> None:
    works.glances[LENDS].says = lambda method, path: (500, {}, b"")
    assert works.change().state is TaskState.WAITING
    region, error = works.heard[-1]
    assert (region, isinstance(error, Transient)) == (LENDS, True)


def test_what_is_there_stays_as_it_is_meanwhile(works: Works) -> None:
    works.born()
    works.change()
    works.done("B", "C", "D")
    works.born("deactivated")
    works.change(min_ram=5)
    assert works.asked() == {""}
    works.journal.ask([Ask(TaskKind.REPLICA, IMAGE, "B", priority=Priority.USER)], "test")
    works.glances["B"] = ListingGlance("B")
    task = works.work("B")
    assert task.state is TaskState.FAILED
    assert works.glances["B"].asked == []
    replica = works.journal.replica(IMAGE, "B")
    assert replica is not None
    assert replica.state is ReplicaState.STALLED
    works.born("saving")
    works.journal.ask([Ask(TaskKind.REPLICA, IMAGE, "B", priority=Priority.USER)], "test")
    task = works.work("B")
    assert (task.state, task.reason) == (TaskState.WAITING, f"A: image {SNAPSHOT} is saving")
    replica = works.journal.replica(IMAGE, "B")
    assert replica is not None
    assert replica.state is ReplicaState.PENDING
    assert works.glances["B"].asked == []


def test_an_audit_of_home_asks_no_other_region(works: Works) -> None:
    works.born()
    works.change()
    works.glances[LENDS].asked.clear()
    works.audit()
    assert works.asked() == {"B", "C", "D"}
    works.done("B", "C")
    (task,) = works.journal.claim("me", lease=60, limit=1, regions={"D"})
    works.journal.commit(task, Changes(), Done("nothing was done"))
    works.audit()
    assert works.asked() == {""}, "it is not in D, and goes there"
    works.work()
    works.done("D")
    works.glances[LENDS].asked.clear()
    works.audit()
    assert works.asked() == set()
    assert works.glances[LENDS].asked == []


def test_an_audit_has_it_looked_at_when_what_it_points_at_becomes_a_region(works: Works) -> None:
    works.born()
    task = works.change(image_location=f"http://F/v2/images/{SNAPSHOT}")
    said = "image_location: 'http://f:80' is the image endpoint of none of our regions"
    assert (task.state, task.reason, works.last_error()) == (TaskState.DONE, said, said)
    works.audit()
    assert works.asked() == set()
    works.glances["F"] = works.glances[LENDS]
    works.journal.discovered({"F": "http://f/v2/", HOME: f"http://{HOME}"}, HOME, first=True)
    works.audit()
    assert works.asked() == {""}
