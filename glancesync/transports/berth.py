# SPDX-License-Identifier: Apache-2.0
"""Where a file lands in a directory of this host: its name, and two hidden names beside it.

``.IMAGE.glance-sync`` is locked by whoever works on the file. ``.IMAGE.glance-sync.partial`` is the
file while nobody may look at it. It gets its name as a hard link, which never replaces what is
there (P4), and before that the locked one says which file it is. Until Glance is known to have the
file, it stays there: so what was left by somebody who was killed is told from what is of others.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator

STALE = 2 * 86400.0  # seconds after which what is hidden belongs to nobody
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_HIDDEN = re.compile(rf"\.({_UUID})\.glance-sync(?:\.partial)?")


class Taken(Exception):  # noqa: N818
    """Somebody works on the file, or a name is not ours to use; the message says which."""


class Berth:
    """The names of one file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.directory, base = os.path.split(path)
        self.lock = os.path.join(self.directory, f".{base}.glance-sync")
        self.partial = self.lock + ".partial"

    def hold(self) -> int:
        """Lock it until the descriptor, which this returns, is closed.

        :raises Taken: somebody else has
        :raises OSError: the directory does not let us
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self.lock, flags, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Taken(f"{self.lock!r} is not a file")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(descriptor)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(found, os.lstat(self.lock)):
                    if found.st_nlink > 1 and not self._is_partial(found):
                        raise Taken(f"{self.lock!r} has another name as well")
                    return descriptor
            raise BlockingIOError
        except BlockingIOError:
            os.close(descriptor)
            raise Taken(f"somebody else is just writing {self.path!r}") from None
        except BaseException:
            os.close(descriptor)
            raise

    def _is_partial(self, found: os.stat_result) -> bool:
        """As a :meth:`can_name` leaves it that was killed."""
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(found, os.lstat(self.partial))
        return False

    def there(self) -> os.stat_result | None:
        """What has the name now; no link is followed."""
        try:
            return os.lstat(self.path)
        except FileNotFoundError:
            return None

    def is_ours(self) -> bool:
        """Whether what has the name is what :meth:`name` has put there, and was not settled."""
        found = self.there()
        if found is None:
            return False
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            return os.read(descriptor, 100) == _identity(found)
        finally:
            os.close(descriptor)

    def can_name(self) -> None:
        """:raises OSError: its file system knows no hard links"""
        self.clear()
        os.link(self.lock, self.partial, follow_symlinks=False)
        os.unlink(self.partial)

    def name(self, descriptor: int) -> None:
        """Give the hidden file its name, and have that on disk.

        :param descriptor: from :meth:`hold`
        :raises Taken: something else has the name
        """
        partial = os.lstat(self.partial)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _identity(partial), 0)
        os.fsync(descriptor)
        try:
            os.link(self.partial, self.path, follow_symlinks=False)
        except FileExistsError:
            found = self.there()  # NFS may have done it, and lost the word about it
            if found is None or not os.path.samestat(found, partial):
                raise Taken(f"{self.path!r} came to be meanwhile, and is left alone") from None
        os.unlink(self.partial)
        _sync(self.directory)

    def clear(self) -> None:
        """Remove the hidden file, not what says that it has its name."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.partial)

    def settle(self) -> None:
        """Glance has the file: from now on it is Glance's."""
        if self.is_ours():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.lock)

    def take_back(self) -> bool:
        """Remove what is ours, whether it has its name already or not; whether there was anything.

        :raises Taken: somebody works on it
        """
        if not any(os.path.lexists(name) for name in (self.lock, self.partial)):
            return False
        descriptor = self.hold()
        try:
            self.drop()
        finally:
            os.close(descriptor)
        return True

    def let_go(self) -> None:
        """For whoever holds it: leave what has the name as it was found."""
        self.clear()
        if not self.is_ours():
            os.unlink(self.lock)

    def drop(self) -> None:
        """As :meth:`take_back`, for whoever holds it."""
        if self.is_ours():
            os.unlink(self.path)
        self.clear()
        os.unlink(self.lock)


def sweep(directory: str, now: float | None = None) -> None:
    """Remove what was left long ago, by images that nobody has asked for since.

    What says of a file that it is ours stays as long as that is there.
    """
    oldest = (time.time() if now is None else now) - STALE
    for name in _hidden(directory):
        berth = Berth(os.path.join(directory, name))
        with contextlib.suppress(OSError, Taken):
            if any(_changed(one) > oldest for one in (berth.lock, berth.partial)):
                continue
            if not berth.is_ours():
                berth.take_back()


def _hidden(directory: str) -> Iterator[str]:
    """The names of files that have hidden ones beside their place."""
    found = (_HIDDEN.fullmatch(name) for name in os.listdir(directory))
    yield from {match[1] for match in found if match}


def _changed(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _identity(found: os.stat_result) -> bytes:
    """What tells a file from any other, also from one that gets its inode later."""
    return f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}\n".encode()


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
