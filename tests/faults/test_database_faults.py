# SPDX-License-Identifier: Apache-2.0
"""The journal's database deadlocks, restarts, dies, pauses, drops connections, and fills its disk.

Nothing that was acknowledged may be missing afterwards, all work is done in the end, and nothing
but a JournalUnavailable is ever seen of it.
"""

import contextlib
import itertools
import logging
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from glancesync.bundle import Bundle
from glancesync.errors import JournalError, JournalUnavailable, LeaseLost, RegionError
from glancesync.interfaces import Ask, Changes, Lost, Note
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Done, Hint, Task
from glancesync.states import OPEN, TaskKind, TaskState
from glancesync.worker import Worker, WorkerSettings
from tests.databases import Server
from tests.functional.wait import until
from tests.journals import record

IMAGE = "11111111-2222-3333-4444-555555555555"
LONG = 60.0
REGIONS = ("A", "B", "C")


@pytest.fixture
def journal(server_url: str) -> Iterator[Journal]:
    with opened(server_url) as journal:
        yield journal


@contextlib.contextmanager
def opened(url: str) -> Iterator[Journal]:
    database = Database(url)
    database.migrate()
    journal = Journal(database)
    record(journal, *REGIONS)
    yield journal
    database.dispose()


def run_all(*works: Callable[[], None]) -> list[Exception]:
    """Run all at the same time; return what they raised."""
    failed: list[Exception] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    return failed


# -- conflicts ------------------------------------------------------------------------------------


def test_both_sides_of_a_deadlock_commit(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """Two tasks that run ask for each other."""
    caplog.set_level(logging.DEBUG, "glancesync.journal")
    journal.ask([Ask(TaskKind.IMAGE, IMAGE), Ask(TaskKind.REPLICA, IMAGE, "A")], "test")
    image, replica = (
        journal.claim("me", lease=60, limit=1, regions={region})[0] for region in ("", "A")
    )
    both = threading.Barrier(2)
    met = threading.local()

    @sa.event.listens_for(journal.database.engine, "before_cursor_execute")
    def meet(connection: object, cursor: object, statement: str, *more: object) -> None:
        if statement.startswith("INSERT INTO task") and not hasattr(met, "once"):
            met.once = True  # each has locked its own row by now
            both.wait(LONG)

    def commit(task: Task, other: Task) -> Callable[[], None]:
        asks = (Ask(other.kind, other.image_id, other.region),)
        changes = Changes(notes=(Note("did"),), asks=asks)
        return lambda: journal.commit(task, changes, Done("well"))

    assert run_all(commit(image, replica), commit(replica, image)) == []
    assert "commit: once more after" in caplog.text
    assert "deadlock" in caplog.text.lower()
    assert [event.what for event in journal.events(IMAGE)].count("did") == 2
    for task in (image, replica):
        found = journal.task(task.id)
        assert found is not None
        assert found.state in (TaskState.DONE, TaskState.READY)
    assert journal.list_tasks(), "who was first was asked for again"


def test_a_serialization_failure_is_tried_again(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """We ask for READ COMMITTED, so only a stricter one shows it."""
    if journal.database.engine.dialect.name != "postgresql":
        pytest.skip("InnoDB has deadlocks instead")

    caplog.set_level(logging.DEBUG, "glancesync.journal")

    @sa.event.listens_for(journal.database.engine, "begin")
    def stricter(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")

    journal.hint([Hint(IMAGE)])
    threads = 4
    both = threading.Barrier(threads)

    def hint() -> None:
        both.wait(LONG)
        for _ in range(5):
            journal.hint([Hint(IMAGE)])

    unavailable = run_all(*[hint] * threads)
    assert "could not serialize" in caplog.text
    assert all(isinstance(error, JournalUnavailable) for error in unavailable)
    (task,) = journal.list_tasks()
    assert task.asked >= 1 + 5 * (threads - len(unavailable))


# -- outages --------------------------------------------------------------------------------------


class Traffic:
    """Two workers, and two callers that send hints and count those acknowledged."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.acknowledged: list[str] = []
        self.refused = 0
        self.wrong: list[Exception] = []
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        settings = WorkerSettings(slots=6, region_slots=3, lease=3.0, poll=0.05, pause=1.0)
        self._workers = [
            Worker(f"worker {n}", journal, journal, self._run, self._spawn, settings)
            for n in range(2)
        ]

    def _spawn(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()

    def _run(self, task: Task, bundle: Bundle, lost: Lost) -> RegionError | None:
        asks: tuple[Ask, ...] = ()
        if task.kind is TaskKind.IMAGE:
            asks = tuple(Ask(TaskKind.REPLICA, task.image_id, region) for region in REGIONS[1:])
        try:
            self.journal.commit(task, Changes(notes=(Note("did"),), asks=asks), Done("well"))
        except LeaseLost:
            pass
        except JournalUnavailable:
            raise
        except Exception as error:
            self.wrong.append(error)
            raise
        return None

    def _hint(self) -> None:
        while not self._stopping.is_set():
            image_id = str(uuid.uuid4())
            try:
                self.journal.hint([Hint(image_id)])
                self.acknowledged.append(image_id)
            except JournalUnavailable:
                self.refused += 1
            except Exception as error:
                self.wrong.append(error)
            time.sleep(0.01)

    def __enter__(self) -> "Traffic":
        loops = [loop for worker in self._workers for loop in (worker.serve, worker.keep_alive)]
        for loop in [*loops, self._hint, self._hint]:
            self._threads.append(threading.Thread(target=loop))
            self._threads[-1].start()
        self.flows()
        return self

    def flows(self, count: int = 10) -> None:
        """Wait until more hints were acknowledged."""
        enough = len(self.acknowledged) + count
        until(lambda: len(self.acknowledged) >= enough, LONG, "hints are taken")

    def settle(self) -> None:
        """Send no more, and wait until everything is done."""
        self._stopping.set()
        until(lambda: not self.journal.list_tasks(states=OPEN), LONG, "all is done")

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        for worker in self._workers:
            worker.stop(LONG)
        for thread in self._threads:
            thread.join(LONG)
            assert not thread.is_alive()


def restart(server: Server, traffic: Traffic) -> None:
    server.restart()


def die(server: Server, traffic: Traffic) -> None:
    server.stop(signal.SIGKILL)
    server.start()


def away(server: Server, traffic: Traffic) -> None:
    """For longer than anybody tries."""
    server.stop()
    try:
        until(lambda: traffic.refused, LONG, "a hint was not taken")
    finally:
        server.start()


def cut(server: Server, traffic: Traffic) -> None:
    for _ in range(10):
        server.execute(server.cut)
        time.sleep(0.05)


def pause(server: Server, traffic: Traffic) -> None:
    with server.paused():
        time.sleep(4)  # longer than the lease


@pytest.mark.parametrize("fault", [restart, die, away, cut, pause])
def test_work_goes_on_after_an_outage(
    server: Server, journal: Journal, fault: Callable[[Server, Traffic], None]
) -> None:
    with Traffic(journal) as traffic:
        fault(server, traffic)
        traffic.flows()
        traffic.settle()
        done = journal.list_tasks(states={TaskState.DONE}, limit=100_000)
        images = {task.image_id for task in done if task.kind is TaskKind.IMAGE}
        assert set(traffic.acknowledged) <= images
        for image_id in {traffic.acknowledged[0], traffic.acknowledged[-1]}:
            what = [event.what for event in journal.events(image_id)]
            assert what.count("did") >= 3, "the image's task and one for each region"
            assert "hint" in what
    assert traffic.wrong == []
    states = journal.list_tasks(states=set(TaskState), limit=100_000)
    assert all(task.attempt < 5 for task in states), "an outage is no task's fault"


def test_everything_says_that_the_database_is_away(server: Server, journal: Journal) -> None:
    database = journal.database
    server.stop()
    try:
        for ask in (database.now, database.version, database.check, database.migrate):
            with pytest.raises(JournalUnavailable) as caught:
                ask()
            assert "SELECT" not in str(caught.value)
            assert "\n" not in str(caught.value)
        began = time.monotonic()
        with pytest.raises(JournalUnavailable):
            database.wait(2, 0.1)
        assert 0.2 <= time.monotonic() - began < LONG
        waiter = threading.Thread(target=database.wait, args=(-1, 0.1))
        waiter.start()
    finally:
        server.start()
    waiter.join(LONG)
    assert not waiter.is_alive()
    database.check()


def test_a_start_goes_on_when_connections_are_cut_in_the_middle_of_it(
    server: Server, server_url: str
) -> None:
    database = Database(server_url)
    database.migrate()
    cuts = []

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def cut(connection: object, cursor: object, statement: str, *more: object) -> None:
        if "alembic_version" in statement and not cuts:
            cuts.append(server.execute(server.cut))

    database.wait(1, 0.1)
    assert cuts
    database.dispose()


# -- a full disk ----------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[None]:
    """*directory* is a disk of so many megabytes for a while."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tmpfs"]
    if os.geteuid() != 0 or subprocess.run([*mount, str(directory)], check=False).returncode:
        pytest.skip("a small disk needs the right to mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(journal: Journal) -> list[str]:
    """Send hints until the disk is full; return those acknowledged."""
    acknowledged = []
    for number in itertools.count():
        batch = [Hint(str(uuid.UUID(int=100 * number + n))) for n in range(100)]
        try:
            journal.hint(batch)
        except JournalUnavailable:
            return acknowledged
        acknowledged += [hint.image_id for hint in batch]
        assert number < 2000, "the disk is never full"
    raise AssertionError


def held(journal: Journal) -> list[str]:
    """The images of all open tasks, read in small pages: a large sort needs a disk, too."""
    found: list[str] = []
    marker = None
    while page := journal.list_tasks(limit=500, marker=marker):
        found += [task.image_id for task in page]
        marker = page[-1].id
    return found


def take_no_harm(journal: Journal, ballast: Path) -> None:
    """Fill the disk, look at what is there, make room, and go on."""
    acknowledged = fill(journal)
    assert acknowledged
    assert sorted(held(journal)) == sorted(acknowledged), "all of it, and nothing else"
    with pytest.raises(JournalUnavailable):
        journal.hint([Hint(str(uuid.uuid4())) for _ in range(100)])

    ballast.unlink()
    until(lambda: _taken(journal), LONG, "hints are taken again")
    assert len(held(journal)) == len(acknowledged) + 1


def _taken(journal: Journal) -> bool:
    try:
        journal.hint([Hint(IMAGE)])
    except JournalUnavailable:
        return False
    return True


def test_a_full_disk_sqlite(tmp_path: Path) -> None:
    directory = tmp_path / "disk"
    directory.mkdir()
    with small_disk(directory, 4):
        ballast = directory / "ballast"
        ballast.write_bytes(b"x" * 2**20)
        with opened(f"sqlite:///{directory}/journal.sqlite") as journal:
            take_no_harm(journal, ballast)


def test_a_full_disk_postgresql(postgresql: Server, tmp_path: Path) -> None:
    """That of the tables; without room for its log PostgreSQL stops altogether."""
    directory = postgresql.directory / "disk"
    directory.mkdir()
    with small_disk(directory, 16):
        ballast = directory / "ballast"
        ballast.write_bytes(b"x" * 4 * 2**20)
        place = directory / "tables"
        place.mkdir()
        os.chown(place, *_owner(postgresql.directory))
        postgresql.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
        try:
            with postgresql.database("TABLESPACE small") as url, opened(url) as journal:
                take_no_harm(journal, ballast)
        finally:
            postgresql.execute("DROP TABLESPACE small")


def _owner(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid


def test_a_disk_that_is_full_at_the_start_is_told_of(tmp_path: Path) -> None:
    directory = tmp_path / "disk"
    directory.mkdir()
    with small_disk(directory, 1):
        (directory / "ballast").write_bytes(b"x" * (2**20 - 3 * 4096))
        database = Database(f"sqlite:///{directory}/journal.sqlite")
        with pytest.raises(JournalError):
            database.migrate()
        (directory / "ballast").unlink()
        database.migrate()
        database.check()
        database.dispose()
