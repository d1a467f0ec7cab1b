# SPDX-License-Identifier: Apache-2.0
"""Which regions."""

import dataclasses

from glancesync.conf import regions as options
from glancesync.model import Image, Pin, Region, Replica
from glancesync.placement.places import place, targets, unplaced, why_not
from glancesync.placement.strategies import STRATEGIES, Facts, Placement, Strategy
from glancesync.states import ENDED, ReplicaState

IMAGE = Image("i", "active", container_format="bare", disk_format="raw")
FACTS = Facts(
    (
        Region("home", "http://h", home=True),
        Region("open", "http://o"),
        Region("closed", "http://c", maintenance=True),
        Region("off", "http://f", enabled=False),
        Region("gone", "http://g", present=False),
    )
)
ALL = {"open", "closed", "off", "gone"}


def known(**states: ReplicaState) -> dict[str, Replica]:
    return {name: Replica("i", name, state, made=True) for name, state in states.items()}


def test_all_is_every_region_but_home_also_those_that_are_closed_now() -> None:
    assert place(STRATEGIES["ALL"], IMAGE, FACTS, {}).regions == ALL
    assert place(STRATEGIES["ALL"], IMAGE, Facts(()), {}).regions == frozenset()
    assert STRATEGIES["ALL"].active


def test_none_is_nowhere_and_off() -> None:
    assert place(STRATEGIES["None"], IMAGE, FACTS, {}).regions == frozenset()
    assert not STRATEGIES["None"].active


def test_the_configuration_offers_exactly_the_strategies_there_are() -> None:
    assert sorted(options.STRATEGIES) == sorted([*STRATEGIES, "USER", *options.ALIASES])
    assert set(options.ALIASES.values()) <= STRATEGIES.keys()
    assert all(name == strategy.name for name, strategy in STRATEGIES.items())


def test_where_somebody_wants_it_by_name_it_goes_whatever_the_strategy_says() -> None:
    nowhere = Strategy("here", lambda image, facts: Placement(frozenset(), "nobody said so"))
    pins = {name: Pin("i", name, "asked for") for name in ("open", "home")}
    facts = dataclasses.replace(FACTS, pins=pins)
    assert place(nowhere, IMAGE, facts, {}).regions == {"open"}, "and never home"


def test_a_strategy_sees_where_the_image_is_or_soon_will_be() -> None:
    seen = []

    def look(image: Image, facts: Facts) -> Placement:
        seen.append(set(facts.held))
        return Placement(frozenset(facts.held), "where it is")

    states = {state.value: state for state in ReplicaState}
    place(Strategy("look", look), IMAGE, FACTS, known(**states))
    assert seen == [{state.value for state in ReplicaState if state not in ENDED}]


def test_without_data_only_what_we_made_is_brought_up_to_date() -> None:
    there = known(open=ReplicaState.IN_SYNC) | {"off": Replica("i", "off")}
    everywhere = place(STRATEGIES["ALL"], IMAGE, FACTS, there)
    assert targets(IMAGE, everywhere, there) == ALL
    queued = dataclasses.replace(IMAGE, status="queued")
    assert targets(queued, everywhere, there) == {"open"}


def test_what_is_where_the_image_does_not_go() -> None:
    there = known(open=ReplicaState.IN_SYNC, off=ReplicaState.COPYING, gone=ReplicaState.DELETED)
    placement = Placement(frozenset({"open"}), "rule 7")
    assert unplaced(IMAGE, placement, there) == ["off"]
    assert why_not(IMAGE, placement, "off") == "the image does not go there: rule 7"
    assert why_not(IMAGE, placement, "open") is None


def test_an_image_that_has_lost_its_data_is_let_go_nowhere() -> None:
    there = known(open=ReplicaState.IN_SYNC)
    queued = dataclasses.replace(IMAGE, status="queued")
    assert unplaced(queued, Placement(frozenset(), "rule 7"), there) == []


def test_a_strategy_is_another_when_what_it_goes_by_changes() -> None:
    user = Strategy("USER", lambda image, facts: Placement(frozenset(), ""), version="a1")
    assert user.mark == "USER a1"
    assert STRATEGIES["ALL"].mark == "ALL"
