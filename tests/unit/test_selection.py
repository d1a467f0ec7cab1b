# SPDX-License-Identifier: Apache-2.0
"""Which region a project is bound to."""

import dataclasses
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancesync.model import Capacity, Region
from glancesync.placement import filters, weighers
from glancesync.placement.selection import (
    Candidate,
    Filter,
    Judged,
    Selection,
    Settings,
    Verdict,
    Weigher,
    Wish,
)

FILTERS = [
    filters.Enabled,
    filters.Maintenance,
    filters.AvailabilityZone,
    filters.Labels,
    filters.DiskFormat,
    filters.Capacity,
    filters.Allowed,
]
WEIGHERS = [
    weighers.Images,
    weighers.Free,
    weighers.Distance,
    weighers.Backlog,
    weighers.Bindings,
    weighers.Cost,
    weighers.Age,
]
GIB = 2**30


def candidate(name: str = "R", *, facts: dict[str, Any] | None = None, **region: Any) -> Candidate:
    return Candidate(Region(name, f"http://{name}", **region), **(facts or {}))


def why_not(kind: type, wish: Wish, settings: Settings | None = None, **region: Any) -> str | None:
    """What a filter has against a region."""
    one: Filter = kind(settings or Settings())
    verdict = one.judge(wish, candidate(**region))
    assert verdict.why
    return None if verdict.passes else verdict.why


PLAIN = Wish("p")


@pytest.mark.parametrize(
    ("kind", "wish", "region", "said"),
    [
        (filters.Enabled, PLAIN, {}, None),
        (filters.Enabled, PLAIN, {"enabled": False}, "it is disabled"),
        (filters.Enabled, PLAIN, {"present": False}, "it is not in the catalog"),
        (filters.Maintenance, PLAIN, {}, None),
        (filters.Maintenance, PLAIN, {"maintenance": True}, "it is in maintenance"),
        (filters.AvailabilityZone, PLAIN, {}, None),
        (
            filters.AvailabilityZone,
            Wish("p", availability_zone="az1"),
            {"labels": {"availability_zones": "az2 , az1"}},
            None,
        ),
        (
            filters.AvailabilityZone,
            Wish("p", availability_zone="az1"),
            {"labels": {"availability_zones": "az10,az2"}},
            "its label availability_zones does not have az1",
        ),
        (
            filters.AvailabilityZone,
            Wish("p", availability_zone="az1"),
            {},
            "its label availability_zones does not have az1",
        ),
        (filters.Labels, PLAIN, {"labels": {"tier": "gold"}}, None),
        (filters.Labels, Wish("p", labels={"tier": "gold"}), {"labels": {"tier": "gold"}}, None),
        (
            filters.Labels,
            Wish("p", labels={"tier": "gold"}),
            {"labels": {"tier": "iron"}},
            "its label tier is iron, not gold",
        ),
        (filters.Labels, Wish("p", labels={"tier": "gold"}), {}, "it has no label tier"),
        (filters.DiskFormat, Wish("p", disk_format="raw"), {}, None),
        (
            filters.DiskFormat,
            Wish("p", disk_format="raw"),
            {"labels": {"disk_formats": "qcow2, raw"}},
            None,
        ),
        (
            filters.DiskFormat,
            Wish("p", disk_format="vmdk"),
            {"labels": {"disk_formats": "qcow2, raw"}},
            "its label disk_formats does not have vmdk",
        ),
        (filters.Capacity, Wish("p", size=2**50), {}, None),
        (filters.Capacity, PLAIN, {"capacity": Capacity(1)}, None),
        (filters.Capacity, PLAIN, {"capacity": Capacity(0)}, "0 B are free"),
        (
            filters.Capacity,
            Wish("p", size=2 * GIB),
            {"capacity": Capacity(GIB)},
            "1 GiB are free, 2 GiB are wanted",
        ),
        (filters.Capacity, PLAIN, {"capacity": Capacity(5 * GIB, 100 * GIB)}, None),
        (
            filters.Capacity,
            Wish("p", size=1),
            {"capacity": Capacity(5 * GIB, 100 * GIB)},
            "5 % of 100 GiB would be free; 5 % must stay free",
        ),
    ],
)
def test_what_filters_leave_out(
    kind: type, wish: Wish, region: dict[str, Any], said: str | None
) -> None:
    assert why_not(kind, wish, **region) == said


def test_a_project_may_be_kept_to_some_regions() -> None:
    settings = Settings(allowed={"p": frozenset({"S", "T"})})
    said = "the project may only be bound to S, T"
    assert why_not(filters.Allowed, Wish("p"), settings, name="R") == said
    assert why_not(filters.Allowed, Wish("p"), settings, name="T") is None
    assert why_not(filters.Allowed, Wish("q"), settings, name="R") is None


FIGURES = {
    weighers.Images: (candidate(facts={"held": 3}), 3),
    weighers.Free: (candidate(capacity=Capacity(7, 10)), 7),
    weighers.Distance: (candidate(facts={"distance": 2}), 2),
    weighers.Backlog: (candidate(facts={"backlog": 4}), 4),
    weighers.Bindings: (candidate(facts={"bindings": 5}), 5),
    weighers.Cost: (candidate(labels={"cost": "1.5"}), 1.5),
    weighers.Age: (candidate(facts={"age": 60.0}), 60.0),
}


@pytest.mark.parametrize("kind", WEIGHERS)
def test_what_weighers_go_by(kind: type) -> None:
    one, figure = FIGURES[kind]
    weigher: Weigher = kind(Settings())
    assert weigher.figure(PLAIN, one) == figure


@pytest.mark.parametrize("text", ["", "cheap", "nan", "inf", "-inf", "1e999"])
def test_a_cost_that_is_no_number_is_not_known(text: str) -> None:
    settings = Settings()
    one, other = candidate("A", labels={"cost": text}), candidate("B", labels={"cost": "3"})
    cheap = candidate("C", labels={"cost": "1"})
    ranked = Selection([], [(weighers.Cost(settings), 1.0)]).rank(PLAIN, [one, other, cheap])
    assert [each.region for each in ranked] == ["C", "A", "B"]
    assert [each.total for each in ranked] == [1, 0.5, 0]


# -- choosing -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Given:
    """A weigher of figures that a test gives it."""

    figures: dict[str, float | None]
    less: bool = False
    name: str = "given"
    unit: str = ""

    def figure(self, wish: Wish, candidate: Candidate) -> float | None:
        return self.figures[candidate.region.name]


def test_the_worst_counts_0_and_the_best_1_and_what_is_not_known_half() -> None:
    given = Given({"A": 10, "B": 20, "C": 12, "D": None})
    ranked = Selection([], [(given, 2.0)]).rank(PLAIN, [candidate(name) for name in "ABCD"])
    assert {one.region: one.weights["given"].normalised for one in ranked} == {
        "A": 0,
        "B": 1,
        "C": 0.2,
        "D": 0.5,
    }
    assert [(one.region, one.total) for one in ranked] == [
        ("B", 2),
        ("D", 1),
        ("C", 0.4),
        ("A", 0),
    ]
    less = Selection([], [(dataclasses.replace(given, less=True), 1.0)])
    assert less.rank(PLAIN, [candidate(name) for name in "ABCD"])[0].region == "A"


def test_regions_that_are_left_out_do_not_count_in_weighing() -> None:
    """Else a full and cheap region would make all others look equally dear."""
    given = Given({"A": 1000, "B": 2, "C": 1})
    closed = candidate("A", enabled=False)
    selection = Selection([filters.Enabled(Settings())], [(given, 1.0)])
    ranked = selection.rank(PLAIN, [closed, candidate("B"), candidate("C")])
    assert [(one.region, one.total) for one in ranked] == [("B", 1), ("C", 0), ("A", None)]
    assert ranked[-1].weights == {}
    assert ranked[-1].reasons == ("it is disabled",)


def test_all_weighers_count_not_only_the_first() -> None:
    first, second = Given({"A": 1, "B": 0, "C": 0.9}), Given({"A": 0, "B": 1, "C": 0.9}, name="2nd")
    ranked = Selection([], [(first, 1.0), (second, 1.0)]).rank(PLAIN, [*map(candidate, "ABC")])
    assert ranked[0].region == "C"


# -- what always holds ----------------------------------------------------------------------------

LABELS = st.dictionaries(
    st.sampled_from(["availability_zones", "disk_formats", "cost", "place", "tier"]),
    st.text("az1, é\0", max_size=8)
    | st.sampled_from(["az1", "raw", "3", "-1e308", "1e308", "nan", "gold"]),
)
CAPACITIES = st.none() | st.builds(
    Capacity, st.integers(0, 2**63 - 1), st.none() | st.integers(1, 2**63 - 1)
)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.builds(
            Region,
            st.text("RST", min_size=1, max_size=4),
            st.just("u"),
            present=st.booleans(),
            enabled=st.booleans(),
            maintenance=st.booleans(),
            labels=LABELS,
            capacity=CAPACITIES,
        ),
        st.integers(0, 9),
        st.integers(0, 2**63 - 1),
        st.integers(0, 2**31),
        st.integers(0, 2**31),
        st.none() | st.floats(0, 1e10),
    ),
    max_size=8,
    unique_by=lambda one: one.region.name,
)
WISHES = st.builds(
    Wish,
    st.sampled_from("pq"),
    availability_zone=st.none() | st.just("az1"),
    labels=st.just({}) | st.just({"tier": "gold"}),
    disk_format=st.none() | st.just("raw"),
    size=st.none() | st.integers(0, 2**40),
)
MULTIPLIERS = st.lists(st.floats(-1e6, 1e6), min_size=len(WEIGHERS), max_size=len(WEIGHERS))
SETTINGS = st.builds(
    Settings, st.floats(0, 100), st.just({}) | st.just({"p": frozenset({"R", "S"})})
)


def selection(settings: Settings, multipliers: list[float]) -> Selection:
    made = [kind(settings) for kind in WEIGHERS]
    return Selection(
        [kind(settings) for kind in FILTERS], list(zip(made, multipliers, strict=True))
    )


@given(CANDIDATES, WISHES, MULTIPLIERS, SETTINGS, st.randoms(use_true_random=False))
def test_the_order_of_regions_does_not_matter(
    candidates: list[Candidate],
    wish: Wish,
    multipliers: list[float],
    settings: Settings,
    chance: random.Random,
) -> None:
    one = selection(settings, multipliers)
    ranked = one.rank(wish, candidates)
    shuffled = list(candidates)
    chance.shuffle(shuffled)
    assert one.rank(wish, shuffled) == ranked
    assert sorted(each.region for each in ranked) == sorted(c.region.name for c in candidates)


@given(CANDIDATES, WISHES, MULTIPLIERS, SETTINGS)
def test_what_is_normalised_is_from_0_to_1(
    candidates: list[Candidate], wish: Wish, multipliers: list[float], settings: Settings
) -> None:
    for one in selection(settings, multipliers).rank(wish, candidates):
        assert (one.total is not None) == one.passes
        for weight in one.weights.values():
            assert 0 <= weight.normalised <= 1
            assert weight.raw is None or math.isfinite(weight.raw)
            assert weight.weighted == weight.normalised * weight.multiplier
        assert one.total is None or math.isfinite(one.total)


@given(CANDIDATES, WISHES, MULTIPLIERS, SETTINGS, st.integers(0, len(WEIGHERS) - 1))
def test_a_multiplier_of_0_changes_nothing(
    candidates: list[Candidate],
    wish: Wish,
    multipliers: list[float],
    settings: Settings,
    which: int,
) -> None:
    multipliers[which] = 0.0
    full = selection(settings, multipliers)
    weighers_left = [pair for number, pair in enumerate(full.weighers) if number != which]
    without = dataclasses.replace(full, weighers=weighers_left)

    def outcome(ranked: list[Judged]) -> list[tuple[str, float | None]]:
        return [(one.region, one.total) for one in ranked]

    assert outcome(full.rank(wish, candidates)) == outcome(without.rank(wish, candidates))


@given(st.sets(st.text("RSTé", min_size=1, max_size=4), min_size=1, max_size=6), MULTIPLIERS)
def test_of_equals_the_first_name_is_chosen(names: set[str], multipliers: list[float]) -> None:
    alike = [candidate(name) for name in names]
    ranked = selection(Settings(), multipliers).rank(PLAIN, alike)
    assert [one.region for one in ranked] == sorted(names)


@given(CANDIDATES, WISHES, SETTINGS, st.sets(st.integers(0, len(FILTERS) - 1)))
def test_filters_only_leave_out(
    candidates: list[Candidate], wish: Wish, settings: Settings, chosen: set[int]
) -> None:
    def passing(which: list[Filter]) -> set[str]:
        ranked = Selection(which, []).rank(wish, candidates)
        return {one.region for one in ranked if one.passes}

    every = [kind(settings) for kind in FILTERS]
    some = [every[number] for number in sorted(chosen)]
    assert passing(every) <= passing(some) <= {one.region.name for one in candidates}
    assert passing([]) == {one.region.name for one in candidates}
    alone = [passing([one]) for one in every]
    assert passing(every) == set.intersection(*alone)


def test_a_region_is_told_every_verdict_not_only_the_first_against_it() -> None:
    one = selection(Settings(), [1.0] * len(WEIGHERS))
    closed = candidate(enabled=False, maintenance=True)
    judged = one.judge(PLAIN, closed)
    assert set(judged.verdicts) == {kind.name for kind in FILTERS}
    assert judged.reasons == ("it is disabled", "it is in maintenance")
    assert judged.verdicts["labels"] == Verdict(True, "no label is asked for")
