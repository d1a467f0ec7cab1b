# SPDX-License-Identifier: Apache-2.0
"""``shared``: the region reads the very same bytes, so only its image is made.

That is so for what web servers have (Glance's store ``http``), which no Glance can delete. The
region's Glance reads all of it once by itself, and compares the hash.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glancesync.errors import Refused, RegionError, WayBlocked
from glancesync.interfaces import Capabilities, Source, Target
from glancesync.transports.settings import TransferSettings


class Shared:
    """Moves nothing."""

    name = "shared"
    capabilities = Capabilities(
        needs_formats=True,
        asynchronous=True,
        reads=frozenset({"http"}),
        writes=frozenset({"http"}),
        same_store=True,
    )

    def __init__(self, settings: TransferSettings) -> None:
        pass

    def move(
        self,
        source: Source,
        targets: Sequence[Target],
        settle: Callable[[Target, RegionError | None], None],
    ) -> None:
        """See ``interfaces.Transport``."""
        for target in targets:
            assert target.place is not None  # noqa: S101 - by our capabilities
            try:
                target.service.register(target.image_id, target.place.location, source.image)
            except Refused as error:
                settle(target, WayBlocked(target.region, error.message))
            except RegionError as error:
                settle(target, error)
            else:
                settle(target, None)
