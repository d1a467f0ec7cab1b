"""Where images go now: the strategy in force, on what the journal knows."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from glancesync.interfaces import Replicas
from glancesync.model import Image, Replica
from glancesync.placement.places import place
from glancesync.placement.strategies import Placement, Strategy


class Destinations:
    """Places images."""

    def __init__(self, strategy: Strategy, replicas: Replicas) -> None:
        self.strategy = strategy
        self._replicas = replicas

    def of(self, image: Image, known: Mapping[str, Replica]) -> Placement:
        """Where one image goes.

        :param known: its replicas by region
        """
        return self.each([image], {image.id: known})[image.id]

    def each(
        self, images: Collection[Image], known: Mapping[str, Mapping[str, Replica]]
    ) -> dict[str, Placement]:
        """Where each of several images goes, by its id.

        :param known: image -> its replicas by region
        """
        facts = self._replicas.facts(images)
        return {
            image.id: place(self.strategy, image, facts[image.id], known[image.id])
            for image in images
        }

    def under(self, strategy: Strategy) -> Destinations:
        """The same under another strategy."""
        return Destinations(strategy, self._replicas)
