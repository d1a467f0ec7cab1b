# SPDX-License-Identifier: Apache-2.0
"""How fast a backlog of metadata changes is worked off, against what the Glances can take."""

import concurrent.futures
import http.client
import json
import threading
import time
from typing import Any

from bench import stage
from bench.report import Report, spread
from devcloud import Cloud

RUNS = 3
AT_A_TIME = 8  # per region, as region_workers
_PATIENCE = 300.0
_TYPE = "application/openstack-images-v2.1-json-patch"


def run(quick: bool) -> Report:
    """Change all images at home while the regions are closed, then open them."""
    count = 40 if quick else 150
    with stage.cloud(regions=3) as cloud:
        bench = _Backlog(cloud, count)
        found = [bench.turn(number) for number in range(RUNS)]
    ours = spread([pair[0] for pair in found], 1)
    bare = spread([pair[1] for pair in found], 1)
    ratios = spread([one / other for one, other in found], 2)
    rows = [
        ["a second, both regions together", "median", "min", "max"],
        *(
            [label, *(f"{one[key]:.1f}" for key in ("median", "min", "max"))]
            for label, one in (("replica tasks", ours), ("bare PATCHes", bare))
        ),
        ["ratio", *(f"{ratios[key]:.2f}" for key in ("median", "min", "max"))],
    ]
    return Report(
        name="backlog",
        measures=f"changes of metadata of {count} images, brought to two regions from a backlog",
        baseline=f"one bare PATCH of each of as many images, {AT_A_TIME} at a time in each region",
        runs=RUNS,
        goals=[],
        rows=rows,
        figures={"images": count, "tasks": ours, "bare": bare, "ratio": ratios},
    )


class _Backlog:
    """Images that are synchronized, and as many that each region has of its own."""

    def __init__(self, cloud: Cloud, count: int) -> None:
        self._cloud = cloud
        self._regions = cloud.names[1:]
        self._token = str(cloud.session().get_token())
        stage.say(f"making {count} images")
        self._images = [self._new(cloud.home) for _ in range(count)]
        for image in self._images:
            stage.wait_in_sync(cloud, image, self._regions, _PATIENCE)
        self._own = {region: [self._new(region) for _ in range(count)] for region in self._regions}

    def _new(self, region: str) -> str:
        image = stage.queued_image(self._cloud, region, "backlog")
        stage.fill(self._cloud, region, image, 4096, stage.pattern(4096))
        return image

    def turn(self, number: int) -> tuple[float, float]:
        """Changes a second: as replica tasks, and as bare PATCHes."""
        stage.say(f"run {number + 1} of {RUNS}")
        stage.enable(self._cloud, dict.fromkeys(self._regions, False))
        self._patch({self._cloud.home: self._images}, f"change {number}")
        wanted = len(self._images) * len(self._regions)
        stage.until(lambda: self._open("replica") == wanted, _PATIENCE, "the backlog is there")
        stage.until(lambda: self._open("image") == 0, _PATIENCE, "home was looked at")
        began = time.perf_counter()
        stage.enable(self._cloud, dict.fromkeys(self._regions, True))
        stage.until(lambda: self._open("replica") == 0, _PATIENCE, "the backlog is gone", 0.02)
        ours = wanted / (time.perf_counter() - began)
        bare = wanted / self._patch(self._own, f"bare {number}")
        return ours, bare

    def _open(self, kind: str) -> int:
        found = stage.rows(
            self._cloud,
            "SELECT count(*) FROM task WHERE open_key IS NOT NULL AND kind = ?",
            kind,
        )
        return int(found[0][0])

    def _patch(self, images: dict[str, list[str]], name: str) -> float:
        """Seconds to change all of *images* (region -> ids)."""
        body = json.dumps([{"op": "replace", "path": "/name", "value": name}])
        mine = threading.local()

        def patch(region: str, image: str) -> None:
            connection: Any = getattr(mine, "connection", None)
            if connection is None:
                port = self._cloud.region(region).port
                mine.connection = connection = http.client.HTTPConnection(
                    "127.0.0.1", port, timeout=60
                )
            headers = {"X-Auth-Token": self._token, "Content-Type": _TYPE}
            connection.request("PATCH", f"/v2/images/{image}", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise stage.BenchError(f"HTTP {answer.status} {text!r}")

        began = time.perf_counter()
        pools = [concurrent.futures.ThreadPoolExecutor(AT_A_TIME) for _ in images]
        waiting = [
            pool.submit(patch, region, image)
            for pool, (region, ids) in zip(pools, images.items(), strict=True)
            for image in ids
        ]
        for one in waiting:
            one.result()
        for pool in pools:
            pool.shutdown()
        return time.perf_counter() - began
