# SPDX-License-Identifier: Apache-2.0
"""What is counted for ever, since when somebody waits, and how far the regions are."""

import threading

import pytest
import sqlalchemy as sa

from glancesync.counts import Count, Counter
from glancesync.errors import LeaseLost
from glancesync.interfaces import Ask, Changes
from glancesync.journal import schema
from glancesync.journal.journal import Journal
from glancesync.model import (
    Again,
    Audit,
    Done,
    Hint,
    ImageRecord,
    Outcome,
    Priority,
    Replica,
    Retry,
    Snooze,
    Standing,
    Task,
)
from glancesync.states import ReplicaState, TaskKind
from tests.contract.test_queue import IMAGE, OTHER, claim_one, end_lease, only, replica_ask, rescue

pytestmark = pytest.mark.matrix(database_kind=["mariadb"])


def counted(journal: Journal, counter: Counter) -> dict[tuple[str, str], float]:
    return {
        (one.region, one.label): one.amount for one in journal.counts() if one.counter == counter
    }


def wait(journal: Journal, seconds: float, task: Task) -> None:
    """Let a task have been wanted for so long: stands for waiting."""
    t = schema.task
    with journal.database.write() as connection:
        connection.execute(sa.update(t).where(t.c.id == task.id).values(since=t.c.since - seconds))


def record(image_id: str = IMAGE, size: int | None = 100) -> ImageRecord:
    return ImageRecord(
        image_id, 1, "f", True, "name", "owner", "active", size, None, None, None, 0.0, 0.0
    )


def follow(journal: Journal, task: Task, state: ReplicaState = ReplicaState.IN_SYNC) -> None:
    replica = Replica(task.image_id, task.region, state, replica_id=task.image_id)
    journal.commit(task, Changes(replica=replica), Done("well"))


def standing(journal: Journal, region: str) -> Standing:
    standings, _ = journal.standings()
    return next(one for one in standings if one.region.name == region)


# -- counts ---------------------------------------------------------------------------------------


def test_counts_add_up(journal: Journal) -> None:
    for amount in (1, 2.5):
        journal.hint([Hint(IMAGE)])
        more = (Count(Counter.BYTES, "A", "upload", amount), Count(Counter.MISMATCHES, "B"))
        journal.commit(claim_one(journal), Changes(counts=(*more, more[1])), Done("well"))
    assert counted(journal, Counter.BYTES) == {("A", "upload"): 3.5}
    assert counted(journal, Counter.MISMATCHES) == {("B", ""): 4}
    assert counted(journal, Counter.TASKS) == {("", "image"): 2}


def test_who_lost_the_lease_counts_nothing(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    task = claim_one(journal)
    end_lease(journal, task)
    assert rescue(journal) == 1
    with pytest.raises(LeaseLost):
        journal.commit(task, Changes(counts=(Count(Counter.DRIFT),)), Done("well"))
    assert counted(journal, Counter.DRIFT) == {}
    assert counted(journal, Counter.TASKS) == {}
    assert counted(journal, Counter.FAILURES) == {("", "abandoned"): 1}


@pytest.mark.always
def test_many_count_at_the_same_time(journal: Journal) -> None:
    """And none of them waits for another that waits for it."""
    together = [Count(Counter.DRIFT, region, label) for region in "ABC" for label in "xyz"]
    barrier = threading.Barrier(4)
    failed: list[Exception] = []

    def work(number: int) -> None:
        barrier.wait(30)
        try:
            for turn in range(10):
                order = together if number % 2 else together[::-1]
                journal.hint([Hint(IMAGE)], dropped=1)
                journal.ask([replica_ask("A", f"{number}-{turn:034}")], "test")
                tasks: list[Task] = []
                while not tasks:  # the others may be at it
                    tasks = journal.claim("me", lease=60, limit=1, regions={"A"})
                (task,) = tasks
                journal.commit(task, Changes(counts=tuple(order)), Done("well"))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert set(counted(journal, Counter.DRIFT).values()) == {40}
    assert counted(journal, Counter.DROPPED) == {("", ""): 40}
    assert counted(journal, Counter.TASKS) == {("A", "replica"): 40}


@pytest.mark.parametrize(
    ("outcome", "done"),
    [(Done(""), 1), (Again(5, ""), 1), (Snooze(5, ""), 0), (Retry(5, "", failed=True), 0)],
)
def test_what_counts_as_done(journal: Journal, outcome: Outcome, done: int) -> None:
    journal.ask([replica_ask("A")], "test")
    journal.commit(claim_one(journal), Changes(), outcome)
    assert sum(counted(journal, Counter.TASKS).values()) == done


# -- since when somebody waits --------------------------------------------------------------------


def test_the_time_from_a_hint_to_the_replica(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    wait(journal, 100, only(journal))
    image = claim_one(journal)
    ask = Ask(TaskKind.REPLICA, IMAGE, "A", since=image.since)
    journal.commit(image, Changes(image=record(), asks=(ask,)), Done(""))
    assert standing(journal, "A").oldest == pytest.approx(100, abs=20)
    follow(journal, claim_one(journal))
    found = counted(journal, Counter.SYNC)
    assert found.pop(("A", "sum")) == pytest.approx(100, abs=20)
    assert found == {("A", "300"): 1}


def test_an_older_wish_stays_and_a_new_task_begins_anew(journal: Journal) -> None:
    journal.ask([replica_ask("A")], "test")
    wait(journal, 1000, only(journal))
    journal.ask([replica_ask("A", since=journal.database.now() - 10)], "test")
    follow(journal, claim_one(journal))
    journal.ask([replica_ask("A", since=journal.database.now() - 4)], "test")
    follow(journal, claim_one(journal))
    found = counted(journal, Counter.SYNC)
    del found["A", "sum"]
    assert found == {("A", "3600"): 1, ("A", "5"): 1}


def test_asked_again_while_it_ran_only_the_new_wish_is_left(journal: Journal) -> None:
    journal.ask([replica_ask("A")], "test")
    wait(journal, 1000, only(journal))
    task = claim_one(journal)
    journal.ask([replica_ask("A")], "test")
    follow(journal, task)
    assert only(journal).since == pytest.approx(journal.database.now(), abs=20)


def test_nobody_waits_for_an_image_that_is_still_uploaded(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    wait(journal, 1000, only(journal))
    journal.commit(claim_one(journal), Changes(), Snooze(50, "saving", wanted=False))
    assert (standing(journal, "E").tasks, journal.standings()[1]) == ({}, 0)
    journal.hint([Hint(IMAGE)])
    home = standing(journal, "E")
    assert home.tasks == {"ready": 1}
    assert home.oldest < 20


def test_what_fails_is_waited_for_all_the_time(journal: Journal) -> None:
    journal.ask([replica_ask("A")], "test")
    wait(journal, 1000, only(journal))
    journal.commit(claim_one(journal), Changes(), Retry(600, "down", failed=True))
    assert standing(journal, "A").oldest > 999
    assert standing(journal, "A").tasks == {"failed": 1}


@pytest.mark.parametrize(
    ("state", "priority", "counts"),
    [
        (ReplicaState.IN_SYNC, Priority.USER, True),
        (ReplicaState.PARTIAL, Priority.HINT + 600, True),
        (ReplicaState.DELETED, Priority.HINT, True),
        (ReplicaState.WAITING, Priority.HINT, False),
        (ReplicaState.IN_SYNC, Priority.AUDIT, False),
    ],
)
def test_which_ends_are_timed(
    journal: Journal, state: ReplicaState, priority: int, counts: bool
) -> None:
    """What an audit found was not told of by anybody, so there is nothing to measure from."""
    journal.ask([replica_ask("A", priority=priority)], "test")
    follow(journal, claim_one(journal), state)
    assert bool(counted(journal, Counter.SYNC)) is counts


# -- how far the regions are ----------------------------------------------------------------------


def put(journal: Journal, image: ImageRecord, *replicas: Replica) -> None:
    """Have the journal know an image and replicas of it, with no task open."""
    for replica in replicas or (None,):
        journal.ask([Ask(TaskKind.IMAGE, image.image_id)], "test")
        journal.commit(claim_one(journal), Changes(image=image, replica=replica), Done(""))


def test_bytes_that_are_still_to_come(journal: Journal) -> None:
    there = {"replica_id": IMAGE, "made": True, "bytes_total": 100}
    put(
        journal,
        record(size=100),
        Replica(IMAGE, "A"),
        Replica(IMAGE, "B", ReplicaState.COPYING, bytes_done=30, **there),
        Replica(IMAGE, "C", ReplicaState.IN_SYNC, bytes_done=100, **there),
        Replica(IMAGE, "D", ReplicaState.CONFLICT),
    )
    put(journal, record(OTHER, size=None), Replica(OTHER, "A"))
    standings, behind = journal.standings()
    assert {one.region.name: one.bytes_behind for one in standings} == {
        "A": 100, "B": 70, "C": 0, "D": 0, "E": 0,
    }  # fmt: skip
    assert behind == 2
    pending = Replica(IMAGE, "C", ReplicaState.PENDING, bytes_done=100, **there)
    put(journal, record(size=100), pending)
    assert standing(journal, "C").bytes_behind == 0, "only its metadata is to follow"
    put(journal, record(size=100), Replica(IMAGE, "C", ReplicaState.FAILED, bytes_done=100))
    assert standing(journal, "C").bytes_behind == 100, "a copy that was removed comes again"


def test_images_behind_are_counted_once(journal: Journal) -> None:
    put(journal, record(), Replica(IMAGE, "A"), Replica(IMAGE, "B"))
    journal.ask([replica_ask("A"), replica_ask("C"), Ask(TaskKind.IMAGE, IMAGE)], "test")
    assert journal.standings()[1] == 1
    journal.hint([Hint(OTHER)])
    assert journal.standings()[1] == 2


def test_periodic_tasks_are_no_backlog(journal: Journal) -> None:
    journal.discovered({"A": "http://A", "E": "http://E"}, "E")
    assert [one.tasks for one in journal.standings()[0]] == [{}] * 5


def test_an_audit_is_timed_when_it_ends(journal: Journal) -> None:
    journal.ask([Ask(TaskKind.AUDIT, "", "A")], "test")
    task = claim_one(journal)
    began = journal.database.now() - 30
    running = Audit("A", started_at=began)
    journal.commit(task, Changes(audit=running))
    assert standing(journal, "A").audit.running
    assert standing(journal, "A").audit.took is None
    ended = Audit("A", started_at=began, finished_at=began, seen=7)
    journal.commit(task, Changes(audit=ended), Again(5, ""))
    audit = standing(journal, "A").audit
    assert audit.took == pytest.approx(30, abs=20)
    assert (audit.running, audit.seen) == (False, 7)
