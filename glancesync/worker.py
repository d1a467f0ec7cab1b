"""Claims tasks and runs them, as many at a time as allowed, and keeps their leases alive.

Plain blocking code: ``spawn`` decides whether a task gets a native or a green thread.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import threading
import time
from collections.abc import Callable

from glancesync.bundle import Bundle
from glancesync.errors import RegionError
from glancesync.interfaces import Queue, Replicas
from glancesync.model import Task

LOG = logging.getLogger(__name__)

Run = Callable[[Task, Bundle, threading.Event], RegionError | None]
Spawn = Callable[[Callable[[], None]], None]


@dataclasses.dataclass(frozen=True)
class WorkerSettings:
    """Counts of tasks, and seconds."""

    slots: int = 256
    region_slots: int = 8
    lease: float = 20.0
    poll: float = 0.5


class Worker:
    """One process's share of the work.

    :param owner: names this process in the journal, for people
    :param spawn: runs a function in a thread of its own
    :param on_region_error: told after each replica task how its region is (None: well)
    """

    def __init__(
        self,
        owner: str,
        queue: Queue,
        replicas: Replicas,
        run: Run,
        spawn: Spawn,
        settings: WorkerSettings,
        on_region: Callable[[str, RegionError | None], None] = lambda region, error: None,
    ) -> None:
        self._owner = owner
        self._queue = queue
        self._replicas = replicas
        self._run = run
        self._spawn = spawn
        self._settings = settings
        self._on_region = on_region
        self._lock = threading.Lock()
        self._running: dict[int, tuple[Task, threading.Event]] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._silent = False

    # -- from other threads -----------------------------------------------------------------------

    def wake(self) -> None:
        """There may be work now; safe to call from anywhere, at any time."""
        self._wake.set()

    def use(self, run: Run, settings: WorkerSettings) -> None:
        """Run the tasks claimed from now on by ``run``, within ``settings``."""
        self._run, self._settings = run, settings
        self._wake.set()

    def stop(self, drain: float) -> None:
        """Claim nothing more, give running tasks ``drain`` seconds, give back the rest."""
        self._stopping.set()
        self._wake.set()
        deadline = time.monotonic() + drain
        while self._count() and time.monotonic() < deadline:
            self._ended.wait(0.1)
            self._ended.clear()
        with self._lock:
            left = list(self._running.values())
        for _, lost in left:
            lost.set()
        if left:
            LOG.info("giving back %d tasks", len(left))
            self._queue.release(task for task, _ in left)

    # -- the two loops ----------------------------------------------------------------------------

    def serve(self) -> None:
        """Claim and run until stopped."""
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                busy = self._claim()
                if self._silent:
                    LOG.info("the journal answers again")
                    self._silent = False
            except Exception as error:
                if not self._silent:
                    LOG.error("the journal does not answer, waiting for it: %s", error)
                    self._silent = True
                busy = False
            if not busy:
                self._wake.wait(self._settings.poll)

    def keep_alive(self) -> None:
        """Renew leases and rescue those of dead workers, until stopped and drained."""
        pause = self._settings.lease / 4
        while not self._stopping.is_set() or self._count():
            try:
                self._renew()
            except Exception as error:
                LOG.warning("could not renew leases: %s", error)
            self._stopping.wait(pause) if not self._stopping.is_set() else time.sleep(
                min(1.0, pause)
            )

    def _renew(self) -> None:
        with self._lock:
            mine = dict(self._running)
        if mine:
            kept = self._queue.renew(
                (task for task, _ in mine.values()), lease=self._settings.lease
            )
            for number, (task, lost) in mine.items():
                if number not in kept and number in self._running:
                    LOG.warning("the lease on %s was lost", task.key)
                    lost.set()
        if self._queue.rescue():
            self.wake()

    # -- claiming and running ---------------------------------------------------------------------

    def _count(self) -> int:
        with self._lock:
            return len(self._running)

    def _closed(self) -> set[str]:
        """Regions that may not get, or can't get, more work from this process now.

        Image tasks, whose region is "", are home's load.
        """
        with self._lock:
            load = collections.Counter(task.region for task, _ in self._running.values())
        closed = set()
        for region in self._replicas.regions():
            name = "" if region.home else region.name
            limit = region.limits.get("tasks", self._settings.region_slots)
            if load[name] >= limit or not (region.open or region.home):
                closed.add(name)
        return closed

    def _claim(self) -> bool:
        """Claim and start what there is room for; False if there was nothing or no room."""
        free = self._settings.slots - self._count()
        if free <= 0:
            return False
        tasks = self._queue.claim(
            self._owner, lease=self._settings.lease, limit=free, closed=self._closed()
        )
        bundle = Bundle(len(tasks))
        with self._lock:
            late = self._stopping.is_set()  # stop() may have given back what it saw already
            started = [] if late else [(task, threading.Event()) for task in tasks]
            self._running.update({task.id: (task, lost) for task, lost in started})
        if late:
            self._queue.release(tasks)
            return False
        for task, lost in started:
            self._spawn(_Start(self._work, task, bundle, lost))
        return bool(tasks)

    def _work(self, task: Task, bundle: Bundle, lost: threading.Event) -> None:
        try:
            error = self._run(task, bundle, lost)
            if task.region:
                self._on_region(task.region, error)
        except Exception:
            # The journal could not be told; the lease ends by itself and the task is rescued.
            LOG.exception("could not conclude %s", task.key)
        finally:
            with self._lock:
                self._running.pop(task.id, None)
            self._ended.set()
            self._wake.set()


@dataclasses.dataclass(frozen=True)
class _Start:
    """A call of ``work``, as a function without arguments."""

    work: Callable[[Task, Bundle, threading.Event], None]
    task: Task
    bundle: Bundle
    lost: threading.Event

    def __call__(self) -> None:
        self.work(self.task, self.bundle, self.lost)
