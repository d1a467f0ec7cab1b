# SPDX-License-Identifier: Apache-2.0
"""Strategies: from an image and what is known around it to where it goes. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from glancesync.model import Actor, Image, Pin, Project, Region, Replica
from glancesync.states import DeleteMode

#: Why a task of a replica waits while the strategy is not active.
OFF = "synchronization is off (sync_strategy = None)"


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the place of an image goes by, beside the image itself.

    ``actor``: who changed it last, as far as is known; ``origin``: the region it is copied from, if
    that is not home; ``pins``: by region; ``held``: what is on record of the regions that have it,
    or are about to; ``bound``: the regions its owner is bound to, or was and has not let go of;
    ``sound``: False if the original's bytes are known to be wrong, or not to be had; ``project``:
    the owner, if Keystone was asked and knows it; ``now``: when this was read.
    """

    regions: tuple[Region, ...]
    actor: Actor = Actor()
    origin: str | None = None
    pins: Mapping[str, Pin] = dataclasses.field(default_factory=dict)
    held: Mapping[str, Replica] = dataclasses.field(default_factory=dict)
    bound: frozenset[str] = frozenset()
    sound: bool = True
    project: Project | None = None
    now: float = 0.0


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where an image goes, and how.

    ``why``: what decided, in words. ``delete_mode``: what becomes of its replicas when they are not
    wanted any more, unless the region or the operator's default say it. ``haste``: seconds that its
    work goes before others of its kind. ``transports``: names of those that are tried first.
    ``unused``: regions where nobody has needed it for so long that it goes again, also if somebody
    had wanted it there by name -> when it was last needed.
    ``complaint``: what is wrong with what the image itself says of where it goes.
    """

    regions: frozenset[str]
    why: str
    delete_mode: DeleteMode | None = None
    haste: int = 0
    transports: tuple[str, ...] = ()
    unused: Mapping[str, float] = dataclasses.field(default_factory=dict)
    complaint: str | None = None


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A way to place images.

    ``active`` is False for the one that switches synchronization off: under it nothing is made,
    changed or deleted, whatever became of the home image. ``version``: of what it goes by beside
    the image, if that changes. ``evicts``: what it does not place any more could be placed again
    any time, and goes to make room: as many at a time as need no human, and nobody is asked.
    ``by_project``: it goes by what Keystone says of the owner.
    """

    name: str
    place: Callable[[Image, Facts], Placement]
    active: bool = True
    version: str = ""
    evicts: bool = False
    by_project: bool = False

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


def where_needed(image: Image, facts: Facts) -> Placement:
    """Where it is already: somebody wants it there, or wanted it once."""
    return Placement(there(facts), "nobody has asked for it there")


def there(facts: Facts) -> frozenset[str]:
    """The regions that have something of it, beside those that are only about to."""
    return frozenset(name for name, one in facts.held.items() if one.replica_id is not None)


STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        Strategy("None", nowhere, active=False),
        Strategy("ALL", everywhere),
        Strategy("LAZY", where_needed),
    )
}
