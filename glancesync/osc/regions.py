# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync region list`` and ``set``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from osc_lib.cli.parseractions import KeyValueAction
from osc_lib.exceptions import CommandError

from glancesync.osc import commands
from glancesync.osc.client import Json
from glancesync.osc.columns import Gist, Maybe, Moment, Pairs, Room, Words
from glancesync.osc.standing import openness
from glancesync.states import DeleteMode

#: name -> type, metavar, help
_LIMITS: dict[str, tuple[type, str, str]] = {
    "tasks": (int, "<n>", "Run at most so many tasks for the region at a time"),
    "sources": (int, "<n>", "Let at most so many regions copy from the region at a time"),
    "bandwidth": (
        str,
        "<timetable>",
        "Move at most so many bytes per second from and to the region, all transfers together: "
        "50M, or '08:00-18:00 50M, else unlimited'",
    ),
}


class ListRegions(commands.Lister):
    """List the regions, and whether work for them may start"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--long", action="store_true", help="List more fields")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        regions = [
            {**_fields(one), "last_error": Gist(one["last_error"], one["name"])}
            for one in self.sync.regions()
        ]
        columns = ["name", "state", "task_limit", "delete_mode", "labels", "last_error"]
        if parsed_args.long:
            columns += ["url", "enabled", "maintenance", "in_catalog", "seen_at"]
        return (
            tuple("URL" if name == "url" else name.replace("_", " ").title() for name in columns),
            (tuple(fields[name] for name in columns) for fields in regions),
        )


class SetRegion(commands.ShowOne):
    """Open or close a region, limit its tasks, say what is left there, label it

    Work for a region that is disabled or in maintenance is kept until it is open again.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("region", metavar="<region>", help="Region (name)")
        enabled = parser.add_mutually_exclusive_group()
        enabled.add_argument(
            "--enable", dest="enabled", action="store_true", default=None, help="Sync to the region"
        )
        enabled.add_argument(
            "--disable", dest="enabled", action="store_false", help="Do not sync to the region"
        )
        maintenance = parser.add_mutually_exclusive_group()
        maintenance.add_argument(
            "--maintenance",
            action="store_true",
            default=None,
            help="Leave the region alone for a while",
        )
        maintenance.add_argument(
            "--no-maintenance", dest="maintenance", action="store_false", help="End maintenance"
        )
        for name, (kind, metavar, said) in _LIMITS.items():
            limit = parser.add_mutually_exclusive_group()
            limit.add_argument(f"--limit-{name}", metavar=metavar, type=kind, help=said)
            limit.add_argument(
                f"--no-limit-{name}", action="store_true", help="Take that limit away"
            )
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument(
            "--delete-mode",
            choices=[one.value for one in DeleteMode],
            help="What becomes of the region's replica when the home image is gone",
        )
        mode.add_argument(
            "--no-delete-mode", action="store_true", help="Go back to the server's own delete mode"
        )
        parser.add_argument(
            "--capacity-free",
            metavar="<bytes>",
            type=int,
            help="Say how many bytes are free for images in the region now",
        )
        parser.add_argument(
            "--capacity-total",
            metavar="<bytes>",
            type=int,
            help="And how many there are in all; only together with --capacity-free",
        )
        parser.add_argument(
            "--no-capacity", action="store_true", help="Forget what was said of the capacity"
        )
        parser.add_argument(
            "--label",
            dest="labels",
            metavar="<key=value>",
            action=KeyValueAction,
            help="Label the region; its other labels stay (repeat for several)",
        )
        parser.add_argument(
            "--no-label",
            action="store_true",
            help="Take all labels away; with --label, those not given",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        client = self.sync
        region = client.region(parsed_args.region)
        if parsed_args.capacity_total is not None and parsed_args.capacity_free is None:
            raise CommandError("--capacity-total says nothing without --capacity-free")
        changes = _changes(region, parsed_args)
        if changes:
            region = client.update_region(region["name"], changes)
        fields = _fields(region)
        return tuple(fields), tuple(fields.values())


def _changes(region: Json, wanted: argparse.Namespace) -> Json:
    """The body of the PATCH; what it holds replaces what was, so it starts from what is."""
    changes: Json = {}
    if wanted.enabled is not None:
        changes["enabled"] = wanted.enabled
    if wanted.maintenance is not None:
        changes["maintenance"] = wanted.maintenance
    limits = dict(region["limits"])
    for name in _LIMITS:
        if getattr(wanted, f"no_limit_{name}"):
            limits.pop(name, None)
        elif (limit := getattr(wanted, f"limit_{name}")) is not None:
            limits[name] = limit
    if limits != region["limits"]:
        changes["limits"] = limits
    if wanted.no_delete_mode or wanted.delete_mode:
        changes["delete_mode"] = wanted.delete_mode
    if wanted.no_capacity or wanted.capacity_free is not None:
        changes["capacity"] = _capacity(wanted)
    if wanted.no_label or wanted.labels:
        kept = {} if wanted.no_label else region["labels"]
        changes["labels"] = {**kept, **(wanted.labels or {})}
    return changes


def _capacity(wanted: argparse.Namespace) -> Json | None:
    if wanted.no_capacity:
        return None
    said = {"free_bytes": wanted.capacity_free}
    return said if wanted.capacity_total is None else said | {"total_bytes": wanted.capacity_total}


def _fields(region: Json) -> Json:
    return {
        "name": region["name"],
        "state": openness(region),
        "enabled": region["enabled"],
        "maintenance": region["maintenance"],
        "in_catalog": region["present"],
        "task_limit": Maybe(region["limits"].get("tasks")),
        "source_limit": Maybe(region["limits"].get("sources")),
        "bandwidth_limit": Maybe(region["limits"].get("bandwidth")),
        "delete_mode": Maybe(region["delete_mode"]),
        "capacity": Room(region["capacity"]),
        "labels": Pairs(region["labels"]),
        "url": region["url"],
        "seen_at": Moment(region["seen_at"]),
        "last_error": Words(region["last_error"]),
    }
