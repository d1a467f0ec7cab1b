# SPDX-License-Identifier: Apache-2.0
"""TCP ports of 127.0.0.1: which are taken, and by whom."""

import fcntl
import os
import random
import socket
import tempfile
import time
from pathlib import Path

from devcloud.errors import DevcloudError

HOST = "127.0.0.1"
_LISTEN = "0A"  # state in /proc/net/tcp


def is_taken(port: int) -> bool:
    """Whether a server could not bind *port* now."""
    with socket.socket() as probe:
        # As servers do: connections of a server that just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return True
    return False


def is_kept(port: int, patience: float = 5.0) -> bool:
    """Whether *port* is taken, and stays so.

    The threads of a killed process end one after the other: its port can outlive the process that
    one sees. So a port that nobody seems to hold is given *patience* seconds.
    """
    deadline = time.monotonic() + patience
    while is_taken(port):
        if listeners(port) or time.monotonic() > deadline:
            return True
        time.sleep(0.05)
    return False


def find_base(width: int, start: int = 19590, end: int = 32000, step: int = 50) -> int:
    """A base between *start* and *end* whose *width* following ports are all free.

    No other program that asks gets the same while this one runs, whether or not there are services
    on these ports yet.
    """
    bases = list(range(start, end - width, step))
    random.shuffle(bases)
    for base in bases:
        if _keep(base) and not any(is_taken(base + offset) for offset in range(width)):
            return base
    raise DevcloudError(f"no {width} free ports in a row between {start} and {end}")


def _keep(base: int) -> bool:
    """Whether the ports from *base* on are this process's from now on."""
    directory = Path(tempfile.gettempdir()) / f"devcloud-ports-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(directory / str(base), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True  # it stays open, and locked, until this process ends


def listeners(port: int) -> set[int]:
    """The pids of those who listen on *port*, as far as we may see them."""
    links = {
        f"socket:[{fields[9]}]"
        for table in ("tcp", "tcp6")
        for fields in _rows(Path("/proc/net") / table)
        if fields[3] == _LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port
    }
    found = set()
    for process in Path("/proc").glob("[0-9]*") if links else ():
        try:
            if any(os.readlink(fd) in links for fd in (process / "fd").iterdir()):
                found.add(int(process.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def owner(port: int) -> str:
    """Who listens on *port*, for a message: ``pid 12 (uwsgi ...)``, or that it is unknown."""
    for pid in sorted(listeners(port)):
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        return f"pid {pid} ({argv.decode(errors='replace').strip()[:80]})"
    return "a process that is not ours to see"


def _rows(table: Path) -> list[list[str]]:
    try:
        return [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
