# SPDX-License-Identifier: Apache-2.0
"""What the journal keeps of those who need images in regions, on each database."""

import concurrent.futures
import dataclasses

import pytest
import sqlalchemy as sa

from glancesync.interfaces import Ask, Changes
from glancesync.journal import schema
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Done, Image, ImageRecord, Pin, Replica, Task
from glancesync.states import ReplicaState, TaskKind

pytestmark = pytest.mark.matrix(database_kind=["mariadb"])

IMAGE = "11111111-2222-3333-4444-555555555555"
HOME = Image(IMAGE, "active", size=10)
RECORD = ImageRecord(
    IMAGE, 1, HOME.fingerprint(), True, "näme", "p", "active", 10, None, None, None, 0.0, 0.0
)
PIN = Pin(IMAGE, "A", "somebody needs it there", Actor("u", "p", ("member",), "req-1"))
WISH = Ask(TaskKind.REPLICA, IMAGE, "A", priority=0, urgent=True)


@pytest.fixture
def task(journal: Journal) -> Task:
    """A running one of the image; its record is there."""
    journal.ask([Ask(TaskKind.IMAGE, IMAGE)], "test")
    (task,) = journal.claim("me", lease=600, limit=1, regions={""})
    journal.commit(task, Changes(image=RECORD))
    return task


def pins(journal: Journal) -> dict[str, Pin]:
    return dict(journal.facts([HOME])[IMAGE].pins)


def let_pass(journal: Journal, seconds: float) -> None:
    p = schema.pin
    with journal.database.write() as connection:
        connection.execute(sa.update(p).values(used_at=p.c.used_at - seconds))


def save(journal: Journal, task: Task, state: ReplicaState, **more: object) -> Replica:
    """Write the replica in A."""
    old = journal.replica(IMAGE, "A") or Replica(IMAGE, "A", replica_id=IMAGE, made=True)
    new = dataclasses.replace(old, state=state, observed_generation=1, **more)  # type: ignore[arg-type]
    journal.commit(task, Changes(replica=new))
    return new


def test_nothing_is_known(journal: Journal) -> None:
    need = journal.need(IMAGE, "nowhere")
    assert (need.image, need.region, need.replica, need.task) == (None, None, None, None)
    assert not need.there
    assert need.unused == float("inf")
    assert need.now == pytest.approx(journal.database.now(), abs=5)


def test_who_asks_first_is_remembered_and_each_time_is(journal: Journal, task: Task) -> None:
    journal.ensure(PIN, WISH)
    first = pins(journal)["A"]
    assert first == dataclasses.replace(PIN, pinned_at=first.pinned_at, used_at=first.used_at)
    need = journal.need(IMAGE, "A")
    assert need.replica is not None
    assert need.replica.replica.state is ReplicaState.PENDING
    assert need.task is not None
    assert (need.task.key, need.task.priority) == (f"replica:{IMAGE}:A", 0)
    assert need.replica.used_at == first.used_at
    assert 0 <= need.unused < 60

    let_pass(journal, 100)
    assert journal.need(IMAGE, "A").unused >= 100
    journal.ensure(dataclasses.replace(PIN, cause="another", actor=Actor("v")), None)
    again = pins(journal)["A"]
    assert (again.cause, again.actor, again.pinned_at) == (PIN.cause, PIN.actor, first.pinned_at)
    assert again.used_at == pytest.approx(first.used_at, abs=60)
    assert [one.what for one in journal.events(IMAGE, "A")] == ["pinned"], "it is told once"


def test_of_an_image_that_nothing_is_known_of(journal: Journal) -> None:
    journal.ensure(PIN, Ask(TaskKind.IMAGE, IMAGE, priority=0, urgent=True))
    need = journal.need(IMAGE, "A")
    assert need.image is None
    assert need.replica is None
    assert need.task is not None
    assert need.task.key == f"image:{IMAGE}"
    assert journal.replica(IMAGE, "A") is None
    assert list(pins(journal)) == ["A"]


def test_it_is_there_if_it_is_as_home_has_it_now(journal: Journal, task: Task) -> None:
    save(journal, task, ReplicaState.IN_SYNC)
    assert journal.need(IMAGE, "A").there
    journal.commit(task, Changes(image=dataclasses.replace(RECORD, generation=2, fingerprint="x")))
    assert not journal.need(IMAGE, "A").there
    assert not journal.need(IMAGE, "B").there


@pytest.mark.parametrize("state", sorted(ReplicaState))
def test_the_state_it_is_there_in(journal: Journal, task: Task, state: ReplicaState) -> None:
    save(journal, task, state)
    there = state in (ReplicaState.IN_SYNC, ReplicaState.PARTIAL)
    assert journal.need(IMAGE, "A").there is there


@pytest.mark.always
def test_who_need_it_at_once_share_one_task(journal: Journal, url: str) -> None:
    """Each has connections of its own, as processes have."""
    others = [Journal(Database(url)) for _ in range(4)]
    try:
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            asked = [
                pool.submit(others[number % len(others)].ensure, PIN, WISH) for number in range(50)
            ]
            for one in asked:
                one.result()
    finally:
        for other in others:
            other.database.dispose()
    assert list(pins(journal)) == ["A"]
    (task,) = journal.list_tasks(image_id=IMAGE)
    assert task.asked == 50
    assert [one.what for one in journal.events(IMAGE, "A")] == ["pinned"]


def test_it_is_used_when_it_first_can_be(journal: Journal, task: Task) -> None:
    """Or what takes long to copy would go before anybody could use it."""
    journal.ensure(PIN, WISH)
    let_pass(journal, 1000)
    save(journal, task, ReplicaState.COPYING)
    assert journal.need(IMAGE, "A").unused >= 1000
    save(journal, task, ReplicaState.IN_SYNC)
    assert journal.need(IMAGE, "A").unused < 60
    let_pass(journal, 1000)
    save(journal, task, ReplicaState.PENDING)
    save(journal, task, ReplicaState.IN_SYNC)
    assert journal.need(IMAGE, "A").unused >= 1000, "that it is kept up to date is no use"


def test_the_pin_goes_with_the_replica_unless_it_was_used_since(journal: Journal) -> None:
    journal.ensure(PIN, WISH)
    (task,) = journal.claim("me", lease=600, limit=1, regions={"A"})
    journal.commit(task, Changes(image=RECORD))
    seen = pins(journal)["A"].used_at
    let_pass(journal, -100)
    journal.commit(task, Changes(unused=seen))
    assert list(pins(journal)) == ["A"], "somebody has asked for it meanwhile"
    journal.commit(task, Changes(unused=pins(journal)["A"].used_at), Done("deleted"))
    assert pins(journal) == {}


def test_what_its_place_goes_by(journal: Journal, task: Task) -> None:
    facts = journal.facts([HOME])[IMAGE]
    assert facts.sound
    assert facts.now == pytest.approx(journal.database.now(), abs=5)
    journal.commit(task, Changes(image=dataclasses.replace(RECORD, last_error="rotten")))
    assert not journal.facts([HOME])[IMAGE].sound


def test_to_hurry_leaves_no_wish_behind(journal: Journal, task: Task) -> None:
    journal.hurry(WISH)
    assert pins(journal) == {}
    need = journal.need(IMAGE, "A")
    assert need.task is not None
    assert need.replica is not None
    assert need.replica.replica.state is ReplicaState.PENDING


def test_lists_of_replicas_say_when_each_was_needed(journal: Journal, task: Task) -> None:
    save(journal, task, ReplicaState.IN_SYNC)
    (view,) = journal.list_replicas()
    assert view.used_at is None
    journal.ensure(PIN, None)
    (view,) = journal.list_replicas()
    assert view.used_at == pins(journal)["A"].used_at
