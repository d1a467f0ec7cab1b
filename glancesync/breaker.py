# SPDX-License-Identifier: Apache-2.0
"""When a region is left alone: a circuit breaker, as a value that is decided.

After some failures in a row that are the region's own, no work starts for a while; then one task
probes. If it fails, the pause doubles up to a cap; if the region answers, everything that failed
meanwhile is due at once (Nygard, "Release It!", chapter "Circuit Breaker"). A region that asks to
be left alone is left alone for as long as it asks.

What ends while the region is left alone was begun before, and decides nothing: neither do the
failures of tasks that ran side by side double the pause, nor does a success end it.
"""

from __future__ import annotations

import dataclasses

from glancesync.errors import Credential, RegionError, Throttled, Transient


@dataclasses.dataclass(frozen=True)
class Breaker:
    """Times are seconds."""

    threshold: int = 5  # failures in a row
    pause: float = 5.0
    cap: float = 60.0
    patience: float = 600.0  # the longest that a region may ask for

    def rest(self, error: RegionError, failures: int) -> float | None:
        """How long to leave the region alone after ``error``; None: not at all.

        :param error: one of those that :func:`unwell` finds
        :param failures: in a row, this one included
        """
        if isinstance(error, Throttled):
            return min(error.retry_after or self.pause, self.patience)
        if failures < self.threshold:
            return None
        return min(self.cap, self.pause * 2.0 ** min(failures - self.threshold, 32))


def unwell(error: RegionError | None) -> bool:
    """True if ``error`` says that the region is unwell, not that it refused one thing."""
    return isinstance(error, Transient | Credential)
