# SPDX-License-Identifier: Apache-2.0
"""Several processes on one journal, as several hosts would be: real ones, on real servers."""

import collections
import contextlib
import pathlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from glancesync.counts import Counter
from glancesync.journal import schema
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Hint, Priority
from glancesync.states import TaskState
from tests.contract.conftest import REGIONS
from tests.contract.test_queue import IMAGE, ids, replica_ask
from tests.functional.wait import until

LONG = 60.0


class Node:
    """A process of :mod:`tests.contract.journal_processes`, and the lines it has said."""

    def __init__(self, *args: object) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.journal_processes", *map(str, args)],
            cwd=pathlib.Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self.lines += (line.strip() for line in self.process.stdout if line.endswith("\n"))

    def said(self, word: str) -> list[int]:
        """The numbers it has said with a word."""
        return [int(line.split()[1]) for line in self.lines if line.startswith(f"{word} ")]

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(LONG)
        self._listener.join(LONG)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def nodes(*commands: tuple[object, ...]) -> Iterator[list[Node]]:
    started: list[Node] = []
    try:
        started += (Node(*command) for command in commands)
        yield started
    finally:
        for node in started:
            node.end()


def workers(
    url: str, *skews: float, seconds: float = 0.0, lease: float = 60.0
) -> list[tuple[object, ...]]:
    return [("work", url, f"node {n}", seconds, lease, skew) for n, skew in enumerate(skews)]


def done(journal: Journal) -> int:
    t = schema.task
    with journal.database.read() as connection:
        query = sa.select(sa.func.count()).where(t.c.state == TaskState.DONE.value)
        return int(connection.execute(query).scalar_one())


def times_done(journal: Journal) -> collections.Counter[tuple[str, str]]:
    """How often the work of (image, region) was recorded."""
    e = schema.event
    with journal.database.read() as connection:
        rows = connection.execute(sa.select(e.c.image_id, e.c.region).where(e.c.what == "did"))
        return collections.Counter((row.image_id, row.region) for row in rows)


def test_apis_and_workers_share_a_journal(journal: Journal, url: str) -> None:
    """Every hint that was acknowledged is worked on once, by some of four."""
    with nodes(*workers(url, 0, 0, 0, 0), ("hint", url, "a"), ("hint", url, "b")) as running:
        crew, apis = running[:4], running[4:]
        until(lambda: min(len(api.lines) for api in apis) > 40, LONG, "hints")
        until(lambda: all(node.said("took") for node in crew), LONG, "all have a share")
        for api in apis:
            api.end()
        hinted = {line for api in apis for line in api.lines}
        until(lambda: done(journal) >= len(hinted) and not journal.list_tasks(), LONG, "all done")
        took = [number for node in crew for number in node.said("took")]
        assert [node.said("refused") for node in crew] == [[]] * 4
    assert len(took) == len(set(took)) == done(journal)
    times = times_done(journal)
    assert set(times.values()) == {1}
    assert hinted <= {image_id for image_id, _ in times}


def test_a_flood_for_one_region_does_not_delay_another(journal: Journal, url: str) -> None:
    """P8: of two thousand older tasks of A hardly any is done before those of B are."""
    flood = [replica_ask("A", image_id, priority=Priority.USER) for image_id in ids(2000)]
    journal.ask(flood, "test")
    late = [replica_ask("B", image_id, priority=Priority.AUDIT) for image_id in ids(10)]
    journal.ask(late, "test")
    with nodes(*workers(url, 0, 0, seconds=0.2)):
        until(lambda: _done_in(journal, "B") == 10, LONG, "B is done")
        assert _done_in(journal, "A") < 200


def _done_in(journal: Journal, region: str) -> int:
    return sum(times for (_, where), times in times_done(journal).items() if where == region)


def test_who_slept_past_its_lease_is_refused_every_write(journal: Journal, url: str) -> None:
    """Fencing: SIGSTOP, another takes over, SIGCONT. Their clocks are two hours apart."""
    if journal.database.sqlite:
        pytest.skip("who is stopped in a transaction has the lock that all need")
    journal.ask([replica_ask("A")], "test")
    with nodes(*workers(url, 3600, seconds=1, lease=2)) as (sleeper,):
        (number,) = until(lambda: sleeper.said("took"), LONG, "claimed")
        until(lambda: _stopped(sleeper, journal, number), LONG, "stopped outside a transaction")
        with nodes(("work", url, "other", 0, 2, -3600)) as (other,):
            until(lambda: other.said("did") == [number], LONG, "taken over")
            sleeper.process.send_signal(signal.SIGCONT)
            until(lambda: sleeper.said("refused") == [number], LONG, "refused")
    did = [event.detail for event in journal.events(IMAGE) if event.what == "did"]
    assert did == ["other"]
    task = journal.task(number)
    assert task is not None
    assert (task.state, task.reason) == (TaskState.DONE, "other")


def _stopped(node: Node, journal: Journal, number: int) -> bool:
    """Stop a node; False, and it runs, if it had the row of its task locked just then."""
    node.process.send_signal(signal.SIGSTOP)
    t = schema.task
    with journal.database.write() as connection:
        row = sa.select(t.c.id).where(t.c.id == number).with_for_update(skip_locked=True)
        free = connection.execute(row).first() is not None
    if not free:
        node.process.send_signal(signal.SIGCONT)
    return free


def test_it_does_not_matter_what_a_hosts_clock_says(journal: Journal, url: str) -> None:
    """One is an hour behind, one an hour ahead. Tasks take longer than a lease."""
    if journal.database.sqlite:
        pytest.skip("all are on one host")
    with nodes(*workers(url, -3600, 3600, seconds=3.5, lease=3)) as crew:
        until(lambda: all(node.lines == ["ready"] for node in crew), LONG, "both run")
        # More for each region than one of them may take at a time.
        asks = [replica_ask(region, i) for i in ids(3) for region in REGIONS[:-1]]
        journal.ask(asks, "test")
        with nodes(("hint", url, "a", -3600), ("hint", url, "b", 3600)) as apis:
            until(lambda: min(len(api.lines) for api in apis) > 5, LONG, "hints")
        until(lambda: not journal.list_tasks(), LONG, "all done")
        assert [node.said("refused") for node in crew] == [[], []]
        assert all(node.said("took") for node in crew), "both had a share"
    assert set(times_done(journal).values()) == {1}
    counted = {count.counter for count in journal.counts()}
    assert Counter.FAILURES not in counted, "no lease seemed to have ended"
    tasks = journal.list_tasks(states={TaskState.DONE}, limit=10_000)
    assert len(tasks) > len(asks) + 10
    now = journal.database.now()
    for task in tasks:
        assert task.ended_at is not None
        for said in (task.created_at, task.since, task.due_at, task.updated_at, task.ended_at):
            assert abs(said - now) < 60
    assert all(abs(event.at - now) < 60 for event in journal.events(ids(1)[0]))


def test_a_driver_that_waits_stops_no_other_green_thread(journal: Journal, url: str) -> None:
    """As glance-sync runs: with psycopg2 and PyMySQL made green by eventlet."""
    if journal.database.sqlite:
        pytest.skip("it has no server to wait for")
    journal.hint([Hint(IMAGE)])
    t = schema.task
    other = Database(url)
    try:
        with other.write() as connection:
            connection.execute(sa.select(t).where(t.c.image_id == IMAGE).with_for_update())
            with nodes(("green", url, IMAGE)) as (process,):
                until(lambda: "began" in process.lines, LONG, "all hints wait for the row")
                turns = max(process.said("turn"))
                until(lambda: max(process.said("turn")) > turns + 5, LONG, "others run")
                assert "hinted" not in process.lines
                connection.rollback()
                until(lambda: "hinted" in process.lines, LONG, "all hints are taken")
    finally:
        other.dispose()
    (task,) = journal.list_tasks()
    assert task.asked == 21


@pytest.mark.parametrize(
    "server",
    [
        "postgresql://nobody@127.0.0.1:{port}/none?connect_timeout=1",
        "mysql://nobody@127.0.0.1:{port}/none?connect_timeout=1&read_timeout=1",
    ],
    ids=lambda url: url.partition(":")[0],
)
def test_a_server_that_lets_nobody_in_is_not_waited_for_for_ever(server: str) -> None:
    """It takes the connection and says nothing, as one that is stopped."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with nodes(("connect", server.format(port=silent.getsockname()[1]))) as (process,):
            until(lambda: process.process.poll() is not None, LONG, "given up")
        assert any(line.startswith("refused ") for line in process.lines)
        assert max(process.said("turn")) > 5
