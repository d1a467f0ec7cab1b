"""Brings an image from a Glance into a store, in a process of its own (see :mod:`.mover`).

An end of its order has a ``scheme``: ``rbd`` is written as :mod:`.rbd_mover` does, ``swift`` and
``s3`` by glance_store's drivers. An order with ``remove`` takes back what was written, one with
``tidy`` whatever earlier orders have left, one with ``settled`` the mark beside it: the region's
Glance knows it now.
"""

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


class IntoStore(Copy):
    """An image on its way from a Glance into an object store."""

    def __init__(self, order: dict[str, Any]) -> None:
        super().__init__(order)
        from glancesync.transports import objects_drivers

        self._store = objects_drivers.STORES[self.end["scheme"]]

    def run(self) -> str:
        store = self._store(self.end)
        mark = store.mark()
        if mark == self.mark:  # as an earlier attempt left it
            return store.url
        if mark is None and store.there():
            raise store.not_ours()
        store.set_mark("")
        if mark is not None:
            store.remove(store.url)
        try:
            url, size, digest = store.write(self._chunks(), self.size, self.algorithm or "sha512")
            if size != self.size:
                raise Failed("target", f"{size} of {self.size} bytes were written")
            if self.expected and digest != self.expected:
                said = f"the {self.algorithm} of what was read is not the image's"
                raise Failed("corrupt", said)
        except BaseException as error:
            with contextlib.suppress(Exception):  # what is left has a mark
                if not (isinstance(error, Failed) and error.side == "way"):
                    store.remove(store.url)
                store.set_mark(None)
            raise
        store.set_mark(self.mark)
        return url

    def remove(self) -> None:
        store = self._store(self.end)
        if store.mark() == self.mark:
            if not self.order.get("settled"):
                store.remove(store.url)
            store.set_mark(None)

    def tidy(self) -> None:
        store = self._store(self.end)
        if store.mark() is not None:
            store.remove(store.url)
            store.set_mark(None)

    def _chunks(self) -> Iterator[bytes]:
        for chunk in read(self.order):
            if self.unwanted.is_set():
                raise Failed("target", "nobody wants it any more")
            self.pace.wait(len(chunk))
            self.done += len(chunk)
            yield chunk


def read(order: dict[str, Any]) -> Iterator[bytes]:
    """The chunks of the image that a Glance has, exactly ``size`` bytes in all."""
    asked = mover.Order({**order, "chunk": PIECE})
    try:
        yield from mover.read(asked)
    except mover.Failed as error:
        raise Failed(error.side, str(error), error.status, error.headers) from error


def into(order: dict[str, Any]) -> Copy:
    """What carries out an order."""
    (end,) = order["targets"].values()
    return (IntoPool if end["scheme"] == "rbd" else IntoStore)(order)


if __name__ == "__main__":
    sys.exit(rbd_mover.main(into))
