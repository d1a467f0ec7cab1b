# SPDX-License-Identifier: Apache-2.0
"""What nobody has needed for long goes again, by the usual tasks, on each database."""

import dataclasses
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from glancesync.interfaces import Ask, Changes
from glancesync.journal import schema
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Done, Hint, Outcome, Pin, Priority, Task
from glancesync.placement.lazy import lazy
from glancesync.states import FindingKind, ReplicaState, TaskKind
from tests.contract.test_executor import IMAGE, Bench
from tests.contract.test_reconciler import HOME, REGION, World, image_id

pytestmark = pytest.mark.matrix(database_kind=["mariadb"])

AGE = 1000.0


def let_pass(journal: Journal, seconds: float) -> None:
    """Let what is known of uses and copies be older."""
    with journal.database.write() as connection:
        for column in (schema.pin.c.used_at, schema.replica.c.synced_at):
            change = {column.name: column - seconds}
            connection.execute(sa.update(column.table).values(change))


def need(journal: Journal, image: str, region: str) -> None:
    journal.ensure(Pin(image, region, "somebody needs it there", Actor("u")), None)


# -- what an audit finds --------------------------------------------------------------------------


@pytest.fixture
def world(url: str) -> Iterator[World]:
    database = Database(url)
    world = World(Journal(database))
    world.strategies["LAZY"] = lazy(AGE)
    world.strategy = "LAZY"
    yield world
    database.dispose()
    for glance in world.glances.values():
        glance.close()


def test_an_audit_of_home_asks_for_what_nobody_has_needed(world: World) -> None:
    world.in_sync(1, 2)
    let_pass(world.journal, AGE)
    need(world.journal, image_id(2), REGION)
    audit = world.audit(HOME)
    assert (audit.missing, audit.held) == (0, 0)
    assert world.asked() == {("image", 1, "")}
    (task,) = world.journal.list_tasks()
    assert task.removed
    assert world.journal.events(image_id(1))[0].detail == (
        f"not to be in {REGION} any more: nobody has needed it there for 1000 s"
    )


def test_as_many_go_at_a_time_as_need_no_human_and_nobody_is_asked(world: World) -> None:
    world.in_sync(*range(1, 6))
    let_pass(world.journal, AGE)
    audit = world.audit(HOME)
    assert audit.held == 0
    assert world.asked() == {("image", 1, ""), ("image", 2, "")}, "delete_guard_images is 2"
    assert world.journal.findings(HOME) == []
    said = world.journal.events("", HOME)[0].detail
    assert said.endswith("; 5 have not been needed somewhere, 2 go at a time")
    world.settle()
    for number in (1, 2):
        world.end(number, ReplicaState.DELETED)
    world.audit(HOME)
    assert world.asked() == {("image", 3, ""), ("image", 4, "")}


def test_they_do_not_hide_among_deletions_that_are_held(world: World) -> None:
    world.in_sync(*range(1, 9))
    for number in (1, 2, 3):
        del world.glances[HOME].images[image_id(number)]
    let_pass(world.journal, AGE)
    audit = world.audit(HOME)
    assert audit.held == 3, "what is gone from home, and nothing else"
    assert world.asked() == set()
    found = world.journal.findings(HOME)
    assert {one.what for one in found} == {FindingKind.GONE}
    assert world.journal.release_audit(audit, Actor("admin")) == 3
    assert world.asked() == {("image", number, "") for number in (1, 2, 3)}


def test_they_leave_room_for_deletions_that_are_not_held(world: World) -> None:
    world.in_sync(*range(1, 9))
    for number in (1, 2):
        del world.glances[HOME].images[image_id(number)]
    let_pass(world.journal, AGE)
    assert world.audit(HOME).held == 0
    assert world.asked() == {("image", number, "") for number in (1, 2, 3, 4)}


def test_what_was_only_about_to_come_is_let_go_and_counts_as_no_deletion(world: World) -> None:
    world.in_sync(*range(1, 9))
    world.journal.ask([Ask(TaskKind.IMAGE, image_id(1))], "test")
    (task,) = world.journal.claim("me", lease=60, limit=1, regions={""})
    for number in range(1, 9):
        one = world.journal.replica(image_id(number), REGION)
        assert one is not None
        soon = dataclasses.replace(
            one, state=ReplicaState.PENDING, made=False, replica_id=None, observed_generation=0
        )
        world.journal.commit(task, Changes(replica=soon))
    world.journal.commit(task, Changes(), Done("they wait"))
    world.strategies["LAZY"] = lazy(0)
    assert world.audit(HOME).held == 0
    assert world.journal.findings(HOME) == []
    assert world.asked() == {("image", number, "") for number in range(1, 9)}


def test_nothing_is_missing_where_nobody_has_asked(world: World) -> None:
    world.in_sync(1)
    world.end(1, ReplicaState.DELETED)
    world.glances[HOME].add(image_id(2))
    assert world.audit(HOME).missing == 0


# -- what its task does ---------------------------------------------------------------------------


@pytest.fixture
def bench(journal: Journal) -> Iterator[Bench]:
    """An image with a replica of ours in A, which nobody has needed for long."""
    bench = Bench(journal)
    for glance in bench.glances.values():
        glance.add(IMAGE)
    bench.make()
    need(journal, IMAGE, "A")
    bench.strategies["LAZY"] = lazy(AGE)
    bench.strategy = "LAZY"
    let_pass(journal, AGE)
    yield bench
    for glance in bench.glances.values():
        glance.close()


def evict(bench: Bench) -> None:
    """Run the image's task, as an audit has asked for it."""
    wish = Ask(TaskKind.IMAGE, IMAGE, priority=Priority.AUDIT, removed=True)
    bench.journal.ask([wish], "test")
    (task,) = bench.claim(TaskKind.IMAGE)
    bench.execute(task)


def pinned(bench: Bench) -> bool:
    image = bench.glances[bench.home].service.get(IMAGE)
    assert image is not None
    return "A" in bench.journal.facts([image])[IMAGE].pins


def test_it_goes_and_the_wish_with_it(bench: Bench) -> None:
    evict(bench)
    (task,) = bench.claim(TaskKind.REPLICA)
    bench.execute(task)
    assert bench.replica().state is ReplicaState.DELETED
    assert IMAGE not in bench.glances["A"].images
    assert not pinned(bench)
    told = [one.detail for one in bench.journal.events(IMAGE) if one.what == "delete"]
    assert told == [f"{IMAGE}: the image does not go there: nobody has needed it there for 1000 s"]
    bench.strategies["LAZY"] = lazy(0)
    bench.run(TaskKind.IMAGE)
    assert bench.claim(TaskKind.REPLICA) == [], "it does not come back by itself"


def test_who_needs_it_before_its_turn_has_come_keeps_it(bench: Bench) -> None:
    evict(bench)
    need(bench.journal, IMAGE, "A")
    (task,) = bench.claim(TaskKind.REPLICA)
    bench.execute(task)
    assert bench.replica().state is ReplicaState.IN_SYNC
    assert IMAGE in bench.glances["A"].images
    assert pinned(bench)


def test_who_needs_it_while_it_goes_has_it_back(bench: Bench) -> None:
    evict(bench)
    (task,) = bench.claim(TaskKind.REPLICA)
    wish = Ask(TaskKind.REPLICA, IMAGE, "A", priority=0, urgent=True)

    def meanwhile(method: str, path: str) -> None:
        if method == "DELETE":
            pin = Pin(IMAGE, "A", "somebody needs it there", Actor("u"))
            bench.journal.ensure(pin, wish)

    bench.glances["A"].says = meanwhile
    bench.execute(task)
    assert pinned(bench), "it was used since"
    (task,) = bench.claim(TaskKind.REPLICA)
    bench.glances["A"].add(IMAGE)  # as if it were made anew
    bench.execute(task)
    assert bench.replica().state is ReplicaState.IN_SYNC


def test_an_image_task_that_looked_before_it_had_gone_brings_nothing_back(bench: Bench) -> None:
    evict(bench)
    (task,) = bench.claim(TaskKind.REPLICA)
    wish = Ask(TaskKind.IMAGE, IMAGE, priority=Priority.AUDIT, removed=True)
    bench.journal.ask([wish], "test")
    (late,) = bench.claim(TaskKind.IMAGE)

    class Slow(Journal):
        """It is only written down what was to be done when it has been done."""

        def commit(self, task: Task, changes: Changes, outcome: Outcome | None = None) -> None:
            if task.kind is TaskKind.IMAGE and outcome is not None:
                bench.journal = fast
                bench.execute(first)
            super().commit(task, changes, outcome)

    fast, first = bench.journal, task
    bench.journal = Slow(fast.database)
    bench.execute(late)
    assert bench.replica().state is ReplicaState.DELETED
    (again,) = bench.claim(TaskKind.REPLICA)
    bench.execute(again)
    assert bench.replica().state is ReplicaState.DELETED
    assert IMAGE not in bench.glances["A"].images


def test_a_task_that_nobody_with_a_right_to_has_asked_for_leaves_it(bench: Bench) -> None:
    task = bench.run()
    assert "an audit of home decides" in str(task.reason)
    assert IMAGE in bench.glances["A"].images
    assert pinned(bench)


def test_what_home_could_not_bring_back_stays(bench: Bench) -> None:
    bench.glances[bench.home].images[IMAGE]["status"] = "deactivated"
    bench.glances["A"].images[IMAGE]["status"] = "deactivated"
    evict(bench)
    assert IMAGE in bench.glances["A"].images
    assert pinned(bench)


def test_a_change_at_home_follows_where_it_is_needed(bench: Bench) -> None:
    need(bench.journal, IMAGE, "A")
    bench.glances[bench.home].images[IMAGE]["name"] = "changed"
    bench.journal.hint([Hint(IMAGE)])
    (task,) = bench.claim(TaskKind.IMAGE)
    bench.execute(task)
    (task,) = bench.claim(TaskKind.REPLICA)
    bench.execute(task)
    assert bench.glances["A"].images[IMAGE]["name"] == "changed"
