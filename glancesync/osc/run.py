# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync run`` and ``verify``."""

from __future__ import annotations

import abc
import argparse
import sys
import time
from typing import Any

from keystoneauth1 import exceptions as ks_exceptions
from osc_lib.exceptions import CommandError

from glancesync.osc import commands, find
from glancesync.osc.client import Client
from glancesync.osc.columns import Maybe, Replicas
from glancesync.osc.progress import Bar
from glancesync.osc.standing import openness
from glancesync.osc.wait import Exit, Look, look

_EPILOG = """\
exit codes:
  0  asked for; with --wait: all is in sync
  1  error
  2  wrong usage
  3  with --wait: done, but something is not in sync
  4  with --wait: not done within --timeout; the server goes on
"""

_RESULTS = {Exit.WELL: "in_sync", Exit.OUT_OF_SYNC: "out_of_sync", Exit.TIMEOUT: "timeout"}


class OnImage(commands.Waiting, metaclass=abc.ABCMeta):
    """Ask for something to be done about an image in the regions."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.epilog = _EPILOG
        parser.add_argument("image", metavar="<image>", help="Image (name or ID)")
        parser.add_argument(
            "--region",
            dest="regions",
            metavar="<region>",
            action="append",
            default=[],
            help="Only in this region (repeat for several); default: in all it goes to",
        )
        return parser

    @abc.abstractmethod
    def ask(self, client: Client, image_id: str, parsed_args: argparse.Namespace) -> None:
        """Ask the server."""

    @abc.abstractmethod
    def wrong(self, seen: Look) -> list[str]:
        """In words, what is not well when it is done; empty if all is."""

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        client = self.sync
        regions = parsed_args.regions
        image_id = find.image_id(self.manager, parsed_args.image)
        if not _is_known(client, image_id) and not find.is_at_home(self.manager, image_id):
            raise CommandError(f"there is no image {image_id} at home")
        self.ask(client, image_id, parsed_args)
        fields: dict[str, Any] = {
            "id": image_id,
            "regions": Maybe(regions or None, "all it goes to"),
        }
        if self.waits(parsed_args):
            seen = self._wait(parsed_args, client, image_id)
            fields |= {
                "name": seen.image["name"] if seen.image else None,
                "result": _RESULTS[self.exit],
                "replicas": Replicas(seen.replicas),
            }
        else:
            fields["result"] = "asked"
        return tuple(fields), tuple(fields.values())

    def _wait(self, parsed_args: argparse.Namespace, client: Client, image_id: str) -> Look:
        """Wait, show how it goes, and set the exit code."""
        regions = parsed_args.regions
        self._warn_of_closed(client, regions)
        bar = Bar(sys.stderr) if sys.stderr.isatty() else None

        def show(seen: Look) -> None:
            if bar is not None:
                bar.show(time.monotonic(), *seen.bytes(), _waited_for(seen))

        try:
            seen = self.wait(parsed_args, lambda: look(client, image_id, regions), show)
        finally:
            if bar is not None:
                bar.clear()
        if seen.busy:
            waited_for = _waited_for(seen)
            self.log.error("not done within %g s: %s", parsed_args.timeout, waited_for)
        elif wrong := self.wrong(seen):
            self.exit = Exit.OUT_OF_SYNC
            self.log.error("not in sync: %s", "; ".join(wrong))
        return seen

    def _warn_of_closed(self, client: Client, regions: list[str]) -> None:
        for one in client.regions():
            is_open = openness(one) in ("open", "home")
            if not is_open and (not regions or one["name"] in regions):
                self.log.warning(
                    "%s is %s; its work waits until it is open", one["name"], openness(one)
                )


class RunSync(OnImage):
    """Look at an image now, and bring its replicas up to date"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--force",
            action="store_true",
            help="Replace what has the image's ID there, differs and was not made by glance-sync",
        )
        return parser

    def ask(self, client: Client, image_id: str, parsed_args: argparse.Namespace) -> None:
        client.sync(image_id, parsed_args.regions, force=parsed_args.force)

    def wrong(self, seen: Look) -> list[str]:
        return seen.wrong()


class VerifyImage(OnImage):
    """Compare the replicas of an image with home, and mend what differs

    With --full, all bytes that the regions store are read and hashed, and home's if no region is
    named. A replica whose bytes have rotted is copied again; of home's it is only said.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--full",
            action="store_true",
            help="Read all bytes, instead of believing the hash that a region says",
        )
        return parser

    def ask(self, client: Client, image_id: str, parsed_args: argparse.Namespace) -> None:
        client.verify(image_id, parsed_args.regions, full=parsed_args.full)

    def wrong(self, seen: Look) -> list[str]:
        return seen.wrong() or seen.unsound()


def _is_known(client: Client, image_id: str) -> bool:
    try:
        return bool(client.image(image_id))
    except ks_exceptions.NotFound:
        return False


def _waited_for(seen: Look) -> str:
    names = sorted({task["region"] or "home" for task in seen.busy})
    return f"waiting for {', '.join(names)}" if names else ""
