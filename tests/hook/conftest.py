# SPDX-License-Identifier: Apache-2.0
"""A real Keystone and a real Glance with the hook, and a far end on the port of the sync server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from keystoneauth1 import session as ks_session

from devcloud import PORT_WIDTH, Cloud
from devcloud.ports import find_base
from tests.clouds import BETWEEN, ENDS_OF_SUPPORT
from tests.hook.far_end import FarEnd


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "series" in metafunc.fixturenames:
        more = BETWEEN if metafunc.config.getoption("--matrix") else []
        metafunc.parametrize(
            "series", sorted(ENDS_OF_SUPPORT + more), scope="session", ids="glance-{}".format
        )


class Home:
    """The Glance of the home region as its users see it, and what the sync server hears of it."""

    def __init__(self, cloud: Cloud, server: FarEnd) -> None:
        self.cloud = cloud
        self.server = server
        self._url = cloud.region(cloud.home).url
        self._sessions: dict[str, ks_session.Session] = {}

    def session(self, user: str) -> ks_session.Session:
        if user not in self._sessions:
            self._sessions[user] = self.cloud.session(user)
        return self._sessions[user]

    def call(self, method: str, path: str, user: str = "demo", **kwargs: Any) -> requests.Response:
        """One call of the Image API, which must succeed."""
        answer = self.try_call(method, path, user, **kwargs)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def try_call(
        self, method: str, path: str, user: str = "demo", **kwargs: Any
    ) -> requests.Response:
        url = f"{self._url}/v2{path}"
        return self.session(user).request(url, method, raise_exc=False, **kwargs)

    def patch(self, image_id: str, *operations: dict[str, Any], user: str = "demo") -> Any:
        kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        return self.call("PATCH", f"/images/{image_id}", user, json=list(operations), headers=kind)

    def create(self, **properties: Any) -> str:
        properties = {"disk_format": "raw", "container_format": "bare", **properties}
        return str(self.call("POST", "/images", json=properties).json()["id"])

    def create_active(self, data: bytes = b"bytes\n", **properties: Any) -> str:
        image_id = self.create(**properties)
        self.upload(image_id, data)
        return image_id

    def upload(self, image_id: str, data: bytes, path: str = "file") -> requests.Response:
        kind = {"Content-Type": "application/octet-stream"}
        return self.call("PUT", f"/images/{image_id}/{path}", data=data, headers=kind)

    def show(self, image_id: str) -> dict[str, Any]:
        found = self.call("GET", f"/images/{image_id}", "admin").json()
        assert isinstance(found, dict)
        return found

    def project(self, user: str) -> str:
        return str(self.session(user).get_project_id())

    def hints(self, image_id: str, answer: requests.Response) -> list[dict[str, Any]]:
        """The hints about the image that name the request which got ``answer``."""
        request_id = answer.headers["X-Openstack-Request-Id"]
        return [
            event
            for event in self.server.events
            if event["image_id"] == image_id and event["actor"]["request_id"] == request_id
        ]

    def expect(self, image_id: str, answer: requests.Response, user: str = "demo") -> None:
        """Wait for the hint of that request, and see that it names who asked."""
        self.server.wait_for(lambda: bool(self.hints(image_id, answer)))
        for event in self.hints(image_id, answer):
            actor = event["actor"]
            assert actor["user_id"] == self.session(user).get_user_id()
            assert actor["project_id"] == self.project(user)
            assert ("admin" if user == "admin" else "member") in actor["roles"]
            assert event["merged"] >= 1


@pytest.fixture(scope="session")
def cloud(series: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    base_port = find_base(PORT_WIDTH)
    made = Cloud(
        name=f"hook-{series}",
        base_port=base_port,
        regions=1,
        glance_version=series,
        hook=True,
        sync=False,
        overrides={
            "RegionOne": {
                "DEFAULT": {"enabled_backends": "local:file,second:file,elsewhere:http"},
                "second": {"filesystem_store_datadir": str(tmp_path_factory.mktemp("second"))},
                # The far end holds the bytes of images that are elsewhere, too.
                "import_filtering_opts": {"allowed_ports": f"[{base_port + 5}]"},
                "glance_sync": {"timeout": "20", "max_backoff": "0.5"},
            }
        },
    )
    made.clean()
    with made:
        yield made
    made.clean()


@pytest.fixture(scope="session")
def sync_port(cloud: Cloud) -> int:
    return int(cloud.sync_url.rpartition(":")[2])


@pytest.fixture
def server(sync_port: int) -> Iterator[FarEnd]:
    with FarEnd(sync_port) as running:
        yield running


@pytest.fixture
def home(cloud: Cloud, server: FarEnd) -> Home:
    return Home(cloud, server)
