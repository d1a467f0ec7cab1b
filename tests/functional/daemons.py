# SPDX-License-Identifier: Apache-2.0
"""glance-sync as further processes of this checkout, each with a configuration of its own."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from devcloud import Cloud
from devcloud.layout import CHECKOUT
from devcloud.processes import Process
from devcloud.venvs import clean_environment
from tests.functional.reconfigured import set_options
from tests.functional.wait import until

_ENVIRONMENT = {"PYTHONPATH": str(CHECKOUT)}  # with the database drivers of the tests


class Daemon:
    """One process, which runs inside the context.

    :param name: of its log and of the directory with its configuration
    :param options: over those of the cloud's glance-sync.conf; ``section__name`` outside [DEFAULT]
    """

    def __init__(self, cloud: Cloud, name: str, **options: str) -> None:
        self._directory = cloud.directory / name
        self._process = Process(name, cloud.directory / "run" / f"{name}.json", cloud.log(name))
        self.config = self._directory / "glance-sync.conf"
        self._process.log.unlink(missing_ok=True)
        shutil.rmtree(self._directory, ignore_errors=True)
        shutil.copytree(cloud.sync_config.parent, self._directory)
        set_options(self.config, options)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def launch(self) -> None:
        """Start it without waiting for anything."""
        program = [sys.executable, "-P", "-m", "glancesync.cmd.sync"]
        argv = [*program, f"--config-file={self.config}"]
        self._process.start(argv, {**clean_environment(), **_ENVIRONMENT}, "")

    def start(self) -> None:
        """Start it and wait until it works."""
        said = len(self.log)
        self.launch()

        def up() -> bool:
            if self.pid is None:
                raise RuntimeError(self._process.tail())
            return " is up (role " in self.log[said:]

        until(up, 60, f"{self._process.name} is up")

    def stop(self) -> None:
        self._process.stop()

    def manage(self, *args: str) -> str:
        """Run glance-sync-manage with its configuration; what that says."""
        program = [sys.executable, "-P", "-m", "glancesync.cmd.manage"]
        done = subprocess.run(
            [*program, f"--config-file={self.config}", *args],
            env={**clean_environment(), **_ENVIRONMENT},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def pid(self) -> int | None:
        """Its pid; None if it does not run."""
        return self._process.pid()

    @property
    def log(self) -> str:
        """What it has said, over all its starts."""
        path = self._process.log
        return path.read_text(errors="replace") if path.exists() else ""


@contextlib.contextmanager
def stopped(cloud: Cloud) -> Iterator[None]:
    """The cloud's own glance-sync does not run: others may have its port."""
    cloud.stop("glance-sync")
    try:
        yield
    finally:
        cloud.start("glance-sync")
