# SPDX-License-Identifier: Apache-2.0
"""What is concluded from reading an image's bytes, and what is not."""

import dataclasses
from typing import cast

import pytest

from glancesync.errors import Refused, RegionError, Transient
from glancesync.interfaces import ImageService, Target
from glancesync.model import Image
from glancesync.verification import Verification

HOME = Image("1", "active", size=3, checksum="m", os_hash_algo="sha512", os_hash_value="h")
THERE = dataclasses.replace(HOME, id="2")


class Reader:
    """Finds what it is told to."""

    def __init__(self, found: str | RegionError) -> None:
        self.found = found
        self.asked: list[tuple[str, int, str]] = []

    def digest(self, target: Target, size: int, algorithm: str) -> str:
        self.asked.append((target.image_id, size, algorithm))
        if isinstance(self.found, RegionError):
            raise self.found
        return self.found


def look(reader: Reader, home: Image = HOME, *, patient: bool = False) -> Verification:
    target = Target("R", THERE.id, cast(ImageService, None), lambda done: None, lambda: False)
    verification = Verification()
    verification.look(reader, target, home, patient=patient)
    assert verification.looked
    return verification


def test_bytes_that_are_right() -> None:
    reader = Reader("h")
    found = look(reader)
    assert reader.asked == [("2", 3, "sha512")]
    assert (found.rot, found.said, found.unsound(THERE)) == (None, None, None)


def test_bytes_that_have_rotted() -> None:
    found = look(Reader("x"))
    rot = found.of(THERE)
    assert rot is not None
    assert not THERE.holding(rot.algorithm, rot.value).same_bytes(HOME)
    assert found.unsound(THERE) == "the bytes have rotted: their sha512 is x, not h"


def test_the_copy_that_came_instead_is_not_blamed() -> None:
    found = look(Reader("x"))
    anew = dataclasses.replace(THERE, id="3")
    assert found.of(anew) is None
    assert found.of(None) is None
    assert found.unsound(anew) is None


def test_an_image_that_has_a_checksum_only() -> None:
    home = dataclasses.replace(HOME, os_hash_algo=None, os_hash_value=None)
    reader = Reader("x")
    rot = look(reader, home).of(THERE)
    assert reader.asked == [("2", 3, "md5")]
    assert rot is not None
    assert not THERE.holding(rot.algorithm, rot.value).same_bytes(home)
    assert look(Reader("m"), home).said is None


def test_an_image_without_any_hash_is_not_read() -> None:
    reader = Reader("x")
    home = dataclasses.replace(HOME, checksum=None, os_hash_algo=None, os_hash_value=None)
    found = look(reader, home)
    assert reader.asked == []
    assert found.rot is None
    assert "no hash" in (found.unsound(THERE) or "")


@pytest.mark.parametrize("error", [Transient("R", "gone"), Refused("R", "gone")])
def test_bytes_that_can_not_be_read_prove_nothing(error: RegionError) -> None:
    found = look(Reader(error))
    assert found.rot is None
    assert found.unsound(THERE) == "the bytes could not be read: gone"


def test_what_may_go_better_is_tried_again_by_who_is_patient() -> None:
    with pytest.raises(Transient):
        look(Reader(Transient("R", "gone")), patient=True)
    assert look(Reader(Refused("R", "no")), patient=True).said is not None
