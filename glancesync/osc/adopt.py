# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync adopt`` and ``region adopt``."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from osc_lib.exceptions import CommandError

from glancesync.osc import commands, find
from glancesync.osc.client import Client, Json
from glancesync.osc.wait import Exit
from glancesync.states import TaskState

_OWN = "Let glance-sync delete it one day, when the image is deleted at home"
_ENDED = frozenset({TaskState.DONE, TaskState.CANCELLED})


@dataclasses.dataclass(frozen=True)
class _Look:
    task: Json

    @property
    def busy(self) -> bool:
        """Whether the decision is still to be carried out."""
        return self.task["decision"] is not None and self.task["state"] not in _ENDED


class AdoptImage(commands.Waiting):
    """Take an image that a region has already for the replica of an image

    It must hold the same bytes. Its metadata is then made to follow home's.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("image", metavar="<image>", help="Image at home (name or ID)")
        parser.add_argument("region", metavar="<region>", help="Region (name)")
        parser.add_argument(
            "replica",
            metavar="<id-there>",
            nargs="?",
            help="ID of the image in the region; default: the one that is offered, or the same ID",
        )
        parser.add_argument("--own", action="store_true", help=_OWN)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        client = self.sync
        image_id = find.image_id(self.manager, parsed_args.image)
        asked = client.adopt(image_id, parsed_args.region, parsed_args.replica, own=parsed_args.own)
        fields = {name: asked[name] for name in ("image_id", "region", "replica_id", "own")}
        fields["result"] = "asked"
        if self.waits(parsed_args):
            fields["result"] = self._result(parsed_args, client, asked)
        return tuple(fields), tuple(fields.values())

    def _result(self, parsed_args: argparse.Namespace, client: Client, asked: Json) -> str:
        seen = self.wait(parsed_args, lambda: _Look(client.task(asked["task_id"])))
        if self.exit is Exit.TIMEOUT:
            self.log.error("not done within %g s: %s", parsed_args.timeout, seen.task["reason"])
            return "timeout"
        if not _is_adopted(client, asked):
            raise CommandError(seen.task["reason"] or "it was cancelled")
        return "adopted"


def _is_adopted(client: Client, asked: Json) -> bool:
    replicas = client.image(asked["image_id"])["replicas"]
    return any(
        one["region"] == asked["region"]
        and one["replica_id"] == asked["replica_id"]
        and (one["made_by_us"] or not asked["own"])
        for one in replicas
    )


class AdoptRegion(commands.ShowOne):
    """Adopt all images of a region that are offered: same name, same bytes, another ID

    Audits and plans find them. Where several could be the replica of an image, choose one by
    "adopt".
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("region", metavar="<region>", help="Region (name)")
        parser.add_argument(
            "--own", action="store_true", help=f"{_OWN}; and so all that was adopted there before"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        asked: dict[str, Any] = self.sync.adopt_offered(parsed_args.region, own=parsed_args.own)
        return tuple(asked), tuple(asked.values())
