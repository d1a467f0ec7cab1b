# SPDX-License-Identifier: Apache-2.0
"""How long a change of metadata at home takes to be seen in two other regions."""

import concurrent.futures
import contextlib
import http.client
import json
import time
from typing import Any

from bench import stage
from bench.report import Goal, Report, percentile, spread
from devcloud import Cloud

POLL = 0.01  # seconds between two looks at a region
PATIENCE = 30.0
GOALS = {"p50": 0.5, "p99": 2.0}


def run(quick: bool) -> Report:
    """Change an image at home again and again, by turns with one that nobody synchronizes."""
    rounds, changes = (3, 10) if quick else (3, 40)
    with stage.cloud(regions=3) as cloud:
        bench = _Changes(cloud)
        bench.round(5)  # tokens are fetched, modules imported
        found = [bench.round(changes) for _ in range(rounds)]
    synced = [[pair[0] for pair in one] for one in found]
    by_hand = [[pair[1] for pair in one] for one in found]
    figures: dict[str, Any] = {"changes": rounds * changes, "poll_seconds": POLL}
    table = [["seconds", "p50", "p99", "p50 of rounds"]]
    for name, times in (("synced", synced), ("by_hand", by_hand)):
        every = [value for one in times for value in one]
        medians = spread([percentile(one, 0.5) for one in times])
        figures[name] = {
            "p50": round(percentile(every, 0.5), 3),
            "p99": round(percentile(every, 0.99), 3),
            "max": round(max(every), 3),
            "p50_of_rounds": medians,
            "p99_of_rounds": spread([percentile(one, 0.99) for one in times]),
        }
        of_rounds = f"{medians['min']:.3f} - {medians['max']:.3f}"
        figure = figures[name]
        label = {"synced": "home -> both regions", "by_hand": "glanceclient, one by one"}[name]
        table.append([label, f"{figure['p50']:.3f}", f"{figure['p99']:.3f}", of_rounds])
    ratio = round(figures["synced"]["p50"] / figures["by_hand"]["p50"], 2)
    figures["ratio_p50"] = ratio
    table.append(["ratio", f"{ratio:.2f}", "", ""])
    return Report(
        name="metadata",
        measures="a PATCH of name and one property at home, from its answer until both other "
        "regions show it (polled over their APIs)",
        baseline="the same change made by glanceclient in both regions, one after the other",
        runs=rounds,
        goals=[
            Goal(f"{name} [s]", figures["synced"][name], limit) for name, limit in GOALS.items()
        ],
        rows=table,
        figures=figures,
    )


class _Changes:
    """An image that is synchronized, and one that each region has of its own."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._regions = cloud.names[1:]
        self._token = str(cloud.session().get_token())
        self._clients = {region: cloud.glance(region) for region in self._regions}
        self._image = self._new(cloud.home)
        stage.wait_in_sync(cloud, self._image, self._regions, PATIENCE)
        self._own = {region: self._new(region) for region in self._regions}
        self._number = 0

    def _new(self, region: str) -> str:
        image = stage.queued_image(self._cloud, region, "metadata")
        stage.fill(self._cloud, region, image, stage.MIB, stage.pattern(stage.MIB))
        return image

    def round(self, changes: int) -> list[tuple[float, float]]:
        """Seconds of each change: synchronized, and by hand."""
        found = []
        for _ in range(changes):
            self._number += 1
            found.append((self._synced(), self._by_hand()))
        return found

    def _synced(self) -> float:
        name, note = f"change {self._number}", f"note {self._number}"
        patch = [
            {"op": "replace", "path": "/name", "value": name},
            {"op": "add", "path": "/bench_note", "value": note},
        ]
        self._ask(self._cloud.home, "PATCH", self._image, patch)
        answered = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(len(self._regions)) as pool:
            seen = pool.map(lambda region: self._watch(region, name, note), self._regions)
            return max(seen) - answered

    def _watch(self, region: str, name: str, note: str) -> float:
        """When *region* showed the change."""
        deadline = time.perf_counter() + PATIENCE
        while True:
            image = self._ask(region, "GET", self._image)
            now = time.perf_counter()
            if image["name"] == name and image.get("bench_note") == note:
                return now
            if now > deadline:
                raise stage.BenchError(f"{region} did not show {name!r} within {PATIENCE:g} s")
            time.sleep(POLL)

    def _ask(self, region: str, method: str, image: str, patch: Any = None) -> dict[str, Any]:
        """One request, with as little as possible of our own around it."""
        port = self._cloud.region(region).port
        headers = {
            "X-Auth-Token": self._token,
            "Content-Type": "application/openstack-images-v2.1-json-patch",
        }
        body = json.dumps(patch) if patch else None
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, f"/v2/images/{image}", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        if answer.status != 200:
            raise stage.BenchError(f"{method} in {region}: HTTP {answer.status} {text!r}")
        found: dict[str, Any] = json.loads(text)
        return found

    def _by_hand(self) -> float:
        began = time.perf_counter()
        for region, image in self._own.items():
            self._clients[region].images.update(
                image, name=f"change {self._number}", bench_note=f"note {self._number}"
            )
        return time.perf_counter() - began
