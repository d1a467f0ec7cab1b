# SPDX-License-Identifier: Apache-2.0
"""Matches: the algebra of their answers, and what is told of them without an image."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancesync.model import Actor, Image, Project, Region
from glancesync.placement.matching import (
    FIELDS,
    Among,
    Every,
    Like,
    Match,
    Not,
    Some,
    Within,
    always,
    implies,
    keys,
    never,
)
from glancesync.placement.rules import AS_BOUND, Book, Rule, first
from glancesync.placement.strategies import Facts

PROJECT = Project("p1", "finance", "d1", "Bank")
IMAGE = Image(
    "i",
    "active",
    name="ubuntu-24.04",
    container_format="bare",
    disk_format="qcow2",
    visibility="public",
    owner="p1",
    tags=frozenset({"golden", "lts"}),
    properties={"os_distro": "ubuntu"},
    size=1024,
    created_at=1000.0,
)
FACTS = Facts(
    (Region("home", "u", home=True), Region("A", "u")),
    Actor("u1", "p1", ("Member", "reader")),
    project=PROJECT,
    now=1100.0,
)
BARE = Image("i", "queued", visibility="private")
NOBODY = Facts(FACTS.regions, now=1100.0)

#: A match, its answer about IMAGE, and about BARE which nothing is known of.
ANSWERS: list[tuple[Match, bool | None, bool | None]] = [
    (Among("owner", frozenset({"p1", "p2"})), True, False),
    (Among("owner", frozenset({"finance"})), False, False),
    (Among("project", frozenset({"p1"})), True, None),
    (Among("project", frozenset({"finance"})), True, None),
    (Among("project", frozenset({"Bank"})), False, None),
    (Among("domain", frozenset({"Bank"})), True, None),
    (Among("domain", frozenset({"d1"})), True, None),
    (Among("user", frozenset({"u1"})), True, None),
    (Among("user", frozenset({"u2"})), False, None),
    (Among("role", frozenset({"member"})), True, None),
    (Among("role", frozenset({"admin"})), False, None),
    (Among("visibility", frozenset({"public"})), True, False),
    (Among("tags", frozenset({"golden", "x"})), True, False),
    (Among("tags", frozenset({"Golden"})), False, False),
    (Among("disk_format", frozenset({"qcow2"})), True, False),
    (Among("container_format", frozenset({"ami"})), False, False),
    (Like(frozenset({"ubuntu-*"})), True, False),
    (Like(frozenset({"UBUNTU-*"})), False, False),
    (Like(frozenset({"[uv]buntu-24.0?", "x"})), True, False),
    (Like(frozenset({"*"})), True, True),
    (Like(frozenset({"ubuntu"}), "os_distro"), True, False),
    (Like(frozenset({"*"}), "os_distro"), True, False),
    (Like(frozenset({"*"}), "os_version"), False, False),
    (Within("size", 1024), True, None),
    (Within("size", 0, 1024), False, None),
    (Within("age", 0, 101), True, None),
    (Within("age", 100), True, None),
    (Within("age", 101), False, None),
]


@pytest.mark.parametrize(("match", "known", "unknown"), ANSWERS)
def test_what_is_answered(match: Match, known: bool | None, unknown: bool | None) -> None:
    assert match.answer(IMAGE, FACTS) is known
    assert match.answer(BARE, NOBODY) is unknown
    for image, facts in ((IMAGE, FACTS), (BARE, NOBODY)):
        assert all(match.because(image, facts))


def test_one_whose_creation_lies_ahead_is_new() -> None:
    ahead = dataclasses.replace(IMAGE, created_at=FACTS.now + 60)
    assert Within("age", 0, 1).answer(ahead, FACTS)


def test_the_words_name_what_decided() -> None:
    both = Every((Among("visibility", frozenset({"private"})), Like(frozenset({"ubuntu*"}))))
    assert both.because(IMAGE, FACTS) == ["visibility: 'public'"]
    assert Not(both).because(IMAGE, FACTS) == ["visibility: 'public'"]
    one = Some((Among("tags", frozenset({"golden"})), Among("role", frozenset({"admin"}))))
    assert one.because(IMAGE, FACTS) == ["tags: 'golden', 'lts'"]
    assert one.because(BARE, NOBODY) == ["nobody said who changed it last"]
    none = Like(frozenset({"x"}), "os_version").because(IMAGE, FACTS)
    assert none == ["it has no property os_version"]


# -- the algebra ----------------------------------------------------------------------------------

FEW = st.sampled_from("abc")
SETS = st.frozensets(FEW, min_size=1, max_size=2)
LEAVES = st.one_of(
    st.builds(Among, st.sampled_from(["owner", "user", "role", "tags", "visibility"]), SETS),
    st.builds(Like, st.frozensets(st.sampled_from(["a", "b*", "*"]), min_size=1)),
    st.builds(Like, SETS, st.just("p")),
    st.builds(
        Within,
        st.sampled_from(["size", "age"]),
        st.integers(0, 3).map(float),
        st.integers(0, 4).map(float),
    ),
)


def _wholes(parts: st.SearchStrategy[Match]) -> st.SearchStrategy[Match]:
    some = st.lists(parts, min_size=1, max_size=3).map(tuple)
    return st.one_of(st.builds(Every, some), st.builds(Some, some), st.builds(Not, parts))


MATCHES: st.SearchStrategy[Match] = st.recursive(LEAVES, _wholes, max_leaves=8)
MAYBE = st.one_of(st.none(), FEW)
IMAGES = st.builds(
    Image,
    st.just("i"),
    st.just("active"),
    name=MAYBE,
    visibility=FEW,
    owner=MAYBE,
    tags=st.frozensets(FEW),
    properties=st.dictionaries(st.just("p"), FEW),
    size=st.one_of(st.none(), st.integers(0, 4)),
    created_at=st.one_of(st.none(), st.integers(0, 4).map(float)),
)
WORLDS = st.builds(
    Facts,
    st.just(()),
    actor=st.builds(Actor, MAYBE, st.none(), st.lists(FEW, max_size=2).map(tuple)),
    now=st.just(4.0),
)


@given(MATCHES, IMAGES, WORLDS)
def test_twice_not_changes_nothing(match: Match, image: Image, facts: Facts) -> None:
    assert Not(Not(match)).answer(image, facts) is match.answer(image, facts)


@given(st.lists(MATCHES, min_size=1, max_size=4), IMAGES, WORLDS)
def test_all_and_any_mirror_each_other(parts: list[Match], image: Image, facts: Facts) -> None:
    mirrored = Not(Some(tuple(map(Not, parts))))
    assert Every(tuple(parts)).answer(image, facts) is mirrored.answer(image, facts)
    assert Every((parts[0],)).answer(image, facts) is parts[0].answer(image, facts)
    assert Some((parts[0],)).answer(image, facts) is parts[0].answer(image, facts)


@given(st.permutations(range(3)), st.lists(MATCHES, min_size=3, max_size=3), IMAGES, WORLDS)
def test_order_does_not_matter(
    order: list[int], parts: list[Match], image: Image, facts: Facts
) -> None:
    for kind in (Every, Some):
        shuffled = kind(tuple(parts[n] for n in order))
        assert kind(tuple(parts)).answer(image, facts) is shuffled.answer(image, facts)


@given(MATCHES, IMAGES, WORLDS)
def test_what_is_not_known_matches_nothing_and_neither_does_its_opposite(
    match: Match, image: Image, facts: Facts
) -> None:
    both = Every((match, Not(match)))
    assert not both.answer(image, facts)
    if match.answer(image, facts) is None:
        assert Not(match).answer(image, facts) is None


@given(MATCHES, IMAGES, WORLDS)
def test_there_are_always_words(match: Match, image: Image, facts: Facts) -> None:
    assert match.because(image, facts)


# -- what is told without an image ----------------------------------------------------------------


@given(MATCHES, MATCHES, IMAGES, WORLDS)
def test_what_is_implied_is_so(one: Match, other: Match, image: Image, facts: Facts) -> None:
    if implies(one, other) and one.answer(image, facts):
        assert other.answer(image, facts)


@given(MATCHES, IMAGES, WORLDS)
def test_always_and_never_are_so(match: Match, image: Image, facts: Facts) -> None:
    assert implies(match, match)
    if always(match):
        assert match.answer(image, facts) is True
    if never(match):
        assert not match.answer(image, facts)


@given(MATCHES, IMAGES, WORLDS)
def test_who_matches_has_one_of_its_keys(match: Match, image: Image, facts: Facts) -> None:
    if match.answer(image, facts) and (wanted := keys(match)) is not None:
        fields = {field for field, _ in wanted}
        assert wanted & {(f, value) for f in fields for value in FIELDS[f](image, facts) or ()}


@given(st.lists(MATCHES, max_size=6), IMAGES, WORLDS)
def test_the_first_that_matches_is_found(matches: list[Match], image: Image, facts: Facts) -> None:
    rules = tuple(Rule(str(n), match, AS_BOUND) for n, match in enumerate(matches))
    naive = next((rule for rule in rules if rule.match.answer(image, facts)), None)
    assert first(Book(rules), image, facts) is naive


def among(field: str, *values: str) -> Among:
    return Among(field, frozenset(values))


PUBLIC, PRIVATE = among("visibility", "public"), among("visibility", "private")
GOLDEN = among("tags", "golden")


@pytest.mark.parametrize(
    ("one", "other", "is_so"),
    [
        (PUBLIC, among("visibility", "public", "shared"), True),
        (among("visibility", "public", "shared"), PUBLIC, False),
        (Every((PUBLIC, GOLDEN)), GOLDEN, True),
        (GOLDEN, Every((PUBLIC, GOLDEN)), False),
        (Every((PUBLIC, GOLDEN)), Every((GOLDEN, PUBLIC)), True),
        (Every((PUBLIC, Every((GOLDEN,)))), Every((GOLDEN, PUBLIC)), True),
        (GOLDEN, Some((PUBLIC, GOLDEN)), True),
        (Some((PUBLIC, GOLDEN)), Some((GOLDEN, PUBLIC, PRIVATE)), True),
        (Some((PUBLIC, GOLDEN)), GOLDEN, False),
        (Not(Some((PUBLIC, GOLDEN))), Not(PUBLIC), True),
        (Not(PUBLIC), Not(Every((PUBLIC, GOLDEN))), True),
        (Not(PUBLIC), Not(among("visibility", "public", "shared")), False),
        (Within("size", 5, 6), Within("size", 4, 7), True),
        (Within("size", 5, 6), Within("age", 4, 7), False),
        (PUBLIC, Like(frozenset({"*"})), True),
        (PUBLIC, Like(frozenset({"*"}), "p"), False),
        (Like(frozenset({"x"}), "p"), Like(frozenset({"*"}), "p"), True),
        (Every((PUBLIC, PRIVATE)), GOLDEN, True),
    ],
)
def test_what_is_seen_at_a_glance(one: Match, other: Match, is_so: bool) -> None:
    assert implies(one, other) is is_so


@pytest.mark.parametrize(
    ("match", "is_so"),
    [
        (Every((PUBLIC, PRIVATE)), True),
        (Every((PUBLIC, Every((GOLDEN, PRIVATE)))), True),
        (Every((GOLDEN, among("tags", "x"))), False),
        (Every((among("project", "finance"), among("project", "p1"))), False),
        (Every((GOLDEN, Not(GOLDEN))), True),
        (Every((Not(among("tags", "golden", "x")), GOLDEN)), True),
        (Every((Within("size", 10), Within("size", 0, 10))), True),
        (Every((Within("size", 10), Within("age", 0, 10))), False),
        (Within("size", 10, 10), True),
        (Some((Within("size", 10, 10), PUBLIC)), False),
        (Not(Like(frozenset({"*"}))), True),
    ],
)
def test_what_can_never_hold(match: Match, is_so: bool) -> None:
    assert never(match) is is_so
