# SPDX-License-Identifier: Apache-2.0
"""glance-sync as several processes on one journal, as several hosts would run it."""

import os
import shutil
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from configparser import RawConfigParser
from pathlib import Path
from types import TracebackType
from typing import Self

from devcloud import Cloud
from devcloud.layout import CHECKOUT
from devcloud.processes import Process
from devcloud.venvs import clean_environment, run
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Event
from tests.faults import points
from tests.functional.reconfigured import set_options
from tests.functional.wait import until

_PROGRAM = Path(__file__).with_name("points.py")
#: In the directory of the cloud; see :mod:`tests.faults.points`.
POINTS = Path("nodes", "points")
_ENVIRONMENT = {"PYTHONPATH": str(CHECKOUT)}


class Nodes:
    """Processes ``api-1``, ``api-2``, ..., ``worker-1``, ... in place of the cloud's glance-sync.

    Each can be made to end or stop at a named point: see :mod:`tests.faults.points`.

    :param first_port: of the first API; the others listen on the ports after it
    :param own: name of a process -> options that only it has
    :param options: over those of the cloud's glance-sync.conf; ``section__name`` outside [DEFAULT]
    """

    def __init__(
        self,
        cloud: Cloud,
        apis: int,
        workers: int,
        first_port: int,
        own: Mapping[str, Mapping[str, str]] | None = None,
        **options: str,
    ) -> None:
        self.cloud = cloud
        self._first_port = first_port
        self.points = cloud.directory / POINTS
        self.directory = self.points.parent
        self._options = options
        self._own = own or {}
        self.apis = [f"api-{number + 1}" for number in range(apis)]
        self.workers = [f"worker-{number + 1}" for number in range(workers)]
        # devcloud ends what has a mark in its "run", also after a test that was interrupted.
        self._processes = {
            name: Process(name, cloud.directory / "run" / f"{name}.json", cloud.log(name))
            for name in (*self.apis, *self.workers)
        }

    def __enter__(self) -> Self:
        self._configure()
        try:
            for name in self._processes:
                self.start(name)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _configure(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(self.cloud.sync_config.parent, self.directory)
        self.points.mkdir()
        set_options(self.directory / "glance-sync.conf", self._options)
        ports = {name: {"bind_port": str(self.port(at))} for at, name in enumerate(self.apis)}
        for name in self._processes:
            own = {**ports.get(name, {}), **self._own.get(name, {})}
            set_options(self.directory / f"{name}.conf", own)
        db_sync = ["-m", "glancesync.cmd.manage", *self._files(), "db_sync"]
        run([sys.executable, *db_sync], "db_sync", _ENVIRONMENT)

    def port(self, number: int) -> int:
        """The port of an API, counted from 0."""
        return self._first_port + number

    def _files(self, *names: str) -> list[str]:
        return [f"--config-file={self.directory / one}.conf" for one in ("glance-sync", *names)]

    # -- the processes ----------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start one and wait until it works; nothing happens if it runs."""
        process = self._processes[name]
        if process.pid() is not None:
            return
        program = [sys.executable, "-P", str(_PROGRAM), str(self.points), "glancesync.cmd.sync"]
        argv = [*program, *self._files(name), f"--role={name.partition('-')[0]}"]
        said = len(self.log(name))

        def up() -> bool:
            if process.pid() is None:  # as systemd does: its database may have gone away meanwhile
                process.start(argv, {**clean_environment(), **_ENVIRONMENT}, "")
            assert " is up (role " in self.log(name)[said:], process.tail()
            return True

        until(up, 60, f"{name} is up")

    def runs(self, name: str) -> bool:
        """Whether there is such a process."""
        return self._processes[name].pid() is not None

    def end(self, name: str) -> None:
        """Ask one to end, and wait until it has; also one that is stopped (SIGSTOP)."""
        self._processes[name].stop()

    def stop(self) -> None:
        """End all."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.end, self._processes))

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal one process, and if it is killed the children that move its bytes as well."""
        process = self._processes[name]
        if number is signal.SIGKILL:
            process.kill(number)
        elif (pid := process.pid()) is not None:
            os.kill(pid, number)

    def running(self, name: str) -> bool:
        """Whether it lives, stopped or not."""
        return self._processes[name].pid() is not None

    def movers(self) -> list[int]:
        """The processes that move bytes for all of them."""
        marks = [(process.mark(), process.members()) for process in self._processes.values()]
        return [pid for mark, pids in marks if mark is not None for pid in pids if pid != mark.pid]

    def log(self, name: str) -> str:
        """What one has said so far."""
        path = self._processes[name].log
        return path.read_text(errors="replace") if path.exists() else ""

    # -- named points -----------------------------------------------------------------------------

    def reached(self, point: str) -> str | None:
        """The process that came to a point since it was armed."""
        try:
            pid = int(points.hit(self.points, point).read_text())
        except FileNotFoundError:
            return None
        marks = {name: process.mark() for name, process in self._processes.items()}
        return next(name for name, mark in marks.items() if mark is not None and mark.pid == pid)

    # -- the journal ------------------------------------------------------------------------------

    @property
    def journal(self) -> Journal:
        """The journal they share; what is read there, the API has no words for yet."""
        parser = RawConfigParser(strict=False, interpolation=None)
        parser.read(self.directory / "glance-sync.conf")
        return Journal(Database(parser.get("database", "connection")))

    def events(self, image_id: str) -> list[Event]:
        """All that was noted about an image, newest first."""
        journal = self.journal
        try:
            return journal.events(image_id, limit=10_000)
        finally:
            journal.database.dispose()
