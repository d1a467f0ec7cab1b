# SPDX-License-Identifier: Apache-2.0
"""Copies an image of one Ceph pool to another, in a process of its own (see :mod:`.mover`).

The order comes as JSON on standard input, what is said of it goes as JSON lines to standard output.
Further lines say how fast it may go, or that it is not wanted any more; it tidies up then, and when
standard input ends. It needs the standard library and Ceph's own ``rados`` and ``rbd`` modules:
those of the distribution's packages do, whatever environment runs this.

What is written has a name of its own until it is complete and its hash is right: then it gets the
snapshot that Glance's driver would make, and its final name. One that was left half-written is
removed when the same image comes again, or any other a day later. One that is complete and was not
told to Glance is known by a mark, and taken as it is.

Holes of the source are never read, and what is all zeros is never written; all of it is hashed.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from glancesync.transports.pace import Pace

#: Where distributions put the modules; an environment made by ``venv`` does not look there.
PLACES = (
    "/usr/lib/python3/dist-packages",
    f"/usr/lib64/python3.{sys.version_info.minor}/site-packages",
    f"/usr/lib/python3.{sys.version_info.minor}/site-packages",
)
SNAPSHOT = "snap"
MARK = "glance-sync"  # a key of the metadata of what we wrote; the value says what it is
PARTIAL = ".glance-sync."  # in the name of what is not complete
STALE = 86400.0  # seconds after which what is not complete belongs to nobody
PIECE = 4 * 1024 * 1024
_BLOCK = 64 * 1024  # of zeros, that is not written
_DEPTH = 4  # pieces that are read, or written, at the same time
_ZEROS = bytes(PIECE)
_TOLD_EVERY = 0.5  # seconds

Result = TypeVar("Result")
#: Offset, length and bytes; None for a hole.
Piece = tuple[int, int, bytes | None]
#: All pieces of an image, in order.
Pieces = Iterator[Piece]


class Failed(Exception):  # noqa: N818
    """``side``: source, target, corrupt, or way: Ceph can't be used at all.

    ``status`` and ``headers``: of an HTTP answer, if that is what failed.
    """

    def __init__(
        self, side: str, message: str, status: int = 0, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.side = side
        self.status = status
        self.headers = headers or {}


def say(**line: Any) -> None:
    """One line of progress."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def module(name: str) -> Any:
    """``rados`` or ``rbd``, from this environment or from that of the system."""
    if name not in sys.modules:
        finder = importlib.machinery.PathFinder
        spec = finder.find_spec(name) or finder.find_spec(name, list(PLACES))
        if spec is None or spec.loader is None:
            said = f"Ceph's Python module {name} is not installed (Debian: python3-{name})"
            raise Failed("way", said)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class Pool:
    """A pool of a cluster, while it is open; ``spec`` is an end of an order."""

    def __init__(self, spec: dict[str, Any], patience: float) -> None:
        self._spec = spec
        self._patience = str(max(1, round(patience)))
        self.rados, self.rbd = module("rados"), module("rbd")
        self.name: str = spec["pool"]
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Pool:
        spec = self._spec
        where = f"pool {self.name} of the cluster of {spec['ceph_conf']}"
        try:
            conf = {"keyring": spec["keyring"]} if spec["keyring"] else {}
            for name in ("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout"):
                conf[name] = self._patience
            self.cluster = self.rados.Rados(
                conffile=spec["ceph_conf"], rados_id=spec["user"] or None, conf=conf
            )
            self.cluster.connect()
            self._open.callback(self.cluster.shutdown)
            self.fsid: str = self.cluster.get_fsid()
            self.ioctx = self.cluster.open_ioctx(self.name)
            self._open.callback(self.ioctx.close)
        except self.rados.Error as error:
            self._open.close()
            raise Failed("way", f"{where} can't be used: {words(error)}") from error
        if spec["fsid"] and spec["fsid"] != self.fsid:
            self._open.close()
            raise Failed("way", f"{where}: its fsid is {self.fsid}, not {spec['fsid']} as Glance's")
        self.instance = self.rbd.RBD()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open.close()

    def image(self, name: str, **more: Any) -> Any:
        """An image of it."""
        return self.rbd.Image(self.ioctx, name, **more)

    def create(self, name: str, size: int, order: int) -> None:
        """Make an image as Glance's driver does."""
        features = int(self.cluster.conf_get("rbd_default_features") or 0)
        features = features or self.rbd.RBD_FEATURE_LAYERING
        self.instance.create(self.ioctx, name, size, order, old_format=False, features=features)

    def remove(self, name: str) -> None:
        """Remove an image and its snapshot; one that is not there is no error."""
        with contextlib.suppress(self.rbd.ImageNotFound):
            with self.image(name) as image:
                for snapshot in list(image.list_snaps()):
                    if image.is_protected_snap(snapshot["name"]):
                        image.unprotect_snap(snapshot["name"])
                    image.remove_snap(snapshot["name"])
            self.instance.remove(self.ioctx, name)

    def sweep(self, image: str) -> None:
        """Remove what was left half-written of an image, or of any other long ago."""
        for name in self.instance.list(self.ioctx):
            of, found, _ = name.partition(PARTIAL)
            if found:
                with contextlib.suppress(self.rbd.Error):
                    if self._abandoned(name, of == image):
                        self.remove(name)

    def _abandoned(self, name: str, wanted: bool) -> bool:
        with self.image(name, read_only=True) as image:
            age = time.time() - image.create_timestamp().timestamp()
            return (wanted or age > STALE) and not list(image.watchers_list())

    def mark(self, name: str) -> str | None:
        """What we wrote on an image; "" if it is not of us, None if there is none."""
        try:
            with self.image(name, read_only=True) as image:
                return str(image.metadata_get(MARK))
        except self.rbd.ImageNotFound:
            return None
        except KeyError:
            return ""


class Copy:
    """One image on its way into a pool; from another one, unless :meth:`source` is another."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.name, self.end = next(iter(order["targets"].items()))
        self.size: int = order["size"]
        self.algorithm: str = order["hash_algo"]
        self.expected: str = order["hash_value"]
        self.stall: float = order["stall"]
        self.done = 0
        self.unwanted = threading.Event()
        self.pace = Pace(order["rates"].get(self.name))
        #: what makes two copies the same
        self.mark = f"{self.size} {self.algorithm} {self.expected}"

    def run(self) -> str:
        """Copy; return the location, as Glance's driver writes it."""
        with Pool(self.end, self.stall) as target:
            final = self.end["image"]
            there = target.mark(final)
            if there is None:
                self._bring(target, final)
            elif there != self.mark:
                said = f"pool {target.name} has an image {final} that is not of us"
                raise Failed("way", said)
            self.done = self.size
            parts = [target.fsid, target.name, final, SNAPSHOT]
            return "rbd://" + "/".join(urllib.parse.quote(part, safe="") for part in parts)

    def remove(self) -> None:
        """Remove what an earlier order put there, if it is still as that left it."""
        with Pool(self.end, self.stall) as target:
            if target.mark(self.end["image"]) == self.mark:
                target.remove(self.end["image"])

    def tidy(self) -> None:
        """Remove whatever earlier orders have left of an image."""
        with Pool(self.end, self.stall) as target:
            target.sweep(self.end["image"])
            if target.mark(self.end["image"]):
                target.remove(self.end["image"])

    def _bring(self, target: Pool, final: str) -> None:
        target.sweep(final)
        partial = f"{final}{PARTIAL}{uuid.uuid4().hex[:12]}"
        with self.source() as (order, pieces):
            try:
                target.create(partial, self.size, order)
                with target.image(partial) as copy:
                    self._copy(pieces, copy)
                    copy.metadata_set(MARK, self.mark)
                    copy.create_snap(SNAPSHOT)
                    copy.protect_snap(SNAPSHOT)
                target.instance.rename(target.ioctx, partial, final)
            except BaseException as error:
                with contextlib.suppress(target.rbd.Error):
                    target.remove(partial)
                if isinstance(error, target.rbd.Error):
                    raise Failed("target", f"pool {target.name}: {words(error)}") from error
                raise

    @contextlib.contextmanager
    def source(self) -> Iterator[tuple[int, Pieces]]:
        """The logarithm of the size of the objects to be made, and all of the source's bytes."""
        start = self.order["source"]
        name, snapshot = start["image"], start["snapshot"]
        with Pool(start, self.stall) as source:
            try:
                image = source.image(name, snapshot=snapshot or None, read_only=True)
            except source.rbd.ImageNotFound:
                said = f"pool {source.name} has no image {name}@{snapshot}"
                raise Failed("source", said) from None
            except source.rbd.Error as error:
                raise Failed("source", f"pool {source.name}: {words(error)}") from error
            with image, _workers() as readers:
                if image.size() != self.size:
                    said = f"it holds {image.size()} bytes, not {self.size}"
                    raise Failed("source", said)
                yield image.stat()["order"], self._pieces(readers, image)

    def _copy(self, pieces: Pieces, copy: Any) -> None:
        """The bytes, through a hash; the pieces are read ahead, and written behind."""
        digest = hashlib.new(self.algorithm) if self.algorithm else None
        writes: collections.deque[Future[Any]] = collections.deque()
        with _workers() as writers:
            for offset, length, data in pieces:
                if digest is not None:
                    digest.update(data if data is not None else _ZEROS[:length])
                if data is not None:
                    self.pace.wait(len(data))
                for start, run in runs(data or b""):
                    writes.append(writers.submit(copy.write, run, offset + start))
                while len(writes) > _DEPTH or (writes and writes[0].done()):
                    self._wait(writes.popleft())
                self.done = offset + length
            for write in writes:
                self._wait(write)
            copy.flush()
        if digest is not None and digest.hexdigest() != self.expected:
            said = f"the {self.algorithm} of what was read is not the image's"
            raise Failed("corrupt", said)

    def _pieces(self, readers: ThreadPoolExecutor, image: Any) -> Pieces:
        ahead: collections.deque[tuple[int, int, Future[bytes] | None]] = collections.deque()
        reading = 0
        for offset, length, full in cut(extents(image), self.size):
            read = readers.submit(image.read, offset, length) if full else None
            ahead.append((offset, length, read))
            reading += full
            while reading >= _DEPTH or (ahead and ahead[0][2] is None):
                offset, length, read = ahead.popleft()
                reading -= read is not None
                yield offset, length, self._read(read)
        for offset, length, read in ahead:
            yield offset, length, self._read(read)

    def _read(self, read: Future[bytes] | None) -> bytes | None:
        try:
            return self._wait(read) if read is not None else None
        except module("rbd").Error as error:
            said = f"reading broke off at byte {self.done}: {words(error)}"
            raise Failed("source", said) from error

    def _wait(self, work: Future[Result]) -> Result:
        while True:
            if self.unwanted.is_set():
                raise Failed("target", "nobody wants it any more")
            with contextlib.suppress(TimeoutError):
                return work.result(_TOLD_EVERY)


@contextlib.contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """Threads that have ended before the image is closed: Ceph's library dies of what goes on."""
    pool = ThreadPoolExecutor(_DEPTH)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def extents(image: Any) -> list[tuple[int, int]]:
    """What an image, or the snapshot it is opened at, has bytes for: offset and length."""
    found: list[tuple[int, int]] = []

    def note(offset: int, length: int, exists: bool) -> None:
        if exists:
            found.append((offset, length))

    image.diff_iterate(0, image.size(), None, note, include_parent=True)
    return sorted(found)


def cut(found: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int, bool]]:
    """Pieces that make up ``size`` bytes: offset, length, whether there is anything in it.

    None crosses a multiple of PIECE, and so the border of two objects.
    """
    position = 0
    for offset, length in [*found, (size, 0)]:
        for begin, end, full in ((position, offset, False), (offset, offset + length, True)):
            while begin < end:
                stop = min(end, (begin // PIECE + 1) * PIECE)
                yield begin, stop - begin, full
                begin = stop
        position = offset + length


def runs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """What of a piece is more than blocks of zeros: offset and bytes."""
    begin = None
    for offset in range(0, len(data), _BLOCK):
        block = data[offset : offset + _BLOCK]
        if block != _ZEROS[: len(block)]:
            begin = offset if begin is None else begin
        elif begin is not None:
            yield begin, data[begin:offset]
            begin = None
    if begin is not None:
        yield begin, data[begin:]


def words(error: BaseException) -> str:
    """What an error of Ceph says, without where in its source."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def carry_out(copy: Copy) -> dict[str, Any]:
    """Do what is ordered; the line that says what became of it."""
    try:
        if copy.order.get("tidy"):
            copy.tidy()
            return {"target": copy.name, "ok": True}
        if copy.order.get("remove") or copy.order.get("settled"):
            copy.remove()
            return {"target": copy.name, "ok": True}
        return {"target": copy.name, "ok": True, "url": copy.run()}
    except Failed as error:
        failed = error
    except Exception as error:
        failed = Failed("target", words(error))
    return {
        "target": copy.name,
        "ok": False,
        "side": failed.side,
        "message": str(failed),
        "status": failed.status,
        "headers": failed.headers,
    }


def main(kind: Callable[[dict[str, Any]], Copy] = Copy) -> int:
    """Read the order, carry it out, say how it goes."""
    # Unbuffered: what else looks at sys.stdin must not wait for who reads from it.
    lines = os.fdopen(0, "rb", buffering=0, closefd=False)
    copy = kind(json.loads(lines.readline()))
    ended: list[dict[str, Any]] = []
    work = threading.Thread(target=lambda: ended.append(carry_out(copy)), daemon=True)
    threading.Thread(target=_obey, args=(lines, copy), daemon=True).start()
    work.start()
    said, moved_at = -1, time.monotonic()
    while work.is_alive():
        work.join(_TOLD_EVERY)
        if copy.done != said:
            said, moved_at = copy.done, time.monotonic()
            say(progress={copy.name: said})
        elif time.monotonic() - moved_at > 2 * copy.stall:
            say(stalled=[copy.name])
            os._exit(4)
    for line in ended:
        say(**line)
    sys.stdout.flush()
    os._exit(0)  # Ceph's threads may take their time


def _obey(lines: Any, copy: Copy) -> None:
    for line in lines:
        said = json.loads(line)
        if isinstance(said, str):
            break
        copy.pace.set(said["rates"].get(copy.name))
    copy.unwanted.set()
    copy.pace.stop()


if __name__ == "__main__":
    sys.exit(main())
