# SPDX-License-Identifier: Apache-2.0
"""Which transport: of the configured ones, in their order, the first that fits both ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from glancesync.interfaces import Capabilities, Transport
from glancesync.model import Image
from glancesync.schemes import Filesystem, Place


@dataclasses.dataclass(frozen=True)
class End:
    """One end of a transfer, as far as it matters for the choice.

    ``places``: where the bytes are, or would be put; none if it is not known how to get there, and
    ``unknown`` says why.
    """

    region: str
    places: tuple[Place, ...] = ()
    unknown: str = "nothing is known of its stores"
    import_methods: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Route:
    """A transport, and the places it would move bytes between; ``unfit`` says why it can't."""

    transport: Transport
    unfit: str | None = None
    source: Place | None = None
    target: Place | None = None


def route(transport: Transport, image: Image, source: End, target: End) -> Route:
    """A transport with its places, or with why it does not fit."""
    needs = transport.capabilities
    why = _unfit(needs, image, target)
    if why is not None:
        return Route(transport, why)
    sources = _reached(needs.reads, source)
    targets = _reached(needs.writes, target)
    for side in (sources, targets):
        if isinstance(side, str):
            return Route(transport, side)
    for one in sources:
        for other in targets:
            assert not isinstance(one, str)  # noqa: S101 - for the type checker
            assert not isinstance(other, str)  # noqa: S101
            why = _apart(needs, one, other)
            if why is None:
                return Route(transport, None, one, other)
    return Route(transport, why)


def _unfit(needs: Capabilities, image: Image, target: End) -> str | None:
    if needs.needs_import_method and needs.needs_import_method not in target.import_methods:
        return f"{target.region} does not offer the import method {needs.needs_import_method}"
    if needs.needs_formats and not (image.container_format and image.disk_format):
        return "the image has no container_format or disk_format"
    return None


def _reached(schemes: frozenset[str], end: End) -> Sequence[Place | None] | str:
    """The places of ``end`` that a transport of these schemes can go to; or why there are none."""
    if not schemes:
        return (None,)  # by way of its Glance
    fitting = [place for place in end.places if place.scheme.name in schemes]
    if fitting:
        return fitting
    if end.places:
        names = " and ".join(sorted({place.scheme.name for place in end.places}))
        return f"the store of {end.region} is {names}, not {' or '.join(sorted(schemes))}"
    return f"{end.region}: {end.unknown}"


def _apart(needs: Capabilities, one: Place | None, other: Place | None) -> str | None:
    """Why a transport that needs its two places close together can't go between these."""
    if needs.here:
        for place in (one, other):
            if place is not None and isinstance(place.scheme, Filesystem) and not place.scheme.here:
                return f"{place.scheme.datadir or place.path} is on {place.scheme.host}, not here"
    if needs.same_store and one is not None and other is not None:
        identity = one.scheme.identity
        if not identity or identity != other.scheme.identity:
            return "the two stores are not known to be one and the same"
    if needs.same_service and one is not None and other is not None:
        service = one.scheme.service
        if not service or service != other.scheme.service:
            return "the two stores are not known to be of one and the same service"
    return None
