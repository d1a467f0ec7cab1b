# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync route``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from glancesync.osc import commands, find
from glancesync.osc.columns import Detail, Maybe


class ShowRoute(commands.Lister):
    """Show which way an image's bytes would go to a region.

    All configured transports are listed, the best first. The first that fits would be tried, and
    the next that fits if that fails for a reason of its own. Nothing is copied.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("image", metavar="<image>", help="Image (name or ID)")
        parser.add_argument("region", metavar="<region>", help="Region it would go to")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        image_id = find.image_id(self.manager, parsed_args.image)
        routes = self.sync.routes(image_id, parsed_args.region)
        return ("Transport", "Fits", "From", "To", "Why not"), [
            (
                one["transport"],
                one["fits"],
                Maybe(one["source"]),
                Maybe(one["target"]),
                Detail(one["why_not"] or ""),
            )
            for one in routes
        ]
