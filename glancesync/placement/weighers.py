# SPDX-License-Identifier: Apache-2.0
"""The weighers that come with glance-sync. Pure.

``cost`` is a label of a region: a number, in whatever unit the operator counts.
"""

from __future__ import annotations

import contextlib

from glancesync.placement.selection import Candidate, Settings, Wish

COST = "cost"


class _Weigher:
    less = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings


class Free(_Weigher):
    """More free bytes are better."""

    name = "free"
    unit = "bytes"

    def figure(self, wish: Wish, candidate: Candidate) -> float | None:
        capacity = candidate.capacity(self._settings)
        return None if capacity is None else capacity.free_bytes


class Images(_Weigher):
    """The more it has of the project's images, the less is to be copied."""

    name = "images"
    unit = "bytes"

    def figure(self, wish: Wish, candidate: Candidate) -> float | None:
        return candidate.held


class Distance(_Weigher):
    """Nearer to home is better, by the label ``place``."""

    name = "distance"
    less = True
    unit = "steps"

    def figure(self, wish: Wish, candidate: Candidate) -> float | None:
        return candidate.distance


class Backlog(_Weigher):
    """The less waits to be done for it, the sooner images get there."""

    name = "backlog"
    less = True
    unit = "tasks"

    def figure(self, wish: Wish, candidate: Candidate) -> float | None:
        return candidate.backlog


class Bindings(_Weigher):
    """The fewer are bound to it, the better: so projects spread."""

    name = "bindings"
    less = True
    unit = "bindings"

    def figure(self, wish: Wish, candidate: Candidate) -> float | None:
        return candidate.bindings


class Cost(_Weigher):
    """Cheaper is better, by the label ``cost``."""

    name = "cost"
    less = True
    unit = ""

    def figure(self, wish: Wish, candidate: Candidate) -> float | None:
        with contextlib.suppress(ValueError):
            return float(candidate.region.labels.get(COST, ""))
        return None


class Age(_Weigher):
    """The longer it is known, the better; with a negative multiplier the newest is filled first."""

    name = "age"
    unit = "seconds"

    def figure(self, wish: Wish, candidate: Candidate) -> float | None:
        return candidate.age
