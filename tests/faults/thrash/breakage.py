# SPDX-License-Identifier: Apache-2.0
"""The faults: each is a context in which something is broken, and works again after it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keystoneauth1 import exceptions

from tests.faults import points
from tests.faults.proxy import Trouble
from tests.faults.thrash.users import contents

if TYPE_CHECKING:
    from tests.faults.thrash.stage import Stage

_PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


def _answer(status: str, *headers: str, body: str = "") -> bytes:
    length = f"Content-Length: {len(body)}"
    lines = [f"HTTP/1.1 {status}", *headers, length, "Connection: close", "", body]
    return "\r\n".join(lines).encode()


HTML = "<html><body><h1>It works!</h1></body></html>"

#: What a network, or a proxy that an operator has there, can do to requests.
TROUBLES = {
    "refuse": Trouble(refuse=True),
    "hang": Trouble(hang=True),
    "slow": Trouble(rate=3_000_000),
    "flip": Trouble(flip_after=100_000),
    "cut_in": Trouble(cut_in=1_000_000),
    "cut_out": Trouble(cut_out=2_000),
    "500": Trouble(answer=_answer("500 Internal Server Error")),
    "503": Trouble(answer=_answer("503 Service Unavailable", "Retry-After: 1")),
    "401": Trouble(answer=_answer("401 Unauthorized")),
    "404": Trouble(answer=_answer("404 Not Found", body="404 page not found")),
    "html": Trouble(answer=_answer("200 OK", "Content-Type: text/html", body=HTML)),
}


class Breakage:
    """Breaks what the steps say, on a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._session = stage.cloud.session()
        #: region -> images that are no replicas -> what they are like
        self.strangers: dict[str, dict[str, dict[str, Any]]] = {
            region: {} for region in stage.others
        }

    def __call__(
        self, what: str, args: Mapping[str, Any]
    ) -> contextlib.AbstractContextManager[str]:
        """The fault called ``what``; it holds inside the context, which says what was done."""
        fault = getattr(self, f"_{what}")
        made: contextlib.AbstractContextManager[str] = contextlib.contextmanager(fault)(**args)
        return made

    # -- processes of ours ------------------------------------------------------------------------

    def _kill_nodes(self, nodes: Sequence[str], chance: int) -> Iterator[str]:
        for name in nodes:
            self._stage.nodes.kill(name)
        yield "killed"
        for name in nodes:
            self._stage.nodes.start(name)

    def _end_nodes(self, nodes: Sequence[str], chance: int) -> Iterator[str]:
        for name in nodes:
            self._stage.nodes.end(name)
        yield "ended"
        for name in nodes:
            self._stage.nodes.start(name)

    def _stop_nodes(self, nodes: Sequence[str], chance: int) -> Iterator[str]:
        for name in nodes:
            self._stage.nodes.kill(name, signal.SIGSTOP)
        yield "stopped"
        for name in nodes:
            self._stage.nodes.kill(name, signal.SIGCONT)

    def _point(self, point: str, chance: int, stop: bool = False) -> Iterator[str]:
        """Whoever comes by first is killed, or stopped for as long as its lease and longer."""
        nodes = self._stage.nodes
        points.arm(nodes.points, point, signal.SIGSTOP if stop else signal.SIGKILL)
        yield "armed"
        if points.disarm(nodes.points, point):
            return
        name = nodes.reached(point)
        if name is None:
            raise AssertionError(f"nobody says to have been at {point}")
        if stop:
            time.sleep(self._stage.lease * 1.5)  # the fault itself
            nodes.kill(name, signal.SIGCONT)
        else:
            nodes.start(name)

    def _home_point(self, point: str, chance: int) -> Iterator[str]:
        """Home's Glance is killed when its hook gets there; uWSGI starts its process anew."""
        directory = self._stage.nodes.points
        points.arm(directory, point)
        yield "armed"
        points.disarm(directory, point)

    def _kill_movers(self, chance: int) -> Iterator[str]:
        """The processes that move bytes, not those that sent them."""
        movers = self._stage.nodes.movers()
        for pid in movers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        yield f"{len(movers)} killed"

    # -- services around us -----------------------------------------------------------------------

    def _kill_service(self, service: str) -> Iterator[str]:
        self._stage.cloud.kill(service)
        yield "killed"
        self._stage.cloud.start(service)

    def _stop_service(self, service: str) -> Iterator[str]:
        self._stage.cloud.kill(service, signal.SIGSTOP)
        yield "stopped"
        self._stage.cloud.kill(service, signal.SIGCONT)

    def _kill_glance(self, region: str, chance: int) -> Iterator[str]:
        return self._kill_service(f"glance-{region}")

    def _stop_glance(self, region: str, chance: int) -> Iterator[str]:
        return self._stop_service(f"glance-{region}")

    def _kill_keystone(self, chance: int) -> Iterator[str]:
        return self._kill_service("keystone")

    def _stop_keystone(self, chance: int) -> Iterator[str]:
        return self._stop_service("keystone")

    def _network(self, region: str, trouble: str, chance: int) -> Iterator[str]:
        proxy = self._stage.proxies[region]
        proxy.trouble = TROUBLES[trouble]
        yield "in force"
        proxy.trouble = Trouble()

    def _hook(self, trouble: str, chance: int) -> Iterator[str]:
        self._stage.front.trouble = trouble
        yield "in force"
        self._stage.front.trouble = ""

    def _restart_database(self, chance: int) -> Iterator[str]:
        return self._stage.database.away(crash=chance % 2 == 0)

    def _cut_database(self, chance: int) -> Iterator[str]:
        return self._stage.database.cut()

    def _pause_database(self, chance: int) -> Iterator[str]:
        return self._stage.database.paused()

    # -- a region's own admin ---------------------------------------------------------------------

    def _drift(self, region: str, how: str, chance: int) -> Iterator[str]:
        """Somebody changes a replica behind our back."""
        watcher, replicas = self._stage.watcher, []
        with contextlib.suppress(exceptions.ClientException):  # it may be down
            replicas = [
                image
                for image in watcher.images(region)
                if "origin" in image and watcher.is_right(image)
            ]
        if not replicas:
            yield "there is no replica"
            return
        replicas.sort(key=lambda image: str(image["id"]))
        image = replicas[chance % len(replicas)]
        status = self._ask(region, image, how)
        yield f"{image['id']}: HTTP {status}"

    def _ask(self, region: str, image: dict[str, Any], how: str) -> int:
        path = f"/{image['id']}"
        if how == "deactivate":
            return self._admin(region, "POST", f"{path}/actions/deactivate")
        if how == "share":
            return self._admin(region, "POST", f"{path}/members", json={"member": "f" * 32})
        if how == "delete":
            self._change(region, path, protected=False)
            return self._admin(region, "DELETE", path)
        changes: dict[str, dict[str, Any]] = {
            "change": {"name": "drifted", "tags": ["drifted"], "note": "drifted", "min_ram": 1},
            "expose": {"visibility": "public"},
            "hide": {"os_hidden": True},
            "protect": {"protected": True},
        }
        return self._change(region, path, **changes[how])

    def _change(self, region: str, path: str, **changes: Any) -> int:
        patch = [{"op": "add", "path": f"/{name}", "value": to} for name, to in changes.items()]
        return self._admin(region, "PATCH", path, json=patch, headers=_PATCH)

    def _admin(self, region: str, method: str, path: str, **kwargs: Any) -> int:
        url = f"{self._stage.cloud.region(region).url}/v2/images{path}"
        try:
            answer = self._session.request(url, method, raise_exc=False, timeout=5, **kwargs)
        except exceptions.ClientException:
            return 0
        return int(answer.status_code)

    def _stranger(self, region: str, chance: int) -> Iterator[str]:
        """An image of the region that is no replica, and must be left alone."""
        image = str(uuid.UUID(int=random.Random(chance).getrandbits(128), version=4))
        looks = {"id": image, "name": "alpha", "visibility": "public", "stranger": "yes"}
        body = {**looks, "container_format": "bare", "disk_format": "raw"}
        data = contents(image, 100)
        headers = {"Content-Type": "application/octet-stream"}
        made = self._admin(region, "POST", "", json=body)
        if made == 201:
            made = self._admin(region, "PUT", f"/{image}/file", data=data, headers=headers)
        if made == 204:
            self.strangers[region][image] = looks
        yield f"{image}: HTTP {made}"
