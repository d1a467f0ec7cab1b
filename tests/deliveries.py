# SPDX-License-Identifier: Apache-2.0
"""Files to be brought from one host to another, and what a Glance would hear of it."""

import hashlib
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

from glancesync.errors import RegionError
from glancesync.interfaces import ImageService, Source, Target
from glancesync.model import Image
from glancesync.schemes import Filesystem, Location, Place
from glancesync.transports.settings import TransferSettings
from glancesync.transports.ssh import Rsync, Scp

IMAGE = "11111111-2222-3333-4444-555555555555"
MIB = 2**20
WAYS = {"scp": Scp, "rsync": Rsync}
SETTINGS = TransferSettings(stall=20)


def data(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def image(content: bytes, **more: object) -> Image:
    values = {
        "size": len(content),
        "os_hash_algo": "sha512",
        "os_hash_value": hashlib.sha512(content).hexdigest(),
        "checksum": hashlib.md5(content).hexdigest(),
        **more,
    }
    return Image(IMAGE, "active", **values)  # type: ignore[arg-type]


class Registry:
    """What a transport asks of a region's Glance; it keeps what it was told."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.registered: list[tuple[str, Location, Image]] = []
        self.held: list[bytes] = []  # what was at the path each time
        self.path = Path()
        self.error: RegionError | None = None

    def register(self, image_id: str, location: Location, home: Image) -> None:
        self.held.append(self.path.read_bytes())
        self.registered.append((image_id, location, home))
        if self.error is not None:
            raise self.error


class Delivery:
    """A transfer in a thread of its own: from ``source`` to ``target``, and what came of it."""

    def __init__(
        self,
        way: str,
        source: tuple[Filesystem, Path],
        target: tuple[Filesystem, Path],
        what: Image,
        settings: TransferSettings = SETTINGS,
        registry: Registry | None = None,
        report: Callable[[int], None] | None = None,
        cancelled: threading.Event | None = None,
        pace: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.way, self.what, self.settings = way, what, settings
        self.pace = pace
        self.source, self.target = source, target
        self.registry = registry or Registry("R1")
        self.registry.path = target[1]
        self.reports: list[int] = []
        self.report = report or self.reports.append
        self.cancelled = cancelled or threading.Event()
        self.settled: list[RegionError | None] = []
        self.raised: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        home, there = self.source, self.target
        target = Target(
            "R1",
            IMAGE,
            cast(ImageService, self.registry),
            self.report,
            self.cancelled.is_set,
            Place(there[0], Location(f"file://{there[1]}", ""), str(there[1])),
            self.pace,
        )
        source = Source(
            self.what,
            cast(ImageService, Registry("home")),
            Place(home[0], Location(f"file://{home[1]}", ""), str(home[1])),
        )
        try:
            WAYS[self.way](self.settings).move(
                source, [target], lambda target, error: self.settled.append(error)
            )
        except BaseException as error:
            self.raised = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def until_over(self, timeout: float = 60) -> None:
        """Wait for the end, whatever it is."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "the transfer does not end"

    def over(self, timeout: float = 60) -> RegionError | None:
        """Wait for the end; None if it went well."""
        self.until_over(timeout)
        if self.raised is not None:
            raise self.raised
        assert len(self.settled) == 1, self.settled
        return self.settled[0]


def left(directory: Path) -> set[str]:
    """The names of all files in a directory, hidden ones too."""
    return {one.name for one in directory.iterdir()}
