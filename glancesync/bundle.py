# SPDX-License-Identifier: Apache-2.0
"""Replica tasks of one image that were claimed together, and the one read they share.

Each task of a bundle runs on its own, in a thread of its own, with its own lease and its own end.
Those that find that they need the image's bytes meet here, so that a transport that can fan out
reads the source once for all of them. Whoever comes late, because its region was slow to answer,
is not waited for: it transfers by itself, and a slow region delays only itself (P8).
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable

from glancesync.errors import RegionError, Transient
from glancesync.interfaces import Source, Target, Transport
from glancesync.model import Image

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class _Seat:
    """One target in a meeting."""

    target: Target
    settled: threading.Event = dataclasses.field(default_factory=threading.Event)
    error: RegionError | None = None


@dataclasses.dataclass(eq=False)
class _Meeting:
    """Targets that will share a transfer; the first to come leads it."""

    transport: Transport
    seats: list[_Seat] = dataclasses.field(default_factory=list)
    begun: bool = False


class Bundle:
    """What the tasks of a bundle share.

    :param members: how many tasks there are
    :param patience: seconds the first to need the bytes waits for the others to say
    """

    def __init__(self, members: int, patience: float = 2.0) -> None:
        self._expected = members
        self._patience = patience
        self._changed = threading.Condition()
        self._meeting: _Meeting | None = None
        self._home_lock = threading.Lock()
        self._home: tuple[Image | None] | None = None

    def home_image(self, read: Callable[[], Image | None]) -> Image | None:
        """The home image, read once for all; every task was claimed before that reading."""
        with self._home_lock:
            if self._home is None:
                self._home = (read(),)
            return self._home[0]

    def leave(self) -> None:
        """One task will not need the bytes (any more)."""
        with self._changed:
            self._expected -= 1
            self._changed.notify_all()

    def stay(self) -> None:
        """One task that had left needs the bytes after all, by another transport."""
        with self._changed:
            self._expected += 1

    def transfer(self, transport: Transport, source: Source, target: Target) -> None:
        """Bring the bytes to ``target``; if the transport can, together with others that are ready.

        The task that calls it then counts as having left.

        :raises RegionError: the bytes did not arrive
        """
        seat = _Seat(target)
        with self._changed:
            self._expected -= 1
            fan_out = transport.capabilities.fan_out
            meeting = self._meeting if fan_out else None
            leading = meeting is None or meeting.begun or meeting.transport is not transport
            if meeting is None or leading:
                meeting = _Meeting(transport)
            meeting.seats.append(seat)
            self._changed.notify_all()
            if leading and fan_out:
                self._meeting = meeting
                self._wait_for_others()
                meeting.begun = True
        if leading:
            # Not in this thread: the leader, too, is done when its own target is settled (P8).
            try:
                threading.Thread(target=_hold, args=(meeting, source), daemon=True).start()
            except RuntimeError:  # there are no more threads; others wait for this one
                _hold(meeting, source)
        seat.settled.wait()
        if seat.error is not None:
            raise seat.error

    def _wait_for_others(self) -> None:
        deadline = time.monotonic() + self._patience
        while self._expected > 0:
            left = deadline - time.monotonic()
            if left <= 0 or not self._changed.wait(left):
                return


def _hold(meeting: _Meeting, source: Source) -> None:
    """Run the transfer; when it is over, every seat is settled."""
    seats = {id(seat.target): seat for seat in meeting.seats}

    def settle(target: Target, error: RegionError | None) -> None:
        seat = seats[id(target)]
        seat.error = error
        seat.settled.set()

    failure: Exception | None = None
    try:
        meeting.transport.move(source, [seat.target for seat in meeting.seats], settle)
    except Exception as error:
        if not isinstance(error, RegionError):
            LOG.exception("the transport %s failed unexpectedly", meeting.transport.name)
        failure = error
    for seat in meeting.seats:
        if not seat.settled.is_set():
            settle(seat.target, _fate(failure, seat.target.region, source.service.region))


def _fate(failure: Exception | None, region: str, home: str) -> RegionError:
    """What is said of a target that the transport left without a word."""
    if isinstance(failure, RegionError) and failure.region in (region, home):
        return failure
    if failure is None:
        return Transient(region, "the transfer ended without a word about it")
    return Transient(region, f"the transfer failed: {str(failure) or type(failure).__name__}")
