# SPDX-License-Identifier: Apache-2.0
"""Jobs, from what was asked for to its end: a real journal and executor, regions of every kind."""

import dataclasses
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from glancesync.bundle import Bundle
from glancesync.destinations import Destinations
from glancesync.errors import BadRequest, LeaseLost, Transient
from glancesync.executor import Executor, Flow
from glancesync.home import observed
from glancesync.interfaces import Ask, Changes, ImageService
from glancesync.jobs import Jobbing
from glancesync.journal import schema
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Done, ImageRecord, Outcome, Priority, Replica, Retry, Task
from glancesync.orders import ItemView, Job, Wish
from glancesync.pacing import Limits, Pacing
from glancesync.placement.strategies import STRATEGIES
from glancesync.recording import Settings
from glancesync.retry import RetryPolicy
from glancesync.states import ItemState, JobState, ReplicaState, TaskKind
from glancesync.transports.reading import Reading
from glancesync.transports.settings import TransferSettings
from glancesync.wiring import SystemClock
from tests.contract.listing_glance import ListingGlance
from tests.journals import record as record_regions

pytestmark = pytest.mark.matrix(database_kind=["mariadb"])

HOME, NEAR, FAR = "A", "B", "C"
OURS, THEIRS = "our project", "their project"
USER = Actor("user", OURS)
TOLD = "sha512 of something else"


def image_id(number: int) -> str:
    return f"{number:08x}-0000-0000-0000-000000000000"


class Estate:
    """Home and two regions; synchronization goes nowhere but where somebody wants an image."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.glances = {name: ListingGlance(name, page=3) for name in (HOME, NEAR, FAR)}
        self.home = HOME
        self.fresh = (image_id(number) for number in itertools.count(0xF0000000))
        nowhere = dataclasses.replace(STRATEGIES["None"], name="by name", active=True)
        self.settings = Settings(
            Destinations(nowhere, journal),
            [],
            Reading(TransferSettings()),
            SystemClock(),
            Pacing(journal.regions, lambda: 1, SystemClock(), lambda: 0, Limits()),
        )
        for name in ("D", "E"):
            journal.update_region(name, {"enabled": False})
        record_regions(journal, HOME, NEAR, FAR)

    def __call__(self, region: str) -> ImageService:
        if region not in self.glances:
            raise Transient(region, "the Keystone catalog lists no image endpoint for it")
        return self.glances[region].service

    def close(self) -> None:
        for glance in self.glances.values():
            glance.close()

    def add(self, number: int, *regions: str, **fields: Any) -> str:
        for region in regions or (HOME,):
            self.glances[region].add(image_id(number), **fields)
        return image_id(number)

    # -- jobs -------------------------------------------------------------------------------------

    def ask(
        self, *resources: str, source: str = HOME, to: tuple[str, ...] = (NEAR,), **more: Any
    ) -> int:
        """A job of an admin, unless a project is given; nothing is done about it yet."""
        project, most = more.pop("project", None), more.pop("most", None)
        return self.journal.jobs.create(
            [Wish(source, to, resources, **more)],
            USER,
            project_id=project or OURS,
            everything=project is None,
            most=most,
        ).id

    def job(self, job_id: int) -> Job:
        job = self.journal.jobs.get(job_id)
        assert job is not None
        return job

    def items(self, job_id: int) -> list[ItemView]:
        return self.journal.jobs.items(job_id, state=None, limit=10000, marker=None)

    def states(self, job_id: int) -> list[tuple[str, str, ItemState]]:
        return [(one.item.resource, one.item.region, one.state) for one in self.items(job_id)]

    def state(self, job_id: int) -> JobState:
        (found,) = [
            state
            for state in JobState
            if job_id
            in {
                one.id
                for one in self.journal.jobs.every(
                    project_id=None, state=state, limit=100, marker=None
                )
            }
        ]
        return found

    def pins(self, *ids: str) -> set[tuple[str, str, str]]:
        return {(one.image_id, one.region, one.cause) for one in self.journal.pins(ids)}

    # -- work -------------------------------------------------------------------------------------

    def claim(self, *regions: str) -> list[Task]:
        return self.journal.claim("test", lease=60, limit=8, regions=set(regions))

    def run(self, task: Task, lost: threading.Event | None = None) -> None:
        jobbing = Jobbing(self.journal.jobs, self.journal, self, lambda: next(self.fresh))
        Executor(
            self.journal,
            self.journal,
            self,
            RetryPolicy(fast_attempts=1),
            self.settings,
            lambda: 0.5,
            {TaskKind.JOB: Flow(jobbing.run)},
            lambda region, error: None,
        ).run(task, Bundle(1), lost or threading.Event())

    def look_up(self) -> None:
        """Run what is no replica's task."""
        while tasks := self.claim(""):
            for task in tasks:
                self.run(task)

    def work(self) -> None:
        """Run every task that is due."""
        while tasks := self.claim("", *self.glances):
            for task in tasks:
                self.run(task)

    def end(
        self,
        one: str,
        region: str,
        state: ReplicaState | None,
        outcome: Outcome,
        before: ReplicaState | None = None,
    ) -> None:
        """A replica's task ends so; ``before`` is what it was while it ran."""
        if not (tasks := self.claim(region)):
            self.journal.ask([Ask(TaskKind.REPLICA, one, region, urgent=True)], "test")
            tasks = self.claim(region)
        (task,) = tasks
        assert task.image_id == one, "another task was due first"
        replica = Replica(one, region, replica_id=one, made=True)
        if before is not None:
            went = dataclasses.replace(replica, state=before, bytes_done=7, bytes_total=100)
            self.journal.commit(task, Changes(replica=went))
        ended = None if state is None else dataclasses.replace(replica, state=state)
        self.journal.commit(task, Changes(replica=ended), outcome)

    def copied(self, one: str, region: str) -> None:
        self.end(one, region, ReplicaState.IN_SYNC, Done("copied"), ReplicaState.COPYING)

    def known(self, number: int, **fields: Any) -> str:
        """Have it on record as an image of home."""
        one = image_id(number)
        self.journal.ask([Ask(TaskKind.IMAGE, one, urgent=True)], "test")
        (task,) = self.claim("")
        found = self(HOME).get(one)
        assert found is not None
        record = dataclasses.replace(observed(one, found, None), **fields)
        self.journal.commit(task, Changes(image=record), Done("known"))
        return one

    def record(self, one: str) -> ImageRecord:
        record = self.journal.image(one)
        assert record is not None
        return record


@pytest.fixture
def estate(journal: Journal) -> Iterator[Estate]:
    estate = Estate(journal)
    yield estate
    estate.close()


# -- what is asked for ----------------------------------------------------------------------------


def test_images_are_wanted_where_a_job_says_and_nowhere_else(estate: Estate) -> None:
    one, two = estate.add(1), estate.add(2, name="by name")
    number = estate.ask(one.upper(), "by name", to=(NEAR, FAR))
    assert estate.state(number) is JobState.ACTIVE, "before anything was looked up"
    estate.look_up()
    assert estate.states(number) == [
        (resource, region, ItemState.PENDING)
        for resource in (one.upper(), "by name")
        for region in (NEAR, FAR)
    ]
    cause = f"job {number}"
    assert estate.pins(one, two) == {(i, r, cause) for i in (one, two) for r in (NEAR, FAR)}
    asked = {(task.image_id, task.region): task for task in estate.journal.list_tasks()}
    assert asked.keys() == {(i, r) for i in (one, two) for r in (NEAR, FAR)}
    assert {task.priority for task in asked.values()} == {Priority.USER}
    assert {task.actor for task in asked.values()} == {USER}
    assert estate.record(two).origin is None


def test_a_job_is_as_far_as_its_items_at_every_moment(estate: Estate) -> None:
    one, two = estate.add(1), estate.add(2)
    number = estate.ask(one, two)
    estate.look_up()
    estate.copied(one, NEAR)
    assert estate.state(number) is JobState.ACTIVE, "one of two has ended"
    tally = estate.journal.jobs.tallies([number])[number]
    assert tally.states == {ItemState.DONE: 1, ItemState.PENDING: 1}
    assert estate.journal.jobs.bytes(number) == (100, 200)

    (task,) = estate.claim(NEAR)
    copying = Replica(two, NEAR, ReplicaState.COPYING, two, made=True, bytes_done=7)
    estate.journal.commit(task, Changes(replica=copying))
    assert [item.state for item in estate.items(number)] == [ItemState.DONE, ItemState.COPYING]
    assert estate.journal.jobs.bytes(number) == (107, 200)
    estate.journal.commit(
        task,
        Changes(replica=dataclasses.replace(copying, state=ReplicaState.STALLED)),
        Retry(60, "B: policy says no", failed=True),
    )
    assert estate.state(number) is JobState.FAILED
    assert estate.items(number)[1].item.result == "B: policy says no"

    estate.end(two, NEAR, ReplicaState.IN_SYNC, Done("patch name"))  # it was tried again
    assert estate.state(number) is JobState.DONE
    estate.end(two, NEAR, ReplicaState.STALLED, Retry(60, "drifted", failed=True))
    assert estate.state(number) is JobState.DONE, "what happens later is another matter"
    ended = estate.journal.jobs.tallies([number])[number].ended_at
    assert ended is not None


def test_what_is_there_already_is_not_copied_and_said_to_be_so(estate: Estate) -> None:
    same, lacking = estate.add(1, HOME, NEAR), estate.add(2, HOME)
    drifted = estate.add(3, HOME, NEAR)
    estate.glances[NEAR].images[drifted] |= {"name": "drifted"}
    clash = estate.add(4, HOME, NEAR)
    estate.glances[NEAR].images[clash] |= {"os_hash_value": TOLD}
    number = estate.ask(same, drifted, clash)
    estate.work()
    assert [state for _, _, state in estate.states(number)] == [
        ItemState.IN_SYNC,
        ItemState.DONE,
        ItemState.CONFLICT,
    ]
    said = [one.item.result for one in estate.items(number)]
    assert said[:2] == ["nothing to do", "patch name"]
    assert "was not made by glancesync and its bytes differ" in str(said[2])
    assert estate.state(number) is JobState.FAILED
    assert estate.glances[NEAR].images[drifted]["name"] == "image 0000"
    assert lacking not in estate.glances[NEAR].images


def test_a_task_that_ran_before_the_job_asked_does_not_end_its_item(estate: Estate) -> None:
    one = estate.known(estate.add(1) and 1)
    estate.journal.ask([Ask(TaskKind.REPLICA, one, NEAR)], "test")
    (task,) = estate.claim(NEAR)
    number = estate.ask(one)
    estate.look_up()
    replica = Replica(one, NEAR, ReplicaState.IN_SYNC, replica_id=one, made=True)
    estate.journal.commit(task, Changes(replica=replica), Done("nothing to do"))
    assert estate.state(number) is JobState.ACTIVE, "that was looked at before"
    estate.end(one, NEAR, ReplicaState.IN_SYNC, Done("nothing to do"))
    assert [state for _, _, state in estate.states(number)] == [ItemState.IN_SYNC]


def test_many_images_are_written_some_at_a_time_and_gone_on_with_after_a_crash(
    estate: Estate,
) -> None:
    numbers = [estate.add(number) for number in range(1, 251)]
    number = estate.ask(*numbers, to=(NEAR, FAR))
    (task,) = estate.claim("")

    class Later(threading.Event):
        looks = 0

        def is_set(self) -> bool:
            self.looks += 1
            return self.looks > 2

    estate.run(task, Later())
    assert estate.job(number).position == 100, "two looks of fifty"
    assert len(estate.items(number)) == 200
    assert estate.state(number) is JobState.ACTIVE
    estate.journal.release([task])
    estate.look_up()
    found = estate.items(number)
    assert [one.item.number for one in found] == list(range(1, 501))
    assert [one.item.image_id for one in found] == [i for i in numbers for _ in range(2)]
    priorities = {one.priority for one in estate.journal.list_tasks(limit=1000)}
    assert priorities == {Priority.PLAN}, "what users change meanwhile goes first"
    page = estate.journal.jobs.items(number, state=None, limit=3, marker=7)
    assert [one.item.number for one in page] == [8, 9, 10]


def test_a_source_that_does_not_answer_is_asked_again(estate: Estate) -> None:
    one = estate.add(1)
    estate.glances[HOME].says = lambda method, path: (503, {}, b"")
    number = estate.ask(one)
    estate.look_up()
    assert estate.state(number) is JobState.ACTIVE
    assert "503" in str(estate.job(number).reason)
    estate.glances[HOME].says = lambda method, path: None
    (task,) = estate.journal.list_tasks(kinds=[TaskKind.JOB])
    estate.journal.retry_task(task.id, USER)
    estate.look_up()
    assert estate.states(number) == [(one, NEAR, ItemState.PENDING)]


def test_no_image_is_said_to_be_missing_while_it_may_be_hidden_from_us(estate: Estate) -> None:
    one = estate.add(1, visibility="private")
    estate.glances[HOME].admin = False
    number = estate.ask(one)
    estate.look_up()
    assert estate.items(number) == []
    assert "does not treat us as an admin" in str(estate.job(number).reason)


# -- what can't be done ---------------------------------------------------------------------------


def test_what_is_missing_or_means_several_is_refused_item_by_item(estate: Estate) -> None:
    one = estate.add(1)
    twins = [estate.add(number, name="twin") for number in (2, 3)]
    queued = estate.add(4, status="queued", size=None)
    nothing = image_id(9)
    number = estate.ask(nothing, "twin", "in:nowhere", queued, one)
    estate.look_up()
    told = {one.item.resource: (one.state, one.item.result) for one in estate.items(number)}
    assert told == {
        nothing: (ItemState.REFUSED, f"A has no image {nothing}"),
        "twin": (ItemState.REFUSED, f"2 images of A are called 'twin': {', '.join(twins)}"),
        "in:nowhere": (ItemState.REFUSED, "A has no image called 'in:nowhere'"),
        queued: (ItemState.REFUSED, "it is queued in A: there is nothing to copy"),
        one: (ItemState.PENDING, None),
    }
    assert {region for _, region, _ in estate.pins(one, *twins, queued)} == {NEAR}
    assert [task.image_id for task in estate.journal.list_tasks()] == [one]


@pytest.mark.parametrize(
    ("fields", "members", "seen"),
    [
        ({"visibility": "private", "owner": OURS}, {}, True),
        ({"visibility": "private", "owner": THEIRS}, {}, False),
        ({"visibility": "public", "owner": THEIRS}, {}, True),
        ({"visibility": "community", "owner": THEIRS}, {}, True),
        ({"visibility": "shared", "owner": OURS}, {}, True),
        ({"visibility": "shared", "owner": THEIRS}, {OURS: "accepted"}, True),
        ({"visibility": "shared", "owner": THEIRS}, {OURS: "pending"}, False),
        ({"visibility": "shared", "owner": THEIRS}, {"a third": "accepted"}, False),
    ],
)
def test_members_have_copied_what_they_may_see(
    estate: Estate, fields: dict[str, str], members: dict[str, str], seen: bool
) -> None:
    one = estate.add(1, name="it", **fields)
    estate.glances[HOME].members[one] = members
    numbers = [estate.ask(what, project=OURS) for what in (one, "it")]
    numbers.append(estate.ask(one))  # an admin sees them all
    estate.look_up()
    by_id, by_name, by_admin = [estate.items(number)[0] for number in numbers]
    told = ItemState.PENDING if seen else ItemState.REFUSED
    assert (by_id.state, by_name.state) == (told, told)
    assert by_admin.state is ItemState.PENDING
    if not seen:
        assert by_id.item.result == f"A has no image {one}", "as if it were not there"
        assert by_name.item.result == "A has no image called 'it'"


def test_only_who_it_belongs_to_has_an_image_doubled_or_promoted(estate: Estate) -> None:
    for number, owner in ((1, OURS), (2, THEIRS)):
        estate.add(number, NEAR, visibility="public", owner=owner)
    resources = (image_id(1), image_id(2))
    forced = estate.ask(*resources, source=NEAR, to=(FAR,), force=True, project=OURS)
    promoted = estate.ask(*resources, source=NEAR, to=(HOME,), project=OURS)
    estate.look_up()
    for number in (forced, promoted):
        told = {one.item.resource: one.state for one in estate.items(number)}
        assert told == {resources[0]: ItemState.PENDING, resources[1]: ItemState.REFUSED}


# -- which image it is ----------------------------------------------------------------------------


def test_an_image_of_another_region_comes_from_there_under_its_id(estate: Estate) -> None:
    one = estate.add(1, NEAR)
    number = estate.ask(one, source=NEAR, to=(FAR, HOME))
    estate.look_up()
    record = estate.record(one)
    assert (record.origin, record.origin_id, record.present) == (NEAR, one, True)
    assert {item.item.image_id for item in estate.items(number)} == {one}
    generation = record.generation

    estate.add(1, NEAR, name="renamed since")
    again = estate.ask(one, source=NEAR, to=(FAR,))
    estate.look_up()
    record = estate.record(one)
    assert (record.origin, record.generation) == (NEAR, generation + 1)
    assert estate.states(again) == [(one, FAR, ItemState.PENDING)]


def test_a_replica_of_homes_image_is_that_image(estate: Estate) -> None:
    one = estate.known(estate.add(1) and 1)
    there = estate.add(2, NEAR, name="under another id")
    estate.journal.ask([Ask(TaskKind.REPLICA, one, NEAR)], "test")
    (task,) = estate.claim(NEAR)
    replica = Replica(one, NEAR, ReplicaState.IN_SYNC, replica_id=there, made=True)
    estate.journal.commit(task, Changes(replica=replica), Done("in sync"))

    number = estate.ask(there, source=NEAR, to=(FAR, HOME))
    estate.look_up()
    far, home = estate.items(number)
    assert (far.item.image_id, far.state) == (one, ItemState.PENDING)
    assert (home.item.image_id, home.state) == (one, ItemState.IN_SYNC)
    assert home.item.result == f"it is what image {one} is copied from"
    assert estate.journal.image(there) is None
    assert estate.pins(one) == {(one, FAR, f"job {number}")}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("differs", [False, True])
def test_the_id_of_one_of_homes_images_is_taken_for_it_by_its_bytes_alone(
    estate: Estate, differs: bool, known: bool
) -> None:
    """Also while glance-sync has not heard of home's yet."""
    one = estate.add(1, HOME, NEAR)
    if known:
        estate.known(1)
    if differs:
        estate.glances[NEAR].images[one] |= {"os_hash_value": TOLD}
    number = estate.ask(one, source=NEAR, to=(FAR,))
    estate.look_up()
    (item,) = estate.items(number)
    assert not estate.journal.image(one) or estate.record(one).origin is None
    if differs:
        assert item.state is ItemState.CONFLICT
        assert "image" in str(item.item.result)
        assert "of A has the same id and other bytes" in str(item.item.result)
        assert estate.pins(one) == set()
    else:
        assert (item.state, item.item.image_id) == (ItemState.PENDING, one)


def test_by_force_it_is_another_image_each_time(estate: Estate) -> None:
    one = estate.known(estate.add(1) and 1)
    numbers = [estate.ask(one, to=(NEAR, FAR), force=True) for _ in range(2)]
    estate.look_up()
    ids = [{item.item.image_id for item in estate.items(number)} for number in numbers]
    (first,), (second,) = ids
    assert len({first, second, one}) == 3
    for new in (first, second):
        assert new is not None
        record = estate.record(new)
        assert (record.origin, record.origin_id) == (HOME, one)
    assert estate.record(one).origin is None
    assert estate.pins(one) == set()


def test_an_original_that_is_gone_fails_what_was_to_be_copied_from_it(estate: Estate) -> None:
    one = estate.add(1)
    other = estate.add(2, NEAR)
    forced = estate.ask(one, to=(FAR,), force=True)
    foreign = estate.ask(other, source=NEAR, to=(FAR,))
    estate.look_up()
    del estate.glances[HOME].images[one], estate.glances[NEAR].images[other]
    estate.work()
    for number, region, gone in ((forced, HOME, one), (foreign, NEAR, other)):
        (item,) = estate.items(number)
        assert item.state is ItemState.FAILED
        assert item.item.result == f"{region}: no longer has image {gone}"


def test_an_image_of_homes_that_is_deleted_meanwhile_ends_its_items(estate: Estate) -> None:
    one = estate.add(1)
    number = estate.ask(one, to=(NEAR, FAR))
    estate.look_up()
    del estate.glances[HOME].images[one]
    estate.work()
    assert estate.state(number) is JobState.FAILED
    assert {item.item.result for item in estate.items(number)} == {
        "the replica is deleted: nothing to do"
    }


# -- to home --------------------------------------------------------------------------------------


def test_an_image_that_home_has_is_one_of_homes(estate: Estate) -> None:
    one = estate.add(1, NEAR)
    number = estate.ask(one, source=NEAR, to=(HOME, FAR))
    estate.look_up()
    assert estate.record(one).origin == NEAR
    estate.add(1, HOME, FAR)  # as if they were copied
    estate.work()
    assert estate.state(number) is JobState.DONE
    record = estate.record(one)
    assert (record.origin, record.origin_id) == (None, None)
    assert {one.region for one in estate.journal.replicas_of(one)} == {FAR}
    assert [one.region for one in estate.journal.pins([one])] == [FAR]


def test_what_was_read_before_a_promotion_does_not_take_it_back(estate: Estate) -> None:
    """Home's hook says that there is a new image while it is still being promoted."""
    one = estate.add(1, NEAR)
    number = estate.ask(one, source=NEAR, to=(HOME,))
    estate.look_up()
    estate.add(1, HOME)  # as if it was copied
    before = estate.record(one)
    estate.journal.ask([Ask(TaskKind.IMAGE, one)], "test")
    (of_hint,) = estate.claim("")
    (task,) = estate.claim(HOME)
    estate.journal.ask([Ask(TaskKind.REPLICA, one, HOME)], "test")
    estate.run(task)
    assert estate.state(number) is JobState.DONE
    late = Changes(image=before, pending=(HOME,), asks=(Ask(TaskKind.REPLICA, one, HOME),))
    estate.journal.commit(of_hint, late, Done("1 replica to bring up to date"))
    estate.work()
    assert estate.record(one).origin is None
    assert estate.journal.replicas_of(one) == [], "home is no replica of itself"
    assert estate.state(number) is JobState.DONE
    assert estate.journal.list_tasks() == []


def test_home_that_took_another_id_has_another_image(estate: Estate) -> None:
    one, new = estate.add(1, NEAR), image_id(2)
    estate.add(2, HOME)
    estate.glances[HOME].images[new] |= {
        name: estate.glances[NEAR].images[one][name]
        for name in ("os_hash_value", "checksum", "name")
    }
    number = estate.ask(one, source=NEAR, to=(HOME,))
    estate.look_up()
    (task,) = estate.claim(HOME)
    replica = Replica(one, HOME, ReplicaState.PENDING, replica_id=new, made=True)
    estate.journal.commit(task, Changes(replica=replica))
    estate.run(task)
    assert estate.state(number) is JobState.DONE
    assert estate.record(one).origin == NEAR, "there is no image of that id at home"
    assert estate.journal.holder(HOME, new) == one


# -- kernels and ramdisks -------------------------------------------------------------------------


def ami(
    estate: Estate, *regions: str, kernel: str = "aki", ramdisk: str = "ari", **more: Any
) -> str:
    estate.add(1, *regions, container_format=kernel, disk_format=kernel, owner=OURS)
    estate.add(2, *regions, container_format=ramdisk, disk_format=ramdisk, owner=OURS)
    fields = {"kernel_id": image_id(1), "ramdisk_id": image_id(2), "owner": OURS, **more}
    return estate.add(3, *regions, container_format="ami", disk_format="ami", **fields)


def test_kernel_and_ramdisk_come_first_each_region_for_itself(estate: Estate) -> None:
    one = ami(estate)
    number = estate.ask(one, to=(NEAR, FAR))
    estate.look_up()
    kernel, ramdisk = image_id(1), image_id(2)
    asked_for, waits_for = ItemState.PENDING, ItemState.WAITING
    assert estate.states(number) == [
        (what, region, waits_for if what == one else asked_for)
        for what in (kernel, ramdisk, one)
        for region in (NEAR, FAR)
    ]
    asked = {(task.image_id, task.region) for task in estate.journal.list_tasks()}
    assert asked == {(part, region) for part in (kernel, ramdisk) for region in (NEAR, FAR)}
    estate.copied(kernel, NEAR)
    estate.look_up()
    assert estate.states(number)[-2:] == [(one, NEAR, waits_for), (one, FAR, waits_for)]
    estate.copied(ramdisk, NEAR)
    estate.look_up()
    assert estate.states(number)[-2:] == [(one, NEAR, asked_for), (one, FAR, waits_for)]
    assert estate.state(number) is JobState.ACTIVE

    estate.end(kernel, FAR, ReplicaState.STALLED, Retry(0.001, "C: no", failed=True))
    estate.look_up()
    waits = estate.items(number)[-1]
    assert waits.state is ItemState.FAILED
    assert waits.item.result == f"image {kernel}, which it needs, is failed there: C: no"
    estate.copied(ramdisk, FAR)
    estate.copied(kernel, FAR)
    estate.look_up()
    assert estate.states(number)[-1] == (one, FAR, asked_for), "it goes on when its kernel is there"
    estate.copied(one, NEAR)
    estate.copied(one, FAR)
    assert estate.state(number) is JobState.DONE


def test_by_force_the_parts_are_new_too_and_referred_to_as_such(estate: Estate) -> None:
    one = ami(estate, NEAR)
    shares = estate.add(
        4, NEAR, container_format="ami", disk_format="ami", kernel_id=image_id(1), owner=OURS
    )
    number = estate.ask(one, shares, source=NEAR, to=(FAR, HOME), force=True)
    estate.look_up()
    ids: dict[str, set[str]] = {}
    for item in estate.items(number):
        ids.setdefault(str(item.item.source_id), set()).add(str(item.item.image_id))
    assert {len(found) for found in ids.values()} == {1}
    kernel, ramdisk, new, other = [next(iter(ids[image_id(n)])) for n in (1, 2, 3, 4)]
    assert not {kernel, ramdisk, new, other} & {image_id(n) for n in (1, 2, 3, 4)}
    record = estate.record(new)
    assert (record.kernel_id, record.ramdisk_id) == (kernel, ramdisk)
    assert estate.record(other).kernel_id == kernel
    assert len(estate.items(number)) == 8, "one kernel for both"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kernel": "bare"}, "its kernel, image {0}, has the container format bare, not aki"),
        ({"kernel": "ari"}, "its kernel, image {0}, has the container format ari, not aki"),
        ({"ramdisk": "aki"}, "its ramdisk, image {1}, has the container format aki, not ari"),
        ({"kernel_id": image_id(9)}, f"its kernel, image {image_id(9)}, is not in A"),
        ({"ramdisk_id": image_id(9)}, f"its ramdisk, image {image_id(9)}, is not in A"),
        ({"kernel_id": None}, "it is an AMI, and its kernel_id does not name an image"),
        ({"kernel_id": "a name"}, "it is an AMI, and its kernel_id does not name an image"),
    ],
)
def test_wrong_or_missing_parts_are_said_before_anything_is_copied(
    estate: Estate, fields: dict[str, Any], said: str
) -> None:
    one = ami(estate, **fields)
    number = estate.ask(one)
    estate.look_up()
    (item,) = estate.items(number)
    assert (item.item.resource, item.state) == (one, ItemState.REFUSED)
    assert item.item.result == said.format(image_id(1), image_id(2))
    assert estate.journal.list_tasks() == []


def test_parts_that_the_user_may_not_see_are_missing(estate: Estate) -> None:
    one = ami(estate)
    estate.add(2, container_format="ari", visibility="private", owner=THEIRS)
    number = estate.ask(one, project=OURS)
    estate.look_up()
    (item,) = estate.items(number)
    assert item.item.result == f"its ramdisk, image {image_id(2)}, is not in A"


def test_an_ami_may_do_without_a_ramdisk(estate: Estate) -> None:
    one = ami(estate, ramdisk_id=None)
    number = estate.ask(one)
    estate.look_up()
    assert [(w, s) for w, _, s in estate.states(number)] == [
        (image_id(1), ItemState.PENDING),
        (one, ItemState.WAITING),
    ]


# -- ending it, and forgetting it -----------------------------------------------------------------


def test_a_cancelled_job_wants_no_more_what_was_not_begun(estate: Estate) -> None:
    begun, waits, there = (estate.known(estate.add(number) and number) for number in (2, 3, 1))
    shared = estate.add(4)
    number = estate.ask(there, begun, waits, shared)
    estate.look_up()
    other = estate.ask(shared)
    estate.look_up()
    estate.copied(there, NEAR)
    (task,) = estate.claim(NEAR)
    made = Replica(begun, NEAR, ReplicaState.COPYING, begun, made=True)
    estate.journal.commit(task, Changes(replica=made))

    assert estate.journal.jobs.cancel(number, USER)
    assert not estate.journal.jobs.cancel(number, USER)
    assert estate.state(number) is JobState.CANCELLED
    states = [state for _, _, state in estate.states(number)]
    assert states == [ItemState.DONE, *[ItemState.CANCELLED] * 3]
    assert {(one, cause) for one, _, cause in estate.pins(begun, waits, there, shared)} == {
        (there, f"job {number}"),
        (begun, f"job {number}"),
        (shared, f"job {other}"),
    }
    assert estate.state(other) is JobState.ACTIVE
    replica = dataclasses.replace(made, state=ReplicaState.IN_SYNC)
    estate.journal.commit(task, Changes(replica=replica), Done("copied"))
    assert estate.state(number) is JobState.CANCELLED
    assert estate.journal.jobs.cancel(other, USER)
    assert estate.pins(shared) == set()


def test_a_job_whose_task_is_ended_by_hand_is_cancelled(estate: Estate) -> None:
    number = estate.ask(estate.add(1))
    (task,) = estate.journal.list_tasks(kinds=[TaskKind.JOB])
    assert estate.journal.cancel_task(task.id, USER)
    assert estate.state(number) is JobState.CANCELLED
    estate.look_up()
    assert estate.items(number) == []

    number = estate.ask(estate.add(2))
    estate.look_up()
    (task,) = estate.journal.list_tasks()
    assert estate.journal.cancel_task(task.id, USER)
    assert estate.state(number) is JobState.FAILED
    assert estate.items(number)[0].item.result == "cancelled by hand"


def test_a_job_that_is_cancelled_while_it_is_looked_up_writes_nothing_more(
    estate: Estate,
) -> None:
    one = estate.add(1)
    number = estate.ask(one)
    (task,) = estate.claim("")
    job = estate.job(number)
    assert estate.journal.jobs.cancel(number, USER)
    with pytest.raises(LeaseLost):
        estate.journal.jobs.expand(task, job, 1, [], [])
    assert estate.state(number) is JobState.CANCELLED


def test_a_job_is_forgotten_when_it_has_ended_and_its_images_stay(estate: Estate) -> None:
    one = estate.add(1)
    number = estate.ask(one)
    estate.look_up()
    assert not estate.journal.jobs.delete(number)
    estate.copied(one, NEAR)
    assert estate.journal.jobs.delete(number)
    assert estate.journal.jobs.get(number) is None
    assert estate.pins(one) == {(one, NEAR, f"job {number}")}
    estate.end(one, NEAR, ReplicaState.IN_SYNC, Done("nothing to do"))


def test_old_jobs_are_purged_and_none_that_is_active_or_new(estate: Estate) -> None:
    one = estate.add(1)
    old, active, new = (estate.ask(one, to=to) for to in ((NEAR,), (FAR,), (NEAR,)))
    estate.look_up()
    estate.copied(one, NEAR)
    tables = schema.job, schema.item
    with estate.journal.database.write() as connection:
        j, m = tables
        which = [old, active]
        connection.execute(sa.update(j).where(j.c.id.in_(which)).values(created_at=0.0))
        connection.execute(sa.update(m).where(m.c.job_id == old).values(ended_at=0.0))
    while estate.journal.purge(3600, 1):
        pass
    left = estate.journal.jobs.every(project_id=None, state=None, limit=10, marker=None)
    assert [job.id for job in left] == [new, active]
    with estate.journal.database.read() as connection:
        kept = connection.execute(sa.select(schema.item.c.job_id)).scalars()
        assert set(kept) == {active, new}


def test_a_project_has_so_many_active_jobs_and_no_more(estate: Estate) -> None:
    one = estate.add(1)
    first = estate.ask(one, project=OURS, most=2)
    estate.ask(one, project=OURS, most=2)
    with pytest.raises(BadRequest, match="has 2 active jobs; open_jobs_per_project allows 2"):
        estate.ask(one, project=OURS, most=2)
    estate.ask(one, project=THEIRS, most=2)
    assert estate.journal.jobs.cancel(first, USER)
    estate.ask(one, project=OURS, most=2)
    estate.ask(one)  # an admin
