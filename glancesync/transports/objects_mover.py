"""Brings an image from a Glance into a store, in a process of its own (see :mod:`.mover`)."""

from __future__ import annotations

import concurrent.futures
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # of the glancesync that started it, and no other that is installed
    sys.path.insert(0, str(Path(__file__).parents[2]))

from glancesync.transports import mover, rbd_mover
from glancesync.transports.rbd_mover import PIECE, Copy, Failed, Piece, Pieces

_ORDER = 23  # objects of 8 MiB, as Glance's driver makes them


class IntoPool(Copy):
    """An image on its way from a Glance into a Ceph pool."""

    @contextlib.contextmanager
    def source(self) -> Iterator[tuple[int, Pieces]]:
        yield _ORDER, self._read_pieces

    def _read_pieces(self, _: concurrent.futures.Executor) -> Iterator[Piece]:
        position = 0
        for chunk in read(self.order):
            yield position, len(chunk), chunk
            position += len(chunk)


def read(order: dict[str, Any]) -> Iterator[bytes]:
    """The chunks of the image that a Glance has, exactly ``size`` bytes in all."""
    asked = mover.Order({**order, "chunk": PIECE})
    try:
        yield from mover.read(asked)
    except mover.Failed as error:
        raise Failed(error.side, str(error), error.status, error.headers) from error


if __name__ == "__main__":
    sys.exit(rbd_mover.main(IntoPool))
