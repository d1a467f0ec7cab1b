# SPDX-License-Identifier: Apache-2.0
"""``pull``: the region's own Glance downloads the image from another (``glance-download``).

Nothing passes through this host. Both regions must trust the same Keystone. Glance stages the
whole image and compares only its size, so the hash is compared by us afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glancesync.errors import RegionError
from glancesync.interfaces import Capabilities, Source, Target
from glancesync.transports.settings import TransferSettings


class Pull:
    """Has the target import the image."""

    name = "pull"
    capabilities = Capabilities(
        needs_import_method="glance-download",
        needs_formats=True,
        asynchronous=True,
        direct=True,
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
            try:
                target.service.import_from(target.image_id, source.service.region, source.image.id)
            except RegionError as error:
                settle(target, error)
            else:
                settle(target, None)
