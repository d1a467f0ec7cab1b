# SPDX-License-Identifier: Apache-2.0
"""What a transport that goes to stores asks of a region's Glance, and what it was told."""

from glancesync.errors import RegionError
from glancesync.model import Image
from glancesync.schemes import Location


class Region:
    """A region that is told of locations."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.registered: list[tuple[str, Location, Image]] = []
        self.answer: RegionError | None = None

    def register(self, image_id: str, location: Location, home: Image) -> None:
        if self.answer is not None:
            raise self.answer
        self.registered.append((image_id, location, home))
