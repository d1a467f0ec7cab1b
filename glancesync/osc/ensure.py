# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync ensure``."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time

from glancesync.osc import commands, find
from glancesync.osc.client import Client, Json
from glancesync.osc.columns import Moment, Size, Words
from glancesync.osc.progress import Bar
from glancesync.osc.wait import Exit
from glancesync.states import ReplicaState

_EPILOG = """\
exit codes:
  0  asked for; with --wait: it is there
  1  error, or it can't be brought there
  2  wrong usage
  3  with --wait: the fast attempts have failed; the server tries again at long intervals
  4  with --wait: not there within --timeout; the server goes on
"""


@dataclasses.dataclass(frozen=True)
class _Look:
    need: Json

    @property
    def busy(self) -> bool:
        """Whether it is still to be waited for."""
        return not self.need["ready"] and self.need["state"] != ReplicaState.STALLED


class EnsureImage(commands.Waiting):
    """Have an image in a region where it is needed

    If it is not there, it is copied, once for all who need it there; with sync_strategy LAZY (nova)
    that is how images get to regions. Each call says that it is still needed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.epilog = _EPILOG
        parser.add_argument("image", metavar="<image>", help="Image (name or ID)")
        parser.add_argument("region", metavar="<region>", help="Region that needs it (name)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        client, region = self.sync, parsed_args.region
        image_id = find.image_id(self.manager, parsed_args.image)
        if self.waits(parsed_args):
            need = self._wait(parsed_args, client, image_id, region)
        else:
            need = client.ensure(image_id, region)
        fields = {
            "image_id": image_id,
            "region": region,
            "ready": need["ready"],
            "state": need["state"],
            "replica_id": need["replica_id"],
            "bytes_done": Size(need["bytes_done"]),
            "bytes_total": Size(need["bytes_total"]),
            "task_id": need["task_id"],
            "last_error": Words(need["last_error"]),
            "used_at": Moment(need["used_at"]),
        }
        return tuple(fields), tuple(fields.values())

    def _wait(
        self, parsed_args: argparse.Namespace, client: Client, image_id: str, region: str
    ) -> Json:
        """Wait, show how it goes, and set the exit code."""
        bar = Bar(sys.stderr) if sys.stderr.isatty() else None

        def show(seen: _Look) -> None:
            if bar is not None:
                done, total = seen.need["bytes_done"], seen.need["bytes_total"] or 0
                bar.show(time.monotonic(), done, total, f"waiting for {region}")

        try:
            seen = self.wait(parsed_args, lambda: _Look(client.ensure(image_id, region)), show)
        finally:
            if bar is not None:
                bar.clear()
        need = seen.need
        if seen.busy:
            self.log.error("not there within %g s: %s", parsed_args.timeout, _why(need))
        elif not need["ready"]:
            self.exit = Exit.OUT_OF_SYNC
            self.log.error("not there: %s", _why(need))
        return need


def _why(need: Json) -> str:
    return need["last_error"] or f"it is {need['state'].replace('_', ' ')}"
