# SPDX-License-Identifier: Apache-2.0
"""Matches: what can be asked of an image, and how the answers combine. Pure.

An answer is True, False or None, which is "not known": who changed the image was never said, it has
no size yet. They combine as in Kleene's logic: what is not known stays so through ``not``, and only
True matches. So ``not`` never turns ignorance into a match, twice ``not`` changes nothing, and
``all`` and ``any`` are each other's mirror.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Protocol

from glancesync.model import Image
from glancesync.placement.strategies import Facts

Answer = bool | None

#: Of an image: the values of a field; None: they are not known.
Values = Callable[[Image, Facts], Collection[str] | None]


class Match(Protocol):
    """A question about an image."""

    def answer(self, image: Image, facts: Facts) -> Answer:
        """Whether it is so."""

    def because(self, image: Image, facts: Facts) -> list[str]:
        """What made the answer what it is, in words."""


def _one(value: str | None) -> Collection[str]:
    return () if value is None else (value,)


def _user(image: Image, facts: Facts) -> Collection[str] | None:
    return None if facts.actor.user_id is None else (facts.actor.user_id,)


def _roles(image: Image, facts: Facts) -> Collection[str] | None:
    if facts.actor.user_id is None and not facts.actor.roles:
        return None
    return frozenset(role.lower() for role in facts.actor.roles)  # Keystone's have no case


def _project(image: Image, facts: Facts) -> Collection[str] | None:
    return None if facts.project is None else (facts.project.id, facts.project.name)


def _domain(image: Image, facts: Facts) -> Collection[str] | None:
    return None if facts.project is None else (facts.project.domain_id, facts.project.domain_name)


#: What a list of values can be held against; first what tells more images apart.
FIELDS: Mapping[str, Values] = {
    "owner": lambda image, facts: _one(image.owner),
    "project": _project,
    "user": _user,
    "tags": lambda image, facts: image.tags,
    "domain": _domain,
    "role": _roles,
    "disk_format": lambda image, facts: _one(image.disk_format),
    "visibility": lambda image, facts: (image.visibility,),
    "container_format": lambda image, facts: _one(image.container_format),
}
#: Those of which an image has one at the most.
SINGLE = frozenset({"owner", "user", "visibility", "disk_format", "container_format"})
#: Those that only Keystone knows.
OF_KEYSTONE = frozenset({"project", "domain"})

NOT_KNOWN = {
    "project": "Keystone knows no project that owns it",
    "domain": "Keystone knows no project that owns it",
    "user": "nobody said who changed it last",
    "role": "nobody said who changed it last",
}


@dataclasses.dataclass(frozen=True)
class Among:
    """A field has one of some values."""

    field: str
    values: frozenset[str]

    @functools.cached_property
    def _read(self) -> Values:
        return FIELDS[self.field]

    def answer(self, image: Image, facts: Facts) -> Answer:
        found = self._read(image, facts)
        return None if found is None else not self.values.isdisjoint(found)

    def because(self, image: Image, facts: Facts) -> list[str]:
        found = self._read(image, facts)
        if found is None:
            return [NOT_KNOWN[self.field]]
        return [f"{self.field}: {', '.join(map(repr, sorted(found))) or 'none'}"]


@dataclasses.dataclass(frozen=True)
class Like:
    """The name, or a property, fits one of some patterns as those of file names, in its case."""

    patterns: frozenset[str]
    of: str | None = None  # the property; None: the name

    @functools.cached_property
    def _fits(self) -> Callable[[str], object]:
        return re.compile("|".join(map(fnmatch.translate, sorted(self.patterns)))).match

    def _value(self, image: Image) -> str | None:
        return (image.name or "") if self.of is None else image.properties.get(self.of)

    def answer(self, image: Image, facts: Facts) -> Answer:
        value = self._value(image)
        return value is not None and self._fits(value) is not None

    def because(self, image: Image, facts: Facts) -> list[str]:
        value = self._value(image)
        if value is None:
            return [f"it has no property {self.of}"]
        return [f"{'name' if self.of is None else f'property {self.of}'}: {value!r}"]


def _age(image: Image, facts: Facts) -> float | None:
    return None if image.created_at is None else max(0.0, facts.now - image.created_at)


#: What has an amount: bytes, seconds.
AMOUNTS: Mapping[str, Callable[[Image, Facts], float | None]] = {
    "size": lambda image, facts: image.size,
    "age": _age,
}


@dataclasses.dataclass(frozen=True)
class Within:
    """An amount is at least, and less than."""

    field: str
    at_least: float = 0.0
    less_than: float = float("inf")

    def answer(self, image: Image, facts: Facts) -> Answer:
        found = AMOUNTS[self.field](image, facts)
        return None if found is None else self.at_least <= found < self.less_than

    def because(self, image: Image, facts: Facts) -> list[str]:
        found = AMOUNTS[self.field](image, facts)
        if found is None:
            return [f"its {self.field} is not known"]
        return [f"{self.field}: {found:.0f} {'bytes' if self.field == 'size' else 'seconds'}"]


Leaf = Among | Like | Within


@dataclasses.dataclass(frozen=True)
class Every:
    """All of some matches hold."""

    parts: tuple[Match, ...]

    def answer(self, image: Image, facts: Facts) -> Answer:
        answer: Answer = True
        for part in self.parts:
            found = part.answer(image, facts)
            if found is False:
                return False
            if found is None:
                answer = None
        return answer

    def because(self, image: Image, facts: Facts) -> list[str]:
        return _deciding(self, image, facts)


@dataclasses.dataclass(frozen=True)
class Some:
    """One of some matches holds, or more."""

    parts: tuple[Match, ...]

    def answer(self, image: Image, facts: Facts) -> Answer:
        answer: Answer = False
        for part in self.parts:
            found = part.answer(image, facts)
            if found:
                return True
            if found is None:
                answer = None
        return answer

    def because(self, image: Image, facts: Facts) -> list[str]:
        return _deciding(self, image, facts)


@dataclasses.dataclass(frozen=True)
class Not:
    """A match does not hold."""

    part: Match

    def answer(self, image: Image, facts: Facts) -> Answer:
        found = self.part.answer(image, facts)
        return None if found is None else not found

    def because(self, image: Image, facts: Facts) -> list[str]:
        return self.part.because(image, facts)


def _deciding(whole: Every | Some, image: Image, facts: Facts) -> list[str]:
    """The words of those parts that have the answer of the whole."""
    answer = whole.answer(image, facts)
    found = [
        said
        for part in whole.parts
        if part.answer(image, facts) is answer
        for said in part.because(image, facts)
    ]
    return list(dict.fromkeys(found))


# -- what can be told without an image ------------------------------------------------------------


def implies(one: Match, other: Match) -> bool:
    """True only if ``other`` is true wherever ``one`` is. False: it is not seen at a glance."""
    if isinstance(one, Leaf) and isinstance(other, Leaf):
        return _narrower(one, other) or always(other) or never(one)
    if one == other or always(other) or never(one):
        return True
    match one, other:
        case Some(parts), _:
            return all(implies(part, other) for part in parts)
        case _, Every(parts):
            return all(implies(one, part) for part in parts)
        case Every(parts), _ if any(implies(part, other) for part in parts):
            return True
        case _, Some(parts):
            return any(implies(one, part) for part in parts)
        case Not(inner), Not(outer):
            return _as_false(inner, outer)
    return _narrower(one, other)


def _as_false(one: Match, other: Match) -> bool:
    """True only if ``other`` is false wherever ``one`` is."""
    match one, other:
        case Not(inner), Not(outer):
            return implies(inner, outer)
        case Some(parts), _ if any(_as_false(part, other) for part in parts):
            return True
        case _, Every(parts):
            return any(_as_false(one, part) for part in parts)
        case _, Some(parts):
            return all(_as_false(one, part) for part in parts)
    return one == other or _narrower(other, one)


def _narrower(one: Match, other: Match) -> bool:
    """Whether ``one`` asks the same as ``other``, and allows no more."""
    match one, other:
        case Among(field, mine), Among(also, theirs):
            return field == also and mine <= theirs
        case Like(mine, field), Like(theirs, also):
            return field == also and (mine <= theirs or "*" in theirs)
        case Within(field, least, below), Within(also, more, less):
            return field == also and more <= least and below <= less
    return False


def always(match: Match) -> bool:
    """True only if it holds for every image."""
    match match:
        case Like(patterns, None):
            return "*" in patterns
        case Every(parts):
            return all(map(always, parts))
        case Some(parts):
            return any(map(always, parts))
    return False


def never(match: Match) -> bool:
    """True only if it can hold for no image."""
    match match:
        case Within(_, least, below):
            return least >= below
        case Not(part):
            return always(part)
        case Some(parts):
            return all(map(never, parts))
        case Every():
            flat = list(_flat(match))
            denied = [part.part for part in flat if isinstance(part, Not)]
            return (
                any(map(never, flat))
                or _nothing_left(flat)
                or any(implies(one, part) for part in denied for one in flat)
            )
    return False


def _flat(match: Match) -> Iterable[Match]:
    if not isinstance(match, Every):
        return [match]
    return [part for inner in match.parts for part in _flat(inner)]


def _nothing_left(parts: Iterable[Match]) -> bool:
    """Whether they leave no value for a field of which there is only one."""
    values: dict[str, frozenset[str]] = {}
    bounds: dict[str, tuple[float, float]] = {}
    for part in parts:
        match part:
            case Among(field, few) if field in SINGLE:
                values[field] = values.get(field, few) & few
            case Within(field, least, below):
                more, less = bounds.get(field, (least, below))
                bounds[field] = max(least, more), min(below, less)
    return not all(values.values()) or any(least >= below for least, below in bounds.values())


def keys(match: Match) -> frozenset[tuple[str, str]] | None:
    """Fields and values of which an image has one, or more, if the match holds; None: that is open.

    Those that fewer images are likely to have are preferred: see ``FIELDS``.
    """
    match match:
        case Among(field, values):
            return frozenset((field, value) for value in values)
        case Every():
            found = [one for part in _flat(match) if (one := keys(part)) is not None]
            return min(found, key=_common, default=None)
        case Some(parts):
            each = [keys(part) for part in parts]
            return None if None in each else frozenset().union(*(one for one in each if one))
    return None


def _common(found: frozenset[tuple[str, str]]) -> tuple[int, int]:
    order = list(FIELDS)
    return max(order.index(field) for field, _ in found), len(found)


def leaves(match: Match) -> Iterator[Leaf]:
    """What it is made of."""
    match match:
        case Every(parts) | Some(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part):
            yield from leaves(part)
        case Among() | Like() | Within():
            yield match


def fields(match: Match) -> frozenset[str]:
    """The fields it asks for."""
    return frozenset(
        ("name" if one.of is None else "properties") if isinstance(one, Like) else one.field
        for one in leaves(match)
    )
