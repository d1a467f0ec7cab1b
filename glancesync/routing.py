"""Which way an image would go to a region, and why not the others: for people who ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glancesync.choice import Route
from glancesync.ends import Schemes, ways
from glancesync.errors import BadRequest
from glancesync.home import read_home
from glancesync.interfaces import Replicas, Services, Transport


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

    def routes(self, image_id: str, region: str) -> tuple[Route, ...]:
        """All transports in their order; the first that is not unfit would be taken.

        :raises BadRequest: home has no such image, or it has no data
        :raises RegionError: home or the region does not answer
        """
        services = self._services()
        image = read_home(services, image_id)
        if image is None:
            raise BadRequest(f"home has no image {image_id}", 404)
        if not image.has_data:
            raise BadRequest(f"home's image {image_id} is {image.status}: nothing to copy", 409)
        replica = self._replicas.replica(image_id, region)
        target_id = (replica and replica.replica_id) or image_id
        home, target = services(services.home), services(region)
        found = ways(self._transports, self._schemes, image, home, target, target_id)
        return found.routes
