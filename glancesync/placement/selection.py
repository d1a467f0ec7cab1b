# SPDX-License-Identifier: Apache-2.0
"""Which region a project is bound to: filters leave regions out, weighers rank the rest. Pure.

A *weigher* gives each region left a figure. The figures of one weigher are brought to the range
from 0, the worst of them, to 1, the best; what is not known, or is the same everywhere, counts as
0.5. Times the weigher's multiplier and summed up that is a region's total, and the largest total is
chosen; of equals, the first name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from glancesync.model import Capacity, Region

_NEUTRAL = 0.5
_DIGITS = 9  # of totals: what differs by less differs by how it was added up


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an operator says to filters and weighers.

    ``min_free``: percent of a region's capacity that stay free; ``allowed``: project -> the regions
    it may be bound to, of those projects that may not be bound to all; ``capacity_age``: seconds
    for which counts what was said of a capacity.
    """

    min_free: float = 5.0
    allowed: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    capacity_age: float = math.inf


@dataclasses.dataclass(frozen=True)
class Wish:
    """A project, or a group of what it has, wants a region; and what that region must offer.

    ``size``: bytes that must fit.
    """

    project_id: str
    group: str = ""
    availability_zone: str | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    disk_format: str | None = None
    size: int | None = None


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A region, and what a choice goes by beside what the operator says of it.

    ``distance``: to home, in steps; ``held``: bytes of the project's images that it has;
    ``backlog``: tasks that wait for it; ``bindings``: how many are bound to it; ``age``: seconds
    since it was found in the catalog, as far as that is known; ``capacity_age``: seconds since its
    capacity was said.
    """

    region: Region
    distance: int = 0
    held: int = 0
    backlog: int = 0
    bindings: int = 0
    age: float | None = None
    capacity_age: float = 0.0

    def capacity(self, settings: Settings) -> Capacity | None:
        """Its room, if somebody has said it not too long ago."""
        return self.region.capacity if self.capacity_age <= settings.capacity_age else None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a filter says of a region, and why, in words."""

    passes: bool
    why: str


class Filter(Protocol):
    """Leaves regions out. It does no I/O and gives the same verdict on the same facts."""

    name: str

    def judge(self, wish: Wish, candidate: Candidate) -> Verdict:
        """Whether the region will do."""


class Weigher(Protocol):
    """Ranks regions. It does no I/O and gives the same figure for the same facts.

    ``less``: the smaller figure is the better one. ``unit``: of the figure; ``bytes`` and
    ``seconds`` are shown as people read them.
    """

    name: str
    less: bool
    unit: str

    def figure(self, wish: Wish, candidate: Candidate) -> float | None:
        """The region's figure; None: not known."""


@dataclasses.dataclass(frozen=True)
class Weight:
    """What a weigher says of a region.

    ``raw``: its figure; ``normalised``: from 0, the worst, to 1, the best; ``weighted``: that times
    the multiplier.
    """

    raw: float | None
    unit: str
    normalised: float
    multiplier: float
    weighted: float


@dataclasses.dataclass(frozen=True)
class Judged:
    """A region with every verdict on it and, if all let it pass, its weights and their total."""

    region: str
    verdicts: Mapping[str, Verdict]
    weights: Mapping[str, Weight] = dataclasses.field(default_factory=dict)
    total: float | None = None

    @property
    def passes(self) -> bool:
        return all(verdict.passes for verdict in self.verdicts.values())

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it will not do, in words."""
        return tuple(one.why for one in self.verdicts.values() if not one.passes)


@dataclasses.dataclass(frozen=True)
class Selection:
    """The filters in force, and the weighers with their multipliers."""

    filters: Sequence[Filter]
    weighers: Sequence[tuple[Weigher, float]]

    def judge(self, wish: Wish, candidate: Candidate) -> Judged:
        """What the filters say of one region."""
        return Judged(
            candidate.region.name, {one.name: one.judge(wish, candidate) for one in self.filters}
        )

    def rank(self, wish: Wish, candidates: Collection[Candidate]) -> list[Judged]:
        """All regions: the best first, those that will not do at the end, by name."""
        judged = {one.region.name: self.judge(wish, one) for one in candidates}
        left = [one for one in candidates if judged[one.region.name].passes]
        weights: dict[str, dict[str, Weight]] = {one.region.name: {} for one in left}
        for weigher, multiplier in self.weighers:
            raw = {one.region.name: _known(weigher.figure(wish, one)) for one in left}
            for name, normalised in _normalised(raw, less=weigher.less).items():
                weights[name][weigher.name] = Weight(
                    raw[name], weigher.unit, normalised, multiplier, normalised * multiplier
                )
        for name, found in weights.items():
            total = round(math.fsum(one.weighted for one in found.values()), _DIGITS)
            judged[name] = dataclasses.replace(judged[name], weights=found, total=total)
        return sorted(judged.values(), key=_merit)


def _merit(one: Judged) -> tuple[bool, float, str]:
    return not one.passes, -(one.total or 0.0), one.region


def _known(figure: float | None) -> float | None:
    return figure if figure is not None and math.isfinite(figure) else None


def _normalised(raw: Mapping[str, float | None], *, less: bool) -> dict[str, float]:
    known = [figure for figure in raw.values() if figure is not None]
    low, high = min(known, default=0), max(known, default=0)
    span = high / 2 - low / 2  # halves: the span of two large numbers may be none
    if not span:
        return dict.fromkeys(raw, _NEUTRAL)
    found = {}
    for name, figure in raw.items():
        if figure is None:
            found[name] = _NEUTRAL
            continue
        share = min(1.0, max(0.0, (figure / 2 - low / 2) / span))
        found[name] = 1 - share if less else share
    return found
