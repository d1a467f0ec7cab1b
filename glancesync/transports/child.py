# SPDX-License-Identifier: Apache-2.0
"""Runs the mover, or another such program: a process that gets an order and says how it goes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from glancesync.interfaces import Endpoint, Target
from glancesync.transports import mover
from glancesync.transports.settings import TransferSettings

Line = dict[str, Any]

_TIDY = 5.0  # seconds
#: So that what many threads gave back is used again: it halves the memory of some.
_MALLOC = {"MALLOC_ARENA_MAX": "2"}


def order(
    settings: TransferSettings,
    source: Endpoint,
    targets: Mapping[str, Endpoint],
    *,
    size: int,
    algorithm: str,
    expected: str = "",
) -> dict[str, Any]:
    """What the mover is told; holds tokens, so it is only ever written to its input.

    :param targets: without any, it says the hash of what the source holds
    :param algorithm: of the hash, as :mod:`hashlib` names it; "": none is made
    :param expected: the hash, in hex, that the source must have to be moved
    """
    return {
        "source": {"url": source.url, "headers": {"X-Auth-Token": source.token}},
        "targets": {
            name: {
                "url": end.url,
                "headers": {"X-Auth-Token": end.token},
                "settle": settings.settle,
            }
            for name, end in targets.items()
        },
        "size": size,
        "hash_algo": algorithm,
        "hash_value": expected,
        "chunk": settings.chunk,
        "window": settings.window,
        "patience": settings.patience,
        "stall": settings.stall,
        "cafile": settings.cafile,
        "insecure": settings.insecure,
    }


class Lines:
    """What a program says, line by line; ``say`` tells it something."""

    def __init__(self, stream: IO[bytes], say: Callable[[Any], None]) -> None:
        self._stream = stream
        self.say = say

    def __iter__(self) -> Iterator[Line]:
        return map(json.loads, self._stream)


@contextlib.contextmanager
def lines_of(
    what: dict[str, Any], waiting: Mapping[str, Target], program: str = mover.__file__
) -> Iterator[Lines]:
    """Have an order carried out by ``program``, and hand out what is said of it.

    Its order says, and a line to it when that changes, what each of those ``waiting`` may have of
    the bandwidth. It is told of those that are cancelled. When all of them are, or nobody listens
    any more, its standard input ends, and it has a few seconds to tidy up before it is killed.
    """
    over = threading.Event()
    what = {**what, "rates": {name: target.pace() for name, target in waiting.items()}}
    with subprocess.Popen(
        [sys.executable, "-I", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**_MALLOC, **os.environ},
    ) as process:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        said = process.stdin

        def say(line: Any) -> None:
            # It has ended, and its lines tell how; or it was told to.
            with contextlib.suppress(BrokenPipeError, ValueError):
                said.write(json.dumps(line).encode() + b"\n")
                said.flush()

        def watch() -> None:
            dropped: set[str] = set()
            rates = what["rates"]
            while not over.wait(0.2):
                left = dict(waiting)
                now = {name: target.pace() for name, target in left.items()}
                if now != {name: rates.get(name) for name in now}:
                    rates = now
                    say({"rates": rates})
                gone = {name for name, target in left.items() if target.cancelled()}
                if left and gone == left.keys():
                    _end(process)
                    return
                for name in sorted(gone - dropped):
                    say(name)
                dropped |= gone

        say(what)
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield Lines(process.stdout, say)
        finally:
            over.set()
            watcher.join()
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(_TIDY)
    except subprocess.TimeoutExpired:
        process.kill()
