# SPDX-License-Identifier: Apache-2.0
"""Brings one image's file from a host to another, in a process of its own.

The order comes as JSON on standard input, passwords and all (P6); the progress goes as JSON lines
to standard output. When standard input ends, or names the target, nobody wants the file any more.

The bytes go under a partial name that is locked while somebody writes to it. Its size and hash are
found out on its own host, and compared, before it gets its name there; nothing that has the name
already is touched. A partial file that broke off stays where rsync can go on with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

# The program is run by its path, in isolated mode: what belongs to it is found beside it.
sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from glancesync.transports import programs, scripts
from glancesync.transports.hosts import End, Host, Job, Program, Trouble
from glancesync.transports.throttle import Throttle, logins

_TOLD_EVERY = 0.5  # seconds
_BURST = 2**23  # bytes that may pass before a throttle sees it
_FULL = 2**20  # bytes
_ANY_HASH = "sha256"  # to compare two files by, where Glance tells none
_ENOUGH = 15.0  # seconds for a login, or for the answer to a question that needs no work


def say(**line: Any) -> None:
    """One line of progress."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Delivery:
    """One order, from the login to the last word."""

    def __init__(self, order: dict[str, Any], folder: pathlib.Path) -> None:
        self.name: str = order["name"]
        self.way: str = order["way"]
        self.size: int = order["size"]
        self.algorithm: str = order["hash_algo"]
        self.expected: str = order["hash_value"]
        self.stall: float = order["stall"]
        self.patience = min(_ENOUGH, self.stall)
        self.ends_at = time.monotonic() + order["timeout"]
        source, target = End("source", **order["source"]), End("target", **order["target"])
        self.source = Host(source, folder, self.patience)
        self.target = Host(target, folder, self.patience)
        self.same = source.machine == target.machine
        self.straight: bool = order["straight"]  # not by way of this host
        self.path, self.final = source.path, target.path
        parent, _, last = self.final.rpartition("/")
        self.partial = f"{parent}/.{last}.partial"
        self.mark = f"{parent}/.{last}.glance-sync"
        self.at = 0
        self._moved_at = time.monotonic()
        self._told: tuple[float, int] = (0.0, -1)
        self._program: Program | None = None
        self._pacing = threading.Lock()
        self._rate: int | None = None
        self._throttle = Throttle(self._movers)
        self._copies: Host | None = None  # the host whose shell copies, if any does
        self.limit(order["rates"].get(self.name))

    def limit(self, rate: int | None) -> None:
        """So many bytes per second may pass from now on."""
        with self._pacing:
            self._rate = rate
            self._throttle.set(rate)
            if self._copies is not None:
                self._copies.start(scripts.PACE, _text(rate), stays=True)

    def _movers(self) -> list[int]:
        """The processes here that bytes may pass through.

        Where a host allows one session only, scp or rsync have a login of their own.
        """
        pids = [host.pid for host in (self.source, self.target) if host.pid is not None]
        return pids + (logins(self._program.pid) if self._program is not None else [])

    def _pace(self, host: Host) -> None:
        """Have a host pace what its shell copies.

        :raises Trouble: it can't, and there is a limit
        """
        with self._pacing:
            self._copies = host
            answer = host.ask(scripts.PACE, _text(self._rate), stays=True)
        if answer != ["paced"] and self._rate is not None:
            words = "can't limit the bandwidth: it has no room for a temporary file"
            raise Trouble(host.end.side, f"{host.name} {words}")

    # -- what is said of it -----------------------------------------------------------------------

    def reach(self, position: int) -> None:
        """So many bytes have arrived."""
        now = time.monotonic()
        if position != self.at:
            self.at, self._moved_at = position, now
        if now - self._told[0] >= _TOLD_EVERY and position != self._told[1]:
            self._told = (now, position)
            say(progress={self.name: position})

    @property
    def _longest(self) -> float:
        """Seconds without a byte that are no stall: what has passed at once is waited for."""
        return self.stall + (_BURST / self._rate if self._rate else 0)

    def check_time(self) -> None:
        """:raises Trouble: it takes too long, or there was no progress for too long"""
        now = time.monotonic()
        if now > self.ends_at:
            raise Trouble("target", f"not copied within scp_copy_timeout, at byte {self.at}")
        if now - self._moved_at > self._longest:
            raise Trouble("target", f"the copying stalled at byte {self.at} and was given up")

    # -- the order --------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Carry it out; what to say in the end."""
        self.source.connect()
        self.target.connect()
        holes, state = self._look()
        held = self._hold()
        if held is None:
            return {"made": False}
        there, partial = held
        try:
            hashed = self._copy(there, holes, partial)
            say(landing=self._compare(hashed, state))
            done = self._commit()
        except Trouble as trouble:
            if trouble.stale:
                self.target.tell("keep=")
            raise
        say(progress={self.name: self.size})
        return {"made": True, "state": done}

    def remove(self, state: str) -> dict[str, Any]:
        """Take back what was put there, if it is still that."""
        self.target.connect()
        answer = self.target.ask(scripts.REMOVE, self.final, state, self.mark)
        return {"removed": answer == ["removed"]}

    def settle(self) -> None:
        """Glance has the file: from now on it is Glance's."""
        self.target.ask(scripts.SETTLE, self.final, self.mark)

    def tidy(self) -> dict[str, Any]:
        """Remove what earlier orders have left.

        :raises Trouble: somebody works on it
        """
        self.target.connect()
        answer = self.target.ask(scripts.TIDY, self.final, self.partial, self.mark)
        if answer != ["tidied"]:
            raise Trouble("target", f"{self.target.name}: {_TARGET['busy']}: {self.partial!r}")
        return {}

    def _look(self) -> tuple[bool, str]:
        """Whether the source has holes, and its state."""
        what, *more = self.source.ask(scripts.LOOK, self.path)
        if what != "file":
            raise Trouble("source", f"{self.source.name}: its file {_SOURCE[what]}: {self.path!r}")
        if int(more[0]) != self.size:
            words = f"its file has {more[0]} bytes, and the image {self.size}: {self.path!r}"
            raise Trouble("source", f"{self.source.name}: {words}")
        return int(more[1]) < self.size * 0.9, more[2]

    def _hold(self) -> tuple[int, str] | None:
        """How much the partial file, now locked, holds, and which file it is; None: all is there.

        :raises Trouble: nothing can be put there, or something else is
        """
        keep = "keep" if self.way == "rsync" else ""
        what, *more = self.target.ask(scripts.HOLD, self.final, self.partial, keep, stays=True)
        name = self.target.name
        if what == "there":
            self._adopt(int(more[0]))
            return None
        if what != "held":
            words = " ".join([_TARGET[what], *more])
            raise Trouble("target", f"{name}: {words}: {self.partial!r}")
        there, room = int(more[0]), int(more[1])
        if room < self.size - there:
            words = f"no room for {self.size} bytes in its store: {room} are free"
            raise Trouble("target", f"{name}: {words}")
        return there, more[2]

    def _adopt(self, size: int) -> None:
        """A file has the name already: an earlier run of ours may have been broken off there.

        :raises Trouble: it is not the image
        """
        if size == self.size:
            expected = self.expected or self._hash(self.source, self.path)
            if self._hash(self.target, self.final) == expected:
                return
        words = "another file has the name already, and is left alone"
        raise Trouble("target", f"{self.target.name}: {words}: {self.final!r}")

    # -- the bytes --------------------------------------------------------------------------------

    def _copy(self, there: int, holes: bool, partial: str) -> str:
        """Bring the bytes into the partial file; their hash if it was made meanwhile, or ""."""
        rsync = self.way == "rsync"
        follower: Job | None = None
        if not (rsync and there) and not self.same:
            names = scripts.HASHES.get(self.algorithm, ("", ""))
            arguments = (self.partial, str(self.size), str(int(self._longest)), *names)
            follower = self.target.start(scripts.FOLLOW, *arguments)
        self._moved_at = time.monotonic()
        if self.same:
            self._pace(self.target)
            self._watch(self.target.start(scripts.CLONE, self.path, self.partial), None)
        elif self.source.here or self.target.here:
            self._run(self._command(there, holes), follower)
        elif self._reaches(partial):
            self._pace(self.source)
            if rsync:
                self._rsync_there(there, holes, follower)
            else:
                self._send(follower)
        elif rsync or self.straight:
            raise Trouble(
                "source", f"{self.source.name} does not let itself into {self.target.name}"
            )
        else:
            self._run(self._command(there, holes), follower)
        if holes and not rsync and not self.same:
            self.target.ask(scripts.DIG, self.partial)
        return self._hash_of(follower) if follower is not None and self.algorithm else ""

    def _command(self, there: int, holes: bool) -> list[str]:
        """What copies, if it is run here."""
        if self.way != "rsync":
            return programs.scp(self.source, self.target, self.path, self.partial)
        for host in (self.source, self.target):
            if host.ask(scripts.HAS_RSYNC)[0] != "rsync":
                raise Trouble(host.end.side, f"{host.name} has no rsync")
        options = programs.rsync_options(there, holes, self._longest)
        return programs.rsync(self.source, self.target, self.path, self.partial, options)

    def _run(self, command: list[str], follower: Job | None) -> None:
        """Have a program copy."""
        program = self._program = Program(command)
        while not program.over(0.1):
            if follower is None:
                self._moved_at = time.monotonic()  # rsync, which has a limit of its own
                if position := programs.progress(program.said):
                    self.reach(position)
            else:
                self._follow(follower)
            self.check_time()
        self._throttle.stop()  # what is asked from now on does not wait
        if not program.done:
            self._failed(programs.reason(program.said))

    def _watch(self, job: Job, follower: Job | None) -> None:
        """Have a script copy."""
        said = b""
        while True:
            with contextlib.suppress(TimeoutError):
                answer = job.answer(0.2)
                if answer == ["copied", "0"]:
                    return
                if answer is None or answer[0] == "copied":
                    self._failed(programs.reason(said))
                    return
                if answer[0] == "norsync":
                    raise Trouble("source", f"{self.source.name} has no rsync")
                said = (said + " ".join(answer).encode() + b"\n")[-8192:]
                self.reach(programs.progress(said) or self.at)
            if follower is not None:
                self._follow(follower)
            else:
                self._moved_at = time.monotonic()  # cp, or rsync, which has a limit of its own
            self.check_time()

    def _follow(self, follower: Job) -> None:
        """See how much has arrived."""
        for answer in follower.answers():
            if answer[0] == "at":
                self.reach(int(answer[1]))
            elif answer[0] == "nohash":
                raise Trouble("target", self._no_hash(self.target))
            else:
                self._hashed = answer

    def _failed(self, words: str) -> None:
        """:raises Trouble: always, with what is known of the reason"""
        noisy = [host for host in (self.source, self.target) if host.noise]
        if noisy:
            words += (
                f" (the shell of {noisy[0].name} prints something when nobody asked, "
                f"which disturbs copying: {noisy[0].noise})"
            )
        what, *more = self.source.ask(scripts.LOOK, self.path)
        if what != "file" or int(more[0]) != self.size:
            raise Trouble("source", f"{self.source.name}: its file changed while it was read")
        words = f"{self.target.name}: {self.way} failed at byte {self.at}: {words}"
        full = self._room() < _FULL
        if full:
            words += " (No space left in its store)"
        raise Trouble("target", words, stale=full)

    def _room(self) -> int:
        return int(self.target.ask(scripts.ROOM, self.partial)[1])

    # -- from one remote host to another ----------------------------------------------------------

    def _there(self) -> tuple[str, str, str]:
        end = self.target.end
        return str(end.port), end.user, end.host

    def _reaches(self, inode: str) -> bool:
        """Whether the source's host can log in to the target's by itself, and that is the same."""
        job = self.source.start(scripts.REACH, *self._there(), shlex.quote(self.partial))
        try:
            return job.answer(self.patience) == ["inode", inode]
        except TimeoutError:
            return False

    def _send(self, follower: Job | None) -> None:
        arguments = (*self._there(), self.path, shlex.quote(self.partial))
        self._watch(self.source.start(scripts.SEND, *arguments), follower)

    def _rsync_there(self, there: int, holes: bool, follower: Job | None) -> None:
        port, user, host = self._there()
        host = f"[{host}]" if ":" in host else host
        options = programs.rsync_options(there, holes, self._longest)
        arguments = (port, user, host, self.path, self.partial, *options)
        self._watch(self.source.start(scripts.RSYNC, *arguments), follower)

    # -- that they are right ----------------------------------------------------------------------

    _hashed: list[str] | None = None

    def _hash_of(self, follower: Job) -> str:
        """What a follower has found, once it is at the end."""
        while self._hashed is None:
            try:
                answer = follower.answer(1)
            except TimeoutError:
                self.check_time()
                continue
            if answer is None or answer[0] == "nohash":
                return ""
            if answer[0] == "at":
                self.reach(int(answer[1]))
            else:
                self._hashed = answer
        return "".join(self._hashed[1:])

    def _hash(self, host: Host, path: str) -> str:
        """The hash of a whole file, made on its host.

        :raises Trouble: it can't be made
        """
        names = scripts.HASHES.get(self.algorithm or _ANY_HASH)
        job = host.start(scripts.HASH, path, *names) if names else None
        if job is None:
            raise Trouble(host.end.side, self._no_hash(host))
        read, self._moved_at = -1, time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                answer = job.answer(1) or ["silent"]
                if answer[0] == "hash":
                    return "".join(answer[1:])
                if answer[0] == "nohash":
                    raise Trouble(host.end.side, self._no_hash(host))
                if answer[0] != "at":
                    words = f"reading it again broke off: {host.words}"
                    raise Trouble(host.end.side, f"{host.name}: {words}")
                if int(answer[1]) > read:
                    read, self._moved_at = int(answer[1]), time.monotonic()
            self.check_time()

    def _no_hash(self, host: Host) -> str:
        return f"{host.name} has no program that makes {self.algorithm}"

    def _compare(self, hashed: str, state: str) -> str:
        """The state of the file.

        :raises Trouble: what has arrived is not the image
        """
        what, *more = self.target.ask(scripts.LOOK, self.partial)
        size = more[0] if what == "file" else "no"
        if size != str(self.size):
            self._changed(state)
            words = f"{size} of {self.size} bytes have arrived"
            raise Trouble("target", f"{self.target.name}: {words}")
        if not self.algorithm or hashed == self.expected:
            return more[2]
        if self._hash(self.target, self.partial) == self.expected:
            return more[2]
        self._changed(state)
        if self._hash(self.source, self.path) != self.expected:
            words = f"the {self.algorithm} of its file on {self.source.name} is not the image's"
            raise Trouble("corrupt", words, stale=True)
        words = f"the {self.algorithm} of what has arrived is not the image's"
        raise Trouble("target", f"{self.target.name}: {words}", stale=True)

    def _changed(self, state: str) -> None:
        """:raises Trouble: the source is not what it was"""
        what, *more = self.source.ask(scripts.LOOK, self.path)
        if what != "file" or int(more[0]) != self.size or more[2] != state:
            words = "its file changed while it was read"
            raise Trouble("source", f"{self.source.name}: {words}", stale=True)

    def _commit(self) -> str:
        """Give the file its name; its state."""
        job = self.target.start(scripts.COMMIT, self.partial, self.final, str(self.size), self.mark)
        try:
            answer = job.answer(max(self.stall, self.patience)) or ["silent"]
        except TimeoutError:
            raise Trouble("target", f"{self.target.name}: the disk does not write") from None
        if answer[0] != "done":
            words = " ".join([_COMMIT.get(answer[0], self.target.words), *answer[1:]])
            raise Trouble("target", f"{self.target.name}: {words}: {self.final!r}")
        return answer[1]

    def close(self) -> None:
        """End all that runs for it; what holds the partial file cleans up."""
        self._throttle.stop()
        if self._program is not None:
            self._program.close()
        self.source.close()
        self.target.close()


_SOURCE = {
    "symlink": "is a symbolic link",
    "missing": "is not there",
    "irregular": "is no plain file",
    "unreadable": "can't be read by the user who logs in",
}
_TARGET = {
    "nodirectory": "its directory is not there",
    "symlink": "a symbolic link has its name, and is left alone",
    "irregular": "something that is no plain file has its name, and is left alone",
    "nowrite": "can't be written to:",
    "noflock": "has no flock",
    "nolink": "its file system knows no hard links:",
    "busy": "somebody else is copying this image",
}
_COMMIT = {
    "changed": "the file changed after it was compared",
    "nosync": "the disk does not write:",
    "exists": "another file got the name meanwhile, and is left alone:",
}


def _text(rate: int | None) -> str:
    return "" if rate is None else str(rate)


def _told() -> Iterator[Any]:
    """What standard input brings; not through sys.stdin, which could not be closed meanwhile."""
    rest = b""
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        yield from map(json.loads, lines)


def _obey(
    told: Iterator[Any],
    delivery: Delivery,
    folder: pathlib.Path,
    ended: threading.Event,
    settled: threading.Event,
) -> None:
    for line in told:
        if line == delivery.name:
            break
        if "settled" in line:
            settled.set()
            return
        delivery.limit(line["rates"].get(delivery.name))
    if not ended.is_set():
        delivery.close()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(3)


def _carry_out(delivery: Delivery, order: dict[str, Any]) -> dict[str, Any]:
    """What to say in the end."""
    try:
        if order["tidy"]:
            return delivery.tidy()
        return delivery.remove(order["remove"]) if order["remove"] else delivery.run()
    except Trouble as trouble:
        return {"side": trouble.side, "message": str(trouble)}
    except Exception as error:
        return {"side": "target", "message": f"{type(error).__name__}: {error}"}


def main() -> int:
    """Read the order, carry it out, say how it went; 0 when that was said.

    If there is a file then, wait until it is settled, or standard input ends.
    """
    told = _told()
    order = next(told)
    ended, settled = threading.Event(), threading.Event()
    folder = pathlib.Path(order["folder"])
    delivery = Delivery(order, folder)
    obey = (told, delivery, folder, ended, settled)
    threading.Thread(target=_obey, args=obey, daemon=True).start()
    line = _carry_out(delivery, order)
    if "made" in line:
        say(target=delivery.name, ok=True, **line)
        settled.wait()
        with contextlib.suppress(Trouble):
            delivery.settle()
    ended.set()
    delivery.close()
    if "made" not in line:
        say(target=delivery.name, ok="side" not in line, **line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
