"""When a region is left alone: a circuit breaker, as a value that is decided.

After some failures in a row that are the region's own, no work starts for a while; then one task
probes. If it fails, the pause doubles up to a cap; if the region answers, everything that waited
for it is due at once (Nygard, "Release It!", chapter "Circuit Breaker").
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

    def rest(self, error: RegionError, failures: int) -> float | None:
        """How long to leave the region alone after ``error``; None: not at all.

        :param failures: in a row, this one included
        """
        if isinstance(error, Throttled):
            return min(error.retry_after or self.pause, self.cap)
        if failures < self.threshold or not counts(error):
            return None
        return min(self.cap, self.pause * 2.0 ** min(failures - self.threshold, 32))


def counts(error: RegionError | None) -> bool:
    """True if ``error`` says that the region is unwell, not that it refused one thing."""
    return isinstance(error, Transient | Credential) and not isinstance(error, Throttled)
