# SPDX-License-Identifier: Apache-2.0
"""A local HTTP server that lists images like a Glance, by page, or breaks off as one does.

The lists of a real Glance are compared with in ``tests/functional/test_audits.py``; here every
page, and every way for it not to come, can be chosen.
"""

import hashlib
import http.server
import json
import threading
import urllib.parse
from typing import Any

from keystoneauth1.session import Session
from keystoneauth1.token_endpoint import Token

from glancesync.regions.images import GlanceImages


def listed(image_id: str, **fields: Any) -> dict[str, Any]:
    """An image as ``GET /v2/images`` shows it."""
    digest = hashlib.sha512(image_id.encode()).hexdigest()
    return {
        "id": image_id,
        "name": f"image {image_id[:4]}",
        "status": "active",
        "visibility": "public",
        "protected": False,
        "os_hidden": False,
        "owner": "p",
        "min_disk": 0,
        "min_ram": 0,
        "container_format": "bare",
        "disk_format": "raw",
        "size": 100,
        "checksum": digest[:32],
        "os_hash_algo": "sha512",
        "os_hash_value": digest,
        "tags": [],
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        **fields,
    }


class ListingGlance:
    """One region. ``images`` and ``members`` are what it has; ``asked`` is what it was asked."""

    def __init__(self, region: str, *, page: int = 1000) -> None:
        self.region = region
        self.page = page  # images in a page at the most, as api_limit_max
        self.images: dict[str, dict[str, Any]] = {}
        self.members: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.break_off_after: int | None = None  # lists answered before they become 500
        self.retry_after: str | None = None  # every answer is 503 with this Retry-After
        self.forget_next = False  # pages look like the last one
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        self._session = Session(auth=Token(self.url, "none"))
        self.service = GlanceImages(region, self._session, self.url, "public")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._session.session.close()

    def add(self, image_id: str, **fields: Any) -> None:
        self.images[image_id] = listed(image_id, **fields)

    # -- inside the server ------------------------------------------------------------------------

    def _answer(self, path: str) -> tuple[int, dict[str, Any]]:
        url = urllib.parse.urlsplit(path)
        self.asked.append(path)
        parts = url.path.strip("/").split("/")
        if parts[-1] == "members":
            theirs = self.members.get(parts[2])
            if theirs is None:
                return 404, {}
            return 200, {"members": [{"member_id": k, "status": v} for k, v in theirs.items()]}
        if self.break_off_after is not None:
            if self.break_off_after == 0:
                return 500, {}
            self.break_off_after -= 1
        return self._list(dict(urllib.parse.parse_qsl(url.query)))

    def _list(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        hidden = query["os_hidden"] == "true"
        since = query.get("updated_at", "gte:").removeprefix("gte:")
        by_time = query["sort"].startswith("updated_at")

        def key(image: dict[str, Any]) -> tuple[str, str]:
            return (image["updated_at"] if by_time else "", image["id"])

        marker = query.get("marker")
        if marker is not None and marker not in self.images:
            return 400, {}
        found = sorted(
            (
                image
                for image in self.images.values()
                if image["os_hidden"] is hidden
                and image["updated_at"] >= since
                and (marker is None or key(image) > key(self.images[marker]))
            ),
            key=key,
        )
        limit = min(self.page, int(query["limit"]))
        body: dict[str, Any] = {"images": found[:limit]}
        if len(found) >= limit and not self.forget_next:
            body["next"] = f"/v2/images?marker={found[limit - 1]['id']}"
        return 200, body

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        glance = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = glance._answer(self.path)
                data = json.dumps(body).encode()
                self.send_response(503 if glance.retry_after else status)
                if glance.retry_after:
                    self.send_header("Retry-After", glance.retry_after)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        return Handler
