# SPDX-License-Identifier: Apache-2.0
"""Where images go now: the strategy in force, on what the journal knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from glancesync.interfaces import Projects, Replicas
from glancesync.model import Actor, Image, Replica
from glancesync.placement.places import place
from glancesync.placement.strategies import Facts, Placement, Strategy
from glancesync.snapshots import among


class Destinations:
    """Places images.

    :param projects: only asked if the strategy goes by projects
    :param snapshots_to: see :func:`glancesync.snapshots.among`
    """

    def __init__(
        self,
        strategy: Strategy,
        replicas: Replicas,
        projects: Projects = lambda project_id: None,
        snapshots_to: Collection[str] = (),
    ) -> None:
        self.strategy = among(strategy, snapshots_to)
        self._replicas = replicas
        self._projects = projects
        self._snapshots_to = snapshots_to

    def of(
        self, image: Image, known: Mapping[str, Replica], actor: Actor | None = None
    ) -> Placement:
        """Where one image goes.

        :param known: its replicas by region
        :param actor: who changed it last, if that is not on record yet
        :raises RegionError: Keystone does not say whose it is
        """
        facts = self.facts([image])[image.id]
        if actor is not None:
            facts = dataclasses.replace(facts, actor=actor)
        return place(self.strategy, image, facts, known)

    def each(
        self, images: Collection[Image], known: Mapping[str, Mapping[str, Replica]]
    ) -> dict[str, Placement]:
        """Where each of several images goes, by its id.

        :param known: image -> its replicas by region
        :raises RegionError: as :meth:`of`
        """
        facts = self.facts(images)
        return {
            image.id: place(self.strategy, image, facts[image.id], known[image.id])
            for image in images
        }

    def facts(self, images: Collection[Image]) -> dict[str, Facts]:
        """What the place of each goes by, by its id; but for ``held``.

        :raises RegionError: as :meth:`of`
        """
        facts = self._replicas.facts(images)
        if not self.strategy.by_project:
            return facts
        owners = {image.id: image.owner for image in images}
        return {
            image_id: dataclasses.replace(one, project=self._projects(owner))
            if (owner := owners[image_id])
            else one
            for image_id, one in facts.items()
        }

    def under(self, strategy: Strategy) -> Destinations:
        """The same under another strategy."""
        return Destinations(strategy, self._replicas, self._projects, self._snapshots_to)
