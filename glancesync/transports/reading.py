# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Reader``: all bytes of an image are read and hashed, in a child process."""

from __future__ import annotations

from glancesync.errors import Transient, from_status
from glancesync.interfaces import Target
from glancesync.transports import child
from glancesync.transports.settings import TransferSettings


class Reading:
    """Reads through this host."""

    def __init__(self, settings: TransferSettings) -> None:
        self._settings = settings

    def digest(self, target: Target, size: int, algorithm: str) -> str:
        """See ``interfaces.Reader``."""
        end = target.service.file(target.image_id)
        order = child.order(self._settings, end, {}, size=size, algorithm=algorithm)
        doing = f"could not read image {target.image_id}"
        with child.lines_of(order, {target.region: target}) as lines:
            for line in lines:
                if "read" in line:
                    target.report(line["read"])
                elif "digest" in line:
                    return str(line["digest"])
                else:
                    said = f"{doing}: {line['message']}"
                    raise from_status(target.region, said, line["status"], line["headers"])
        raise Transient(target.region, f"{doing}: the reading was broken off")
