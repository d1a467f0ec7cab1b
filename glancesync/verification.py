# SPDX-License-Identifier: Apache-2.0
"""A look at the bytes themselves that a region stores, when somebody asked for it.

A Glance says of an image the hash that it made when the bytes arrived. Bytes that rot in its store
later change nothing of that, and Glance never looks again. Only reading them tells.
"""

from __future__ import annotations

import dataclasses

from glancesync.errors import RegionError
from glancesync.interfaces import Reader, Target
from glancesync.model import Image


@dataclasses.dataclass(frozen=True)
class Rot:
    """What an image's bytes have as their hash, instead of what home says."""

    image_id: str
    algorithm: str
    value: str


class Verification:
    """What is known of the bytes of one image in one region."""

    def __init__(self) -> None:
        self.looked = False
        self.rot: Rot | None = None
        self.said: str | None = None  # why the bytes are not known to be right

    def look(self, reader: Reader, target: Target, home: Image, *, patient: bool) -> None:
        """Read all bytes, and compare them with what home says they are.

        Bytes that can't be read prove nothing: the region's storage may be away for a while. So
        that is only said.

        :raises RegionError: ``patient``, and it may go better next time
        """
        self.looked = True
        if home.digest is None:
            self.said = "home says no hash that the bytes could be compared with"
            return
        algorithm, value = home.digest
        try:
            found = reader.digest(target, home.size or 0, algorithm)
        except RegionError as error:
            if patient and error.retryable:
                raise
            self.said = f"the bytes could not be read: {error.message}"
            return
        if found != value:
            self.rot = Rot(target.image_id, algorithm, found)
            self.said = f"the bytes have rotted: their {algorithm} is {found}, not {value}"

    def of(self, image: Image | None) -> Rot | None:
        """What is wrong with the bytes of ``image``, if it is the one that was looked at."""
        return self.rot if image and self.rot and image.id == self.rot.image_id else None

    def unsound(self, image: Image | None) -> str | None:
        """In words, why the bytes of ``image`` are not known to be right; None: no reason."""
        return self.said if self.rot is None or self.of(image) else None
