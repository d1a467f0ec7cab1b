# SPDX-License-Identifier: Apache-2.0
"""How regions do, as the journal remembers it for all processes."""

import pytest

from glancesync.breaker import Breaker
from glancesync.errors import Credential, Refused, RegionError, Throttled, Transient
from glancesync.interfaces import Ask, Changes
from glancesync.journal.journal import Journal
from glancesync.model import Region, Retry, Snooze
from glancesync.states import BreakerState, TaskKind, TaskState
from tests.journals import let_pass

pytestmark = pytest.mark.matrix(database_kind=["mariadb"])

IMAGE = "11111111-2222-3333-4444-555555555555"
BREAKER = Breaker(threshold=3, pause=100, cap=1000, patience=5000)
NO_ANSWER = Transient("A", "no answer")


def note(journal: Journal, error: RegionError | None, name: str = "A", times: int = 1) -> Region:
    for _ in range(times):
        journal.note_region(name, error, BREAKER)
    region = journal.region(name)
    assert region is not None
    return region


def failing(journal: Journal, *regions: str) -> None:
    """A task of each region that waits after a failure, and one that never ran."""
    journal.ask([Ask(TaskKind.REPLICA, IMAGE, region) for region in regions], "test")
    for task in journal.claim("me", lease=60, limit=100, regions=set(regions)):
        journal.commit(task, Changes(), Retry(500, "no answer", failed=task.region == "C"))


def ready(journal: Journal) -> set[str]:
    return {task.region for task in journal.list_tasks() if task.state is TaskState.READY}


def test_failures_in_a_row_open_it(journal: Journal) -> None:
    region = note(journal, NO_ANSWER, times=2)
    assert (region.failures, region.last_error) == (2, "A: no answer")
    assert region.breaker is BreakerState.CLOSED
    region = note(journal, Credential("A", "who are you?"))
    assert region.breaker is BreakerState.OPEN
    assert region.broken_for == pytest.approx(100, abs=5)
    assert journal.region("B") == note(journal, None, "B"), "others are not concerned"


@pytest.mark.parametrize("answer", [None, Refused("A", "policy")])
def test_an_answer_between_begins_the_count_anew(
    journal: Journal, answer: RegionError | None
) -> None:
    note(journal, NO_ANSWER, times=2)
    region = note(journal, answer)
    assert (region.failures, region.last_error) == (0, None)
    assert note(journal, NO_ANSWER, times=2).breaker is BreakerState.CLOSED


def test_what_ran_side_by_side_decides_nothing_while_it_is_open(journal: Journal) -> None:
    region = note(journal, NO_ANSWER, times=10)
    assert region.failures == 3, "the pause is not doubled by each of them"
    assert region.broken_for == pytest.approx(100, abs=5)
    assert note(journal, None).breaker is BreakerState.OPEN, "nor is it ended"


def test_a_probe_that_fails_doubles_the_pause(journal: Journal) -> None:
    region = note(journal, NO_ANSWER, times=3)
    for pause in (200, 400, 800, 1000, 1000):
        let_pass(journal, "A", 10_000)
        region = note(journal, NO_ANSWER)
        assert region.broken_for == pytest.approx(pause, abs=5)
    let_pass(journal, "A", 10_000)
    halfway = journal.region("A")
    assert halfway is not None
    assert halfway.breaker is BreakerState.HALF_OPEN


@pytest.mark.parametrize("answer", [None, Refused("A", "policy")])
def test_a_probe_that_is_answered_closes_it_and_what_waited_is_due(
    journal: Journal, answer: RegionError | None
) -> None:
    note(journal, NO_ANSWER)
    failing(journal, "A", "B")
    note(journal, NO_ANSWER, times=2)
    let_pass(journal, "A", 101)
    woken: list[str] = []
    journal.on_work(lambda: woken.append("!"))
    region = note(journal, answer)
    assert (region.breaker, region.failures, region.last_error) == (BreakerState.CLOSED, 0, None)
    assert ready(journal) == {"A"}
    assert woken


def test_when_home_answers_again_everything_is_due(journal: Journal) -> None:
    [home] = [region.name for region in journal.regions() if region.home]
    note(journal, NO_ANSWER, home)
    failing(journal, "B", "C")
    note(journal, NO_ANSWER, home, times=2)
    let_pass(journal, home, 101)
    note(journal, None, home)
    assert ready(journal) == {"B", "C"}


def test_what_had_failed_while_the_region_was_well_keeps_its_pause(journal: Journal) -> None:
    """Else a region that answers, and takes no bytes, would be asked to take them all the time."""
    failing(journal, "A")
    for _ in range(2):
        assert note(journal, None).failing_since is None
        region = note(journal, NO_ANSWER, times=3)
        assert region.failing_since == pytest.approx(journal.database.now(), abs=5)
        let_pass(journal, "A", 101)
        assert note(journal, None).breaker is BreakerState.CLOSED
        assert ready(journal) == set()


def test_a_region_that_asks_is_left_alone_for_so_long(journal: Journal) -> None:
    region = note(journal, Throttled("A", "busy", retry_after=300))
    assert region.broken_for == pytest.approx(300, abs=5)
    assert (region.failures, region.last_error) == (0, "A: busy")
    region = note(journal, Throttled("A", "busy", retry_after=30))
    assert region.broken_for == pytest.approx(300, abs=5), "the longest counts"
    region = note(journal, Throttled("A", "busy", retry_after=400))
    assert region.broken_for == pytest.approx(400, abs=5)
    assert note(journal, None).breaker is BreakerState.OPEN, "others may still be served"

    failing(journal, "A")
    let_pass(journal, "A", 401)
    assert note(journal, None).breaker is BreakerState.CLOSED
    assert ready(journal) == set(), "it never failed: who was told when to come again comes then"


def test_who_was_throttled_comes_when_told(journal: Journal) -> None:
    journal.ask([Ask(TaskKind.REPLICA, IMAGE, "A")], "test")
    (task,) = journal.claim("me", lease=60, limit=1, regions={"A"})
    journal.commit(task, Changes(), Snooze(300, "busy"))
    (task,) = journal.list_tasks()
    assert (task.state, task.attempt) == (TaskState.WAITING, 0)
    assert task.due_at == pytest.approx(journal.database.now() + 300, abs=5)


def test_what_is_no_region_is_not_remembered(journal: Journal) -> None:
    journal.note_region("Keystone", Transient("Keystone", "no answer"), BREAKER)
    assert journal.region("Keystone") is None
