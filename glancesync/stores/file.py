# SPDX-License-Identifier: Apache-2.0
"""``glance_store.yaml``: how each region's stores are reached, as the operator wrote it down.

::

    glances:
      - name: RegionTwo
        service_ip: 192.0.2.12
        schemes:
          - name: filesystem
            parameters: {login_user: glance-sync, key_file: /etc/glance-sync/id_ed25519}

The parameters are the fields of the dataclasses in :mod:`glancesync.schemes`. Whatever is wrong
with the file is a :class:`~glancesync.errors.ConfigurationError` that names file, line, value and
rule, and never quotes a value.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from glancesync.documents.complaints import check
from glancesync.documents.document import Document, Path, parse
from glancesync.documents.files import read
from glancesync.errors import ConfigurationError
from glancesync.schemes import HERE, SCHEMES, Filesystem, Http, Scheme, Secret, rate
from glancesync.stores import keys as key_managers
from glancesync.stores import secrets
from glancesync.stores.keys import Keys
from glancesync.stores.schema import SCHEMA, kinds

MAX_SIZE = 1024 * 1024  # two thousand regions; PyYAML needs 2 s for half of it

_VALIDATOR = Draft202012Validator(SCHEMA)


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the file says of one region.

    :param line: where it begins; ``lines``: where each of its schemes does
    """

    region: str
    schemes: tuple[Scheme, ...]
    line: int
    lines: tuple[int, ...]


def load(path: str, keys: Keys = key_managers.none) -> Mapping[str, tuple[Scheme, ...]]:
    """Region -> how its stores are reached, in the order of the file.

    :param keys: gives secrets that the file names by ``{castellan: ID}``
    :raises ConfigurationError: names file, line, value and rule
    """
    return {entry.region: entry.schemes for entry in entries(path, keys)}


def entries(path: str, keys: Keys = key_managers.none) -> tuple[Entry, ...]:
    """The same, with lines.

    :raises ConfigurationError: as :func:`load`
    """
    try:
        found = read(path, MAX_SIZE)
    except ValueError as error:
        raise ConfigurationError("the file", str(error), path) from None
    document = parse(path, found.data)
    check(document, _VALIDATOR)
    reader = _Reader(document, found.public, keys)
    made = tuple(
        reader.entry(("glances", index), one) for index, one in enumerate(document.data["glances"])
    )
    _check_regions(document, made)
    return made


# -- what it does not say -------------------------------------------------------------------------


def _check_regions(document: Document, made: tuple[Entry, ...]) -> None:
    """Refuse regions and stores that are here twice."""
    lines: dict[str, int] = {}
    for index, entry in enumerate(made):
        path: Path = ("glances", index)
        if entry.region in lines:
            reason = f"the region is described at line {lines[entry.region]} already"
            raise document.wrong(path, reason)
        lines[entry.region] = entry.line
        for number, scheme in enumerate(entry.schemes):
            for other, line in zip(entry.schemes[:number], entry.lines, strict=False):
                if same := _same_store(scheme, other):
                    path = (*path, "schemes", number)
                    raise document.wrong(path, f"{same}, as the one at line {line}")


def _same_store(one: Scheme, other: Scheme) -> str | None:
    if one.store and one.store == other.store:
        return f"describes the store {one.store}"
    if one.type == other.type and not (one.store and other.store):
        return f"is for the region's only store of type {one.type}, unless both name a store"
    return None


class _Reader:
    """Makes schemes of what the schema allows."""

    def __init__(self, document: Document, public: bool, keys: Keys) -> None:
        self._document = document
        self._public = public
        self._keys = keys

    def entry(self, path: Path, said: Mapping[str, Any]) -> Entry:
        places = [(*path, "schemes", number) for number in range(len(said["schemes"]))]
        address = said.get("service_ip", "")
        return Entry(
            region=said.get("region", said["name"]),
            schemes=tuple(
                self._scheme(place, one, address)
                for place, one in zip(places, said["schemes"], strict=True)
            ),
            line=self._document.line(path),
            lines=tuple(map(self._document.line, places)),
        )

    def _scheme(self, path: Path, said: Mapping[str, Any], address: str) -> Scheme:
        kind = SCHEMES[said["name"]]
        inside: Path = (*path, "parameters")
        values = dict(self._values(inside, kind, said["parameters"]))
        if kind is Filesystem and not values.setdefault("host", address):
            raise self._document.wrong(
                inside,
                f"lacks host, as there is no service_ip either; {HERE} is for a directory of the "
                "hosts that glance-sync runs on",
            )
        if kind is Http and not values.setdefault("netloc", _netloc(address)):
            raise self._document.wrong(inside, "lacks netloc, as there is no service_ip either")
        return kind(**values)

    def _values(
        self, path: Path, kind: type[Scheme], said: Mapping[str, Any]
    ) -> Iterator[tuple[str, Any]]:
        types = kinds(kind)
        for name, value in said.items():
            if types[name] is Secret:
                yield name, self._secret((*path, name), value)
            elif name == "bandwidth":
                yield name, self._rate((*path, name), value)
            elif name == "datadir":
                yield name, "/" + posixpath.normpath(value).lstrip("/")
            else:
                yield name, types[name](value)

    def _rate(self, path: Path, value: int | str) -> int:
        try:
            return rate(value)
        except ValueError as error:
            raise self._document.wrong(path, str(error)) from None

    def _secret(self, path: Path, value: str | Mapping[str, str]) -> Secret:
        if isinstance(value, str):
            if self._public:
                raise self._document.wrong(
                    path,
                    "stands here in plain, and everybody may read the file; try "
                    f"'chmod o= {self._document.source}', or {{env: NAME}}, or {{file: /PATH}}, "
                    "or {castellan: ID}",
                )
            return Secret(value)
        try:
            return secrets.fetch(value, self._keys)
        except ValueError as error:
            raise self._document.wrong(path, str(error)) from None


def _netloc(address: str) -> str:
    return f"[{address}]" if ":" in address else address
