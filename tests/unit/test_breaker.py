# SPDX-License-Identifier: Apache-2.0
"""When a region is left alone, and for how long."""

import pytest

from glancesync.breaker import Breaker, unwell
from glancesync.errors import (
    Conflict,
    Corrupt,
    Credential,
    Refused,
    RegionError,
    Throttled,
    Transient,
)

BREAKER = Breaker(threshold=3, pause=5, cap=60, patience=600)


def test_a_pause_after_the_threshold_that_doubles_up_to_the_cap() -> None:
    rests = [BREAKER.rest(Transient("A", "no answer"), failures) for failures in range(1, 10)]
    assert rests == [None, None, 5, 10, 20, 40, 60, 60, 60]
    assert BREAKER.rest(Transient("A", "no answer"), 10_000) == 60


@pytest.mark.parametrize(("asked", "rest"), [(None, 5), (0.0, 5), (1.0, 1), (90.0, 90), (1e9, 600)])
def test_a_region_that_asks_is_left_alone_for_as_long_as_it_asks(
    asked: float | None, rest: float
) -> None:
    for failures in (0, 100):
        assert BREAKER.rest(Throttled("A", "busy", retry_after=asked), failures) == rest


@pytest.mark.parametrize(
    ("kind", "is_unwell"),
    [
        (Transient, True),
        (Throttled, True),
        (Credential, True),
        (Refused, False),
        (Conflict, False),
        (Corrupt, False),
    ],
)
def test_who_says_no_is_well(kind: type[RegionError], is_unwell: bool) -> None:
    assert unwell(kind("A", "x")) is is_unwell
    assert not unwell(None)
