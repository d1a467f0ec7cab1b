# SPDX-License-Identifier: Apache-2.0
"""A transport that is called by itself: bytes move, and the regions take what they are told."""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from bench import stage
from bench.memory import Watch, mib
from glancesync.errors import RegionError
from glancesync.interfaces import ImageService, Source, Target, Transport
from glancesync.model import Image
from glancesync.schemes import Location, Place

CURVE = (1, 16, 128)  # MiB, beside the whole size
SCRATCH = Path(__file__).parents[1] / ".devcloud"


def sizes(quick: bool) -> list[int]:
    """A curve of sizes in MiB; the last is the whole one."""
    whole = 128 if quick else 1024
    return [*(size for size in CURVE if size < whole), whole]


def image(name: str, file: Path) -> Image:
    """The image of that id whose data is in a file, as its Glance shows it."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha512").hexdigest()
    size = file.stat().st_size
    return Image(name, "active", size=size, os_hash_algo="sha512", os_hash_value=digest)


class Region:
    """A region that takes what it is told."""

    def __init__(self, region: str) -> None:
        self.region = region

    def register(self, image_id: str, location: Location, home: Image) -> None:
        """See ``interfaces.ImageService``."""


class Direct:
    """A transport; ``memory``: the highest resident memory, in MiB, of what moved bytes for it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.memory = 0.0

    def move(self, source: Source, places: Sequence[Place]) -> float:
        """Bring an image to regions with these places; the seconds until all had it.

        What the transport tidies up afterwards is waited for, and not counted.
        """
        targets = [
            Target(
                f"region {number}",
                source.image.id,
                cast(ImageService, Region(f"region {number}")),
                lambda done: None,
                lambda: False,
                place,
            )
            for number, place in enumerate(places)
        ]
        settled: list[RegionError | None] = []
        ended = began = time.perf_counter()

        def settle(_: Target, error: RegionError | None) -> None:
            nonlocal ended
            ended = time.perf_counter()
            settled.append(error)

        with Watch(os.getpid()) as watch:
            self._transport.move(source, targets, settle)
        if settled != [None] * len(places):
            raise stage.BenchError(f"{self._transport.name}: {settled}")
        self.memory = max(self.memory, mib(watch.mover))
        return ended - began
