# SPDX-License-Identifier: Apache-2.0
"""Brings an image from a Glance into a store, in a process of its own (see :mod:`.mover`).

An end of its order has a ``scheme``: ``rbd`` is written as :mod:`.rbd_mover` does, ``swift`` and
``s3`` by glance_store's drivers. If its source has one, too, both are containers of one Swift. An
order with ``remove`` takes back what was written, one with ``tidy`` whatever earlier orders have
left, one with ``settled`` the mark beside it: the region's Glance knows it now.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # of the glancesync that started it, and no other that is installed
    sys.path.insert(0, str(Path(__file__).parents[2]))

from glancesync.transports import mover, rbd_mover
from glancesync.transports.rbd_mover import PIECE, Copy, Failed, Pieces

_ORDER = 23  # objects of 8 MiB, as Glance's driver makes them
_LARGEST = 5 * 2**30  # bytes of an object that Swift takes
_SLOWEST = 8 * 2**20  # bytes per second that it copies, or it has stalled


class IntoPool(Copy):
    """An image on its way from a Glance into a Ceph pool."""

    @contextlib.contextmanager
    def source(self) -> Iterator[tuple[int, Pieces]]:
        yield _ORDER, self._read_pieces()

    def _read_pieces(self) -> Pieces:
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
        self.begun = False  # an object of the name may be ours

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
            url = self.bring(store)
        except BaseException as error:
            with contextlib.suppress(Exception):  # what is left has a mark
                if self.begun and not (isinstance(error, Failed) and error.side == "way"):
                    store.remove(store.url)
                store.set_mark(None)
            raise
        store.set_mark(self.mark)
        return url

    def bring(self, store: Any) -> str:
        """Write the object, and compare; its location as Glance knows it.

        :raises Failed: ``way``: there is one of that name
        """
        self.begun = True
        url, size, digest = store.write(self._chunks(), self.size, self.algorithm or "sha512")
        self.compare(size, digest)
        return str(url)

    def compare(self, size: int, digest: str) -> None:
        """:raises Failed: what was written is not the image"""
        if size != self.size:
            raise Failed("target", f"{size} of {self.size} bytes were written")
        if self.expected and digest != self.expected:
            raise Failed("corrupt", f"the {self.algorithm} of what was read is not the image's")

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


class Within(IntoStore):
    """An image on its way from one container of a Swift to another."""

    def __init__(self, order: dict[str, Any]) -> None:
        super().__init__(order)
        # Swift says nothing while it copies an object.
        self.stall += min(self.size, _LARGEST) / _SLOWEST

    def bring(self, store: Any) -> str:
        """See there. What Swift itself compares is the MD5 of each object that it copies.

        So all is well if that is home's checksum; where there is none, or the image is in
        segments, what has arrived is read.
        """
        source: Any = self._store(self.order["source"])
        account = store.origin(source)
        parts, in_segments = source.parts(self.size)
        if not in_segments and self.order["md5"] not in ("", parts[0].md5):
            raise Failed("corrupt", "the MD5 of its object in Swift is not its checksum")
        store.claim(in_segments)
        self.begun = True
        copied = []
        for part in store.copy(parts, in_segments, account):
            self._moved(part.size)
            copied.append(part)
        if self.expected and (in_segments or not self.order["md5"]):
            digest = hashlib.new(self.algorithm)
            self.done = 0
            for chunk in store.chunks(copied):
                self.pace.wait(len(chunk))
                self._moved(len(chunk))
                digest.update(chunk)
            self.compare(self.done, digest.hexdigest())
        return str(store.url)

    def _moved(self, size: int) -> None:
        if self.unwanted.is_set():
            raise Failed("target", "nobody wants it any more")
        self.done += size


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
    if end["scheme"] == "rbd":
        return IntoPool(order)
    return (Within if "scheme" in order["source"] else IntoStore)(order)


if __name__ == "__main__":
    sys.exit(rbd_mover.main(into))
