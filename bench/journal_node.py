# SPDX-License-Identifier: Apache-2.0
"""A process of glance-sync, as far as its journal can tell. Started by :mod:`bench.journal`.

Run as ``python -m bench.journal_node URL``. Each line it reads is a command, ``[name, argument,
…]`` in JSON; it answers each with a line of JSON. Drivers are green, as in glance-sync.
"""

import glancesync.cmd.green  # noqa: F401 - before anything else

# isort: split
import io
import json
import random
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import sqlalchemy as sa

from glancesync.api import metrics
from glancesync.interfaces import Changes
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Done, Hint, Replica, Task
from glancesync.states import ReplicaState

_ACTOR = Actor(
    user_id=uuid.uuid4().hex,
    project_id=uuid.uuid4().hex,
    request_id=f"req-{uuid.uuid4()}",
    roles=("member", "reader"),
)
LEASE = 600.0


class Node:
    """What such a process is told to do. Times are seconds."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._journal = Journal(Database(url))
        self._owner = str(uuid.uuid4())
        self._taken: list[Task] = []

    def bare(self, seconds: float) -> float:
        """Commits a second of one row each, by the driver alone."""
        statement = "INSERT INTO bare (image) VALUES ('{}')"
        with _bare(self._url) as execute:
            return _rate(seconds, lambda: execute(statement.format(uuid.uuid4())))

    def hint(self, batch: int, seconds: float) -> float:
        """Hints a second about ever new images."""
        return batch * _rate(
            seconds,
            lambda: self._journal.hint([Hint(str(uuid.uuid4()), _ACTOR) for _ in range(batch)]),
        )

    def claim(self, regions: list[str], seconds: float, busy: float) -> list[float]:
        """How long each claim of a task took, if every task takes *busy*."""
        found = []
        until = time.perf_counter() + seconds
        time.sleep(busy * random.random())  # not all at the same moment
        while time.perf_counter() < until:
            began = time.perf_counter()
            tasks = self._claim(regions, 1)
            if tasks:
                found.append(time.perf_counter() - began)
            time.sleep(busy)
            for task in tasks:
                self._journal.commit(task, _changes(task), Done("in sync"))
        return found

    def take(self, region: str, count: int) -> int:
        """Claim tasks, to be ended later; how many it has."""
        while len(self._taken) < count and (tasks := self._claim([region], 1)):
            self._taken += tasks
        return len(self._taken)

    def end(self) -> float:
        """End what was taken; the seconds that took."""
        began = time.perf_counter()
        for task in self._taken:
            self._journal.commit(task, _changes(task), Done("in sync"))
        self._taken.clear()
        return time.perf_counter() - began

    def scrape(self) -> float:
        """How long ``GET /metrics`` takes."""
        app = metrics.app(self._journal)
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", "wsgi.input": io.BytesIO()}
        began = time.perf_counter()
        body = b"".join(app(environ, lambda *_: None))
        assert b"glancesync_images_behind" in body
        return time.perf_counter() - began

    def start(self, regions: list[str]) -> float:
        """What a worker that has just been started does to its journal, up to its first task."""
        began = time.perf_counter()
        journal = Journal(Database(self._url))
        journal.database.check()
        journal.discovered({name: f"http://{name}" for name in regions}, regions[0], first=True)
        journal.rescue(5, 600.0)
        known = [region.name for region in journal.regions()]
        tasks = journal.claim(self._owner, lease=LEASE, limit=256, regions={"", *known})
        took = time.perf_counter() - began
        assert tasks
        journal.release(tasks)
        journal.database.dispose()
        return took

    def _claim(self, regions: list[str], limit: int) -> list[Task]:
        return self._journal.claim(self._owner, lease=LEASE, limit=limit, regions=regions)


def _changes(task: Task) -> Changes:
    """What a task writes that found a replica as it should be."""
    replica = Replica(
        task.image_id,
        task.region,
        ReplicaState.IN_SYNC,
        replica_id=task.image_id,
        made=True,
        observed_generation=1,
        baseline=uuid.uuid4().hex,
    )
    return Changes(replica=replica)


def _rate(seconds: float, work: Callable[[], object]) -> float:
    """How often a second *work* can be done."""
    began = time.perf_counter()
    done = 0
    while (took := time.perf_counter() - began) < seconds:
        work()
        done += 1
    return done / took


@contextmanager
def _bare(url: str) -> Iterator[Callable[[str], object]]:
    """Executes and commits a statement, without SQLAlchemy."""
    where = sa.make_url(url)
    if where.get_backend_name() == "sqlite":
        file = sqlite3.connect(str(where.database), isolation_level=None, timeout=60)
        file.execute("PRAGMA synchronous = FULL")
        yield file.execute
        file.close()
    else:
        server = psycopg2.connect(
            host=str(where.query["host"]), user=where.username, dbname=where.database
        )
        server.autocommit = True
        with server.cursor() as cursor:
            yield cursor.execute
        server.close()


def main() -> None:
    """Do as told, until there is nothing more to be read."""
    node = Node(sys.argv[1])
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        answer: Any = getattr(node, name)(*arguments)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
