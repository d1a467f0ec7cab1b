# SPDX-License-Identifier: Apache-2.0
"""Far, slow, stalling and broken links under ``scp``, ``rsync`` and ``upload``."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from glancesync.errors import RegionError, Transient, WayBlocked
from glancesync.interfaces import Endpoint, ImageService, Source, Target
from glancesync.schemes import Filesystem
from glancesync.transports.settings import TransferSettings
from glancesync.transports.upload import Upload
from tests.contract.bare_glance import BareGlance
from tests.deliveries import IMAGE, MIB, Delivery, data, image, left
from tests.functional.wait import until
from tests.sshd import Host, Islands, Wire

pytestmark = pytest.mark.matrix(way=["rsync"])

HERE = Filesystem()
CONTENT = data(12 * MIB, seed=4)
PARTIAL = f".{IMAGE}.partial"
DELAY = 0.05  # seconds in each direction
RATE = 100e6 / 8
HASTY = TransferSettings(stall=3)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    made = tmp_path / "home", tmp_path / "region"
    for one in made:
        one.mkdir()
    (made[0] / IMAGE).write_bytes(CONTENT)
    return made


@pytest.fixture
def glances() -> Iterator[list[BareGlance]]:
    """Home, and two regions."""
    made = [BareGlance("home", CONTENT), BareGlance("near"), BareGlance("far")]
    yield made
    for one in made:
        one.close()


def far(host: Host, wires: list[Wire]) -> Wire:
    wires.append(Wire(host.address, host.port, DELAY, RATE))
    return wires[-1]


def deliver(way: str, host: Host, wire: Wire, folders: tuple[Path, Path]) -> Delivery:
    ends = (HERE, folders[0] / IMAGE), (host.scheme(port=wire.port), folders[1] / IMAGE)
    return Delivery(way, *ends, image(CONTENT), HASTY)


# -- scp and rsync --------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["to", "from"])
def test_a_far_host_is_no_stall(
    way: str,
    direction: str,
    two_hosts: tuple[Host, Host],
    wires: list[Wire],
    folders: tuple[Path, Path],
) -> None:
    there = two_hosts[0].scheme(port=far(two_hosts[0], wires).port)
    source, target = (HERE, there) if direction == "to" else (there, HERE)
    ends = (source, folders[0] / IMAGE), (target, folders[1] / IMAGE)
    assert Delivery(way, *ends, image(CONTENT), HASTY).over() is None
    assert (folders[1] / IMAGE).read_bytes() == CONTENT


def test_a_stall_far_away_is_seen(
    way: str, two_hosts: tuple[Host, Host], wires: list[Wire], folders: tuple[Path, Path]
) -> None:
    wire = far(two_hosts[0], wires)
    wire.freeze_at = 6 * MIB
    move = deliver(way, two_hosts[0], wire, folders)
    until(wire.frozen.is_set, 30, "the middle of the copy")
    began = time.monotonic()
    assert isinstance(move.over(), WayBlocked)
    assert time.monotonic() - began < 4 * HASTY.stall
    assert not move.registry.registered


@pytest.mark.always
def test_what_is_cut_goes_on_or_begins_anew(
    way: str, two_hosts: tuple[Host, Host], wires: list[Wire], folders: tuple[Path, Path]
) -> None:
    wire = far(two_hosts[0], wires)
    wire.cut_at = 10 * MIB
    assert isinstance(deliver(way, two_hosts[0], wire, folders).over(), WayBlocked)
    until(lambda: left(folders[1]) == ({PARTIAL} if way == "rsync" else set()), 20, "the end")
    have = (folders[1] / PARTIAL).stat().st_size if way == "rsync" else 0
    again = far(two_hosts[0], wires)
    assert deliver(way, two_hosts[0], again, folders).over() is None
    assert (folders[1] / IMAGE).read_bytes() == CONTENT
    assert len(CONTENT) - have - MIB < again.passed < len(CONTENT) - have + MIB
    if way == "rsync":
        assert have > 5 * MIB


def test_bytes_that_go_wrong_on_the_way_never_count(
    way: str, two_hosts: tuple[Host, Host], wires: list[Wire], folders: tuple[Path, Path]
) -> None:
    wire = far(two_hosts[0], wires)
    wire.flip_at = 6 * MIB
    move = deliver(way, two_hosts[0], wire, folders)
    assert isinstance(move.over(), WayBlocked)
    assert not move.registry.registered
    until(lambda: left(folders[1]) <= {PARTIAL}, 20, "the end")
    assert deliver(way, two_hosts[0], wire, folders).over() is None
    assert (folders[1] / IMAGE).read_bytes() == CONTENT


def test_what_was_kept_and_is_wrong_is_mended(
    two_hosts: tuple[Host, Host], wires: list[Wire], folders: tuple[Path, Path]
) -> None:
    kept = bytearray(CONTENT[: 8 * MIB])
    kept[5 * MIB] ^= 1
    (folders[1] / PARTIAL).write_bytes(kept)
    wire = far(two_hosts[0], wires)
    assert deliver("rsync", two_hosts[0], wire, folders).over() is None
    assert (folders[1] / IMAGE).read_bytes() == CONTENT
    assert wire.passed < 5 * MIB


def test_a_link_that_stalls_holds_up_nobody_else(
    way: str,
    two_hosts: tuple[Host, Host],
    wires: list[Wire],
    folders: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    stalled = far(two_hosts[0], wires)
    stalled.freeze_at = 6 * MIB
    slow = deliver(way, two_hosts[0], stalled, folders)
    until(stalled.frozen.is_set, 30, "the middle of the copy")
    other = tmp_path / "other"
    other.mkdir()
    ends = (HERE, folders[0] / IMAGE), (two_hosts[1].scheme(), other / IMAGE)
    patient = TransferSettings(stall=30)
    assert Delivery(way, *ends, image(CONTENT), patient).over() is None
    assert left(other) == {IMAGE}
    assert left(folders[1]) <= {PARTIAL}
    assert isinstance(slow.over(), WayBlocked)


# -- upload ---------------------------------------------------------------------------------------


class Behind:
    """A Glance at the end of a wire."""

    def __init__(self, glance: BareGlance, wire: Wire) -> None:
        self.region, self._glance, self._wire = glance.region, glance, wire

    def file(self, image_id: str) -> Endpoint:
        end = self._glance.file(image_id)
        url = f"http://127.0.0.1:{self._wire.port}/{end.url.split('/', 3)[3]}"
        return Endpoint(end.region, url, end.token)


class Transfer:
    """An upload to regions, in a thread of its own."""

    def __init__(self, home: BareGlance, *regions: object) -> None:
        self.settled: dict[str, RegionError | None] = {}
        self._thread = threading.Thread(target=self._run, args=(home, regions))
        self._thread.start()

    def _run(self, home: BareGlance, regions: tuple[Behind | BareGlance, ...]) -> None:
        def settle(target: Target, error: RegionError | None) -> None:
            self.settled[target.region] = error

        targets = [
            Target(one.region, IMAGE, cast(ImageService, one), lambda done: None, lambda: False)
            for one in regions
        ]
        source = Source(image(home.serves), cast(ImageService, home))
        Upload(TransferSettings(chunk=256 * 1024, window=4, patience=0.3, stall=3)).move(
            source, targets, settle
        )

    def over(self) -> dict[str, RegionError | None]:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the transfer does not end"
        return self.settled


def wired(glance: BareGlance, wires: list[Wire]) -> tuple[Wire, Behind]:
    port = int(glance.file("").url.split(":")[2].split("/")[0])
    wires.append(Wire("127.0.0.1", port, DELAY, RATE))
    return wires[-1], Behind(glance, wires[-1])


def test_an_upload_to_a_far_region(glances: list[BareGlance], wires: list[Wire]) -> None:
    home, near, distant = glances
    _, behind = wired(distant, wires)
    assert Transfer(home, near, behind).over() == {"near": None, "far": None}
    assert distant.received == near.received == CONTENT


def test_an_upload_that_stalls_far_away(glances: list[BareGlance], wires: list[Wire]) -> None:
    home, near, distant = glances
    wire, behind = wired(distant, wires)
    wire.freeze_at = 4 * MIB
    move = Transfer(home, near, behind)
    until(lambda: "near" in move.settled, 30, "the word about the near one")
    assert move.settled == {"near": None}, "it came first"
    began = time.monotonic()
    assert isinstance(move.over()["far"], Transient)
    assert time.monotonic() - began < 12
    assert not distant.complete


@pytest.mark.always
def test_an_upload_that_is_cut_begins_anew(glances: list[BareGlance], wires: list[Wire]) -> None:
    home, near, distant = glances
    wire, behind = wired(distant, wires)
    wire.cut_at = 4 * MIB
    settled = Transfer(home, near, behind).over()
    assert settled["near"] is None
    assert isinstance(settled["far"], Transient)
    assert not distant.complete
    wire.cut_at = None
    distant.received.clear()
    assert Transfer(home, behind).over() == {"far": None}
    assert distant.received == CONTENT


def test_an_upload_over_a_link_of_100_mbit(glances: list[BareGlance], islands: Islands) -> None:
    """A real one, to a network namespace; it keeps nobody else waiting (P8)."""
    islands.limit("100mbit")
    west = BareGlance("far", address=islands.address[islands.west], netns=islands.west)
    glances.append(west)
    home, near, *_ = glances
    home.serves = CONTENT * 4
    home.size = len(home.serves)
    needed = home.size * 8 / 100e6  # seconds
    began = time.monotonic()
    move = Transfer(home, near, west)
    until(lambda: "near" in move.settled, 60, "the word about the near one")
    first = time.monotonic() - began
    assert move.over() == {"near": None, "far": None}
    assert first < 0.8 * (time.monotonic() - began)
    assert 0.9 < (time.monotonic() - began) / needed < 4
    assert west.received == near.received == home.serves
    assert home.size < islands.carried(islands.west) < 1.2 * home.size
