# SPDX-License-Identifier: Apache-2.0
"""Small files that an operator wrote."""

from __future__ import annotations

import dataclasses
import os
import stat


@dataclasses.dataclass(frozen=True)
class Found:
    """What a file holds, and whether every account of this host may read it."""

    data: bytes = dataclasses.field(repr=False)
    public: bool


def read(path: str, limit: int) -> Found:
    """A whole file of at most ``limit`` bytes. Never waits, as for the other end of a pipe.

    :raises ValueError: it can't be had; the message says why, in words, without its content
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from None
    except ValueError:
        raise ValueError("can't be read: its name holds a NUL") from None
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise ValueError(f"is larger than {limit} bytes")
    return Found(data, bool(about.st_mode & stat.S_IROTH))
