# SPDX-License-Identifier: Apache-2.0
"""Sizes, times and small tables as people read them."""

from __future__ import annotations

import datetime
import textwrap
from collections.abc import Sequence

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
WIDTH = 96  # of running text in a table
SCREEN = 76  # of running text without a frame
_SPANS = ((86400, "d"), (3600, "h"), (60, "min"))


def size(count: float) -> str:
    """Bytes in binary units, such as ``1.5 GiB``."""
    power = 0
    while count >= 999.5 and power < len(_SIZES) - 1:
        count /= 1024
        power += 1
    return f"{count:.{1 if power and count < 99.95 else 0}f} {_SIZES[power]}"


def duration(seconds: float) -> str:
    """Seconds in the largest unit of which there are at least two: ``90 s``, ``3 min``."""
    for length, unit in _SPANS:
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def moment(iso: str, now: datetime.datetime) -> str:
    """A time of the API as seen from ``now``: ``3 min ago``, ``in 35 s``."""
    ahead = (datetime.datetime.fromisoformat(iso) - now).total_seconds()
    if abs(ahead) < 1:
        return "now"
    return f"in {duration(ahead)}" if ahead > 0 else f"{duration(-ahead)} ago"


def wrapped(message: str, width: int = WIDTH) -> list[str]:
    """Lines no wider than a table should be; the second and later ones are indented."""
    return textwrap.wrap(message, width, subsequent_indent="  ")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns; columns that are empty in all rows are left out."""
    kept = [number for number in range(len(headers)) if any(row[number] for row in rows)]
    cells = [[headers[number] for number in kept]]
    cells += [[row[number] or "-" for number in kept] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
