# SPDX-License-Identifier: Apache-2.0
"""What the hook costs a user: the same calls to a Glance with it and to one without, interleaved.

Three Glances of one devcloud share a Keystone and the machine: ``RegionOne`` has the hook, the two
others have not. The difference between those two is what this machine measures when there is
nothing to measure; a difference of the hook below that noise says nothing.

The sync server is played by a process of its own that takes hints (``up``), does not exist
(``down``), or accepts connections and never answers (``hanging``).

    python -m bench.hook [--requests 250] [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devcloud import PORT_WIDTH, Cloud
from devcloud.ports import find_base
from glance_patch.sender import Sender
from tests.hook import far_end

RESULTS = Path(__file__).parent / "results" / "hook.json"
GOAL_MS = 1.0
STATES = ("up", "down", "hanging")
CALLS = ("create", "patch", "delete")
HOOKED, PLAIN, CONTROL = "RegionOne", "RegionTwo", "RegionThree"
REGIONS = (HOOKED, PLAIN, CONTROL)
PATCH = [{"op": "add", "path": "/os_distro", "value": "debian"}]

Times = dict[tuple[str, str], list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hook", description=__doc__)
    parser.add_argument("--requests", type=int, default=250, help="of each kind in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--glance-version", default="33")
    arguments = parser.parse_args()
    cloud = Cloud(
        name="bench-hook",
        base_port=find_base(PORT_WIDTH),
        regions=len(REGIONS),
        glance_version=arguments.glance_version,
        hook=True,
        sync=False,
        say=print,
    )
    cloud.clean()
    with cloud:
        rows = measure(cloud, arguments.requests, arguments.rounds)
    cloud.clean()
    result = {
        "goal_ms": GOAL_MS,
        "glance": arguments.glance_version,
        "cores": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "requests": arguments.requests,
        "rounds": arguments.rounds,
        "offer_us": round(offer_cost() * 1e6, 2),
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    show(result)


def measure(cloud: Cloud, requests: int, rounds: int) -> list[dict[str, Any]]:
    """One row for each state of the server, call and quantile; milliseconds, medians of rounds."""
    sync_port = int(cloud.sync_url.rpartition(":")[2])
    found: dict[str, list[Times]] = {state: [] for state in STATES}
    with sync_server("up", sync_port):
        a_round(cloud, 20)
    for number in range(rounds):
        for state in STATES:
            print(f"round {number + 1} of {rounds}, server {state}", flush=True)
            with sync_server(state, sync_port):
                found[state].append(a_round(cloud, requests))
    return [
        row(state, call, name, at, found[state])
        for state in STATES
        for call in CALLS
        for name, at in (("p50", 0.50), ("p99", 0.99))
    ]


def row(state: str, call: str, name: str, at: float, rounds: list[Times]) -> dict[str, Any]:
    def typical(region: str) -> float:
        return statistics.median(quantile(times[region, call], at) for times in rounds)

    def more(region: str) -> float:
        return statistics.median(
            difference(times[region, call], times[PLAIN, call], at) for times in rounds
        )

    return {
        "server": state,
        "call": call,
        "quantile": name,
        "without_ms": round(typical(PLAIN) * 1000, 2),
        "with_ms": round(typical(HOOKED) * 1000, 2),
        "added_ms": round(more(HOOKED) * 1000, 2),
        "noise_ms": round(more(CONTROL) * 1000, 2),
    }


def difference(some: list[float], others: list[float], at: float) -> float:
    """For the median that of the pairs, which other work on the machine disturbs less."""
    if at == 0.5:
        return statistics.median(a - b for a, b in zip(some, others, strict=True))
    return quantile(some, at) - quantile(others, at)


def quantile(values: list[float], at: float) -> float:
    return sorted(values)[min(int(len(values) * at), len(values) - 1)]


def a_round(cloud: Cloud, requests: int) -> Times:
    """Create, patch and delete as many images in each region, region after region in turn."""
    times: Times = {(region, call): [] for region in REGIONS for call in CALLS}
    token = str(cloud.session().get_token())
    ports = {region: cloud.region(region).port for region in REGIONS}
    for number in range(requests):
        turn = number % len(REGIONS)
        order = REGIONS[turn:] + REGIONS[:turn]
        images: dict[str, str] = {}
        for call in CALLS:
            for region in order:
                began = time.perf_counter()
                answer = send(ports[region], token, call, images.get(region))
                times[region, call].append(time.perf_counter() - began)
                if call == "create":
                    images[region] = json.loads(answer)["id"]
    return times


def send(port: int, token: str, call: str, image_id: str | None) -> bytes:
    """One call; the connection is new each time, for all regions alike."""
    method, path, body, kind = {
        "create": ("POST", "/v2/images", {"name": "bench"}, "json"),
        "patch": ("PATCH", f"/v2/images/{image_id}", PATCH, "openstack-images-v2.1-json-patch"),
        "delete": ("DELETE", f"/v2/images/{image_id}", None, "json"),
    }[call]
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as glance:
        headers = {"X-Auth-Token": token, "Content-Type": f"application/{kind}"}
        glance.request(method, path, json.dumps(body) if body else None, headers)
        answer = glance.getresponse()
        text = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{call}: {answer.status} {text.decode(errors='replace')}")
    return text


@contextlib.contextmanager
def sync_server(state: str, port: int) -> Iterator[None]:
    """The far end of the hook; in a process of its own, so that it takes no time from ours."""
    if state == "down":
        yield
        return
    ready = multiprocessing.Event()
    process = multiprocessing.Process(target=serve, args=(state, port, ready), daemon=True)
    process.start()
    try:
        if not ready.wait(30):
            raise SystemExit(f"no stand-in for the sync server on port {port}")
        yield
    finally:
        process.terminate()
        process.join()


def serve(state: str, port: int, ready: Any) -> None:
    with far_end.FarEnd(port) as server:
        server.answer = far_end.hang if state == "hanging" else far_end.take
        ready.set()
        server.released.wait()


def offer_cost(hints: int = 100_000) -> float:
    """Seconds that noting one change takes in the user's call."""
    sender = Sender(lambda body: None, queue_size=5000, batch_size=5000)
    actor = {"user_id": "u", "project_id": "p", "roles": ["member"], "request_id": "r"}
    began = time.perf_counter()
    for number in range(hints):
        sender.offer(str(number % 5000), actor)
    return (time.perf_counter() - began) / hints


def show(result: dict[str, Any]) -> None:
    rows = result["rows"]
    print(
        f"\n{'server':8} {'call':7} {'':4} {'without':>8} {'with':>8} {'added':>7} {'noise':>7}  ms"
    )
    for line in rows:
        alike = [other for other in rows if other["quantile"] == line["quantile"]]
        noise = max(abs(other["noise_ms"]) for other in alike)
        verdict = ""
        if line["added_ms"] > GOAL_MS:
            verdict = "above the goal" if line["added_ms"] > noise else "lost in the noise"
        print(
            f"{line['server']:8} {line['call']:7} {line['quantile']:4} {line['without_ms']:8.2f} "
            f"{line['with_ms']:8.2f} {line['added_ms']:7.2f} {line['noise_ms']:7.2f}  {verdict}"
        )
    print(f"goal: at most {GOAL_MS} ms more; noting one change: {result['offer_us']} us")
    print(f"load {result['load'][0]} on {result['cores']} cores")


if __name__ == "__main__":
    main()
