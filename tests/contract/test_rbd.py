# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Transport`` as ``rbd`` keeps it, between two real Ceph clusters."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from devcloud.ceph import USER, Cluster
from glancesync.errors import Corrupt, Refused, RegionError, Throttled, Transient, WayBlocked
from glancesync.interfaces import ImageService, Source, Target
from glancesync.model import Image
from glancesync.schemes import Location, Place, Rbd
from glancesync.transports import rbd_mover
from glancesync.transports.objects import Objects
from glancesync.transports.rbd import Rbd as Transport
from glancesync.transports.settings import TransferSettings
from tests.contract.bare_glance import BareGlance
from tests.contract.told import Region
from tests.functional.wait import until

MIB = 1024 * 1024
Clusters = tuple[Cluster, Cluster]


@dataclasses.dataclass
class Stored:
    """An image as Glance's driver leaves it in a pool."""

    cluster: Cluster
    image: Image
    pool: str = "images"

    def place(self, **other: str) -> Place:
        url = f"rbd://{self.cluster.fsid}/{self.pool}/{self.image.id}/snap"
        return Place(scheme(self.cluster, pool=self.pool, **other), Location(url, "ceph"))


def scheme(cluster: Cluster, **other: str) -> Rbd:
    values = {"pool": "images", "fsid": cluster.fsid, **other}
    return Rbd(**{"ceph_conf": str(cluster.conf), "user": USER, **values})  # type: ignore[arg-type]


def opened(cluster: Cluster, pool: str = "images") -> rbd_mover.Pool:
    end = {"ceph_conf": str(cluster.conf), "user": "admin", "keyring": "", "fsid": "", "pool": pool}
    return rbd_mover.Pool(end, 20)


def stored(cluster: Cluster, content: bytes, *, thin: bool = True) -> Stored:
    """An image that Glance's driver has put into the pool; ``thin``: without what is zeros."""
    digest = hashlib.sha512(content).hexdigest()
    image = Image(
        str(uuid.uuid4()),
        "active",
        size=len(content),
        os_hash_algo="sha512",
        os_hash_value=digest,
    )
    with opened(cluster) as pool:
        pool.create(image.id, len(content), 23)
        with pool.image(image.id) as made:
            for offset in range(0, len(content), 8 * MIB):
                chunk = content[offset : offset + 8 * MIB]
                if not thin or any(chunk):
                    made.write(chunk, offset)
            made.create_snap("snap")
            made.protect_snap("snap")
    return Stored(cluster, image)


def target_of(source: Stored, there: Rbd, region: Region) -> Target:
    place = Place(there, Location("", "ceph"))
    service = cast(ImageService, region)
    return Target(region.region, source.image.id, service, lambda _: None, lambda: False, place)


class Move:
    """A transfer that runs in a thread of its own, and what came of it."""

    def __init__(
        self,
        source: Stored,
        there: Rbd,
        region: Region | None = None,
        *,
        stall: float = 20,
        pace: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._pace = pace
        self.region = region or Region("R1")
        self.settled: list[RegionError | None] = []
        self.reports: list[int] = []
        self.cancelled = threading.Event()
        self.source = source
        self._raised: list[BaseException] = []
        self._stall = stall
        self._there = there
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        home = cast(ImageService, Region("home"))
        target = dataclasses.replace(
            target_of(self.source, self._there, self.region),
            report=self.reports.append,
            cancelled=self.cancelled.is_set,
            pace=self._pace,
        )
        try:
            Transport(TransferSettings(stall=self._stall)).move(
                Source(self.source.image, home, self.source.place()),
                [target],
                lambda _, error: self.settled.append(error),
            )
        except BaseException as error:
            self._raised.append(error)

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def over(self, timeout: float = 60) -> RegionError | None:
        """Wait for the end; the fate of the target."""
        self._thread.join(timeout)
        assert self.is_over, "the transfer does not end"
        for error in self._raised:
            raise error
        (fate,) = self.settled
        return fate


@pytest.fixture(autouse=True)
def emptied(clusters: Clusters) -> Iterator[None]:
    """Every test leaves the pools empty."""
    yield
    for cluster in clusters:
        for pool in ("images", "other"):
            until(lambda c=cluster, p=pool: wiped(c, p), 30, "an empty pool")  # type: ignore[misc]


def names(cluster: Cluster, name: str = "images") -> list[str]:
    with opened(cluster, name) as pool:
        return list(pool.instance.list(pool.ioctx))


def wiped(cluster: Cluster, name: str) -> bool:
    with opened(cluster, name) as pool:
        for image in pool.instance.list(pool.ioctx):
            with contextlib.suppress(pool.rbd.ImageBusy):  # its writer was killed just now
                pool.remove(image)
        return not pool.instance.list(pool.ioctx)


def content_of(cluster: Cluster, image_id: str, name: str = "images") -> str:
    """The sha512 of a snapshot of Glance's."""
    with opened(cluster, name) as pool, pool.image(image_id, snapshot="snap") as image:
        return hashlib.sha512(image.read(0, image.size())).hexdigest()


def used(cluster: Cluster, image_id: str) -> int:
    """Bytes that a snapshot of Glance's takes, as far as its objects tell."""
    with opened(cluster) as pool, pool.image(image_id, snapshot="snap") as image:
        return sum(length for _, length in rbd_mover.extents(image))


def is_protected(cluster: Cluster, image_id: str, name: str = "images") -> bool:
    with opened(cluster, name) as pool, pool.image(image_id) as image:
        return bool(image.is_protected_snap("snap"))


def data(size: int) -> bytes:
    return random.Random(size).randbytes(size)


# -- what arrives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4 * MIB, 8 * MIB + 1, 30 * MIB + 12345])
def test_from_one_cluster_to_another(clusters: Clusters, size: int) -> None:
    here, there = clusters
    source = stored(here, data(size))
    move = Move(source, scheme(there))

    assert move.over() is None
    image = source.image
    assert names(there) == [image.id]
    assert content_of(there, image.id) == image.os_hash_value
    assert is_protected(there, image.id)
    url = f"rbd://{there.fsid}/images/{image.id}/snap"
    assert move.region.registered == [(image.id, Location(url, "ceph"), image)]
    with opened(there) as pool, pool.image(image.id) as copy:
        assert copy.stat()["order"] == 23, "objects of 8 MiB, as at home"
    assert move.reports == sorted(move.reports)


def test_from_one_pool_to_another(clusters: Clusters) -> None:
    here, _ = clusters
    source = stored(here, data(9 * MIB))
    move = Move(source, scheme(here, pool="other"))

    assert move.over() is None
    assert content_of(here, source.image.id, "other") == source.image.os_hash_value
    assert is_protected(here, source.image.id, "other")
    assert names(here) == [source.image.id], "the source stays"


@pytest.mark.parametrize("thin", [True, False], ids=["holes", "zeros that were written"])
@pytest.mark.parametrize("layout", ["0", "d0", "0d", "d00d", "0d00"])
def test_zeros_take_no_room(clusters: Clusters, layout: str, thin: bool) -> None:
    here, there = clusters
    piece = 16 * MIB
    content = b"".join(data(piece) if one == "d" else bytes(piece) for one in layout)
    source = stored(here, content, thin=thin)
    assert Move(source, scheme(there)).over() is None
    assert content_of(there, source.image.id) == source.image.os_hash_value
    assert used(there, source.image.id) == layout.count("d") * piece


def test_small_pieces_of_data_stay_small(clusters: Clusters) -> None:
    """As an image in use looks: some data here and there, not in step with objects."""
    here, there = clusters
    dice = random.Random(4)
    at = sorted(dice.sample(range(64 * MIB // 4096), 40))
    content = bytearray(64 * MIB)
    source = stored(here, bytes(content))
    with opened(here) as pool, pool.image(source.image.id) as image:
        for offset in at:
            block = dice.randbytes(4096)
            content[offset * 4096 : (offset + 1) * 4096] = block
            image.write(block, offset * 4096)
        image.unprotect_snap("snap")
        image.remove_snap("snap")
        image.create_snap("snap")
    digest = hashlib.sha512(content).hexdigest()
    source.image = dataclasses.replace(source.image, os_hash_value=digest)
    assert Move(source, scheme(there)).over() is None
    assert content_of(there, source.image.id) == source.image.os_hash_value
    assert used(there, source.image.id) <= used(here, source.image.id)


def test_blocks_of_zeros_are_not_written() -> None:
    block = 64 * 1024
    content = data(3 * block) + bytes(2 * block) + b"x" + bytes(block - 1) + bytes(block // 2)
    runs = list(rbd_mover.runs(content))
    assert [(offset, len(run)) for offset, run in runs] == [(0, 3 * block), (5 * block, block)]
    again = bytearray(len(content))
    for offset, run in runs:
        again[offset : offset + len(run)] = run
    assert again == content


def test_an_image_without_a_hash(clusters: Clusters) -> None:
    here, there = clusters
    source = stored(here, data(MIB))
    digest = source.image.os_hash_value
    source.image = dataclasses.replace(source.image, os_hash_algo=None, os_hash_value=None)
    assert Move(source, scheme(there)).over() is None
    assert content_of(there, source.image.id) == digest


def test_memory_does_not_grow_with_the_image(clusters: Clusters) -> None:
    """P7: half of what it takes is Ceph's libraries."""
    here, there = clusters
    source = stored(here, data(32 * MIB) * 8)
    move, peak = Move(source, scheme(there)), 0
    while not move.is_over:
        with contextlib.suppress(AssertionError, OSError):
            for line in pathlib.Path(f"/proc/{mover()}/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    peak = max(peak, int(line.split()[1]) * 1024)
        move._thread.join(0.05)
    assert move.over() is None
    assert 20 * MIB < peak < 180 * MIB


def test_no_faster_than_it_may(clusters: Clusters) -> None:
    here, there = clusters
    source = stored(here, data(32 * MIB))
    allowed = [8 * MIB]
    move = Move(source, scheme(there), pace=lambda: allowed[0])
    until(lambda: move.reports[-1:] > [0], 30, "a report")
    move._thread.join(1)
    assert not move.is_over, "it would need 4 seconds"
    allowed[0] = 100 * MIB
    assert move.over() is None
    assert content_of(there, source.image.id) == source.image.os_hash_value


# -- what must not arrive -------------------------------------------------------------------------


def test_wrong_bytes_at_the_source(clusters: Clusters) -> None:
    """P3: they get no name that a Glance could know, and nothing of them is left."""
    here, there = clusters
    source = stored(here, data(9 * MIB))
    source.image = dataclasses.replace(source.image, os_hash_value="0" * 128)
    move = Move(source, scheme(there))
    error = move.over()
    assert isinstance(error, Corrupt)
    assert error.region == "home"
    assert names(there) == []
    assert move.region.registered == []


def test_a_source_of_another_size(clusters: Clusters) -> None:
    here, there = clusters
    source = stored(here, data(MIB))
    source.image = dataclasses.replace(source.image, size=2 * MIB)
    error = Move(source, scheme(there)).over()
    assert isinstance(error, WayBlocked)
    assert f"it holds {MIB} bytes, not {2 * MIB}" in str(error)
    assert names(there) == []


def test_a_source_that_is_gone(clusters: Clusters) -> None:
    here, there = clusters
    source = Stored(here, Image(str(uuid.uuid4()), "active", size=MIB))
    error = Move(source, scheme(there)).over()
    assert isinstance(error, WayBlocked)
    assert f"has no image {source.image.id}@snap" in str(error)


# -- a region that does not take it ---------------------------------------------------------------


def test_what_a_region_refuses_goes_again(clusters: Clusters) -> None:
    here, there = clusters
    source = stored(here, data(MIB))
    region = Region("R1")
    region.answer = Refused("R1", "not by you")
    error = Move(source, scheme(there), region).over()
    assert isinstance(error, WayBlocked)
    assert error.message == "not by you"
    assert names(there) == []


def test_what_a_region_may_have_taken_stays_and_is_found_again(
    clusters: Clusters, tmp_path: pathlib.Path
) -> None:
    here, there = clusters
    source = stored(here, data(MIB))
    region = Region("R1")
    region.answer = Transient("R1", "no answer")
    assert Move(source, scheme(there), region).over() is region.answer
    assert names(there) == [source.image.id]

    region.answer = None
    wiped(here, "images")  # so that it can't be copied once more
    assert Move(source, scheme(there), region).over() is None
    assert len(region.registered) == 1


def test_what_was_left_is_tidied_up(clusters: Clusters) -> None:
    here, there = clusters
    source, region = stored(here, data(MIB)), Region("R1")
    region.answer = Transient("R1", "no answer")
    Move(source, scheme(there), region).over()
    half = f"{source.image.id}.glance-sync.0123456789ab"
    with opened(there) as pool:
        pool.create(half, MIB, 23)
    assert names(there) == [source.image.id, half]
    for _ in range(2):
        Transport(TransferSettings(stall=20)).tidy(target_of(source, scheme(there), region))
        assert names(there) == []


def test_what_is_not_of_us_is_not_tidied_up(clusters: Clusters) -> None:
    """P4."""
    here, _ = clusters
    source = stored(here, data(MIB))
    Transport(TransferSettings(stall=20)).tidy(target_of(source, scheme(here), Region("R1")))
    assert content_of(here, source.image.id) == source.image.os_hash_value
    nowhere = target_of(source, scheme(here, pool="nowhere"), Region("R1"))
    with pytest.raises(WayBlocked, match="left over"):
        Transport(TransferSettings(stall=20)).tidy(nowhere)


def test_what_is_not_of_us_is_left_alone(clusters: Clusters) -> None:
    """P4, and the image itself, where the region has the pool that it comes from."""
    here, _ = clusters
    source = stored(here, data(MIB))
    region = Region("R1")
    region.answer = Refused("R1", "not by you")
    error = Move(source, scheme(here), region).over()
    assert isinstance(error, WayBlocked)
    assert "that is not of us" in str(error)
    assert content_of(here, source.image.id) == source.image.os_hash_value


# -- a way that is blocked ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"pool": "nowhere"}, "error opening pool 'nowhere'"),
        ({"user": "nobody"}, "can't be used"),
        ({"keyring": "{tmp}/wrong"}, "can't be used"),
        ({"ceph_conf": "{tmp}/nothing"}, "conf_read_file"),
        ({"fsid": "00000000-0000-0000-0000-000000000000"}, "its fsid is"),
    ],
)
def test_a_cluster_that_can_not_be_used(
    clusters: Clusters, tmp_path: pathlib.Path, other: dict[str, str], said: str
) -> None:
    here, there = clusters
    wrong = "AQDesAFrIUjQAhAAckjxO1NsIYCeTa/Wvp5Few=="
    (tmp_path / "wrong").write_text(f"[client.{USER}]\n\tkey = {wrong}\n")
    other = {name: value.format(tmp=tmp_path) for name, value in other.items()}
    source = stored(here, data(MIB))
    error = Move(source, scheme(there, **other)).over()
    assert isinstance(error, WayBlocked)
    assert error.region == "R1"
    assert said in str(error)
    assert wrong not in str(error)


def test_a_host_without_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rbd_mover, "PLACES", ())
    for name in ("rados", "rbd"):
        monkeypatch.delitem(rbd_mover.sys.modules, name, raising=False)
    with pytest.raises(rbd_mover.Failed, match="python3-rados") as caught:
        rbd_mover.module("rados")
    assert caught.value.side == "way"


# -- from a Glance --------------------------------------------------------------------------------


@pytest.fixture
def glance() -> Iterator[BareGlance]:
    made = BareGlance("home", data(20 * MIB) + bytes(30 * MIB) + data(77))
    yield made
    made.close()


def moved(glance: BareGlance, image: Image, there: Cluster) -> tuple[Region, RegionError | None]:
    region = Region("R1")
    settled: list[RegionError | None] = []
    Objects(TransferSettings(stall=20)).move(
        Source(image, cast(ImageService, glance)),
        [target_of(Stored(there, image), scheme(there), region)],
        lambda _, error: settled.append(error),
    )
    (fate,) = settled
    return region, fate


def shown(glance: BareGlance, **other: object) -> Image:
    values = {"size": len(glance.serves), "os_hash_algo": "sha512", **other}
    digest = hashlib.sha512(glance.serves).hexdigest()
    return Image(str(uuid.uuid4()), "active", **{"os_hash_value": digest, **values})  # type: ignore[arg-type]


def test_from_a_glance_into_a_pool(clusters: Clusters, glance: BareGlance) -> None:
    there = clusters[1]
    image = shown(glance)
    region, error = moved(glance, image, there)
    assert error is None
    assert content_of(there, image.id) == image.os_hash_value
    assert is_protected(there, image.id)
    assert used(there, image.id) <= 24 * MIB + 77, "what is zeros is not written"
    url = f"rbd://{there.fsid}/images/{image.id}/snap"
    assert region.registered == [(image.id, Location(url, "ceph"), image)]


def test_a_glance_with_the_wrong_bytes(clusters: Clusters, glance: BareGlance) -> None:
    region, error = moved(glance, shown(glance, os_hash_value="0" * 128), clusters[1])
    assert isinstance(error, Corrupt)
    assert error.region == "home"
    assert names(clusters[1]) == []
    assert region.registered == []


def test_a_glance_that_says_no(clusters: Clusters, glance: BareGlance) -> None:
    """It would say no to any other transport, too."""
    glance.refuse_get = (503, {"Retry-After": "7"})
    _, error = moved(glance, shown(glance), clusters[1])
    assert isinstance(error, Throttled)
    assert (error.region, error.retry_after) == ("home", 7.0)
    assert names(clusters[1]) == []


def test_a_glance_that_breaks_off(clusters: Clusters, glance: BareGlance) -> None:
    image = shown(glance)
    glance.serves = glance.serves[: 9 * MIB]  # of more, by its Content-Length
    _, error = moved(glance, image, clusters[1])
    assert type(error) is Transient
    assert names(clusters[1]) == []


# -- in the middle --------------------------------------------------------------------------------


@contextlib.contextmanager
def halfway(clusters: Clusters, *, stall: float = 20) -> Iterator[Move]:
    """A transfer that has begun, and whose source stands still inside of the block."""
    here, there = clusters
    source = stored(here, data(128 * MIB))
    move = Move(source, scheme(there), stall=stall)
    until(lambda: names(there), 30, "the beginning")
    here.kill("osd", signal.SIGSTOP)
    try:
        assert not move.is_over
        yield move
    finally:
        here.kill("osd", signal.SIGCONT)


def mover() -> int:
    """The process that moves."""
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"rbd_mover" in (path / "cmdline").read_bytes():
                return int(path.name)
    raise AssertionError("nothing moves")


def test_one_that_is_not_wanted_any_more(clusters: Clusters) -> None:
    """Whoever gave the order is gone: it tidies up, though its source stands still."""
    here, there = clusters
    source = stored(here, data(128 * MIB))
    order = Transport(TransferSettings(stall=20))._order(
        Source(source.image, cast(ImageService, None), source.place()),
        target_of(source, scheme(there), Region("R1")),
    )
    order["rates"] = {}
    with subprocess.Popen(
        [sys.executable, "-I", rbd_mover.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        until(lambda: names(there), 30, "the beginning")
        here.kill("osd", signal.SIGSTOP)
        try:
            process.stdin.close()
            until(lambda: not names(there), 10, "nothing is left")
        finally:
            here.kill("osd", signal.SIGCONT)


def test_a_killed_mover_and_the_next_attempt(clusters: Clusters) -> None:
    """What is left half-written is in nobody's way, and goes when the same image comes again."""
    there = clusters[1]
    with halfway(clusters) as move:
        os.kill(mover(), signal.SIGKILL)
        move._thread.join(30)
    assert move.settled == [], "nobody knows; its caller says so"
    (left,) = names(there)
    assert left.startswith(f"{move.source.image.id}.glance-sync.")

    assert Move(move.source, scheme(there)).over() is None
    assert content_of(there, move.source.image.id) == move.source.image.os_hash_value

    def swept() -> bool:
        """Until its killed writer is given up, it counts as being written."""
        with opened(there) as pool:
            pool.remove(move.source.image.id)
        assert Move(move.source, scheme(there)).over() is None
        return names(there) == [move.source.image.id]

    until(swept, 30, "what was left is removed")


def test_a_cluster_that_stops_answering(clusters: Clusters) -> None:
    with halfway(clusters, stall=3) as move:
        error = move.over(timeout=30)
        assert isinstance(error, WayBlocked)
    assert move.region.registered == []


def test_a_pool_that_is_full(clusters: Clusters) -> None:
    here, there = clusters
    source = stored(here, data(24 * MIB))
    full = stored(there, data(8 * MIB + 1))
    there.limit("images", 4 * MIB)
    try:
        until(lambda: there.is_full("images"), 30, "a full pool")
        move = Move(source, scheme(there), stall=5)
        error = move.over()
        assert isinstance(error, WayBlocked)
        assert move.region.registered == []
    finally:
        there.limit("images", 0)
    until(lambda: not there.is_full("images"), 30, "room")
    assert Move(source, scheme(there)).over() is None
    assert content_of(there, source.image.id) == source.image.os_hash_value
    assert content_of(there, full.image.id) == full.image.os_hash_value
