# SPDX-License-Identifier: Apache-2.0
"""Values that read well in a table and stay raw in JSON, YAML, CSV and plain values."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from cliff.columns import FormattableColumn

from glancesync.osc import text
from glancesync.osc.client import Json
from glancesync.osc.standing import Standing, in_words, openness, percent, standing
from glancesync.states import ENDED

# Characters.
_GIST = 72
_DETAIL = 48
_USER = 12


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Maybe(FormattableColumn[Any]):
    """Anything, or None: then people see ``otherwise``."""

    def __init__(self, value: Any, otherwise: str = "") -> None:
        super().__init__(value)
        self._otherwise = otherwise

    def human_readable(self) -> str:
        return self._otherwise if self._value is None else str(self._value)


class Words(FormattableColumn[str | None]):
    """A message of any length, in lines that fit."""

    def human_readable(self) -> str:
        return "\n".join(text.wrapped(self._value or ""))


class Gist(FormattableColumn[str | None]):
    """A message of any length about a region, of which a list shows the beginning."""

    def __init__(self, message: str | None, region: str | None) -> None:
        super().__init__(message)
        self._region = region

    def human_readable(self) -> str:
        message = (self._value or "").removeprefix(f"{self._region}: ")
        return message if len(message) <= _GIST else f"{message[: _GIST - 1]}…"


class Detail(FormattableColumn[str]):
    """A message of any length, in lines that leave room for other columns."""

    def human_readable(self) -> str:
        return "\n".join(text.wrapped(self._value, _DETAIL))


class Who(FormattableColumn[Mapping[str, Any] | None]):
    """Who caused something; people see the beginning of the user's id."""

    def human_readable(self) -> str:
        user = (self._value or {}).get("user_id") or ""
        return user if len(user) <= _USER else f"{user[:_USER]}…"


class Findings(FormattableColumn[list[Json]]):
    """What an audit found and did not act on, as a table of its own."""

    def human_readable(self) -> str:
        rows = [
            [one["what"], one["image_id"], one["other_id"] or "", one["detail"]]
            for one in self._value
        ]
        return "\n".join(text.table(_FINDING_HEADERS, rows)) if rows else ""


_FINDING_HEADERS = ("what", "image", "id there", "detail")


class Size(FormattableColumn[int | None]):
    """A number of bytes."""

    def human_readable(self) -> str:
        return "" if self._value is None else text.size(self._value)


class Room(FormattableColumn[Json | None]):
    """The capacity of a region, and when somebody said it."""

    def human_readable(self) -> str:
        if self._value is None:
            return ""
        total = self._value["total_bytes"]
        of = "" if total is None else f" of {text.size(total)}"
        said = text.moment(self._value["said_at"], _now())
        return f"{text.size(self._value['free_bytes'])}{of} free, said {said}"


class Moment(FormattableColumn[str | None]):
    """A time as the API writes it: ISO 8601, UTC."""

    def human_readable(self) -> str:
        return "" if self._value is None else text.moment(self._value, _now())


class When(FormattableColumn[str]):
    """A time as the API writes it, to the second."""

    def human_readable(self) -> str:
        return str(self._value).partition(".")[0].replace("T", " ")


class Seconds(FormattableColumn[float | None]):
    """How long something lasts."""

    def human_readable(self) -> str:
        return text.duration(self._value) if self._value else ""


class Pairs(FormattableColumn[Mapping[str, Any]]):
    """Names with values, one a line."""

    def human_readable(self) -> str:
        return "\n".join(f"{name}={value}" for name, value in sorted(self._value.items()))


class States(FormattableColumn[Any]):
    """Regions with the state of their replica, one a line."""

    def human_readable(self) -> str:
        return "\n".join(f"{one['region']}: {in_words(one)}" for one in self._value)

    def machine_readable(self) -> dict[str, str]:
        return {one["region"]: one["state"] for one in self._value}


class InSync(FormattableColumn[list[str]]):
    """The regions whose replica is in sync; people see how many of how many."""

    def __init__(self, regions: list[str], of: int) -> None:
        super().__init__(regions)
        self._of = of

    def human_readable(self) -> str:
        return f"{len(self._value)}/{self._of}"


class Pins(FormattableColumn[list[Json]]):
    """The regions in which somebody wants an image by name, and who, one a line."""

    def human_readable(self) -> str:
        return "\n".join(f"{one['region']}: {one['cause']}" for one in self._value)


class Replicas(FormattableColumn[list[Json]]):
    """The replicas of an image, as a table of their own, and below it what went wrong."""

    def human_readable(self) -> str:
        rows = [_replica_row(one) for one in self._value]
        lines = text.table(_REPLICA_HEADERS, rows) if rows else []
        for one in self._value:
            if one["last_error"]:
                lines += _said(one["region"], one["last_error"])
            for what, why in one["refused"].items():
                lines += _said(one["region"], f"refused {what}: {_own(one['region'], why)}")
        return "\n".join(lines)


_REPLICA_HEADERS = (
    "region", "state", "generation", "size", "copied", "transport", "from", "attempt", "next try",
    "synced", "verified", "needed", "id there",
)  # fmt: skip


def _replica_row(one: Json) -> list[str]:
    ended = standing(one) is Standing.ENDED
    elsewhere = one["replica_id"] not in (None, one["image_id"])
    return [
        one["region"],
        one["state"].replace("_", " "),
        f"{one['observed_generation']}/{one['desired_generation']}",
        Size(one["bytes_total"]).human_readable() if not ended else "",
        percent(one) if not ended else "",
        one["transport"] or "",
        one["source"] or "",
        str(one["attempt"] or ""),
        _next_try(one["next_try_at"]),
        Moment(one["synced_at"]).human_readable() if not ended else "",
        Moment(one["verified_at"]).human_readable() if not ended else "",
        Moment(one["used_at"]).human_readable(),
        one["replica_id"] if elsewhere else "",
    ]


def _next_try(at: str | None) -> str:
    said = Moment(at).human_readable()
    return said if said.startswith("in ") or not said else "due"


class Trouble(FormattableColumn[list[Json]]):
    """What needs a human, region by region."""

    def human_readable(self) -> str:
        return "\n".join(
            line for one in self._value for line in _said(one["region"], one["said"], text.SCREEN)
        )


class RegionStatus(FormattableColumn[list[Json]]):
    """The regions of ``GET /v1/status``, as a table of their own that fits on a screen."""

    def human_readable(self) -> str:
        return "\n".join(text.table(_STATUS_HEADERS, [_status_row(one) for one in self._value]))


_STATUS_HEADERS = ("region", "is", "in sync", "tasks", "to copy", "oldest", "audited")


def _status_row(one: Json) -> list[str]:
    counts, audit = one["replicas"], one["audit"]
    total = sum(count for state, count in counts.items() if state not in ENDED)
    audited = Moment(audit["finished_at"]).human_readable() or "never"
    return [
        one["name"],
        openness(one),
        f"{counts.get('in_sync', 0)}/{total}" if not one["home"] else "",
        str(sum(one["tasks"].values()) or ""),
        text.size(one["bytes_behind"]) if one["bytes_behind"] else "",
        Seconds(one["oldest_seconds"]).human_readable(),
        "running" if audit["running"] else audited,
    ]


def _said(region: str, message: str, width: int = text.WIDTH) -> list[str]:
    """What there is to say about a region."""
    return text.wrapped(f"{region}: {_own(region, message)}", width)


def _own(region: str, message: str) -> str:
    """``message`` without the region's name, with which it may begin."""
    return message.removeprefix(f"{region}: ")
