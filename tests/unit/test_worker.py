# SPDX-License-Identifier: Apache-2.0
"""One process's share of the work: a real journal, real threads, and tasks the test holds."""

import logging
import threading
import uuid
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from glancesync.breaker import Breaker
from glancesync.bundle import Bundle
from glancesync.errors import JournalUnavailable, Transient
from glancesync.interfaces import Ask, Changes, Lost
from glancesync.journal import schema
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Done, Hint, Task
from glancesync.states import TaskKind, TaskState
from glancesync.worker import Worker, WorkerSettings
from tests.functional.wait import until
from tests.journals import record

IMAGE = "11111111-2222-3333-4444-555555555555"
LONG = 30.0
EVER = frozenset(TaskState)


def ids(count: int) -> list[str]:
    return [str(uuid.UUID(int=number + 1)) for number in range(count)]


class Held:
    """A task on a worker, until the test lets it go."""

    def __init__(self, task: Task, bundle: Bundle, lost: Lost) -> None:
        self.task = task
        self.bundle = bundle
        self.lost = lost
        self.go = threading.Event()
        self.error: Exception | None = None


class Crew:
    """A worker with its loops in threads; its tasks are held until let go, unless ``quick``."""

    def __init__(self, journal: Journal, owner: str = "me", **settings: float) -> None:
        self.journal = journal
        self.quick = False
        self.held: list[Held] = []
        chosen = {"slots": 8, "region_slots": 4, "lease": 60.0, "poll": 0.05, **settings}
        self.worker = Worker(
            owner,
            journal,
            journal,
            self.run,
            self.spawn,
            WorkerSettings(**chosen),  # type: ignore[arg-type]
        )
        self.threads: list[threading.Thread] = []

    def spawn(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self.threads.append(thread)
        thread.start()

    def start(self) -> None:
        self.spawn(self.worker.serve)
        self.spawn(self.worker.keep_alive)

    def run(self, task: Task, bundle: Bundle, lost: Lost) -> None:
        held = Held(task, bundle, lost)
        self.held.append(held)
        if not self.quick:
            assert held.go.wait(LONG)
        if held.error is not None:
            raise held.error
        if not lost.is_set():
            self.journal.commit(task, Changes(), Done("well"))

    def holds(self, count: int) -> list[Held]:
        until(lambda: len(self.held) >= count, LONG, f"{count} tasks held")
        return self.held

    def end(self) -> None:
        self.quick = True
        for held in self.held:
            held.go.set()
        self.worker.stop(LONG)
        for thread in self.threads:
            thread.join(LONG)
            assert not thread.is_alive()


@pytest.fixture
def crews() -> Iterator[list[Crew]]:
    crews: list[Crew] = []
    yield crews
    for crew in crews:
        crew.end()


@pytest.fixture
def crew(journal: Journal, crews: list[Crew]) -> Crew:
    crews.append(Crew(journal))
    return crews[-1]


def ask(journal: Journal, *regions: str, image_id: str = IMAGE) -> None:
    journal.ask([Ask(TaskKind.REPLICA, image_id, region) for region in regions], "test")


def states(journal: Journal) -> list[str]:
    return [task.state.value for task in journal.list_tasks(states=EVER, limit=1000)]


def discover(journal: Journal, *names: str) -> None:
    record(journal, "home", *names)


def test_work_is_done(crew: Crew, journal: Journal) -> None:
    crew.quick = True
    discover(journal, "A")
    journal.hint([Hint(image_id) for image_id in ids(20)])
    ask(journal, "A")
    crew.start()
    until(lambda: states(journal) == ["done"] * 21, LONG, "all done")


def test_work_that_another_process_queued_is_found_and_own_work_wakes(
    crew: Crew, journal: Journal, crews: list[Crew]
) -> None:
    crew.quick = True
    crew.start()
    journal.hint([Hint(IMAGE)])  # nobody calls wake
    until(lambda: states(journal) == ["done"], LONG, "found by looking")

    sleepy = Crew(journal, poll=1000.0)
    sleepy.quick = True
    crews.append(sleepy)
    crew.worker.stop(LONG)
    journal.on_work(sleepy.worker.wake)
    sleepy.start()
    journal.hint([Hint(IMAGE)])
    until(lambda: states(journal) == ["done"] * 2, LONG, "woken")


def test_never_more_tasks_than_slots(journal: Journal, crews: list[Crew]) -> None:
    crew = Crew(journal, slots=3)
    crews.append(crew)
    journal.hint([Hint(image_id) for image_id in ids(10)])
    crew.start()
    crew.holds(3)
    for done in range(7):
        assert states(journal).count("running") == 3
        assert len(crew.held) == 3 + done
        crew.held[done].go.set()
        crew.holds(4 + done)


def test_a_region_gets_no_more_than_its_share(journal: Journal, crews: list[Crew]) -> None:
    crew = Crew(journal, region_slots=2)
    crews.append(crew)
    discover(journal, "A", "B", "C")
    journal.update_region("B", {"limits": {"tasks": 1}})
    for image_id in ids(5):
        ask(journal, "A", "B", image_id=image_id)
    ask(journal, "C", image_id=IMAGE)
    crew.start()
    crew.holds(4)
    running = sorted(held.task.region for held in crew.held)
    assert running == ["A", "A", "B", "C"], "the slow A and B do not keep C waiting"

    next(held for held in crew.held if held.task.region == "B").go.set()
    crew.holds(5)
    assert crew.held[4].task.region == "B"


def test_the_tasks_of_closed_regions_stay_until_they_open(
    crew: Crew, journal: Journal, crews: list[Crew]
) -> None:
    crew.quick = True
    discover(journal, "A", "B", "C")
    record(journal, "home", "A", "B")
    journal.update_region("B", {"maintenance": True})
    ask(journal, "A", "B", "C")
    crew.start()
    until(lambda: states(journal).count("done") == 1, LONG, "A done")
    open_ones = {task.region: task.state for task in journal.list_tasks()}
    assert open_ones == {"B": TaskState.READY, "C": TaskState.READY}

    journal.update_region("B", {"maintenance": False})
    until(lambda: states(journal).count("done") == 2, LONG, "B done")
    crew.worker.stop(LONG)  # one that is just about to claim may still take a task of A
    journal.update_region("A", {"enabled": False})
    ask(journal, "A")
    discover(journal, "A", "B", "C")
    crews.append(Crew(journal))
    crews[-1].quick = True
    crews[-1].start()
    until(lambda: states(journal).count("done") == 3, LONG, "C done")
    assert [task.region for task in journal.list_tasks()] == ["A"]


def test_siblings_share_a_bundle_and_others_do_not(crew: Crew, journal: Journal) -> None:
    ask(journal, "A", "B")
    ask(journal, "A", image_id=ids(1)[0])
    crew.start()
    held = sorted(crew.holds(3), key=lambda one: (one.task.image_id != IMAGE, one.task.region))
    assert held[0].bundle is held[1].bundle
    assert held[0].bundle is not held[2].bundle


def test_a_task_that_can_not_be_concluded_frees_its_slot(
    journal: Journal, crews: list[Crew], caplog: pytest.LogCaptureFixture
) -> None:
    crew = Crew(journal, slots=1)
    crews.append(crew)
    journal.hint([Hint(image_id) for image_id in ids(2)])
    crew.start()
    crew.holds(1)[0].error = OSError("the database is away")
    crew.held[0].go.set()
    crew.holds(2)
    assert "could not conclude image:" in caplog.text
    assert states(journal) == ["running", "running"], "the lease of the first will end"


def test_a_task_for_which_there_is_no_thread_is_given_back(
    journal: Journal, crews: list[Crew]
) -> None:
    crew = Crew(journal, lease=4.0)  # a quarter of it is how long it looks for no more
    crews.append(crew)
    spawn, refused = crew.spawn, threading.Event()

    def none_left(work: Callable[[], None]) -> None:
        if not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        spawn(work)

    crew.worker._spawn = none_left
    crew.quick = True
    journal.hint([Hint(IMAGE)])
    crew.start()
    until(lambda: states(journal) == ["done"], LONG, "done when there is one again")
    assert refused.is_set()


# -- regions that are unwell (P8) -----------------------------------------------------------------


def unwell(journal: Journal, region: str, *, broken_for: float) -> None:
    """Have a region be left alone for so long yet."""
    journal.note_region(region, Transient(region, "no answer"), Breaker(threshold=1))
    with journal.database.write() as connection:
        until = journal.database.now() + broken_for
        which = schema.region.c.name == region
        connection.execute(sa.update(schema.region).where(which).values(broken_until=until))


def test_a_dead_region_with_a_large_backlog_delays_only_itself(
    journal: Journal, crews: list[Crew]
) -> None:
    crew = Crew(journal, slots=8, region_slots=3)
    crews.append(crew)
    discover(journal, "A", "B")
    many = [Ask(TaskKind.REPLICA, image_id, "A") for image_id in ids(2000)]
    journal.ask(many, "test")
    crew.start()
    crew.holds(3)  # and hang, as the region does
    ask(journal, "B", image_id=ids(2001)[-1])
    held = crew.holds(4)[3]
    assert held.task.region == "B"
    held.go.set()
    unwell(journal, "A", broken_for=1000)
    for held in crew.held[:3]:
        held.go.set()
    crew.quick = True
    for image_id in ids(2020)[2001:]:
        ask(journal, "B", image_id=image_id)
    until(lambda: not journal.list_tasks(region="B"), LONG, "B is not delayed")
    assert len(crew.held) == 3 + 20, "nothing of A was begun while it is left alone"


def test_one_task_sees_whether_a_region_answers_again(journal: Journal, crews: list[Crew]) -> None:
    crew = Crew(journal)
    crews.append(crew)
    discover(journal, "A", "B")
    ask(journal, "A", image_id=IMAGE)
    crew.start()
    long_copy = crew.holds(1)[0]
    unwell(journal, "A", broken_for=1000)
    for held, image_id in enumerate(ids(12)[10:], start=1):  # until the worker knows
        ask(journal, "B", image_id=image_id)
        crew.holds(held + 1)
    for image_id in ids(10):
        ask(journal, "A", "B", image_id=image_id)
    until(lambda: len(crew.held) == 5, LONG, "B has its share")
    assert {held.task.region for held in crew.held[1:]} == {"B"}

    unwell(journal, "A", broken_for=0.0)
    probe = crew.holds(6)[5]
    assert probe.task.region == "A", "the copy that began before is no probe and keeps none away"
    probe.go.set()  # it does not say how the region is
    second = crew.holds(7)[6]
    assert second.task.region == "A"
    assert not long_copy.go.is_set()

    journal.note_region("A", None, Breaker())
    crew.holds(9)
    running = [held for held in crew.held if not held.go.is_set()]
    assert sum(held.task.region == "A" for held in running) == 4, "as many as it may have"


def test_while_home_is_unwell_nothing_is_begun_and_one_task_of_home_probes(
    journal: Journal, crews: list[Crew]
) -> None:
    crew = Crew(journal)
    crews.append(crew)
    discover(journal, "A")
    unwell(journal, "home", broken_for=0.0)
    journal.ask([Ask(TaskKind.WATCH, "", "home")], "test")
    for image_id in ids(3):
        journal.hint([Hint(image_id)])
        ask(journal, "A", image_id=image_id)
    crew.start()
    probe = crew.holds(1)[0]
    assert probe.task.region in ("", "home")
    unwell(journal, "home", broken_for=0.3)
    probe.go.set()
    crew.holds(2)
    assert crew.held[1].task.region in ("", "home")
    assert len(crew.held) == 2

    journal.note_region("home", None, Breaker())
    crew.quick = True
    crew.held[1].go.set()
    until(lambda: set(states(journal)) == {"done"}, LONG, "all done")


# -- leases ---------------------------------------------------------------------------------------


def keeps(held: Held) -> None:
    """Its lease is renewed; after a pause of the machine, only at the next time."""
    until(lambda: not held.lost.is_set(), LONG, "the lease is held")


def test_leases_are_renewed_while_a_task_runs(journal: Journal, crews: list[Crew]) -> None:
    crew = Crew(journal, lease=1.0)
    crews.append(crew)
    journal.hint([Hint(IMAGE)])
    crew.start()
    first = crew.holds(1)[0].task.lease_until
    assert first is not None
    until(lambda: journal.database.now() > first + 1.0, LONG, "two leases long")
    (task,) = journal.list_tasks()
    assert task.lease_token == crew.held[0].task.lease_token
    keeps(crew.held[0])


def test_a_task_whose_lease_is_lost_is_told(journal: Journal, crews: list[Crew]) -> None:
    crew = Crew(journal, lease=1.0)
    crews.append(crew)
    for image_id in ids(2):
        journal.hint([Hint(image_id)])
    crew.start()
    cancelled, other = crew.holds(2)
    journal.cancel_task(cancelled.task.id, Actor())
    until(cancelled.lost.is_set, LONG, "the worker was told")
    keeps(other)


def test_tasks_of_a_dead_worker_are_rescued(journal: Journal, crews: list[Crew]) -> None:
    journal.hint([Hint(IMAGE)])
    (task,) = journal.claim("dead", lease=60, limit=1, regions={"", *"AB"})
    t = schema.task
    with journal.database.write() as connection:
        connection.execute(sa.update(t).values(lease_until=1.0))
    crew = Crew(journal, lease=1.0)
    crew.quick = True
    crews.append(crew)
    crew.start()
    until(lambda: states(journal) == ["done"], LONG, "rescued and done")
    assert crew.held[0].task.id == task.id


def test_an_old_run_of_a_task_does_not_end_the_lease_of_the_new_one(
    journal: Journal, crews: list[Crew]
) -> None:
    """Who was stopped past its lease may get the very task again while its thread still runs."""
    crew = Crew(journal, lease=1.0)
    crews.append(crew)
    journal.hint([Hint(IMAGE)])
    crew.start()
    old = crew.holds(1)[0]
    t = schema.task
    with journal.database.write() as connection:  # as if another process had rescued it
        lost = {"lease_owner": None, "lease_token": None, "lease_until": None}
        connection.execute(sa.update(t).values(state="ready", **lost))
    new = crew.holds(2)[1]
    assert new.task.lease_token != old.task.lease_token
    until(old.lost.is_set, LONG, "the old one was told")
    old.go.set()
    until(lambda: not crew.threads[2].is_alive(), LONG, "the old one is over")
    ended = journal.database.now() + 2.0
    until(lambda: journal.database.now() > ended, LONG, "two leases long")
    (task,) = journal.list_tasks()
    assert task.lease_token == new.task.lease_token
    keeps(new)


def test_two_workers_share_the_work(journal: Journal, crews: list[Crew]) -> None:
    journal.hint([Hint(image_id) for image_id in ids(60)])
    for owner in ("one", "two"):
        crews.append(Crew(journal, owner, slots=4))
        crews[-1].quick = True
    for crew in crews:
        crew.start()
    until(lambda: set(states(journal)) == {"done"}, LONG, "all done")
    done = [held.task.id for crew in crews for held in crew.held]
    assert len(done) == len(set(done)) == 60


# -- stopping -------------------------------------------------------------------------------------


def test_stopping_lets_running_tasks_end_and_claims_nothing_more(
    crew: Crew, journal: Journal
) -> None:
    crew.worker.use(crew.run, WorkerSettings(slots=1, poll=0.05))
    journal.hint([Hint(image_id) for image_id in ids(2)])
    crew.start()
    crew.holds(1)
    stop = threading.Thread(target=crew.worker.stop, args=(LONG,))
    stop.start()
    until(crew.worker._stopping.is_set, LONG, "stopping")
    crew.held[0].go.set()
    stop.join(LONG)
    assert not stop.is_alive()
    assert sorted(states(journal)) == ["done", "ready"]
    assert not crew.held[0].lost.is_set()


def test_what_does_not_end_in_time_is_given_back_at_no_cost(crew: Crew, journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    crew.start()
    crew.holds(1)
    crew.worker.stop(0.0)
    crew.threads[0].join(LONG)  # what it was just about to claim it has given back, too

    assert crew.held[0].lost.is_set(), "it stops by itself"
    (task,) = journal.list_tasks()
    assert (task.state, task.attempt, task.lease_owner) == (TaskState.READY, 0, None)
    assert journal.claim("another", lease=60, limit=1, regions={"", *"AB"})[0].id == task.id


def test_a_claim_that_crosses_the_stop_is_given_back(journal: Journal, crews: list[Crew]) -> None:
    """Else its task would wait for its lease to end, though nobody works on it."""

    class Slow(Journal):
        claiming, go_on = threading.Event(), threading.Event()

        def claim(self, *args: object, **kwargs: object) -> list[Task]:
            tasks = super().claim(*args, **kwargs)  # type: ignore[arg-type]
            self.claiming.set()
            assert self.go_on.wait(LONG)
            return tasks

    slow = Slow(journal.database)
    crew = Crew(slow)
    crew.quick = True
    crews.append(crew)
    journal.hint([Hint(IMAGE)])
    crew.start()
    assert slow.claiming.wait(LONG)
    crew.worker.stop(0.0)
    slow.go_on.set()
    for thread in crew.threads:
        thread.join(LONG)

    assert crew.held == []
    assert states(journal) == ["ready"]


def test_new_settings_hold_for_what_is_claimed_from_now_on(
    journal: Journal, crews: list[Crew]
) -> None:
    crew = Crew(journal, slots=1)
    crews.append(crew)
    journal.hint([Hint(image_id) for image_id in ids(4)])
    crew.start()
    crew.holds(1)
    other: list[Task] = []

    def run(task: Task, bundle: Bundle, lost: Lost) -> None:
        other.append(task)
        journal.commit(task, Changes(), Done("well"))

    crew.worker.use(run, WorkerSettings(slots=2, poll=0.05))
    until(lambda: len(other) == 3, LONG, "the rest done beside the one held")
    assert len(crew.held) == 1


def test_a_journal_that_is_away_is_waited_for_and_logged_once(
    journal: Journal, crews: list[Crew], caplog: pytest.LogCaptureFixture
) -> None:
    class Away(Journal):
        away = True
        asked = 0

        def regions(self) -> list:  # type: ignore[type-arg]
            self.asked += 1
            if self.away:
                raise JournalUnavailable("no route to the database")
            return super().regions()

    caplog.set_level(logging.INFO)
    flaky = Away(journal.database)
    crew = Crew(flaky)
    crew.quick = True
    crews.append(crew)
    journal.hint([Hint(IMAGE)])
    crew.start()
    until(lambda: flaky.asked > 3, LONG, "several tries")
    flaky.away = False
    until(lambda: states(journal) == ["done"], LONG, "done")
    assert caplog.text.count("does not answer") == 1
    assert caplog.text.count("answers again") == 1


def test_a_bug_is_not_called_a_database_that_is_away(
    journal: Journal, crews: list[Crew], caplog: pytest.LogCaptureFixture
) -> None:
    class Buggy(Journal):
        asked = 0

        def claim(self, *args: object, **kwargs: object) -> list[Task]:
            self.asked += 1
            if self.asked < 4:
                raise TypeError("no such thing")
            return super().claim(*args, **kwargs)  # type: ignore[arg-type]

    crew = Crew(Buggy(journal.database))
    crew.quick = True
    crews.append(crew)
    journal.hint([Hint(IMAGE)])
    crew.start()
    until(lambda: states(journal) == ["done"], LONG, "it goes on trying")
    assert "does not answer" not in caplog.text
    assert caplog.text.count("Traceback") == 1, "the same is not said again and again"
