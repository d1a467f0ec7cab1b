# SPDX-License-Identifier: Apache-2.0
"""The far end of the hook's socket: an HTTP server that takes hints, or misbehaves as told."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FarEnd

    def setup(self) -> None:
        super().setup()
        self.server.connections.append(self.connection)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v3/auth/tokens":
            self.server.tokens += 1
            token = {"token": {"expires_at": "2999-01-01T00:00:00.000000Z", "methods": []}}
            self.reply(201, token, {"X-Subject-Token": f"token-{self.server.tokens}"})
            return
        request = json.loads(body)
        with self.server.seen:
            self.server.requests.append((self.path, dict(self.headers), request))
            self.server.seen.notify_all()
        self.server.answer(self, request)

    def do_GET(self) -> None:
        """A file for images whose bytes are elsewhere."""
        self.reply(200, b"somewhere else\n")

    do_HEAD = do_GET  # noqa: N815

    def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "text/html" if isinstance(body, bytes) else "application/json"
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Type": kind}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *args: Any) -> None:
        pass


class FarEnd(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        self.answer: Answer = take
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.seen = threading.Condition()
        self.released = threading.Event()
        self.tokens = 0
        self.connections: list[socket.socket] = []
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up on us is part of the game."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """All hints that were offered to this server, acknowledged or not, in order."""
        with self.seen:
            return [event for _, _, body in self.requests for event in body["events"]]

    def wait_for(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        with self.seen:
            assert self.seen.wait_for(condition, seconds), f"not within {seconds} s"

    def __enter__(self) -> FarEnd:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def take(handler: Handler, request: dict[str, Any]) -> None:
    handler.reply(202, {"accepted": len(request["events"])})


def fail(handler: Handler, request: dict[str, Any]) -> None:
    handler.reply(500, {"error": {"code": 500, "title": "x", "message": "x"}})


def babble(handler: Handler, request: dict[str, Any]) -> None:
    handler.reply(200, b"<html>It works!</html>")


def accept_babble(handler: Handler, request: dict[str, Any]) -> None:
    handler.reply(202, b"<html>It works!</html>")


def plain_400(handler: Handler, request: dict[str, Any]) -> None:
    handler.reply(400, b"<html>The plain HTTP request was sent to HTTPS port</html>")


def redirect(handler: Handler, request: dict[str, Any]) -> None:
    handler.reply(302, b"", {"Location": "/elsewhere"})


def noise(handler: Handler, request: dict[str, Any]) -> None:
    handler.wfile.write(b"\x00\xff not HTTP at all\r\n\r\n")
    handler.close_connection = True


def drop(handler: Handler, request: dict[str, Any]) -> None:
    handler.close_connection = True


def hang(handler: Handler, request: dict[str, Any]) -> None:
    handler.close_connection = True
    handler.server.released.wait()


def flood(handler: Handler, request: dict[str, Any]) -> None:
    """Answer 202 and then never stop talking."""
    handler.send_response(202)
    handler.end_headers()
    handler.close_connection = True
    while not handler.server.released.is_set():
        handler.wfile.write(b'{"accepted": 1}' * 4096)
