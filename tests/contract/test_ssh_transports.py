# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Transport`` as ``scp`` and ``rsync`` keep it, over real sshds, both ways."""

import dataclasses
import fcntl
import hashlib
import os
import stat
from pathlib import Path
from typing import cast

import pytest

from glancesync.errors import Corrupt, Refused, Transient, WayBlocked, from_status
from glancesync.interfaces import ImageService, Target
from glancesync.schemes import Filesystem, Location, Place
from glancesync.transports.berth import Berth
from tests.deliveries import (
    IMAGE,
    MIB,
    SETTINGS,
    WAYS,
    Delivery,
    Registry,
    data,
    image,
    left,
)
from tests.functional.wait import until
from tests.sshd import Account, Host, Hosts, Wire, lets_itself_in

HERE = Filesystem()
CONTENT = data(5 * MIB + 3)
PARTIAL = f".{IMAGE}.partial"
MARK = f".{IMAGE}.glance-sync"

#: What is hard to quote, in one name each.
NAMES = [
    "with spaces",
    'it\'s "quoted"',
    "line\nbreak",
    "$(touch pwned) `touch pwned`; touch pwned & #",
    "*?[a-z]{b,c}~!\\",
    "-rf",
    "bücher:host",
]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The directories of two stores; in the first is the image."""
    made = tmp_path / "home", tmp_path / "region"
    for one in made:
        one.mkdir()
    (made[0] / IMAGE).write_bytes(CONTENT)
    return made


def ends(direction: str, hosts: tuple[Host, Host]) -> tuple[Filesystem, Filesystem]:
    one, other = hosts[0].scheme(), hosts[1].scheme()
    return {
        "to a host": (HERE, other),
        "from a host": (one, HERE),
        "relayed": (one, other),
        "within a host": (one, one),
    }[direction]


def deliver(
    way: str,
    schemes: tuple[Filesystem, Filesystem],
    folders: tuple[Path, Path],
    what: object = None,
    **more: object,
) -> Delivery:
    paths = [(scheme, folder / IMAGE) for scheme, folder in zip(schemes, folders, strict=True)]
    return Delivery(way, *paths, what or image(CONTENT), **more)  # type: ignore[arg-type]


# -- directions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["to a host", "from a host", "within a host"])
def test_a_file_gets_there(
    way: str, direction: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    move = deliver(way, ends(direction, two_hosts), folders)
    assert move.over() is None
    assert left(folders[1]) == {IMAGE}
    [(image_id, location, home)] = move.registry.registered
    assert (image_id, location.url, home) == (IMAGE, f"file://{folders[1]}/{IMAGE}", move.what)
    assert move.registry.held == [CONTENT], "it was complete before Glance was told"
    assert stat.S_IMODE((folders[1] / IMAGE).stat().st_mode) == 0o640
    assert move.reports[-1] == len(CONTENT)


def test_scp_relays_between_hosts_that_do_not_know_each_other(
    two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    assert deliver("scp", ends("relayed", two_hosts), folders).over() is None
    assert (folders[1] / IMAGE).read_bytes() == CONTENT
    assert left(folders[1]) == {IMAGE}


def test_rsync_does_not_relay(two_hosts: tuple[Host, Host], folders: tuple[Path, Path]) -> None:
    error = deliver("rsync", ends("relayed", two_hosts), folders).over()
    assert isinstance(error, WayBlocked)
    assert "does not let itself into" in str(error)
    assert left(folders[1]) == set()


def test_hosts_that_know_each_other_need_nobody_between(
    way: str, hosts: Hosts, folders: tuple[Path, Path]
) -> None:
    one, other = hosts.start(), hosts.start()
    lets_itself_in(one, other)
    assert deliver(way, (one.scheme(), other.scheme()), folders).over() is None
    assert (folders[1] / IMAGE).read_bytes() == CONTENT
    assert left(folders[1]) == {IMAGE}
    used = (one.directory / "used").read_text()
    assert used == "used\n" * 2, "to see that it gets there, and to copy"


def test_a_host_that_knows_another_by_that_name_is_not_written_to(
    hosts: Hosts, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """The source's host may mean another machine than we do."""
    one, other, namesake = hosts.start(), hosts.start(), hosts.start()
    lets_itself_in(one, other)
    stat_there = namesake.bin / "stat"
    stat_there.write_text('#!/bin/sh\necho "${2%% *} inode 1:2"\n')
    stat_there.chmod(0o755)
    ssh = one.bin / "ssh"
    known = one.directory / "known_hosts"
    known.write_text(f"[{other.address}]:{namesake.port} {namesake.host_key}\n")
    ssh.write_text(
        ssh.read_text()
        .replace("exec ", "shift 3; exec ")
        .replace('"$@"', f'-T -p {namesake.port} "$@"')
    )
    assert deliver("scp", (one.scheme(), other.scheme()), folders).over() is None
    assert (one.directory / "used").read_text() == "used\n", "it was asked, and not believed"
    assert (folders[1] / IMAGE).read_bytes() == CONTENT


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["to a host", "from a host"])
def test_paths_are_taken_as_they_are(
    way: str,
    direction: str,
    two_hosts: tuple[Host, Host],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = tmp_path.joinpath("a", *NAMES), tmp_path.joinpath("b", *NAMES)
    for one in folders:
        one.mkdir(parents=True)
    (folders[0] / IMAGE).write_bytes(CONTENT)
    assert deliver(way, ends(direction, two_hosts), folders).over() is None
    assert left(folders[1]) == {IMAGE}
    assert not list(tmp_path.rglob("pwned"))
    assert not Path.home().joinpath("pwned").exists()


@pytest.mark.parametrize("known", [True, False], ids=["directly", "relayed"])
def test_paths_are_taken_as_they_are_between_hosts(
    known: bool, hosts: Hosts, tmp_path: Path
) -> None:
    one, other = hosts.start(), hosts.start()
    if known:
        lets_itself_in(one, other)
    folders = tmp_path.joinpath("a", *NAMES), tmp_path.joinpath("b", *NAMES)
    for folder in folders:
        folder.mkdir(parents=True)
    (folders[0] / IMAGE).write_bytes(CONTENT)
    for way in ("scp", "rsync") if known else ("scp",):
        assert deliver(way, (one.scheme(), other.scheme()), folders).over() is None
        assert left(folders[1]) == {IMAGE}
        (folders[1] / IMAGE).unlink()
    assert known == (one.directory / "used").exists()


# -- logging in -----------------------------------------------------------------------------------


def test_a_password_will_do(
    way: str, two_hosts: tuple[Host, Host], account: Account, folders: tuple[Path, Path]
) -> None:
    directory = account.home / way
    directory.mkdir(mode=0o777)
    os.chown(directory, account.home.stat().st_uid, account.home.stat().st_gid)
    scheme = two_hosts[1].scheme(
        key_file="", login_user=account.name, login_password=account.password
    )
    assert deliver(way, (HERE, scheme), (folders[0], directory)).over() is None
    assert (directory / IMAGE).read_bytes() == CONTENT
    assert (directory / IMAGE).stat().st_uid == account.home.stat().st_uid


def test_a_file_belongs_to_whom_its_directory_does(
    way: str, two_hosts: tuple[Host, Host], account: Account, folders: tuple[Path, Path]
) -> None:
    """So that Glance can read what root has put there."""
    owner = account.home.stat()
    os.chown(folders[1], owner.st_uid, owner.st_gid)
    assert deliver(way, ends("to a host", two_hosts), folders).over() is None
    there = (folders[1] / IMAGE).stat()
    assert (there.st_uid, there.st_gid) == (owner.st_uid, owner.st_gid)


def test_a_known_hosts_file_will_do(
    way: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    host = two_hosts[1]
    known = tmp_path / "known hosts"
    known.write_text(f"[{host.address}]:{host.port} {host.host_key}\n")
    scheme = host.scheme(host_key="", known_hosts=str(known))
    assert deliver(way, (HERE, scheme), folders).over() is None


def test_nothing_secret_is_seen_in_proc(
    two_hosts: tuple[Host, Host], account: Account, folders: tuple[Path, Path]
) -> None:
    """P6: anybody on a host may read the arguments of all processes, and root what they know."""
    directory = account.home / "seen"
    directory.mkdir()
    os.chown(directory, account.home.stat().st_uid, -1)
    scheme = two_hosts[1].scheme(
        key_file="", login_user=account.name, login_password=account.password
    )
    move = deliver("scp", (HERE, scheme), (folders[0], directory))
    secret, seen = account.password.value.encode(), set()
    while move.running:
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    text = (process / name).read_bytes()
                except OSError:
                    continue
                assert secret not in text
                seen.add(text.partition(b"\0")[0])
    assert move.over() is None
    assert {b"ssh", b"scp"} <= seen


# -- what is there already ------------------------------------------------------------------------


def test_what_an_earlier_try_brought_is_used(
    way: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    (folders[1] / IMAGE).write_bytes(CONTENT)
    before = (folders[1] / IMAGE).stat()
    move = deliver(way, ends("to a host", two_hosts), folders)
    assert move.over() is None
    after = (folders[1] / IMAGE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(move.registry.registered) == 1


def test_a_file_of_an_image_without_a_hash_is_compared(
    two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    what = image(CONTENT, os_hash_algo=None, os_hash_value=None, checksum=None)
    for content, adopted in ((CONTENT, True), (CONTENT[:-1] + b"x", False)):
        (folders[1] / IMAGE).write_bytes(content)
        error = deliver("scp", ends("to a host", two_hosts), folders, what).over()
        assert (error is None) == adopted
        assert (folders[1] / IMAGE).read_bytes() == content


@pytest.mark.parametrize("keep", [True, False], ids=["still linked", "alone"])
def test_what_a_killed_run_has_named_is_used(
    way: str, keep: bool, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    """It has the final name, and it may have the other one too."""
    (folders[1] / PARTIAL).write_bytes(CONTENT)
    (folders[1] / IMAGE).hardlink_to(folders[1] / PARTIAL)
    if not keep:
        (folders[1] / PARTIAL).unlink()
    before = (folders[1] / IMAGE).stat()
    assert deliver(way, ends("to a host", two_hosts), folders).over() is None
    after = (folders[1] / IMAGE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert left(folders[1]) == {IMAGE}


def test_a_file_system_without_hard_links(
    way: str, hosts: Hosts, folders: tuple[Path, Path]
) -> None:
    host = hosts.start()
    ln = host.bin / "ln"
    ln.write_text('#!/bin/sh\necho "ln: x: Operation not permitted" >&2; exit 1\n')
    ln.chmod(0o755)
    error = deliver(way, (HERE, host.scheme()), folders).over()
    assert isinstance(error, WayBlocked)
    assert "knows no hard links: Operation not permitted" in str(error)
    until(lambda: not left(folders[1]), 10, "the partial file's end")


@pytest.mark.parametrize("other", [CONTENT[:-1], CONTENT[:-1] + b"x"], ids=["shorter", "as long"])
def test_another_file_is_left_alone(
    way: str, other: bytes, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    (folders[1] / IMAGE).write_bytes(other)
    move = deliver(way, ends("to a host", two_hosts), folders)
    error = move.over()
    assert isinstance(error, WayBlocked)
    assert "left alone" in str(error)
    assert (folders[1] / IMAGE).read_bytes() == other
    assert left(folders[1]) == {IMAGE}
    assert not move.registry.registered


def test_a_file_that_gets_the_name_meanwhile_is_left_alone(
    way: str, hosts: Hosts, folders: tuple[Path, Path]
) -> None:
    host = hosts.start()
    sync = host.bin / "sync"
    sync.write_text(f"#!/bin/sh\n[ $1 = -d ] || echo other >'{folders[1] / IMAGE}'\n")
    sync.chmod(0o755)
    error = deliver(way, (HERE, host.scheme()), folders).over()
    assert isinstance(error, WayBlocked)
    assert "meanwhile" in str(error)
    assert (folders[1] / IMAGE).read_bytes() == b"other\n"


def test_only_the_difference_is_sent(
    two_hosts: tuple[Host, Host], wires: list[Wire], folders: tuple[Path, Path]
) -> None:
    older = bytearray(CONTENT)
    older[MIB : MIB + 1000] = bytes(1000)
    (folders[1] / PARTIAL).write_bytes(older)
    wires.append(Wire(two_hosts[1].address, two_hosts[1].port))
    assert deliver("rsync", (HERE, two_hosts[1].scheme(port=wires[0].port)), folders).over() is None
    assert (folders[1] / IMAGE).read_bytes() == CONTENT
    assert wires[0].passed < len(CONTENT) / 20


def test_a_left_over_of_days_ago_goes(
    way: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    old = folders[1] / ".99999999-2222-3333-4444-555555555555.partial"
    young = folders[1] / ".88888888-2222-3333-4444-555555555555.partial"
    foreign = folders[1] / ".something else.partial"
    for one in (old, young, foreign):
        one.write_bytes(b"left")
    for one in (old, foreign):
        os.utime(one, (0, 0))
    marks = [folders[1] / f".{n * 8}-2222-3333-4444-555555555555.glance-sync" for n in "5670"]
    ours = folders[1] / "00000000-2222-3333-4444-555555555555"
    ours.write_bytes(b"of nobody else")
    about = ours.stat()
    for mark in marks:
        mark.write_text(f"{about.st_ino}:{about.st_size}:{about.st_mtime_ns}\n")
    for mark in marks[1:]:
        os.utime(mark, (0, 0))
    assert deliver(way, ends("to a host", two_hosts), folders).over() is None
    kept = {IMAGE, young.name, foreign.name, ours.name, marks[0].name, marks[3].name}
    assert left(folders[1]) == kept


# -- the bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha512", "sha256", "md5", "sha3_512", "blake2b"])
def test_the_image_says_by_which_hash(
    algorithm: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    right = hashlib.new(algorithm, CONTENT).hexdigest()
    what = image(CONTENT, os_hash_algo=algorithm, os_hash_value=right, checksum=None)
    assert deliver("scp", ends("to a host", two_hosts), folders, what).over() is None
    (folders[1] / IMAGE).unlink()
    wrong = dataclasses.replace(what, os_hash_value=right[:-1] + ("0" if right[-1] != "0" else "1"))
    error = deliver("scp", ends("to a host", two_hosts), folders, wrong).over()
    assert isinstance(error, Corrupt)


def test_a_checksum_will_do(two_hosts: tuple[Host, Host], folders: tuple[Path, Path]) -> None:
    what = image(CONTENT, os_hash_algo=None, os_hash_value=None)
    assert deliver("scp", ends("to a host", two_hosts), folders, what).over() is None
    (folders[1] / IMAGE).unlink()
    what = dataclasses.replace(what, checksum="0" * 32)
    error = deliver("scp", ends("to a host", two_hosts), folders, what).over()
    assert isinstance(error, Corrupt)


def test_an_algorithm_nobody_knows(
    two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    what = image(CONTENT, os_hash_algo="x; touch pwned", os_hash_value="00")
    error = deliver("scp", ends("to a host", two_hosts), folders, what).over()
    assert isinstance(error, WayBlocked)
    assert "has no program that makes" in str(error)
    assert left(folders[1]) == set()


@pytest.mark.parametrize("direction", ["to a host", "from a host"])
def test_wrong_bytes_at_the_source(
    way: str, direction: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    """P3: they are nowhere found under the image's name, and nothing is kept to go on with."""
    (folders[0] / IMAGE).write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    move = deliver(way, ends(direction, two_hosts), folders)
    error = move.over()
    assert isinstance(error, Corrupt)
    assert error.region == "home"
    assert left(folders[1]) == set()
    assert not move.registry.registered


@pytest.mark.parametrize("size", [0, 1])
def test_small_files(
    way: str, size: int, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    (folders[0] / IMAGE).write_bytes(CONTENT[:size])
    for direction in ("to a host", "from a host"):
        move = deliver(way, ends(direction, two_hosts), folders, image(CONTENT[:size]))
        assert move.over() is None
        assert (folders[1] / IMAGE).read_bytes() == CONTENT[:size]
        (folders[1] / IMAGE).unlink()


@pytest.mark.parametrize("direction", ["to a host", "from a host", "within a host"])
def test_holes_stay_holes(
    way: str, direction: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    size = 64 * MIB
    with (folders[0] / IMAGE).open("wb") as file:
        file.seek(20 * MIB)
        file.write(CONTENT)
        file.truncate(size)
    what = image((folders[0] / IMAGE).read_bytes())
    assert deliver(way, ends(direction, two_hosts), folders, what).over() is None
    there = (folders[1] / IMAGE).stat()
    assert there.st_size == size
    assert there.st_blocks * 512 < size / 2


# -- Glance says no -------------------------------------------------------------------------------


def test_what_glance_does_not_take_goes_again(
    way: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    registry = Registry("R1")
    registry.error = Refused("R1", "no")
    error = deliver(way, ends("to a host", two_hosts), folders, registry=registry).over()
    assert isinstance(error, WayBlocked), "a Glance that adopts no files may be served otherwise"
    assert error.message == "no"
    assert registry.held == [CONTENT]
    assert left(folders[1]) == set()


@pytest.mark.parametrize("status", [401, 404, 409, 429, 500, 503])
def test_what_glance_may_have_in_use_stays(
    status: int, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    registry = Registry("R1")
    registry.error = from_status("R1", "?", status)
    move = deliver("scp", ends("to a host", two_hosts), folders, registry=registry)
    assert move.over() is registry.error
    assert left(folders[1]) == {IMAGE, MARK}
    inode = (folders[1] / IMAGE).stat().st_ino
    registry.error = Refused("R1", "no")
    deliver("scp", ends("to a host", two_hosts), folders, registry=registry).over()
    assert left(folders[1]) == {IMAGE, MARK}, "it is not of this order"
    assert deliver("scp", ends("to a host", two_hosts), folders).over() is None
    assert (folders[1] / IMAGE).stat().st_ino == inode, "nothing was copied again"
    assert left(folders[1]) == {IMAGE}


def test_what_can_not_be_taken_back_is_told_of(hosts: Hosts, folders: tuple[Path, Path]) -> None:
    host = hosts.start()

    class Gone(Registry):
        def register(self, *arguments: object) -> None:
            host.stop()
            raise Refused("R1", "no")

    error = deliver("scp", (HERE, host.scheme()), folders, registry=Gone("R1")).over()
    assert isinstance(error, WayBlocked)
    assert f"{str(folders[1] / IMAGE)!r} is left over: {host.address} can't be reached" in str(
        error
    )


def test_what_is_cancelled_at_the_last_moment_goes_again(
    hosts: Hosts, folders: tuple[Path, Path]
) -> None:
    """When it has its name already, and nobody has been told."""
    host = hosts.start()
    sync = host.bin / "sync"
    sync.write_text('#!/bin/sh\ncase "$2" in */) sleep 4;; esac\nexec /usr/bin/sync "$@"\n')
    sync.chmod(0o755)
    move = deliver("scp", (HERE, host.scheme()), folders)
    until(lambda: left(folders[1]) == {IMAGE, MARK}, 30, "the file with its name")
    move.cancelled.set()
    move.until_over()
    assert {type(error) for error in move.settled} <= {Transient}
    assert not move.registry.registered
    assert left(folders[1]) == set()


def test_a_mark_is_there_until_glance_has_the_file(
    way: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    class Looking(Registry):
        def register(self, *arguments: object) -> None:
            seen.append((left(folders[1]), Berth(str(self.path)).is_ours()))

    seen: list[tuple[set[str], bool]] = []
    move = deliver(way, ends("to a host", two_hosts), folders, registry=Looking("R1"))
    assert move.over() is None
    assert seen == [({IMAGE, MARK}, True)], "as transport filesystem has it, too"
    assert left(folders[1]) == {IMAGE}


def tidied(way: str, scheme: Filesystem, folders: tuple[Path, Path]) -> None:
    place = Place(scheme, Location("", ""), str(folders[1] / IMAGE))
    region = cast(ImageService, Registry("R1"))
    target = Target("R1", IMAGE, region, lambda _: None, lambda: False, place)
    WAYS[way](SETTINGS).tidy(target)


@pytest.mark.parametrize("where", ["there", "here"])
def test_what_was_left_is_tidied_up(
    way: str, where: str, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    scheme = two_hosts[1].scheme() if where == "there" else HERE
    registry = Registry("R1")
    registry.error = Transient("R1", "no answer")
    deliver(way, (HERE, two_hosts[1].scheme()), folders, registry=registry).over()
    assert left(folders[1]) == {IMAGE, MARK}
    (folders[1] / PARTIAL).write_bytes(b"half of it")
    for _ in range(2):
        tidied(way, scheme, folders)
        assert left(folders[1]) == set()


@pytest.mark.parametrize("mark", [None, "", "1:2:3\n"], ids=["none", "empty", "of another"])
def test_what_is_not_of_us_is_not_tidied_up(
    mark: str | None, two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    """P4."""
    (folders[1] / IMAGE).write_bytes(CONTENT)
    if mark is not None:
        (folders[1] / MARK).write_text(mark)
    tidied("scp", two_hosts[1].scheme(), folders)
    assert left(folders[1]) == {IMAGE}


def test_what_was_changed_since_is_not_tidied_up(
    two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    registry = Registry("R1")
    registry.error = Transient("R1", "no answer")
    deliver("scp", ends("to a host", two_hosts), folders, registry=registry).over()
    (folders[1] / IMAGE).write_bytes(b"another's")
    tidied("scp", two_hosts[1].scheme(), folders)
    assert left(folders[1]) == {IMAGE}


def test_links_are_not_followed(two_hosts: tuple[Host, Host], folders: tuple[Path, Path]) -> None:
    """As somebody who may write to the directory could lay them."""
    for name in (MARK, PARTIAL):
        victim = folders[0] / f"victim of {name}"
        victim.write_bytes(b"")
        (folders[1] / name).symlink_to(victim)
    tidied("scp", two_hosts[1].scheme(), folders)
    assert left(folders[1]) == {MARK, PARTIAL}
    (folders[1] / PARTIAL).unlink()
    assert deliver("scp", ends("to a host", two_hosts), folders).over() is None
    assert left(folders[1]) == {IMAGE}
    assert (folders[0] / f"victim of {MARK}").read_bytes() == b""


def test_what_somebody_works_on_is_not_tidied_up(
    two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    with (folders[1] / PARTIAL).open("wb") as partial:
        fcntl.flock(partial, fcntl.LOCK_EX)
        with pytest.raises(WayBlocked, match="somebody else is copying this image"):
            tidied("scp", two_hosts[1].scheme(), folders)
    assert left(folders[1]) == {PARTIAL}


def test_what_can_not_be_tidied_up_is_told(hosts: Hosts, folders: tuple[Path, Path]) -> None:
    host = hosts.start()
    host.stop()
    with pytest.raises(WayBlocked, match=r"something may be left over: .* can't be reached"):
        tidied("scp", host.scheme(), folders)


def test_what_was_there_before_stays_whatever_glance_says(
    two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    (folders[1] / IMAGE).write_bytes(CONTENT)
    registry = Registry("R1")
    registry.error = Refused("R1", "no")
    deliver("scp", ends("to a host", two_hosts), folders, registry=registry).over()
    assert left(folders[1]) == {IMAGE}


def test_what_another_has_put_there_since_stays(
    two_hosts: tuple[Host, Host], folders: tuple[Path, Path]
) -> None:
    class Replacing(Registry):
        def register(self, *arguments: object) -> None:
            self.path.unlink()
            self.path.with_name("new").write_bytes(b"another's")
            self.path.with_name("new").rename(self.path)
            raise Refused("R1", "no")

    deliver("scp", ends("to a host", two_hosts), folders, registry=Replacing("R1")).over()
    assert (folders[1] / IMAGE).read_bytes() == b"another's"
