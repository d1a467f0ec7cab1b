# SPDX-License-Identifier: Apache-2.0
"""What the rules say of an image, and what others would change: for people who ask."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

from glancesync.destinations import Destinations
from glancesync.errors import BadRequest
from glancesync.home import read
from glancesync.interfaces import Baselines, Replicas, Services
from glancesync.listing import listing
from glancesync.model import Image, Replica
from glancesync.placement import rules
from glancesync.placement.places import place
from glancesync.placement.rules import Book, Explanation
from glancesync.placement.strategies import Placement
from glancesync.snapshots import recalled
from glancesync.states import ENDED


@dataclasses.dataclass
class Amount:
    """Some images with data, and their bytes."""

    images: int = 0
    bytes: int = 0

    def add(self, image: Image) -> None:
        self.images += 1
        self.bytes += image.size or 0


@dataclasses.dataclass
class Preview:
    """What other rules would change, as far as home was looked at.

    ``added``: by region, what would be copied there; ``removed``: what is there, and would not be
    wanted any more. ``decided``: by rule. ``marker``: where to go on; None: that was all.
    """

    seen: int = 0
    added: dict[str, Amount] = dataclasses.field(default_factory=dict)
    removed: dict[str, Amount] = dataclasses.field(default_factory=dict)
    decided: dict[str, Amount] = dataclasses.field(default_factory=dict)
    marker: str | None = None


@dataclasses.dataclass(frozen=True)
class Ruled:
    """Where an image goes, and why; ``explanation`` if rules decide."""

    image: Image
    strategy: str
    placement: Placement
    explanation: Explanation | None


class Ruling:
    """Looks at home and at the journal, and changes nothing.

    :param book: the rules in force, if any are
    :param services: the Glances of the regions as they are known now
    :param transports: those that rules may prefer
    """

    def __init__(
        self,
        destinations: Destinations,
        book: Book | None,
        replicas: Replicas,
        baselines: Baselines,
        services: Callable[[], Services],
        transports: Sequence[str] = (),
    ) -> None:
        self._replicas = replicas
        self._baselines = baselines
        self._services = services
        self.use(destinations, book, transports)

    def use(self, destinations: Destinations, book: Book | None, transports: Sequence[str]) -> None:
        """Go by these from now on."""
        self.destinations, self.book, self.transports = destinations, book, transports

    def test(self, image_id: str, book: Book | None) -> Ruled:
        """Where an image goes.

        :param book: by these rules; None: by those in force, or the strategy that is
        :raises BadRequest: home has no such image
        :raises RegionError: home or Keystone does not answer
        """
        services = self._services()
        record = self._replicas.image(image_id)
        image = read(services, image_id, record)
        if image is None:
            raise BadRequest(f"home has no image {image_id}", 404)
        image = recalled(image, record, self._replicas.regions)
        book = book or self.book
        destinations = self._under(book)
        strategy = destinations.strategy
        facts = destinations.facts([image])[image_id]
        known = {one.region: one for one in self._replicas.replicas_of(image_id)}
        placement = place(strategy, image, facts, known)
        explanation = None if book is None else rules.explain(book, image, facts)
        return Ruled(image, strategy.name, placement, explanation)

    def preview(self, book: Book, after: str | None, images: int) -> Preview:
        """What ``book`` would change beside what is in force now.

        :param after: the marker of the part before
        :param images: look at so many, or some more
        :raises RegionError: home or Keystone does not answer
        """
        services = self._services()
        home = services(services.home)
        home.require_admin()
        now, then = self.destinations, self._under(book)
        found = Preview()
        regions = functools.cache(self._replicas.regions)
        for page, upto in listing(home, after):
            found.seen += len(page)
            found.marker = upto
            # What comes from elsewhere does not go by rules, and without data nothing goes.
            records = self._baselines.images_by_id([one.id for one in page])
            page = [recalled(one, records.get(one.id), regions) for one in page]
            moving = [image for image in page if image.has_data]
            known = self._known(moving)
            facts = then.facts(moving)
            old = now.each(moving, known) if now.strategy.active else {}
            for image in moving:
                placed = place(then.strategy, image, facts[image.id], known[image.id])
                _compare(image, placed, old.get(image.id), known[image.id], found)
                decides = rules.first(book, image, facts[image.id])
                name = rules.DEFAULT if decides is None else decides.name
                found.decided.setdefault(name, Amount()).add(image)
            if found.seen >= images:
                break
        return found

    def _known(self, images: list[Image]) -> dict[str, dict[str, Replica]]:
        known: dict[str, dict[str, Replica]] = {image.id: {} for image in images}
        for view in self._baselines.replicas_for(known):
            known[view.replica.image_id][view.replica.region] = view.replica
        return known

    def _under(self, book: Book | None) -> Destinations:
        if book is None:
            return self.destinations
        return self.destinations.under(rules.strategy(book))


def _compare(
    image: Image,
    placed: Placement,
    old: Placement | None,
    known: Mapping[str, Replica],
    found: Preview,
) -> None:
    """Note where ``image`` would go, and did not by ``old`` (None: nothing is in force)."""
    held = {name for name, one in known.items() if one.state not in ENDED}
    before = held if old is None else old.regions
    for name in placed.regions - before - held:
        found.added.setdefault(name, Amount()).add(image)
    for name in (before - placed.regions) & held:
        found.removed.setdefault(name, Amount()).add(image)
