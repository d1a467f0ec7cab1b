# SPDX-License-Identifier: Apache-2.0
"""Where images are under LAZY, and when they go again."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancesync.conf import regions as options
from glancesync.model import Image, Pin, Region, Replica
from glancesync.placement.lazy import lazy
from glancesync.placement.places import delete_mode, place, unplaced, why_not
from glancesync.placement.strategies import Facts, Placement
from glancesync.states import ENDED, DeleteMode, ReplicaState

NOW, DAY = 1e9, 86400.0
IMAGE = Image("i", "active", container_format="bare", disk_format="raw", size=10)
REGIONS = (Region("home", "http://h", home=True), *(Region(n, f"http://{n}") for n in "abcd"))
OLD = Replica(
    "i", "a", ReplicaState.IN_SYNC, replica_id="i", made=True, synced_at=NOW - 8 * DAY
)  # fmt: skip


def placed(
    *replicas: Replica,
    pins: dict[str, float] | None = None,
    evict_after: float = 7 * DAY,
    image: Image = IMAGE,
    **facts: Any,
) -> Placement:
    """Where it is placed; ``pins``: region -> how long ago it was used."""
    made = {
        name: Pin("i", name, "test", used_at=NOW - age, pinned_at=NOW - 99 * DAY)
        for name, age in (pins or {}).items()
    }
    known = {one.region: one for one in replicas}
    facts = {"pins": made, "now": NOW, **facts}
    return place(lazy(evict_after), image, Facts(REGIONS, **facts), known)


def test_it_goes_nowhere_by_itself() -> None:
    assert placed().regions == frozenset()


def test_it_is_where_it_is_held_and_where_somebody_wants_it() -> None:
    found = placed(OLD, pins={"b": 0, "home": 0}, evict_after=0)
    assert found.regions == {"a", "b"}
    assert why_not(IMAGE, found, "c") == (
        "the image does not go there: nobody has asked for it there"
    )


@pytest.mark.parametrize("state", sorted(ENDED))
def test_what_has_gone_stays_away(state: ReplicaState) -> None:
    assert placed(dataclasses.replace(OLD, state=state)).regions == frozenset()


def test_what_nobody_has_needed_goes_also_if_it_was_pinned() -> None:
    other = dataclasses.replace(OLD, region="b")
    found = placed(OLD, other, pins={"a": 7 * DAY, "b": 6 * DAY})
    assert found.regions == {"b"}
    assert found.unused == {"a": NOW - 7 * DAY}
    assert why_not(IMAGE, found, "a") == (
        "the image does not go there: nobody has needed it there for 7 days"
    )
    assert delete_mode(found, "a") is DeleteMode.MIRROR, "there is to be room for others"
    assert delete_mode(found, "b") is None


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({"synced_at": None}, {}),
        ({"state": ReplicaState.COPYING}, {}),
        ({"made": False}, {}),
        ({"synced_at": NOW - 6 * DAY}, {}),
        ({}, {"image": dataclasses.replace(IMAGE, status="deactivated")}),
        ({}, {"sound": False}),
        ({}, {"evict_after": 0}),
        ({}, {"pins": {"a": 6 * DAY}}),
    ],
    ids=[
        "it never was complete",
        "it is being copied",
        "we did not make it",
        "it came lately",
        "home's is not active",
        "home's bytes are known to be wrong",
        "nothing is ever to go",
        "somebody has asked lately",
    ],
)
def test_what_stays(change: dict[str, Any], more: dict[str, Any]) -> None:
    assert placed(OLD).regions == frozenset()
    assert placed(dataclasses.replace(OLD, **change), **more).regions == {"a"}


def test_what_is_only_about_to_be_there_is_not_brought_unless_somebody_asks() -> None:
    """As when every image was to go everywhere until now."""
    soon = Replica("i", "a", ReplicaState.PENDING)
    for evict_after in (0, 7 * DAY):
        assert placed(soon, evict_after=evict_after).regions == frozenset()
        assert placed(soon, evict_after=evict_after, pins={"a": 0}).regions == {"a"}


def test_another_region_copies_from_it() -> None:
    copying = dataclasses.replace(OLD, region="b", state=ReplicaState.COPYING, source="a")
    assert placed(OLD, copying).regions == {"a", "b"}


@pytest.mark.parametrize("state", sorted(set(ReplicaState) - ENDED - {ReplicaState.COPYING}))
def test_the_cause_still_stands_while_the_work_on_it_is_queued(state: ReplicaState) -> None:
    found = placed(dataclasses.replace(OLD, state=state))
    assert unplaced(IMAGE, found, {"a": dataclasses.replace(OLD, state=state)}) == ["a"]


def test_a_wish_that_was_never_met_ends_too() -> None:
    assert placed(pins={"a": 8 * DAY}).regions == frozenset()
    assert placed(pins={"a": 6 * DAY}).regions == {"a"}


AGES = st.one_of(st.none(), st.floats(0, 20 * DAY))


@given(synced=AGES, used=AGES, state=st.sampled_from(sorted(ReplicaState)), made=st.booleans())
def test_whatever_was_used_in_time_is_there(
    synced: float | None, used: float | None, state: ReplicaState, made: bool
) -> None:
    since = None if synced is None else NOW - synced
    replica = dataclasses.replace(OLD, synced_at=since, state=state, made=made)
    found = placed(replica, pins={} if used is None else {"a": used})
    if used is not None and used < 7 * DAY:
        assert "a" in found.regions
    if "a" not in found.regions and state not in ENDED:
        assert made
        assert state is not ReplicaState.COPYING
        assert synced is not None
        assert (synced if used is None else used) >= 7 * DAY


def test_another_time_is_another_mark() -> None:
    marks = {lazy(0).mark, lazy(1).mark, lazy(30 * DAY).mark}
    assert marks == {"LAZY", "LAZY 1", "LAZY 2592000"}
    assert all(len(mark) <= 32 for mark in marks), "what the journal has room for"
    assert lazy(1).evicts
    assert not lazy(0).evicts


def test_the_seeds_name() -> None:
    assert options.ALIASES == {"nova": "LAZY"}
