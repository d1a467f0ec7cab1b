# SPDX-License-Identifier: Apache-2.0
"""From which region: who may be copied from, who is best, who has room."""

import dataclasses
import math

import pytest

from glancesync.model import Region, Replica
from glancesync.sources import Candidate, candidates, choose, distance
from glancesync.states import ReplicaState

ROOM = 4


def region(name: str, place: str = "", **more: object) -> Region:
    made = Region(name, f"http://{name}", labels={"place": place} if place else {})
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


def holder(name: str, state: ReplicaState = ReplicaState.IN_SYNC) -> Replica:
    return Replica("i", name, state, replica_id="i")


@pytest.mark.parametrize(
    ("one", "other", "steps"),
    [
        ("eu/fr/paris", "eu/fr/paris", 0),
        ("eu/fr/paris", "eu/fr/lyon", 2),
        ("eu/fr/paris", "eu/fr", 1),
        ("eu/fr/paris", "eu/de/berlin", 4),
        ("eu/fr/paris", "us/ny", 5),
        ("/eu//fr/", "eu/fr", 0),
        ("eu", "europe", 2),
        ("", "", 0),
        ("", "eu/fr", 2),
    ],
)
def test_distance(one: str, other: str, steps: int) -> None:
    assert distance(region("a", one), region("b", other)) == steps
    assert distance(region("b", other), region("a", one)) == steps


@pytest.mark.parametrize("state", list(ReplicaState))
def test_only_whole_replicas_are_copied_from(state: ReplicaState) -> None:
    regions = [region("home", home=True), region("a"), region("to")]
    found = candidates("to", regions, [holder("a", state)], ROOM, "home")
    whole = state in (ReplicaState.IN_SYNC, ReplicaState.PARTIAL)
    assert [one.region for one in found] == (["a", "home"] if whole else ["home"])


@pytest.mark.parametrize(
    "unwell", [{"enabled": False}, {"maintenance": True}, {"present": False}, {"broken_for": 5.0}]
)
def test_regions_that_are_left_alone_are_not_copied_from(unwell: dict[str, object]) -> None:
    regions = [region("home", home=True), region("a", **unwell), region("to")]
    assert [one.region for one in candidates("to", regions, [holder("a")], ROOM, "home")] == [
        "home"
    ]


def test_a_region_does_not_serve_itself() -> None:
    """It is on record to have what it has lost, until somebody looks."""
    regions = [region("home", home=True), region("to")]
    assert [one.region for one in candidates("to", regions, [holder("to")], ROOM, "home")] == [
        "home"
    ]


def test_the_nearest_first_and_home_after_its_equals() -> None:
    regions = [
        region("far", "us/ny"),
        region("home", "eu/fr", home=True),
        region("near", "eu/fr"),
        region("nearest", "eu/de"),
        region("to", "eu/de"),
    ]
    found = candidates("to", regions, map(holder, ("far", "near", "nearest")), ROOM, "home")
    assert [one.region for one in found] == ["nearest", "near", "home", "far"]
    assert {one.room for one in found} == {ROOM}


def test_a_region_may_have_a_limit_of_its_own() -> None:
    regions = [region("home", home=True, limits={"sources": 1}), region("to")]
    assert [one.room for one in candidates("to", regions, [], ROOM, "home")] == [1]


def test_the_best_that_has_room_serves_and_of_equals_the_one_that_serves_fewest() -> None:
    near, twin = Candidate("near", False, 0, 2), Candidate("twin", False, 0, 2)
    home, far = Candidate("home", True, 0, 2), Candidate("far", False, 3, 2)
    found = [near, twin, home, far]
    assert choose(found, {}) in ("near", "twin")
    assert choose(found, {"near": 1}) == "twin"
    assert choose(found, {"near": 1, "twin": 2}) == "near"
    assert choose(found, {"near": 2, "twin": 2}) == "home"
    assert choose(found, {"near": 2, "twin": 2, "home": 2}) == "far"
    assert choose(found, dict.fromkeys(["near", "twin", "home", "far"], 2)) is None
    assert choose([], {}) is None


@pytest.mark.parametrize("room", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 8, 50, 500])
def test_the_time_until_all_have_it_grows_with_the_logarithm(count: int, room: int) -> None:
    """All copies begin and end together: rounds, in which each that has it serves ``room``."""
    having, rounds, read = ["home"], 0, 0
    while len(having) <= count:
        found = [Candidate(name, name == "home", 0, room) for name in having]
        busy: dict[str, int] = {}
        while (source := choose(found, busy)) and len(having) <= count:
            busy[source] = busy.get(source, 0) + 1
            having.append(f"region{len(having)}")
        rounds += 1
        read += busy.get("home", 0)
    assert rounds == math.ceil(math.log(count + 1, room + 1))
    assert read <= room * rounds
