# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Reader`` as ``reading`` keeps it, over real sockets and its real child process."""

import hashlib
import pathlib
import threading
from collections.abc import Iterator
from typing import cast

import pytest

from glancesync.errors import Credential, RegionError, Throttled, Transient
from glancesync.interfaces import ImageService, Target
from glancesync.transports.reading import Reading
from glancesync.transports.settings import TransferSettings
from tests.contract.bare_glance import BareGlance
from tests.contract.test_transport import IMAGE, MIB, children, data
from tests.functional.wait import until

SETTINGS = TransferSettings(chunk=64 * 1024, stall=20)


@pytest.fixture
def region() -> Iterator[BareGlance]:
    region = BareGlance("R", data(3 * MIB + 17))
    yield region
    region.close()


def target(
    region: BareGlance, reports: list[int], cancelled: threading.Event | None = None
) -> Target:
    gone = cancelled or threading.Event()
    return Target("R", IMAGE, cast(ImageService, region), reports.append, gone.is_set)


def digest(region: BareGlance, size: int | None = None, algorithm: str = "sha512") -> str:
    size = len(region.serves) if size is None else size
    return Reading(SETTINGS).digest(target(region, []), size, algorithm)


@pytest.mark.parametrize("algorithm", ["sha512", "sha256", "md5"])
@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 3 * MIB + 17])
def test_the_hash_of_all_bytes(region: BareGlance, algorithm: str, size: int) -> None:
    region.serves = data(size)
    region.size = size
    assert digest(region, algorithm=algorithm) == hashlib.new(algorithm, region.serves).hexdigest()
    assert region.puts == []


def test_one_byte_tells(region: BareGlance) -> None:
    right = digest(region)
    flipped = bytearray(region.serves)
    flipped[MIB] ^= 1
    region.serves = bytes(flipped)
    assert digest(region) == hashlib.sha512(flipped).hexdigest() != right


def test_less_than_there_must_be_is_no_hash(region: BareGlance) -> None:
    with pytest.raises(Transient, match=f"could not read image {IMAGE}: it ended after"):
        digest(region, size=len(region.serves) + 1)


def test_more_than_there_must_be_is_no_hash(region: BareGlance) -> None:
    with pytest.raises(Transient, match="it holds more than"):
        digest(region, size=len(region.serves) - 1)


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (401, {}, Credential),
        (404, {}, Transient),
        (500, {}, Transient),
        (503, {"Retry-After": "7"}, Throttled),
    ],
)
def test_what_a_region_answers_instead(
    region: BareGlance, status: int, headers: dict[str, str], error: type[RegionError]
) -> None:
    region.refuse_get = (status, headers)
    with pytest.raises(error, match=f"HTTP {status}"):
        digest(region)


def test_a_hash_nobody_knows(region: BareGlance) -> None:
    with pytest.raises(Transient, match="rot13"):
        digest(region, algorithm="rot13")


def test_who_lost_the_lease_reads_no_further(region: BareGlance) -> None:
    before = children()
    region.repeat = 2000
    cancelled = threading.Event()
    seen: list[int] = []
    failed: list[BaseException] = []

    def read() -> None:
        try:
            size = len(region.serves) * region.repeat
            Reading(SETTINGS).digest(target(region, seen, cancelled), size, "sha512")
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    until(lambda: seen, 30, "it says how far it is")
    (child,) = children() - before
    words = pathlib.Path(f"/proc/{child}/cmdline").read_bytes()
    words += pathlib.Path(f"/proc/{child}/environ").read_bytes()
    assert region.token.encode() not in words
    cancelled.set()
    thread.join(30)
    assert not thread.is_alive()
    assert isinstance(failed[0], Transient)
    assert sorted(seen) == seen
    assert children() == before
