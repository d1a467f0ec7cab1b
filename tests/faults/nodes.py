"""glance-sync as several processes on one journal, as several hosts would run it."""

import os
import shutil
import signal
from configparser import RawConfigParser
from pathlib import Path
from types import TracebackType
from typing import Self

from devcloud import Cloud
from devcloud.processes import Process
from devcloud.venvs import clean_environment
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Event
from tests.faults import points
from tests.functional.reconfigured import set_options
from tests.functional.wait import until

_POINTS = Path(__file__).with_name("points.py")


class Nodes:
    """Processes ``api-1``, ``api-2``, ..., ``worker-1``, ... in place of the cloud's glance-sync.

    Each can be made to end or stop at a named point: see :mod:`tests.faults.points`. The first API
    listens where the cloud's glance-sync does, the others on the ports after it.

    :param options: over those of the cloud's glance-sync.conf; ``section__name`` outside [DEFAULT]
    """

    def __init__(self, cloud: Cloud, apis: int, workers: int, **options: str) -> None:
        self.cloud = cloud
        self.directory = cloud.directory / "nodes"
        self.points = self.directory / "points"
        self._options = options
        self.apis = [f"api-{number + 1}" for number in range(apis)]
        self.workers = [f"worker-{number + 1}" for number in range(workers)]
        # devcloud ends what has a mark in its "run", also after a test that was interrupted.
        self._processes = {
            name: Process(name, cloud.directory / "run" / f"{name}.json", cloud.log(name))
            for name in (*self.apis, *self.workers)
        }

    def __enter__(self) -> Self:
        self.cloud.stop("glance-sync")
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
        self.cloud.start("glance-sync")

    def _configure(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(self.cloud.sync_config.parent, self.directory)
        self.points.mkdir()
        set_options(self.directory / "glance-sync.conf", self._options)
        for number, name in enumerate(self.apis):
            own = {"bind_port": str(self.port(number))}
            set_options(self.directory / f"{name}.conf", own)

    def port(self, number: int) -> int:
        """The port of an API, counted from 0."""
        return self.cloud.sync_port + number

    # -- the processes ----------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start one and wait until it works; nothing happens if it runs."""
        process = self._processes[name]
        if process.pid() is not None:
            return
        role = name.partition("-")[0]
        files = [self.directory / "glance-sync.conf"]
        if role == "api":
            files.append(self.directory / f"{name}.conf")
        said = len(self.log(name))
        process.start(
            [
                str(self.cloud.sync_venv() / "bin" / "python"),
                *(str(_POINTS), str(self.points), "glancesync.cmd.sync"),
                *(f"--config-file={path}" for path in files),
                f"--role={role}",
            ],
            clean_environment(),
            "",
        )

        def up() -> bool:
            assert process.pid() is not None, process.tail()
            return " is up (role " in self.log(name)[said:]

        until(up, 60, f"{name} is up")

    def stop(self) -> None:
        """End all; one that is stopped (SIGSTOP) as well."""
        for process in self._processes.values():
            process.stop()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal one process, but not the children that move its bytes."""
        process = self._processes[name]
        if number is signal.SIGKILL:
            process.kill(number)
        elif (pid := process.pid()) is not None:
            os.kill(pid, number)

    def running(self, name: str) -> bool:
        """Whether it lives, stopped or not."""
        return self._processes[name].pid() is not None

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
