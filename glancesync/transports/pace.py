# SPDX-License-Identifier: Apache-2.0
"""How fast a child process may move bytes: a token bucket whose rate changes while it is used."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

_PIECE = 0.2  # seconds that one piece takes
_LEAST = 4096  # bytes


class Pace:
    """Lets bytes pass at a rate; None: as fast as they come. Safe to use from many threads."""

    def __init__(self, rate: int | None = None) -> None:
        self._rate = rate
        self._changed = threading.Condition()
        self._due = 0.0  # when the next byte may pass
        self._over = False

    def set(self, rate: int | None) -> None:
        """Bytes per second, from now on."""
        with self._changed:
            if rate != self._rate:
                self._rate, self._due = rate, time.monotonic()
                self._changed.notify_all()

    def stop(self) -> None:
        """Hold nobody back any more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def most(self, count: int) -> int:
        """How many of ``count`` bytes to move at a time, so that it goes on evenly."""
        rate = self._rate
        return count if rate is None else min(count, max(_LEAST, int(rate * _PIECE)))

    def wait(self, count: int) -> None:
        """Return when so many more bytes may pass."""
        with self._changed:
            while self._rate is not None and not self._over:
                now = time.monotonic()
                if self._due <= now:
                    self._due = max(self._due, now - _PIECE) + count / self._rate
                    return
                self._changed.wait(self._due - now)

    def pieces(self, data: bytes) -> Iterator[memoryview]:
        """All of ``data``, piece by piece, each when it may pass."""
        left = memoryview(data)
        while left:
            count = self.most(len(left))
            self.wait(count)
            yield left[:count]
            left = left[count:]
