# SPDX-License-Identifier: Apache-2.0
"""``GET /v1/status`` on one screen of 80 columns."""

from __future__ import annotations

from glancesync.osc import text
from glancesync.osc.client import Json
from glancesync.osc.columns import RegionStatus, Trouble
from glancesync.osc.standing import openness
from glancesync.states import BreakerState


def page(status: Json) -> str:
    """The answer of ``GET /v1/status`` on one screen, as far as the regions are few."""
    lines = [_headline(status)]
    if found := [*discord(status), *troubles(status["regions"])]:
        said = Trouble(found).human_readable()
        lines += ["", "Needs a human:", *(f"  {line}" for line in said.splitlines())]
    if status["regions"]:
        lines += ["", RegionStatus(status["regions"]).human_readable()]
    return "\n".join(lines)


def _headline(status: Json) -> str:
    if status["in_sync"]:
        return "In sync: there is nothing to do."
    count, size = status["images_behind"], status["bytes_behind"]
    said = f"Behind by {count} image{'s' if count != 1 else ''}"
    if size:
        said += f", {text.size(size)} to copy"
    if status["behind_seconds"]:
        said += f"; the oldest waits for {text.duration(status['behind_seconds'])}"
    return f"{said}."


def discord(status: Json) -> list[Json]:
    """In what the nodes differ, in words."""
    return [
        {
            "region": "nodes",
            "said": f"{option} differs: "
            + ", ".join(f"{value or 'nothing'} on {' '.join(on)}" for value, on in values.items()),
        }
        for option, values in status["differences"].items()
    ]


def troubles(regions: list[Json]) -> list[Json]:
    """What needs a human, in words, region by region; of the regions of ``GET /v1/status``."""
    found = []
    for one in regions:
        state, counts = openness(one), dict(one["needs_human"])
        said = []
        if one["breaker"] != BreakerState.CLOSED:
            later = one["probed_in"]
            then = f"next look in {text.duration(later)}" if later else "next look now"
            why = (one["last_error"] or "").removeprefix(f"{one['name']}: ")
            said.append(f"left alone as it is unwell ({then}): {why}")
        elif state not in ("open", "home"):
            said.append(f"{state}; its work waits")
        if held := counts.pop("held", 0):
            deletions = f"{held} deletion{'s' if held != 1 else ''} held back by its audit"
            said.append(f"{deletions}: openstack image sync audit show {one['name']}")
        if counts:
            said.append(", ".join(f"{count} {what}" for what, count in counts.items()))
        if failed := one["tasks"]["failed"] * one["home"]:
            said.append(f"{failed} image{'s' if failed != 1 else ''} can't be looked at")
        found += [{"region": one["name"], "said": words} for words in said]
    return found
