# SPDX-License-Identifier: Apache-2.0
"""Which task is next, and what makes those due that wait."""

from collections.abc import Collection

import pytest
import sqlalchemy as sa

from glancesync.breaker import Breaker
from glancesync.errors import Transient
from glancesync.interfaces import Ask, Changes
from glancesync.journal import queue, schema
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Again, Done, Hint, Priority, Retry, Snooze, Task, priority_for
from glancesync.states import TaskKind, TaskState
from tests.contract.conftest import REGIONS
from tests.contract.test_queue import IMAGE, OTHER, claim_one, ids, move_due, replica_ask
from tests.journals import let_pass

pytestmark = pytest.mark.matrix(database_kind=["mariadb"])

PERIODIC = (TaskKind.WATCH, TaskKind.AUDIT)


def claim(journal: Journal, *regions: str, limit: int = 1) -> list[Task]:
    return journal.claim("me", lease=60, limit=limit, regions=set(regions))


def periodic(journal: Journal) -> dict[tuple[str, str], Task]:
    found = journal.list_tasks(kinds=[kind.value for kind in PERIODIC])
    return {(task.kind.value, task.region): task for task in found}


def open_always(journal: Journal, *regions: str) -> None:
    with journal.database.write() as connection:
        queue.open_always(connection, PERIODIC, regions)


def make_due(journal: Journal, kind: TaskKind, *regions: str) -> None:
    with journal.database.write() as connection:
        queue.make_due(connection, kind, regions)


# -- which is next --------------------------------------------------------------------------------


def test_only_tasks_of_the_regions_asked_for(journal: Journal) -> None:
    journal.ask([replica_ask(region) for region in "ABC"], "test")
    journal.hint([Hint(OTHER)])

    assert claim(journal) == []
    assert [task.region for task in claim(journal, "B", limit=10)] == ["B"]
    assert [task.region for task in claim(journal, "", limit=10)] == [""]
    assert [task.region for task in claim(journal, "A", "C", "nowhere", limit=10)] == ["A", "C"]


def test_a_region_that_nobody_knows_is_not_looked_for(journal: Journal) -> None:
    """Its tasks stay: it may be recorded any moment."""
    journal.ask([replica_ask("unheard of")], "test")
    assert claim(journal, "unheard of") == []
    journal.discovered({"unheard of": "http://x", "E": "http://e"}, "E")
    (task,) = claim(journal, "unheard of")
    assert task.image_id == IMAGE


def test_a_full_region_hides_no_task_of_another(journal: Journal) -> None:
    """P8: thousands of older and more urgent tasks wait for A."""
    many = [replica_ask("A", image_id, priority=Priority.USER) for image_id in ids(1500)]
    journal.ask(many, "test")
    journal.ask([replica_ask("B", OTHER, priority=Priority.AUDIT)], "test")

    assert [task.region for task in claim(journal, "A", "B")] == ["A"]
    assert [task.region for task in claim(journal, "B", limit=5)] == ["B"]


def test_rank_is_the_wait_that_priority_allows(journal: Journal) -> None:
    """Nothing waits for ever: an audit's task is once more urgent than a user's."""
    audit, hint, user = ids(3)
    journal.ask([replica_ask("A", audit, priority=Priority.AUDIT)], "test")
    journal.ask([replica_ask("A", hint, priority=Priority.HINT)], "test")
    journal.ask([replica_ask("A", user, priority=Priority.USER)], "test")
    tasks = {task.image_id: task.id for task in journal.list_tasks()}
    t = schema.task
    with journal.database.write() as connection:  # so long the audit's has waited
        connection.execute(
            sa.update(t)
            .where(t.c.id == tasks[audit])
            .values(due_at=t.c.due_at - Priority.AUDIT + Priority.HINT - 1)
        )
    assert [claim(journal, "A")[0].image_id for _ in range(3)] == [user, audit, hint]


def test_a_backlog_of_days_delays_no_change_and_no_person(journal: Journal) -> None:
    """A region that is being filled: thousands of tasks, the oldest of two days ago."""
    filling, hint, user = ids(20), *ids(22)[20:]
    journal.ask([replica_ask("A", one, priority=Priority.AUDIT) for one in filling], "test")
    for task in journal.list_tasks():
        move_due(journal, -2 * 86400, task.id)
    journal.ask([replica_ask("A", hint, priority=priority_for(Priority.HINT, 10**12))], "test")
    (task,) = journal.list_tasks(image_id=hint)
    move_due(journal, -1800, task.id)
    journal.ask([replica_ask("A", user, priority=Priority.USER)], "test")
    assert [claim(journal, "A")[0].image_id for _ in range(3)] == [user, hint, filling[0]]


def test_all_regions_are_looked_at_again_when_options_have_changed(journal: Journal) -> None:
    journal.discovered({region: f"http://{region}" for region in REGIONS}, REGIONS[-1])

    def work() -> list[tuple[TaskKind, str]]:
        done = []
        while found := claim(journal, *REGIONS):
            journal.commit(found[0], Changes(), Again(500, "looked"))
            done.append((found[0].kind, found[0].region))
        return sorted(done)

    work()
    journal.look_again()
    assert work() == [(TaskKind.WATCH, region) for region in REGIONS]


def test_the_most_urgent_of_all_regions_is_first(journal: Journal) -> None:
    journal.ask([replica_ask("A", IMAGE, priority=Priority.AUDIT)], "test")
    journal.ask([replica_ask("B", OTHER, priority=Priority.USER)], "test")
    assert [claim(journal, "A", "B")[0].region for _ in range(2)] == ["B", "A"]


# -- waking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outcome",
    [Snooze(500, "importing"), Retry(500, "no", False), Retry(500, "no", True), Again(500, "x")],
    ids=["snoozed", "waiting", "failed", "again"],
)
def test_what_waits_is_ready_when_due_and_not_before(
    journal: Journal, outcome: Snooze | Retry | Again
) -> None:
    journal.ask([replica_ask("A")], "test")
    (task,) = claim(journal, "A")
    journal.commit(task, Changes(), outcome)
    assert claim(journal, "A") == []
    waiting = journal.task(task.id)
    assert waiting is not None
    assert waiting.state in (TaskState.WAITING, TaskState.FAILED)

    move_due(journal, -501, task.id)
    (again,) = claim(journal, "A")
    assert again.id == task.id
    assert again.attempt == (1 if isinstance(outcome, Retry) else 0)


@pytest.mark.always
def test_many_that_are_due_at_once_are_all_claimed(journal: Journal) -> None:
    """More than one claim makes ready."""
    t = schema.task
    journal.ask([replica_ask("A", image_id) for image_id in ids(1200)], "test")
    with journal.database.write() as connection:
        connection.execute(sa.update(t).values(state="waiting", due_at=t.c.due_at - 1))
    ready = []
    for _ in range(3):
        claim(journal, "A")
        ready.append(len(journal.list_tasks(states={TaskState.READY}, limit=2000)))
    assert ready == [499, 998, 1197]


def test_a_wake_of_one_region_does_not_depend_on_who_claims(journal: Journal) -> None:
    journal.ask([replica_ask("A")], "test")
    (task,) = claim(journal, "A")
    journal.commit(task, Changes(), Snooze(500, "importing"))
    move_due(journal, -501, task.id)
    assert claim(journal, "B") == []
    assert [one.id for one in claim(journal, "A")] == [task.id]


# -- tasks that never end -------------------------------------------------------------------------


def test_what_never_ends_is_opened_once(journal: Journal) -> None:
    open_always(journal, "A", "B")
    first = periodic(journal)
    assert set(first) == {(kind.value, region) for kind in PERIODIC for region in "AB"}
    assert {task.key for task in first.values()} == {"watch:A", "watch:B", "audit:A", "audit:B"}

    open_always(journal, "A", "B", "C")
    again = periodic(journal)
    assert again.keys() - first.keys() == {("watch", "C"), ("audit", "C")}
    assert {name: again[name] for name in first} == first, "not asked for once more"


def test_again_keeps_the_task_open(journal: Journal) -> None:
    open_always(journal, "A")
    _rest(journal, "A")
    found = periodic(journal)
    assert {task.state for task in found.values()} == {TaskState.WAITING}
    assert {task.reason for task in found.values()} == {"well"}


def _rest(journal: Journal, *regions: str) -> None:
    while tasks := claim(journal, *regions):
        journal.commit(tasks[0], Changes(), Again(500, "well"))


def test_making_due_concerns_one_kind_of_the_regions_named(journal: Journal) -> None:
    open_always(journal, "A", "B")
    _rest(journal, "A", "B")
    make_due(journal, TaskKind.AUDIT, "A", "nowhere")
    (task,) = claim(journal, "A", "B", limit=10)
    assert task.key == "audit:A"
    assert claim(journal, "A", "B", limit=10) == []


def test_making_due_what_runs_has_it_run_again(journal: Journal) -> None:
    open_always(journal, "A")
    _rest(journal, "A")
    make_due(journal, TaskKind.AUDIT, "A")
    (task,) = claim(journal, "A")
    make_due(journal, TaskKind.AUDIT, "A")
    assert claim(journal, "A") == [], "not twice at a time"
    journal.commit(task, Changes(), Again(500, "well"))
    (again,) = claim(journal, "A")
    assert again.key == "audit:A"
    journal.commit(again, Changes(), Again(500, "well"))
    assert claim(journal, "A") == []


@pytest.mark.always
def test_an_audit_by_hand_and_a_region_that_opens_are_due_at_once(journal: Journal) -> None:
    open_always(journal, "A", "B")
    _rest(journal, "A", "B")
    journal.run_audit("A", Actor("admin"))
    journal.update_region("B", {"maintenance": False})
    assert {claim(journal, "A", "B")[0].key for _ in range(2)} == {"audit:A", "audit:B"}
    (said,) = [event for event in journal.events("") if event.what == "asked"]
    assert (said.detail, said.actor) == ("audit", Actor("admin"))


# -- a region that answers again ------------------------------------------------------------------


def _failed(journal: Journal, regions: Collection[str]) -> None:
    """A failed task in each region, one merely snoozed, and one that waits in A."""
    journal.ask([replica_ask(region) for region in regions], "test")
    for task in claim(journal, *regions, limit=10):
        journal.commit(task, Changes(), Retry(500, "down", failed=task.region != "A"))
    journal.ask([replica_ask("A", OTHER)], "test")
    (task,) = claim(journal, "A")
    journal.commit(task, Changes(), Snooze(500, "importing"))


@pytest.mark.parametrize(("home", "due"), [(False, ["A"]), (True, ["A", "B", "C"])])
def test_what_waited_for_a_region_is_due_when_it_answers(
    journal: Journal, home: bool, due: list[str]
) -> None:
    """Of home: all, since nothing can be done without it. A snooze is no failure."""
    region = REGIONS[-1] if home else "A"
    breaker = Breaker(threshold=1, pause=60)
    journal.note_region(region, Transient(region, "down"), breaker)
    _failed(journal, "ABC")
    let_pass(journal, region, 61)
    journal.note_region(region, None, breaker)

    claimed = claim(journal, "A", "B", "C", limit=10)
    assert [(task.region, task.image_id) for task in claimed] == [(name, IMAGE) for name in due]


# -- poison ---------------------------------------------------------------------------------------


def test_a_poisonous_task_does_not_hold_up_its_neighbours(journal: Journal) -> None:
    """Rescued by whoever: its attempts count, its siblings' do not."""
    journal.ask([replica_ask("A"), replica_ask("B")], "test")
    t = schema.task
    poison, fine = claim(journal, "A", "B", limit=10)
    for attempt in range(3):
        with journal.database.write() as connection:
            connection.execute(sa.update(t).where(t.c.id == poison.id).values(lease_until=1.0))
        assert journal.rescue(fast_attempts=3, pause=600) == 1
        found = claim(journal, "A")
        if attempt < 2:
            (poison,) = found
            assert poison.attempt == attempt + 1
    assert found == []
    state = journal.task(poison.id)
    assert state is not None
    assert (state.state, state.attempt) == (TaskState.FAILED, 3)
    journal.commit(fine, Changes(), Done("well"))
    journal.hint([Hint(OTHER)])
    assert claim_one(journal).attempt == 0
    journal.ask([Ask(TaskKind.REPLICA, IMAGE, "A", urgent=True)], "by hand")
    assert claim(journal, "A")[0].id == poison.id
