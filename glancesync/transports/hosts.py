# SPDX-License-Identifier: Apache-2.0
"""Hosts as the courier sees them: this one, and those it logs in to by ssh.

One login to a host serves all that is done there: ``ssh`` with a control socket, which pexpect
gives the password if one is asked for. Its configuration is a file of our own in a directory of our
own, where hosts go by the names of the two ends; nothing of the user's or the system's applies.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import queue
import re
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

import pexpect

from glancesync.transports import scripts

_MAX_WORDS = 300
_LAST_WORDS = 5.0  # seconds that a shell has for cleaning up
_AES = "^aes128-gcm@openssh.com"  # several times as fast as the default where processors have AES


class Trouble(Exception):  # noqa: N818
    """What was asked can't be done.

    ``side`` is source, target or corrupt; ``stale``: what has arrived is of no use either.
    """

    def __init__(self, side: str, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.side = side
        self.stale = stale


@dataclasses.dataclass(frozen=True)
class End:
    """One end of an order; ``host`` "" is this host."""

    side: str
    path: str
    host: str = ""
    port: int = 22
    user: str = ""
    password: str = dataclasses.field(default="", repr=False)
    key_file: str = ""
    known_hosts: str = ""
    host_key: str = ""

    @property
    def machine(self) -> tuple[str, int, str]:
        return (self.host, self.port, self.user)


def environment() -> dict[str, str]:
    """What ssh and its like see: nothing that would have them ask somebody else for a password."""
    hidden = {"SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "DISPLAY", "RSYNC_RSH", "POSIXLY_CORRECT"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "LC_ALL": "C"}


class Job:
    """A script that runs on a host; its answers as lists of words."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.heard: queue.Queue[list[str] | None] = queue.Queue()

    def answer(self, patience: float) -> list[str] | None:
        """The next answer; None if there are no more.

        :raises TimeoutError: it says nothing for so many seconds
        """
        try:
            return self.heard.get(timeout=patience)
        except queue.Empty:
            raise TimeoutError from None

    def answers(self) -> Iterator[list[str]]:
        """Those that have come by now."""
        with contextlib.suppress(queue.Empty):
            while (answer := self.heard.get_nowait()) is not None:
                yield answer


class Shell:
    """A sh that is given scripts, and runs until its input ends."""

    def __init__(self, to: IO[bytes], by: IO[bytes]) -> None:
        self._to, self._by = to, by
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self.noise = b""  # what comes that is no answer
        self.dead = False
        self._write(scripts.PRELUDE)
        threading.Thread(target=self._read, daemon=True).start()

    def run(self, script: str, arguments: tuple[str, ...], *, stays: bool = False) -> Job:
        """Have it run a script; one that ``stays`` changes the shell itself."""
        job = Job(f"gs-{secrets.token_hex(8)}")
        with self._lock:
            self._jobs[job.mark] = job
            if self.dead:
                job.heard.put(None)
        self._write(scripts.text(script, job.mark, arguments, stays=stays))
        return job

    def tell(self, line: str) -> None:
        """Have it do something simple."""
        self._write(line + "\n")

    def end(self) -> None:
        """End its input: it cleans up and ends."""
        with contextlib.suppress(OSError):
            self._to.close()

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._to.write(text.encode())
            self._to.flush()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._by:
            for line in self._by:
                mark, _, rest = line.decode(errors="replace").partition(" ")
                job = self._jobs.get(mark)
                if job is not None:
                    if words := rest.split():
                        job.heard.put(None if words == ["."] else words)
                elif len(self.noise) < 4096:
                    self.noise += line
        with self._lock:
            self.dead = True
            for job in self._jobs.values():
                job.heard.put(None)


class Host:
    """Where one end is. ``name`` is what people call it."""

    def __init__(self, end: End, folder: pathlib.Path, patience: float) -> None:
        self.end = end
        self.here = not end.host
        self.name = end.host or "this host"
        self._folder = folder
        self._patience = patience
        self._login: pexpect.spawn[bytes] | None = None
        self._local: subprocess.Popen[bytes] | None = None
        self._shell: Shell | None = None
        self._entered = False

    @property
    def config(self) -> list[str]:
        """The options of ssh, scp and the like to find it by the name of its side."""
        return ["-F", str(self._folder / "config")]

    @property
    def pid(self) -> int | None:
        """The ssh of the login."""
        return self._login.pid if self._login is not None else None

    @property
    def noise(self) -> str:
        """What its shell says though nobody asked."""
        noise = self._shell.noise if self._shell is not None else b""
        return last_words(noise) if noise.strip() else ""

    def start(self, script: str, *arguments: str, stays: bool = False) -> Job:
        """Have a script run there."""
        assert self._shell is not None  # noqa: S101 - it is connected first
        return self._shell.run(script, arguments, stays=stays)

    def ask(self, script: str, *arguments: str, stays: bool = False) -> list[str]:
        """The one answer of a script that gives one.

        :raises Trouble: there is none
        """
        try:
            answer = self.start(script, *arguments, stays=stays).answer(self._patience)
        except TimeoutError:
            raise Trouble(self.end.side, f"{self.name} does not answer") from None
        if answer is None:
            raise Trouble(self.end.side, f"{self.name} gave no answer: {self.words}")
        return answer

    def tell(self, line: str) -> None:
        """Have its shell do something simple."""
        assert self._shell is not None  # noqa: S101
        self._shell.tell(line)

    @property
    def words(self) -> str:
        """The last that was said of the login."""
        said = b""
        if self._login is not None:
            with contextlib.suppress(pexpect.TIMEOUT):
                self._login.expect(pexpect.EOF, timeout=0.5)
            said = self._login.before if isinstance(self._login.before, bytes) else b""
        return last_words(said)

    # -- the login --------------------------------------------------------------------------------

    def connect(self) -> None:
        """Log in, once for all that follows.

        :raises Trouble: it can't be
        """
        if self.here:
            self._local = subprocess.Popen(
                ["/bin/sh"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
                start_new_session=True,
            )
            assert self._local.stdin is not None  # noqa: S101 - both are pipes
            assert self._local.stdout is not None  # noqa: S101
            self._shell = Shell(self._local.stdin, self._local.stdout)
            return
        self._configure()
        fifos = [self._folder / f"{self.end.side}-{name}" for name in ("in", "out")]
        for fifo in fifos:
            os.mkfifo(fifo, 0o600)
        kept = [os.open(fifo, os.O_RDWR) for fifo in fifos]
        self._login = pexpect.spawn(
            "/bin/sh",
            [
                *("-c", 'exec "$@" <"$0-in" >"$0-out"', str(self._folder / self.end.side)),
                *("ssh", *self.config, "-o", "ControlMaster=yes", "-o", "BatchMode=no"),
                *("-T", self.end.side, "exec /bin/sh"),
            ],
            timeout=None,
            env=environment(),
            dimensions=(24, 1000),
            preexec_fn=_hears_hangups,
        )
        self._login.delayafterclose = 0.02
        shell = Shell(os.fdopen(kept[0], "wb"), os.fdopen(os.open(fifos[1], os.O_RDONLY), "rb"))
        self._shell = shell
        try:
            self._enter(self._login, shell.run(scripts.READY, ()))
        finally:
            os.close(kept[1])  # from here on its output ends with it

    def _enter(self, login: pexpect.spawn[bytes], ready: Job) -> None:
        """Give the password if it is asked for, until the shell answers.

        :raises Trouble: it does not
        """
        expected: list[Any] = [
            self._prompt(),
            rb"passphrase for [^\r\n]*: $",
            pexpect.EOF,
            pexpect.TIMEOUT,
        ]
        deadline = time.monotonic() + self._patience + 1  # ssh's own words are better
        asked = False
        while True:
            found = login.expect(expected, timeout=0.05)
            if found == 0 and self.end.password and not asked:
                login.waitnoecho(self._patience)
                login.sendline(self.end.password)
                asked = True
            elif found == 0:
                raise Trouble(self.end.side, self._why(b"Permission denied"))
            elif found == 1:
                raise Trouble(self.end.side, f"key_file {self.end.key_file} wants a passphrase")
            elif found == 2:
                said = (
                    (login.before or b"") + b"\n" + self._heard(not (login.before or b"").strip())
                )
                raise Trouble(self.end.side, self._why(said))
            if any(ready.answers()):
                self._entered = True
                return
            if time.monotonic() > deadline:
                words = "took the connection and did not go on"
                raise Trouble(self.end.side, f"{self.name} {words}")

    def _heard(self, eager: bool) -> bytes:
        """What came in place of answers; if ``eager``, what is just being read is waited for."""
        until = time.monotonic() + (1.0 if eager else 0.0)
        while self._shell is not None and not self._shell.noise and time.monotonic() < until:
            time.sleep(0.01)
        return self._shell.noise if self._shell is not None else b""

    def _prompt(self) -> bytes:
        """What ssh asks for the password with, by either method, and nothing else."""
        user, host = re.escape(self.end.user[:30]), re.escape(self.end.host)
        who = rf"{user or '[^@ ]+'}@{host}"
        return rf"(?:^|[\r\n])(?:\({who}\) [Pp]assword: ?|{who}'s password: )$".encode()

    def _configure(self) -> None:
        end, folder = self.end, self._folder
        if not re.fullmatch(r"[A-Za-z0-9:][A-Za-z0-9.:_-]*", end.host):
            raise Trouble(end.side, f"{end.host!r} can't be the name of a host")
        if not re.fullmatch(r"([^\s\"%$'-][^\s\"%$']*)?", end.user):
            raise Trouble(end.side, f"{end.user!r} can't be the name of a user")
        own = folder / f"known-{end.side}"
        lines = [
            f"Host {end.side}",
            f"  HostName {end.host}",
            f"  Port {end.port}",
            f"  UserKnownHostsFile {own}",
            f"  ControlPath {folder / end.side}",
        ]
        if end.user:
            lines.append(f'  User "{end.user}"')
        if end.host_key:
            named = end.host if end.port == 22 else f"[{end.host}]:{end.port}"
            keys = [line.strip() for line in end.host_key.splitlines()]
            own.write_text("".join(f"{named} {line}\n" for line in keys if line))
        elif end.known_hosts:
            own.symlink_to(pathlib.Path(end.known_hosts).absolute())
        else:
            own.symlink_to(pathlib.Path.home() / ".ssh" / "known_hosts")
        if end.host_key or end.known_hosts:
            lines.append("  GlobalKnownHostsFile /dev/null")
        if not end.host_key and end.known_hosts and not os.access(own, os.R_OK):
            raise Trouble(end.side, f"known_hosts {end.known_hosts} can't be read")
        methods = [] if end.password and not end.key_file else ["publickey"]
        if end.key_file:
            if not os.access(end.key_file, os.R_OK):
                raise Trouble(end.side, f"key_file {end.key_file} can't be read")
            key = folder / f"key-{end.side}"
            key.symlink_to(pathlib.Path(end.key_file).absolute())
            lines += [f"  IdentityFile {key}", "  IdentitiesOnly yes", "  IdentityAgent none"]
        if end.password:
            methods += ["password", "keyboard-interactive"]
        lines.append(f"  PreferredAuthentications {','.join(methods)}")
        alive = max(1, int(self._patience / 3))
        lines += [
            "  StrictHostKeyChecking yes",
            "  UpdateHostKeys no",
            "  CheckHostIP no",
            "  BatchMode yes",
            "  NumberOfPasswordPrompts 1",
            "  GSSAPIAuthentication no",
            "  HostbasedAuthentication no",
            "  ClearAllForwardings yes",
            "  ForwardAgent no",
            "  ForwardX11 no",
            "  PermitLocalCommand no",
            "  ControlMaster no",
            "  ConnectionAttempts 1",
            f"  ConnectTimeout {max(1, int(self._patience))}",
            f"  ServerAliveInterval {alive}",
            "  ServerAliveCountMax 3",
            f"  Ciphers {_AES}",
            "  Compression no",
            "  LogLevel ERROR",
            "",
        ]
        with (folder / "config").open("a") as config:
            config.write("\n".join(lines))

    def _why(self, said: bytes) -> str:
        """Why there is no login, in words, by what ssh says of it."""
        text, end = said.decode(errors="replace"), self.end
        last = last_words(said)
        if "HOST IDENTIFICATION HAS CHANGED" in text:
            return (
                f"the host key of {self.name} is not the one that is known: either it was changed, "
                "or another machine answers in its place; nothing was sent"
            )
        if "Host key verification failed" in text:
            return (
                f"the host key of {self.name} is not known: write it down as host_key, "
                "or name a known_hosts file that has it"
            )
        if "bad permissions" in text or "UNPROTECTED" in text:
            return f"key_file {end.key_file} may be read by others, so ssh does not use it"
        if "Permission denied" in text:
            tried = " nor ".join(
                name
                for name, given in (("its key", end.key_file), ("its password", end.password))
                if given
            )
            user = end.user or "the user glance-sync runs as"
            return f"{self.name} does not let {user} log in with {tried or 'any key there is'}"
        if re.search(
            r"timed out|refused|No route|unreachable|[Cc]ould not resolve|closed by|reset by|"
            r"banner exchange|Connection closed|lost connection",
            text,
        ):
            return f"{self.name} can't be reached at port {end.port}: {last}"
        return f"no login on {self.name}: {last}"

    def close(self) -> None:
        """End its shell, which cleans up, and the login."""
        if self._shell is None:
            return
        self._shell.end()
        deadline = time.monotonic() + _LAST_WORDS
        if self._local is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._local.wait(_LAST_WORDS)
            self._local.kill()
            self._local.wait()
        while self._entered and not self._shell.dead and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._login is not None:
            with contextlib.suppress(pexpect.ExceptionPexpect):
                self._login.close(force=True)


class Program:
    """A program that copies, driven by pexpect; what it says is read as it comes."""

    def __init__(self, command: list[str]) -> None:
        self._child: pexpect.spawn[bytes] = pexpect.spawn(
            command[0], command[1:], timeout=None, env=environment(), dimensions=(24, 1000)
        )
        self.said = b""

    def over(self, patience: float) -> bool:
        """Whether it has ended, after waiting for ``patience`` seconds at most."""
        deadline = time.monotonic() + patience
        while True:
            left = max(0.0, deadline - time.monotonic())
            found = self._child.expect([rb".+", pexpect.EOF, pexpect.TIMEOUT], timeout=left)
            if found == 0:
                match: Any = self._child.match
                self.said = (self.said + match[0])[-8192:]
            if found == 1:
                return True
            if found == 2 or time.monotonic() >= deadline:
                return False

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._child.pid is not None  # noqa: S101 - it runs
        return self._child.pid

    @property
    def done(self) -> bool:
        """Whether it ended well."""
        return self._child.wait() == 0

    def close(self) -> None:
        """End it, whatever it does."""
        with contextlib.suppress(pexpect.ExceptionPexpect):  # it hangs in the kernel
            self._child.close(force=True)


def _hears_hangups() -> None:
    """A login ends with us, also where ``nohup`` has started us, which is inherited."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def last_words(said: bytes) -> str:
    """The last line that says something, without what would disturb a terminal or a log."""
    text = "".join(
        character if character.isprintable() else "\n"
        for character in said.decode(errors="replace")
    )
    lines = [line.strip() for line in text.split("\n") if line.strip(" @")]
    return lines[-1][-_MAX_WORDS:] if lines else "it said nothing"
