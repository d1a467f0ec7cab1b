# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Queue``: durable tasks with leases, the same on every database."""

import collections
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from glancesync.errors import LeaseLost
from glancesync.interfaces import Ask, Changes, Note
from glancesync.journal import schema
from glancesync.journal.journal import Journal
from glancesync.model import (
    Actor,
    Again,
    Decision,
    Done,
    Hint,
    Outcome,
    Priority,
    Replica,
    Retry,
    Snooze,
    Task,
)
from glancesync.states import OPEN, DecisionKind, ReplicaState, TaskKind, TaskState
from tests.contract.conftest import REGIONS
from tests.functional.wait import until

IMAGE = "11111111-2222-3333-4444-555555555555"
OTHER = "66666666-7777-8888-9999-000000000000"
EVER = frozenset(TaskState)


def ids(count: int) -> list[str]:
    return [str(uuid.UUID(int=number + 1)) for number in range(count)]


def replica_ask(region: str, image_id: str = IMAGE, **more: object) -> Ask:
    return Ask(TaskKind.REPLICA, image_id, region, **more)  # type: ignore[arg-type]


def claim(
    journal: Journal,
    owner: str = "me",
    lease: float = 60,
    limit: int = 10,
    closed: frozenset[str] | set[str] = frozenset(),
) -> list[Task]:
    return journal.claim(owner, lease=lease, limit=limit, regions={"", *REGIONS} - closed)


def claim_one(journal: Journal, owner: str = "me", lease: float = 60) -> Task:
    (task,) = claim(journal, owner, lease, limit=1)
    return task


def rescue(journal: Journal) -> int:
    return journal.rescue(fast_attempts=5, pause=600)


def only(journal: Journal, states: frozenset[TaskState] = OPEN) -> Task:
    (task,) = journal.list_tasks(states=states)
    return task


def move_due(journal: Journal, seconds: float, *task_ids: int) -> None:
    """Shift the time at which tasks are due: stands for waiting."""
    t = schema.task
    later = {"state": TaskState.WAITING.value} if seconds > 0 else {}
    with journal.database.write() as connection:
        connection.execute(
            sa.update(t).where(t.c.id.in_(task_ids)).values(due_at=t.c.due_at + seconds, **later)
        )


def end_lease(journal: Journal, task: Task) -> None:
    """Let the lease of a task have ended long ago: stands for waiting."""
    t = schema.task
    with journal.database.write() as connection:
        connection.execute(sa.update(t).where(t.c.id == task.id).values(lease_until=1.0))


# -- asking ---------------------------------------------------------------------------------------


def test_a_key_has_one_open_task_however_often_it_is_asked_for(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    first = only(journal)
    journal.hint([Hint(IMAGE), Hint(IMAGE, merged=3)])
    journal.ask([Ask(TaskKind.IMAGE, IMAGE)], "test")

    assert first.asked == 1
    again = only(journal)
    assert (again.id, again.asked, again.key) == (first.id, 6, f"image:{IMAGE}")


def test_an_ended_task_is_kept_and_a_new_one_is_opened(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    task = claim_one(journal)
    journal.commit(task, Changes(), Done("well"))
    journal.hint([Hint(IMAGE)])

    states = [one.state for one in journal.list_tasks(states=EVER)]
    assert states == [TaskState.DONE, TaskState.READY]
    assert only(journal).id != task.id


def test_hints_leave_a_line_each_with_their_actor(journal: Journal) -> None:
    actor = Actor("u", "p", ("member",), "req-1")
    journal.hint([Hint(IMAGE, actor), Hint(IMAGE, merged=2)])

    newest, oldest = journal.events(IMAGE)
    assert (oldest.what, oldest.actor, oldest.detail) == ("hint", actor, "")
    assert newest.detail == "2 changes"
    assert only(journal).actor == actor, "the newest that anybody named is the task's"
    other = Actor("v", "p")
    journal.hint([Hint(IMAGE, other)])
    assert only(journal).actor == other
    journal.ask([Ask(TaskKind.IMAGE, IMAGE)], "an audit")
    assert only(journal).actor == other


def test_no_hints_and_no_asks_are_no_error(journal: Journal) -> None:
    journal.hint([])
    journal.ask([], "nothing")
    assert journal.list_tasks(states=EVER) == []


def test_a_thousand_hints_in_one_call(journal: Journal) -> None:
    journal.hint([Hint(image_id) for image_id in ids(1000)])
    assert len(journal.list_tasks(limit=2000)) == 1000


@pytest.mark.parametrize("last", [0, 1], ids=["force-first", "force-last"])
def test_force_and_the_higher_urgency_win_whoever_is_last(journal: Journal, last: int) -> None:
    asks = [
        Ask(TaskKind.IMAGE, IMAGE, priority=Priority.USER, force=True),
        Ask(TaskKind.IMAGE, IMAGE, priority=Priority.AUDIT),
    ]
    asks = asks if last else asks[::-1]
    for one in asks:
        journal.ask([one], "test")
    task = only(journal)
    assert (task.force, task.priority, task.asked) == (True, Priority.USER, 2)


@pytest.mark.parametrize("last", [0, 1], ids=["force-first", "force-last"])
def test_the_same_within_one_call(journal: Journal, last: int) -> None:
    asks = [
        Ask(TaskKind.IMAGE, IMAGE, priority=Priority.USER, force=True, urgent=True),
        Ask(TaskKind.IMAGE, IMAGE, priority=Priority.AUDIT),
    ]
    journal.ask(asks if last else asks[::-1], "test")
    task = only(journal)
    assert (task.force, task.priority, task.asked) == (True, Priority.USER, 2)


def test_a_plain_hint_does_not_cut_a_backoff_short_but_an_urgent_wish_does(
    journal: Journal,
) -> None:
    journal.hint([Hint(IMAGE)])
    journal.commit(claim_one(journal), Changes(), Retry(500, "broken", failed=False))
    due = only(journal).due_at

    journal.hint([Hint(IMAGE)])
    assert only(journal).due_at == due
    assert claim(journal, "me", lease=60, limit=1) == []

    journal.ask([Ask(TaskKind.IMAGE, IMAGE, urgent=True)], "by hand")
    assert only(journal).due_at < due
    assert claim_one(journal).attempt == 1


def test_a_hint_on_a_failed_task_is_a_new_chance(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    journal.commit(claim_one(journal), Changes(), Retry(500, "refused", failed=True))
    journal.hint([Hint(IMAGE)])
    assert claim_one(journal).attempt == 1


def test_a_snoozed_task_that_is_asked_for_again_is_due(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    journal.commit(claim_one(journal), Changes(), Snooze(500, "still importing"))
    assert claim(journal, "me", lease=60, limit=1) == []

    journal.hint([Hint(IMAGE)])
    assert claim_one(journal).reason == "still importing"


def test_hints_do_not_push_a_waiting_task_back(journal: Journal) -> None:
    """An image that changes all the time would else never be looked at under load."""
    journal.hint([Hint(IMAGE)])
    due = only(journal).due_at
    journal.hint([Hint(OTHER)])
    journal.hint([Hint(IMAGE)])
    journal.ask([Ask(TaskKind.IMAGE, IMAGE, urgent=True)], "test")

    assert {task.image_id: task for task in journal.list_tasks()}[IMAGE].due_at == due
    assert claim_one(journal).image_id == IMAGE


# -- claiming -------------------------------------------------------------------------------------


def test_a_claim_is_a_lease(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    task = claim_one(journal, "host:1", lease=30)

    assert task.state is TaskState.RUNNING
    assert task.lease_owner == "host:1"
    assert task.lease_token
    assert task.lease_until == pytest.approx(journal.database.now() + 30, abs=5)
    assert task == journal.task(task.id)
    assert claim(journal, "host:2", lease=30, limit=10) == []


def test_the_most_urgent_first_then_the_oldest(journal: Journal) -> None:
    low, first, second, high = ids(4)
    journal.ask([Ask(TaskKind.IMAGE, low, priority=Priority.AUDIT)], "test")
    journal.hint([Hint(first)])
    journal.hint([Hint(second)])
    journal.ask([Ask(TaskKind.IMAGE, high, priority=Priority.USER)], "test")

    order = [claim_one(journal).image_id for _ in range(4)]
    assert order == [high, first, second, low]


def test_a_claim_takes_the_due_siblings_of_a_replica_and_nothing_else(journal: Journal) -> None:
    journal.ask([replica_ask("A"), replica_ask("B"), replica_ask("C"), replica_ask("D")], "test")
    journal.ask([replica_ask("A", OTHER)], "test")
    journal.hint([Hint(IMAGE)])
    later = next(task for task in journal.list_tasks() if task.region == "C")
    move_due(journal, 500, later.id)

    tasks = claim(journal, "me", lease=60, limit=10, closed={"D"})

    assert [(task.image_id, task.region) for task in tasks] == [(IMAGE, "A"), (IMAGE, "B")]


def test_a_claim_never_takes_more_than_its_limit(journal: Journal) -> None:
    journal.ask([replica_ask(region) for region in "ABCDE"], "test")
    sizes = []
    while tasks := claim(journal, "me", lease=60, limit=2):
        sizes.append(len(tasks))
    assert sizes == [2, 2, 1]


def test_image_tasks_are_claimed_alone(journal: Journal) -> None:
    journal.hint([Hint(image_id) for image_id in ids(3)])
    assert len(claim(journal, "me", lease=60, limit=10)) == 1


def test_tasks_of_closed_regions_stay_and_block_nothing(journal: Journal) -> None:
    journal.ask([replica_ask("A", priority=Priority.USER), replica_ask("B")], "test")
    (task,) = claim(journal, "me", lease=60, limit=10, closed={"A"})
    assert task.region == "B"
    assert claim(journal, "me", lease=60, limit=10, closed={"A"}) == []
    assert claim_one(journal).region == "A"


def test_tasks_not_yet_due_and_ended_ones_are_not_claimed(journal: Journal) -> None:
    snoozed, ended = ids(2)
    journal.hint([Hint(snoozed)])
    journal.commit(claim_one(journal), Changes(), Snooze(500, "wait"))
    journal.hint([Hint(ended)])
    journal.commit(claim_one(journal), Changes(), Done("well"))

    assert claim(journal, "me", lease=60, limit=10) == []
    move_due(journal, -501, only(journal).id)
    assert claim_one(journal).image_id == snoozed


def test_many_threads_never_claim_a_task_twice(journal: Journal) -> None:
    wanted = ids(60)
    journal.ask([replica_ask(region, image_id) for image_id in wanted for region in "AB"], "test")
    claimed: collections.Counter[int] = collections.Counter()
    together = threading.Barrier(8)

    def work(owner: str) -> None:
        together.wait(10)
        while tasks := claim(journal, owner, limit=3):
            claimed.update(task.id for task in tasks)

    threads = [threading.Thread(target=work, args=(f"thread {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert set(claimed.values()) == {1}
    assert len(claimed) == 120


def _process(*args: str) -> subprocess.Popen[str]:
    root = pathlib.Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.contract.journal_processes", *args],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_many_processes_never_claim_a_task_twice(journal: Journal, url: str) -> None:
    journal.hint([Hint(image_id) for image_id in ids(60)])
    processes = [_process("claim", url, f"process {number}") for number in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    lines: list[str] = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        lines += said.split()

    assert len(lines) == len(set(lines)) == 60
    done = journal.list_tasks(states={TaskState.DONE}, limit=100)
    assert {str(task.id) for task in done} == set(lines)


# -- leases ---------------------------------------------------------------------------------------


def test_the_tasks_of_an_ended_lease_are_rescued(journal: Journal) -> None:
    for image_id in (IMAGE, OTHER):
        journal.hint([Hint(image_id)])
    dead, alive = claim_one(journal, "dead"), claim_one(journal, "alive")
    assert rescue(journal) == 0
    end_lease(journal, dead)

    assert rescue(journal) == 1
    rescued = journal.task(dead.id)
    assert rescued is not None
    assert (rescued.state, rescued.lease_owner) == (TaskState.READY, None)
    assert rescued.reason == "its worker gave no sign of life"
    assert rescued.attempt == 1
    assert claim_one(journal, "other").id == dead.id
    assert journal.task(alive.id) == alive


def test_a_task_that_takes_its_workers_down_is_slowed_down(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    for attempt in range(5):
        task = claim_one(journal, "dies of it")
        assert task.attempt == attempt
        end_lease(journal, task)
        assert rescue(journal) == 1

    assert claim(journal) == []
    task = only(journal)
    assert (task.state, task.attempt) == (TaskState.FAILED, 5)
    assert task.due_at == pytest.approx(journal.database.now() + 600, abs=5)


def test_renewing_prolongs_what_is_still_held(journal: Journal) -> None:
    for image_id in (IMAGE, OTHER):
        journal.hint([Hint(image_id)])
    kept, gone = claim_one(journal, lease=10), claim_one(journal, lease=10)
    end_lease(journal, gone)
    rescue(journal)

    assert journal.renew([kept, gone], lease=1000) == {kept.id}
    after = journal.task(kept.id)
    assert after is not None
    assert after.lease_until is not None
    assert after.lease_until > journal.database.now() + 900


def test_however_many_are_renewed_at_once(journal: Journal) -> None:
    """A handful of round trips, as other transactions wait meanwhile."""
    journal.ask([replica_ask("A", image_id) for image_id in ids(300)], "test")
    tasks = [claim_one(journal, lease=10) for _ in range(300)]
    statements: list[str] = []

    @sa.event.listens_for(journal.database.engine, "before_cursor_execute")
    def count(connection: object, cursor: object, statement: str, *more: object) -> None:
        statements.append(statement)

    other = dataclasses.replace(tasks[1], lease_token=tasks[0].lease_token)
    assert journal.renew([tasks[0], other, *tasks[2:]], lease=1000) == {
        task.id for task in tasks if task is not tasks[1]
    }
    assert len(statements) < 10
    assert journal.renew([], lease=1000) == set()
    found = {task.id: task for task in journal.list_tasks(limit=300)}
    soon = journal.database.now() + 900
    late = [number for number, task in found.items() if (task.lease_until or 0) > soon]
    assert len(late) == 299
    assert tasks[1].id not in late


def test_a_lease_that_ended_but_was_not_rescued_can_be_renewed(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    task = claim_one(journal)
    end_lease(journal, task)
    assert journal.renew([task], lease=60) == {task.id}
    assert rescue(journal) == 0


def test_release_gives_back_at_no_cost_and_passes_over_what_is_lost(journal: Journal) -> None:
    for image_id in (IMAGE, OTHER):
        journal.hint([Hint(image_id)])
    held, lost = claim_one(journal), claim_one(journal)
    journal.cancel_task(lost.id, Actor())

    journal.release([held, lost])
    back = only(journal)
    assert (back.id, back.state, back.attempt) == (held.id, TaskState.READY, 0)
    assert back.lease_token is None
    assert claim_one(journal).id == held.id


@pytest.mark.parametrize("how", ["rescued", "claimed by another", "cancelled", "ended"])
@pytest.mark.parametrize("outcome", [None, Done("well"), Retry(1, "no", failed=True)])
def test_who_lost_a_lease_writes_nothing_at_all(
    journal: Journal, how: str, outcome: Done | Retry | None
) -> None:
    journal.ask([replica_ask("A")], "test")
    task = claim_one(journal)
    if how == "cancelled":
        journal.cancel_task(task.id, Actor())
    elif how == "ended":
        journal.commit(task, Changes(), Done("before"))
    else:
        end_lease(journal, task)
        rescue(journal)
        if how == "claimed by another":
            claim_one(journal, "another")
    before = (journal.task(task.id), journal.events(IMAGE), journal.list_tasks(states=EVER))

    changes = Changes(
        replica=Replica(IMAGE, "A", ReplicaState.IN_SYNC, IMAGE, made=True),
        pending=("B",),
        notes=(Note("lie", "", "A"),),
        asks=(Ask(TaskKind.IMAGE, OTHER),),
    )
    with pytest.raises(LeaseLost):
        journal.commit(task, changes, outcome)

    assert (journal.task(task.id), journal.events(IMAGE), journal.list_tasks(states=EVER)) == before
    assert journal.replicas_of(IMAGE) == []


def test_a_commit_is_all_or_nothing(journal: Journal) -> None:
    journal.ask([replica_ask("A")], "test")
    task = claim_one(journal)
    journal.commit(task, Changes(replica=Replica(IMAGE, "A", ReplicaState.DELETED)))
    events = journal.events(IMAGE)

    illegal = Changes(
        replica=Replica(IMAGE, "A", ReplicaState.IN_SYNC, IMAGE),
        notes=(Note("lie"),),
        asks=(Ask(TaskKind.IMAGE, OTHER),),
    )
    with pytest.raises(ValueError, match="can't move"):
        journal.commit(task, illegal, Done("well"))
    late = Changes(pending=("B",), notes=(Note("what", "d" * 10, None),))  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"(?i)null"):
        journal.commit(task, late, Done("well"))

    assert journal.task(task.id) == task
    assert journal.events(IMAGE) == events
    assert [one.region for one in journal.replicas_of(IMAGE)] == ["A"]


def test_a_commit_without_outcome_keeps_the_task(journal: Journal) -> None:
    journal.ask([replica_ask("A")], "test")
    task = claim_one(journal)
    journal.commit(task, Changes(notes=(Note("create", "x", "A"),)))
    assert journal.task(task.id) == task
    assert journal.events(IMAGE)[0].what == "create"


# -- outcomes -------------------------------------------------------------------------------------


def test_done(journal: Journal) -> None:
    journal.ask([replica_ask("A", force=True)], "test")
    journal.commit(claim_one(journal), Changes(), Retry(0, "once", failed=False))
    journal.commit(claim_one(journal), Changes(), Done("well"))

    task = only(journal, EVER)
    assert (task.state, task.reason, task.attempt) == (TaskState.DONE, "well", 0)
    assert task.ended_at is not None
    assert (task.lease_owner, task.lease_token, task.lease_until) == (None, None, None)


def test_what_was_asked_for_while_it_ran_is_due_again(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    task = claim_one(journal)
    journal.hint([Hint(IMAGE)])
    journal.commit(task, Changes(), Done("well"))

    again = claim_one(journal)
    assert (again.id, again.asked, again.attempt) == (task.id, 2, 0)
    journal.commit(again, Changes(), Done("well"))
    assert journal.list_tasks() == []


def test_a_snooze_costs_no_attempt_and_remembers_since_when(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    journal.commit(claim_one(journal), Changes(), Snooze(0, "importing"))
    first = only(journal)
    journal.commit(claim_one(journal), Changes(), Snooze(500, "importing"))
    second = only(journal)

    assert first.waiting_since is not None
    assert second.waiting_since == first.waiting_since
    assert (second.state, second.attempt) == (TaskState.WAITING, 0)
    assert second.due_at == pytest.approx(journal.database.now() + 500, abs=5)


def test_a_snooze_that_was_asked_for_again_is_due(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    task = claim_one(journal)
    journal.hint([Hint(IMAGE)])
    journal.commit(task, Changes(), Snooze(500, "importing"))
    assert claim_one(journal).id == task.id


def test_waiting_ends_when_something_else_happens(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    journal.commit(claim_one(journal), Changes(), Snooze(0, "importing"))
    journal.commit(claim_one(journal), Changes(), Retry(0, "broken", failed=False))
    assert only(journal).waiting_since is None


def test_a_retry_counts_and_waits_and_says_why(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    journal.commit(claim_one(journal), Changes(), Retry(0, "first", failed=False))
    journal.commit(claim_one(journal), Changes(), Retry(500, "second", failed=True))

    task = only(journal)
    assert (task.state, task.attempt, task.reason) == (TaskState.FAILED, 2, "second")
    assert task.due_at == pytest.approx(journal.database.now() + 500, abs=5)
    move_due(journal, -501, task.id)
    assert claim_one(journal).attempt == 2, "a failed task is tried again when due"


def test_success_after_failure_forgets_the_attempts(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    journal.commit(claim_one(journal), Changes(), Retry(0, "broken", failed=False))
    task = claim_one(journal)
    journal.hint([Hint(IMAGE)])
    journal.commit(task, Changes(), Done("well"))
    assert only(journal).attempt == 0


# -- by hand --------------------------------------------------------------------------------------


def test_retry_makes_a_failed_task_due_with_all_its_attempts(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    journal.commit(claim_one(journal), Changes(), Retry(500, "broken", failed=True))
    assert journal.retry_task(only(journal).id, Actor("admin"))

    task = only(journal)
    assert (task.state, task.attempt) == (TaskState.READY, 0)
    assert journal.events(IMAGE)[0].actor == Actor("admin")
    assert claim_one(journal).id == task.id


def test_retry_of_a_running_task_runs_it_once_more(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    task = claim_one(journal)
    assert journal.retry_task(task.id, Actor())
    assert journal.renew([task], lease=60) == {task.id}
    journal.commit(task, Changes(), Done("well"))
    assert claim_one(journal).id == task.id


@pytest.mark.parametrize("outcome", [Retry(500, "no", failed=True), Snooze(500, "busy")])
def test_who_asks_while_it_runs_and_fails_does_not_wait_for_the_backoff(
    journal: Journal, outcome: Outcome
) -> None:
    """But a hint does: the region is no better because the image has changed."""

    def wish(task: Task) -> None:
        journal.ask([Ask(TaskKind.IMAGE, IMAGE, priority=Priority.USER, urgent=True)], "run")

    def by_hand(task: Task) -> None:
        journal.retry_task(task.id, Actor())

    journal.hint([Hint(IMAGE)])
    for urge in (wish, by_hand):
        task = claim_one(journal)
        urge(task)
        journal.commit(task, Changes(), outcome)
        assert only(journal).state is TaskState.READY
    task = claim_one(journal)
    journal.commit(task, Changes(), Retry(500, "no", failed=True))
    assert only(journal).state is TaskState.FAILED, "nobody asked meanwhile"


def test_a_hint_while_it_runs_and_fails_waits_for_the_backoff(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    task = claim_one(journal)
    journal.hint([Hint(IMAGE)])
    journal.commit(task, Changes(), Retry(500, "no", failed=False))
    assert only(journal).state is TaskState.WAITING


@pytest.mark.parametrize("state", sorted(OPEN))
def test_cancel_ends_a_task_from_any_open_state(journal: Journal, state: TaskState) -> None:
    journal.hint([Hint(IMAGE)])
    if state is not TaskState.READY:
        task = claim_one(journal)
        if state is TaskState.FAILED:
            journal.commit(task, Changes(), Retry(500, "broken", failed=True))
    number = only(journal).id

    assert journal.cancel_task(number, Actor())
    task = only(journal, EVER)
    assert (task.state, task.reason) == (TaskState.CANCELLED, "cancelled by hand")
    events = journal.events(IMAGE)
    assert not journal.cancel_task(number, Actor())
    assert not journal.retry_task(number, Actor())
    assert journal.events(IMAGE) == events, "what was not done is not in the log"
    journal.hint([Hint(IMAGE)])
    assert only(journal).id != number


# -- decisions ------------------------------------------------------------------------------------

ADOPT = Decision(DecisionKind.ADOPT, OTHER)
HUMAN, HOOK = Actor("human"), Actor("hook")


def decide(journal: Journal, decision: Decision = ADOPT) -> None:
    journal.ask([replica_ask("A", actor=HUMAN, decision=decision)])


def test_a_task_opened_by_a_decision_ends_with_it(journal: Journal) -> None:
    decide(journal)
    task = claim_one(journal)
    assert (task.decision, task.asked, task.actor) == (ADOPT, 0, HUMAN)
    journal.commit(task, Changes(), Retry(0, "later", failed=False))
    task = claim_one(journal)
    assert task.decision == ADOPT
    assert journal.retry_task(task.id, HUMAN), "more haste is no wish for other work"
    journal.commit(task, Changes(), Done("adopted"))
    assert only(journal, EVER).state is TaskState.DONE
    assert journal.events(IMAGE)[-1].detail == f"adopt image {OTHER}"


def wish(journal: Journal) -> None:
    journal.ask([replica_ask("A", actor=HOOK)], "test")


def carried_out_then_the_wish(journal: Journal, task: Task) -> None:
    assert (task.decision, task.actor) == (ADOPT, HUMAN)
    journal.commit(task, Changes(), Done("adopted"))
    task = claim_one(journal)
    assert (task.decision, task.asked) == (None, 1)
    journal.commit(task, Changes(), Done("in sync"))
    assert claim(journal) == []


@pytest.mark.parametrize("order", [(decide, wish), (wish, decide)], ids=["before", "after"])
def test_a_decision_comes_before_the_wishes_of_others(
    journal: Journal, order: tuple[Callable[[Journal], None], ...]
) -> None:
    for one in order:
        one(journal)
    task = claim_one(journal)
    journal.commit(task, Changes(), Snooze(600, "not yet"))
    assert claim(journal) == [], "a wish from before does not hurry it"
    move_due(journal, -600, task.id)
    carried_out_then_the_wish(journal, claim_one(journal))


def test_a_wish_while_a_decision_is_carried_out_comes_after_it(journal: Journal) -> None:
    decide(journal)
    task = claim_one(journal)
    wish(journal)
    carried_out_then_the_wish(journal, task)


def test_a_decision_while_other_work_runs_is_next(journal: Journal) -> None:
    wish(journal)
    task = claim_one(journal)
    decide(journal)
    journal.commit(task, Changes(), Done("in sync"))
    task = claim_one(journal)
    assert (task.decision, task.actor) == (ADOPT, HUMAN)
    journal.commit(task, Changes(), Done("adopted"))
    assert claim(journal) == []


def test_a_wish_in_the_same_call_does_not_take_the_place_of_who_decided(journal: Journal) -> None:
    decision = replica_ask("A", actor=HUMAN, decision=ADOPT)
    journal.ask([decision, replica_ask("A", actor=HOOK)])
    task = only(journal)
    assert (task.decision, task.asked, task.actor) == (ADOPT, 1, HUMAN)


def test_a_second_decision_does_not_replace_the_first(journal: Journal) -> None:
    decide(journal)
    decide(journal, Decision(DecisionKind.OWN, OTHER))
    assert only(journal).decision == ADOPT


def test_a_decision_may_lead_to_other_work(journal: Journal) -> None:
    decide(journal)
    journal.commit(claim_one(journal), Changes(), Again(0, "adopted"))
    task = claim_one(journal)
    assert task.decision is None
    journal.commit(task, Changes(), Done("in sync"))
    assert claim(journal) == []


def test_tasks_that_do_not_exist(journal: Journal) -> None:
    assert journal.task(4711) is None
    assert not journal.retry_task(4711, Actor())
    assert not journal.cancel_task(4711, Actor())


# -- waking ---------------------------------------------------------------------------------------


def test_the_worker_is_woken_by_whatever_may_have_made_a_task_due(journal: Journal) -> None:
    woken: list[str] = []
    journal.on_work(lambda: woken.append("!"))

    def wakes() -> bool:
        once = bool(woken)
        woken.clear()
        return once

    journal.hint([Hint(IMAGE)])
    assert wakes()
    task = claim_one(journal)
    assert not wakes()
    journal.commit(task, Changes(notes=(Note("create"),)))
    assert not wakes()
    journal.commit(task, Changes(), Retry(500, "no", failed=True))
    assert wakes()
    journal.retry_task(task.id, Actor())
    assert wakes()
    journal.update_region("A", {"enabled": True})
    assert wakes()


# -- crashes --------------------------------------------------------------------------------------


def test_what_was_acknowledged_survives_kill_minus_nine(journal: Journal, url: str) -> None:
    """P2: hint() returned, so the row is there, whatever happened to the process after."""
    processes = [_process("hint", url, name) for name in ("a", "b")]
    acknowledged: list[str] = []

    def listen(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        acknowledged.extend(line.strip() for line in process.stdout if line.endswith("\n"))

    listeners = [threading.Thread(target=listen, args=(process,)) for process in processes]
    try:
        for listener in listeners:
            listener.start()
        for number, process in enumerate(processes):
            until(lambda n=number: len(acknowledged) > 40 * (n + 1), 60, "hints")  # type: ignore[misc]
            os.kill(process.pid, signal.SIGKILL)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for listener in listeners:
        listener.join(10)
    for process in processes:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()

    assert len(acknowledged) > 80
    tasks = journal.list_tasks(limit=100_000)
    assert set(acknowledged) <= {task.image_id for task in tasks}
    assert len(tasks) <= len(acknowledged) + len(processes), "at most one each was in the air"
    for image_id in acknowledged[-5:]:
        assert journal.events(image_id), "the event row and the task were one transaction"
    journal.hint([Hint(IMAGE)])  # the lock of the dead is gone
