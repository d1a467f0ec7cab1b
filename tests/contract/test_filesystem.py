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


class Ends:
    """A directory of home, and one of a region."""

    def __init__(self, root: pathlib.Path) -> None:
        self.home, self.region = root / "home" / IMAGE, root / "region" / IMAGE
        for path in (self.home, self.region):
            path.parent.mkdir()
        self.home.write_bytes(CONTENT)
        self.registry = Registry("R1")
        self.registry.path = self.region

    def move(self, share: str = "") -> RegionError | None:
        fates: list[RegionError | None] = []
        source, there = (
            Place(
                Directory(host="localhost", share=share), Location(f"file://{path}", ""), str(path)
            )
            for path in (self.home, self.region)
        )
        service = cast(ImageService, self.registry)
        target = Target("R1", IMAGE, service, lambda _: None, lambda: False, there)
        Filesystem(TransferSettings(stall=20)).move(
            Source(image(CONTENT), cast(ImageService, Registry("home")), source),
            [target],
            lambda _, error: fates.append(error),
        )
        (fate,) = fates
        return fate

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
