# SPDX-License-Identifier: Apache-2.0
"""Images that both regions read from one web server: the transport ``shared``."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from devcloud import Cloud
from tests.functional.estate import Estate, random_bytes, sha512
from tests.functional.reconfigured import region_with, sync_with
from tests.functional.wait import until

CONTENT = bytes(4096) + random_bytes(100_000)


class Web(http.server.BaseHTTPRequestHandler):
    """A web server with one file."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(CONTENT)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def estate(cloud: Cloud, web: str) -> Iterator[Estate]:
    """Home and the first region have a store for what web servers have; the second has not."""
    estate = Estate(cloud)
    near, far = estate.others
    stores = cloud.sync_config.with_name("web.yaml")
    scheme = {"name": "http", "parameters": {"netloc": web, "path": "/"}}
    names = [cloud.home, near, far]
    stores.write_text(
        json.dumps({"glances": [{"name": name, "schemes": [scheme]} for name in names]})
    )
    port = web.rpartition(":")[2]
    options = {
        "enabled_backends": "local:file,web:http",
        "import_filtering_opts__allowed_hosts": "[127.0.0.1]",
        "import_filtering_opts__allowed_ports": f"[80,443,{port}]",
    }
    with contextlib.ExitStack() as stack:
        for name in (cloud.home, near):
            stack.enter_context(region_with(estate, name, **options))
        stack.enter_context(
            sync_with(estate, transports="shared,upload", glance_store_cfg_file=str(stores))
        )
        yield estate
        estate.clear()


def test_what_both_read_from_one_web_server_is_not_copied(estate: Estate, web: str) -> None:
    near, far = estate.others
    image = estate.create(None)
    estate.cloud.session("glance-sync").post(
        f"{estate.cloud.region(estate.cloud.home).url}/v2/images/{image}/locations",
        json={"url": f"http://{web}/image"},
    )
    until(lambda: estate.home.images.get(image)["os_hash_value"], 30, "home's Glance to read it")
    estate.follows(image)
    shared, copied = (estate.replica(image, name) for name in (near, far))
    assert shared is not None
    assert copied is not None
    assert (shared["transport"], copied["transport"]) == ("shared", "upload")
    assert not (estate.cloud.region(near).datadir / image).exists()
    assert (estate.cloud.region(far).datadir / image).exists()
    for name in (near, far):
        assert sha512(estate.bytes_of(name, image)) == sha512(CONTENT)
