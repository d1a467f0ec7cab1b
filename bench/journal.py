# SPDX-License-Identifier: Apache-2.0
"""What the journal can take: hints, claims, ends of tasks; a start and a scrape of a large one."""

import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench import stage
from bench.report import Goal, Report, percentile, spread
from glancesync.interfaces import Ask
from glancesync.journal import queue, regions, schema
from glancesync.journal.database import Database, now
from glancesync.model import Actor
from glancesync.states import ReplicaState, TaskKind, TaskState
from tests.databases import PostgreSQL, served

RUNS = 3
BATCH = 500  # what the hook sends at once under load
GOAL = 2000.0  # hints a second on SQLite
NAMES = ["home", *(f"R{number}" for number in range(10))]
CROWD = 16  # workers that claim
ENDERS = 8  # workers that end tasks
BUSY = 0.5  # seconds a task takes: so many workers leave two cores some rest
BRIEF = 0.05  # the same for a worker that is alone
_ROWS = 5000  # written at a time


@dataclass(frozen=True)
class _Sizes:
    seconds: float  # of each measurement
    images: int  # in a large journal
    ends: int  # tasks ended by each worker


@dataclass
class _Found:
    """Lines of the table, and figures. A line's baseline and ratio are of the same run."""

    rows: list[list[str]] = field(
        default_factory=lambda: [["median of 3", "measured", "against", "ratio"]]
    )
    figures: dict[str, Any] = field(default_factory=dict)

    def add(
        self,
        name: str,
        label: str,
        unit: str,
        measured: Sequence[float],
        base: Sequence[float],
        digits: int = 0,
    ) -> None:
        ratios = [one / other for one, other in zip(measured, base, strict=True)]
        figure = self.figures[name] = {
            "unit": unit,
            "measured": spread(measured, digits),
            "baseline": spread(base, digits),
            "ratio": spread(ratios, 4),
        }
        middle = [figure[key]["median"] for key in ("measured", "baseline")]
        shown = [f"{value:,.{digits}f} {unit}" for value in middle]
        self.rows.append([label, *shown, f"{figure['ratio']['median']:.3g}"])


def run(quick: bool) -> Report:
    """Each database in turn, small and large; everything lies in memory if there is enough."""
    sizes = _Sizes(0.5, 10_000, 50) if quick else _Sizes(2.0, 100_000, 200)
    found = _Found()
    memory = Path("/dev/shm")
    in_memory = shutil.disk_usage(memory).free > 8 * 2**30 if memory.exists() else False
    missing = PostgreSQL.missing()
    if missing:
        raise stage.BenchError(missing)
    with ExitStack() as closing:
        where = memory if in_memory else None
        directory = Path(closing.enter_context(tempfile.TemporaryDirectory(dir=where)))
        server = closing.enter_context(served("postgresql"))
        for kind in ("SQLite", "PostgreSQL"):
            urls = []
            for name in ("small", "large"):
                file = f"sqlite:///{directory}/{name}.sqlite"
                sqlite = kind == "SQLite"
                urls.append(file if sqlite else closing.enter_context(server.database()))
                _make(urls[-1])
            _hints(kind, urls[0], sizes, found)
            if kind == "PostgreSQL":
                _claims(urls[0], sizes, found)
                _ends(urls[0], sizes, found)
            stage.say(f"{kind}: a journal with {sizes.images * 10:,} replicas")
            _fill(urls[1], sizes.images)
            _large(kind, *urls, sizes, found)
        found.figures["postgresql"] = str(server.execute("SHOW server_version")[0][0])
    figures = {
        "seconds_of_each": sizes.seconds,
        "replicas": sizes.images * 10,
        "in_memory": in_memory,
        **found.figures,
    }
    hints = figures["sqlite_hints_batched_1"]["measured"]["median"]
    return Report(
        name="journal",
        measures="what the journal takes, without HTTP; databases in "
        + ("memory" if in_memory else "files on disk"),
        baseline="hints, ends: commits of one row by the driver alone; claims: one worker; ends by "
        f"{ENDERS}: each in a region of its own; large: an empty journal",
        runs=RUNS,
        goals=[Goal("hints a second on SQLite, batched, 1 process", hints, GOAL, at_least=True)],
        rows=found.rows,
        figures=figures,
    )


# -- what is measured -----------------------------------------------------------------------------


def _hints(kind: str, url: str, sizes: _Sizes, found: _Found) -> None:
    clients = (1, 4)
    ways = [("bare", 0), ("single", 1), ("batched", BATCH)]
    rates: dict[tuple[str, int], list[float]] = {}
    with _nodes(url, max(clients)) as nodes:
        for number in range(RUNS):
            stage.say(f"{kind}: hints, run {number + 1} of {RUNS}")
            for count, (way, batch) in itertools.product(clients, ways):
                said = ["hint", batch, sizes.seconds] if batch else ["bare", sizes.seconds]
                rates.setdefault((way, count), []).append(sum(_tell(nodes[:count], said)))
    for (way, batch), count in itertools.product(ways[1:], clients):
        found.add(
            f"{kind.lower()}_hints_{way}_{count}",
            f"{kind}: hints by {batch}, {count} process{'es' if count > 1 else ''}",
            "/s",
            rates[way, count],
            rates["bare", count],
        )


def _claims(url: str, sizes: _Sizes, found: _Found) -> None:
    """The queues are never empty."""
    seconds = 4 * sizes.seconds
    images = int(seconds * (CROWD / BUSY + 1 / BRIEF) / (len(NAMES) - 1)) + 50
    alone, crowd = [], []
    with _nodes(url, CROWD) as nodes:
        for number in range(RUNS):
            stage.say(f"claims, run {number + 1} of {RUNS}")
            _ask(url, NAMES[1:], images)
            alone += _tell(nodes[:1], ["claim", NAMES[1:], seconds, BRIEF])
            answers = _tell(nodes, ["claim", NAMES[1:], seconds, BUSY])
            crowd.append([one for node in answers for one in node])
    found.figures["claims"] = {"alone": len(alone[0]), "crowd": len(crowd[0])}
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        found.add(
            f"postgresql_claim_{name}",
            f"PostgreSQL: claim by one of {CROWD} workers, {name}",
            "ms",
            [1000 * percentile(one, share) for one in crowd],
            [1000 * percentile(one, share) for one in alone],
            1,
        )


def _ends(url: str, sizes: _Sizes, found: _Found) -> None:
    """All workers count in the rows of one region, or each in those of its own."""

    def rate(nodes: list[_Node], places: list[str]) -> float:
        different = sorted(set(places))
        _ask(url, different, sizes.ends * len(places) // len(different))
        for node, place in zip(nodes, places, strict=True):
            node.tell(["take", place, sizes.ends])
        taken = sum(node.answer() for node in nodes)
        return taken / max(_tell(nodes, ["end"]))

    bare, one, same, apart = [], [], [], []
    with _nodes(url, ENDERS) as nodes:
        for number in range(RUNS):
            stage.say(f"ends, run {number + 1} of {RUNS}")
            bare += _tell(nodes[:1], ["bare", sizes.seconds])
            one.append(rate(nodes[:1], ["R0"]))
            same.append(rate(nodes, ["R0"] * ENDERS))
            apart.append(rate(nodes, NAMES[1 : ENDERS + 1]))
    found.add("postgresql_ends_1", "PostgreSQL: ends of tasks, 1 worker", "/s", one, bare)
    found.add(
        f"postgresql_ends_{ENDERS}",
        f"PostgreSQL: ends in one region, {ENDERS} workers",
        "/s",
        same,
        apart,
    )


def _large(kind: str, small: str, large: str, sizes: _Sizes, found: _Found) -> None:
    urls = (large, small)
    starts: dict[str, list[float]] = {url: [] for url in urls}
    scrapes: dict[str, list[float]] = {url: [] for url in urls}
    for url in urls:
        _empty(url) if url == small else None
        with _nodes(url, 1) as (node,):
            _tell([node], ["scrape"])  # what is read once is in memory
            for _ in range(RUNS):
                scrapes[url] += _tell([node], ["scrape"])
        for _ in range(RUNS):
            with _nodes(url, 1) as (node,):
                starts[url] += _tell([node], ["start", NAMES])
    thousands = f"{sizes.images * 10:,}"
    for name, label, times in (
        ("start", "start of a worker", starts),
        ("scrape", "/metrics", scrapes),
    ):
        found.add(
            f"{kind.lower()}_{name}",
            f"{kind}: {label}, {thousands} replicas",
            "ms",
            [1000 * one for one in times[large]],
            [1000 * one for one in times[small]],
        )


# -- processes ------------------------------------------------------------------------------------


class _Node:
    """A process of :mod:`bench.journal_node`."""

    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.journal_node", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, said: list[Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(said) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise stage.BenchError("a process of the bench ended: see above")
        return json.loads(line)


@contextmanager
def _nodes(url: str, count: int) -> Iterator[list[_Node]]:
    nodes = [_Node(url) for _ in range(count)]
    try:
        for node in nodes:
            node.answer()  # that it is ready
        yield nodes
    finally:
        for node in nodes:
            node.process.kill()
            node.process.communicate()


def _tell(nodes: Sequence[_Node], said: list[Any]) -> list[Any]:
    """Have all do something at once; their answers."""
    for node in nodes:
        node.tell(said)
    return [node.answer() for node in nodes]


# -- journals -------------------------------------------------------------------------------------


@contextmanager
def _writing(url: str) -> Iterator[sa.Connection]:
    database = Database(url)
    try:
        with database.write() as connection:
            yield connection
    finally:
        database.dispose()


def _make(url: str) -> None:
    database = Database(url)
    database.migrate()
    database.dispose()
    with _writing(url) as connection:
        connection.execute(sa.text("CREATE TABLE bare (image VARCHAR(36))"))
        regions.discovered(connection, {name: f"http://{name}" for name in NAMES}, NAMES[0])


def _empty(url: str) -> None:
    """But for the regions, and one task to be claimed."""
    with _writing(url) as connection:
        for table in (schema.event, schema.task, schema.replica, schema.tally):
            connection.execute(sa.delete(table))
        queue.ask(connection, [Ask(TaskKind.IMAGE, str(uuid.uuid4()))])


def _ask(url: str, places: Sequence[str], images: int) -> None:
    """Have this many new images synchronized."""
    for start in range(0, images, _ROWS // len(places)):
        asks = [
            Ask(TaskKind.REPLICA, image_id, place)
            for image_id in (
                str(uuid.uuid4()) for _ in range(start, images)[: _ROWS // len(places)]
            )
            for place in places
        ]
        with _writing(url) as connection:
            queue.ask(connection, asks)


def _fill(url: str, images: int) -> None:
    """A journal as it is after a while: most in sync, some to be done, some that failed.

    With tasks that ended: one of each image, and one of each replica in R0.
    """
    i, r, t, g = schema.image, schema.replica, schema.task, schema.region
    ids = sorted(str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in range(images))
    with _writing(url) as connection:
        at = float(connection.execute(sa.select(now())).scalar_one()) - 3600
        for start in range(0, images, _ROWS):
            connection.execute(
                sa.insert(i),
                [
                    {
                        "image_id": image_id,
                        "generation": 1,
                        "fingerprint": hashlib.sha256(image_id.encode()).hexdigest(),
                        "present": True,
                        "name": f"image {image_id[:8]}",
                        "owner": image_id[:2] * 16,
                        "status": "active",
                        "size": 2**31,
                        "os_hash_value": hashlib.sha512(image_id.encode()).hexdigest(),
                        "changed_at": at,
                        "observed_at": at,
                    }
                    for image_id in ids[start : start + _ROWS]
                ],
            )
        pending = sa.and_(g.c.name == "R1", i.c.image_id > ids[images // 2])
        stalled = sa.and_(g.c.name == "R2", i.c.image_id > ids[images // 2])
        state = sa.case(
            (pending, ReplicaState.PENDING.value),
            (stalled, ReplicaState.STALLED.value),
            else_=ReplicaState.IN_SYNC.value,
        )
        values: dict[str, Any] = {
            "image_id": i.c.image_id,
            "region": g.c.name,
            "state": state,
            "replica_id": i.c.image_id,
            "made": sa.true(),
            "observed_generation": sa.literal(1),
            "baseline": i.c.fingerprint,
            "bytes_done": i.c.size,
            "bytes_total": i.c.size,
            "refused": sa.literal("{}"),
            "kept": sa.literal("{}"),
            "synced_at": sa.literal(at),
            "updated_at": sa.literal(at),
        }
        found = sa.select(*values.values()).select_from(i.join(g, g.c.name != NAMES[0]))
        connection.execute(sa.insert(r).from_select(list(values), found))
        tasks = (
            (TaskState.DONE, TaskKind.IMAGE, "R3", ReplicaState.IN_SYNC),
            (TaskState.DONE, TaskKind.REPLICA, "R0", ReplicaState.IN_SYNC),
            (TaskState.READY, TaskKind.REPLICA, "R1", ReplicaState.PENDING),
            (TaskState.FAILED, TaskKind.REPLICA, "R2", ReplicaState.STALLED),
        )
        for task_state, kind, place, replica_state in tasks:
            name = sa.literal(f"{kind.value}:") + r.c.image_id
            if kind is TaskKind.REPLICA:
                name = name + ":" + r.c.region
            done = task_state is TaskState.DONE
            values = {
                "task_key": name,
                "open_key": sa.null() if done else name,
                "kind": sa.literal(kind.value),
                "image_id": r.c.image_id,
                "region": r.c.region if kind is TaskKind.REPLICA else sa.literal(""),
                "state": sa.literal(task_state.value),
                "priority": sa.literal(0),
                "asked": sa.literal(1),
                "attempt": sa.literal(0),
                "force": sa.false(),
                "verify": sa.false(),
                "due_at": sa.literal(at + (7200 if task_state is TaskState.FAILED else 0)),
                "since": sa.literal(at),
                "actor": sa.literal(json.dumps(Actor().as_dict())),
                "created_at": sa.literal(at),
                "updated_at": sa.literal(at),
                "ended_at": sa.literal(at) if done else sa.null(),
            }
            found = sa.select(*values.values()).where(
                r.c.region == place, r.c.state == replica_state.value
            )
            connection.execute(sa.insert(t).from_select(list(values), found))
    _settle(url)


def _settle(url: str) -> None:
    """Have a server know how much there is, as it finds out by itself in a minute or so."""
    database = Database(url)
    if not database.sqlite:
        with database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(
                sa.text("VACUUM ANALYZE")
            )
    database.dispose()
