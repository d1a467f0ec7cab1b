# SPDX-License-Identifier: Apache-2.0
"""Strategy ``USER``: ordered rules, of which the first that matches an image decides. Pure.

An image may also say by itself where it goes, by its property ``sync_regions``, if the rules allow
it to. The rules say everything else about it then, and the regions too if what it says is wrong.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from glancesync.model import Image
from glancesync.placement.matching import FIELDS, OF_KEYSTONE, Answer, Match, fields, keys
from glancesync.placement.strategies import Facts, Placement, Strategy
from glancesync.snapshots import is_complaint
from glancesync.states import DeleteMode

#: The property by which an image says where it goes.
PROPERTY = "sync_regions"
#: Seconds that work goes before others of its kind.
PRIORITIES: Mapping[str, int] = {"high": 3000, "normal": 0, "low": -3000}
#: The name of the rule that is not among the rules.
DEFAULT = "default"


@dataclasses.dataclass(frozen=True)
class Area:
    """Some of the regions there are.

    ``labels``: those that have one of the values of each; ``bound``: those that the project of the
    image is bound to; ``but``: these never.
    """

    every: bool = False
    names: frozenset[str] = frozenset()
    labels: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    bound: bool = False
    but: frozenset[str] = frozenset()

    def of(self, facts: Facts) -> frozenset[str]:
        """Their names; never one that is not known."""
        known = {region.name: region.labels for region in facts.regions}
        if self.every:
            return frozenset(known) - self.but
        found = self.names | (facts.bound if self.bound else frozenset())
        if self.labels:
            found |= {name for name, labels in known.items() if self._labelled(labels)}
        return (found & known.keys()) - self.but

    def _labelled(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(name) in values for name, values in self.labels.items())


@dataclasses.dataclass(frozen=True)
class Effect:
    """What becomes of an image. ``said``: as it was written, for people."""

    area: Area
    delete_mode: DeleteMode | None = None
    haste: int = 0
    transports: tuple[str, ...] = ()
    said: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)


#: Where nothing is said, images go where their project is bound, and nowhere else.
AS_BOUND = Effect(Area(bound=True), said={"regions": {"bound": True}})


@dataclasses.dataclass(frozen=True)
class Rule:
    """A match and what it means. ``line``: where it stands; ``said``: its match as written."""

    name: str
    match: Match
    effect: Effect
    line: int = 0
    said: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)


@dataclasses.dataclass(frozen=True)
class Mention:
    """A region that a file names."""

    region: str
    path: str
    line: int


@dataclasses.dataclass(frozen=True)
class Book:
    """What a file of rules says.

    ``default``: for images that no rule matches; ``override``: for which images ``sync_regions``
    counts (None: for none); ``version``: another one for another file.
    """

    rules: tuple[Rule, ...] = ()
    default: Effect = AS_BOUND
    override: Match | bool = False
    version: str = ""
    mentions: tuple[Mention, ...] = ()
    said_override: Any = dataclasses.field(default="none", compare=False)

    @functools.cached_property
    def index(self) -> Mapping[str, Mapping[str, Sequence[int]]]:
        """Field -> value -> the rules that can match images which have it; but for :attr:`open`."""
        found: dict[str, dict[str, list[int]]] = {}
        for number, rule in enumerate(self.rules):
            for field, value in keys(rule.match) or ():
                found.setdefault(field, {}).setdefault(value, []).append(number)
        return found

    @functools.cached_property
    def open(self) -> Sequence[int]:
        """The rules that can match any image."""
        return [n for n, rule in enumerate(self.rules) if keys(rule.match) is None]

    @functools.cached_property
    def by_project(self) -> bool:
        """Whether it goes by what only Keystone knows of the project that owns an image."""
        asked = [rule.match for rule in self.rules]
        if not isinstance(self.override, bool):
            asked.append(self.override)
        return any(fields(match) & OF_KEYSTONE for match in asked)


def strategy(book: Book) -> Strategy:
    """The strategy that goes by these rules."""
    place = functools.partial(decide, book)
    return Strategy("USER", place, version=book.version, by_project=book.by_project)


def decide(book: Book, image: Image, facts: Facts) -> Placement:
    """Where ``image`` goes by the rules, and how."""
    rule = first(book, image, facts)
    if rule is None:
        effect, why = book.default, f"no rule matches it, so the {DEFAULT} decides"
    else:
        effect, why = rule.effect, f"rule {rule.name!r} decides"
    said = image.properties.get(PROPERTY)
    placement = Placement(
        effect.area.of(facts) if said is None else frozenset(),
        why,
        effect.delete_mode,
        effect.haste,
        effect.transports,
    )
    if said is None:
        return placement
    names, wrong = _wish(book, image, facts, said)
    if names is not None:
        return dataclasses.replace(placement, regions=names, why=f"its {PROPERTY} says {said!r}")
    return dataclasses.replace(placement, regions=effect.area.of(facts), complaint=wrong)


def of_bytes(last_error: str | None) -> str | None:
    """What is on record to be wrong with the bytes of an image, if it is not a complaint."""
    if last_error is None or last_error.startswith(f"{PROPERTY}:") or is_complaint(last_error):
        return None
    return last_error


def first(book: Book, image: Image, facts: Facts) -> Rule | None:
    """The rule that decides about ``image``; None: the default does."""
    numbers = list(book.open)
    for field, by_value in book.index.items():
        for value in FIELDS[field](image, facts) or ():
            numbers += by_value.get(value, ())
    numbers.sort()
    for number in numbers:
        if book.rules[number].match.answer(image, facts):
            return book.rules[number]
    return None


def _wish(
    book: Book, image: Image, facts: Facts, said: str
) -> tuple[frozenset[str] | None, str | None]:
    """Where the image itself says that it goes, or what is wrong with that."""
    if book.override is False:
        return None, f"{PROPERTY}: the rules let no image say where it goes"
    if not isinstance(book.override, bool) and not book.override.answer(image, facts):
        because = ", ".join(book.override.because(image, facts))
        return None, f"{PROPERTY}: the rules don't let this image say where it goes: {because}"
    names = frozenset(name for one in said.split(",") if (name := one.strip()))
    known = {region.name for region in facts.regions}
    if names == {"none"} and "none" not in known:
        return frozenset(), None
    if not names:
        return None, f"{PROPERTY}: is empty; it must name regions, with commas between, or be none"
    if strange := sorted(names - known):
        there = sorted(region.name for region in facts.regions if not region.home)
        return None, (
            f"{PROPERTY}: there is no region {strange[0]!r}; there is {', '.join(there) or 'none'}"
        )
    return names, None


# -- for people -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a rule says of an image, and what made it say so."""

    rule: Rule
    answer: Answer
    because: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Which rule decides about an image (None: the default), and what each says."""

    decides: Rule | None
    verdicts: tuple[Verdict, ...]
    placement: Placement


def explain(book: Book, image: Image, facts: Facts) -> Explanation:
    """What :func:`decide` decides, and why."""
    verdicts = tuple(
        Verdict(rule, rule.match.answer(image, facts), tuple(rule.match.because(image, facts)))
        for rule in book.rules
    )
    return Explanation(first(book, image, facts), verdicts, decide(book, image, facts))
