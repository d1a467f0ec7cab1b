# SPDX-License-Identifier: Apache-2.0
"""Real sshds on loopback, each a host of its own as far as ssh can tell.

They share this machine's file system and accounts: what tells two hosts apart is port and host key.
Whoever runs the tests is who logs in, by a key made for the session. ``account`` is a user with a
password, made and removed by root only. ``Wire`` is a TCP relay, as a
bad link.

What is missing fails where continuous integration runs, and skips elsewhere.
"""

import contextlib
import dataclasses
import getpass
import math
import os
import queue
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glancesync.schemes import Filesystem, Secret
from tests.functional.wait import until

#: Where root's programs are, too, of whatever PATH root was given.
_PATH = os.environ["PATH"] + ":/usr/local/sbin:/usr/sbin:/sbin"
_ENV = {**os.environ, "PATH": _PATH}
SSHD = shutil.which("sshd", path=_PATH)
_SFTP = next(
    (
        one
        for one in ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server")
        if Path(one).exists()
    ),
    "internal-sftp",
)


_ROUTER = 0.05  # seconds of a link's rate that wait before it


def missing(what: str) -> None:
    """What a test needs is not there."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


def key(path: Path) -> str:
    """Make a key pair; the public one."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True
    )
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def free_port(address: str = "127.0.0.1") -> int:
    with socket.create_server((address, 0)) as found:
        return int(found.getsockname()[1])


@dataclasses.dataclass
class Host:
    """A running sshd. ``bin`` comes first in the PATH of those who log in; ``keys`` lets them."""

    directory: Path
    address: str
    port: int
    host_key: str
    key_file: Path
    process: subprocess.Popen[bytes]
    user: str = dataclasses.field(default_factory=getpass.getuser)

    @property
    def bin(self) -> Path:
        return self.directory / "bin"

    @property
    def keys(self) -> Path:
        return self.directory / "authorized_keys"

    @property
    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def scheme(self, datadir: Path | str = "", **more: object) -> Filesystem:
        """How glancesync reaches it."""
        values = {
            "host": self.address,
            "port": self.port,
            "datadir": str(datadir),
            "login_user": self.user,
            "key_file": str(self.key_file),
            "host_key": self.host_key,
            **more,
        }
        return Filesystem(**values)  # type: ignore[arg-type]

    def stop(self) -> None:
        """End it and every login on it."""
        kill_tree(self.process.pid)
        self.process.wait()


def kill_tree(pid: int) -> None:
    """Kill a process and all that descend from it."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, signal.SIGSTOP)
        for task in Path(f"/proc/{pid}/task").iterdir():
            for one in (task / "children").read_text().split():
                kill_tree(int(one))
        os.kill(pid, signal.SIGKILL)


def called_by(pid: int) -> str:
    """The words of a process, with NUL between; "" if it is no more."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


def descendants(pid: int = 0) -> Iterator[tuple[int, str]]:
    """The processes that a process, this one by default, has started, and these, and so on."""
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child, called_by(child)
                yield from descendants(child)


class Hosts:
    """Starts sshds, and stops them all."""

    def __init__(self, directory: Path) -> None:
        if SSHD is None:
            missing("sshd (openssh-server)")
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.key_file = directory / "login"
        self.public = key(self.key_file)
        self.all: list[Host] = []
        if os.geteuid() == 0:  # where it sheds its privileges; Debian makes it at boot
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    def start(
        self,
        *lines: str,
        address: str = "127.0.0.1",
        netns: str = "",
        path: str = "",
        port: int = 0,
    ) -> Host:
        """A new host.

        :param lines: of its configuration
        :param netns: the network namespace it is in
        :param path: the PATH there, after ``bin``
        """
        directory = self.directory / f"host{len(self.all)}"
        (directory / "bin").mkdir(parents=True)
        public = key(directory / "hostkey")
        (directory / "authorized_keys").write_text(self.public + "\n")
        port = port or (2222 if netns else free_port(address))
        path = path or os.environ["PATH"]
        (directory / "config").write_text(
            "\n".join(
                [
                    *lines,
                    f"Port {port}",
                    f"ListenAddress {address}",
                    f"HostKey {directory}/hostkey",
                    f"AuthorizedKeysFile {directory}/authorized_keys",
                    f"PidFile {directory}/pid",
                    f"SetEnv PATH={directory}/bin:{path} HOME={directory}",
                    f"Subsystem sftp {_SFTP}",
                    "StrictModes no",
                    "UsePAM no",
                    "PermitRootLogin yes",
                    "PrintMotd no",
                    "",
                ]
            )
        )
        assert SSHD is not None
        inside = ["ip", "netns", "exec", netns] if netns else []
        process = subprocess.Popen(
            [*inside, SSHD, "-D", "-f", f"{directory}/config", "-E", f"{directory}/log"],
            env=_ENV,
            start_new_session=True,
        )
        host = Host(directory, address, port, public, self.key_file, process)
        self.all.append(host)
        until(lambda: "Server listening" in host.log or process.poll(), 20, "sshd")
        assert process.poll() is None, host.log
        return host

    def close(self) -> None:
        for host in self.all:
            host.stop()


def lets_itself_in(host: Host, other: Host, *lines: str) -> None:
    """Have the users of a host know another one, as their own files would."""
    known = host.directory / "known_hosts"
    known.write_text(f"[{other.address}]:{other.port} {other.host_key}\n")
    config = host.directory / "ssh_config"
    config.write_text(f"UserKnownHostsFile {known}\nIdentityFile {host.key_file}\n")
    ssh = host.bin / "ssh"
    ssh.write_text(
        f'#!/bin/sh\necho used >>{host.directory}/used\nexec /usr/bin/ssh -F {config} "$@"\n'
    )
    ssh.chmod(0o755)


@pytest.fixture(params=["scp", "rsync"])
def way(request: pytest.FixtureRequest) -> str:
    """The name of a transport."""
    return str(request.param)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Makes hosts for one test."""
    made = Hosts(tmp_path / "hosts")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def two_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    """Two hosts without peculiarities, for all tests of a module."""
    made = Hosts(tmp_path_factory.mktemp("hosts"))
    try:
        yield made.start(), made.start()
    finally:
        made.close()


@dataclasses.dataclass(frozen=True)
class Account:
    """A user of this machine, with a password and an empty home."""

    name: str
    password: Secret
    home: Path


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """A user who is there for the tests of a module only."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a user with a password")
    name, password = f"gst{secrets.token_hex(4)}", secrets.token_urlsafe(12)
    home = Path("/tmp") / name
    _run("useradd", "--create-home", "--home-dir", str(home), name)
    try:
        _run("chpasswd", "--crypt-method", "SHA512", told=f"{name}:{password}")
        home.chmod(0o755)
        yield Account(name, Secret(password), home)
    finally:
        _run("userdel", "--force", "--remove", name, check=False)
        shutil.rmtree(home, ignore_errors=True)


class Wire:
    """A port on loopback that leads to another one.

    ``passed`` counts the bytes towards it, and ``back`` those from it. All connections break when
    both together reach ``cut_at``, and freeze at ``freeze_at``: nothing passes, nothing is lost. At
    ``flip_at`` one bit of what goes towards it is wrong.

    :param delay: seconds that a byte is on its way
    :param rate: bytes per second, of each direction of each connection
    """

    def __init__(self, host: str, port: int, delay: float = 0, rate: float = math.inf) -> None:
        self._target = (host, port)
        self._delay, self._rate = delay, rate
        self.passed = self.back = 0
        self.cut_at: int | None = None
        self.freeze_at: int | None = None
        self.flip_at: int | None = None
        self.frozen = threading.Event()
        self._thawed = threading.Event()
        self._pairs: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._all: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def cut(self) -> None:
        """Break all connections."""
        pairs, self._pairs = self._pairs, []
        for one in pairs:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def thaw(self) -> None:
        self.freeze_at = None
        self.frozen.clear()
        self._thawed.set()

    def close(self) -> None:
        self.cut_at = 0
        self.thaw()
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for one in (*self._all, self._listener):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                self._all.append(client)
                server = socket.create_connection(self._target)
                self._all.append(server)
            except OSError:
                return
            self._pairs += [client, server]
            self._start(self._flow, client, server, True)
            self._start(self._flow, server, client, False)

    def _flow(self, source: socket.socket, sink: socket.socket, towards: bool) -> None:
        way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        if self._delay or self._rate < math.inf:
            self._start(self._arrive, way, source, sink)
        free = 0.0  # when the link can take more
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if towards:
                    self.passed += len(data)
                else:
                    self.back += len(data)
                total = self.passed + self.back
                if self.freeze_at is not None and total >= self.freeze_at:
                    self.frozen.set()
                if self.frozen.is_set():
                    self._thawed.wait()
                if self.cut_at is not None and total >= self.cut_at:
                    self.cut()
                    break
                if towards and self.flip_at is not None and self.passed > self.flip_at:
                    data, self.flip_at = data[:-1] + bytes([data[-1] ^ 1]), None
                if not self._delay and self._rate == math.inf:
                    sink.sendall(data)
                    continue
                free = max(free, time.monotonic()) + len(data) / self._rate
                way.put((free + self._delay, data))
                time.sleep(max(0.0, free - time.monotonic() - _ROUTER))
        way.put((time.monotonic() + self._delay, b""))
        if not self._delay and self._rate == math.inf:
            _shut(source, sink)

    def _arrive(
        self,
        way: queue.SimpleQueue[tuple[float, bytes]],
        source: socket.socket,
        sink: socket.socket,
    ) -> None:
        """The far end of a link with a delay."""
        with contextlib.suppress(OSError):
            while True:
                due, data = way.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    break
                sink.sendall(data)
        _shut(source, sink)


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wires() -> Iterator[list[Wire]]:
    """Those put here are closed at the end."""
    made: list[Wire] = []
    yield made
    for one in made:
        one.close()


class Islands:
    """Two network namespaces, ``west`` and ``east``, each linked to us and to the other.

    ``address`` says where each of them is, to us and to the other.
    """

    def __init__(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can make network namespaces")
        for program in ("ip", "tc"):
            if shutil.which(program, path=_PATH) is None:
                missing(program)
        self._tag = secrets.token_hex(3)
        self.west, self.east = f"gs{self._tag}w", f"gs{self._tag}e"
        self._net = f"10.{64 + secrets.randbelow(128)}"
        self.address = {self.west: f"{self._net}.0.2", self.east: f"{self._net}.1.2"}
        self.links = {self.west: f"gs{self._tag}uw", self.east: f"gs{self._tag}ue"}

    def make(self) -> None:
        allowed = _run("ip", "netns", "add", self.west, check=False)
        if "not permitted" in allowed.stderr:
            pytest.skip("this root may not make network namespaces")
        allowed.check_returncode()
        _run("ip", "netns", "add", self.east)
        for number, name in enumerate((self.west, self.east)):
            ours = self.links[name]
            _run("ip", "link", "add", ours, "type", "veth", "peer", "name", "up0", "netns", name)
            _run("ip", "addr", "add", f"{self._net}.{number}.1/24", "dev", ours)
            _run("ip", "link", "set", ours, "up")
            self.inside(name, "ip", "addr", "add", f"{self._net}.{number}.2/24", "dev", "up0")
            self.inside(name, "ip", "link", "set", "up0", "up")
            self.inside(name, "ip", "link", "set", "lo", "up")
            self.inside(name, "ip", "route", "add", "default", "via", f"{self._net}.{number}.1")
        self.inside(
            self.west, "ip", "link", "add", "mid", "type", "veth", "peer", "name", "mid",
            "netns", self.east,
        )  # fmt: skip
        # Each knows the other by the address we do, over the link of their own.
        for name, other in ((self.west, self.east), (self.east, self.west)):
            self.inside(name, "ip", "link", "set", "mid", "up")
            self.inside(name, "ip", "route", "add", self.address[other], "dev", "mid")

    def inside(self, name: str, *command: str) -> None:
        """Run something in a namespace."""
        _run("ip", "netns", "exec", name, *command)

    def limit(self, rate: str) -> None:
        """Have all links to us carry no more than that, as tc writes it, in either direction."""
        shape = ("root", "tbf", "rate", rate, "burst", "64kb", "latency", "50ms")
        for name, ours in self.links.items():
            _run("tc", "qdisc", "replace", "dev", ours, *shape)
            self.inside(name, "tc", "qdisc", "replace", "dev", "up0", *shape)

    def carried(self, name: str) -> int:
        """The bytes that went over the link between a namespace and us."""
        folder = Path("/sys/class/net") / self.links[name] / "statistics"
        return sum(int((folder / one).read_text()) for one in ("tx_bytes", "rx_bytes"))

    def close(self) -> None:
        for name in (self.west, self.east):
            _run("ip", "netns", "del", name, check=False)


def _run(
    *command: str, told: str | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=told, env=_ENV, check=check, capture_output=True, text=True
    )


@pytest.fixture
def islands() -> Iterator[Islands]:
    """Hosts may be started in them; all is gone afterwards, whatever happens."""
    made = Islands()
    try:
        made.make()
        yield made
    finally:
        made.close()
