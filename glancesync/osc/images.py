# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync list`` and ``show``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from glancesync.osc import commands, find
from glancesync.osc.client import Json
from glancesync.osc.columns import InSync, Maybe, Moment, Pins, Replicas, Size, States, Words
from glancesync.osc.standing import Standing, alive, standings


class ListImages(commands.Lister):
    """List images with the regions in which they are, or are not yet, in sync"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--out-of-sync",
            action="store_true",
            help="List only images that are not in sync in every region they go to",
        )
        parser.add_argument("--name", metavar="<name>", help="List only images with that name")
        parser.add_argument(
            "--deleted",
            action="store_true",
            help="List also images that are gone, at home and in the other regions",
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        columns = ("ID", "Name", "Status", "Size", "In Sync", "Behind", "Trouble")
        images = self.sync.images(name=parsed_args.name)
        return columns, (
            row
            for image in images
            if (row := _row(image, parsed_args.deleted, parsed_args.out_of_sync))
        )


def _row(image: Json, deleted: bool, out_of_sync: bool) -> tuple[Any, ...] | None:
    """The line of one image; None if it is not to be listed."""
    found = standings(image)
    in_sync = [one["region"] for one in found[Standing.IN_SYNC]]
    behind, trouble = found[Standing.BEHIND], found[Standing.TROUBLE]
    if not (deleted or alive(image)) or (out_of_sync and not (behind or trouble)):
        return None
    return (
        image["id"],
        image["name"],
        image["status"],
        Size(image["size"]),
        InSync(in_sync, len(in_sync) + len(behind) + len(trouble)),
        States(behind),
        States(trouble),
    )


class ShowImage(commands.ShowOne):
    """Show an image and its replica in each region"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("image", metavar="<image>", help="Image (name or ID)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        image = self.sync.image(find.image_id(self.manager, parsed_args.image))
        fields = {
            "id": image["id"],
            "name": image["name"],
            "project_id": image["project_id"],
            "status": image["status"],
            "size": Size(image["size"]),
            "generation": image["generation"],
            "changed_at": Moment(image["changed_at"]),
            "observed_at": Moment(image["observed_at"]),
            "last_error": Words(image["last_error"]),
            "origin": Maybe(image["origin"]),
            "origin_id": Maybe(image["origin_id"]),
            "replicas": Replicas(image["replicas"]),
            "pins": Pins(image["pins"]),
        }
        return tuple(fields), tuple(fields.values())
