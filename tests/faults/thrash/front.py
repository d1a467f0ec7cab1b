# SPDX-License-Identifier: Apache-2.0
"""What stands between the hook and the APIs, as a load balancer does; it counts what they took."""

from __future__ import annotations

import collections
import contextlib
import http.client
import http.server
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

_HEADERS = ("Content-Type", "X-Auth-Token", "X-Openstack-Request-Id")
_TIMEOUT = 20.0


class Front:
    """Listens on ``port`` and passes requests to the APIs on ``apis``, in turn.

    ``trouble`` is empty or one of ``refuse``, ``hang``, ``500`` and ``answer lost``: the request
    is passed on, and the hook never hears what came of it.
    """

    def __init__(self, port: int, apis: Sequence[int]) -> None:
        self.trouble = ""
        self._apis = collections.deque(apis)
        self._lock = threading.Lock()
        #: image -> changes of it that an API has acknowledged, whoever heard of that
        self.acknowledged: collections.Counter[str] = collections.Counter()
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                front.serve(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.trouble = ""
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def serve(self, call: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request of the hook."""
        trouble = self.trouble
        with contextlib.suppress(OSError):  # a hook does not wait for ever
            self._serve(call, trouble)

    def _serve(self, call: http.server.BaseHTTPRequestHandler, trouble: str) -> None:
        call.close_connection = True
        body = call.rfile.read(int(call.headers["Content-Length"]))
        if trouble == "refuse":
            return
        if trouble == "500":
            call.send_error(500)
            return
        while trouble == "hang" and self.trouble == "hang":
            threading.Event().wait(0.1)
        headers = {name: call.headers[name] for name in _HEADERS if name in call.headers}
        try:
            status, kind, answer = self._pass_on(call.path, body, headers)
        except (OSError, http.client.HTTPException):
            call.send_error(502)
            return
        if status == 202:
            with self._lock:
                for event in json.loads(body)["events"]:
                    self.acknowledged[event["image_id"]] += event["merged"]
        if trouble == "answer lost":
            return
        call.send_response(status)
        call.send_header("Content-Type", kind)
        call.send_header("Content-Length", str(len(answer)))
        call.end_headers()
        call.wfile.write(answer)

    def _pass_on(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str, bytes]:
        with self._lock:
            self._apis.rotate()
            apis = list(self._apis)
        for number, port in enumerate(apis):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
            try:
                connection.connect()
            except ConnectionRefusedError:
                if number + 1 < len(apis):
                    continue
                raise
            with contextlib.closing(connection):
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.headers.get("Content-Type", ""), answer.read()
        raise OSError("there is no API")
