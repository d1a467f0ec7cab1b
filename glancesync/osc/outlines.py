# SPDX-License-Identifier: Apache-2.0
"""Plans and their steps as people read them, on pages of less than 100 columns."""

from __future__ import annotations

import collections
import datetime

from cliff.columns import FormattableColumn

from glancesync.osc import text
from glancesync.osc.client import Json
from glancesync.states import PlanState, StepState

_NAME = 56  # characters


def counts(plan: Json) -> collections.Counter[str]:
    """How many steps of a plan, in all regions together, are in which state."""
    total: collections.Counter[str] = collections.Counter()
    for one in plan["regions"]:
        total.update(one["steps"])
    return total


def page(plan: Json, steps: list[Json]) -> str:
    """A plan with those of its steps that are to be shown."""
    lines = text.wrapped(_headline(plan))
    for one in plan["regions"]:
        lines += ["", *_region(one)]
        lines += _steps(step for step in steps if step["region"] == one["name"])
    if plan["state"] == PlanState.READY and counts(plan):
        lines += ["", f"To have exactly this done: openstack image sync apply {plan['id']}"]
    return "\n".join(lines)


class Names(FormattableColumn[list[str]]):
    """Names, one a line."""

    def human_readable(self) -> str:
        return "\n".join(self._value)


class Regions(FormattableColumn[list[Json]]):
    """The regions of a plan, each in a line or two."""

    def human_readable(self) -> str:
        return "\n".join(line for one in self._value for line in _region(one))


class Steps(FormattableColumn[list[Json]]):
    """The steps of a plan, each in a few lines."""

    def human_readable(self) -> str:
        return "\n".join(_steps(self._value))


def _headline(plan: Json) -> str:
    number, total = plan["id"], counts(plan)
    match plan["state"]:
        case PlanState.PLANNING:
            why = f": {plan['reason']}" if plan["reason"] else ""
            return f"Plan {number} is not ready yet{why}."
        case PlanState.FAILED:
            return f"Plan {number} could not be made: {plan['reason']}."
        case PlanState.READY:
            made = f"Plan {number}, made {_ago(plan['ready_at'])} under strategy {plan['strategy']}"
            size = sum(one["bytes"] for one in plan["regions"])
            return f"{made}: {_extent(total.total(), size)}."
        case _:
            said = ", ".join(f"{total[state]} {state}" for state in StepState if total[state])
            return f"Plan {number}, applied {_ago(plan['applied_at'])}: {said}."


def _region(one: Json) -> list[str]:
    if one["unread"]:
        why = one["unread"].removeprefix(f"{one['name']}: ")
        return text.wrapped(f"{one['name']} could not be looked at: {why}")
    said = f"{one['name']}: {_extent(sum(one['steps'].values()), one['bytes'])}"
    return [f"{said} ({one['waits']})" if one["waits"] else said]


def _steps(steps: collections.abc.Iterable[Json]) -> list[str]:
    lines = []
    for one in steps:
        name = one["name"] or ""
        short = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
        lines.append(f"  {one['image_id']}  {short}".rstrip())
        said = [_to_do(one)]
        if one["adoptable"]:
            said.append(f"could be adopted instead: {', '.join(one['adoptable'])}")
        if one["state"] != StepState.PLANNED:
            said.append(f"{one['state']}: {one['result']}" if one["result"] else one["state"])
        lines += [f"    {line}" for words in said for line in text.wrapped(words, text.WIDTH - 4)]
    return lines


def _to_do(step: Json) -> str:
    actions = ", ".join(step["actions"])
    if step["bytes"]:
        actions += f" {text.size(step['bytes'])}"
    return f"{actions}: {step['why']}"


def _extent(steps: int, size: int) -> str:
    if not steps:
        return "nothing to do"
    said = f"{steps} step{'s' if steps != 1 else ''}"
    return f"{said}, {text.size(size)} to copy" if size else said


def _ago(moment: str) -> str:
    return text.moment(moment, datetime.datetime.now(datetime.UTC))
