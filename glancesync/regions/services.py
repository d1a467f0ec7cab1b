# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Services``: the Glances of all regions, made when first needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from keystoneauth1.session import Session

from glancesync.errors import Transient
from glancesync.interfaces import ImageService
from glancesync.regions.catalog import home_region, image_endpoints
from glancesync.regions.images import GlanceImages


class CatalogServices:
    """The Glances that the Keystone catalog lists.

    Each has a session, and so a token, of its own: one that refuses a good token costs the others
    nothing, also while Keystone can't give out another.

    :param session: opens a session of the service user
    :param interface: public, internal or admin
    :param cascading_url: the image endpoint of the home region
    """

    def __init__(self, session: Callable[[], Session], interface: str, cascading_url: str) -> None:
        self._open = session
        self._session = session()
        self._interface = interface
        self._cascading_url = cascading_url
        self._made: dict[str, GlanceImages] = {}
        self.endpoints: Mapping[str, str] = {}
        self.home = ""

    def look(self) -> tuple[Mapping[str, str], str]:
        """What the catalog lists now, name -> URL, and the name of the home region.

        :raises RegionError: Keystone does not answer
        :raises ConfigurationError: the catalog does not name exactly one home
        """
        endpoints = image_endpoints(self._session, self._interface)
        return endpoints, home_region(endpoints, self._cascading_url)

    def use(self, endpoints: Mapping[str, str], home: str) -> None:
        """Have these regions, from now on."""
        moved = {name for name in self._made if self.endpoints.get(name) != endpoints.get(name)}
        self._made = {name: made for name, made in self._made.items() if name not in moved}
        self.endpoints, self.home = endpoints, home

    def __call__(self, region: str) -> ImageService:
        endpoint = self.endpoints.get(region)
        if endpoint is None:
            raise Transient(region, "the Keystone catalog lists no image endpoint for it")
        made = self._made.get(region)
        if made is None:
            made = GlanceImages(region, self._open(), endpoint, self._interface)
            self._made[region] = made
        return made
