"""Strategies: from an image and what is known around it to where it goes. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from glancesync.model import Actor, Image, Pin, Region
from glancesync.states import DeleteMode

#: Why a task of a replica waits while the strategy is not active.
OFF = "synchronization is off (sync_strategy = None)"


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the place of an image goes by, beside the image itself.

    ``actor``: who changed it last, as far as is known; ``origin``: the region it is copied from, if
    that is not home; ``pins``: by region; ``held``: the regions that have it, or are about to;
    ``bound``: the regions its owner is bound to, or was and has not let go of.
    """

    regions: tuple[Region, ...]
    actor: Actor = Actor()
    origin: str | None = None
    pins: Mapping[str, Pin] = dataclasses.field(default_factory=dict)
    held: frozenset[str] = frozenset()
    bound: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where an image goes, and how.

    ``why``: what decided, in words. ``delete_mode``: what becomes of its replicas when they are not
    wanted any more, unless the region or the operator's default say it. ``haste``: seconds that its
    work goes before others of its kind. ``transports``: names of those that are tried first.
    """

    regions: frozenset[str]
    why: str
    delete_mode: DeleteMode | None = None
    haste: int = 0
    transports: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A way to place images.

    ``active`` is False for the one that switches synchronization off: under it nothing is made,
    changed or deleted, whatever became of the home image. ``version``: of what it goes by beside
    the image, if that changes.
    """

    name: str
    place: Callable[[Image, Facts], Placement]
    active: bool = True
    version: str = ""

    @property
    def mark(self) -> str:
        """Another one whenever images may go elsewhere than before."""
        return f"{self.name} {self.version}".strip()


def nowhere(image: Image, facts: Facts) -> Placement:
    """No region."""
    return Placement(frozenset(), OFF)


def everywhere(image: Image, facts: Facts) -> Placement:
    """Every region, also those closed at the moment: their work waits."""
    return Placement(frozenset(region.name for region in facts.regions), "every image goes there")


STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        Strategy("None", nowhere, active=False),
        Strategy("ALL", everywhere),
    )
}
