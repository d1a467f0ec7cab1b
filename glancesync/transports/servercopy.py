# SPDX-License-Identifier: Apache-2.0
"""``servercopy``: from one container to another of one Swift, which copies by itself.

A child process (see :mod:`.objects_mover`) has Swift do it and compares; then the region's Glance
is told where its image is. No bytes pass through this host, but for those that have to be hashed.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

from glancesync.errors import RegionError
from glancesync.interfaces import Capabilities, Source, Target
from glancesync.transports import objects, objects_mover
from glancesync.transports.objects_landing import land, tidy
from glancesync.transports.settings import TransferSettings


class ServerCopy:
    """Copies within a Swift."""

    name = "servercopy"
    capabilities = Capabilities(
        needs_formats=True,
        reads=frozenset({"swift"}),
        writes=frozenset({"swift"}),
        same_service=True,
        tidies=True,
    )

    def __init__(self, settings: TransferSettings) -> None:
        self._settings = settings

    def move(
        self,
        source: Source,
        targets: Sequence[Target],
        settle: Callable[[Target, RegionError | None], None],
    ) -> None:
        """See ``interfaces.Transport``."""
        for target in targets:
            land(objects_mover.__file__, self._order(source, target), source, target, settle)

    def tidy(self, target: Target) -> None:
        """See ``interfaces.Leaver``."""
        assert target.place is not None  # noqa: S101 - by our capabilities
        end = objects.end(target.place, target.image_id)
        tidy(objects_mover.__file__, end, target, self._settings.stall)

    def _order(self, source: Source, target: Target) -> dict[str, Any]:
        image = source.image
        assert source.place is not None  # noqa: S101 - by our capabilities
        assert target.place is not None  # noqa: S101
        algorithm, value = image.digest or ("", "")
        path = urllib.parse.urlsplit(source.place.location.url).path
        return {
            "source": objects.end(source.place, path.rpartition("/")[2]),
            "targets": {target.region: objects.end(target.place, target.image_id)},
            "size": image.size or 0,
            "hash_algo": algorithm,
            "hash_value": value,
            "md5": image.checksum or "",
            "stall": self._settings.stall,
        }
