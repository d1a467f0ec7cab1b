# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync rule list``, ``rule test`` and ``rule preview``."""

from __future__ import annotations

import argparse
import collections
import pathlib
from collections.abc import Iterable
from typing import Any

from cliff.columns import FormattableColumn
from osc_lib.exceptions import CommandError

from glancesync.osc import commands, find, text
from glancesync.osc.client import Json
from glancesync.osc.columns import Maybe, Size, Words
from glancesync.osc.outlines import Names

_ANSWERS = {True: "yes", False: "no", None: "not known"}
_HEADERS = ("line", "rule", "matches", "because")
_BECAUSE = 56  # characters

Rows = tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]


class _Said(FormattableColumn[Any]):
    """A part of a file of rules, in one piece."""

    def human_readable(self) -> str:
        shown = _flow(self._value)
        if isinstance(self._value, dict):
            shown = shown[1:-1]
        return "\n".join(text.wrapped(shown, _BECAUSE))


class _Verdicts(FormattableColumn[list[Json]]):
    """What each rule says of an image, as a table of its own."""

    def human_readable(self) -> str:
        rows: list[list[str]] = []
        for one in self._value:
            because = text.wrapped("; ".join(one["because"]), _BECAUSE)
            first = [str(one["line"]), one["name"], _ANSWERS[one["matches"]], because[0]]
            rows += [first, *([" ", " ", " ", line] for line in because[1:])]
        return "\n".join(text.table(_HEADERS, rows)) if rows else ""


def _flow(said: Any) -> str:
    """What YAML says, in YAML on one line."""
    if isinstance(said, dict):
        return "{" + ", ".join(f"{name}: {_flow(one)}" for name, one in said.items()) + "}"
    if isinstance(said, list):
        return "[" + ", ".join(map(_flow, said)) + "]"
    return "true" if said is True else str(said)


def _content(path: str) -> str:
    """What a file holds.

    :raises CommandError: it can't be read
    """
    try:
        return pathlib.Path(path).read_text()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path}: is not UTF-8") from None


class ListRules(commands.Lister):
    """List the rules in force, in their order; the first that matches an image decides"""

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        said = self.sync.rules()
        for problem in said["problems"]:
            self.log.warning("%s", problem)
        default = {"name": "default", "line": None, "match": {}, **said["default"]}
        columns = ("Line", "Name", "Match", "Regions", "Delete mode", "Priority", "Transports")
        return columns, [
            (
                Maybe(one["line"]),
                one["name"],
                _Said(one["match"]),
                _Said(one["regions"]),
                Maybe(one["delete_mode"]),
                one["priority"],
                Names(one["transports"]),
            )
            for one in [*said["rules"], default]
        ]


class TestRules(commands.ShowOne):
    """Show which rule decides about an image, and what each says of it; nothing is done"""

    __test__ = False  # pytest takes it for one of its own

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("image", metavar="<image>", help="Image (name or ID)")
        parser.add_argument(
            "--file",
            metavar="<file>",
            help="By the rules in this file, instead of those in force",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        rules = None if parsed_args.file is None else _content(parsed_args.file)
        said = self.sync.test_rules(find.image_id(self.manager, parsed_args.image), rules)
        fields = {
            "image_id": said["image_id"],
            "strategy": said["strategy"],
            "rule": Maybe(said["rule"]),
            "regions": Names(said["regions"]),
            "why": Words(said["why"]),
            "complaint": Words(said["complaint"]),
            "delete_mode": Maybe(said["delete_mode"]),
            "priority": said["priority"],
            "transports": Names(said["transports"]),
            "rules": _Verdicts(said["rules"]),
        }
        return tuple(fields), tuple(fields.values())


class PreviewRules(commands.Lister):
    """Show what a file of rules would add and remove if it were in force; nothing is done

    All images of home are looked at, and what is on record of their replicas.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("file", metavar="<file>", help="File with the rules")
        parser.add_argument(
            "--by-rule",
            action="store_true",
            help="Show about how many images each rule would decide",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        seen = 0
        totals: dict[str, collections.Counter[str]] = {}
        decides: dict[str, collections.Counter[str]] = {}
        for part in self.sync.preview_rules(_content(parsed_args.file)):
            seen += part["images"]
            self.log.warning("%d images looked at", seen)
            for one in part["regions"]:
                total = totals.setdefault(one["name"], collections.Counter())
                for what in ("added", "removed"):
                    total.update({f"{what} {unit}": n for unit, n in one[what].items()})
            for one in part["rules"]:
                decides.setdefault(one["name"], collections.Counter()).update(one["decides"])
        if parsed_args.by_rule:
            return ("Rule", "Images", "Bytes"), [
                (name, total["images"], Size(total["bytes"])) for name, total in decides.items()
            ]
        columns = ("Region", "Added", "Added bytes", "Removed", "Removed bytes")
        return columns, [
            (
                name,
                total["added images"],
                Size(total["added bytes"]),
                total["removed images"],
                Size(total["removed bytes"]),
            )
            for name, total in sorted(totals.items())
        ]
