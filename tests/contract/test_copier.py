# SPDX-License-Identifier: Apache-2.0
"""The child that copies files, over real files: what it makes, and what it leaves when it fails."""

import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

from glancesync.transports import copier
from glancesync.transports.berth import STALE, Berth, sweep
from tests.functional.wait import until

MIB = 1024 * 1024
CONTENT = random.Random(1).randbytes(3 * MIB + 17)
LOCK = ".image.glance-sync"
PARTIAL = ".image.glance-sync.partial"


class Ends:
    """A home with one image, and directories to copy it to."""

    def __init__(self, root: pathlib.Path) -> None:
        self.home = root / "home" / "image"
        self.home.parent.mkdir()
        self.home.write_bytes(CONTENT)
        self.targets = {}
        for name in ("two", "three"):
            (root / name).mkdir()
            self.targets[name] = root / name / "image"

    def order(self, *names: str, **more: Any) -> dict[str, Any]:
        return {
            "source": str(self.home),
            "size": len(CONTENT),
            "hash_algo": "sha512",
            "hash_value": hashlib.sha512(CONTENT).hexdigest(),
            "stall": 20,
            "rates": {},
            "targets": {
                name: {"path": str(self.targets[name]), "link": False} for name in names or ["two"]
            },
            **more,
        }

    def names(self, name: str) -> set[str]:
        """What is in the directory of a target."""
        return set(os.listdir(self.targets[name].parent))

    def settled(self, name: str) -> set[str]:
        """The same, when Glance has the file."""
        Berth(str(self.targets[name])).settle()
        return self.names(name)


@pytest.fixture
def ends(tmp_path: pathlib.Path) -> Ends:
    return Ends(tmp_path)


@pytest.fixture
def elsewhere(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A directory of another file system."""
    memory = pathlib.Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system")
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield pathlib.Path(name)


def start(order: dict[str, Any]) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen(
        [sys.executable, "-I", copier.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps(order).encode() + b"\n")
    child.stdin.flush()
    return child


def fates(order: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Have an order carried out; the last word about each target."""
    with start(order) as child:
        assert child.stdout is not None
        lines = [json.loads(line) for line in child.stdout]
        assert child.wait(30) == 0
        found = [line for line in lines if "target" in line]
        assert len(found) == len(order["targets"]), lines
        return {line["target"]: line for line in found}


def test_every_target_has_the_bytes_under_the_final_name_alone(ends: Ends) -> None:
    said = fates(ends.order("two", "three"))
    for name, path in ends.targets.items():
        assert said[name]["ok"], said
        assert path.read_bytes() == CONTENT
        assert ends.names(name) == {"image", LOCK}
        assert ends.settled(name) == {"image"}
        assert not path.samefile(ends.home)


def test_glance_may_read_it_and_others_may_not(ends: Ends) -> None:
    fates(ends.order())
    directory, file = ends.targets["two"].parent.stat(), ends.targets["two"].stat()
    assert (file.st_uid, file.st_gid) == (directory.st_uid, directory.st_gid)
    assert stat.S_IMODE(file.st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_file_is_its_directorys_owners(ends: Ends) -> None:
    os.chown(ends.targets["two"].parent, 12345, 23456)
    fates(ends.order())
    file = ends.targets["two"].stat()
    assert (file.st_uid, file.st_gid) == (12345, 23456)


@pytest.mark.parametrize("link", [False, True])
def test_the_source_is_never_a_target(ends: Ends, tmp_path: pathlib.Path, link: bool) -> None:
    """As if glance_store.yaml said of two regions that their stores are one directory here."""
    (tmp_path / "mounted").symlink_to(ends.home.parent)
    before = ends.home.stat()
    for same in (ends.home, ends.home.parent / "." / "image", tmp_path / "mounted" / "image"):
        order = ends.order("two", "three")
        order["targets"]["two"] = {"path": str(same), "link": link}
        said = fates(order)
        assert said["two"]["ok"] is False
        assert said["two"]["side"] == "target"
        assert "is the file of home itself" in said["two"]["message"]
        assert said["three"]["ok"], "others get theirs"
        after = ends.home.stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert os.listdir(ends.home.parent) == ["image"]


def test_one_shared_file_system_holds_the_bytes_once(ends: Ends) -> None:
    order = ends.order()
    order["targets"]["two"]["link"] = True
    ends.home.chmod(0o640)
    assert fates(order)["two"]["how"] == "hard link"
    assert ends.targets["two"].samefile(ends.home)
    assert ends.settled("two") == {"image"}
    assert stat.S_IMODE(ends.home.stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_its_glance_could_not_read_is_copied_rather_than_linked(ends: Ends) -> None:
    os.chown(ends.targets["two"].parent, 12345, 23456)
    ends.home.chmod(0o600)
    order = ends.order()
    order["targets"]["two"]["link"] = True
    assert fates(order)["two"]["how"] != "hard link"
    assert ends.targets["two"].read_bytes() == CONTENT
    assert stat.S_IMODE(ends.home.stat().st_mode) == 0o600


def test_across_file_systems_a_link_is_a_copy(ends: Ends, tmp_path: pathlib.Path) -> None:
    there = pathlib.Path("/dev/shm", f"glancesync-copier-{os.getpid()}")
    there.mkdir()
    try:
        order = ends.order()
        order["targets"]["two"] = {"path": str(there / "image"), "link": True}
        assert fates(order)["two"]["how"] == "copy"
        assert (there / "image").read_bytes() == CONTENT
    finally:
        shutil.rmtree(there)


@pytest.mark.parametrize(
    "name", ["a b", "quote'\"s", "new\nline", "$(id)", "-rf", "日本", "back\\slash"]
)
def test_odd_names(ends: Ends, name: str) -> None:
    there = ends.home.parent / name
    there.mkdir()
    order = ends.order()
    order["targets"]["two"]["path"] = str(there / "image")
    assert fates(order)["two"]["ok"]
    assert (there / "image").read_bytes() == CONTENT


@pytest.mark.parametrize("holes", ["first", "last", "all", "between"])
def test_holes_stay_holes_and_count_as_zeros(ends: Ends, holes: str) -> None:
    size = 64 * MIB + 5
    parts = {"first": [size - 10], "last": [0], "all": [], "between": [0, 32 * MIB, size - 10]}
    with ends.home.open("wb") as file:
        file.truncate(size)
        for at in parts[holes]:
            file.seek(at)
            file.write(b"0123456789")
    value = hashlib.sha512(ends.home.read_bytes()).hexdigest()
    assert fates(ends.order(size=size, hash_value=value))["two"]["ok"]
    copy = ends.targets["two"]
    assert copy.read_bytes() == ends.home.read_bytes()
    assert copy.stat().st_blocks <= ends.home.stat().st_blocks + 16


def refused(ends: Ends, side: str, said: str, **more: Any) -> None:
    """It fails, in these words, and nothing stays in the target's directory."""
    fate = fates(ends.order(**more))["two"]
    assert not fate["ok"]
    assert fate["side"] == side
    assert said in fate["message"]
    assert ends.names("two") == set()


def test_wrong_bytes_never_get_the_name(ends: Ends) -> None:
    ends.home.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    refused(ends, "corrupt", "its sha512 is")


def test_wrong_bytes_are_seen_by_the_md5_where_that_is_all_there_is(ends: Ends) -> None:
    right = hashlib.md5(CONTENT).hexdigest()
    assert fates(ends.order(hash_algo="md5", hash_value=right))["two"]["ok"]
    ends.targets["two"].unlink()
    refused(ends, "corrupt", "its md5 is", hash_algo="md5", hash_value="0" * 32)


def test_an_image_without_any_hash_is_copied_by_its_size(ends: Ends) -> None:
    assert fates(ends.order(hash_algo="", hash_value=""))["two"]["ok"]


@pytest.mark.parametrize("size", [0, len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_file_of_another_size(ends: Ends, size: int) -> None:
    refused(ends, "source", f"has {len(CONTENT)} bytes, not {size}", size=size)


def test_no_file(ends: Ends) -> None:
    ends.home.unlink()
    refused(ends, "source", "No such file")


def test_a_symbolic_link_is_not_followed(ends: Ends, tmp_path: pathlib.Path) -> None:
    ends.home.rename(tmp_path / "real")
    ends.home.symlink_to(tmp_path / "real")
    refused(ends, "source", "it is a symbolic link")


def test_a_fifo_does_not_hang(ends: Ends) -> None:
    ends.home.unlink()
    os.mkfifo(ends.home)
    refused(ends, "source", "is not a file")


def test_no_directory(ends: Ends) -> None:
    order = ends.order()
    order["targets"]["two"]["path"] = str(ends.home.parent / "missing" / "image")
    fate = fates(order)["two"]
    assert (fate["ok"], fate["side"]) == (False, "target")
    assert "No such file or directory" in fate["message"]


def test_a_full_disk(ends: Ends) -> None:
    there = ends.targets["two"].parent
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(there)])
    if mounted.returncode:
        pytest.skip("only root mounts a small file system")
    try:
        refused(ends, "target", "No space left")
        assert fates(ends.order("two", "three"))["three"]["ok"], "one must not harm the other"
    finally:
        subprocess.run(["umount", str(there)], check=True)


def test_a_directory_that_is_only_read(ends: Ends) -> None:
    there = ends.targets["two"].parent
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(there)])
    if mounted.returncode:
        pytest.skip("only root mounts a read-only file system")
    try:
        refused(ends, "target", "Read-only")
    finally:
        subprocess.run(["umount", str(there)], check=True)


def test_what_is_in_the_way_is_not_followed(ends: Ends, tmp_path: pathlib.Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"keep")
    (ends.targets["two"].parent / LOCK).symlink_to(victim)
    fate = fates(ends.order())["two"]
    assert (fate["ok"], fate["side"]) == (False, "target")
    assert victim.read_bytes() == b"keep"


def test_what_an_earlier_run_left_is_written_anew(ends: Ends) -> None:
    for name in (LOCK, PARTIAL):
        (ends.targets["two"].parent / name).write_bytes(b"x" * 5 * MIB)
    assert fates(ends.order())["two"]["ok"]
    assert ends.targets["two"].read_bytes() == CONTENT
    assert ends.settled("two") == {"image"}


# -- what has the name already --------------------------------------------------------------------


def put_in_the_way(path: pathlib.Path, what: str) -> None:
    match what:
        case "a directory":
            path.mkdir()
        case "a fifo":
            os.mkfifo(path)
        case "a link to nothing":
            path.symlink_to("nowhere")
        case "a link to the right bytes":
            path.with_name("aside").write_bytes(CONTENT)
            path.symlink_to("aside")
        case "fewer bytes":
            path.write_bytes(CONTENT[:-1])
        case "no bytes":
            path.touch()
        case "other bytes":
            path.write_bytes(b"x" + CONTENT[1:])


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize(
    "what",
    [
        *("a directory", "a fifo", "a link to nothing", "a link to the right bytes"),
        *("fewer bytes", "no bytes", "other bytes"),
    ],
)
def test_what_has_the_name_already_is_left_alone(ends: Ends, what: str, link: bool) -> None:
    path = ends.targets["two"]
    put_in_the_way(path, what)
    before, names = path.lstat(), ends.names("two")
    order = ends.order("two", "three")
    order["targets"]["two"]["link"] = link
    said = fates(order)
    assert (said["two"]["ok"], said["two"]["side"]) == (False, "target")
    assert f"'{path}' is " in said["two"]["message"]
    assert "left alone" in said["two"]["message"]
    after = path.lstat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns, after.st_nlink) == (
        *(before.st_ino, before.st_size, before.st_mtime_ns, before.st_nlink),
    )
    assert ends.names("two") == names
    assert said["three"]["ok"], "others get theirs"


@pytest.mark.parametrize("link", [False, True])
def test_the_right_bytes_under_the_name_are_taken_as_they_are(ends: Ends, link: bool) -> None:
    path = ends.targets["two"]
    path.write_bytes(CONTENT)
    before = path.stat()
    order = ends.order()
    order["targets"]["two"]["link"] = link
    assert fates(order)["two"] == {"target": "two", "ok": True, "how": "there", "made": False}
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert ends.names("two") == {"image"}


def test_without_a_hash_nobody_knows_whether_it_is_right(ends: Ends) -> None:
    ends.targets["two"].write_bytes(CONTENT)
    fate = fates(ends.order(hash_algo="", hash_value=""))["two"]
    assert "is another file, and is left alone" in fate["message"]


def test_a_second_name_of_homes_file_is_taken_and_not_ours(ends: Ends) -> None:
    """As from a time when both shared a file system by ``share``."""
    os.link(ends.home, ends.targets["two"])
    assert fates(ends.order())["two"] == {
        "target": "two",
        "ok": True,
        "how": "there",
        "made": False,
    }
    assert ends.names("two") == {"image"}


@pytest.mark.parametrize("link", [False, True])
def test_what_an_earlier_order_named_is_found_and_known_as_ours(ends: Ends, link: bool) -> None:
    """As after a kill between the name and Glance's word."""
    ends.home.chmod(0o640)
    order = ends.order()
    order["targets"]["two"]["link"] = link
    assert fates(order)["two"]["made"]
    before = ends.targets["two"].stat()
    assert fates(order)["two"] == {"target": "two", "ok": True, "how": "there", "made": True}
    assert ends.targets["two"].stat().st_ino == before.st_ino
    os.link(ends.targets["two"], ends.targets["two"].with_name(PARTIAL))  # killed right there
    assert fates(order)["two"]["made"]
    assert ends.names("two") == {"image", LOCK}
    assert Berth(str(ends.targets["two"])).take_back()
    assert ends.names("two") == set()
    assert ends.home.read_bytes() == CONTENT


def test_what_an_earlier_order_named_stays_whatever_comes_of_a_later_one(ends: Ends) -> None:
    """Its Glance may have been told of it by another process, just now."""
    assert fates(ends.order())["two"]["made"]
    ends.home.write_bytes(CONTENT[:-1] + b"?")
    assert fates(ends.order())["two"]["side"] == "corrupt"
    assert ends.names("two") == {"image", LOCK}
    assert ends.targets["two"].read_bytes() == CONTENT


def test_ours_that_rotted_is_written_anew(ends: Ends) -> None:
    fates(ends.order())
    there = ends.targets["two"].stat()
    with ends.targets["two"].open("r+b") as file:
        file.write(b"rotten")
    os.utime(ends.targets["two"], ns=(there.st_atime_ns, there.st_mtime_ns))
    assert fates(ends.order())["two"]["made"]
    assert ends.targets["two"].read_bytes() == CONTENT


def test_what_replaced_ours_is_not_ours(ends: Ends) -> None:
    fates(ends.order())
    ends.targets["two"].unlink()
    ends.targets["two"].write_bytes(b"somebody's")
    assert "left alone" in fates(ends.order())["two"]["message"]
    Berth(str(ends.targets["two"])).take_back()
    assert ends.names("two") == {"image"}
    assert ends.targets["two"].read_bytes() == b"somebody's"


@pytest.mark.parametrize("link", [False, True])
def test_what_comes_while_it_is_copied_is_left_alone(ends: Ends, link: bool) -> None:
    size = 1024 * MIB
    ends.home.write_bytes(b"")
    os.truncate(ends.home, size)
    ends.home.chmod(0o640)
    digest = hashlib.md5(bytes(size)).hexdigest()
    order = ends.order(size=size, hash_algo="md5", hash_value=digest)
    order["targets"]["two"]["link"] = link
    with start(order) as child:
        until(lambda: PARTIAL in ends.names("two"), 20, "it to have begun")
        ends.targets["two"].write_bytes(b"somebody's")
        assert child.stdout is not None
        fate = next(line for line in map(json.loads, child.stdout) if "target" in line)
    assert fate["ok"] is False
    assert f"'{ends.targets['two']}' came to be meanwhile" in fate["message"]
    assert ends.targets["two"].read_bytes() == b"somebody's"
    assert ends.names("two") == {"image"}


def test_a_file_system_without_hard_links_is_not_written_to(ends: Ends) -> None:
    """Linux has none here to mount; so it is Linux itself that is not asked."""
    program = (
        "import errno, os, runpy\n"
        "def link(*args, **kwargs): raise PermissionError(errno.EPERM, 'No links here')\n"
        f"os.link = link\nrunpy.run_path({copier.__file__!r}, run_name='__main__')"
    )
    order = json.dumps(ends.order()).encode() + b"\n"
    with subprocess.Popen(
        [sys.executable, "-I", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(order)
        child.stdin.flush()
        fate = json.loads(child.stdout.readline())
    assert f"'{ends.targets['two']}': its file system knows no hard links" in fate["message"]
    assert ends.names("two") == set()


def test_what_was_left_long_ago_is_removed(ends: Ends) -> None:
    there = ends.targets["two"].parent
    left, ours, young = (f"{number}" * 8 + "-1111-2222-3333-444444444444" for number in "abc")
    for image in (left, young):
        for end in ("", ".partial"):
            (there / f".{image}.glance-sync{end}").write_bytes(b"half")
    order = ends.order()
    order["targets"]["two"]["path"] = str(there / ours)
    fates(order)
    (there / ".other.glance-sync").touch()
    for name in os.listdir(there):
        if young not in name:
            os.utime(there / name, (1, time.time() - STALE - 60) if ours not in name else None)
    sweep(str(there), time.time() + 1)
    kept = {ours, f".{ours}.glance-sync", f".{young}.glance-sync", f".{young}.glance-sync.partial"}
    assert ends.names("two") == {*kept, ".other.glance-sync"}
    (there / ours).unlink()
    held = Berth(str(there / young)).hold()
    try:
        sweep(str(there), time.time() + STALE + 60)
        assert ends.names("two") == {
            *(f".{young}.glance-sync", f".{young}.glance-sync.partial", ".other.glance-sync"),
        }
    finally:
        os.close(held)


def slow(ends: Ends) -> dict[str, Any]:
    """An order that takes a while: the hash of a long hole."""
    size = 40 * 1024 * MIB
    os.truncate(ends.home, size)
    return ends.order(size=size)


def partial(ends: Ends) -> bool:
    return LOCK in ends.names("two")


def test_two_at_the_same_file(ends: Ends) -> None:
    with start(slow(ends)) as first:
        try:
            until(lambda: partial(ends), 20, "the first to have begun")
            fate = fates(ends.order(size=ends.home.stat().st_size))["two"]
            assert (fate["ok"], fate["side"]) == (False, "target")
            assert "somebody else" in fate["message"]
            assert partial(ends), "the first one's file must stay"
        finally:
            first.kill()


def test_it_ends_and_leaves_nothing_when_nobody_listens_any_more(ends: Ends) -> None:
    with start(slow(ends)) as child:
        until(lambda: partial(ends), 20, "it to have begun")
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(10) == 3
    assert ends.names("two") == set()


def test_a_target_that_is_dropped_goes_and_the_other_stays(ends: Ends) -> None:
    order = slow(ends)
    order["targets"] = ends.order("two", "three")["targets"]
    with start(order) as child:
        try:
            until(lambda: partial(ends), 20, "it to have begun")
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(b'"two"\n')
            child.stdin.flush()
            fate = next(
                line for line in map(json.loads, child.stdout) if line.get("target") == "two"
            )
            assert fate["message"] == "the copy was cancelled"
            assert ends.names("two") == set()
            assert ends.names("three") >= {LOCK}
        finally:
            child.kill()


def test_what_is_looked_at_stays_when_nobody_wants_it_any_more(ends: Ends) -> None:
    order = slow(ends)
    ends.targets["two"].touch()
    os.truncate(ends.targets["two"], order["size"])
    order["targets"] = ends.order("two", "three")["targets"]
    with start(order) as child:
        try:
            until(lambda: partial(ends), 20, "it to have begun")
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(b'"two"\n')
            child.stdin.flush()
            fate = next(
                line for line in map(json.loads, child.stdout) if line.get("target") == "two"
            )
            assert fate["message"] == "the copy was cancelled"
            assert ends.names("two") == {"image"}
            child.stdin.close()
            assert child.wait(10) == 3
            assert ends.names("three") == set()
        finally:
            child.kill()


@pytest.mark.parametrize("how", ["shorter", "empty", "longer", "written to"])
def test_a_file_that_changes_while_it_is_read(ends: Ends, how: str) -> None:
    size = 1024 * MIB
    ends.home.write_bytes(b"")
    os.truncate(ends.home, size)
    digest = hashlib.md5(bytes(size)).hexdigest()
    with start(ends.order(size=size, hash_algo="md5", hash_value=digest)) as child:
        until(lambda: partial(ends), 20, "it to have begun")
        sizes = {"shorter": MIB, "empty": 0, "longer": size + 1}
        if how in sizes:
            os.truncate(ends.home, sizes[how])
        else:
            with ends.home.open("r+b") as file:
                file.write(b"\0")  # what was there
        assert child.stdout is not None
        fate = next(line for line in map(json.loads, child.stdout) if "target" in line)
    assert (fate["ok"], fate["side"]) == (False, "source")
    assert ends.names("two") == set()


def test_killed_outright_it_leaves_what_the_next_run_takes(ends: Ends) -> None:
    with start(slow(ends)) as child:
        until(lambda: partial(ends), 20, "it to have begun")
        child.send_signal(signal.SIGKILL)
    os.truncate(ends.home, 0)
    ends.home.write_bytes(CONTENT)
    assert fates(ends.order())["two"]["ok"]
    assert ends.settled("two") == {"image"}


@pytest.mark.parametrize("link", [False, True])
def test_a_run_killed_in_the_middle_of_a_link_costs_home_nothing(ends: Ends, link: bool) -> None:
    """Its second name for the file of home must not be written over by the next run."""
    size = 2048 * MIB  # so that hashing it takes a while
    os.truncate(ends.home, size)
    ends.home.chmod(0o640)
    order = ends.order(size=size, hash_algo="md5", hash_value="")
    order["targets"]["two"]["link"] = True
    with start(order) as child:
        until(lambda: ends.home.stat().st_nlink > 1, 20, "the link")
        child.send_signal(signal.SIGKILL)
    os.truncate(ends.home, 0)
    ends.home.write_bytes(CONTENT)
    order = ends.order()
    order["targets"]["two"]["link"] = link
    assert fates(order)["two"]["ok"]
    assert ends.home.read_bytes() == CONTENT
    assert ends.targets["two"].read_bytes() == CONTENT
    assert ends.targets["two"].samefile(ends.home) is link
    assert ends.settled("two") == {"image"}


def test_two_at_the_same_link(ends: Ends) -> None:
    size = 2048 * MIB
    os.truncate(ends.home, size)
    ends.home.chmod(0o640)
    order = ends.order(size=size, hash_algo="md5", hash_value="")
    order["targets"]["two"]["link"] = True
    with start(order) as first:
        try:
            until(lambda: ends.home.stat().st_nlink > 1, 20, "the first to have its link")
            fate = fates(order)["two"]
            assert "somebody else" in fate["message"]
        finally:
            first.kill()


def test_a_target_gets_no_more_than_its_bandwidth(ends: Ends) -> None:
    began = time.monotonic()
    assert fates(ends.order(rates={"two": MIB}))["two"]["ok"]
    assert time.monotonic() - began > 2.5


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_target_gets_all_of_its_bandwidth(
    ends: Ends, where: str, elsewhere: pathlib.Path
) -> None:
    """Also between file systems, where the kernel does not copy by itself."""
    size, rate = 40 * MIB, 40 * MIB
    content = random.Random(2).randbytes(size)
    ends.home.write_bytes(content)
    order = ends.order(size=size, rates={"two": rate})
    order["hash_value"] = hashlib.sha512(content).hexdigest()
    if where == "elsewhere":
        order["targets"]["two"]["path"] = str(elsewhere / "image")
    began = time.monotonic()
    assert fates(order)["two"]["ok"]
    assert 0.5 < time.monotonic() - began < 5


def test_what_stalls_leaves_nothing(ends: Ends) -> None:
    order = ends.order(stall=0.5, rates={"two": 1})
    with start(order) as child:
        assert child.stdout is not None
        lines = [json.loads(line) for line in child.stdout]
    assert {"stalled": ["two"]} in lines
    assert ends.names("two") == set()


def test_the_bandwidth_changes_while_it_runs(ends: Ends) -> None:
    with start(ends.order(rates={"two": 4096})) as child:  # would take twelve minutes
        until(lambda: partial(ends), 20, "it to have begun")
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps({"rates": {"two": None}}).encode() + b"\n")
        child.stdin.flush()
        fate = next(line for line in map(json.loads, child.stdout) if "target" in line)
    assert fate["ok"]
