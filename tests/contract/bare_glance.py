# SPDX-License-Identifier: Apache-2.0
"""Local HTTP servers that behave, or misbehave, like the ``/file`` of a Glance.

They are real servers on real sockets; what they hold and what went through them is public.
"""

import concurrent.futures
import ctypes
import hashlib
import http.server
import re
import threading
import time
from collections.abc import Callable, Iterator

from glancesync.errors import RegionError
from glancesync.interfaces import Endpoint

BLOCK = 64 * 1024


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that went away is part of the tests."""


def _enter(netns: str) -> None:
    """Have this thread be in a network namespace (setns(2))."""
    with open(f"/run/netns/{netns}", "rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), f"can't enter {netns}")


class BareGlance:
    """One region's end of a transfer.

    :param serves: what a GET answers with
    :param size: what a GET says in Content-Length; the length of ``serves`` unless told
    :param address: where it listens; ``netns``: the network namespace that is in, by its name
    """

    def __init__(
        self,
        region: str,
        serves: bytes = b"",
        *,
        size: int | None = None,
        address: str = "127.0.0.1",
        netns: str = "",
    ) -> None:
        self.region = region
        self.token = f"secret-token-of-{region}"
        self.serves = serves
        self.size = len(serves) if size is None else size
        self.repeat = 1  # serve it so many times over: an image larger than memory
        self.ranges = True
        self.gets: list[str] = []  # the Range of each GET
        self.bytes_read = 0
        self.on_get: Callable[[], None] = lambda: None
        self.refuse_get: tuple[int, dict[str, str]] | None = None
        # what a PUT does
        self.refuse: tuple[int, dict[str, str]] | None = None  # before the body is read
        self.refuse_and_stay = False  # keep the connection, yet read nothing
        self.answer: tuple[int, dict[str, str]] = (204, {})  # after the body was read
        self.pause_after: int | None = None  # bytes, then wait for ``go_on``
        self.go_on = threading.Event()
        self.paused = threading.Event()
        self.bytes_per_second: float | None = None
        self.keep = True
        self.puts: list[dict[str, str]] = []
        self.received = bytearray()
        self.arrived = 0
        self.digest = hashlib.sha512()
        self.complete = False
        self.file_error: RegionError | None = None
        with concurrent.futures.ThreadPoolExecutor(1) as pool:  # sockets stay where they are made
            if netns:
                pool.submit(_enter, netns).result()
            self._server = pool.submit(_Server, (address, 0), self._handler()).result()
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def file(self, image_id: str) -> Endpoint:
        if self.file_error is not None:
            raise self.file_error
        host, port = self._server.server_address[:2]
        url = f"http://{host!s}:{port}/v2/images/{image_id}/file"
        return Endpoint(self.region, url, self.token)

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    # -- inside the server ------------------------------------------------------------------------

    def _blocks(self, start: int) -> Iterator[bytes]:
        for turn in range(self.repeat):
            first = turn * len(self.serves)
            for offset in range(0, len(self.serves), BLOCK):
                block = self.serves[offset : offset + BLOCK]
                skip = start - (first + offset)
                if skip < len(block):
                    yield block[max(0, skip) :]

    def _get(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range", "")
        self.gets.append(asked)
        self.on_get()
        if self.refuse_get is not None:
            self._say(handler, *self.refuse_get)
            return
        match = re.fullmatch(r"bytes=(\d+)-", asked)
        start = int(match[1]) if match and self.ranges else 0
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(self.size * self.repeat - start))
        handler.end_headers()
        for block in self._blocks(start):
            handler.wfile.write(block)
            self.bytes_read += len(block)

    def _put(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.puts.append(dict(handler.headers.items()))
        if self.refuse is not None:
            self._say(handler, *self.refuse)
            if self.refuse_and_stay:
                self.go_on.wait(60)
            return
        left = int(handler.headers["Content-Length"])
        while left:
            if self.pause_after is not None and self.arrived >= self.pause_after:
                self.paused.set()
                self.go_on.wait(60)
                self.pause_after = None
            data = handler.rfile.read1(min(BLOCK, left))  # type: ignore[attr-defined]
            if not data:
                return
            left -= len(data)
            self.arrived += len(data)
            self.digest.update(data)
            if self.keep:
                self.received += data
            if self.bytes_per_second:
                time.sleep(len(data) / self.bytes_per_second)
        self.complete = True
        self._say(handler, *self.answer)

    @staticmethod
    def _say(
        handler: http.server.BaseHTTPRequestHandler, status: int, headers: dict[str, str]
    ) -> None:
        body = b"" if status == 204 else b"<html><h1>No</h1>because of <b>policy</b></html>"
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        glance = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                glance._get(self)

            def do_PUT(self) -> None:
                glance._put(self)

            def log_message(self, *args: object) -> None:
                pass

        return Handler
