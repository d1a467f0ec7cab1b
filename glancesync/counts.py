# SPDX-License-Identifier: Apache-2.0
"""What is counted for ever. The counts are kept in the journal; ``/metrics`` shows them.

A count is added in the transaction that ends, or records, what it counts, so none is lost or
counted twice, whichever process did the work and however that process ended.
"""

from __future__ import annotations

import dataclasses
import enum

from glancesync.errors import RegionError


class Counter(enum.StrEnum):
    """What is counted, for each region; the label tells apart what is counted there."""

    TASKS = "tasks"  #: tasks done, by kind
    FAILURES = "failures"  #: attempts that failed, by reason
    BYTES = "bytes"  #: copied, by transport
    SYNC = "sync"  #: a histogram: seconds from the wish until the replica had followed
    DRIFT = "drift"  #: replicas found other than recorded, or gone
    REPAIRED = "repaired"  #: replicas mended because of that
    MISMATCHES = "mismatches"  #: copies whose bytes were not home's
    DROPPED = "dropped"  #: hints that hooks had to drop


@dataclasses.dataclass(frozen=True)
class Count:
    """Something to be added. ``region`` is "" for what concerns home."""

    counter: Counter
    region: str = ""
    label: str = ""
    amount: float = 1


#: Upper bounds of the histogram's buckets, in seconds; one without a bound follows.
BUCKETS = (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
BEYOND = "+Inf"
SUM = "sum"


def sync(region: str, seconds: float) -> tuple[Count, Count]:
    """One replica that has followed after so many seconds."""
    bound = next((f"{one:g}" for one in BUCKETS if seconds <= one), BEYOND)
    return Count(Counter.SYNC, region, bound), Count(Counter.SYNC, region, SUM, seconds)


#: Reasons of failures that are no RegionError: a bug of ours, and a worker that gave no sign of
#: life.
UNEXPECTED, ABANDONED = "unexpected", "abandoned"


def reason(error: Exception) -> str:
    """The class of an error, as the label of a failure."""
    return type(error).__name__.lower() if isinstance(error, RegionError) else UNEXPECTED


def reasons() -> list[str]:
    """All that :func:`reason` may say, and ``ABANDONED``."""
    classes = [RegionError]
    for one in classes:
        classes += one.__subclasses__()
    return sorted([UNEXPECTED, ABANDONED, *(one.__name__.lower() for one in classes[1:])])
