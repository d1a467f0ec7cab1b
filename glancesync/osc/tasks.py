# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync task list``, ``show``, ``retry`` and ``cancel``."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable
from typing import Any

from osc_lib.cli.parseractions import NonNegativeAction

from glancesync.osc import commands, find
from glancesync.osc.client import Json
from glancesync.osc.columns import Gist, Maybe, Moment, Pairs, Words
from glancesync.states import TaskKind, TaskState

_MOMENTS = ("due_at", "since", "lease_until", "created_at", "updated_at", "ended_at")


class ListTasks(commands.Lister):
    """List tasks, the oldest first: those that are open, unless a state is given

    Tasks that never end are listed if their kind is given: "watch" and "audit" of each region.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--state",
            choices=[state.value for state in TaskState],
            help="List only tasks in this state",
        )
        parser.add_argument(
            "--kind",
            choices=[kind.value for kind in TaskKind],
            help="List only tasks of this kind",
        )
        parser.add_argument("--region", metavar="<region>", help="List only tasks of this region")
        parser.add_argument(
            "--image", metavar="<image>", help="List only tasks of this image (name or ID)"
        )
        parser.add_argument(
            "--newest-first", action="store_true", help="List the newest tasks first"
        )
        parser.add_argument(
            "--limit",
            metavar="<n>",
            type=int,
            action=NonNegativeAction,
            help="List at most so many tasks",
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        image_id = find.image_id(self.manager, parsed_args.image) if parsed_args.image else None
        tasks = self.sync.tasks(
            state=parsed_args.state,
            kind=parsed_args.kind,
            region=parsed_args.region,
            image_id=image_id,
            sort_dir="desc" if parsed_args.newest_first else None,
        )
        columns = ("ID", "Kind", "Image ID", "Region", "State", "Attempt", "Due At", "Reason")
        names = [column.lower().replace(" ", "_") for column in columns]
        return columns, (
            tuple(_listed(task)[name] for name in names)
            for task in itertools.islice(tasks, parsed_args.limit)
        )


class _OneTask(commands.ShowOne):
    """A command on one task, which it shows."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("task", metavar="<task>", type=int, help="Task (ID)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        fields = _fields(self.act(parsed_args.task))
        return tuple(fields), tuple(fields.values())

    def act(self, task_id: int) -> Json:
        """Do it, and return the task as it is then."""
        raise NotImplementedError


class ShowTask(_OneTask):
    """Show a task"""

    def act(self, task_id: int) -> Json:
        return self.sync.task(task_id)


class RetryTask(_OneTask):
    """Try an open task again now, with all its attempts before it"""

    def act(self, task_id: int) -> Json:
        return self.sync.retry(task_id)


class CancelTask(_OneTask):
    """End an open task; what it has done so far stays"""

    def act(self, task_id: int) -> Json:
        return self.sync.cancel(task_id)


def _fields(task: Json) -> Json:
    moments = {name: Moment(value) for name, value in task.items() if name in _MOMENTS}
    others = {name: Maybe(value) for name, value in task.items() if value is None}
    fields = {**task, **others, **moments}
    fields["reason"] = Words(task["reason"])
    fields["actor"] = Pairs({name: value for name, value in task["actor"].items() if value})
    return fields


def _listed(task: Json) -> Json:
    return {**_fields(task), "reason": Gist(task["reason"], task["region"])}
