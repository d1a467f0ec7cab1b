# SPDX-License-Identifier: Apache-2.0
"""A local HTTP server that lists images like a Glance, by page, or breaks off as one does.

The lists of a real Glance are compared with in ``tests/functional/test_audits.py``; here every
page, and every way for it not to come, can be chosen. It can also lie, which no real one does when
told to; and it shows, changes and deletes an image, but takes and gives no data.
"""

import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Callable
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


Answer = tuple[int, dict[str, str], bytes]  # status, headers, body
Says = Callable[[str, str], Answer | None]  # method, path


class ListingGlance:
    """One region. ``images`` and ``members`` are what it has; ``asked`` is what it was asked."""

    def __init__(self, region: str, *, page: int = 1000) -> None:
        self.region = region
        self.page = page  # images in a page at the most, as api_limit_max
        self.images: dict[str, dict[str, Any]] = {}
        self.members: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.break_off_after: int | None = None  # lists answered before they become 500
        self.says: Says = lambda method, path: None  # what it answers instead
        self.forget_next = False  # pages look like the last one
        self.same_page_for_ever = False
        self.lists_nothing = False  # 200, and no image
        self.admin = True  # else private images are hidden from us, in lists and by id
        self.deleted: list[str] = []
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

    def _answer(self, method: str, path: str, data: Any) -> tuple[int, dict[str, Any]]:
        url = urllib.parse.urlsplit(path)
        self.asked.append(path)
        parts = url.path.strip("/").split("/")
        if parts[-1] == "members":
            theirs = self.members.get(parts[2])
            if theirs is None:
                return 404, {}
            return 200, {"members": [{"member_id": k, "status": v} for k, v in theirs.items()]}
        if parts[1] == "tasks":
            return (200, {"tasks": []}) if self.admin else (403, {})
        if len(parts) > 2:
            return self._one(method, parts[2], parts[3:], data)
        if self.break_off_after is not None:
            if self.break_off_after == 0:
                return 500, {}
            self.break_off_after -= 1
        return self._list(dict(urllib.parse.parse_qsl(url.query)))

    def _visible(self, image: dict[str, Any]) -> bool:
        return self.admin or image["visibility"] == "public"

    def _one(
        self, method: str, image_id: str, action: list[str], data: Any
    ) -> tuple[int, dict[str, Any]]:
        image = self.images.get(image_id)
        if image is None or not self._visible(image):
            return 404, {}
        if action == ["actions", "deactivate"]:
            image["status"] = "deactivated"
            return 204, {}
        if method == "DELETE":
            del self.images[image_id]
            self.deleted.append(image_id)
            return 204, {}
        for op in data or []:
            image[op["path"].removeprefix("/")] = op["value"]
        return 200, image

    def _list(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        hidden = query["os_hidden"] == "true"
        if query.keys() & {"id", "os_hash_value", "name"}:
            ids = query["id"].removeprefix("in:").split(",") if "id" in query else self.images
            named = [self.images[one] for one in ids if one in self.images]
            of_hash = query.get("os_hash_value")
            found = [
                one
                for one in named
                if self._visible(one)
                and one["os_hidden"] is hidden
                and of_hash in (None, one["os_hash_value"])
                and query.get("name") in (None, one["name"])
            ]
            return 200, {"images": [] if self.lists_nothing else found}
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
                and self._visible(image)
                and not self.lists_nothing
                and image["updated_at"] >= since
                and (
                    marker is None
                    or self.same_page_for_ever
                    or key(image) > key(self.images[marker])
                )
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
            wbufsize = -1  # headers and body in one packet

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                sent = json.loads(self.rfile.read(length)) if length else None
                said = glance.says(self.command, self.path)
                if said is None:
                    status, body = glance._answer(self.command, self.path, sent)
                    data = b"" if status == 204 else json.dumps(body).encode()
                    said = status, {"Content-Type": "application/json"} if data else {}, data
                status, headers, data = said
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        return Handler
