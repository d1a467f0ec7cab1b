# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync promote`` and ``unpin``."""

from __future__ import annotations

import argparse

from glancesync.osc import commands, find
from glancesync.osc.jobs import Followed


class PromoteImage(Followed):
    """Have home take an image that was made in another region

    From then on it is one of home's images, and goes where these go.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("image", metavar="<image>", help="Image (name or ID) of that region")
        parser.add_argument(
            "--from",
            dest="region",
            metavar="<region>",
            required=True,
            help="Region in which it was made",
        )
        parser.add_argument(
            "--force", action="store_true", help="Copy it under a new ID, whatever home has already"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        client = self.sync
        job = client.promote(parsed_args.region, parsed_args.image, force=parsed_args.force)
        return self.follow(parsed_args, client, job)


class UnpinImage(commands.Command):
    """Say that nobody wants an image in a region by name any more

    If the strategy does not want it there either, what glance-sync made there goes.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("image", metavar="<image>", help="Image (name or ID)")
        parser.add_argument("region", metavar="<region>", help="Region")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        self.sync.unpin(find.image_id(self.manager, parsed_args.image), parsed_args.region)
