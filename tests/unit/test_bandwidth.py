# SPDX-License-Identifier: Apache-2.0
"""Timetables and fair shares, and the pacing that puts them together."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancesync.bandwidth import Timetable, shares
from glancesync.errors import JournalUnavailable
from glancesync.model import Region
from glancesync.pacing import CrowdedError, Limits, Pacing, StoreUse

M = 1024 * 1024


@pytest.mark.parametrize(
    ("text", "at", "limit"),
    [
        ("50M", "00:00", 50 * M),
        ("unlimited", "12:00", None),
        ("else 1K", "12:00", 1024),
        ("08:00-18:00 50M, else unlimited", "07:59", None),
        ("08:00-18:00 50M, else unlimited", "08:00", 50 * M),
        ("08:00-18:00 50M, else unlimited", "17:59", 50 * M),
        ("08:00-18:00 50M, else unlimited", "18:00", None),
        ("22:00-06:00 unlimited, else 10M", "23:30", None),
        ("22:00-06:00 unlimited, else 10M", "05:59", None),
        ("22:00-06:00 unlimited, else 10M", "06:00", 10 * M),
        ("00:00-24:00 5M,else 10M", "23:59", 5 * M),
        ("08:00-12:00 1M, 10:00-14:00 2M, else 3M", "11:00", M),
        ("08:00-12:00 1M, 10:00-14:00 2M, else 3M", "13:00", 2 * M),
    ],
)
def test_a_timetable(text: str, at: str, limit: int | None) -> None:
    hour, minute = at.split(":")
    assert Timetable.parse(text).at(int(hour) * 60 + int(minute)) == limit


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be like"),
        ("fast", "must be bytes per second"),
        ("0", "must be from 1K"),
        ("08:00-18:00 50M", "the end must be like"),
        ("08:00-18:00 50M, 10M", "the end must be like"),
        ("8-18 50M, else 1M", "is not like 08:00-18:00 50M"),
        ("08:00-25:00 50M, else 1M", "has a time that is none"),
        ("08:00-08:60 50M, else 1M", "has a time that is none"),
        ("23:00-24:30 50M, else 1M", "must be from a time to another"),
        ("08:00-08:00 50M, else 1M", "must be from a time to another"),
        ("else 1M, else 2M", "is not like"),
        ("08:00-18:00 -5M, else 1M", "must be bytes per second"),
    ],
)
def test_what_is_no_timetable(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Timetable.parse(text)


@given(st.text(max_size=40))
def test_nothing_else_comes_out_of_any_text(text: str) -> None:
    try:
        found = Timetable.parse(text)
    except ValueError:
        return
    assert all(limit is None or limit >= 1024 for limit in map(found.at, range(24 * 60)))


@pytest.mark.parametrize(
    ("flows", "limits", "wanted"),
    [
        ({}, {}, {}),
        ({"a": "x"}, {}, {"a": None}),
        ({"a": "x"}, {"x": 10}, {"a": 10}),
        ({"a": "x", "b": "x"}, {"x": 10}, {"a": 5, "b": 5}),
        ({"a": "gx", "b": "gy"}, {"g": 10, "x": 2}, {"a": 2, "b": 8}),
        ({"a": "gx", "b": "gy", "c": "h"}, {"g": 10, "x": 8}, {"a": 5, "b": 5, "c": None}),
        ({"a": "gx", "b": "gx", "c": "gy"}, {"g": 30, "x": 10}, {"a": 5, "b": 5, "c": 20}),
    ],
)
def test_shares(
    flows: dict[str, str], limits: dict[str, float], wanted: dict[str, float | None]
) -> None:
    assert shares(flows, limits) == wanted


KEYS = st.sampled_from("gxyz")


@given(
    st.dictionaries(st.integers(0, 20), st.frozensets(KEYS), max_size=12),
    st.dictionaries(KEYS, st.floats(1, 1e12)),
)
def test_shares_are_within_the_limits_and_waste_nothing(
    flows: dict[int, frozenset[str]], limits: dict[str, float]
) -> None:
    found = shares(flows, limits)
    assert found.keys() == flows.keys()
    used = {
        key: math.fsum(found[flow] or 0 for flow, keys in flows.items() if key in keys)
        for key in limits
    }
    for key, limit in limits.items():
        assert used[key] <= limit * 1.000001
    for flow, keys in flows.items():
        share = found[flow]
        under = [key for key in keys if key in limits]
        assert (share is None) == (not under)
        if share is not None:
            # Max-min: one of its limits is used up, and nobody has more under that one.
            assert any(
                used[key] >= limits[key] * 0.999999
                and all(
                    (found[other] or 0) <= share * 1.000001
                    for other, theirs in flows.items()
                    if key in theirs
                )
                for key in under
            )


class Hands:
    """A clock that is set by hand."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Bench:
    """A pacing, and all it looks at."""

    def __init__(self) -> None:
        self.regions = [Region("home", "http://h", home=True), Region("two", "http://t")]
        self.nodes, self.minute, self.away = 1, 0, False
        self.clock = Hands()
        self.pacing = Pacing(
            self.look, lambda: self.nodes, self.clock, lambda: self.minute, Limits()
        )

    def look(self) -> list[Region]:
        if self.away:
            raise JournalUnavailable("it is away")
        return self.regions

    def limit(self, name: str, bandwidth: str) -> None:
        """As PATCH /v1/regions does; a moment passes."""
        self.regions = [
            Region(one.name, one.url, limits={"bandwidth": bandwidth} if one.name == name else {})
            for one in self.regions
        ]
        self.clock.now += 3


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_without_limits_nothing_is_held_back(bench: Bench) -> None:
    with bench.pacing.flow("i", "upload", ["home", "two"], ()) as pace:
        assert pace() is None


def test_a_regions_limit_is_seen_while_it_runs_and_shared(bench: Bench) -> None:
    with bench.pacing.flow("i", "upload", ["home", "two"], ()) as pace:
        assert pace() is None
        bench.limit("two", "10M")
        assert pace() == 10 * M
        with (
            bench.pacing.flow("i", "scp", ["home", "two"], ()) as second,
            bench.pacing.flow("i", "scp", ["home", "three"], ()) as third,
        ):
            assert (pace(), second(), third()) == (5 * M, 5 * M, None)
        assert pace() == 10 * M
        bench.limit("two", "unlimited")
        assert pace() is None


def test_homes_limit_is_on_all_that_leaves_it(bench: Bench) -> None:
    bench.limit("home", "9M")
    with (
        bench.pacing.flow("i", "upload", ["home", "two"], ()) as one,
        bench.pacing.flow("i", "upload", ["home", "three"], ()) as two,
        bench.pacing.flow("i", "upload", ["home", "four"], ()) as three,
    ):
        assert (one(), two(), three()) == (3 * M, 3 * M, 3 * M)


def test_a_stores_limit_is_shared_by_the_nodes_and_can_be_taken_away(bench: Bench) -> None:
    with bench.pacing.flow("i", "scp", ["home"], [StoreUse("two file", 8 * M)]) as pace:
        assert pace() == 8 * M
        bench.nodes = 2
        bench.clock.now += 3
        assert pace() == 4 * M
    with bench.pacing.flow("i", "scp", ["home"], [StoreUse("two file")]) as pace:
        assert pace() is None


def test_the_time_of_day(bench: Bench) -> None:
    bench.limit("two", "08:00-18:00 1M, else 4M")
    with bench.pacing.flow("i", "upload", ["home", "two"], ()) as pace:
        assert pace() == 4 * M
        bench.minute = 8 * 60
        bench.clock.now += 3
        assert pace() == M


def test_limits_of_everything_transports_and_stores(bench: Bench) -> None:
    bench.pacing.use(Limits(Timetable.parse("10M"), {"scp": Timetable.parse("2M")}))
    with (
        bench.pacing.flow("i", "scp", ["home", "two"], ()) as slow,
        bench.pacing.flow("i", "upload", ["home", "two"], ()) as rest,
    ):
        assert (slow(), rest()) == (2 * M, 8 * M)
        with bench.pacing.flow("i", "rbd", ["home", "two"], [StoreUse("two rbd", M)]) as small:
            assert (slow(), rest(), small()) == (2 * M, 7 * M, M)
        bench.pacing.use(Limits())
        assert (slow(), rest()) == (None, None)


def test_each_node_takes_its_part(bench: Bench) -> None:
    bench.nodes = 4
    bench.limit("two", "8M")
    with bench.pacing.flow("i", "upload", ["home", "two"], ()) as pace:
        assert pace() == 2 * M


def test_while_the_journal_is_away_the_limits_stay(bench: Bench) -> None:
    bench.limit("two", "8M")
    with bench.pacing.flow("i", "upload", ["home", "two"], ()) as pace:
        assert pace() == 8 * M
        bench.away = True
        bench.limit("two", "1M")
        assert pace() == 8 * M


def test_a_store_takes_so_many_images_at_a_time(bench: Bench) -> None:
    pool = [StoreUse("two rbd", at_once=2)]
    with contextlib.ExitStack() as stack:
        for image in ("i", "j", "i"):  # regions that get the same image share its reading
            stack.enter_context(bench.pacing.flow(image, "rbd", ["home", "two"], pool))
        with (
            pytest.raises(CrowdedError, match="two rbd: 2 images"),
            bench.pacing.flow("k", "rbd", ["home", "two"], pool),
        ):
            pass
        with bench.pacing.flow("k", "rbd", ["home", "three"], [StoreUse("three rbd", at_once=2)]):
            pass
    with bench.pacing.flow("k", "rbd", ["home", "two"], pool):
        pass
    bench.nodes = 3  # each has its part, and one at least
    bench.clock.now += 60
    with (
        bench.pacing.flow("i", "rbd", ["home", "two"], pool),
        pytest.raises(CrowdedError),
        bench.pacing.flow("j", "rbd", ["home", "two"], pool),
    ):
        pass
