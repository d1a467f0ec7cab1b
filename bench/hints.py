# SPDX-License-Identifier: Apache-2.0
"""How many hints a second glance-sync takes and commits on SQLite."""

import concurrent.futures
import http.client
import json
import sqlite3
import time
import urllib.parse
import uuid
from typing import Any

from bench import stage
from bench.report import Goal, Report, spread
from devcloud import Cloud

RUNS = 3
THREADS = (1, 4, 16)
BATCH = 500  # what the hook sends at once under load
GOAL = 2000.0  # hints a second


def run(quick: bool) -> Report:
    """Post hints about ever new images for a while, each way by turns."""
    seconds = 1.0 if quick else 3.0
    ways = [(batch, threads) for batch in (BATCH, 1) for threads in THREADS]
    found: dict[tuple[int, int], list[float]] = {way: [] for way in ways}
    bare: list[float] = []
    with stage.cloud(regions=1, overrides={"glance-sync": {"DEFAULT": {"role": "api"}}}) as cloud:
        poster = _Poster(cloud)
        poster.rate(BATCH, 1, 1.0)  # the token is validated and cached
        for number in range(RUNS):
            stage.say(f"run {number + 1} of {RUNS}")
            bare.append(_bare_commits(cloud, seconds))
            for batch, threads in ways:
                found[batch, threads].append(poster.rate(batch, threads, seconds))
    figures: dict[str, Any] = {"seconds_of_each": seconds, "batch": BATCH}
    base = figures["bare_commits_per_second"] = spread(bare, 0)
    rows = [["a second, median of 3", "1 client", "4 clients", "16 clients"]]
    for batch, label in ((BATCH, f"hints, {BATCH} in a request"), (1, "hints, 1 in a request")):
        name = "batched" if batch > 1 else "single"
        figures[name] = {str(count): spread(found[batch, count], 0) for count in THREADS}
        medians = [figures[name][str(count)]["median"] for count in THREADS]
        rows.append([label, *(f"{median:.0f}" for median in medians)])
        ratios = [round(median / base["median"], 2) for median in medians]
        figures[f"{name}_per_bare_commit"] = dict(zip(map(str, THREADS), ratios, strict=True))
        rows.append(["  per bare commit", *(f"{ratio:.2f}" for ratio in ratios)])
    rows.append(["bare commits of one row", f"{base['median']:.0f}", "", ""])
    slowest = min(figures["batched"][str(count)]["median"] for count in THREADS)
    return Report(
        name="hints",
        measures="hints about new images, accepted with 202 and found in the journal, a second",
        baseline="SQLite alone: commits of one row a second, WAL, synchronous=FULL, beside the "
        "journal",
        runs=RUNS,
        goals=[Goal("batched, the slowest of 1, 4, 16 clients", slowest, GOAL, at_least=True)],
        rows=rows,
        figures=figures,
    )


class _Poster:
    """Posts hints, and counts those the journal then holds."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._where = urllib.parse.urlsplit(cloud.sync_url).netloc
        session = cloud.session("glance")
        self._headers = {
            "X-Auth-Token": str(session.get_token()),
            "Content-Type": "application/json",
        }
        self._actor = {
            "user_id": uuid.uuid4().hex,
            "project_id": uuid.uuid4().hex,
            "request_id": f"req-{uuid.uuid4()}",
            "roles": ["member", "reader"],
        }

    def rate(self, batch: int, threads: int, seconds: float) -> float:
        """Hints a second with *threads* clients."""
        before = self._committed()
        began = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            counts = [pool.submit(self._post, batch, began + seconds) for _ in range(threads)]
            accepted = sum(count.result() for count in counts)
        took = time.perf_counter() - began
        committed = self._committed() - before
        if committed != accepted:
            raise stage.BenchError(f"{accepted} hints were accepted and {committed} committed")
        return accepted / took

    def _post(self, batch: int, until: float) -> int:
        """How many hints one client had accepted when the time was over."""
        connection = http.client.HTTPConnection(self._where, timeout=60)
        accepted = 0
        while time.perf_counter() < until:
            events = [
                {"image_id": str(uuid.uuid4()), "merged": 1, "actor": self._actor}
                for _ in range(batch)
            ]
            body = json.dumps({"events": events, "dropped": 0})
            connection.request("POST", "/v1/events", body, self._headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 202:
                raise stage.BenchError(f"HTTP {answer.status} {text!r}")
            accepted += batch
        connection.close()
        return accepted

    def _committed(self) -> int:
        found = stage.rows(self._cloud, "SELECT count(*) FROM event WHERE what = 'hint'")
        return int(found[0][0])


def _bare_commits(cloud: Cloud, seconds: float) -> float:
    """Commits a second that SQLite makes here, of one row each."""
    path = cloud.directory / "bare.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in (
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "CREATE TABLE IF NOT EXISTS hint (id INTEGER PRIMARY KEY, image TEXT)",
    ):
        connection.execute(statement)
    commits = 0
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        connection.execute("INSERT INTO hint (image) VALUES (?)", (str(uuid.uuid4()),))
        commits += 1
    took = time.perf_counter() - began
    connection.close()
    return commits / took
