# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync job create``, ``list``, ``show``, ``cancel`` and ``delete``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cliff.columns import FormattableColumn
from osc_lib.exceptions import CommandError

from glancesync.osc import commands, text
from glancesync.osc.client import Client, Json
from glancesync.osc.columns import Maybe, Moment, Pairs, Size, Words
from glancesync.osc.outlines import Names
from glancesync.osc.progress import Bar
from glancesync.osc.wait import Exit
from glancesync.states import ItemState, JobState

EPILOG = """\
exit codes:
  0  asked for; with --wait: all of it is in place
  1  error
  2  wrong usage
  3  with --wait: ended, and not all of it is in place
  4  with --wait: not done within --timeout; the server goes on
"""


@dataclasses.dataclass(frozen=True)
class _Look:
    job: Json

    @property
    def busy(self) -> bool:
        return bool(self.job["state"] == JobState.ACTIVE)

    @property
    def said(self) -> str:
        """How far it is, in words."""
        counts = self.job["items"]
        ended = sum(n for state, n in counts.items() if state not in ("pending", "waiting"))
        return f"{ended} of {sum(counts.values())} done"


class Items(FormattableColumn[list[Json]]):
    """The items of a job, as a table of their own, and below it what there is to say of them."""

    def human_readable(self) -> str:
        rows = [_item_row(one) for one in self._value]
        lines = text.table(_ITEM_HEADERS, rows) if rows else []
        for one in self._value:
            if one["state"] in _WRONG:
                lines += text.wrapped(f"{one['resource']}, {one['region']}: {one['result']}")
            elif why := one["waits"] or one["reason"]:
                lines += text.wrapped(f"{one['resource']}, {one['region']}: {why}")
        return "\n".join(lines)


_WRONG = frozenset({ItemState.FAILED, ItemState.CONFLICT, ItemState.REFUSED})
_ITEM_HEADERS = ("image", "name", "region", "state", "size", "copied", "id there")
_NAME = 32  # characters


def _item_row(one: Json) -> list[str]:
    done, total = one["bytes_done"], one["bytes_total"]
    name = one["name"] or ""
    there = one["replica_id"] or one["image_id"]
    return [
        one["source_id"] or one["resource"],
        name if len(name) <= _NAME else f"{name[: _NAME - 1]}…",
        one["region"],
        one["state"].replace("_", " "),
        Size(total).human_readable(),
        f"{100 * done // total} %" if total and one["state"] == ItemState.COPYING else "",
        "" if there == one["source_id"] or there is None else there,
    ]


class OfJob(commands.ShowOne):
    """A command that shows a job with its items."""

    def show(self, job: Json, state: str | None = None) -> commands.Fields:
        sets = [
            f"{one['resources']} of {one['source']} to {', '.join(one['target'])}"
            + (", with force" if one["force"] else "")
            + (", replacing" if one["on_conflict"] == "replace" else "")
            for one in job["sets"]
        ]
        fields = {
            **{name: job[name] for name in ("id", "state")},
            "project_id": Maybe(job["project_id"]),
            "sets": Names(sets),
            "reason": Words(job["reason"]),
            "actor": Pairs({name: value for name, value in job["actor"].items() if value}),
            **{name: Moment(job[name]) for name in ("created_at", "ended_at")},
            **{name: Size(job[name]) for name in ("bytes_done", "bytes_total")},
            "counts": Pairs(job["items"]),
            "items": Items(list(self.sync.job_items(job["id"], state))),
        }
        return tuple(fields), tuple(fields.values())


class Followed(OfJob, commands.Waiting):
    """A command that may wait for a job."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.epilog = EPILOG
        return parser

    def follow(self, parsed_args: argparse.Namespace, client: Client, job: Json) -> commands.Fields:
        """Wait for the job if told to, showing how it goes; then show it, and set the exit code."""
        if self.waits(parsed_args):
            job = self._wait_for(parsed_args, client, job)
        return self.show(job)

    def _wait_for(self, parsed_args: argparse.Namespace, client: Client, job: Json) -> Json:
        bar = Bar(sys.stderr) if sys.stderr.isatty() else None

        def show(seen: _Look) -> None:
            if bar is not None:
                done, total = seen.job["bytes_done"], seen.job["bytes_total"]
                bar.show(time.monotonic(), done, total, seen.said)

        try:
            seen = self.wait(parsed_args, lambda: _Look(client.job(job["id"])), show)
        finally:
            if bar is not None:
                bar.clear()
        if seen.busy:
            why = f": {seen.job['reason']}" if seen.job["reason"] else ""
            self.log.error("not done within %g s: %s%s", parsed_args.timeout, seen.said, why)
        elif seen.job["state"] != JobState.DONE:
            self.exit = Exit.OUT_OF_SYNC
            self.log.error("job %d: %s", seen.job["id"], seen.job["state"])
        return seen.job


class CreateJob(Followed):
    """Have images of one region copied to others, and kept there

    They are wanted there from then on, whatever the strategy says; "unpin" takes that back.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "images", metavar="<image>", nargs="*", help="Image (name or ID) of the source"
        )
        parser.add_argument("--source", metavar="<region>", help="Region that has them")
        parser.add_argument(
            "--target",
            dest="targets",
            metavar="<region>",
            action="append",
            default=[],
            help="Region that is to have them (repeat for several)",
        )
        parser.add_argument(
            "--force",
            action="store_true",
            help="Copy them under new IDs, whatever is there already",
        )
        parser.add_argument(
            "--replace",
            action="store_true",
            help="Replace what has an image's ID there, differs and was not made by glance-sync",
        )
        parser.add_argument(
            "--template",
            metavar="<file>",
            help='JSON file with a list of sets, each with "source", "target" and "resources"',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        client = self.sync
        return self.follow(parsed_args, client, client.create_job(_body(parsed_args)))


def _body(parsed_args: argparse.Namespace) -> Json:
    """What to send.

    :raises CommandError: the arguments don't go together, or the file can't be used
    """
    source, targets, images = parsed_args.source, parsed_args.targets, parsed_args.images
    if parsed_args.template is None:
        if not (source and targets and images):
            raise CommandError("say --source, --target and which images, or --template")
        return {
            "source": source,
            "target": targets,
            "resources": images,
            "force": parsed_args.force,
            "on_conflict": "replace" if parsed_args.replace else "fail",
        }
    if source or targets or images or parsed_args.force or parsed_args.replace:
        raise CommandError("--template says all: images and other options don't go with it")
    try:
        found = json.loads(Path(parsed_args.template).read_text())
    except (OSError, ValueError) as error:
        raise CommandError(f"{parsed_args.template}: {error}") from None
    if isinstance(found, dict) and "template" not in found:
        found = [found]
    return found if isinstance(found, dict) else {"template": found}


class _ById(commands.Command):
    """A command on a job there is."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("job", metavar="<job>", type=int, help="Job (ID)")
        return parser


class ShowJob(_ById, OfJob):
    """Show a job with what became of each image in each region"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--state",
            metavar="<state>",
            choices=[state.value for state in ItemState],
            help=f"Only the items in this state: {', '.join(ItemState)}",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        return self.show(self.sync.job(parsed_args.job), parsed_args.state)


class CancelJob(_ById, OfJob):
    """End a job; what is being copied goes on"""

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        return self.show(self.sync.cancel_job(parsed_args.job))


class DeleteJob(_ById):
    """Forget a job that has ended; its images stay where they are"""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        self.sync.delete_job(parsed_args.job)


class ListJobs(commands.Lister):
    """List jobs, the newest first"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--state",
            metavar="<state>",
            choices=[state.value for state in JobState],
            help=f"Only jobs in this state: {', '.join(JobState)}",
        )
        parser.add_argument(
            "--project", metavar="<project>", help="Only the jobs of this project (ID)"
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        columns = ("ID", "State", "Created At", "Images", "From", "To", "Items")
        found = self.sync.jobs(state=parsed_args.state, project_id=parsed_args.project)
        return columns, (_row(job) for job in found)


def _row(job: Json) -> tuple[Any, ...]:
    sources = dict.fromkeys(one["source"] for one in job["sets"])
    targets = dict.fromkeys(name for one in job["sets"] for name in one["target"])
    return (
        job["id"],
        job["state"],
        Moment(job["created_at"]),
        sum(one["resources"] for one in job["sets"]),
        Names(list(sources)),
        Names(list(targets)),
        Pairs(job["items"]),
    )
