# SPDX-License-Identifier: Apache-2.0
"""Claims tasks and runs them, as many at a time as allowed, and keeps their leases alive.

Plain blocking code: ``spawn`` decides whether a task gets a native or a green thread.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
import random
import threading
import time
from collections.abc import Callable

from glancesync.bundle import Bundle
from glancesync.errors import JournalUnavailable
from glancesync.interfaces import Lost, Queue, Replicas
from glancesync.model import Region, Task

LOG = logging.getLogger(__name__)

Run = Callable[[Task, Bundle, Lost], None]
Spawn = Callable[[Callable[[], None]], None]


@dataclasses.dataclass(frozen=True)
class WorkerSettings:
    """Counts of tasks, and seconds."""

    slots: int = 256
    region_slots: int = 8
    lease: float = 20.0
    poll: float = 0.5
    fast_attempts: int = 5  # of tasks that take their workers down
    pause: float = 600.0  # between two further ones


class Lease:
    """A worker's claim on a task, as the worker itself can know it.

    Lost as soon as the journal says so, or when it could not be renewed in time: then another may
    have the task already. The time is this machine's monotonic clock, which also runs while the
    process is stopped.
    """

    def __init__(self, seconds: float) -> None:
        self.began = time.monotonic()
        self._taken = threading.Event()
        self.renewed(self.began, seconds)

    def renewed(self, at: float, seconds: float) -> None:
        """It was good at ``at`` for ``seconds`` more."""
        self._until = at + seconds

    def lose(self) -> None:
        """Another has the task, or nobody."""
        self._taken.set()

    @property
    def taken(self) -> bool:
        """True if it is lost for good."""
        return self._taken.is_set()

    def is_set(self) -> bool:
        """True if it is lost."""
        return self.taken or time.monotonic() > self._until


@dataclasses.dataclass(frozen=True, eq=False)
class _Run:
    """A task that this process works on. The same task may be here twice, the older one lost."""

    task: Task
    bundle: Bundle
    lease: Lease


class Worker:
    """One process's share of the work.

    :param owner: names this process in the journal, for people
    :param spawn: runs a function in a thread of its own
    """

    def __init__(
        self,
        owner: str,
        queue: Queue,
        replicas: Replicas,
        run: Run,
        spawn: Spawn,
        settings: WorkerSettings,
    ) -> None:
        self._owner = owner
        self._queue = queue
        self._replicas = replicas
        self._run = run
        self._spawn = spawn
        self._settings = settings
        self._lock = threading.Lock()
        self._running: set[_Run] = set()
        self._left: list[Task] = []  # to be given back as soon as the journal answers
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._in_trouble = False

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
            running = list(self._running)
            left = [*self._left, *(run.task for run in running)]
        for run in running:
            run.lease.lose()
        if left:
            LOG.info("giving back %d tasks", len(left))
            try:
                self._queue.release(left)
            except JournalUnavailable as error:
                LOG.warning("could not give them back, their leases will end: %s", error)

    # -- the two loops ----------------------------------------------------------------------------

    def serve(self) -> None:
        """Claim and run until stopped."""
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                busy = self._claim()
                if self._in_trouble:
                    LOG.info("the journal answers again")
                    self._in_trouble = False
            except Exception as error:
                if not self._in_trouble:
                    _complain("claim tasks", error)
                    self._in_trouble = True
                busy = False
            if not busy:  # many workers that were started together soon look at different times
                self._wake.wait(self._settings.poll * random.uniform(0.5, 1.0))  # noqa: S311

    def keep_alive(self) -> None:
        """Renew leases and rescue those of dead workers, until stopped and drained."""
        pause = self._settings.lease / 4
        while not self._stopping.is_set() or self._count():
            try:
                self._renew()
            except Exception as error:
                _complain("renew leases", error)
            self._stopping.wait(pause) if not self._stopping.is_set() else time.sleep(
                min(1.0, pause)
            )

    def _renew(self) -> None:
        with self._lock:
            mine = [run for run in self._running if not run.lease.taken]
            left = list(self._left)
        if left:
            self._queue.release(left)
            with self._lock:
                del self._left[: len(left)]
        if mine:
            asked = time.monotonic()
            kept = self._queue.renew([run.task for run in mine], lease=self._settings.lease)
            for run in mine:
                if run.task.id in kept:
                    run.lease.renewed(asked, self._settings.lease)
                elif run in self._running:
                    LOG.warning("the lease on %s was lost", run.task.key)
                    run.lease.lose()
        if self._queue.rescue(self._settings.fast_attempts, self._settings.pause):
            self.wake()

    # -- claiming and running ---------------------------------------------------------------------

    def _count(self) -> int:
        with self._lock:
            return len(self._running)

    def _open(self) -> set[str]:
        """The regions this process may take one more task of now.

        Image tasks, whose region is "", are home's load, and while home is unwell nothing can be
        done for any region.
        """
        regions = self._replicas.regions()
        home = next((region for region in regions if region.home), None)
        if home is not None and home.broken_for is not None:
            return {home.name, ""} if self._may_probe(home, home.name, "") else set()
        with self._lock:
            load = collections.Counter(run.task.region for run in self._running)
        found = set()
        for region in regions:
            if not (region.open or region.home):
                continue
            if region.broken_for is not None:
                found |= {region.name} if self._may_probe(region, region.name) else set()
                continue
            most = region.limits.get("tasks", self._settings.region_slots)
            names = (region.name, "") if region.home else (region.name,)
            found |= {name for name in names if load[name] < most}
        return found

    def _may_probe(self, region: Region, *names: str) -> bool:
        """Whether one task may see if a region that was left alone answers again.

        What began before it was left alone, such as a long copy, is no probe and keeps none away.
        """
        assert region.broken_for is not None  # noqa: S101 - asked of broken regions only
        if region.broken_for > 0:
            return False
        since = time.monotonic() + region.broken_for
        with self._lock:
            running = list(self._running)
        return not any(run.task.region in names and run.lease.began >= since for run in running)

    def _claim(self) -> bool:
        """Claim and start what there is room for; False if there was nothing or no room."""
        free = self._settings.slots - self._count()
        if free <= 0:
            return False
        asked = time.monotonic()
        tasks = self._queue.claim(
            self._owner, lease=self._settings.lease, limit=free, regions=self._open()
        )
        bundle = Bundle(len(tasks))
        runs = [_Run(task, bundle, Lease(self._settings.lease)) for task in tasks]
        with self._lock:
            late = self._stopping.is_set()  # stop() may have given back what it saw already
            if not late:
                for old in self._running:
                    if any(old.task.id == task.id for task in tasks):
                        old.lease.lose()  # it was rescued, and is ours once more
                self._running.update(runs)
        if late:
            self._queue.release(tasks)
            return False
        for run in runs:
            run.lease.renewed(asked, self._settings.lease)
        started = [self._start(run) for run in runs]
        return bool(started) and all(started)

    def _start(self, run: _Run) -> bool:
        """Give it a thread; False if there is none."""
        try:
            self._spawn(functools.partial(self._work, run))
        except Exception:
            LOG.exception("there is no thread for %s, giving it back", run.task.key)
            run.bundle.leave()
            self._end(run, left=True)
            return False
        return True

    def _work(self, run: _Run) -> None:
        left = False
        try:
            self._run(run.task, run.bundle, run.lease)
        except JournalUnavailable as error:
            LOG.warning(
                "the journal does not answer, %s will be done again: %s", run.task.key, error
            )
            left = True
        except Exception:
            # The journal could not be told; the lease ends by itself and the task is rescued.
            LOG.exception("could not conclude %s", run.task.key)
        finally:
            self._end(run, left=left)

    def _end(self, run: _Run, *, left: bool) -> None:
        """It does not run any more; one that is ``left`` is to be given back."""
        with self._lock:
            self._running.discard(run)
            if left:
                self._left.append(run.task)
        self._ended.set()
        self._wake.set()


def _complain(doing: str, error: Exception) -> None:
    if isinstance(error, JournalUnavailable):
        LOG.warning("the journal does not answer, can't %s: %s", doing, error)
    else:
        LOG.error("can't %s: %s", doing, error, exc_info=error)
