# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync binding list``, ``show``, ``create``, ``delete`` and ``select``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from osc_lib.cli.parseractions import KeyValueAction
from osc_lib.exceptions import CommandError

from glancesync.osc import commands, find, text
from glancesync.osc.client import Json
from glancesync.osc.columns import Detail, Maybe, Moment, Pairs, Words

_MOMENTS = ("began_at", "ended_at")
_SHOWN = 20  # regions that people see of a selection


class ListBindings(commands.Lister):
    """List which regions projects belong to, the newest first

    Only those in force, unless told.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--project", metavar="<project>", help="Only of this project (name or ID)"
        )
        parser.add_argument("--region", metavar="<region>", help="Only to this region")
        parser.add_argument("--all", action="store_true", help="Also those that have ended")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        project = parsed_args.project
        bindings = self.sync.bindings(
            project_id=None if project is None else find.project_id(self.manager, project),
            region=parsed_args.region,
            active=None if parsed_args.all else "1",
        )
        columns = ["ID", "Project ID", "Group", "Region", "Began At", "Cause"]
        if parsed_args.all:
            columns[5:] = ["Ended At", "Released", "Cause"]
        names = [column.lower().replace(" ", "_") for column in columns]
        listed = ({**_fields(one), "cause": Detail(one["cause"])} for one in bindings)
        return tuple(columns), (tuple(one[name] for name in names) for one in listed)


class _OneBinding(commands.ShowOne):
    """A command on one binding, which it shows."""

    def show(self, binding: Json) -> commands.Fields:
        fields = _fields(binding)
        return tuple(fields), tuple(fields.values())


class _ById(_OneBinding):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("binding", metavar="<binding>", type=int, help="Binding (ID)")
        return parser


class _OfProject(_OneBinding):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--project",
            metavar="<project>",
            help="Project (name or ID); default: the one in use",
        )
        parser.add_argument(
            "--group", metavar="<group>", default="", help="A part of what the project has"
        )
        return parser

    def whose(self, parsed_args: argparse.Namespace) -> Json:
        """The project and group, as a body names them."""
        project = parsed_args.project
        if project is not None:
            project = find.project_id(self.manager, project)
        elif self.manager.auth_ref is not None:
            project = self.manager.auth_ref.project_id
        if project is None:
            raise CommandError("no project is in use; name one with --project")
        return {"project_id": project, "group": parsed_args.group}


class ShowBinding(_ById):
    """Show a binding"""

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        return self.show(self.sync.binding(parsed_args.binding))


class CreateBinding(_OfProject):
    """Bind a project to a region by hand; what it was bound to ends"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("region", metavar="<region>", help="Region (name)")
        parser.add_argument("--cause", metavar="<text>", help="Why, for the record")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        body = {**self.whose(parsed_args), "region": parsed_args.region}
        if parsed_args.cause is not None:
            body["cause"] = parsed_args.cause
        return self.show(self.sync.bind(body))


class DeleteBinding(_ById):
    """End a binding; it stays on record, and the images stay in its region

    With --release the project's images go from the region, unless something else wants them there.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--cause", metavar="<text>", help="Why, for the record")
        parser.add_argument(
            "--release",
            action="store_true",
            help="Let the images go, too; also for a binding that has ended",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        return self.show(
            self.sync.unbind(parsed_args.binding, parsed_args.cause, release=parsed_args.release)
        )


class SelectRegion(_OfProject):
    """Show the region a project belongs to; bind it to one if it has none that will do

    With --dry-run nothing is bound, and each region is shown with what speaks for and against it.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--availability-zone", metavar="<zone>", help="The region must have this zone"
        )
        parser.add_argument(
            "--label",
            dest="labels",
            metavar="<key=value>",
            action=KeyValueAction,
            help="The region must have this label (repeat for several)",
        )
        parser.add_argument(
            "--disk-format", metavar="<format>", help="The region must be able to use this format"
        )
        parser.add_argument(
            "--size", metavar="<bytes>", type=int, help="So many bytes must fit into the region"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Only say which, and why; for admins"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> commands.Fields:
        needs = {
            name: getattr(parsed_args, name)
            for name in ("availability_zone", "labels", "disk_format", "size")
            if getattr(parsed_args, name) is not None
        }
        wish = {**self.whose(parsed_args), "requirements": needs}
        self._selection = self.sync.explain(wish) if parsed_args.dry_run else None
        if self._selection is None:
            return self.show(self.sync.select(wish))
        return tuple(self._selection), tuple(self._selection.values())

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Sequence[Any]
    ) -> int:
        """What people see of a dry run is a page of its own."""
        asked = parsed_args.formatter == "table" and not parsed_args.columns
        if asked and self._selection is not None:
            self.app.stdout.write(page(self._selection) + "\n")
            return 0
        code: int = super().produce_output(parsed_args, column_names, data)
        return code


def page(selection: Json) -> str:
    """A selection as people read it: what would be chosen, the figures, and who is left out."""
    regions = selection["regions"]
    passing = [one for one in regions if one["passes"]]
    lines = [_verdict(selection)]
    if passing:
        lines += ["", "The figure of each weigher, and what it counts:"]
        lines += [f"  {line}" for line in _table(passing[:_SHOWN])]
    if len(passing) > _SHOWN:
        lines.append(f"  and {len(passing) - _SHOWN} more; -f json has all")
    out = [one for one in regions if not one["passes"]]
    if out:
        lines += ["", "Left out:"]
    for one in out[:_SHOWN]:
        reasons = "; ".join(each["why"] for each in one["filters"] if not each["passes"])
        lines += [f"  {line}" for line in text.wrapped(f"{one['name']}: {reasons}", text.SCREEN)]
    if len(out) > _SHOWN:
        lines.append(f"  and {len(out) - _SHOWN} more; -f json has all")
    return "\n".join(lines)


def _verdict(selection: Json) -> str:
    region, binding = selection["region"], selection["binding"]
    now = None if binding is None else binding["region"]
    if region is None:
        return "No region will do" + (f"; it is bound to {now}." if now else ".")
    if now is None:
        return f"It would be bound to {region}."
    return f"It stays in {now}." if now == region else f"It would move from {now} to {region}."


def _table(regions: Sequence[Json]) -> list[str]:
    """The figure of each weigher that counts, and what that comes to."""
    counting = [one for one in regions[0]["weighers"] if one["multiplier"]]
    headers = ["region", "total"]
    headers += [_heading(one) for one in counting]
    names = {one["name"] for one in counting}
    rows = [
        [
            one["name"],
            f"{one['total']:.2f}",
            *(
                f"{_figure(each)}: {each['weighted']:.2f}"
                for each in one["weighers"]
                if each["name"] in names
            ),
        ]
        for one in regions
    ]
    return text.table(headers, rows)


def _heading(weight: Json) -> str:
    multiplier = weight["multiplier"]
    return str(weight["name"]) + (f" x {multiplier:g}" if multiplier != 1 else "")


def _figure(weight: Json) -> str:
    raw, unit = weight["raw"], weight["unit"]
    if raw is None:
        return "?"
    if unit == "bytes":
        return text.size(raw)
    return text.duration(raw) if unit == "seconds" else f"{raw:g}"


def _fields(binding: Json) -> Json:
    moments = {name: Moment(binding[name]) for name in _MOMENTS}
    people = {
        name: Pairs({key: value for key, value in (binding[name] or {}).items() if value})
        for name in ("actor", "ended_by")
    }
    words = {name: Words(binding[name]) for name in ("cause", "end_cause")}
    return {**binding, **moments, **people, **words, "group": Maybe(binding["group"])}
