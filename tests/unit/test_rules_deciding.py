# SPDX-License-Identifier: Apache-2.0
"""Strategy USER: the first rule that matches decides, and what an image may say by itself."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancesync.model import Actor, Image, Priority, Region, priority_for
from glancesync.placement.matching import Among, Match
from glancesync.placement.places import place
from glancesync.placement.rules import (
    AS_BOUND,
    PRIORITIES,
    Area,
    Book,
    Effect,
    Rule,
    decide,
    explain,
    strategy,
)
from glancesync.placement.strategies import Facts
from glancesync.states import DeleteMode

IMAGE = Image("i", "active", visibility="public", tags=frozenset({"golden"}), size=1)
FACTS = Facts(
    (
        Region("home", "u", home=True, labels={"tier": "gold"}),
        Region("A", "u", labels={"tier": "gold", "zone": "eu"}),
        Region("B", "u", labels={"tier": "silver", "zone": "eu"}),
        Region("C", "u", present=False, labels={"tier": "gold", "zone": "us"}),
    ),
    Actor("u", "p", ("member",)),
)


def among(field: str, *values: str) -> Match:
    return Among(field, frozenset(values))


def to(*names: str) -> Effect:
    return Effect(Area(names=frozenset(names)))


def rule(name: str, match: Match, effect: Effect) -> Rule:
    return Rule(name, match, effect)


def placed(book: Book, image: Image = IMAGE, facts: Facts = FACTS) -> set[str]:
    """With what all strategies have in common, as that nothing is copied to home."""
    return set(place(strategy(book), image, facts, {}).regions)


AREAS: list[tuple[Area, set[str]]] = [
    (Area(), set()),
    (Area(every=True), {"A", "B", "C"}),
    (Area(every=True, but=frozenset({"B"})), {"A", "C"}),
    (Area(names=frozenset({"A", "home", "nowhere"})), {"A"}),
    (Area(names=frozenset({"A", "B"}), but=frozenset({"A"})), {"B"}),
    (Area(labels={"tier": frozenset({"gold"})}), {"A", "C"}),
    (Area(labels={"tier": frozenset({"gold"}), "zone": frozenset({"eu"})}), {"A"}),
    (Area(labels={"tier": frozenset({"gold", "silver"})}), {"A", "B", "C"}),
    (Area(labels={"colour": frozenset({"red"})}), set()),
    (Area(labels={"zone": frozenset({"us"})}, names=frozenset({"B"})), {"B", "C"}),
    (Area(bound=True), {"B"}),
    (Area(bound=True, names=frozenset({"A"})), {"A", "B"}),
]


@pytest.mark.parametrize(("area", "names"), AREAS)
def test_the_regions_of_an_effect(area: Area, names: set[str]) -> None:
    facts = dataclasses.replace(FACTS, bound=frozenset({"B", "nowhere"}))
    assert placed(Book(default=Effect(area)), facts=facts) == names


def test_the_first_rule_that_matches_decides_and_says_so() -> None:
    book = Book(
        (
            rule("private", among("visibility", "private"), to("A")),
            rule(
                "golden",
                among("tags", "golden"),
                Effect(Area(names=frozenset({"B"})), DeleteMode.HIDE, 3000, ("pull",)),
            ),
            rule("public", among("visibility", "public"), to("C")),
        ),
        to("A"),
    )
    placement = decide(book, IMAGE, FACTS)
    assert placement.regions == {"B"}
    assert placement.why == "rule 'golden' decides"
    assert (placement.delete_mode, placement.haste) == (DeleteMode.HIDE, 3000)
    assert placement.transports == ("pull",)
    assert placed(book, dataclasses.replace(IMAGE, tags=frozenset())) == {"C"}
    other = decide(book, dataclasses.replace(IMAGE, tags=frozenset(), visibility="shared"), FACTS)
    assert other.regions == {"A"}
    assert other.why == "no rule matches it, so the default decides"


def test_where_nothing_is_said_images_follow_their_project() -> None:
    assert Book().default == AS_BOUND
    assert placed(Book()) == set()
    assert placed(Book(), facts=dataclasses.replace(FACTS, bound=frozenset("AC"))) == {"A", "C"}


def test_another_file_is_another_mark() -> None:
    assert strategy(Book(version="a")).mark == "USER a"
    assert strategy(Book(version="a")).active


def test_keystone_is_only_asked_if_a_rule_goes_by_what_it_says() -> None:
    by_owner = rule("r", among("owner", "p"), to("A"))
    by_domain = rule("r", among("domain", "d"), to("A"))
    assert not strategy(Book((by_owner,))).by_project
    assert strategy(Book((by_owner, by_domain))).by_project
    assert strategy(Book((by_owner,), override=among("project", "p"))).by_project


def test_no_rule_makes_an_audits_work_look_like_somebodys_wish() -> None:
    for haste in PRIORITIES.values():
        assert Priority.of_audit(Priority.AUDIT - haste)
        assert not Priority.of_audit(priority_for(Priority.PLAN, 2**50) - haste)
        assert Priority.USER < Priority.HINT - haste < Priority.PLAN


# -- what an image says by itself -----------------------------------------------------------------

MEMBERS = among("role", "member")
BOOK = Book((rule("all", among("tags", "golden"), to("A")),), override=MEMBERS)


def saying(said: str) -> Image:
    return dataclasses.replace(IMAGE, properties={"sync_regions": said})


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("B", {"B"}),
        ("B,C", {"B", "C"}),
        (" B , C,", {"B", "C"}),
        ("none", set()),
        (" none ", set()),
        ("home", set()),
        ("home,B", {"B"}),
    ],
)
def test_an_image_says_where_it_goes(said: str, names: set[str]) -> None:
    assert placed(BOOK, saying(said)) == names
    placement = decide(BOOK, saying(said), FACTS)
    assert placement.complaint is None
    assert placement.why == f"its sync_regions says {said!r}"


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("D", "there is no region 'D'; there is A, B, C"),
        ("A,D,E", "there is no region 'D'; there is A, B, C"),
        ("none,B", "there is no region 'none'; there is A, B, C"),
        ("a", "there is no region 'a'; there is A, B, C"),
        ("", "is empty; it must name regions, with commas between, or be none"),
        (" , ", "is empty; it must name regions, with commas between, or be none"),
    ],
)
def test_the_rules_decide_if_it_says_something_wrong(said: str, complaint: str) -> None:
    placement = decide(BOOK, saying(said), FACTS)
    assert placement.regions == {"A"}
    assert placement.complaint == f"sync_regions: {complaint}"
    assert placement.why == "rule 'all' decides"


def test_the_rest_is_what_the_rules_say() -> None:
    effect = Effect(Area(), DeleteMode.KEEP, -3000, ("scp",))
    placement = decide(dataclasses.replace(BOOK, rules=(), default=effect), saying("B"), FACTS)
    assert placement.regions == {"B"}
    assert (placement.delete_mode, placement.haste) == (DeleteMode.KEEP, -3000)
    assert placement.transports == ("scp",)


def test_who_may_say_so() -> None:
    nobody = dataclasses.replace(FACTS, actor=Actor())
    reader = dataclasses.replace(FACTS, actor=Actor("u", "p", ("reader",)))
    image = saying("B")
    assert placed(dataclasses.replace(BOOK, override=True), image, nobody) == {"B"}
    for override, facts, why in (
        (False, FACTS, "the rules let no image say where it goes"),
        (MEMBERS, reader, "the rules don't let this image say where it goes: role: 'reader'"),
        (
            MEMBERS,
            nobody,
            "the rules don't let this image say where it goes: nobody said who changed it last",
        ),
    ):
        placement = decide(dataclasses.replace(BOOK, override=override), image, facts)
        assert placement.regions == {"A"}
        assert placement.complaint == f"sync_regions: {why}"


# -- explained ------------------------------------------------------------------------------------


def test_an_explanation_has_the_verdict_of_each_rule() -> None:
    book = Book(
        (
            rule("by role", among("role", "admin"), to("A")),
            rule("golden", among("tags", "golden"), to("B")),
            rule("public", among("visibility", "public"), to("C")),
        )
    )
    said = explain(book, IMAGE, dataclasses.replace(FACTS, actor=Actor()))
    assert said.decides == book.rules[1]
    assert said.placement.regions == {"B"}
    assert [(one.rule.name, one.answer, one.because) for one in said.verdicts] == [
        ("by role", None, ("nobody said who changed it last",)),
        ("golden", True, ("tags: 'golden'",)),
        ("public", True, ("visibility: 'public'",)),
    ]
    assert explain(Book(), IMAGE, FACTS).decides is None


# -- always ---------------------------------------------------------------------------------------

NAMES = st.sampled_from(["home", "A", "B", "C", "D"])
EFFECTS = st.builds(
    Effect,
    st.builds(
        Area,
        st.booleans(),
        st.frozensets(NAMES),
        bound=st.booleans(),
        but=st.frozensets(NAMES),
    ),
)
RULES = st.lists(
    st.tuples(st.sampled_from(["golden", "lts", "x"]), EFFECTS).map(
        lambda pair: rule(pair[0], among("tags", pair[0]), pair[1])
    ),
    max_size=4,
)


@given(RULES, EFFECTS, st.one_of(st.none(), st.text("ABhomen, ", max_size=12)), st.booleans())
def test_never_home_never_an_unknown_region_and_the_first_match_wins(
    rules: list[Rule], default: Effect, said: str | None, override: bool
) -> None:
    book = Book(tuple(rules), default, override)
    image = IMAGE if said is None else saying(said)
    facts = dataclasses.replace(FACTS, bound=frozenset({"A", "home", "gone"}))
    names = placed(book, image, facts)
    assert names <= {"A", "B", "C"}
    placement = decide(book, image, facts)
    if said is None or placement.complaint:
        first = next((one for one in rules if one.name == "golden"), None)
        effect = default if first is None else first.effect
        assert placement.regions == effect.area.of(facts)
        cut = rules[: rules.index(first) + 1] if first else rules
        assert placed(dataclasses.replace(book, rules=tuple(cut)), image, facts) == names
    assert bool(placement.complaint) <= (said is not None)
    assert explain(book, image, facts).placement == placement
