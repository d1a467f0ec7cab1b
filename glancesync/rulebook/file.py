# SPDX-License-Identifier: Apache-2.0
"""``sync_rules.yaml``: which images go where, as the operator wrote it down.

::

    rules:
      - name: what is public goes everywhere
        match: {visibility: public}
        regions: all
    default: {regions: none}

Whatever is wrong with the file is a :class:`~glancesync.errors.ConfigurationError` that names file,
line, value and rule. So are rules that no image can match, and those that are never reached.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from glancesync.documents.complaints import check, unknown
from glancesync.documents.document import Document, Path, parse, shown
from glancesync.documents.files import read
from glancesync.errors import ConfigurationError
from glancesync.model import Region
from glancesync.placement.matching import (
    AMOUNTS,
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
    leaves,
    never,
)
from glancesync.placement.rules import AS_BOUND, PRIORITIES, Area, Book, Effect, Mention, Rule
from glancesync.rulebook.schema import SCHEMA, UNITS
from glancesync.states import DeleteMode

MAX_SIZE = 1024 * 1024

_VALIDATOR = Draft202012Validator(SCHEMA)
_AMOUNT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([A-Za-z]?)")
_BYTES = {unit: 1024**power for power, unit in enumerate(("", "K", "M", "G", "T"))}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_FACTORS: Mapping[str, Mapping[str, int]] = {"size": _BYTES, "age": _SECONDS}


def load(path: str, transports: Collection[str]) -> Book:
    """The rules of a file.

    :param transports: those that may be preferred
    :raises ConfigurationError: names file, line, value and rule
    """
    try:
        found = read(path, MAX_SIZE)
    except ValueError as error:
        raise ConfigurationError("the file", str(error), path) from None
    return book(path, found.data, transports)


def book(source: str, data: bytes, transports: Collection[str]) -> Book:
    """The rules that ``data`` says.

    :param source: what errors call it
    :raises ConfigurationError: as :func:`load`
    """
    document = parse(source, data)
    check(document, _VALIDATOR)
    made = _Reader(document, transports).book(hashlib.sha256(data).hexdigest()[:12])
    _check_order(document, made)
    return made


def strange(made: Book, regions: Collection[Region], source: str) -> list[ConfigurationError]:
    """What a book names that is no region which images can go to.

    :param regions: all that are known
    """
    there = {region.name for region in regions if not region.home}
    home = {region.name for region in regions} - there
    return [
        ConfigurationError(
            one.path,
            f"{one.region} is the home region"
            if one.region in home
            else f"the region {one.region!r} {unknown(one.region, there)}",
            f"{source}:{one.line}",
        )
        for one in made.mentions
        if one.region not in there
    ]


# -- what the schema does not say -----------------------------------------------------------------


def _check_order(document: Document, made: Book) -> None:
    """Refuse rules that have the name of another, that match nothing, or are never reached."""
    lines: dict[str, int] = {}
    covering = _Covering()
    for index, rule in enumerate(made.rules):
        path: Path = ("rules", index)
        if rule.name in lines:
            reason = f"is the name of the rule at line {lines[rule.name]} already"
            raise document.wrong((*path, "name"), reason)
        lines[rule.name] = rule.line
        if never(rule.match):
            raise document.wrong((*path, "match"), "contradicts itself: no image can match it")
        if earlier := covering.rule(rule.match):
            raise document.wrong(
                (*path, "match"),
                "is never reached: whatever it matches, rule "
                f"{earlier.name!r} at line {earlier.line} has matched before",
            )
        covering.add(rule)
    if "default" in document.data:
        for rule in made.rules:
            if always(rule.match):
                reason = f"is never reached: rule {rule.name!r} at line {rule.line} matches all"
                raise document.wrong(("default",), reason)


class _Covering:
    """Rules, by what another must ask for to be covered by one: there may be many."""

    def __init__(self) -> None:
        self._keyed: dict[tuple[str, str], list[Rule]] = {}
        self._open: list[Rule] = []

    def add(self, rule: Rule) -> None:
        wanted = keys(rule.match)
        if wanted is None:
            self._open.append(rule)
        for key in wanted or ():
            self._keyed.setdefault(key, []).append(rule)

    def rule(self, match: Match) -> Rule | None:
        """The first of them that matches all that ``match`` does, as far as that is seen."""
        asked = {
            (one.field, value)
            for one in leaves(match)
            if isinstance(one, Among)
            for value in one.values
        }
        near = {rule.name: rule for key in asked for rule in self._keyed.get(key, ())}
        covers = [rule for rule in (*self._open, *near.values()) if implies(match, rule.match)]
        return min(covers, key=lambda rule: rule.line, default=None)


class _Reader:
    """Makes rules of what the schema allows."""

    def __init__(self, document: Document, transports: Collection[str]) -> None:
        self._document = document
        self._transports = transports
        self._groups: Mapping[str, list[str]] = document.data.get("groups", {})
        self._mentions: list[Mention] = []

    def book(self, version: str) -> Book:
        said = self._document.data
        for name, members in self._groups.items():
            self._mention(("groups", name), members)
        rules = tuple(self._rule(("rules", n), one) for n, one in enumerate(said["rules"]))
        default = self._effect(("default",), said["default"]) if "default" in said else AS_BOUND
        override = said.get("override", "none")
        return Book(
            rules,
            default,
            self._match(("override",), override)
            if isinstance(override, dict)
            else override == "all",
            version,
            tuple(self._mentions),
            override,
        )

    def _rule(self, path: Path, said: Mapping[str, Any]) -> Rule:
        return Rule(
            said["name"],
            self._match((*path, "match"), said["match"]),
            self._effect(path, said),
            self._document.line(path),
            said["match"],
        )

    # -- matches ----------------------------------------------------------------------------------

    def _match(self, path: Path, said: Mapping[str, Any]) -> Match:
        parts = [
            part for name, value in said.items() for part in self._parts((*path, name), name, value)
        ]
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _parts(self, path: Path, name: str, said: Any) -> Iterator[Match]:
        """What one key of a match asks for: all of it."""
        if name in ("all", "any"):
            parts = tuple(self._match((*path, n), one) for n, one in enumerate(said))
            yield (Every if name == "all" else Some)(parts)
        elif name == "not":
            yield Not(self._match(path, said))
        elif name == "name":
            yield Like(_texts(said))
        elif name == "properties":
            for one, value in said.items():
                yield Like(_texts(value), one)
        elif name in AMOUNTS:
            yield Within(
                name, **{one: self._amount((*path, one), name, text) for one, text in said.items()}
            )
        elif name in FIELDS:
            texts = _texts(said)
            yield Among(name, frozenset(map(str.lower, texts)) if name == "role" else texts)

    def _amount(self, path: Path, field: str, said: int | str) -> float:
        found = _AMOUNT.fullmatch(str(said))
        unit = _FACTORS[field].get(found.group(2)) if found else None
        if found is None or unit is None:
            raise self._document.wrong(path, f"must be {UNITS[field]}")
        return float(found.group(1)) * unit

    # -- effects ----------------------------------------------------------------------------------

    def _effect(self, path: Path, said: Mapping[str, Any]) -> Effect:
        mode = said.get("delete_mode")
        transports = tuple(said.get("transports", ()))
        for number, name in enumerate(transports):
            if name not in self._transports:
                where = (*path, "transports", number)
                raise self._document.wrong(where, f"{name!r} {unknown(name, self._transports)}")
        keys = ("regions", "delete_mode", "priority", "transports")
        return Effect(
            self._area((*path, "regions"), said["regions"]),
            None if mode is None else DeleteMode(mode),
            PRIORITIES[said.get("priority", "normal")],
            transports,
            {name: said[name] for name in keys if name in said},
        )

    def _area(self, path: Path, said: Any) -> Area:
        if isinstance(said, str):
            return Area(every=said == "all")
        if isinstance(said, list):
            self._mention(path, said)
            return Area(names=frozenset(said))
        for key in ("names", "except"):
            self._mention((*path, key), said.get(key, ()))
        names = set(said.get("names", ()))
        for number, group in enumerate(said.get("groups", ())):
            if group not in self._groups:
                reason = f"the group {group!r} {unknown(group, self._groups)}"
                raise self._document.wrong((*path, "groups", number), reason)
            names |= set(self._groups[group])
        some = said.keys() & {"names", "groups", "labels", "bound"}
        if "all" in said and some:
            raise self._document.wrong(path, f"says all, and {min(some)} beside it")
        return Area(
            every=not some,
            names=frozenset(names),
            labels={name: _texts(value) for name, value in said.get("labels", {}).items()},
            bound="bound" in said,
            but=frozenset(said.get("except", ())),
        )

    def _mention(self, path: Path, names: Collection[str]) -> None:
        for number, name in enumerate(names):
            where = (*path, number)
            self._mentions.append(Mention(name, shown(where), self._document.line(where)))


def _texts(said: str | list[str]) -> frozenset[str]:
    return frozenset([said] if isinstance(said, str) else said)
