"""``openstack image sync status``."""

from __future__ import annotations

import argparse

from glancesync.osc import commands
from glancesync.osc.columns import RegionStatus, Seconds, Size, Trouble


class ShowStatus(commands.ShowOne):
    """Show whether all is in sync: by how much not, since when, and what needs a human"""

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        status = self.sync.status()
        regions = status["regions"]
        fields = {
            "in_sync": status["in_sync"],
            "images_to_look_at": status["images_to_look_at"],
            "tasks_open": sum(sum(one["tasks"].values()) for one in regions),
            "bytes_behind": Size(sum(one["bytes_behind"] for one in regions)),
            "behind_for": Seconds(max((one["oldest_seconds"] for one in regions), default=0)),
            "needs_human": Trouble(
                {one["name"]: one["needs_human"] for one in regions if one["needs_human"]}
            ),
            "regions": RegionStatus(regions),
        }
        return tuple(fields), tuple(fields.values())
