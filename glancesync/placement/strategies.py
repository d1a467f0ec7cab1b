"""Strategies: from an image and the known regions to the names of the regions it goes to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from glancesync.model import Image, Region

Strategy = Callable[[Image, Iterable[Region]], frozenset[str]]


def to_none(image: Image, regions: Iterable[Region]) -> frozenset[str]:
    """Synchronization is off: nothing is made, changed or deleted."""
    return frozenset()


def to_all(image: Image, regions: Iterable[Region]) -> frozenset[str]:
    """Every cascaded region, also those closed at the moment: their work waits."""
    return frozenset(region.name for region in regions if not region.home)


STRATEGIES: dict[str, Strategy] = {"None": to_none, "ALL": to_all}
