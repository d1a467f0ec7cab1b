# SPDX-License-Identifier: Apache-2.0
"""What the doctor finds of ``glance_store.yaml``."""

import os
import pathlib
import pwd
from collections.abc import Callable, Iterator, Mapping

import pytest

from glancesync.cmd.stores import Finding, Told, examine
from glancesync.errors import Transient
from glancesync.schemes import Filesystem, Location, Rbd, Scheme, StoreInfo
from glancesync.stores.file import Entry

FILES = StoreInfo("local", "file", default=True, data_dir="/var/lib/glance/images")
MORE = StoreInfo("more", "file", default=False)
FULL = StoreInfo("blocks", "rbd", default=True, pool="images", fsid="7a1c4b52")
BLOCKS = StoreInfo("blocks", "rbd", default=False)
ME = pwd.getpwuid(os.geteuid()).pw_name


def entry(region: str, *schemes: Scheme) -> Entry:
    return Entry(region, schemes, 2, tuple(range(4, 4 + len(schemes))))


def nowhere(scheme: Filesystem, directory: str, write: bool) -> str:
    return f"no {scheme.host}:{directory} to {'write to' if write else 'read from'}"


def anywhere(scheme: Filesystem, directory: str, write: bool) -> str:
    return ""


def found(
    *entries: Entry,
    stores: tuple[StoreInfo, ...] = (FILES,),
    adopts: Mapping[str, str] | None = None,
) -> list[Finding]:
    told: dict[str, Callable[[], Told]] = {
        name: lambda: Told(stores, adopts or {}) for name in ("One", "Two")
    }
    return list(examine("f.yaml", entries, told, "One", anywhere))


@pytest.fixture
def locked(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A directory that even root may not write to, if it is root who runs the tests."""
    if os.geteuid() == 0:
        yield pathlib.Path("/proc/sys/kernel")
        return
    tmp_path.chmod(0o500)
    yield tmp_path
    tmp_path.chmod(0o700)


def test_a_region_that_keystone_does_not_list() -> None:
    assert found(entry("Three", Rbd())) == [
        (
            *(False, "f.yaml:2"),
            "Keystone lists no region Three with an image endpoint; it has One, Two",
        )
    ]


def test_a_region_that_does_not_answer() -> None:
    def silent() -> Told:
        raise Transient("Two", "could not ask for its stores: timeout")

    [one] = examine(
        "f.yaml", [entry("Two", Filesystem(host="h"))], {"Two": silent}, "One", anywhere
    )
    said = "could not ask for its stores: timeout; its stores are not known"
    assert one == (False, "Two", said)


@pytest.mark.parametrize(
    ("scheme", "stores", "said"),
    [
        (
            Filesystem(host="h", store="lokal"),
            (FILES, BLOCKS),
            "Two has no store lokal; it has bloc",
        ),
        (
            Filesystem(host="h", store="blocks"),
            (FILES, BLOCKS),
            "blocks of Two is not of type file",
        ),
        (Filesystem(host="h", store="local"), (), "has no name; leave out 'store: local'"),
        (Filesystem(host="h"), (FILES, MORE), "say by 'store' which of local, more of Two"),
        (Filesystem(host="h"), (BLOCKS,), "Two has no store of type file"),
    ],
)
def test_a_scheme_that_is_for_no_store(
    scheme: Scheme, stores: tuple[StoreInfo, ...], said: str
) -> None:
    [(well, where, words)] = found(entry("Two", scheme), stores=stores)
    assert not well
    assert where == "f.yaml:4"
    assert said in words


def test_directories_of_this_host(tmp_path: pathlib.Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = entry("One", Filesystem(datadir=f"{tmp_path}/one"))
    two = entry("Two", Filesystem(datadir=f"{tmp_path}/two"))
    adopts = {"local": "/g"}
    assert found(two, one, adopts=adopts) == [
        (True, "One", f"{tmp_path}/one can be read as {ME}"),
        (
            *(True, "Two"),
            f"images go into {tmp_path}/two, which can be written as {ME} and is on the file "
            "system of home's",
        ),
    ]
    shm = entry("One", Filesystem(datadir="/dev/shm"))
    assert "on the file system" not in found(two, shm, adopts=adopts)[1][2]


def test_a_directory_of_two_regions(tmp_path: pathlib.Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "mounted").symlink_to("one")
    one = entry("One", Filesystem(datadir=f"{tmp_path}/one"))
    two = entry("Two", Filesystem(datadir=f"{tmp_path}/mounted"))
    [_, (well, where, said)] = found(one, two, adopts={"local": "/g"})
    assert (well, where) == (False, "Two")
    assert f"{tmp_path}/mounted is also that of One: who deletes" in said


@pytest.mark.parametrize(
    ("scheme", "store", "other"),
    [
        (Filesystem(host="h", datadir="/d"), FILES, Filesystem(host="h", datadir="/e")),
        (Filesystem(host="h"), FILES, Filesystem(host="g")),
        (Filesystem(host="h"), FILES, Filesystem(host="h", port=23)),
        (Rbd(ceph_conf="/etc/hostname"), FULL, Rbd(ceph_conf="/etc/hostname", pool="x")),
    ],
)
def test_a_store_of_two_regions(scheme: Scheme, store: StoreInfo, other: Scheme) -> None:
    def look(*schemes: Scheme) -> list[bool]:
        told = Told((store,), {store.id: "/g"})
        entries = [entry(name, one) for name, one in zip("ABC", schemes, strict=False)]
        asked = dict.fromkeys("ABC", lambda: told)
        return [well for well, *_ in examine("f", entries, asked, "", anywhere)]

    assert look(scheme, scheme) == [True, False]
    if isinstance(other, Filesystem):  # of a pool it is Glance's word that counts
        assert look(scheme, other, scheme) == [True, True, False]
    else:
        assert look(scheme, other) == [True, False]


def test_a_directory_that_glance_tells(tmp_path: pathlib.Path) -> None:
    stores = (StoreInfo("local", "file", default=True, data_dir=str(tmp_path)),)
    [(well, _, said)] = found(entry("One", Filesystem()), stores=stores)
    assert (well, said) == (True, f"{tmp_path} can be read as {ME}")
    [(well, _, said)] = found(entry("Two", Filesystem()), adopts={"local": str(tmp_path)})
    assert well
    assert f"images go into {tmp_path}," in said


def test_an_image_of_home(tmp_path: pathlib.Path) -> None:
    (tmp_path / "A").write_text("bytes")

    def look(path: str, *schemes: Scheme) -> Finding:
        told = Told(
            (FILES, BLOCKS), {}, "A", (Location(f"file://{path}", "local"),) if path else ()
        )
        asked = {"One": lambda: told}
        return list(examine("f.yaml", [entry("One", *schemes)], asked, "One", anywhere))[-1]

    here = Filesystem(datadir=str(tmp_path))
    assert look(f"{FILES.data_dir}/A", here) == (True, "One", f"image A is at {tmp_path}/A")
    assert look(f"{FILES.data_dir}/B", here) == (
        *(False, "One"),
        f"image A is not at {tmp_path}/B; is 'datadir' right?",
    )
    well, _, said = look("/elsewhere/A", here)
    assert not well
    assert "image A can't be read from its store: its file is not in /var/lib" in said
    well, _, said = look(f"{FILES.data_dir}/A", Rbd(ceph_conf="/etc/hostname"))
    assert not well
    assert "glance_store.yaml has no scheme for its store local of type file" in said
    assert look("", here)[2].endswith("can't be read from its store: Glance tells no location")


@pytest.mark.parametrize("region", ["One", "Two"])
def test_a_directory_that_is_not_there(region: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    for name in ("gone", "file"):
        scheme = Filesystem(datadir=f"{tmp_path}/{name}")
        [one] = found(entry(region, scheme), adopts={"local": "/g"})
        said = f"{tmp_path}/{name} is not a directory of this host; is 'host: localhost' right?"
        assert one == (False, region, said)


def test_a_directory_that_can_not_be_written(locked: pathlib.Path) -> None:
    [one] = found(entry("Two", Filesystem(datadir=str(locked))), adopts={"local": "/g"})
    assert one == (False, "Two", f"{locked} can't be written as {ME}")


def test_a_glance_that_adopts_no_files() -> None:
    [(well, where, said)] = found(entry("Two", Filesystem(host="h")))
    assert (well, where) == (False, "Two")
    assert "its Glance does not adopt files" in said
    [(well, _, said)] = found(entry("Two", Filesystem(host="h")), adopts={"local": "/g"})
    assert (well, said) == (True, "images go into h:/g, by ssh")


def test_directories_of_other_hosts() -> None:
    told = {name: lambda: Told((FILES,), {"local": "/g"}) for name in ("One", "Two")}
    entries = [entry("One", Filesystem(host="h")), entry("Two", Filesystem(host="h"))]
    assert list(examine("f", entries, told, "One", anywhere)) == [
        (True, "One", f"h:{FILES.data_dir} can be read by ssh"),
        (True, "Two", "images go into h:/g, by ssh"),
    ]
    assert list(examine("f", entries, told, "One", nowhere)) == [
        (False, "One", f"no h:{FILES.data_dir} to read from"),
        (False, "Two", "no h:/g to write to"),
    ]


def test_files_that_are_named(tmp_path: pathlib.Path) -> None:
    key = tmp_path / "key"
    scheme = Filesystem(host="h", key_file=str(key), known_hosts="/dev/null")
    one = entry("One", Rbd(ceph_conf=f"{tmp_path}/ceph"), scheme)
    stores = (FILES, BLOCKS)
    assert found(one, stores=stores) == [
        (False, "f.yaml:4", f"ceph_conf {tmp_path}/ceph does not exist"),
        (False, "f.yaml:5", f"key_file {key} does not exist"),
        (False, "f.yaml:5", "known_hosts /dev/null does not exist"),
        (True, "One", f"h:{FILES.data_dir} can be read by ssh"),
    ]
    (tmp_path / "ceph").touch(0o644)
    (tmp_path / "hosts").touch(0o644)
    key.touch(0o640)
    scheme = Filesystem(host="h", key_file=str(key), known_hosts=f"{tmp_path}/hosts")
    one = entry("One", Rbd(ceph_conf=f"{tmp_path}/ceph"), scheme)
    said = f"ssh refuses {key}, as others may use it; 'chmod 600 {key}'"
    assert found(one, stores=stores)[0] == (False, "f.yaml:5", said)
    key.chmod(0o600)
    assert all(well for well, *_ in found(one, stores=stores))
