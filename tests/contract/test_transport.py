# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Transport`` as ``upload`` keeps it, over real sockets and its real child process."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import cast

import pytest

from glancesync.errors import (
    Conflict,
    Corrupt,
    Credential,
    Refused,
    RegionError,
    Throttled,
    Transient,
)
from glancesync.interfaces import ImageService, Source, Target
from glancesync.model import Image
from glancesync.transports import mover
from glancesync.transports.settings import TransferSettings
from glancesync.transports.upload import Upload
from tests.contract.bare_glance import BareGlance
from tests.functional.wait import until

IMAGE = "11111111-2222-3333-4444-555555555555"
MIB = 1024 * 1024
#: Small pieces, so that a few MiB behave like a large image.
SETTINGS = TransferSettings(chunk=64 * 1024, window=4, patience=0.3, stall=20)
#: More than sockets and queues can hold between two ends that do not read.
BIG = 48 * MIB


def data(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def image(content: bytes, **more: object) -> Image:
    values = {
        "size": len(content),
        "os_hash_algo": "sha512",
        "os_hash_value": hashlib.sha512(content).hexdigest(),
        **more,
    }
    return Image(IMAGE, "active", **values)  # type: ignore[arg-type]


class Move:
    """A transfer that runs in a thread of its own, and what came of it."""

    def __init__(
        self,
        home: BareGlance,
        targets: list[BareGlance],
        what: Image,
        settings: TransferSettings = SETTINGS,
        **rates: int,
    ) -> None:
        self.settled: list[tuple[str, RegionError | None]] = []
        self.reports: dict[str, list[int]] = {one.region: [] for one in targets}
        self.cancelled = {one.region: threading.Event() for one in targets}
        self.rates: dict[str, int | None] = {**rates}
        self.raised: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(home, targets, what, settings))
        self._thread.start()

    def _run(
        self, home: BareGlance, ends: list[BareGlance], what: Image, settings: TransferSettings
    ) -> None:
        targets = [
            Target(
                one.region,
                IMAGE,
                cast(ImageService, one),
                self.reports[one.region].append,
                self.cancelled[one.region].is_set,
                pace=functools.partial(self.rates.get, one.region),
            )
            for one in ends
        ]
        try:
            Upload(settings).move(
                Source(what, cast(ImageService, home)),
                targets,
                lambda target, error: self.settled.append((target.region, error)),
            )
        except BaseException as error:
            self.raised = error

    def over(self, timeout: float = 60) -> dict[str, RegionError | None]:
        """Wait for the end; the fate of each target that was settled, exactly once each."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "the transfer does not end"
        if self.raised is not None:
            raise self.raised
        fates = dict(self.settled)
        assert len(fates) == len(self.settled), f"settled twice: {self.settled}"
        return fates

    def until_settled(self, region: str) -> RegionError | None:
        until(lambda: region in dict(self.settled), 30, f"the fate of {region}")
        return dict(self.settled)[region]


@pytest.fixture
def made() -> Iterator[list[BareGlance]]:
    made: list[BareGlance] = []
    yield made
    for one in made:
        one.close()


@pytest.fixture
def home(made: list[BareGlance]) -> BareGlance:
    made.append(BareGlance("home", data(3 * MIB + 17)))
    return made[-1]


def serve(home: BareGlance, content: bytes) -> Image:
    home.serves, home.size = content, len(content)
    return image(content)


def regions(made: list[BareGlance], count: int) -> list[BareGlance]:
    new = [BareGlance(f"R{number}") for number in range(count)]
    made += new
    return new


def children() -> set[int]:
    """The processes that are children of this one."""
    found: set[int] = set()
    for task in pathlib.Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# -- what arrives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4])
def test_one_read_serves_all_targets(home: BareGlance, made: list[BareGlance], count: int) -> None:
    targets = regions(made, count)
    move = Move(home, targets, image(home.serves))

    assert move.over() == {one.region: None for one in targets}
    assert home.gets == [""]
    assert home.bytes_read == len(home.serves)
    for one in targets:
        assert one.received == home.serves
        assert one.puts[0]["x-openstack-image-size"] == str(len(home.serves))
        assert one.puts[0]["X-Auth-Token"] == one.token


@pytest.mark.parametrize("size", [1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1])
def test_sizes_around_the_chunk(home: BareGlance, made: list[BareGlance], size: int) -> None:
    (target,) = regions(made, 1)
    move = Move(home, [target], serve(home, data(size)))
    assert move.over() == {"R0": None}
    assert target.received == home.serves


def test_an_image_of_zero_bytes(home: BareGlance, made: list[BareGlance]) -> None:
    targets = regions(made, 2)
    move = Move(home, targets, serve(home, b""))
    assert move.over() == {"R0": None, "R1": None}
    assert all(one.complete for one in targets)
    assert home.gets == []


def test_an_image_without_a_hash_is_moved(home: BareGlance, made: list[BareGlance]) -> None:
    (target,) = regions(made, 1)
    move = Move(home, [target], image(home.serves, os_hash_algo=None, os_hash_value=None))
    assert move.over() == {"R0": None}
    assert target.received == home.serves


def test_a_hash_nobody_knows_is_an_error_and_no_hang(
    home: BareGlance, made: list[BareGlance]
) -> None:
    (target,) = regions(made, 1)
    move = Move(home, [target], image(home.serves, os_hash_algo="rot13"))
    error = move.over()["R0"]
    assert "rot13" in str(error)
    assert not target.complete


def test_progress_is_reported_while_it_moves(home: BareGlance, made: list[BareGlance]) -> None:
    (target,) = regions(made, 1)
    target.pause_after = MIB
    move = Move(home, [target], serve(home, data(BIG)))
    until(lambda: move.reports["R0"][-1:] >= [MIB], 30, "a report")
    target.go_on.set()
    assert move.over() == {"R0": None}
    assert move.reports["R0"] == sorted(move.reports["R0"])
    assert move.reports["R0"][-1] <= BIG


# -- a source that is not what it should be -------------------------------------------------------


def test_wrong_bytes_at_the_source_complete_nowhere(
    home: BareGlance, made: list[BareGlance]
) -> None:
    """P3: a region never gets the last of bytes whose hash is wrong."""
    targets = regions(made, 2)
    move = Move(home, targets, image(home.serves, os_hash_value="0" * 128))

    fates = move.over()
    assert {type(error) for error in fates.values()} == {Corrupt}
    assert [error.region for error in fates.values() if error] == ["home", "home"]
    assert not any(one.complete for one in targets)


def test_wrong_bytes_of_one_chunk_complete_nowhere(
    home: BareGlance, made: list[BareGlance]
) -> None:
    (target,) = regions(made, 1)
    what = serve(home, b"short")
    home.serves = b"shirt"
    assert isinstance(Move(home, [target], what).over()["R0"], Corrupt)
    assert target.arrived == 0


@pytest.mark.parametrize("difference", [-100_000, -1, 1, 100_000])
def test_a_source_of_another_size(
    home: BareGlance, made: list[BareGlance], difference: int
) -> None:
    targets = regions(made, 2)
    what = image(home.serves, size=len(home.serves) - difference)
    fates = Move(home, targets, what).over()

    assert {type(error) for error in fates.values()} == {Transient}
    said = "holds more" if difference > 0 else "ended after"
    assert all(said in str(error) for error in fates.values())
    assert not any(one.complete for one in targets)


def test_a_source_that_breaks_off(home: BareGlance, made: list[BareGlance]) -> None:
    (target,) = regions(made, 1)
    what = image(home.serves)
    home.serves = home.serves[:MIB]  # of more, by its Content-Length
    error = Move(home, [target], what).over()["R0"]
    assert isinstance(error, Transient)
    assert error.region == "home"
    assert not target.complete


def test_a_source_whose_store_lost_the_data(home: BareGlance, made: list[BareGlance]) -> None:
    """As Glance says it, also of an image that it was killed in the middle of deleting."""
    (target,) = regions(made, 1)
    home.refuse_get = (204, {})
    error = Move(home, [target], image(home.serves)).over()["R0"]
    assert isinstance(error, Transient)
    assert "its data is not in the store any more" in str(error)
    assert not target.complete


def test_a_source_that_is_not_there(home: BareGlance, made: list[BareGlance]) -> None:
    (target,) = regions(made, 1)
    what = image(home.serves)
    home.close()
    error = Move(home, [target], what).over()["R0"]
    assert isinstance(error, Transient)
    assert "refused" in str(error)
    home.close = lambda: None  # type: ignore[method-assign]


# -- targets that refuse --------------------------------------------------------------------------


@pytest.mark.parametrize("stays", [False, True], ids=["and closes", "and reads no more"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [(409, Conflict), (413, Refused), (415, Refused)],
)
def test_a_target_that_refuses_early_is_heard(
    home: BareGlance, made: list[BareGlance], status: int, kind: type[RegionError], stays: bool
) -> None:
    targets = regions(made, 2)
    targets[0].refuse = (status, {})
    targets[0].refuse_and_stay = stays
    what = serve(home, data(BIG // 4))

    fates = Move(home, targets, what).over()
    error = fates["R0"]
    assert type(error) is kind
    assert f"HTTP {status}" in str(error)
    assert "No because of policy" in str(error), "without tags"
    assert fates["R1"] is None
    assert targets[1].received == home.serves


@pytest.mark.parametrize(
    ("answer", "kind", "retry_after"),
    [
        ((401, {}), Credential, None),
        ((403, {}), Refused, None),
        ((409, {}), Conflict, None),
        ((500, {}), Transient, None),
        ((404, {}), Transient, None),
        ((429, {"Retry-After": "7"}), Throttled, 7.0),
        ((503, {"Retry-After": "8"}), Throttled, 8.0),
        ((503, {}), Transient, None),
        ((429, {}), Throttled, None),
        ((429, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}), Throttled, 0.0),
    ],
)
def test_a_target_that_refuses_at_the_end(
    home: BareGlance,
    made: list[BareGlance],
    answer: tuple[int, dict[str, str]],
    kind: type[RegionError],
    retry_after: float | None,
) -> None:
    (target,) = regions(made, 1)
    target.answer = answer
    error = Move(home, [target], image(home.serves)).over()["R0"]
    assert type(error) is kind
    assert error.region == "R0"
    assert error.retry_after == retry_after


def test_a_target_that_is_not_there(home: BareGlance, made: list[BareGlance]) -> None:
    gone, well = BareGlance("gone"), regions(made, 1)[0]
    gone.close()
    fates = Move(home, [gone, well], image(home.serves)).over()
    assert isinstance(fates["gone"], Transient)
    assert fates["R0"] is None
    assert home.gets == [""]


@pytest.mark.parametrize("broken", [0, 1])
def test_a_target_without_a_token_delays_only_itself(
    home: BareGlance, made: list[BareGlance], broken: int
) -> None:
    targets = regions(made, 2)
    targets[broken].file_error = Credential(f"R{broken}", "no token")
    fates = Move(home, targets, image(home.serves)).over()
    assert fates[f"R{broken}"] is targets[broken].file_error
    assert fates[f"R{1 - broken}"] is None


def test_no_target_with_a_token_is_no_transfer(home: BareGlance, made: list[BareGlance]) -> None:
    (target,) = regions(made, 1)
    target.file_error = Transient("R0", "not in the catalog")
    assert Move(home, [target], image(home.serves)).over() == {"R0": target.file_error}
    assert home.gets == []


# -- slow targets (P8) ----------------------------------------------------------------------------


def test_a_target_that_hangs_is_given_up_and_delays_nobody(
    home: BareGlance, made: list[BareGlance]
) -> None:
    hanging, prompt = regions(made, 2)
    hanging.pause_after = MIB
    what = serve(home, data(BIG))
    settings = TransferSettings(chunk=256 * 1024, window=4, patience=0.3, stall=2)
    move = Move(home, [hanging, prompt], what, settings)

    assert move.until_settled("R1") is None
    assert prompt.received == home.serves
    assert "R0" not in dict(move.settled), "the word about the prompt one came first"
    error = move.over()["R0"]
    assert isinstance(error, Transient)
    assert error.region == "R0"


def test_a_target_that_connects_and_never_reads(home: BareGlance, made: list[BareGlance]) -> None:
    hanging, prompt = regions(made, 2)
    hanging.pause_after = 0
    move = Move(home, [hanging, prompt], serve(home, data(BIG)))
    assert move.until_settled("R1") is None
    hanging.go_on.set()
    assert move.over()["R0"] is None
    assert hanging.received == home.serves


def test_a_slow_target_is_cut_loose_and_goes_on_by_itself(
    home: BareGlance, made: list[BareGlance]
) -> None:
    slow, fast = regions(made, 2)
    slow.pause_after = MIB
    move = Move(home, [slow, fast], serve(home, data(BIG)))

    assert move.until_settled("R1") is None
    assert not slow.complete
    assert home.gets == [""]
    slow.go_on.set()

    assert move.over() == {"R0": None, "R1": None}
    assert slow.received == fast.received == home.serves
    assert len(home.gets) == 2
    start = int(home.gets[1].removeprefix("bytes=").removesuffix("-"))
    assert start > 0
    assert home.bytes_read == 2 * len(home.serves) - start


def test_a_throttled_target_holds_up_nobody(home: BareGlance, made: list[BareGlance]) -> None:
    slow, fast = regions(made, 2)
    slow.bytes_per_second = 1 * MIB
    move = Move(home, [slow, fast], serve(home, data(32 * MIB)))
    assert move.until_settled("R1") is None
    assert slow.arrived < len(home.serves)
    slow.bytes_per_second = None
    assert move.over()["R0"] is None
    assert slow.received == home.serves


def test_wrong_bytes_complete_nowhere_even_if_a_target_was_cut_loose(
    home: BareGlance, made: list[BareGlance]
) -> None:
    """P3: who reads by itself still sends its last chunk only when the whole hash is right."""
    slow, fast = regions(made, 2)
    slow.pause_after = MIB
    serve(home, data(BIG))
    move = Move(home, [slow, fast], image(home.serves, os_hash_value="0" * 128))

    assert isinstance(move.until_settled("R1"), Corrupt)
    slow.go_on.set()
    assert isinstance(move.over()["R0"], Corrupt)
    assert not slow.complete
    assert not fast.complete


def test_bytes_that_go_wrong_in_the_second_reading(
    home: BareGlance, made: list[BareGlance]
) -> None:
    slow, fast = regions(made, 2)
    slow.pause_after = MIB
    move = Move(home, [slow, fast], serve(home, data(BIG)))
    assert move.until_settled("R1") is None
    home.serves = home.serves[:-1] + bytes([home.serves[-1] ^ 1])
    slow.go_on.set()
    assert isinstance(move.over()["R0"], Corrupt)
    assert not slow.complete


def test_a_source_without_ranges_fails_only_the_slow(
    home: BareGlance, made: list[BareGlance]
) -> None:
    slow, fast = regions(made, 2)
    slow.pause_after = MIB
    home.ranges = False
    move = Move(home, [slow, fast], serve(home, data(BIG)))
    assert move.until_settled("R1") is None
    slow.go_on.set()
    error = move.over()["R0"]
    assert isinstance(error, Transient)
    assert "Range" in str(error)
    assert not slow.complete


def test_a_lone_slow_target_is_waited_for(home: BareGlance, made: list[BareGlance]) -> None:
    (slow,) = regions(made, 1)
    slow.bytes_per_second = 6 * MIB
    move = Move(home, [slow], serve(home, data(8 * MIB)))
    assert move.over() == {"R0": None}
    assert home.gets == [""]


# -- the child process ----------------------------------------------------------------------------


def test_no_secret_in_arguments_or_environment(home: BareGlance, made: list[BareGlance]) -> None:
    """P6: anybody on the host may read /proc."""
    (target,) = regions(made, 1)
    before = children()
    seen: list[bytes] = []

    def look() -> None:
        for pid in children() - before:
            for name in ("cmdline", "environ"):
                seen.append(pathlib.Path(f"/proc/{pid}/{name}").read_bytes())

    home.on_get = look
    assert Move(home, [target], image(home.serves)).over() == {"R0": None}
    assert any(b"mover.py" in one for one in seen)
    assert not any(one.encode() in text for one in (home.token, target.token) for text in seen)


def test_cancelled_means_killed(home: BareGlance, made: list[BareGlance]) -> None:
    (target,) = regions(made, 1)
    target.pause_after = MIB
    before = children()
    move = Move(home, [target], serve(home, data(BIG)))
    assert target.paused.wait(30)
    (child,) = children() - before

    move.cancelled["R0"].set()
    assert move.over(10) == {}
    assert not alive(child)
    target.go_on.set()
    assert not target.complete


@pytest.mark.parametrize("pause_after", [0, MIB])
def test_a_cancelled_target_is_let_go_and_the_other_is_not_disturbed(
    home: BareGlance, made: list[BareGlance], pause_after: int
) -> None:
    dropped, wanted = regions(made, 2)
    dropped.pause_after = pause_after
    wanted.bytes_per_second = BIG / 2
    move = Move(home, [dropped, wanted], serve(home, data(BIG)))
    assert dropped.paused.wait(30)
    move.cancelled["R0"].set()
    error = move.until_settled("R0")
    assert isinstance(error, Transient)
    assert move.over()["R1"] is None
    assert wanted.received == home.serves
    dropped.go_on.set()
    assert not dropped.complete


def test_a_child_that_is_killed_settles_nothing_and_leaves_nothing_complete(
    home: BareGlance, made: list[BareGlance]
) -> None:
    (target,) = regions(made, 1)
    target.pause_after = MIB
    before = children()
    move = Move(home, [target], serve(home, data(BIG)))
    assert target.paused.wait(30)
    (child,) = children() - before

    os.kill(child, signal.SIGKILL)
    assert move.over(10) == {}
    assert not target.complete


_PARENT = """
import sys
from tests.contract.test_transport import Move, image, SETTINGS
from tests.contract.bare_glance import BareGlance
from glancesync.interfaces import Endpoint

class Elsewhere:
    def __init__(self, region, url):
        self.region, self.url = region, url
    def file(self, image_id):
        return Endpoint(self.region, self.url, "t")

home, target, size = sys.argv[1:]
Move(Elsewhere("home", home), [Elsewhere("R0", target)], image(b"", size=int(size)))
"""


def test_the_child_dies_with_its_parent(home: BareGlance, made: list[BareGlance]) -> None:
    (target,) = regions(made, 1)
    target.pause_after = MIB
    what = serve(home, data(BIG))
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _PARENT,
            home.file(IMAGE).url,
            target.file(IMAGE).url,
            str(what.size),
        ],
        cwd=pathlib.Path(__file__).parents[2],
    )
    try:
        assert target.paused.wait(30)
        tasks = pathlib.Path(f"/proc/{parent.pid}/task").iterdir()
        grandchildren = {
            int(pid) for task in tasks for pid in (task / "children").read_text().split()
        }
        assert len(grandchildren) == 1
    finally:
        parent.kill()
        parent.wait()
    (child,) = grandchildren
    until(lambda: not alive(child), 10, "the death of the child")
    target.go_on.set()
    assert not target.complete


def test_the_child_ends_cleanly_and_at_once(home: BareGlance, made: list[BareGlance]) -> None:
    """It still listens to its parent when it is done; that must not hold up its exit."""
    (target,) = regions(made, 1)
    end = {"url": target.file(IMAGE).url, "headers": {}, "settle": 10}
    order = {
        "source": {"url": home.file(IMAGE).url, "headers": {}},
        "targets": {"R0": end},
        "size": len(home.serves),
        "hash_algo": "sha512",
        "hash_value": hashlib.sha512(home.serves).hexdigest(),
        "chunk": MIB,
        "window": 2,
        "patience": 1,
        "stall": 10,
        "cafile": None,
        "insecure": False,
        "rates": {},
    }
    child = subprocess.Popen(
        [sys.executable, "-I", mover.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(json.dumps(order).encode() + b"\n")
        child.stdin.flush()  # and stays open
        assert child.wait(30) == 0
        assert child.stderr.read() == b""
        lines = [json.loads(line) for line in child.stdout]
    assert {"target": "R0", "ok": True} in lines


def _peak(pid: int) -> int:
    """The most memory a child has had resident, in bytes; 0 while it is still a copy of us."""
    ours = pathlib.Path("/proc/self/cmdline").read_bytes()
    with contextlib.suppress(OSError):
        if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() == ours:
            return 0
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return 0


def test_memory_does_not_grow_with_the_image(home: BareGlance, made: list[BareGlance]) -> None:
    """P7, with the settings an operator gets by default."""
    targets = regions(made, 2)
    for one in targets:
        one.keep = False
    block = data(MIB)
    digest = hashlib.sha512()
    home.repeat = 300
    for _ in range(home.repeat):
        digest.update(block)
    home.serves, home.size = block, len(block)
    size = len(block) * home.repeat
    before = children()
    peaks: list[int] = []
    move = Move(
        home,
        targets,
        image(b"", size=size, os_hash_value=digest.hexdigest()),
        TransferSettings(),
    )
    while not move.settled and not move.raised:
        peaks += [_peak(pid) for pid in children() - before]
        until(lambda: move.settled or move.raised or children() - before, 60, "news")
    assert move.over() == {"R0": None, "R1": None}
    assert {one.digest.hexdigest() for one in targets} == {digest.hexdigest()}
    assert MIB < max(peaks) < 100 * MIB


def test_a_region_gets_no_more_than_its_bandwidth(home: BareGlance, made: list[BareGlance]) -> None:
    what = serve(home, data(3 * MIB))
    began = time.monotonic()
    assert Move(home, regions(made, 1), what, R0=MIB).over() == {"R0": None}
    assert time.monotonic() - began > 2.5


def test_the_bandwidth_changes_while_it_runs_and_each_region_has_its_own(
    home: BareGlance, made: list[BareGlance]
) -> None:
    what = serve(home, data(BIG))
    move = Move(home, regions(made, 2), what, R0=64 * 1024)  # would take twelve minutes
    assert move.until_settled("R1") is None
    assert "R0" not in dict(move.settled)
    move.rates["R0"] = None
    assert move.over() == {"R0": None, "R1": None}


def test_one_that_is_held_back_by_its_bandwidth_has_not_stalled(
    home: BareGlance, made: list[BareGlance]
) -> None:
    what = serve(home, data(100 * 1024))
    settings = dataclasses.replace(SETTINGS, chunk=MIB, stall=1, settle=1)
    assert Move(home, regions(made, 1), what, settings, R0=20 * 1024).over() == {"R0": None}


def test_one_that_is_held_back_can_be_cancelled(home: BareGlance, made: list[BareGlance]) -> None:
    what = serve(home, data(BIG))
    move = Move(home, regions(made, 2), what, R0=4096)
    assert move.until_settled("R1") is None
    move.cancelled["R0"].set()
    assert move.over(20).get("R0", "let go") is not None
