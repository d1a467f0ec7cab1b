# SPDX-License-Identifier: Apache-2.0
"""Services as processes that outlive the program that started them.

Each service leads a session of its own, so that its workers can be found and ended with it. A
pidfile names the process by pid *and* start time *and* boot: a pid that the kernel has meanwhile
given to somebody else is never taken for ours, let alone signalled. Linux only (``/proc``).
"""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

POLL = 0.05  # seconds between two looks at a condition


class Stat(NamedTuple):
    """What the kernel says of one process."""

    state: str
    session: int
    started: int  # clock ticks since boot


@dataclass(frozen=True)
class Mark:
    """What a pidfile holds."""

    pid: int
    started: int  # clock ticks since boot
    boot: str  # id of the boot in which it was started
    fingerprint: str  # of all the configuration it was started with


class Process:
    """One service, running or not."""

    def __init__(self, name: str, pidfile: Path, log: Path) -> None:
        self.name = name
        self.pidfile = pidfile
        self.log = log
        self._log_start = 0  # where in the log the last start by us begins

    def mark(self) -> Mark | None:
        """What was started last and not stopped by us, alive or not."""
        try:
            return Mark(**json.loads(self.pidfile.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def pid(self) -> int | None:
        """The pid of the running service; None if it does not run."""
        mark = self.mark()
        if mark is None or mark.boot != _boot():
            return None
        _reap(mark.pid)
        stat = _stat(mark.pid)
        if stat is None or stat.started != mark.started or stat.state == "Z":
            return None
        return mark.pid

    def died(self) -> bool:
        """Whether it was started and ended without being asked to."""
        return self.mark() is not None and self.pid() is None

    def start(self, argv: Sequence[str], env: Mapping[str, str], fingerprint: str) -> int:
        """Start it and return its pid; it must not be running."""
        self.finish_off()  # workers of a dead leader still hold the port
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            argv[0],
            list(argv),
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        stat = _stat(pid)
        mark = Mark(pid, stat.started if stat else 0, _boot(), fingerprint)
        self.pidfile.parent.mkdir(parents=True, exist_ok=True)
        partial = self.pidfile.with_suffix(".new")
        partial.write_text(json.dumps(asdict(mark)))
        partial.replace(self.pidfile)
        return pid

    def stop(self, timeout: float = 20.0) -> None:
        """Ask it to end, wait until it has, and insist after *timeout* seconds."""
        pid = self.pid()
        if pid is not None:
            self.kill(signal.SIGCONT)  # a stopped process acts on no SIGTERM
            _signal(pid, signal.SIGTERM)
            until(lambda: self.pid() is None, timeout)
        self.finish_off()
        self.pidfile.unlink(missing_ok=True)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal it and all of its children; after SIGKILL wait until all are gone.

        The pidfile stays: a killed service is *died*, not *stopped*.
        """
        mark = self.mark()
        for member in self.members():
            _signal(member, number)
        if number == signal.SIGKILL and mark is not None:
            until(lambda: self.pid() is None and not self.members(), 10)

    def members(self) -> list[int]:
        """The live processes of its session, leader included."""
        mark = self.mark()
        if mark is None or mark.boot != _boot():
            return []
        leader = _stat(mark.pid)
        if leader is not None and leader.started != mark.started:
            return []  # the pid is somebody else's now, which needs an empty session of ours
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            stat = _stat(int(entry.name))
            if stat is not None and stat.session == mark.pid and stat.state != "Z":
                found.append(int(entry.name))
        return found

    def finish_off(self) -> None:
        """End for good whatever is left of it."""
        if self.members():
            self.kill(signal.SIGKILL)

    def tail(self, lines: int = 25) -> str:
        """The last lines of its log since it was last started by this object."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(self._log_start, self.log.stat().st_size - 64 * 1024))
                text = file.read().decode(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:]) or "(its log is empty)"


def until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll until *condition* holds; False if it did not within *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before may hold spaces
    return Stat(state=fields[0], session=int(fields[3]), started=int(fields[19]))


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # not our child: some earlier program started it


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
