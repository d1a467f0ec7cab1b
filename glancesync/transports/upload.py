# SPDX-License-Identifier: Apache-2.0
"""``upload``: read the home image once, PUT it to every region that needs it.

Works with any Glance. The bytes go through a child process (see :mod:`.mover`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from glancesync.errors import Corrupt, RegionError, Transient, from_status
from glancesync.interfaces import Capabilities, Source, Target
from glancesync.transports import child
from glancesync.transports.settings import TransferSettings


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
        image = source.image
        order = child.order(
            self._settings,
            home,
            ends,
            size=image.size or 0,
            algorithm=image.os_hash_algo or "" if image.os_hash_value else "",
            expected=image.os_hash_value or "",
        )
        with child.lines_of(order, by_name) as lines:
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


def _error(source: Source, target: Target, line: dict[str, Any]) -> RegionError:
    message, home = line["message"], source.service.region
    if line["side"] == "corrupt":
        return Corrupt(home, f"image {source.image.id}: {message}")
    if line["side"] == "source":
        said = f"could not read image {source.image.id}: {message}"
        return from_status(home, said, line["status"], line["headers"])
    return from_status(target.region, message, line["status"], line["headers"])
