# SPDX-License-Identifier: Apache-2.0
"""Copies the file of one image to directories of this host, in a process of its own.

As with :mod:`.mover`: the order comes as JSON on standard input, JSON lines go to standard output,
and when standard input ends, so does this.

The source is read once, to be hashed; each target is filled by the kernel meanwhile (a hard link,
a clone of the extents, else ``copy_file_range``). A target counts when the hash is known to be
right: until then it is a hidden file beside its final name, where nobody looks (P3; see
:mod:`.berth`). Holes stay holes.

A file that has the name already is never written over nor removed, unless an earlier order has put
it there. If it has the bytes of the image, it is taken as it is.

What changes while it is read is found by the size and times of the file: Glance never writes to an
image's file again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # of the glancesync that started it, and no other that is installed
    sys.path.insert(0, str(Path(__file__).parents[2]))

from glancesync.transports.berth import Berth, Taken, sweep
from glancesync.transports.pace import Pace

_BLOCK = 1024 * 1024
_KERNEL_BLOCK = 16 * _BLOCK  # copied at a time between two looks at the flags
_LOOK_EVERY = 0.05  # seconds between two looks at how far it is
_TOLD_EVERY = 0.5  # seconds between two words of that
_FICLONE = 0x40049409  # linux/fs.h
_MODE = 0o640
#: What a kernel or a file system answers that can't do it this way.
_CANT = {errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EPERM}
_CANT |= {errno.EMLINK, errno.EACCES}


class Failed(Exception):  # noqa: N818
    """``side`` is source, target, or corrupt: the source's bytes are not those of the image."""

    def __init__(self, side: str, message: str) -> None:
        super().__init__(message)
        self.side = side


def say(**line: Any) -> None:
    """One line of progress."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Original:
    """The source's file, open.

    :raises Failed: it is not there, or is not what Glance says of it
    """

    def __init__(self, path: str, size: int) -> None:
        self.path, self.size = path, size
        self.hashed = 0
        self.unwanted = threading.Event()
        try:
            # A link is not followed: whoever may write to the directory could point it anywhere.
            self.descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            said = "it is a symbolic link" if error.errno == errno.ELOOP else words(error)
            raise Failed("source", f"{path!r} could not be opened: {said}") from error
        self.first = os.fstat(self.descriptor)
        if not stat.S_ISREG(self.first.st_mode):
            raise Failed("source", f"{path!r} is not a file")
        if self.first.st_size != size:
            raise Failed("source", f"{path!r} has {self.first.st_size} bytes, not {size}")

    def check(self) -> None:
        """See that nobody wrote to it since it was opened, and that it is still wanted."""
        if self.unwanted.is_set():
            raise Failed("source", "the copy was cancelled")
        now = os.fstat(self.descriptor)
        for name in ("st_size", "st_mtime_ns"):
            if getattr(now, name) != getattr(self.first, name):
                raise Failed("source", f"{self.path!r} changed while it was read")

    def extents(self) -> Iterator[tuple[int, int]]:
        """Where it has data, as start and end."""
        start = 0
        while start < self.size:
            try:
                start = os.lseek(self.descriptor, start, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                    return
                yield start, self.size  # a file system that does not know of holes
                return
            end = os.lseek(self.descriptor, start, os.SEEK_HOLE)
            yield start, end
            start = end

    def digest(self, algorithm: str) -> str:
        """The hash, in hex, of all its bytes."""
        found = hashlib.new(algorithm)
        zeros = bytes(_BLOCK)
        buffer = memoryview(bytearray(_BLOCK))
        for start, end in [*self.extents(), (self.size, self.size)]:
            while self.hashed < start:
                self.check()
                count = min(_BLOCK, start - self.hashed)
                found.update(zeros[:count])
                self.hashed += count
            while self.hashed < end:
                if self.unwanted.is_set():
                    self.check()
                block = buffer[: min(_BLOCK, end - self.hashed)]
                count = os.preadv(self.descriptor, [block], self.hashed)
                if not count:
                    raise Failed("source", f"{self.path!r} ended after {self.hashed} bytes")
                found.update(block[:count])
                self.hashed += count
        return found.hexdigest()


class Target(threading.Thread):
    """One file to be made."""

    def __init__(
        self, name: str, spec: dict[str, Any], source: Original, order: dict[str, Any]
    ) -> None:
        super().__init__(daemon=True)
        self.name = name
        self.source = source
        self.algorithm: str = order["hash_algo"]
        self.expected: str = order["hash_value"]
        self.path: str = spec["path"]
        self.may_link: bool = spec["link"]
        self.pace = Pace(order["rates"].get(name))
        self.berth = Berth(self.path)
        self.directory = self.berth.directory
        self.held = -1
        self.descriptor = -1
        self.how = ""
        self.done = 0
        self.found: Original | None = None
        self.fresh = False  # what has the name, or will have, is of this order
        self.dropped = threading.Event()
        self.failed: Failed | None = None
        self.over = False

    def run(self) -> None:
        try:
            self.fill()
        except Failed as error:
            self.failed = error
        except Taken as error:
            self.failed = Failed("target", str(error))
        except Exception as error:
            self.failed = Failed("target", f"{self.path!r} could not be written: {words(error)}")

    @property
    def moved(self) -> int:
        """Bytes that were written, or read of what is there."""
        return self.done + (self.found.hashed if self.found is not None else 0)

    def fill(self) -> None:
        """Have all bytes in the hidden file, on disk; or see that they are there already."""
        if self.is_source():
            raise Failed("target", f"{self.path!r} is the file of home itself")
        self.held = self.berth.hold()
        with contextlib.suppress(OSError):  # one may write to a directory that one can't list
            sweep(self.directory)
        if self.is_there():
            self.how = "there"
            self.berth.clear()
            return
        self.fresh = True
        try:
            self.berth.can_name()
        except OSError as error:
            if error.errno not in _CANT:
                raise
            said = f"its file system knows no hard links ({words(error)})"
            raise Failed("target", f"{self.path!r}: {said}") from error
        if self.may_link and self.link():
            self.how = "hard link"
        else:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self.descriptor = os.open(self.berth.partial, flags, 0o600)
            if self.clone():
                self.how = "reflink"
            else:
                self.how = "copy"
                self.copy()
            self.own()
            os.fsync(self.descriptor)
        self.done = self.source.size

    def is_source(self) -> bool:
        """Whether this is the source by its own name or another path to its directory.

        Then it must not be taken away if the region refuses it. A second name in another directory,
        as of a hard link, is a file that may go.
        """
        directory, base = os.path.split(self.source.path)
        return base == os.path.basename(self.path) and os.path.samefile(directory, self.directory)

    def is_there(self) -> bool:
        """Whether the image's file has its name already.

        :raises Failed: something else has it
        """
        found = self.berth.there()
        if found is None:
            return False
        if not stat.S_ISREG(found.st_mode):
            kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory"}
            kind = kinds.get(stat.S_IFMT(found.st_mode), "no file")
            raise Failed("target", f"{self.path!r} is {kind}, and is left alone")
        if self.is_right(found):
            return True
        if not self.berth.is_ours():
            raise Failed("target", f"{self.path!r} is another file, and is left alone")
        os.unlink(self.path)
        return False

    def is_right(self, found: os.stat_result) -> bool:
        """Whether the file that has the name holds the image's bytes."""
        if os.path.samestat(found, self.source.first):
            return True
        if not self.expected or found.st_size != self.source.size:
            return False
        try:
            self.found = Original(self.path, self.source.size)
            self.found.unwanted = self.dropped
            if not os.path.samestat(found, self.found.first):
                raise Failed("target", f"{self.path!r} was replaced while it was looked at")
            return self.found.digest(self.algorithm) == self.expected
        except Failed as error:
            raise Failed("target", str(error)) from error
        finally:
            if self.found is not None:
                os.close(self.found.descriptor)

    def link(self) -> bool:
        """Give the source's file a second name, if Glance can read it under that as well."""
        if not self.readable(self.source.first):
            return False
        try:
            os.link(self.source.path, self.berth.partial, follow_symlinks=False)
        except OSError as error:
            if error.errno in _CANT:
                return False
            raise
        if not os.path.samestat(os.lstat(self.berth.partial), self.source.first):
            raise Failed("source", f"{self.source.path!r} was replaced while it was read")
        return True

    def clone(self) -> bool:
        """Share the source's extents, where the file system can."""
        try:
            fcntl.ioctl(self.descriptor, _FICLONE, self.source.descriptor)
        except OSError as error:
            if error.errno in _CANT:
                return False
            raise
        return True

    def copy(self) -> None:
        """Copy the data, not the holes."""
        os.ftruncate(self.descriptor, self.source.size)
        for start, end in self.source.extents():
            while start < end:
                count = self.pace.most(min(_KERNEL_BLOCK, end - start))
                self.pace.wait(count)
                if self.dropped.is_set():
                    raise Failed("target", "the copy was cancelled")
                allowed = start + count
                while start < allowed:
                    start += self.copy_some(start, allowed - start)
                    self.done = start

    def copy_some(self, start: int, count: int) -> int:
        try:
            copied = os.copy_file_range(
                self.source.descriptor, self.descriptor, count, start, start
            )
        except OSError as error:
            if error.errno not in _CANT:
                raise
            data = os.pread(self.source.descriptor, min(count, _BLOCK), start)
            copied = os.pwrite(self.descriptor, data, start)
        if not copied:
            raise Failed("source", f"{self.source.path!r} ended after {start} bytes")
        return copied

    def own(self) -> None:
        """Give the file to whom its directory belongs, as far as we may; Glance must read it."""
        directory = os.stat(self.directory)
        for user, group in ((directory.st_uid, directory.st_gid), (-1, directory.st_gid)):
            with contextlib.suppress(PermissionError):
                os.fchown(self.descriptor, user, group)
                break
        os.fchmod(self.descriptor, _MODE)
        if not self.readable(os.fstat(self.descriptor)):
            os.fchmod(self.descriptor, _MODE | stat.S_IROTH)

    def readable(self, file: os.stat_result) -> bool:
        """Whether the owner of the directory, who is taken to be Glance, may read a file."""
        directory = os.stat(self.directory)
        if directory.st_uid == file.st_uid:
            return bool(file.st_mode & stat.S_IRUSR)
        if directory.st_gid == file.st_gid:
            return bool(file.st_mode & stat.S_IRGRP)
        return bool(file.st_mode & stat.S_IROTH)

    def finish(self, error: Failed | None) -> None:
        """Give the file its name, or take it away; and say so."""
        error = self.failed or error
        made = False
        try:
            if error is None:
                if self.how != "there":
                    self.berth.name(self.held)
                made = self.berth.is_ours()
        except Taken as raised:
            error = Failed("target", str(raised))
        except OSError as raised:
            error = Failed("target", f"{self.path!r} could not be named: {words(raised)}")
        if not made:
            self.take_away()
        self.over = True
        for descriptor in (self.held, self.descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        if error is None:
            say(target=self.name, ok=True, how=self.how, made=made)
        else:
            say(target=self.name, ok=False, side=error.side, message=str(error))

    def take_away(self) -> None:
        """Leave nothing behind that was not there; a file that has its name already stays."""
        if self.held < 0 or self.over:
            return
        with contextlib.suppress(OSError):
            if self.fresh:
                self.berth.drop()
            else:
                self.berth.let_go()


def words(error: BaseException) -> str:
    """An error without the paths, which are said anyway."""
    return (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"


def look(source: Original, order: dict[str, Any]) -> Failed | None:
    """Hash the source; what is wrong with it, if anything."""
    try:
        found = ""
        if order["hash_algo"]:
            found = source.digest(order["hash_algo"])
        source.check()
        if found != order["hash_value"]:
            said = f"its {order['hash_algo']} is {found}, not {order['hash_value']}"
            return Failed("corrupt", f"{source.path!r}: {said}")
    except Failed as error:
        return error
    except Exception as error:
        return Failed("source", f"{source.path!r} could not be read: {words(error)}")
    return None


def carry_out(order: dict[str, Any], targets: dict[str, Target], source: Original) -> int:
    """Fill and finish all targets, each as soon as it and the hash are ready."""
    verdict: list[Failed | None] = []
    hashing = threading.Thread(target=lambda: verdict.append(look(source, order)), daemon=True)
    hashing.start()
    for target in targets.values():
        target.start()
    last: list[int] = []
    moved_at = said_at = time.monotonic()
    while waiting := [target for target in targets.values() if not target.over]:
        filling = [target for target in waiting if target.is_alive()]
        longest: threading.Thread = filling[0] if filling else hashing
        longest.join(_LOOK_EVERY)
        for target in waiting:
            if target.is_alive():
                continue
            if target.failed is not None or target.dropped.is_set():
                target.finish(Failed("target", "the copy was cancelled"))
            elif verdict:
                target.finish(verdict[0])
        now, moved = time.monotonic(), [source.hashed, *(target.moved for target in waiting)]
        if moved != last:
            last, moved_at = moved, now
        elif now - moved_at > order["stall"]:
            say(stalled=[target.name for target in waiting if not target.over])
            for target in waiting:
                target.take_away()
            return 4
        if now - said_at > _TOLD_EVERY:
            said_at = now
            say(progress={target.name: target.done for target in waiting if not target.over})
    return 0


def told() -> Iterator[bytes]:
    """The lines of standard input, as they come."""
    rest = b""
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


def obey(lines: Iterator[bytes], targets: dict[str, Target]) -> None:
    """Drop the targets that are named; all, and end, when nobody is left to name them.

    A line that is no name says how fast each may be filled.
    """
    for line in lines:
        said = json.loads(line)
        if isinstance(said, str):
            targets[said].dropped.set()
            targets[said].pace.stop()
        else:
            for name, rate in said["rates"].items():
                targets[name].pace.set(rate)
    for target in targets.values():
        target.take_away()
    os._exit(3)


def main() -> int:
    """Read the order, copy, say how it goes; 0 when every target was told of."""
    lines = told()
    order = json.loads(next(lines))
    try:
        source = Original(order["source"], order["size"])
    except Failed as error:
        for name in order["targets"]:
            say(target=name, ok=False, side=error.side, message=str(error))
        return 0
    targets = {name: Target(name, spec, source, order) for name, spec in order["targets"].items()}
    threading.Thread(target=obey, args=(lines, targets), daemon=True).start()
    return carry_out(order, targets, source)


if __name__ == "__main__":
    sys.exit(main())
