# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync history`` and ``region history``."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from osc_lib.cli.parseractions import NonNegativeAction

from glancesync.osc import commands, find
from glancesync.osc.client import Json
from glancesync.osc.columns import Detail, Maybe, When, Who


class _History(commands.Lister):
    """A command that lists events."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--limit",
            metavar="<n>",
            type=int,
            default=100,
            action=NonNegativeAction,
            help="List at most so many events (default: 100)",
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        events = itertools.islice(self.events(parsed_args), parsed_args.limit)
        return ("At", "Region", "What", "Detail", "Who"), (
            (
                When(one["at"]),
                Maybe(one["region"]),
                one["what"],
                Detail(one["detail"]),
                Who(one["actor"]),
            )
            for one in events
        )

    def events(self, parsed_args: argparse.Namespace) -> Iterator[Json]:
        """The events, the newest first."""
        raise NotImplementedError


class ShowHistory(_History):
    """List what was done about an image, the newest first: when, where, what, and who asked"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("image", metavar="<image>", help="Image (name or ID)")
        return parser

    def events(self, parsed_args: argparse.Namespace) -> Iterator[Json]:
        return self.sync.image_events(find.image_id(self.manager, parsed_args.image))


class ShowRegionHistory(_History):
    """List what was done about a region as such, the newest first

    That is: what was set, by whom; its audits; and when it was unwell and well again.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("region", metavar="<region>", help="Region (name)")
        return parser

    def events(self, parsed_args: argparse.Namespace) -> Iterator[Json]:
        return self.sync.region_events(parsed_args.region)
