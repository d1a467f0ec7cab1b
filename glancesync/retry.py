# SPDX-License-Identifier: Apache-2.0
"""When to try again: a value that is decided, not control flow.

Backoff is exponential, capped, with equal jitter (AWS Architecture Blog, "Exponential Backoff And
Jitter"). ``task_retry_times`` bounds the fast tries; after them a task is ``failed`` and its
replica ``stalled``, which is shown, and tried at the cap for ever. What a second look can't mend,
because the region said no or because of a bug of ours, has no fast tries. A region that says when
to come again is obeyed, and that costs no try; nor does what is not ready to be copied yet.
"""

from __future__ import annotations

import dataclasses

from glancesync.errors import Credential, RegionError, Throttled, Unready
from glancesync.model import Retry, Snooze


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """How failed attempts are spaced."""

    fast_attempts: int = 5
    base: float = 1.0  # seconds before the second attempt
    cap: float = 600.0  # seconds at the most between two attempts

    def decide(self, error: Exception, attempt: int, jitter: float) -> Retry | Snooze:
        """What follows from ``error``.

        :param attempt: how many attempts failed before this one
        :param jitter: a random number in [0, 1)
        """
        if isinstance(error, Throttled | Unready):
            asked = (error.retry_after or self.base) * (1 + jitter / 10)
            return Snooze(min(asked, self.cap), str(error))
        fast = isinstance(error, RegionError) and (error.retryable or isinstance(error, Credential))
        failed = not fast or attempt + 1 >= self.fast_attempts
        ceiling = self.cap if failed else min(self.cap, self.base * 2.0 ** min(attempt, 64))
        delay = ceiling * (0.5 + jitter / 2)
        return Retry(delay, _said(error), failed)


def snooze_delay(waited: float, shortest: float, longest: float) -> float:
    """Seconds until the next look at something that takes its time: a tenth of the time waited."""
    return min(longest, max(shortest, waited / 10))


def _said(error: Exception) -> str:
    if isinstance(error, RegionError):
        return str(error)
    return f"a bug of glance-sync, see its log: {type(error).__name__}: {error}"
