"""Strategies: from an image and the known regions to the names of the regions it goes to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from glancesync.model import Image, Region

#: Why a task of a replica waits while the strategy is not active.
OFF = "synchronization is off (sync_strategy = None)"


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A way to place images.

    ``active`` is False for the one that switches synchronization off: under it nothing is made,
    changed or deleted, whatever became of the home image.
    """

    name: str
    place: Callable[[Image, Iterable[Region]], frozenset[str]]
    active: bool = True


def nowhere(image: Image, regions: Iterable[Region]) -> frozenset[str]:
    """No region."""
    return frozenset()


def everywhere(image: Image, regions: Iterable[Region]) -> frozenset[str]:
    """Every cascaded region, also those closed at the moment: their work waits."""
    return frozenset(region.name for region in regions if not region.home)


STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        Strategy("None", nowhere, active=False),
        Strategy("ALL", everywhere),
    )
}
