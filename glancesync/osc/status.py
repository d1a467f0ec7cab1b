# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync status``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from glancesync.osc import commands, screen
from glancesync.osc.columns import RegionStatus, Seconds, Size, Trouble


class ShowStatus(commands.ShowOne):
    """Show whether all is in sync: by how much not, since when, and what needs a human"""

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        self._status = status = self.sync.status()
        fields = {
            "in_sync": status["in_sync"],
            "images_behind": status["images_behind"],
            "bytes_behind": Size(status["bytes_behind"]),
            "behind_seconds": Seconds(status["behind_seconds"]),
            "needs_human": Trouble([*screen.discord(status), *screen.troubles(status["regions"])]),
            "regions": RegionStatus(status["regions"]),
        }
        return tuple(fields), tuple(fields.values())

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Sequence[Any]
    ) -> int:
        """What is for people is a page of its own: there is no room for a frame around it."""
        if parsed_args.formatter == "table" and not parsed_args.columns:
            self.app.stdout.write(screen.page(self._status) + "\n")
            return 0
        code: int = super().produce_output(parsed_args, column_names, data)
        return code
