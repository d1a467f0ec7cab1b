# SPDX-License-Identifier: Apache-2.0
"""Where replica tasks of one image meet to share one read. Real threads, a transport that is told
what to do."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from glancesync.bundle import Bundle
from glancesync.errors import Conflict, Corrupt, RegionError, Transient
from glancesync.interfaces import Capabilities, ImageService, Source, Target, Transport
from glancesync.model import Image
from tests.functional.wait import until

HOME = Image("11111111-2222-3333-4444-555555555555", "active", size=1)
LONG = 30.0  # seconds: nothing here comes near


class Service:
    def __init__(self, region: str) -> None:
        self.region = region


class Scripted:
    """A transport that does what the test says, and remembers who was in each transfer."""

    name = "scripted"
    capabilities = Capabilities(fan_out=True)

    def __init__(self, script: Callable[..., None] | None = None) -> None:
        self.transfers: list[list[str]] = []
        self._script = script or self._all_well

    @staticmethod
    def _all_well(targets: Sequence[Target], settle: Any) -> None:
        for target in targets:
            settle(target, None)

    def move(
        self,
        source: Source,
        targets: Sequence[Target],
        settle: Callable[[Target, RegionError | None], None],
    ) -> None:
        self.transfers.append(sorted(target.region for target in targets))
        self._script(targets, settle)


class Member(threading.Thread):
    """One task of a bundle, at the point where it needs the bytes."""

    def __init__(self, bundle: Bundle, transport: Transport, region: str) -> None:
        super().__init__(daemon=True)
        self.bundle = bundle
        self.transport = transport
        self.region = region
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        service = cast(ImageService, Service(self.region))
        target = Target(self.region, HOME.id, service, print, lambda: False)
        source = Source(HOME, cast(ImageService, Service("home")))
        try:
            self.bundle.transfer(self.transport, source, target)
        except BaseException as error:
            self.error = error

    def over(self) -> BaseException | None:
        self.join(LONG)
        assert not self.is_alive(), f"{self.region} still waits"
        return self.error


def waiting(bundle: Bundle) -> int:
    meeting = bundle._meeting
    return 0 if meeting is None else len(meeting.seats)


def test_all_join_one_transfer() -> None:
    bundle, transport = Bundle(4, LONG), Scripted()
    members = [Member(bundle, transport, region) for region in "ABCD"]
    assert [member.over() for member in members] == [None] * 4
    assert transport.transfers == [["A", "B", "C", "D"]]


def test_nobody_waits_for_one_that_does_not_need_the_bytes() -> None:
    bundle, transport = Bundle(3, LONG), Scripted()
    members = [Member(bundle, transport, region) for region in "AB"]
    until(lambda: waiting(bundle) == 2, LONG, "both seated")
    assert transport.transfers == []
    bundle.leave()
    assert [member.over() for member in members] == [None] * 2
    assert transport.transfers == [["A", "B"]]


def test_a_bundle_of_one_waits_for_nobody() -> None:
    transport = Scripted()
    assert Member(Bundle(1, LONG), transport, "A").over() is None
    assert transport.transfers == [["A"]]


def test_patience_ends_and_who_comes_late_goes_alone() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def script(targets: Sequence[Target], settle: Any) -> None:
        if targets[0].region == "A":
            begun.set()
            go_on.wait(LONG)
        settle(targets[0], None)

    bundle, transport = Bundle(2, 0.05), Scripted(script)
    first = Member(bundle, transport, "A")
    assert begun.wait(LONG), "it began although B said nothing"
    late = Member(bundle, transport, "B")
    assert late.over() is None, "B does not wait for A's transfer to end"
    assert first.is_alive()
    go_on.set()
    assert first.over() is None
    assert transport.transfers == [["A"], ["B"]]


def test_who_can_not_fan_out_serves_each_by_itself_and_all_at_once() -> None:
    together = threading.Barrier(3)

    def script(targets: Sequence[Target], settle: Any) -> None:
        together.wait(LONG)
        settle(targets[0], None)

    bundle, transport = Bundle(3, LONG), Scripted(script)
    transport.capabilities = Capabilities()
    members = [Member(bundle, transport, region) for region in "ABC"]
    assert [member.over() for member in members] == [None] * 3
    assert sorted(transport.transfers) == [["A"], ["B"], ["C"]]


def test_nobody_is_left_waiting_if_there_are_no_more_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refused(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    bundle, transport = Bundle(2, LONG), Scripted()
    first = Member(bundle, transport, "A")
    until(lambda: waiting(bundle) == 1, LONG, "A is seated")
    monkeypatch.setattr(threading, "Thread", Refused)
    second = Member(bundle, transport, "B")
    assert [first.over(), second.over()] == [None] * 2


def test_other_transports_meet_elsewhere() -> None:
    bundle, one, other = Bundle(2, LONG), Scripted(), Scripted()
    members = [Member(bundle, one, "A"), Member(bundle, other, "B")]
    assert [member.over() for member in members] == [None] * 2
    assert (one.transfers, other.transfers) == ([["A"]], [["B"]])


def test_each_gets_its_own_fate() -> None:
    errors = {"A": None, "B": Corrupt("B", "bad"), "C": Conflict("C", "taken")}

    def script(targets: Sequence[Target], settle: Any) -> None:
        for target in targets:
            settle(target, errors[target.region])

    bundle, transport = Bundle(3, LONG), Scripted(script)
    members = [Member(bundle, transport, region) for region in "ABC"]
    assert [member.over() for member in members] == list(errors.values())


@pytest.mark.parametrize("slow", ["A", "B"], ids=["the leader is slow", "the leader is fast"])
def test_who_is_settled_goes_on_whoever_leads(slow: str) -> None:
    """P8: the leader's task, too, ends with its own target."""
    go_on = threading.Event()

    def script(targets: Sequence[Target], settle: Any) -> None:
        for target in sorted(targets, key=lambda target: target.region == slow):
            if target.region == slow:
                go_on.wait(LONG)
            settle(target, None)

    bundle, transport = Bundle(2, LONG), Scripted(script)
    leader = Member(bundle, transport, "A")
    until(lambda: waiting(bundle) == 1, LONG, "the leader seated")
    other = Member(bundle, transport, "B")
    fast, held = (other, leader) if slow == "A" else (leader, other)
    assert fast.over() is None
    assert held.is_alive()
    go_on.set()
    assert held.over() is None


@pytest.mark.parametrize(
    ("raised", "fates"),
    [
        (ZeroDivisionError("oops"), {"A": "A: the transfer failed: oops"}),
        (Transient("home", "no token"), {"A": "home: no token", "B": "home: no token"}),
        (Corrupt("A", "mine"), {"A": "A: mine", "B": "B: the transfer failed: A: mine"}),
        (None, {"A": "A: the transfer ended without a word about it"}),
    ],
)
def test_a_transport_that_raises_or_is_silent_leaves_nobody_waiting(
    raised: Exception | None, fates: dict[str, str]
) -> None:
    def script(targets: Sequence[Target], settle: Any) -> None:
        if raised is not None:
            raise raised

    bundle, transport = Bundle(len(fates), LONG), Scripted(script)
    members = [Member(bundle, transport, region) for region in fates]
    for member in members:
        error = member.over()
        assert isinstance(error, RegionError)
        assert str(error) == fates[member.region]


def test_a_word_that_was_given_stands_when_the_transport_raises_after_it() -> None:
    def script(targets: Sequence[Target], settle: Any) -> None:
        for target in targets:
            if target.region == "A":
                settle(target, None)
        raise OSError("the other is gone")

    bundle, transport = Bundle(2, LONG), Scripted(script)
    members = {region: Member(bundle, transport, region) for region in "AB"}
    assert members["A"].over() is None
    assert isinstance(members["B"].over(), Transient)


def test_home_is_read_once_for_all() -> None:
    bundle, reads = Bundle(8), []
    together = threading.Barrier(8)

    def read() -> Image | None:
        reads.append(1)
        return HOME

    def ask() -> None:
        together.wait(LONG)
        assert bundle.home_image(read) is HOME

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert reads == [1]


def test_an_absent_home_image_is_read_once_as_well_but_an_error_is_not_kept() -> None:
    bundle = Bundle(2)

    def fails() -> Image | None:
        raise Transient("home", "no answer")

    with pytest.raises(Transient):
        bundle.home_image(fails)
    assert bundle.home_image(lambda: None) is None
    assert bundle.home_image(fails) is None
