"""``openstack image sync run``."""

from __future__ import annotations

import argparse
import contextlib
import math
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
from glancesync.osc.wait import Exit, Look, look, wait

_EPILOG = """\
exit codes:
  0  asked for; with --wait: all is in sync
  1  error
  2  wrong usage
  3  with --wait: done, but something is not in sync
  4  with --wait: not done within --timeout; the server goes on
"""

_RESULTS = {Exit.WELL: "in_sync", Exit.OUT_OF_SYNC: "out_of_sync", Exit.TIMEOUT: "timeout"}


class RunSync(commands.ShowOne):
    """Look at an image now, and bring its replicas up to date"""

    _exit = Exit.WELL

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.epilog = _EPILOG
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("image", metavar="<image>", help="Image (name or ID)")
        parser.add_argument(
            "--region",
            dest="regions",
            metavar="<region>",
            action="append",
            default=[],
            help="Only in this region (repeat for several); default: in all it goes to",
        )
        parser.add_argument(
            "--force",
            action="store_true",
            help="Replace what has the image's ID there, differs and was not made by glance-sync",
        )
        parser.add_argument("--wait", action="store_true", help="Wait until it is done")
        parser.add_argument(
            "--timeout",
            metavar="<seconds>",
            type=_seconds,
            help="Wait no longer than that; implies --wait",
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Do it; the exit code."""
        return super().run(parsed_args) or self._exit

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        client = self.sync
        regions = parsed_args.regions
        image_id = find.image_id(self.manager, parsed_args.image)
        if not _is_known(client, image_id) and not find.is_at_home(self.manager, image_id):
            raise CommandError(f"there is no image {image_id} at home")
        client.sync(image_id, regions, force=parsed_args.force)
        fields: dict[str, Any] = {
            "id": image_id,
            "regions": Maybe(regions or None, "all it goes to"),
        }
        if parsed_args.wait or parsed_args.timeout is not None:
            seen = self._wait(client, image_id, regions, parsed_args.timeout)
            fields |= {
                "name": seen.image["name"] if seen.image else None,
                "result": _RESULTS[self._exit],
                "replicas": Replicas(seen.replicas),
            }
        else:
            fields["result"] = "asked"
        return tuple(fields), tuple(fields.values())

    def _wait(
        self, client: Client, image_id: str, regions: list[str], timeout: float | None
    ) -> Look:
        """Wait, show how it goes, and set the exit code."""
        self._warn_of_closed(client, regions)
        bar = Bar(sys.stderr) if sys.stderr.isatty() else None

        def show(seen: Look) -> None:
            if bar is not None:
                bar.show(time.monotonic(), *seen.bytes(), _waited_for(seen))

        try:
            seen = wait(
                lambda: look(client, image_id, regions),
                show,
                deadline=None if timeout is None else time.monotonic() + timeout,
                clock=time.monotonic,
                sleep=time.sleep,
            )
        finally:
            if bar is not None:
                bar.clear()
        if seen.busy:
            self._exit = Exit.TIMEOUT
            self.log.error("not done within %g s: %s", timeout, _waited_for(seen))
        elif wrong := seen.wrong():
            self._exit = Exit.OUT_OF_SYNC
            self.log.error("not in sync: %s", "; ".join(wrong))
        return seen

    def _warn_of_closed(self, client: Client, regions: list[str]) -> None:
        for one in client.regions():
            is_open = openness(one) in ("open", "home")
            if not is_open and (not regions or one["name"] in regions):
                self.log.warning(
                    "%s is %s; its work waits until it is open", one["name"], openness(one)
                )


def _is_known(client: Client, image_id: str) -> bool:
    try:
        return bool(client.image(image_id))
    except ks_exceptions.NotFound:
        return False


def _waited_for(seen: Look) -> str:
    names = sorted({task["region"] or "home" for task in seen.busy})
    return f"waiting for {', '.join(names)}" if names else ""


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
