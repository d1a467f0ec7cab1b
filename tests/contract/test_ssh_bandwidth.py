# SPDX-License-Identifier: Apache-2.0
"""``scp`` and ``rsync`` keep to their bandwidth, whoever copies, and follow it when it changes."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest

from glancesync.errors import Transient
from glancesync.model import Image
from glancesync.schemes import Filesystem
from glancesync.transports.settings import TransferSettings
from tests.deliveries import IMAGE, MIB, Delivery, data, image, left
from tests.functional.wait import until
from tests.sshd import Hosts, Wire, called_by, descendants, lets_itself_in

HERE = Filesystem()
CONTENT = data(16 * MIB, seed=3)
LINK = 25e6  # bytes per second: on loopback all may have passed before that is seen
PARTIAL = f".{IMAGE}.partial"
PAIRS = [
    ("scp", "to a host"),
    ("scp", "from a host"),
    ("scp", "relayed"),
    ("scp", "directly"),
    ("rsync", "to a host"),
    ("rsync", "from a host"),
    ("rsync", "directly"),
]
#: Both ways to pace: stopping ssh here, and the shell on the other host.
BOTH = [("scp", "to a host"), ("rsync", "directly")]
VARIED = [pytest.param(*pair, marks=() if pair in BOTH else pytest.mark.matrix) for pair in PAIRS]


class Rate:
    """What a copy may have; ``asked`` counts how often that was looked at."""

    def __init__(self, now: int | None) -> None:
        self.now = now
        self.asked = 0

    def __call__(self) -> int | None:
        self.asked += 1
        return self.now

    def change(self, now: int | None) -> None:
        """Return when it is known to those who copy."""
        self.now, before = now, self.asked
        until(lambda: self.asked > before + 3, 10, "the new rate to be seen")


class Pair:
    """A copy between two hosts over a wire."""

    def __init__(self, direction: str, hosts: Hosts, wires: list[Wire]) -> None:
        one, other = hosts.start(), hosts.start()
        last = one if direction == "from a host" else other
        self.wire = Wire(last.address, last.port, rate=LINK)
        wires.append(self.wire)
        home, there = one.scheme(), other.scheme(port=self.wire.port)
        if direction == "directly":
            lets_itself_in(one, dataclasses.replace(other, port=self.wire.port))
        self.ends = {
            "to a host": (HERE, there),
            "from a host": (one.scheme(port=self.wire.port), HERE),
            "relayed": (home, there),
            "directly": (home, there),
        }[direction]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    made = tmp_path / "home", tmp_path / "region"
    for one in made:
        one.mkdir()
    (made[0] / IMAGE).write_bytes(CONTENT)
    return made


def deliver(
    way: str,
    ends: tuple[Filesystem, Filesystem],
    folders: tuple[Path, Path],
    rate: Rate,
    stall: float = 20,
    what: Image | None = None,
) -> Delivery:
    paths = [(scheme, folder / IMAGE) for scheme, folder in zip(ends, folders, strict=True)]
    settings = TransferSettings(stall=stall)
    return Delivery(way, paths[0], paths[1], what or image(CONTENT), settings, pace=rate)


@pytest.mark.parametrize(("way", "direction"), VARIED)
def test_a_limit_is_kept(
    way: str, direction: str, hosts: Hosts, wires: list[Wire], folders: tuple[Path, Path]
) -> None:
    pair = Pair(direction, hosts, wires)
    began = time.monotonic()
    assert deliver(way, pair.ends, folders, Rate(4 * MIB), stall=5).over() is None
    assert 3 < time.monotonic() - began < 20
    assert (folders[1] / IMAGE).read_bytes() == CONTENT


def test_a_limit_is_kept_within_a_host(hosts: Hosts, folders: tuple[Path, Path]) -> None:
    """Where nothing is slow: some dozen MiB may be written before that is seen."""
    there = hosts.start().scheme()
    (folders[0] / IMAGE).write_bytes(CONTENT * 6)
    began = time.monotonic()
    move = deliver("scp", (there, there), folders, Rate(8 * MIB), what=image(CONTENT * 6))
    assert move.over() is None
    assert time.monotonic() - began > 2


@pytest.mark.parametrize(("way", "direction"), VARIED)
def test_a_limit_that_comes_while_bytes_move(
    way: str, direction: str, hosts: Hosts, wires: list[Wire], folders: tuple[Path, Path]
) -> None:
    pair = Pair(direction, hosts, wires)
    pair.wire.freeze_at = MIB
    rate = Rate(None)
    move = deliver(way, pair.ends, folders, rate)
    until(pair.wire.frozen.is_set, 30, "the middle of the copy")
    rate.change(2 * MIB)
    # What was sent before it froze is in buffers: of the kernel, of ssh and of the wire.
    rest = len(CONTENT) - 9 * MIB
    began = time.monotonic()
    pair.wire.thaw()
    assert move.over() is None
    assert time.monotonic() - began > rest / (2 * MIB)
    assert (folders[1] / IMAGE).read_bytes() == CONTENT


@pytest.mark.parametrize(("way", "direction"), VARIED)
def test_a_limit_that_goes(
    way: str, direction: str, hosts: Hosts, wires: list[Wire], folders: tuple[Path, Path]
) -> None:
    pair = Pair(direction, hosts, wires)
    rate = Rate(len(CONTENT) // 60)
    began = time.monotonic()
    move = deliver(way, pair.ends, folders, rate)
    partial = folders[1] / PARTIAL
    until(lambda: partial.exists() and partial.stat().st_size, 30, "the first bytes")
    rate.change(None)
    assert move.over() is None
    assert time.monotonic() - began < 30
    assert (folders[1] / IMAGE).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("way", "direction"), [one for one in VARIED if one.values[1] in ("to a host", "directly")]
)
def test_to_be_held_back_is_no_stall(
    way: str, direction: str, hosts: Hosts, wires: list[Wire], folders: tuple[Path, Path]
) -> None:
    """What passed at once on a fast link is waited for."""
    pair = Pair(direction, hosts, wires)
    what = image(CONTENT[: 6 * MIB])
    (folders[0] / IMAGE).write_bytes(CONTENT[: 6 * MIB])
    began = time.monotonic()
    assert deliver(way, pair.ends, folders, Rate(MIB // 2), stall=1, what=what).over() is None
    assert time.monotonic() - began < 22, "and for no longer"


def test_a_limit_is_kept_where_a_host_allows_one_session(
    hosts: Hosts, wires: list[Wire], folders: tuple[Path, Path]
) -> None:
    """The bytes take a login of their own."""
    host = hosts.start("MaxSessions 1")
    wires.append(Wire(host.address, host.port, rate=LINK))
    began = time.monotonic()
    there = host.scheme(port=wires[0].port)
    assert deliver("scp", (HERE, there), folders, Rate(4 * MIB)).over() is None
    assert time.monotonic() - began > 3


@pytest.mark.parametrize("direction", ["to a host", "from a host", "directly"])
def test_nothing_that_is_held_back_outlives_the_courier(
    direction: str, hosts: Hosts, wires: list[Wire], folders: tuple[Path, Path]
) -> None:
    pair = Pair(direction, hosts, wires)
    move = deliver("scp", pair.ends, folders, Rate(MIB // 4))
    partial = folders[1] / PARTIAL
    until(lambda: partial.exists() and partial.stat().st_size, 30, "the first bytes")
    marks = ("/courier.py", "/glancesync-ssh-", str(folders[0].parent), f"-p\0{pair.wire.port}")
    started = {
        pid: words
        for pid, words in descendants()
        if any(mark in words for mark in marks) and "sshd" not in words
    }
    [courier] = [pid for pid, words in started.items() if "/courier.py" in words]
    assert len(started) > 1
    os.kill(courier, signal.SIGKILL)
    assert isinstance(move.over(), Transient)
    until(lambda: not any(called_by(pid) == started[pid] for pid in started), 20, "the end of all")
    until(lambda: not left(folders[1]), 20, "the partial file's end")
