# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Transport`` as ``filesystem`` keeps it: what becomes of what Glance refuses."""

import os
import pathlib
from typing import cast

import pytest

from glancesync.errors import Conflict, Refused, RegionError, Transient, WayBlocked
from glancesync.interfaces import ImageService, Source, Target
from glancesync.schemes import Filesystem as Directory
from glancesync.schemes import Location, Place
from glancesync.transports.berth import Berth
from glancesync.transports.filesystem import Filesystem
from glancesync.transports.settings import TransferSettings
from tests.deliveries import IMAGE, MIB, Registry, data, image

CONTENT = data(MIB)
LOCK = f".{IMAGE}.glance-sync"


def place(path: pathlib.Path, share: str) -> Place:
    scheme = Directory(host="localhost", share=share)
    return Place(scheme, Location(f"file://{path}", ""), str(path))


class Ends:
    """A directory of home, and one of a region."""

    def __init__(self, root: pathlib.Path) -> None:
        self.home, self.region = root / "home" / IMAGE, root / "region" / IMAGE
        for path in (self.home, self.region):
            path.parent.mkdir()
        self.home.write_bytes(CONTENT)
        self.registry = Registry("R1")
        self.registry.path = self.region

        self.transport = Filesystem(TransferSettings(stall=20))

    def move(self, share: str = "") -> RegionError | None:
        fates: list[RegionError | None] = []
        home = Source(image(CONTENT), cast(ImageService, Registry("home")), place(self.home, share))
        self.transport.move(home, [self.target(share)], lambda _, error: fates.append(error))
        (fate,) = fates
        return fate

    def tidy(self) -> None:
        self.transport.tidy(self.target())

    def target(self, share: str = "") -> Target:
        service = cast(ImageService, self.registry)
        there = place(self.region, share)
        return Target("R1", IMAGE, service, lambda _: None, lambda: False, there)

    @property
    def names(self) -> set[str]:
        return set(os.listdir(self.region.parent))


@pytest.fixture
def ends(tmp_path: pathlib.Path) -> Ends:
    return Ends(tmp_path)


@pytest.mark.parametrize("share", ["", "nfs"])
def test_what_glance_takes_is_glances(ends: Ends, share: str) -> None:
    ends.home.chmod(0o644)
    assert ends.move(share) is None
    assert ends.registry.held == [CONTENT]
    assert ends.names == {IMAGE}
    assert ends.region.samefile(ends.home) is bool(share)
    assert not Berth(str(ends.region)).take_back()
    assert ends.names == {IMAGE}


@pytest.mark.parametrize("share", ["", "nfs"])
def test_what_glance_refuses_goes_again(ends: Ends, share: str) -> None:
    ends.home.chmod(0o644)
    ends.registry.error = Refused("R1", "not by you")
    error = ends.move(share)
    assert isinstance(error, WayBlocked)
    assert error.message == "not by you"
    assert ends.registry.held == [CONTENT]
    assert ends.names == set()
    assert ends.home.read_bytes() == CONTENT


def test_what_was_there_stays_though_glance_refuses_it(ends: Ends) -> None:
    """P4."""
    ends.region.write_bytes(CONTENT)
    ends.registry.error = Refused("R1", "not by you")
    assert isinstance(ends.move(), WayBlocked)
    assert ends.registry.held == [CONTENT]
    assert ends.names == {IMAGE}


@pytest.mark.parametrize("error", [Transient("R1", "no answer"), Conflict("R1", "it is active")])
def test_what_glance_may_have_taken_stays_and_is_ours_next_time(
    ends: Ends, error: RegionError
) -> None:
    ends.registry.error = error
    assert ends.move() is error
    assert ends.names == {IMAGE, LOCK}
    before = ends.region.stat()
    ends.registry.error = Refused("R1", "not by you")
    assert isinstance(ends.move(), WayBlocked)
    assert ends.registry.held == [CONTENT, CONTENT]
    assert before.st_nlink == 1
    assert ends.names == set()


def test_what_was_left_is_tidied_up(ends: Ends) -> None:
    ends.registry.error = Transient("R1", "no answer")
    ends.move()
    assert ends.names == {IMAGE, LOCK}
    for _ in range(2):
        ends.tidy()
        assert ends.names == set()
    for name in (LOCK, f"{LOCK}.partial"):
        (ends.region.parent / name).write_bytes(b"half")
    ends.tidy()
    assert ends.names == set()


def test_what_is_not_of_us_is_not_tidied_up(ends: Ends) -> None:
    """P4: what Glance has taken, and what is somebody else's."""
    assert ends.move() is None
    ends.tidy()
    assert ends.names == {IMAGE}
    ends.region.with_name(LOCK).write_bytes(b"")  # as of an order that was killed before
    ends.region.with_name(f"{LOCK}.partial").write_bytes(b"half")
    ends.tidy()
    assert ends.names == {IMAGE}


def test_what_can_not_be_tidied_up_is_told(ends: Ends) -> None:
    ends.registry.error = Transient("R1", "no answer")
    ends.move()
    held = Berth(str(ends.region)).hold()
    with pytest.raises(WayBlocked, match="left over: somebody else is just writing"):
        ends.tidy()
    os.close(held)
    ends.region.with_name(f"{LOCK}.partial").mkdir()
    with pytest.raises(WayBlocked, match=f"{IMAGE}' is left over: Is a directory"):
        ends.tidy()


def test_what_somebody_else_works_on_is_not_taken_back(ends: Ends) -> None:
    ends.registry.error = Transient("R1", "no answer")
    ends.move()
    berth = Berth(str(ends.region))
    held: list[int] = []

    def refuse(*_: object) -> None:
        held.append(berth.hold())
        raise Refused("R1", "not by you")

    ends.registry.register = refuse  # type: ignore[method-assign]
    error = ends.move()
    os.close(held[0])
    assert isinstance(error, WayBlocked)
    assert "the file is left over: somebody else is just writing" in error.message
    assert ends.names == {IMAGE, LOCK}
