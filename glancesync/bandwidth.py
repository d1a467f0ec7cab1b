# SPDX-License-Identifier: Apache-2.0
"""How much bandwidth each transfer gets: timetables, and fair shares of several limits. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Hashable, Mapping
from typing import TypeVar

from glancesync.schemes import rate

UNLIMITED = "unlimited"
_DAY = 24 * 60
_SPAN = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)\s+(\S+)\Z", re.ASCII)
_ELSE = re.compile(r"(?:else\s+)?(\S+)\Z", re.ASCII)

Flow = TypeVar("Flow", bound=Hashable)
Key = TypeVar("Key", bound=Hashable)


@dataclasses.dataclass(frozen=True)
class Timetable:
    """Bytes per second by the time of day; None is unlimited.

    ``spans``: minutes of the day from (inclusive) and to (exclusive), which may go past midnight;
    the first that holds counts.
    """

    spans: tuple[tuple[int, int, int | None], ...]
    otherwise: int | None

    @classmethod
    def parse(cls, text: str) -> Timetable:
        """``50M``, or ``08:00-18:00 50M, 18:00-20:00 200M, else unlimited``.

        :raises ValueError: it is not like that; says what is wrong
        """
        *parts, last = [part.strip() for part in text.split(",")]
        spans = []
        for part in parts:
            found = _SPAN.match(part)
            if not found:
                raise ValueError(f"{part!r} is not like 08:00-18:00 50M")
            spans.append((*_minutes(found), _rate(found[5])))
        found = _ELSE.match(last)
        if not found or (spans and not last.startswith("else")):
            raise ValueError(f"{last!r}: the end must be like 'else 50M' or 'else {UNLIMITED}'")
        return cls(tuple(spans), _rate(found[1]))

    def at(self, minute: int) -> int | None:
        """The limit at a minute of the day."""
        for start, end, limit in self.spans:
            inside = start <= minute < end if start < end else minute >= start or minute < end
            if inside:
                return limit
        return self.otherwise


def _minutes(found: re.Match[str]) -> tuple[int, int]:
    hours, minutes = (int(found[1]), int(found[3])), (int(found[2]), int(found[4]))
    if max(minutes) > 59 or max(hours) > 24:
        raise ValueError(f"{found[0]!r} has a time that is none")
    start, end = (60 * hour + minute for hour, minute in zip(hours, minutes, strict=True))
    if max(start, end) > _DAY or start == end:
        raise ValueError(f"{found[0]!r} must be from a time to another of one day, 24:00 the last")
    return start, end


def _rate(text: str) -> int | None:
    return None if text == UNLIMITED else rate(text)


def shares(
    flows: Mapping[Flow, Collection[Key]], limits: Mapping[Key, float]
) -> dict[Flow, float | None]:
    """What each flow may have, so that no limit is exceeded and none gets less than it could.

    Max-min fairness, by progressive filling (Bertsekas and Gallager, Data Networks, 6.5.2): the
    limit that leaves its flows the least is shared evenly among them, and so on with the rest.

    :param flows: the limits that each is under; those without a value do not count
    :param limits: bytes per second
    """
    left = dict(limits)
    open_flows = {flow: [key for key in keys if key in left] for flow, keys in flows.items()}
    found: dict[Flow, float | None] = {}
    while True:
        users: dict[Key, list[Flow]] = {}
        for flow, keys in open_flows.items():
            for key in keys:
                users.setdefault(key, []).append(flow)
        if not users:
            return {**found, **dict.fromkeys(open_flows)}
        narrowest = min(users, key=lambda key: left[key] / len(users[key]))
        share = left[narrowest] / len(users[narrowest])
        for flow in users[narrowest]:
            found[flow] = share
            for key in open_flows.pop(flow):
                left[key] = max(0.0, left[key] - share)
