# SPDX-License-Identifier: Apache-2.0
"""Plans, from the look to the last step: a real journal, a real executor, lists of every shape."""

import concurrent.futures
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from glancesync.bundle import Bundle
from glancesync.destinations import Destinations
from glancesync.errors import Transient
from glancesync.executor import Executor, Flow
from glancesync.home import observed
from glancesync.interfaces import Ask, Changes, ImageService
from glancesync.journal import schema
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Done, Priority, Replica
from glancesync.orders import Plan, Step
from glancesync.pacing import Limits, Pacing
from glancesync.placement.strategies import STRATEGIES
from glancesync.planning import Planning
from glancesync.recording import Settings
from glancesync.retry import RetryPolicy
from glancesync.states import FindingKind, PlanState, ReplicaState, StepState, TaskKind
from glancesync.transports.reading import Reading
from glancesync.transports.settings import TransferSettings
from glancesync.wiring import SystemClock
from tests.contract.listing_glance import ListingGlance
from tests.journals import record as record_regions

pytestmark = pytest.mark.matrix(database_kind=("postgresql", "mariadb"))

HOME, NEAR, FAR = "A", "B", "C"
HUMAN = Actor("human")
BUSY = 503, {"Retry-After": "60"}, b""
LATER = "2026-02-02T00:00:00Z"


def image_id(number: int) -> str:
    return f"{number:08x}-0000-0000-0000-000000000000"


class Estate:
    """Home and two regions, a journal that knows nothing, synchronization off."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.glances = {name: ListingGlance(name, page=3) for name in (HOME, NEAR, FAR)}
        self.home = HOME
        self.strategy = "None"
        self.strategies = dict(STRATEGIES)
        self.settings = Settings(
            Destinations(STRATEGIES["None"], journal),
            [],
            Reading(TransferSettings()),
            SystemClock(),
            Pacing(journal.regions, lambda: 1, SystemClock(), lambda: 0, Limits()),
            preserve=["local_*"],
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
        """The image in some regions, the same in each."""
        for region in regions:
            self.glances[region].add(image_id(number), **fields)
            if fields.get("visibility") == "shared":
                self.glances[region].members[image_id(number)] = {"p1": "accepted"}
        return image_id(number)

    def change(self, region: str, number: int, **fields: Any) -> None:
        self.glances[region].images[image_id(number)] |= fields

    def made(self, *numbers: int, region: str = NEAR) -> None:
        """Have it on record that the replicas are ours."""
        for number in numbers:
            one = image_id(number)
            self.journal.ask([Ask(TaskKind.REPLICA, one, region)], "test")
            (task,) = self.journal.claim("test", lease=60, limit=1, regions={region})
            image = observed(one, self(HOME).get(one), self.journal.image(one))
            replica = Replica(one, region, ReplicaState.IN_SYNC, replica_id=one, made=True)
            self.journal.commit(task, Changes(image=image, replica=replica), Done("well"))

    def work(self) -> None:
        """Run every task that is due."""
        strategy = self.strategies[self.strategy]
        settings = dataclasses.replace(
            self.settings, destinations=Destinations(strategy, self.journal)
        )
        parts = (self.journal, self.journal)
        planning = Planning(*parts, self.journal, self.journal.plans, self, settings)
        executor = Executor(
            *parts,
            self,
            RetryPolicy(),
            settings,
            lambda: 0.5,
            {TaskKind.PLAN: Flow(planning.run)},
            lambda region, error: None,
        )
        regions = {"", *self.glances}
        while tasks := self.journal.claim("test", lease=60, limit=8, regions=regions):
            for task in tasks:
                executor.run(task, Bundle(1), threading.Event())

    def plan(self, *regions: str, image: str | None = None) -> Plan:
        number = self.journal.plans.create(regions or (NEAR,), image, HUMAN).id
        self.work()
        plan = self.journal.plans.get(number)
        assert plan is not None
        return plan

    def steps(self, plan: Plan) -> list[Step]:
        return self.journal.plans.steps(plan.id, region=None, limit=1000, marker=None)

    def apply(self, plan: Plan) -> list[Step]:
        assert self.journal.plans.apply(plan.id, HUMAN) is None
        self.work()
        return self.steps(plan)

    def shown(self, number: int, region: str = NEAR) -> dict[str, Any]:
        return self.glances[region].images[image_id(number)]


@pytest.fixture
def estate(journal: Journal) -> Iterator[Estate]:
    estate = Estate(journal)
    yield estate
    estate.close()


# -- making one -----------------------------------------------------------------------------------


def test_a_plan_says_what_would_be_done_and_why_and_does_nothing(estate: Estate) -> None:
    estate.add(1, HOME, NEAR)
    estate.add(2, HOME, size=2**40)
    estate.add(3, HOME, NEAR, visibility="shared", local_x="home's")
    estate.change(NEAR, 3, name="drifted", local_x="theirs", tags=["x"])
    estate.glances[NEAR].members[image_id(3)] = {}
    estate.add(4, HOME, NEAR)
    estate.change(NEAR, 4, os_hash_value="0" * 128)
    estate.add(5, HOME, NEAR, os_hidden=True)
    estate.change(NEAR, 5, protected=True)
    estate.made(5)
    estate.add(6, HOME, NEAR)
    estate.change(NEAR, 6, os_hash_value="0" * 128, protected=True)
    estate.made(6)
    estate.add(7, HOME, NEAR)
    estate.made(7)
    estate.add(8, HOME, status="queued", size=None)
    estate.add(9, NEAR)
    before = {name: dict(glance.images) for name, glance in estate.glances.items()}

    plan = estate.plan()
    assert (plan.state, plan.strategy, plan.regions) == (PlanState.READY, "ALL", (NEAR,))
    told = {step.image_id: (step.actions, step.why, step.bytes) for step in estate.steps(plan)}
    not_ours = "it has home's bytes; glance-sync did not make it"
    assert told == {
        image_id(1): (("adopt",), not_ours, 0),
        image_id(2): (("create", "copy"), "the region has no image of that id", 2**40),
        image_id(3): (("adopt", "change name, tags", "change members"), not_ours, 0),
        image_id(4): (
            ("leave alone",),
            f"image {image_id(4)} of the region was not made by glancesync and its bytes differ "
            "from the home image's",
            0,
        ),
        image_id(5): (("change protected",), "it is not as home's image is", 0),
        image_id(6): (
            ("change protected", "delete", "create", "copy"),
            "its bytes differ from the home image's",
            100,
        ),
    }
    assert {name: glance.images for name, glance in estate.glances.items()} == before
    assert estate.journal.list_tasks() == []


def test_what_home_no_longer_has_is_in_the_plan_as_soon_as_that_is_on_record(
    estate: Estate,
) -> None:
    estate.strategy = "ALL"
    for number in (1, 2):
        estate.add(number, HOME, NEAR, FAR)
    estate.made(1, 2)
    estate.made(1, 2, region=FAR)
    asked = [Ask(TaskKind.IMAGE, image_id(number)) for number in (1, 2)]
    estate.journal.ask(asked, "test")
    estate.work()
    for number in (1, 2):
        del estate.glances[HOME].images[image_id(number)]
    assert estate.steps(estate.plan()) == [], "an audit has to say so first"

    estate.journal.update_region(FAR, {"delete_mode": "hide"})
    i = schema.image
    with estate.journal.database.write() as connection:
        gone = {"present": False, "fingerprint": "absent", "status": "deleted"}
        connection.execute(sa.update(i).where(i.c.image_id == image_id(1)).values(gone))
    for plan in (estate.plan(NEAR, FAR), estate.plan(NEAR, FAR, image=image_id(1))):
        assert [(step.region, step.actions) for step in estate.steps(plan)] == [
            (NEAR, ("delete",)),
            (FAR, ("change os_hidden",)),
        ]
    done = estate.apply(plan)
    assert {step.state for step in done} == {StepState.DONE}
    assert estate.glances[NEAR].deleted == [image_id(1)]
    assert estate.shown(1, FAR)["os_hidden"] is True


def test_images_that_could_be_adopted_are_offered(estate: Estate) -> None:
    estate.add(1, HOME)
    wanted = estate.glances[HOME].images[image_id(1)]
    same = {name: wanted[name] for name in ("name", "os_hash_value", "checksum")}
    estate.add(2, NEAR, **same, os_hidden=True)
    estate.add(3, NEAR, **{**same, "name": "another"})
    estate.add(4, NEAR, **same, disk_format="qcow2")

    (step,) = estate.steps(estate.plan())
    assert (step.actions, step.adoptable) == (("create", "copy"), (image_id(2),))
    (finding,) = estate.journal.findings(NEAR)
    assert (finding.what, finding.other_id) == (FindingKind.ADOPTABLE, image_id(2))

    assert estate.journal.adoptions.adopt_offered(NEAR, HUMAN, own=True) == (1, 0)
    estate.work()
    replica = estate.journal.replica(image_id(1), NEAR)
    assert replica is not None
    assert (replica.replica_id, replica.made) == (image_id(2), True)
    assert estate.journal.adoptions.adopt_offered(NEAR, HUMAN, own=True) == (0, 0)
    (step,) = estate.steps(estate.plan())
    assert step.actions == ("change os_hidden",)


def test_what_is_somebodys_replica_is_not_offered(estate: Estate) -> None:
    estate.add(1, HOME)
    same = {name: estate.shown(1, HOME)[name] for name in ("name", "os_hash_value", "checksum")}
    estate.add(2, HOME, **same)
    estate.add(3, NEAR, **same)
    estate.journal.adoptions.adopt(image_id(1), NEAR, image_id(3), HUMAN, own=False)
    estate.work()
    (step,) = estate.steps(estate.plan())
    assert (step.image_id, step.actions) == (image_id(2), ("create", "copy"))
    assert step.adoptable == ()


def test_a_region_that_can_not_be_read_is_left_out_and_said_so(estate: Estate) -> None:
    for number in range(8):
        estate.add(number, HOME)
    estate.glances[FAR].break_off_after = 8  # after the first of three pages
    plan = estate.plan(NEAR, FAR, "D")
    lists = [path for path in estate.glances[FAR].asked if path.startswith("/v2/images?")]
    assert len(lists) == 8 + 1, "it is not asked about the third"
    assert plan.state is PlanState.READY
    assert plan.unread.keys() == {FAR, "D"}
    assert "HTTP 500" in plan.unread[FAR]
    assert len(estate.steps(plan)) == 8
    assert {step.region for step in estate.steps(plan)} == {NEAR}
    assert estate.journal.plans.counts(plan.id) == {NEAR: ({StepState.PLANNED: 8}, 800)}


def test_a_plan_is_begun_anew_while_home_can_not_be_read(estate: Estate) -> None:
    for number in range(8):
        estate.add(number, HOME)
    estate.glances[HOME].break_off_after = 2
    plan = estate.plan()
    assert plan.state is PlanState.PLANNING
    assert "HTTP 500" in str(plan.reason)
    estate.glances[HOME].break_off_after = None
    (task,) = estate.journal.list_tasks(kinds=[TaskKind.PLAN])
    estate.journal.retry_task(task.id, HUMAN)
    estate.work()
    assert len(estate.steps(plan)) == 8
    ready = estate.journal.plans.get(plan.id)
    assert ready is not None
    assert (ready.state, ready.reason) == (PlanState.READY, None)


@pytest.mark.parametrize("known", [False, True])
def test_what_home_loses_while_it_is_looked_at_is_left_to_others(
    estate: Estate, known: bool
) -> None:
    """A 404 does not prove that it is gone, nor does a plan say so before anybody else."""
    estate.add(1, HOME, NEAR, visibility="shared")
    estate.add(2, HOME)
    if known:
        estate.made(1)
    home = estate.glances[HOME]

    def lose(method: str, path: str) -> None:
        if path.endswith("/members"):
            home.images.pop(image_id(1), None)
            home.members.pop(image_id(1), None)

    home.says = lose
    plan = estate.plan()
    assert plan.state is PlanState.READY
    assert [step.image_id for step in estate.steps(plan)] == [image_id(2)]


@pytest.mark.parametrize("applied", [False, True])
def test_a_plan_whose_task_is_cancelled_says_so(estate: Estate, applied: bool) -> None:
    estate.add(1, HOME)
    if applied:
        number = estate.plan().id
        assert estate.journal.plans.apply(number, HUMAN) is None
    else:
        number = estate.journal.plans.create((NEAR,), None, HUMAN).id
    (task,) = estate.journal.list_tasks(kinds={TaskKind.PLAN})
    estate.journal.cancel_task(task.id, HUMAN)
    estate.work()
    plan = estate.journal.plans.get(number)
    assert plan is not None
    assert (plan.state, plan.reason) == (PlanState.FAILED, "cancelled by hand")
    assert [step.state for step in estate.steps(plan)] == [StepState.PLANNED] * applied
    why_not = estate.journal.plans.apply(number, HUMAN)
    assert why_not is not None
    assert "cancelled by hand" in why_not


def test_a_plan_of_one_image(estate: Estate) -> None:
    estate.add(1, HOME)
    one = estate.add(2, HOME)
    assert [step.image_id for step in estate.steps(estate.plan(image=one))] == [one]
    plan = estate.plan(image=image_id(3))
    assert (plan.state, plan.reason) == (PlanState.FAILED, f"home has no image {image_id(3)}")
    said = estate.journal.plans.apply(plan.id, HUMAN)
    assert said == f"plan {plan.id} could not be made: home has no image {image_id(3)}"


def test_steps_come_in_pages(estate: Estate) -> None:
    for number in range(4):
        estate.add(number, HOME)
    plan = estate.plan(NEAR, FAR)
    every = estate.steps(plan)
    found: list[Step] = []
    while page := estate.journal.plans.steps(
        plan.id,
        region=None,
        limit=3,
        marker=(found[-1].region, found[-1].image_id) if found else None,
    ):
        found += page
    assert found == every
    assert len(every) == 8
    far = estate.journal.plans.steps(plan.id, region=FAR, limit=100, marker=None)
    assert far == [step for step in every if step.region == FAR]


def test_old_plans_are_forgotten(estate: Estate) -> None:
    """But for one that is still being carried out."""
    for number in range(5):
        estate.add(number, HOME, NEAR)
        estate.change(NEAR, number, name="drifted")
    old, applied = estate.plan(), estate.plan()
    assert estate.journal.plans.apply(applied.id, HUMAN) is None
    estate.glances[NEAR].says = lambda method, path: BUSY
    estate.work()
    p = schema.plan
    with estate.journal.database.write() as connection:
        connection.execute(sa.update(p).values(created_at=p.c.created_at - 100))
    new = estate.plan()
    forgotten = [estate.journal.purge(60, limit=3) for _ in range(4)]
    assert forgotten == [3, 2, 1, 0]
    assert estate.steps(old) == []
    assert len(estate.steps(applied)) == 5
    kept = estate.journal.plans.every(limit=10, marker=None)
    assert [one.id for one in kept] == [new.id, applied.id]


# -- applying one ---------------------------------------------------------------------------------


def patched(estate: Estate, *numbers: int) -> Plan:
    """A plan to change the names of images in a region."""
    for number in numbers:
        estate.add(number, HOME, NEAR)
        estate.change(NEAR, number, name="drifted", updated_at=LATER)
    plan = estate.plan()
    assert {step.actions for step in estate.steps(plan)} == {("adopt", "change name")}
    return plan


def test_a_plan_is_carried_out_while_synchronization_is_off(estate: Estate) -> None:
    plan = patched(estate, 1, 2, 3)
    estate.change(NEAR, 2, name="drifted again")
    estate.change(HOME, 3, name="changed at home")
    done, region, home = estate.apply(plan)
    assert (done.state, done.result) == (StepState.DONE, "patch name")
    assert (region.state, region.result) == (
        StepState.STALE,
        "the region's image is not what it was",
    )
    assert (home.state, home.result) == (StepState.STALE, "home's image is not what it was")
    assert [estate.shown(number)["name"] for number in (1, 2, 3)] == [
        "image 0000",
        "drifted again",
        "drifted",
    ]
    assert estate.journal.list_tasks() == []
    replica = estate.journal.replica(image_id(1), NEAR)
    image = estate.journal.image(image_id(1))
    assert replica is not None
    assert image is not None
    assert (replica.state, replica.made) == (ReplicaState.IN_SYNC, False)
    assert replica.observed_generation == image.generation == 1
    asked = [one for one in estate.journal.events(image_id(1)) if one.what == "asked"]
    assert [(one.detail, one.actor) for one in asked] == [
        (f"plan {plan.id}: adopt, change name", HUMAN)
    ]


def test_what_was_to_be_left_alone_is_shown_as_a_conflict(estate: Estate) -> None:
    estate.add(1, HOME, NEAR)
    estate.change(NEAR, 1, os_hash_value="0" * 128)
    (step,) = estate.apply(estate.plan())
    assert step.state is StepState.DONE
    replica = estate.journal.replica(image_id(1), NEAR)
    assert replica is not None
    assert replica.state is ReplicaState.CONFLICT
    assert "was not made by glancesync" in str(replica.last_error)
    assert estate.journal.list_tasks() == []


def test_other_actions_on_the_same_images_are_another_plan(estate: Estate) -> None:
    plan = patched(estate, 1)
    estate.made(1)
    with estate.journal.database.write() as connection:  # as if long before the plan
        connection.execute(sa.update(schema.replica).values(updated_at=1.0))
    (step,) = estate.apply(plan)
    assert (step.state, step.result) == (StepState.STALE, "now it would be: change name")


def test_a_plan_is_applied_once(estate: Estate) -> None:
    plan = patched(estate, 1)
    estate.apply(plan)
    said = estate.journal.plans.apply(plan.id, HUMAN)
    assert said == f"plan {plan.id} was applied already; make a new one to see what is left"


def test_what_is_not_on_record_as_gone_any_more_is_not_deleted(estate: Estate) -> None:
    estate.add(1, HOME, NEAR)
    estate.made(1)
    gone = estate.glances[HOME].images.pop(image_id(1))
    i = schema.image
    with estate.journal.database.write() as connection:
        there = connection.execute(sa.select(i.c.fingerprint)).scalar_one()
        values = {"present": False, "fingerprint": "absent"}
        connection.execute(sa.update(i).values(values))
    plan = estate.plan()
    assert [step.actions for step in estate.steps(plan)] == [("delete",)]
    with estate.journal.database.write() as connection:  # home had it again, for a while
        connection.execute(sa.update(i).values(present=True, fingerprint=there, changed_at=0.0))
    (step,) = estate.apply(plan)
    assert (step.state, gone["id"] in estate.glances[NEAR].images) == (StepState.STALE, True)


def test_of_many_who_apply_it_at_once_one_does(estate: Estate) -> None:
    plan = patched(estate, 1, 2)
    together = threading.Barrier(4)

    def apply(_: int) -> str | None:
        together.wait()
        return estate.journal.plans.apply(plan.id, HUMAN)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        said = list(pool.map(apply, range(4)))
    refused = f"plan {plan.id} was applied already; make a new one to see what is left"
    assert sorted(map(str, said)) == ["None", *[refused] * 3]


def test_a_plan_is_refused_if_a_replica_was_worked_on_since(estate: Estate) -> None:
    plan = patched(estate, 1, 2)
    estate.made(1)
    assert estate.journal.plans.apply(plan.id, HUMAN) == (
        f"plan {plan.id} went stale: the replica of {image_id(1)} in B was worked on; "
        "make a new one"
    )
    assert estate.journal.list_tasks() == []


def test_a_plan_is_refused_if_somebody_decided_since(estate: Estate) -> None:
    plan = patched(estate, 1)
    estate.journal.adoptions.adopt(image_id(1), NEAR, image_id(1), HUMAN, own=False)
    said = estate.journal.plans.apply(plan.id, HUMAN)
    assert f"{image_id(1)} in B is subject to adopt:{image_id(1)}" in str(said)


def test_a_plan_is_refused_if_home_is_known_to_have_changed_since(estate: Estate) -> None:
    plan = patched(estate, 1)
    estate.change(HOME, 1, name="changed at home")
    estate.journal.ask([Ask(TaskKind.IMAGE, image_id(1))], "test")
    estate.work()
    said = estate.journal.plans.apply(plan.id, HUMAN)
    assert f"image {image_id(1)} has changed at home" in str(said)


def test_a_step_goes_on_where_it_was_broken_off(estate: Estate) -> None:
    """From the first change on it is not as planned any more: that is no reason to stop."""
    plan = patched(estate, 1)
    assert estate.journal.plans.apply(plan.id, HUMAN) is None
    glance = estate.glances[NEAR]
    glance.says = lambda method, path: (500, {}, b"") if method == "PATCH" else None
    estate.work()
    (step,) = estate.steps(plan)
    assert step.state is StepState.BEGUN
    assert "HTTP 500" in str(step.result)
    glance.says = lambda method, path: None
    estate.change(NEAR, 1, name="half way", tags=["x"])
    (task,) = estate.journal.list_tasks()
    estate.journal.retry_task(task.id, HUMAN)
    estate.work()
    (step,) = estate.steps(plan)
    assert step.state is StepState.DONE
    assert estate.shown(1)["name"] == "image 0000"


def test_what_became_of_steps_that_are_not_done(estate: Estate) -> None:
    plan = patched(estate, 1, 2)
    assert estate.journal.plans.apply(plan.id, HUMAN) is None
    estate.glances[NEAR].says = lambda method, path: BUSY
    estate.work()
    tasks = estate.journal.list_tasks()
    assert [str(task.decision) for task in tasks] == [f"plan:{plan.id}"] * 2
    assert {task.priority for task in tasks} == {Priority.PLAN}
    assert {step.state for step in estate.steps(plan)} == {StepState.ASKED}
    estate.journal.cancel_task(tasks[0].id, HUMAN)
    t = schema.task
    with estate.journal.database.write() as connection:
        connection.execute(sa.update(t).where(t.c.id == tasks[1].id).values(state="failed"))
    states = {step.state for step in estate.steps(plan)}
    assert states == {StepState.CANCELLED, StepState.FAILED}
    ((counts, _),) = estate.journal.plans.counts(plan.id).values()
    assert counts == {StepState.CANCELLED: 1, StepState.FAILED: 1}
