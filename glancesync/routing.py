# SPDX-License-Identifier: Apache-2.0
"""Which way an image would go to a region, and why not the others: for people who ask."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

from glancesync.choice import Route
from glancesync.ends import Schemes, ways
from glancesync.errors import BadRequest, Unready
from glancesync.home import read, with_lent_bytes
from glancesync.interfaces import ImageService, Replicas, Services, Transport
from glancesync.model import Image, Original


class Routing:
    """Looks at home and at the region, and does nothing to them.

    :param services: the Glances of the regions as they are known now
    """

    def __init__(
        self,
        replicas: Replicas,
        services: Callable[[], Services],
        transports: Sequence[Transport],
        schemes: Schemes,
    ) -> None:
        self._replicas = replicas
        self._services = services
        self.use(transports, schemes)

    def use(self, transports: Sequence[Transport], schemes: Schemes) -> None:
        """Go by these from now on."""
        self._transports, self._schemes = transports, schemes

    def home_image(self, image_id: str) -> Image | None:
        """The image as home has it, or where it comes from; None if it is not there.

        :raises RegionError: home does not answer
        """
        return read(self._services(), image_id, self._replicas.image(image_id))

    def service(self, region: str) -> ImageService:
        """The Glance of a region.

        :raises RegionError: it can't be reached now
        """
        return self._services()(region)

    def routes(self, image_id: str, region: str) -> tuple[Route, ...]:
        """All transports in their order; the first that is not unfit would be taken.

        :raises BadRequest: home has no such image, or it has no data
        :raises RegionError: home or the region does not answer
        """
        services = self._services()
        record = self._replicas.image(image_id)
        original = Original.of(image_id, record, services.home)
        image = read(services, image_id, record)
        if image is None:
            raise BadRequest(f"home has no image {image_id}", 404)
        if original.region == services.home:
            with contextlib.suppress(Unready):
                image = with_lent_bytes(services, self._replicas.regions, image)
        if image.lent is not None:
            original = image.lent.original
        if not image.has_data:
            raise BadRequest(f"home's image {image_id} is {image.status}: nothing to copy", 409)
        replica = self._replicas.replica(image_id, region)
        target_id = (replica and replica.replica_id) or image_id
        source, target = services(original.region), services(region)
        there = dataclasses.replace(image, id=original.image_id)
        found = ways(self._transports, self._schemes, there, source, target, target_id)
        return found.routes
