# SPDX-License-Identifier: Apache-2.0
"""Bytes that a child process puts into a region's store, and the region's Glance takes over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from glancesync.errors import (
    Corrupt,
    Refused,
    RegionError,
    Transient,
    WayBlocked,
    from_status,
    without_secrets,
)
from glancesync.interfaces import Source, Target
from glancesync.schemes import Location
from glancesync.transports import child

Settle = Callable[[Target, RegionError | None], None]


def land(
    program: str, order: dict[str, Any], source: Source, target: Target, settle: Settle
) -> None:
    """Have ``program`` carry out an order of one target, and the region register what it made.

    The program says the location as ``url``. What it made is removed, by an order with ``remove``,
    if the region refuses it. After any other error the region may yet have taken it: it stays, and
    the next attempt finds it. A program that marks what it makes is told by an order with
    ``settled`` that the mark is due no more.
    """
    try:
        url = _told(program, order, source, target)
        if url is None:
            return
        assert target.place is not None  # noqa: S101 - by the transports' capabilities
        location = Location(url, target.place.location.store)
        try:
            target.service.register(target.image_id, location, source.image)
        except Refused as error:
            left = _left(program, {**order, "remove": True})
            said = error.message if left is None else f"{error.message}; {left}"
            settle(target, WayBlocked(target.region, said))
        else:
            settle(target, None)
            if order["targets"][target.region].get("scheme") in ("swift", "s3"):
                _left(program, {**order, "settled": True})
    except RegionError as error:
        settle(target, error)


def tidy(program: str, end: dict[str, Any], target: Target, stall: float) -> None:
    """Have ``program`` remove what an earlier order has left at ``end``, whatever image it was of.

    :raises WayBlocked: something may be left over
    """
    order: dict[str, Any] = {
        "source": {},
        "targets": {target.region: end},
        "size": 0,
        "hash_algo": "",
        "hash_value": "",
        "stall": stall,
        "tidy": True,
    }
    left = _left(program, order)
    if left is not None:
        raise WayBlocked(target.region, left)


def _told(program: str, order: dict[str, Any], source: Source, target: Target) -> str | None:
    """The location of what was made; None if the program ended without a word."""
    with child.lines_of(order, {target.region: target}, program) as lines:
        for line in lines:
            if "progress" in line:
                target.report(line["progress"][target.region])
            elif "stalled" in line:
                raise WayBlocked(target.region, "the copy stalled and was given up")
            elif line["ok"]:
                return str(line["url"])
            else:
                raise _error(source, target, line)
    return None


def _error(source: Source, target: Target, line: dict[str, Any]) -> RegionError:
    said = without_secrets(line["message"])
    if line["side"] == "corrupt":
        return Corrupt(source.service.region, f"image {source.image.id}: {said}")
    if line["side"] == "source":
        said = f"could not read image {source.image.id}: {said}"
        if source.place is None:  # other transports read from the same Glance
            return from_status(source.service.region, said, line["status"], line["headers"])
    return WayBlocked(target.region, said)


def _left(program: str, order: dict[str, Any]) -> str | None:
    """Have something removed; what is to be said if something was left over."""
    left = "what was put into its store is left over"
    with contextlib.suppress(Transient), child.lines_of(order, {}, program) as lines:
        for line in lines:
            if "target" in line:
                return None if line["ok"] else f"{left}: {line['message']}"
    return left
