# SPDX-License-Identifier: Apache-2.0
"""A progress bar in bytes, for a terminal."""

from __future__ import annotations

import collections
import shutil
from typing import TextIO

from glancesync.osc import text

_WINDOW = 10.0  # seconds over which the rate is measured
_WIDTH = 24  # of the bar, in characters


class Rate:
    """Bytes per second over the last seconds."""

    def __init__(self) -> None:
        self._seen: collections.deque[tuple[float, int]] = collections.deque()

    def add(self, now: float, done: int) -> float:
        """The rate, now that ``done`` bytes are there; 0 while nothing is known of it."""
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # a copy began afresh
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW:
            self._seen.popleft()
        since, before = self._seen[0]
        return (done - before) / (now - since) if now > since else 0.0


def line(done: int, total: int, rate: float, label: str) -> str:
    """One line: bar, share, bytes, rate and time left, as far as they are known."""
    if not total:
        return label
    share = min(1.0, done / total)
    bar = ("#" * int(share * _WIDTH)).ljust(_WIDTH, ".")
    words = [f"[{bar}] {int(share * 100):3d} %", f"{text.size(done)} of {text.size(total)}"]
    if rate > 0:
        words.append(f"{text.size(rate)}/s")
        if done < total:
            words.append(f"ETA {_clock((total - done) / rate)}")
    return "  ".join([*words, label])


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Bar:
    """Draws over one line of ``stream`` again and again."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rate = Rate()

    def show(self, now: float, done: int, total: int, label: str) -> None:
        """Draw it anew; ``now`` is in seconds of any steady clock."""
        width = shutil.get_terminal_size().columns - 1
        drawn = line(done, total, self._rate.add(now, done), label)
        self._stream.write(f"\r\x1b[K{drawn[:width]}")
        self._stream.flush()

    def clear(self) -> None:
        """Leave nothing behind."""
        self._stream.write("\r\x1b[K")
        self._stream.flush()
