# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy in front of a real Glance, which makes trouble on the way.

The Glances of a devcloud close each connection after one answer, so a connection is a request.
"""

import contextlib
import dataclasses
import socket
import threading
import time
from types import TracebackType
from typing import Self


@dataclasses.dataclass(frozen=True)
class Trouble:
    """What becomes of the connections that are made while it is in force; none by default.

    Bytes are counted on each connection by itself, headers included.
    """

    flip_after: int | None = None  # one bit of the first byte past so many of an upload
    rate: int | None = None  # bytes per second let in
    cut_in: int | None = None  # cut when so many bytes have gone in
    cut_out: int | None = None  # cut when so many have come out
    answer: bytes = b""  # to every request, which gets no further
    hang: bool = False  # until the trouble ends; then they go on
    refuse: bool = False


@dataclasses.dataclass(frozen=True)
class Request:
    """A request that was let in. ``at`` is this machine's monotonic clock."""

    at: float
    method: str
    path: str


class Proxy:
    """Forwards connections from a port of its own to ``target`` (a port on loopback)."""

    def __init__(self, target: int, trouble: Trouble = Trouble()) -> None:
        self.target = target
        self.requests: list[Request] = []
        self.flipped: list[str] = []  # the paths of uploads
        self._trouble = trouble
        self._over = threading.Event()  # of the trouble in force
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = True

    @property
    def trouble(self) -> Trouble:
        """What is in force."""
        return self._trouble

    @trouble.setter
    def trouble(self, trouble: Trouble) -> None:
        over, self._over = self._over, threading.Event()
        self._trouble = trouble
        over.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        self.trouble = Trouble()
        self._listener.close()

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        over, trouble = self._over, self._trouble
        with client, contextlib.suppress(OSError):
            if trouble.refuse:
                return
            if trouble.hang:
                over.wait()
            head = client.recv(65536)
            if not head:
                return
            if trouble.answer:
                client.sendall(trouble.answer)
                client.shutdown(socket.SHUT_WR)
                client.settimeout(1.0)
                while client.recv(65536):  # else it would hear of a broken connection only
                    continue
                return
            with socket.create_connection(("127.0.0.1", self.target)) as server:
                request = self._note(head)
                out = _Flow(server, client, cut=trouble.cut_out)
                back = threading.Thread(target=out.run, daemon=True)
                back.start()
                uploads = request.method == "PUT" and request.path.endswith("/file")
                flow = _Flow(
                    client,
                    server,
                    cut=trouble.cut_in,
                    flip=trouble.flip_after if uploads else None,
                    rate=trouble.rate,
                )
                flow.run(head)
                if flow.flipped:
                    self.flipped.append(request.path)
                back.join()

    def _note(self, head: bytes) -> Request:
        method, _, rest = head.partition(b"\r\n")[0].decode(errors="replace").partition(" ")
        request = Request(time.monotonic(), method, rest.partition(" ")[0].partition("?")[0])
        self.requests.append(request)
        return request


class _Flow:
    """One direction of a connection."""

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        *,
        cut: int | None = None,
        flip: int | None = None,
        rate: int | None = None,
    ) -> None:
        self._source, self._sink = source, sink
        self._cut, self._flip, self._rate = cut, flip, rate
        self.flipped = False

    def run(self, head: bytes = b"") -> None:
        """Pass on ``head`` and all that comes, to the end."""
        passed = 0
        with contextlib.suppress(OSError):
            while data := bytearray(head or self._source.recv(65536)):
                head = b""
                if self._flip is not None and passed <= self._flip < passed + len(data):
                    data[self._flip - passed] ^= 1
                    self.flipped = True
                if self._cut is not None and passed + len(data) > self._cut:
                    self._sink.sendall(data[: self._cut - passed])
                    for end in (self._source, self._sink):
                        end.shutdown(socket.SHUT_RDWR)
                    return
                passed += len(data)
                if self._rate:
                    time.sleep(len(data) / self._rate)  # what the throttle is
                self._sink.sendall(data)
        for end, how in ((self._source, socket.SHUT_RDWR), (self._sink, socket.SHUT_WR)):
            with contextlib.suppress(OSError):
                end.shutdown(how)
