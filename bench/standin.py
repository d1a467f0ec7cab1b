# SPDX-License-Identifier: Apache-2.0
"""Lists of images as Glance would answer them, served fast by a process of its own.

Stands in for eleven Glances with up to 100,000 images each, which no bench could fill in reasonable
time. Only ``GET /v2/images`` by id is there. Run as ``python -m bench.standin IMAGES``; the first
line it prints is its port. The first part of the path names the region.
"""

import functools
import hashlib
import json
import sys
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_MAX_PAGE = 1000  # Glance's api_limit_max


@functools.cache
def ids(count: int) -> list[str]:
    """The ids of all images, in order."""
    return sorted(str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in range(count))


def image(image_id: str) -> dict[str, Any]:
    """An image of ordinary size, as Glance lists it."""
    digest = hashlib.sha512(image_id.encode()).hexdigest()
    return {
        "id": image_id,
        "name": f"image {image_id[:8]}",
        "status": "active",
        "visibility": "public",
        "protected": False,
        "os_hidden": False,
        "owner": "8e4ee2e1b3d24f5f9b1b6d8a3c4c9f00",
        "min_disk": 10,
        "min_ram": 512,
        "container_format": "bare",
        "disk_format": "qcow2",
        "size": 2_361_393_152,
        "virtual_size": None,
        "checksum": digest[:32],
        "os_hash_algo": "sha512",
        "os_hash_value": digest,
        "tags": ["lts", "server"],
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "hw_disk_bus": "virtio",
        "hw_vif_model": "virtio",
        "os_distro": "debian",
        "os_version": "12",
        "architecture": "x86_64",
        "self": f"/v2/images/{image_id}",
        "file": f"/v2/images/{image_id}/file",
        "schema": "/v2/schemas/image",
    }


@functools.cache
def page(count: int, marker: str, limit: int) -> bytes:
    """A page of the list, as every region answers it."""
    known = ids(count)
    start = known.index(marker) + 1 if marker else 0
    found = known[start : start + limit]
    body: dict[str, Any] = {
        "images": [image(one) for one in found],
        "first": "/v2/images",
        "schema": "/v2/schemas/images",
    }
    if len(found) == limit:
        body["next"] = f"/v2/images?marker={found[-1]}"
    return json.dumps(body).encode()


class Handler(BaseHTTPRequestHandler):
    """Serves the pages of visible images; there are no hidden ones."""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if not url.path.endswith("/v2/images"):
            self.send_error(404)
            return
        count = 0 if query.get("os_hidden") == "true" else self.count
        limit = min(_MAX_PAGE, int(query.get("limit", "25")))
        body = page(count, query.get("marker", ""), limit)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    """Serve until killed."""
    Handler.count = int(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    marker = ""
    while True:  # make the pages now, so that serving them costs next to nothing
        known = json.loads(page(Handler.count, marker, _MAX_PAGE))
        if "next" not in known:
            break
        marker = known["images"][-1]["id"]
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
