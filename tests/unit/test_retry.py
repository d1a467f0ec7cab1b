# SPDX-License-Identifier: Apache-2.0
"""When to try again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancesync.errors import (
    Conflict,
    Corrupt,
    Credential,
    Refused,
    Throttled,
    Transient,
)
from glancesync.model import Retry, Snooze
from glancesync.retry import RetryPolicy, snooze_delay

POLICY = RetryPolicy(fast_attempts=5, base=1.0, cap=600.0)


def decide(error: Exception, attempt: int, jitter: float = 0.999) -> Retry:
    outcome = POLICY.decide(error, attempt, jitter)
    assert isinstance(outcome, Retry)
    return outcome


def test_the_fast_attempts_double_and_the_last_of_them_fails() -> None:
    outcomes = [decide(Transient("A", "no answer"), attempt) for attempt in range(7)]
    assert [round(one.seconds) for one in outcomes] == [1, 2, 4, 8, 600, 600, 600]
    assert [one.failed for one in outcomes] == [False] * 4 + [True] * 3
    assert outcomes[0].error == "A: no answer"


@pytest.mark.parametrize("error", [Corrupt("A", "x"), Credential("A", "x"), Transient("A", "x")])
def test_worth_a_fast_try(error: Exception) -> None:
    assert not decide(error, 0).failed


@pytest.mark.parametrize(
    "error", [Refused("A", "x"), Conflict("A", "x"), ZeroDivisionError("x"), KeyError()]
)
def test_what_a_second_try_will_not_mend_is_shown_at_once(error: Exception) -> None:
    outcome = decide(error, 0)
    assert outcome.failed
    assert outcome.seconds > 299
    assert outcome.error


def test_a_bug_of_ours_is_called_one() -> None:
    error = decide(ZeroDivisionError("by 0"), 0).error
    assert error == "a bug of glance-sync, see its log: ZeroDivisionError: by 0"


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, 1.0), (0.0, 1.0), (30.0, 30.0), (1e9, 600.0)]
)
def test_a_region_that_says_when_is_obeyed_at_no_cost(asked: float | None, seconds: float) -> None:
    error = Throttled("A", "busy", retry_after=asked)
    assert POLICY.decide(error, 17, 0.0) == Snooze(seconds, "A: busy")
    later = POLICY.decide(error, 17, 0.999)
    assert seconds <= later.seconds <= min(600, 1.1 * seconds), "never before, not all at once"


@given(
    fast=st.integers(1, 10_000),
    base=st.floats(0.01, 1e4),
    cap=st.floats(0.01, 1e6),
    attempt=st.integers(0, 100_000),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_bounds(fast: int, base: float, cap: float, attempt: int, jitter: float) -> None:
    outcome = RetryPolicy(fast, base, cap).decide(Transient("A", "x"), attempt, jitter)
    assert isinstance(outcome, Retry)
    assert outcome.failed is (attempt + 1 >= fast)
    assert 0 < outcome.seconds <= cap
    if outcome.failed:
        assert outcome.seconds >= cap / 2


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2, unique=True))
def test_jitter_spreads(jitters: list[float]) -> None:
    low, high = sorted(jitters)
    error = Transient("A", "x")
    assert decide(error, 3, low).seconds <= decide(error, 3, high).seconds
    assert decide(error, 3, 0.0).seconds == 4.0


@pytest.mark.parametrize(
    ("waited", "seconds"), [(0, 2), (10, 2), (20, 2), (100, 10), (600, 60), (10_000, 60), (-5, 2)]
)
def test_looks_at_slow_work_grow_with_the_time_waited(waited: float, seconds: float) -> None:
    assert snooze_delay(waited, 2, 60) == seconds


def test_the_cap_wins_over_the_shortest() -> None:
    assert snooze_delay(0, 100, 60) == 60
