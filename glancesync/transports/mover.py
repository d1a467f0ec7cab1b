# SPDX-License-Identifier: Apache-2.0
"""Moves the bytes of one image from a Glance to others, in a process of its own.

Copying and hashing would stall a worker's green threads, so they happen here. Hardly more than the
standard library is imported: it starts in a few hundredths of a second. The order comes as JSON on
standard input (tokens never stand in an argument list, P6), the progress goes as JSON lines to
standard output. When standard input ends, whoever gave the order is gone, and so is this process:
the regions then see a broken upload and forget it. A further line there names a target that is not
wanted any more, or says how fast each may be written to.

The source is read once. Each target has a queue of at most ``window`` chunks, which all share the
same bytes objects; so memory is bounded by the window, not by the image or the number of targets
(P7). A target that lags by a whole window while others have nothing left to write is cut loose
and goes on with a ranged read of its own, from where it is: a slow region delays only itself (P8).

The last chunk is held back until the hash of everything read is known to be that of the image. If
it is not, the connections are dropped: a region never activates bytes that were wrong at the
source (P3). One that was cut loose goes on hashing from where the common reading had come to.

Without targets it only reads, and says the hash of all bytes there are.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import queue
import select
import socket
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

from glancesync.transports.pace import Pace

_MAX_ERROR = 500
_TOLD_EVERY = 0.5  # seconds between two words of how far a reading is


class Failed(Exception):  # noqa: N818
    """A transfer failed. ``side`` is source or target; ``status`` the HTTP status, or 0."""

    def __init__(
        self, side: str, message: str, status: int = 0, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.side = side
        self.status = status
        self.headers = headers or {}  # of the answer, as far as they say when to come again


class Order:
    """What to move. See :meth:`Upload.order <glancesync.transports.upload.Upload>`."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.source_url: str = data["source"]["url"]
        self.source_headers: dict[str, str] = data["source"]["headers"]
        self.targets: dict[str, dict[str, Any]] = data["targets"]
        self.size: int = data["size"]
        self.algorithm: str = data["hash_algo"]
        self.expected: str = data["hash_value"]
        self.chunk: int = data["chunk"]
        self.window: int = data["window"]
        self.patience: float = data["patience"]
        self.stall: float = data["stall"]
        self.cafile: str | None = data["cafile"]
        self.insecure: bool = data["insecure"]
        self.rates: dict[str, int | None] = data["rates"]


def say(**line: Any) -> None:
    """One line of progress."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def connect(order: Order, url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection to ``url`` and the path to ask it for."""
    parts = urllib.parse.urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.netloc, timeout=order.stall), path
    context = ssl.create_default_context(cafile=order.cafile)
    if order.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return (
        http.client.HTTPSConnection(parts.netloc, timeout=order.stall, context=context),
        path,
    )


def read(order: Order, start: int = 0) -> Iterator[bytes]:
    """The chunks of the home image from byte ``start`` on; exactly ``size`` bytes in all."""
    if start >= order.size:
        return
    connection, path = connect(order, order.source_url)
    headers = dict(order.source_headers)
    if start:
        headers["Range"] = f"bytes={start}-"
    position = start
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        if response.status == 204:  # Glance knows the image, and its store does not
            raise Failed("source", "its data is not in the store any more: HTTP 204", 204)
        if response.status not in (200, 206):
            raise Failed("source", *_said(response))
        if start and response.status != 206:
            raise Failed("source", "it does not honour Range")
        while position < order.size:
            data = response.read(min(order.chunk, order.size - position))
            if not data:
                raise Failed("source", f"it ended after {position} of {order.size} bytes")
            position += len(data)
            yield data
        if response.read(1):
            raise Failed("source", f"it holds more than {order.size} bytes")
    except (OSError, http.client.HTTPException) as error:
        raise Failed("source", f"reading broke off at byte {position}: {_words(error)}") from error
    finally:
        connection.close()


def verified(order: Order, chunks: Iterator[bytes], digest: Any) -> Iterator[tuple[bytes, Any]]:
    """``chunks``, the last of them only if the hash of the whole image is the expected one.

    :param digest: the hash of what comes before ``chunks``; None if there is nothing to compare
    :return: each chunk, and the hash of all that comes before it
    """
    held = b""
    before = digest
    for chunk in chunks:
        if held:
            yield held, before
        if digest is not None:
            before = digest.copy()
            digest.update(chunk)
        held = chunk
    if digest is not None and digest.hexdigest() != order.expected:
        raise Failed("corrupt", f"the {order.algorithm} of what was read is not the image's")
    if held:
        yield held, before


class Target(threading.Thread):
    """Writes to one region, from the common queue and, once cut loose, by its own reading."""

    def __init__(self, order: Order, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.order = order
        self.spec = order.targets[name]
        self.queue: queue.Queue[bytes] = queue.Queue(order.window)
        self.pace = Pace(order.rates.get(name))
        self.sent = 0
        self.complete = threading.Event()  # all of the image is in the queue, or was
        self.loose = threading.Event()  # no more comes through the queue; read the rest
        self.digest: Any = None  # when loose: the hash of all that came through the queue
        self.broken: Failed | None = None  # the common reading failed: give up
        self.starving = False
        self.delayed = 0.0  # seconds that another had nothing to write because of this one
        self.connection: http.client.HTTPConnection | None = None
        self.over = False

    def chunks(self) -> Iterator[bytes]:
        """What to send: the queue, and the rest by an own read if cut loose."""
        taken = 0
        while True:
            # Asked before looking: nothing is put in after either.
            complete, loose = self.complete.is_set(), self.loose.is_set()
            self.starving = self.queue.empty()
            try:
                chunk = self.queue.get(block=not (complete or loose), timeout=0.2)
            except queue.Empty:
                chunk = b""
            self.starving = False
            if self.broken is not None:
                raise self.broken
            if chunk:
                taken += len(chunk)
                yield chunk
            elif complete:
                return
            elif loose:
                break
        for chunk, _ in verified(self.order, read(self.order, taken), self.digest):
            if self.broken is not None:
                raise self.broken
            yield chunk

    def pieces(self) -> Iterator[memoryview]:
        """The same, as fast as the bandwidth allows."""
        for chunk in self.chunks():
            yield from self.pace.pieces(chunk)

    def drop(self) -> None:
        """Stop now, also in the middle of a call."""
        self.broken = Failed("target", "the upload was cancelled")
        self.pace.stop()
        self.wake()
        if self.connection is not None and self.connection.sock is not None:
            with contextlib.suppress(OSError):
                self.connection.sock.shutdown(socket.SHUT_RDWR)

    def wake(self) -> None:
        """Have it look at the flags now, if it waits for a chunk."""
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(b"")

    def run(self) -> None:
        try:
            self.put()
        except Exception as error:
            error = error if isinstance(error, Failed) else Failed("target", _words(error))
            say(
                target=self.name,
                ok=False,
                side=error.side,
                status=error.status,
                message=str(error),
                headers=error.headers,
            )
        else:
            say(target=self.name, ok=True)
        finally:
            self.over = True

    def put(self) -> None:
        """PUT the image's data; returns when the region has accepted all of it."""
        connection, path = connect(self.order, self.spec["url"])
        self.connection = connection
        size = str(self.order.size)
        headers = {
            **self.spec["headers"],
            "Content-Type": "application/octet-stream",
            "Content-Length": size,
            "x-openstack-image-size": size,
        }
        try:
            connection.putrequest("PUT", path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            try:
                for piece in self.pieces():
                    if _answered(connection):
                        break
                    connection.send(piece)
                    self.sent += len(piece)
            except (BrokenPipeError, ConnectionResetError, TimeoutError):
                # The region may have answered before it had read everything; hear it out.
                with contextlib.suppress(OSError, http.client.HTTPException):
                    connection.sock.settimeout(1.0)
                    answer = connection.getresponse()
                    raise Failed("target", *_said(answer)) from None
                raise
            connection.sock.settimeout(max(self.order.stall, self.spec["settle"]))
            response = connection.getresponse()
            if response.status != 204 or self.sent != self.order.size:
                raise Failed("target", *_said(response))
        except (OSError, http.client.HTTPException) as error:
            raise Failed(
                "target", f"the upload broke off at byte {self.sent}: {_words(error)}"
            ) from error
        finally:
            connection.close()


def feed(order: Order, targets: list[Target]) -> None:
    """Read once and give every chunk to all targets that keep up."""
    attached = list(targets)
    digest = hashlib.new(order.algorithm) if order.algorithm else None
    for chunk, before in verified(order, read(order), digest):
        for target in list(attached):
            if not offer(order, target, chunk, before, attached):
                attached.remove(target)
        if not attached:
            return
    for target in attached:
        target.complete.set()
        target.wake()


def digest(order: Order) -> dict[str, Any]:
    """Read the source, and nothing else; the line that says its hash, or why there is none."""
    done, said_at = 0, time.monotonic()
    try:
        found = hashlib.new(order.algorithm)
        for chunk in read(order):
            found.update(chunk)
            done += len(chunk)
            if time.monotonic() - said_at > _TOLD_EVERY:
                said_at = time.monotonic()
                say(read=done)
    except Exception as error:
        error = error if isinstance(error, Failed) else Failed("source", _words(error))
        return {"message": str(error), "status": error.status, "headers": error.headers}
    return {"digest": found.hexdigest()}


def offer(order: Order, target: Target, chunk: bytes, before: Any, attached: list[Target]) -> bool:
    """Put a chunk into a target's queue; False if the target is over or was cut loose.

    :param before: the hash of all that comes before the chunk
    """
    while not target.over:
        if target.delayed > order.patience and target.queue.full():
            target.digest = before.copy() if before is not None else None
            target.loose.set()
            return False
        began = time.monotonic()
        try:
            target.queue.put(chunk, timeout=0.05)
            done = True
        except queue.Full:
            done = False
        if any(other.starving for other in attached if other is not target and not other.over):
            target.delayed += time.monotonic() - began
        if done:
            return True
    return False


def _answered(connection: http.client.HTTPConnection) -> bool:
    """Whether a region has answered already: it won't read the rest.

    Not asked of TLS, which also sends records of its own; there the sending fails in the end.
    """
    if isinstance(connection.sock, ssl.SSLSocket):
        return False
    return bool(select.select([connection.sock], [], [], 0)[0])


def _said(response: http.client.HTTPResponse) -> tuple[str, int, dict[str, str]]:
    """What a refused request answered, for :class:`Failed`: message, status, when to come again."""
    names = ("Retry-After", "Date")
    headers = {name: response.headers[name] for name in names if name in response.headers}
    said = f"HTTP {response.status} {response.reason}"
    with contextlib.suppress(OSError, http.client.HTTPException):
        body = response.read(4096).decode("utf-8", "replace")
        said += ": " + " ".join(_without_tags(body).split())[:_MAX_ERROR]
    return said, response.status, headers


def _without_tags(text: str) -> str:
    inside = False
    kept = []
    for character in text:
        if character == "<":
            inside = True
        elif character == ">" and inside:
            inside = False
            kept.append(" ")
        elif not inside:
            kept.append(character)
    return "".join(kept)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _told() -> Iterator[bytes]:
    """The lines of standard input, as they come.

    Not through sys.stdin: the interpreter could not close that while a thread reads from it.
    """
    rest = b""
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


def _obey(lines: Iterator[bytes], targets: list[Target]) -> None:
    by_name = {target.name: target for target in targets}
    for line in lines:
        said = json.loads(line)
        if isinstance(said, str):
            by_name[said].drop()
        else:
            for name, rate in said["rates"].items():
                by_name[name].pace.set(rate)
    os._exit(3)


def main() -> int:
    """Read the order, move the bytes, say how it goes; 0 when every target was told of."""
    lines = _told()
    order = Order(json.loads(next(lines)))
    targets = [Target(order, name) for name in order.targets]
    threading.Thread(target=_obey, args=(lines, targets), daemon=True).start()
    if not targets:
        say(**digest(order))
        return 0
    for target in targets:
        target.start()
    reader = threading.Thread(target=_feed, args=(order, targets), daemon=True)
    reader.start()
    last: dict[str, int] = {}
    moved_at = time.monotonic()
    while any(target.is_alive() for target in targets):
        for target in targets:
            target.join(0.5 / len(targets))
        sent = {target.name: target.sent for target in targets}
        if sent != last:
            last, moved_at = sent, time.monotonic()
            say(progress=sent)
        elif time.monotonic() - moved_at > order.stall + max(
            float(spec["settle"]) for spec in order.targets.values()
        ):
            say(stalled=[target.name for target in targets if target.is_alive()])
            return 4
    return 0


def _feed(order: Order, targets: list[Target]) -> None:
    try:
        feed(order, targets)
    except Exception as error:
        error = error if isinstance(error, Failed) else Failed("source", _words(error))
        for target in targets:
            if target.loose.is_set() and error.side != "corrupt":
                continue
            target.broken = error
            target.wake()


if __name__ == "__main__":
    sys.exit(main())
