# SPDX-License-Identifier: Apache-2.0
"""What other processes do to a journal while a test looks on. Run as a program:

``journal_processes.py claim URL OWNER``
    claims, one task at a time, until nothing is left; a line for each task

``journal_processes.py hint URL PREFIX [SKEW]``
    records one hint after the other for ever; a line for each that was acknowledged; this process's
    clock is off by so many seconds

``journal_processes.py work URL OWNER SECONDS LEASE SKEW``
    a worker for which every task of a replica takes so long; lines ``ready``, ``took ID``,
    ``did ID``, ``refused ID``

``journal_processes.py green URL IMAGE``
    a process as glance-sync is one: hints of an image by many green threads at once, while another
    one says ``turn N`` ten times a second; lines ``began`` and ``hinted``

``journal_processes.py connect URL``
    the same with one green thread that asks for the time; line ``refused ERROR``
"""

import contextlib
import itertools
import sys
import threading
import time
import uuid
from collections.abc import Iterator

if sys.argv[1] in ("green", "connect"):
    import glancesync.cmd.green  # noqa: F401 - before what is patched is imported

from glancesync.bundle import Bundle
from glancesync.errors import JournalUnavailable, LeaseLost
from glancesync.interfaces import Changes, Lost, Note
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Done, Hint, Task
from glancesync.worker import Worker, WorkerSettings


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def claim(journal: Journal, owner: str) -> None:
    say("ready")
    sys.stdin.readline()  # all processes start together
    while tasks := journal.claim(owner, lease=60, limit=3, regions={""}):
        for task in tasks:
            say(str(task.id))
            journal.commit(task, Changes(), Done(owner))


def set_clock(skew: str) -> None:
    right = time.time
    time.time = lambda: right() + float(skew)


def hint(journal: Journal, prefix: str, skew: str = "0") -> None:
    set_clock(skew)
    for number in itertools.count():
        image_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{prefix}{number}"))
        journal.hint([Hint(image_id)])
        say(image_id)


def work(journal: Journal, owner: str, seconds: str, lease: str, skew: str) -> None:
    set_clock(skew)

    def run(task: Task, bundle: Bundle, lost: Lost) -> None:
        say(f"took {task.id}")
        time.sleep(float(seconds) if task.region else 0)
        notes = (Note("did", owner, task.region),)
        try:
            journal.commit(task, Changes(notes=notes))
            journal.commit(task, Changes(), Done(owner))
            say(f"did {task.id}")
        except LeaseLost:
            say(f"refused {task.id}")

    def spawn(start: object) -> None:
        threading.Thread(target=start, daemon=True).start()  # type: ignore[arg-type]

    settings = WorkerSettings(slots=8, region_slots=2, lease=float(lease), poll=0.1)
    worker = Worker(owner, journal, journal, run, spawn, settings)
    say("ready")
    threading.Thread(target=worker.keep_alive, daemon=True).start()
    worker.serve()


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """Say now and then how many tenths of a second it is."""
    over = threading.Event()

    def count() -> None:
        for number in itertools.count():
            say(f"turn {number}")
            if over.wait(0.1):
                return

    counter = threading.Thread(target=count)
    counter.start()
    try:
        yield
    finally:
        over.set()
        counter.join()


def green(journal: Journal, image_id: str) -> None:
    hints = [threading.Thread(target=journal.hint, args=([Hint(image_id)],)) for _ in range(20)]
    with counted():
        for thread in hints:
            thread.start()
        say("began")
        for thread in hints:
            thread.join()
        say("hinted")


def connect(journal: Journal) -> None:
    with counted():
        try:
            journal.database.now()
        except JournalUnavailable as error:
            say(f"refused {error}")


if __name__ == "__main__":
    actions = {"claim": claim, "hint": hint, "work": work, "green": green, "connect": connect}
    actions[sys.argv[1]](Journal(Database(sys.argv[2])), *sys.argv[3:])
