# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync plan``, ``plan list``, ``plan show`` and ``apply``."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from osc_lib.exceptions import CommandError

from glancesync.osc import commands, find, outlines
from glancesync.osc.client import Client, Json
from glancesync.osc.columns import Maybe, Moment, Pairs, Words
from glancesync.osc.wait import Exit
from glancesync.states import PlanState, StepState

_UNDER_WAY = frozenset({StepState.ASKED, StepState.BEGUN})
_WELL = _UNDER_WAY | {StepState.DONE}

_EPILOG = """\
exit codes:
  0  asked for; with --wait: every step is done
  1  error; also if the plan went stale or was applied before
  2  wrong usage
  3  with --wait: ended, but a step went stale, failed or was cancelled
  4  with --wait: not done within --timeout; the server goes on
"""


@dataclasses.dataclass(frozen=True)
class _Look:
    plan: Json

    @property
    def busy(self) -> bool:
        """Whether it is being made, or a step of it is still to be done."""
        under_way = not _UNDER_WAY.isdisjoint(outlines.counts(self.plan))
        return self.plan["state"] in (PlanState.PLANNING, PlanState.APPLYING) or under_way


class _OnePlan(commands.ShowOne):
    """A command on one plan, which it shows with its steps."""

    def show(self, plan: Json, region: str | None = None) -> commands.Fields:
        self._plan, self._steps = plan, list(self.sync.steps(plan["id"], region))
        fields = {
            **{name: plan[name] for name in ("id", "state")},
            **{name: Maybe(plan[name]) for name in ("strategy", "image_id")},
            "reason": Words(plan["reason"]),
            "actor": Pairs({name: value for name, value in plan["actor"].items() if value}),
            **{name: Moment(plan[name]) for name in ("created_at", "ready_at", "applied_at")},
            "regions": outlines.Regions(plan["regions"]),
            "steps": outlines.Steps(self._steps),
        }
        return tuple(fields), tuple(fields.values())

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Sequence[Any]
    ) -> int:
        """What is for people is a page of its own: there is no room for a frame around it."""
        if parsed_args.formatter == "table" and not parsed_args.columns:
            self.app.stdout.write(outlines.page(self._plan, self._steps) + "\n")
            return 0
        code: int = super().produce_output(parsed_args, column_names, data)
        return code


class _Followed(_OnePlan, commands.Patient):
    """A command that may wait for a plan."""

    def wait_for(self, parsed_args: argparse.Namespace, client: Client, plan: Json) -> Json:
        """The plan when it is not busy any more, or time is up."""
        said: str | None = None

        def show(seen: _Look) -> None:
            nonlocal said
            if seen.busy and seen.plan["reason"] not in (None, said):
                said = seen.plan["reason"]
                self.log.warning("not yet: %s", said)

        seen = self.wait(parsed_args, lambda: _Look(client.plan(plan["id"])), show)
        if seen.busy:
            self.log.error("not done within %g s", parsed_args.timeout)
        return seen.plan


class MakePlan(_Followed):
    """Say what would be done to the replicas, and why; nothing is done

    Have it done with "apply".
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--region",
            dest="regions",
            metavar="<region>",
            action="append",
            default=[],
            help="Only in this region (repeat for several); default: in all but home",
        )
        parser.add_argument("--image", metavar="<image>", help="Only this image (name or ID)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        client, image = self.sync, parsed_args.image
        image_id = None if image is None else find.image_id(self.manager, image)
        asked = client.make_plan(parsed_args.regions, image_id)
        plan = self.wait_for(parsed_args, client, asked)
        if plan["state"] == PlanState.FAILED:
            raise CommandError(plan["reason"])
        return self.show(plan)


class _ById(_OnePlan):
    """A command on a plan there is."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("plan", metavar="<plan>", type=int, help="Plan (ID)")
        return parser


class ShowPlan(_ById):
    """Show a plan with its steps, and what became of them"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--region", metavar="<region>", help="Only the steps in this region")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        return self.show(self.sync.plan(parsed_args.plan), parsed_args.region)


class ApplyPlan(_ById, _Followed, commands.Waiting):
    """Do what a plan says, exactly that, or nothing where it went stale

    Before a step is done, home and the region are looked at anew. If something is not as the plan
    saw it, the step is left alone.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.epilog = _EPILOG
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        client = self.sync
        plan = client.apply_plan(parsed_args.plan)
        for one in plan["regions"]:
            if one["waits"] and one["steps"]:
                self.log.warning(
                    "%s: %s; its steps wait until it is open", one["name"], one["waits"]
                )
        if self.waits(parsed_args):
            plan = self.wait_for(parsed_args, client, plan)
            if self.exit is Exit.WELL and not outlines.counts(plan).keys() <= _WELL:
                self.exit = Exit.OUT_OF_SYNC
        return self.show(plan)


class ListPlans(commands.Lister):
    """List plans, the newest first"""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        columns = ("ID", "State", "Created At", "Regions", "Image ID", "Steps")
        return columns, (
            (
                plan["id"],
                plan["state"],
                Moment(plan["created_at"]),
                outlines.Names([one["name"] for one in plan["regions"]]),
                Maybe(plan["image_id"]),
                sum(outlines.counts(plan).values()),
            )
            for plan in self.sync.plans()
        )
