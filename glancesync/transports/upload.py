"""``upload``: read the home image once, PUT it to every region that needs it.

Works with any Glance. The bytes go through a child process (see :mod:`.mover`).
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from glancesync.errors import Corrupt, RegionError, Transient, from_status
from glancesync.interfaces import Capabilities, Endpoint, Source, Target
from glancesync.model import Image
from glancesync.transports import mover
from glancesync.transports.settings import TransferSettings

_MOVER = mover.__file__


class Upload:
    """Streams through this host."""

    name = "upload"
    capabilities = Capabilities(needs_formats=True, fan_out=True)

    def __init__(self, settings: TransferSettings) -> None:
        self._settings = settings

    def move(
        self,
        source: Source,
        targets: Sequence[Target],
        settle: Callable[[Target, RegionError | None], None],
    ) -> None:
        """See ``interfaces.Transport``."""
        home = source.service.file(source.image.id)
        by_name, ends = {}, {}
        for target in targets:
            try:
                ends[target.region] = target.service.file(target.image_id)
            except RegionError as error:
                settle(target, error)
            else:
                by_name[target.region] = target
        if not ends:
            return
        order = self._order(source.image, home, ends)
        with _mover(order, by_name) as lines:
            for line in lines:
                if "progress" in line:
                    for name, done in line["progress"].items():
                        if name in by_name:
                            by_name[name].report(done)
                elif "target" in line:
                    target = by_name.pop(line["target"])
                    settle(target, None if line["ok"] else _error(source, target, line))
                elif "stalled" in line:
                    for name in line["stalled"]:
                        target = by_name.pop(name)
                        settle(target, Transient(name, "the upload stalled and was given up"))

    def _order(self, image: Image, home: Endpoint, ends: Mapping[str, Endpoint]) -> dict[str, Any]:
        """What the mover is told; holds tokens, so it is only ever written to its input."""
        chosen = self._settings
        return {
            "source": {"url": home.url, "headers": {"X-Auth-Token": home.token}},
            "targets": {
                name: {
                    "url": end.url,
                    "headers": {"X-Auth-Token": end.token},
                    "settle": chosen.settle,
                }
                for name, end in ends.items()
            },
            "size": image.size or 0,
            "hash_algo": image.os_hash_algo if image.os_hash_value else "",
            "hash_value": image.os_hash_value or "",
            "chunk": chosen.chunk,
            "window": chosen.window,
            "patience": chosen.patience,
            "stall": chosen.stall,
            "cafile": chosen.cafile,
            "insecure": chosen.insecure,
        }


def _error(source: Source, target: Target, line: dict[str, Any]) -> RegionError:
    message, home = line["message"], source.service.region
    if line["side"] == "corrupt":
        return Corrupt(home, f"image {source.image.id}: {message}")
    if line["side"] == "source":
        said = f"could not read image {source.image.id}: {message}"
        return from_status(home, said, line["status"], line["headers"])
    return from_status(target.region, message, line["status"], line["headers"])


@contextlib.contextmanager
def _mover(
    order: dict[str, Any], waiting: Mapping[str, Target]
) -> Iterator[Iterator[dict[str, Any]]]:
    """Run the mover and hand out its lines.

    It is told of those ``waiting`` that are cancelled, and killed when all of them are.
    """
    over = threading.Event()
    with subprocess.Popen(
        [sys.executable, "-I", _MOVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        said = process.stdin

        def say(what: Any) -> None:
            with contextlib.suppress(BrokenPipeError):  # it has ended; its lines tell how
                said.write(json.dumps(what).encode() + b"\n")
                said.flush()

        def watch() -> None:
            dropped: set[str] = set()
            while not over.wait(0.2):
                left = dict(waiting)
                gone = {name for name, target in left.items() if target.cancelled()}
                if left and gone == left.keys():
                    process.kill()
                    return
                for name in sorted(gone - dropped):
                    say(name)
                dropped |= gone

        say(order)
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield _lines(process.stdout)
        finally:
            over.set()
            process.kill()
            watcher.join()


def _lines(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    for line in stream:
        yield json.loads(line)
