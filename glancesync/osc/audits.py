# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync audit list``, ``show``, ``run`` and ``release``."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from typing import Any

from osc_lib.exceptions import CommandError

from glancesync.osc import commands
from glancesync.osc.client import Client, Json
from glancesync.osc.columns import Findings, Maybe, Moment, Seconds, Words
from glancesync.osc.standing import openness
from glancesync.osc.wait import Exit
from glancesync.states import TaskState

_EPILOG = """\
exit codes:
  0  asked for; with --wait: the audit has ended
  1  error
  2  wrong usage
  3  with --wait: the audit failed; the server tries again
  4  with --wait: not done within --timeout; the server goes on
"""


class ListAudits(commands.Lister):
    """List how far the audits of the regions are, and what they found"""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        columns = ("Region", "Running", "Finished At", "Took", "Seen", "Drifted", "Missing", "Held")
        names = [column.lower().replace(" ", "_") for column in columns]
        return columns, (
            tuple(_fields(audit)[name] for name in names) for audit in self.sync.audits()
        )


class _OneAudit(commands.ShowOne):
    """A command on the audit of one region, which it shows."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("region", metavar="<region>", help="Region (name)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        fields = _fields(self.act(parsed_args))
        return tuple(fields), tuple(fields.values())

    def act(self, parsed_args: argparse.Namespace) -> Json:
        """Do it, and return the audit as it is then."""
        raise NotImplementedError


class ShowAudit(_OneAudit):
    """Show the audit of a region, with what it found and did not act on"""

    def act(self, parsed_args: argparse.Namespace) -> Json:
        return self.sync.audit(parsed_args.region)


class RunAudit(_OneAudit, commands.Waiting):
    """Look at everything a region has, now"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.epilog = _EPILOG
        return parser

    def act(self, parsed_args: argparse.Namespace) -> Json:
        region = parsed_args.region
        audit = self.sync.run_audit(region)
        if not self.waits(parsed_args):
            return audit
        state = openness(self.sync.region(region))
        if state not in ("open", "home"):
            self.log.warning("%s is %s; its audit waits until it is open", region, state)
        seen = self.wait(parsed_args, lambda: _Look.at(self.sync, region))
        if seen.busy:
            self.log.error("not done within %g s", parsed_args.timeout)
        elif seen.task["state"] == TaskState.FAILED:
            self.exit = Exit.OUT_OF_SYNC
            self.log.error("the audit failed: %s", seen.task["reason"])
        return {**self.sync.audit(region), "result": seen.task["reason"]}


class ReleaseAudit(_OneAudit):
    """Let the deletions through that the last audit of a region holds back

    Look at them first with "audit show".
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--finished-at",
            metavar="<time>",
            help='Only if that audit is the one that ended then, as "audit show -f json" has it',
        )
        return parser

    def act(self, parsed_args: argparse.Namespace) -> Json:
        return self.sync.release_audit(parsed_args.region, parsed_args.finished_at)


@dataclasses.dataclass(frozen=True)
class _Look:
    """The task that audits a region, and how far it is."""

    task: Json
    running: bool

    @classmethod
    def at(cls, client: Client, region: str) -> _Look:
        for task in client.tasks(kind="audit", region=region):
            return cls(task, client.audit(region)["running"])
        raise CommandError(f"{region} was never in the catalog while glance-sync ran: no audit")

    @property
    def busy(self) -> bool:
        """False between two audits, and when the fast attempts are used up."""
        task = self.task
        idle = task["state"] == TaskState.WAITING and not task["attempt"] and not self.running
        return not idle and task["state"] != TaskState.FAILED


def _fields(audit: Json) -> Json:
    fields = {name: value for name, value in audit.items() if name != "took_seconds"}
    fields |= {name: Moment(audit[name]) for name in ("started_at", "finished_at")}
    fields["took"] = Seconds(audit["took_seconds"])
    fields["watched_to"] = Maybe(audit["watched_to"])
    if "result" in audit:
        fields["result"] = Words(audit["result"])
    if "findings" in audit:
        fields["findings"] = Findings(fields.pop("findings"))
    return fields
