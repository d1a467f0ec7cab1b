# SPDX-License-Identifier: Apache-2.0
"""Holds processes back that move bytes too fast: they are stopped, and go on when it is time.

What a process has written is known to ``/proc``. Nothing stands in the way of the bytes, so a copy
without a limit pays nothing; with one they come in bursts of a few hundredths of a second.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterable

_SLICE = 0.01  # seconds between two looks at what runs
_SPARE = 0.2  # seconds; what was not used earlier may be caught up with
_LITTLE = 2**18  # bytes


class Throttle:
    """Paces the processes that ``pids`` names when it is asked. Safe to use from many threads.

    The same bytes may pass several of them: what counts is the one that writes the most. Those that
    write little are left alone.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self._rate: int | None = None
        self._changed = threading.Condition()
        self._over = False
        self._thread: threading.Thread | None = None

    def set(self, rate: int | None) -> None:
        """Bytes per second, from now on; None: as fast as they can."""
        with self._changed:
            self._rate = rate
            if rate is not None and self._thread is None and not self._over:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def stop(self) -> None:
        """Hold nobody back any more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        held: set[int] = set()
        seen: dict[int, int] = {}
        debt, then = 0.0, time.monotonic()
        while True:
            now, rate = time.monotonic(), self._rate
            written = {pid: count for pid in self._pids() if (count := _written(pid)) is not None}
            if rate is None or self._over:
                debt = 0.0
            else:
                moved = [count - seen[pid] for pid, count in written.items() if pid in seen]
                debt += max(moved, default=0) - rate * (now - then)
                debt = max(debt, -_SPARE * rate)
            seen, then = written, now
            late = {pid for pid, count in written.items() if debt > 0 and count > _LITTLE}
            for pid in held - late:
                _send(pid, signal.SIGCONT)
            for pid in late - held:
                _send(pid, signal.SIGSTOP)
            held = late
            with self._changed:
                if self._over:
                    return
                if self._rate is None:
                    self._changed.wait()
                else:
                    self._changed.wait(min(debt / self._rate, _SPARE) if debt > 0 else _SLICE)


def _written(pid: int) -> int | None:
    try:
        lines = pathlib.Path(f"/proc/{pid}/task/{pid}/io").read_text().splitlines()
    except OSError:
        return None
    return int(lines[1].removeprefix("wchar: "))


def _send(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, what)


def logins(pid: int) -> list[int]:
    """The ssh processes among those that one has started, and these, and so on."""
    found = []
    with contextlib.suppress(OSError):
        process = pathlib.Path(f"/proc/{pid}")
        if (process / "comm").read_text() == "ssh\n":
            found.append(pid)
        for child in (process / f"task/{pid}/children").read_text().split():
            found += logins(int(child))
    return found
