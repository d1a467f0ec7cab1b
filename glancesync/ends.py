# SPDX-License-Identifier: Apache-2.0
"""The two ends of a transfer: what their Glances tell, with what the operator wrote of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from glancesync.choice import End, Route, route
from glancesync.errors import Refused
from glancesync.interfaces import ImageService, Transport
from glancesync.model import Image
from glancesync.placing import shared_place, source_places, target_place
from glancesync.schemes import Place, Scheme

Schemes = Mapping[str, Sequence[Scheme]]

_UNWRITTEN = "glance_store.yaml says nothing of its stores"


@dataclasses.dataclass(frozen=True)
class Ways:
    """All transports in their order, each with its places or with why it does not fit."""

    routes: tuple[Route, ...]
    schemes: Schemes
    target: End

    def relayed(self, transport: Transport, image: Image, source: ImageService) -> Route:
        """The same transport from another region, where the image is ``image``.

        :raises RegionError: that region does not answer
        """
        start = source_end([transport], self.schemes, image, source)
        return route(transport, image, start, self.target)


def ways(
    transports: Sequence[Transport],
    schemes: Schemes,
    image: Image,
    source: ImageService,
    target: ImageService,
    target_id: str,
) -> Ways:
    """The ways of ``image`` from ``source`` to the image ``target_id`` of ``target``.

    The regions are only asked what one of the transports needs to know.

    :raises RegionError: one does not answer
    """
    start = source_end(transports, schemes, image, source)
    end = target_end(transports, schemes, target_id, target, start)
    return Ways(tuple(route(one, image, start, end) for one in transports), schemes, end)


def source_end(
    transports: Iterable[Transport], schemes: Schemes, image: Image, service: ImageService
) -> End:
    """Where the bytes of ``image`` are."""
    written = schemes.get(service.region, ())
    if not any(one.capabilities.reads for one in transports):
        return End(service.region)
    if not written:
        return End(service.region, unknown=_UNWRITTEN)
    try:
        places = source_places(service.locations(image.id), service.stores(), written)
    except Refused as error:  # of its policy: then its stores are not for us to know
        return End(service.region, unknown=error.message)
    unknown = "glance_store.yaml does not tell how to reach the store that has the image"
    return End(service.region, tuple(places), unknown)


def target_end(
    transports: Iterable[Transport],
    schemes: Schemes,
    image_id: str,
    service: ImageService,
    source: End,
) -> End:
    """Where the bytes of a new image would be put, or where the region has them already."""
    capabilities = [one.capabilities for one in transports]
    methods: frozenset[str] = frozenset()
    if any(one.needs_import_method for one in capabilities):
        methods = service.import_methods()
    written = schemes.get(service.region, ())
    if not written or not any(one.writes for one in capabilities):
        return End(service.region, unknown=_UNWRITTEN, import_methods=methods)
    try:
        stores = service.stores()
        place = target_place(image_id, stores, service.file_stores(), written)
    except Refused as error:
        return End(service.region, unknown=error.message, import_methods=methods)
    found = [shared_place(one, stores, written) for one in source.places]
    places = [one for one in (*found, place) if isinstance(one, Place)]
    unknown = place if isinstance(place, str) else ""
    return End(service.region, tuple(places), unknown, methods)
