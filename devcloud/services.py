# SPDX-License-Identifier: Apache-2.0
"""One service of a devcloud: how it is started and how to tell that it works."""

import hashlib
import http.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcloud import ports
from devcloud.errors import DevcloudError
from devcloud.processes import Process, until

# What programs read; the installer's notes and Python's caches are none of it.
_READ = {".conf", ".ini", ".json", ".py", ".yaml"}
START_TIMEOUT = 90.0  # seconds a service may take until it is healthy


@dataclass(frozen=True)
class ServiceStatus:
    """What one service is doing now."""

    name: str
    state: str  # "running", "unhealthy" (runs, does not answer), "died" or "stopped"
    pid: int | None
    url: str
    log: Path


@dataclass(frozen=True)
class Service:
    """A process with the port it serves."""

    process: Process
    port: int
    health: str  # a path that answers below 400 once the service works
    argv: Sequence[str]
    env: Mapping[str, str]
    inputs: Sequence[Path]  # files and directories that matter to the running program

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def url(self) -> str:
        return f"http://{ports.HOST}:{self.port}"

    def fingerprint(self) -> str:
        """A digest of what the program is started with: a restart is due when it changes."""
        digest = hashlib.sha256(repr((self.argv, self.port)).encode())
        for top in self.inputs:
            files = sorted(top.rglob("*")) if top.is_dir() else [top]
            for path in files:
                hidden = any(part.startswith(".") for part in path.relative_to(top).parts)
                if path.is_file() and path.suffix in _READ and not hidden:
                    digest.update(str(path).encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()

    def start(self) -> None:
        """Start it; returns at once, see :func:`wait_healthy`."""
        self.process.start(self.argv, self.env, self.fingerprint())

    def is_current(self) -> bool:
        """Whether it runs, and with what its files say now."""
        mark = self.process.mark()
        running = self.process.pid() is not None
        return running and mark is not None and mark.fingerprint == self.fingerprint()

    def is_healthy(self, timeout: float = 2.0) -> bool:
        """Whether its health check is answered, and by it: somebody may have taken its port."""
        return self._answers(timeout) and not ports.listeners(self.port).isdisjoint(
            self.process.members()
        )

    def _answers(self, timeout: float) -> bool:
        connection = http.client.HTTPConnection(ports.HOST, self.port, timeout=timeout)
        try:
            connection.request("GET", self.health)
            return connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def status(self) -> ServiceStatus:
        """What it is doing now."""
        pid = self.process.pid()
        if pid is not None:
            state = "running" if self.is_healthy() else "unhealthy"
        else:
            state = "died" if self.process.died() else "stopped"
        return ServiceStatus(self.name, state, pid, self.url, self.process.log)


def wait_healthy(services: Sequence[Service], timeout: float = START_TIMEOUT) -> None:
    """Wait until all *services* are healthy.

    Raises DevcloudError, with the end of the log, for the first that dies or is not in time.
    """
    waiting = list(services)

    def all_healthy() -> bool:
        for service in list(waiting):
            if service.process.pid() is None:
                raise DevcloudError(_story(service, "died while starting"))
            if service.is_healthy():
                waiting.remove(service)
        return not waiting

    if not until(all_healthy, timeout):
        raise DevcloudError(_story(waiting[0], f"is not healthy after {timeout:.0f} s"))


def _story(service: Service, what: str) -> str:
    log = service.process.log
    return f"{service.name} {what}; the end of {log}:\n{service.process.tail()}"
