# SPDX-License-Identifier: Apache-2.0
"""``scp`` and ``rsync`` where things go wrong: links, hosts, disks, files and logins."""

import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glancesync.errors import RegionError, WayBlocked
from glancesync.schemes import Filesystem, Secret
from glancesync.transports.settings import TransferSettings
from tests.deliveries import IMAGE, MIB, WAYS, Delivery, data, image, left
from tests.functional.wait import until
from tests.sshd import (
    Account,
    Host,
    Hosts,
    Islands,
    Wire,
    called_by,
    descendants,
    key,
    lets_itself_in,
)

pytestmark = pytest.mark.matrix(way=["rsync"])

HERE = Filesystem()
#: More than ssh's window and all buffers on the way hold.
CONTENT = data(24 * MIB, seed=2)
PARTIAL = f".{IMAGE}.partial"
HASTY = TransferSettings(stall=3)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    made = tmp_path / "home", tmp_path / "region"
    for one in made:
        one.mkdir()
    (made[0] / IMAGE).write_bytes(CONTENT)
    return made


@pytest.fixture
def wire(two_hosts: tuple[Host, Host], wires: list[Wire]) -> Wire:
    wires.append(Wire(two_hosts[1].address, two_hosts[1].port))
    return wires[0]


def deliver(
    way: str,
    target: Filesystem,
    folders: tuple[Path, Path],
    settings: TransferSettings = HASTY,
    source: Filesystem = HERE,
    content: bytes = CONTENT,
) -> Delivery:
    ends = (source, folders[0] / IMAGE), (target, folders[1] / IMAGE)
    return Delivery(way, *ends, image(content), settings)


def blocked(error: RegionError | None, *words: str, region: str = "R1") -> None:
    """It is a reason of the way, and says what it is."""
    assert type(error) is WayBlocked
    assert error.region == region
    for one in words:
        assert one in str(error)


def frozen(move: Delivery, wire: Wire) -> None:
    until(lambda: wire.frozen.is_set() or not move.running, 30, "the middle of the copy")
    assert move.running, move.settled


# -- the link -------------------------------------------------------------------------------------


@pytest.mark.always
def test_a_cut_is_heard_of_at_once(
    way: str, folders: tuple[Path, Path], wire: Wire, two_hosts: tuple[Host, Host]
) -> None:
    wire.cut_at = 12 * MIB
    began = time.monotonic()
    blocked(deliver(way, two_hosts[1].scheme(port=wire.port), folders).over())
    assert time.monotonic() - began < 20
    until(lambda: left(folders[1]) <= {PARTIAL}, 10, "the end")
    if way == "scp":
        until(lambda: not left(folders[1]), 10, "the partial file's end")


@pytest.mark.always
def test_rsync_goes_on_where_it_was_cut(
    folders: tuple[Path, Path], wires: list[Wire], two_hosts: tuple[Host, Host]
) -> None:
    wires.append(Wire(two_hosts[1].address, two_hosts[1].port))
    wires[0].cut_at = 18 * MIB
    blocked(deliver("rsync", two_hosts[1].scheme(port=wires[0].port), folders).over())
    assert left(folders[1]) == {PARTIAL}
    have = (folders[1] / PARTIAL).stat().st_size
    assert have > 8 * MIB
    wires.append(Wire(two_hosts[1].address, two_hosts[1].port))
    move = deliver("rsync", two_hosts[1].scheme(port=wires[1].port), folders)
    assert move.over() is None
    assert (folders[1] / IMAGE).read_bytes() == CONTENT
    assert wires[1].passed < len(CONTENT) - have + MIB


def test_rsync_goes_on_with_what_came_from_a_host(
    folders: tuple[Path, Path], wires: list[Wire], two_hosts: tuple[Host, Host]
) -> None:
    wires.append(Wire(two_hosts[0].address, two_hosts[0].port))
    wires[0].cut_at = 18 * MIB
    move = deliver("rsync", HERE, folders, source=two_hosts[0].scheme(port=wires[0].port))
    assert move.over() is not None
    assert left(folders[1]) == {PARTIAL}
    wires.append(Wire(two_hosts[0].address, two_hosts[0].port))
    scheme = two_hosts[0].scheme(port=wires[1].port)
    assert deliver("rsync", HERE, folders, source=scheme).over() is None
    assert wires[1].back < len(CONTENT) - 8 * MIB


def test_a_link_that_stalls(
    way: str, folders: tuple[Path, Path], wire: Wire, two_hosts: tuple[Host, Host]
) -> None:
    wire.freeze_at = 12 * MIB
    move = deliver(way, two_hosts[1].scheme(port=wire.port), folders)
    frozen(move, wire)
    began = time.monotonic()
    blocked(move.over())
    assert time.monotonic() - began < 4 * HASTY.stall
    wire.close()
    until(lambda: left(folders[1]) <= ({PARTIAL} if way == "rsync" else set()), 15, "the end")


def test_a_program_that_hangs(way: str, hosts: Hosts, folders: tuple[Path, Path]) -> None:
    """The link is alive all the time."""
    host = hosts.start()
    hanging = host.bin / way
    hanging.write_text(
        "#!/bin/sh\ncase $* in *--version*) echo rsync version 3.2.7;; *) exec sleep 600;; esac\n"
    )
    hanging.chmod(0o755)
    began = time.monotonic()
    blocked(deliver(way, host.scheme(), folders).over())
    assert time.monotonic() - began < 4 * HASTY.stall
    until(lambda: left(folders[1]) == set(), 10, "the partial file's end")


def test_a_copy_that_takes_too_long(
    folders: tuple[Path, Path], wire: Wire, two_hosts: tuple[Host, Host]
) -> None:
    wire.freeze_at = 12 * MIB
    settings = TransferSettings(stall=30, copy=3)
    move = deliver("scp", two_hosts[1].scheme(port=wire.port), folders, settings)
    blocked(move.over(30), "scp_copy_timeout")


def test_a_host_that_dies(
    way: str, hosts: Hosts, wires: list[Wire], folders: tuple[Path, Path]
) -> None:
    host = hosts.start()
    wires.append(Wire(host.address, host.port))
    wires[0].freeze_at = 12 * MIB
    move = deliver(way, host.scheme(port=wires[0].port), folders)
    frozen(move, wires[0])
    host.stop()
    wires[0].thaw()
    blocked(move.over())


# -- logging in -----------------------------------------------------------------------------------


def test_a_port_nobody_listens_at(
    way: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    blocked(deliver(way, two_hosts[1].scheme(port=port), folders).over(), "refused", str(port))


def test_a_host_nobody_knows(two_hosts: tuple[Host, Host], folders: tuple[Path, Path]) -> None:
    scheme = two_hosts[1].scheme(host="nowhere.invalid")
    blocked(deliver("scp", scheme, folders).over(), "nowhere.invalid can't be reached")


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silent", "web"])
def test_what_is_no_ssh_server(
    said: bytes, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        move = deliver("scp", two_hosts[1].scheme(port=server.getsockname()[1]), folders)
        with server.accept()[0] as client:
            client.sendall(said)
            if said:
                client.shutdown(socket.SHUT_WR)
            blocked(move.over(), "can't be reached")
    assert time.monotonic() - began < 10


def test_a_source_that_is_not_reached_is_the_sources_fault(
    two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    scheme = two_hosts[1].scheme(host="nowhere.invalid")
    blocked(deliver("scp", HERE, folders, source=scheme).over(), "nowhere", region="home")


def test_a_wrong_password(
    two_hosts: tuple[Host, Host], account: Account, folders: tuple[Path, Path]
) -> None:
    wrong = Secret("not this one")
    scheme = two_hosts[1].scheme(key_file="", login_user=account.name, login_password=wrong)
    error = deliver("scp", scheme, folders).over()
    blocked(error, account.name, "does not let", "password")
    assert wrong.value not in str(error)


def test_a_wrong_key(
    two_hosts: tuple[Host, Host], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    key(tmp_path / "other")
    scheme = two_hosts[1].scheme(key_file=str(tmp_path / "other"))
    blocked(deliver("scp", scheme, folders).over(), "does not let", "its key")


@pytest.mark.parametrize("what", ["missing", "open to all", "with a passphrase"])
def test_a_key_that_is_of_no_use(
    what: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "key"
    words = "can't be read"
    if what == "open to all":
        shutil.copy(two_hosts[1].key_file, path)
        path.chmod(0o644)
        words = "read by others"
    elif what == "with a passphrase":
        shutil.copy(two_hosts[1].key_file, path)
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-N", "secret", "-f", path],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        words = "passphrase"
    error = deliver("scp", two_hosts[1].scheme(key_file=str(path)), folders).over()
    blocked(error, words, str(path))


def test_a_changed_host_key(
    way: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    scheme = two_hosts[1].scheme(host_key=two_hosts[0].host_key)
    blocked(deliver(way, scheme, folders).over(), "is not the one that is known")
    assert left(folders[1]) == set()


def test_an_unknown_host_key(
    two_hosts: tuple[Host, Host], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "known").write_text("")
    scheme = two_hosts[1].scheme(host_key="", known_hosts=str(tmp_path / "known"))
    blocked(deliver("scp", scheme, folders).over(), "is not known")
    assert (tmp_path / "known").read_text() == "", "nothing is accepted blindly"


def test_a_password_is_not_given_to_a_host_with_another_key(
    two_hosts: tuple[Host, Host], account: Account, folders: tuple[Path, Path]
) -> None:
    scheme = two_hosts[1].scheme(
        key_file="",
        login_user=account.name,
        login_password=account.password,
        host_key=two_hosts[0].host_key,
    )
    before = two_hosts[1].log
    blocked(deliver("scp", scheme, folders).over(), "is not the one that is known")
    assert "Accepted" not in two_hosts[1].log.removeprefix(before)


@pytest.mark.parametrize("host", ["-oProxyCommand=touch pwned", "a b", "a\nProxyCommand x"])
def test_what_can_not_be_a_host(
    host: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    blocked(deliver("scp", two_hosts[1].scheme(host=host), folders).over(), "name of a host")


# -- shells ---------------------------------------------------------------------------------------


def test_a_banner_disturbs_nobody(
    way: str, hosts: Hosts, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "banner").write_text("Password: \nAuthorized use only!\n")
    host = hosts.start(f"Banner {tmp_path}/banner")
    assert deliver(way, host.scheme(), folders).over() is None


@pytest.mark.parametrize("end", ["source", "target"])
def test_noise_of_a_shell_is_named(
    way: str, end: str, hosts: Hosts, folders: tuple[Path, Path]
) -> None:
    """It stands between the ends of scp and rsync."""
    host = hosts.start(r"""ForceCommand echo "Welcome back"; eval "$SSH_ORIGINAL_COMMAND" """)
    if end == "target":
        error = deliver(way, host.scheme(), folders).over()
    else:
        error = deliver(way, HERE, folders, source=host.scheme()).over()
    blocked(error, "Welcome back", "nobody asked")
    until(lambda: left(folders[1]) == set(), 10, "the partial file's end")


def test_noise_of_other_programs_is_not_taken_for_answers(
    hosts: Hosts, folders: tuple[Path, Path]
) -> None:
    host = hosts.start(
        'ForceCommand case "$SSH_ORIGINAL_COMMAND" in *sh) echo "gs-0 file 1 1 1";; esac; '
        'eval "$SSH_ORIGINAL_COMMAND"'
    )
    assert deliver("scp", host.scheme(), folders).over() is None


@pytest.mark.parametrize(
    ("command", "words"),
    [("echo This account is not available.", "not available"), ("sleep 600", "did not go on")],
)
def test_an_account_without_a_shell(
    command: str, words: str, hosts: Hosts, folders: tuple[Path, Path]
) -> None:
    host = hosts.start(f"ForceCommand {command}")
    began = time.monotonic()
    blocked(deliver("scp", host.scheme(), folders).over(), words)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_host_without_rsync(
    end: str, hosts: Hosts, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for one in Path("/usr/bin").iterdir():
        if one.name != "rsync":
            (programs / one.name).symlink_to(one)
    host = hosts.start(path=str(programs))
    if end == "target":
        blocked(deliver("rsync", host.scheme(), folders).over(), "has no rsync")
    else:
        error = deliver("rsync", HERE, folders, source=host.scheme()).over()
        blocked(error, "has no rsync", region="home")
    assert left(folders[1]) == set()


def test_a_host_that_allows_one_session(way: str, hosts: Hosts, folders: tuple[Path, Path]) -> None:
    """A key opens another login; that costs a little time."""
    host = hosts.start("MaxSessions 1")
    assert deliver(way, host.scheme(), folders).over() is None


# -- disks ----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for the image and little more."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.parametrize("direction", ["to a host", "from a host"])
def test_a_disk_without_room(
    way: str,
    direction: str,
    two_hosts: tuple[Host, Host],
    small_disk: Path,
    folders: tuple[Path, Path],
) -> None:
    (small_disk / "other").write_bytes(bytes(16 * MIB))
    host = two_hosts[1].scheme()
    source, target = (HERE, host) if direction == "to a host" else (host, HERE)
    move = deliver(way, target, (folders[0], small_disk), source=source)
    blocked(move.over(), "no room", str(len(CONTENT)))
    assert left(small_disk) == {"other"}


def test_a_disk_that_fills_meanwhile(
    way: str, two_hosts: tuple[Host, Host], small_disk: Path, folders: tuple[Path, Path], wire: Wire
) -> None:
    wire.freeze_at = 8 * MIB
    move = deliver(
        way,
        two_hosts[1].scheme(port=wire.port),
        (folders[0], small_disk),
        TransferSettings(stall=20),
    )
    frozen(move, wire)
    with contextlib.suppress(OSError), (small_disk / "other").open("wb") as other:
        while True:
            other.write(bytes(MIB))
    wire.thaw()
    blocked(move.over(), "No space left")
    until(lambda: left(small_disk) == {"other"}, 10, "the partial file's end")


def test_a_disk_that_can_not_be_written(
    way: str, two_hosts: tuple[Host, Host], small_disk: Path, folders: tuple[Path, Path]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    move = deliver(way, two_hosts[1].scheme(), (folders[0], small_disk))
    blocked(move.over(), "Read-only file system")


def test_a_directory_that_is_not_ours(
    two_hosts: tuple[Host, Host], account: Account, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    directory = account.home / "root's"
    directory.mkdir(mode=0o755)
    scheme = two_hosts[1].scheme(
        key_file="", login_user=account.name, login_password=account.password
    )
    move = deliver("scp", scheme, (folders[0], directory))
    blocked(move.over(), "Permission denied")


def test_a_directory_that_is_not_there(
    way: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    folders[1].rmdir()
    blocked(deliver(way, two_hosts[1].scheme(), folders).over(), "directory is not there")
    assert not folders[1].exists()


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("missing", "is not there"),
        ("symlink", "symbolic link"),
        ("directory", "no plain file"),
        ("fifo", "no plain file"),
        ("short", "bytes, and the image"),
        ("long", "bytes, and the image"),
    ],
)
@pytest.mark.parametrize("remote", [False, True], ids=["here", "on a host"])
def test_a_source_that_is_not_the_image(
    what: str, words: str, remote: bool, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    path = folders[0] / IMAGE
    if what == "short":
        path.write_bytes(CONTENT[:-1])
    elif what == "long":
        path.write_bytes(CONTENT + b"x")
    else:
        path.unlink()
        if what == "symlink":
            path.symlink_to("/etc/passwd")
        elif what == "directory":
            path.mkdir()
        elif what == "fifo":
            os.mkfifo(path)
    source, target = (two_hosts[0].scheme(), HERE) if remote else (HERE, two_hosts[1].scheme())
    blocked(deliver("scp", target, folders, source=source).over(), words, region="home")
    assert left(folders[1]) == set()


@pytest.mark.parametrize("what", ["disappears", "grows", "shrinks", "is replaced"])
def test_a_source_that_changes_while_it_is_read(
    way: str, what: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path], wire: Wire
) -> None:
    path = folders[0] / IMAGE
    wire.freeze_at = 8 * MIB
    move = deliver(way, two_hosts[1].scheme(port=wire.port), folders, TransferSettings(stall=20))
    frozen(move, wire)
    if what == "disappears":
        path.unlink()
    elif what == "grows":
        with path.open("ab") as file:
            file.write(b"more")
    elif what == "shrinks":
        os.truncate(path, 4 * MIB)
    else:
        path.unlink()
        path.write_bytes(bytes(len(CONTENT)))
    wire.thaw()
    error = move.over()
    if error is None:  # it had been read to the end that Glance tells of
        assert what != "shrinks"
        assert (folders[1] / IMAGE).read_bytes() == CONTENT
    else:
        blocked(error, "changed while it was read", region="home")
    if error is not None:
        until(lambda: left(folders[1]) <= {PARTIAL}, 10, "the end")


@pytest.mark.parametrize("name", [IMAGE, PARTIAL])
def test_a_link_in_the_targets_store_is_not_followed(
    way: str, name: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (folders[1] / name).symlink_to(victim)
    blocked(deliver(way, two_hosts[1].scheme(), folders).over(), "symbolic link")
    assert victim.read_text() == "untouched"
    assert left(folders[1]) == {name}


# -- others, and the end --------------------------------------------------------------------------


def test_two_workers_do_not_write_to_one_file(
    way: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path], wire: Wire
) -> None:
    wire.freeze_at = 8 * MIB
    first = deliver(way, two_hosts[1].scheme(port=wire.port), folders, TransferSettings(stall=30))
    frozen(first, wire)
    for other in WAYS:
        second = deliver(other, two_hosts[1].scheme(), folders)
        blocked(second.over(), "somebody else is copying")
    wire.thaw()
    assert first.over() is None
    assert (folders[1] / IMAGE).read_bytes() == CONTENT
    assert left(folders[1]) == {IMAGE}


@pytest.fixture
def hangups_ignored() -> Iterator[None]:
    """As by whom ``nohup`` has started, and what he starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("how", ["cancelled", "killed"])
@pytest.mark.parametrize("direction", ["to a host", "from a host", "relayed"])
def test_nothing_runs_on_when_nobody_wants_it(
    how: str,
    direction: str,
    two_hosts: tuple[Host, Host],
    folders: tuple[Path, Path],
    wires: list[Wire],
    hangups_ignored: None,
) -> None:
    there = 0 if direction == "from a host" else 1
    wires.append(Wire(two_hosts[there].address, two_hosts[there].port))
    host = two_hosts[there].scheme(port=wires[0].port)
    wires[0].freeze_at = 8 * MIB
    if direction == "from a host":
        source, target = host, HERE
    else:
        source, target = HERE if direction == "to a host" else two_hosts[0].scheme(), host
    move = deliver("scp", target, folders, TransferSettings(stall=60), source=source)
    frozen(move, wires[0])
    until(lambda: left(folders[1]) == {PARTIAL}, 10, "the partial file")
    started = {
        pid: words
        for pid, words in descendants()
        if "/courier.py" in words or "/glancesync-ssh-" in words
    }
    used = {
        folder
        for words in started.values()
        for folder in re.findall("/[^\0]*/glancesync-ssh-[^/]*", words)
    }
    assert used
    if how == "cancelled":
        move.cancelled.set()
        move.until_over(20)
        assert move.settled == []
    else:
        (courier,) = (pid for pid, words in started.items() if "/courier.py" in words)
        os.kill(courier, signal.SIGKILL)
        assert move.over() is not None
    until(lambda: not any(called_by(pid) == started[pid] for pid in started), 10, "the end of all")
    assert not any(Path(folder).exists() for folder in used)
    wires[0].thaw()
    until(lambda: left(folders[1]) == set(), 15, "the partial file's end")
    assert not move.registry.registered


# -- real links -----------------------------------------------------------------------------------


def test_a_slow_link_is_no_stall(
    way: str, islands: Islands, hosts: Hosts, folders: tuple[Path, Path]
) -> None:
    """That a copy over 100 Mbit/s takes about as long as the bits need."""
    islands.limit("100mbit")
    content = CONTENT * 2
    (folders[0] / IMAGE).write_bytes(content)
    host = hosts.start(address=islands.address[islands.west], netns=islands.west)
    began = time.monotonic()
    move = deliver(way, host.scheme(), folders, content=content)
    assert move.over() is None
    assert 0.9 < (time.monotonic() - began) / (len(content) * 8 / 100e6) < 4
    steps = [later - earlier for earlier, later in itertools.pairwise(move.reports)]
    assert len(steps) > 2
    assert max(steps) < len(content) / 2, "the progress is told of"


def test_bytes_take_the_direct_link_between_hosts(
    way: str, islands: Islands, hosts: Hosts, folders: tuple[Path, Path]
) -> None:
    west = hosts.start(address=islands.address[islands.west], netns=islands.west)
    east = hosts.start(address=islands.address[islands.east], netns=islands.east)
    lets_itself_in(west, east)
    move = deliver(way, east.scheme(), folders, source=west.scheme())
    assert move.over() is None
    assert (folders[1] / IMAGE).read_bytes() == CONTENT
    assert islands.carried(islands.west) + islands.carried(islands.east) < MIB


def test_a_relayed_copy_passes_once(
    islands: Islands, hosts: Hosts, folders: tuple[Path, Path]
) -> None:
    west = hosts.start(address=islands.address[islands.west], netns=islands.west)
    east = hosts.start(address=islands.address[islands.east], netns=islands.east)
    assert deliver("scp", east.scheme(), folders, source=west.scheme()).over() is None
    for name in (islands.west, islands.east):
        assert len(CONTENT) < islands.carried(name) < 1.1 * len(CONTENT)
