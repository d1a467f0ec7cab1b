# SPDX-License-Identifier: Apache-2.0
"""What the operator says about transfers, taken from ``glancesync.conf.transfer``."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class TransferSettings:
    """Sizes are bytes, times seconds."""

    chunk: int = 1024 * 1024
    window: int = 16  # chunks
    patience: float = 1.0
    stall: float = 60.0
    copy: float = 3600.0  # for a whole image, from host to host
    settle: float = 600.0  # for a region's answer after the last byte
    cafile: str | None = None
    insecure: bool = False
