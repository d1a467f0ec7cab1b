# SPDX-License-Identifier: Apache-2.0
"""What a run needs: a cloud of three regions, a database, six processes of ours, and proxies."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from devcloud import PORT_WIDTH, Cloud
from devcloud.identity import Identity
from devcloud.ports import find_base
from tests.clouds import cleaned
from tests.databases import SERVERS, Server, served
from tests.faults import points
from tests.faults.nodes import POINTS, Nodes
from tests.faults.proxy import Proxy
from tests.faults.thrash.front import Front
from tests.faults.thrash.users import Users
from tests.faults.watcher import Watcher

#: Seconds. Short, so that a run of minutes sees what a cloud sees in months.
TIMES = {
    "lease": 4.0,
    "retry_interval": 0.2,
    "retry_max_interval": 5.0,
    "breaker_pause": 1.0,
    "breaker_max_pause": 5.0,
    "watch_interval": 2.0,
    "audit_interval": 20.0,
    "stuck_timeout": 10.0,
    "stall_timeout": 5.0,
    "service_credentials__timeout": 10.0,
    "catalog_interval": 10.0,
    "import_poll_interval": 0.5,
    "drain_timeout": 5.0,
}

#: Seconds the work itself may take once nothing stands in its way, on a small machine.
WORK = 40.0


def bound() -> float:
    """Seconds within which all must be well after the last fault.

    The slowest chain that ``doc/source/promises.rst`` knows: a lease that has to end, an image that
    a region left in the middle, an absence that only an audit sees, and a pause before each.
    """
    return WORK + sum(
        {
            "the lease of a dead worker, and its rescue": TIMES["lease"] * 1.25,
            "a request that nobody answers": TIMES["service_credentials__timeout"],
            "a region that is probed": TIMES["breaker_max_pause"],
            "a task that failed": TIMES["retry_max_interval"],
            "an image stuck in saving, looked at now and then": TIMES["stuck_timeout"] * 1.1,
            "an audit": TIMES["audit_interval"] * 1.1,
            "what the audit asked for fails once": TIMES["retry_max_interval"],
        }.values()
    )


class Database:
    """The journal's database and what can happen to it; for SQLite that is a lock on its file.

    :param starter: a server lives no longer than the thread that started it
    """

    def __init__(self, server: Server | None, url: str, starter: Executor) -> None:
        self._server = server
        self.url = url
        self._starter = starter

    def away(self, crash: bool) -> Iterator[str]:
        """It ends, and is started again."""
        if self._server is None:
            yield from self.paused()
            return
        crashing = {"postgresql": signal.SIGQUIT, "mariadb": signal.SIGKILL}[self._server.kind]
        self._server.stop(crashing) if crash else self._server.stop()
        yield "crashed" if crash else "ended"
        self._starter.submit(self._server.start).result()

    def cut(self) -> Iterator[str]:
        """All connections to it are cut."""
        if self._server is None:
            yield from self.paused()
            return
        self._server.execute(self._server.cut)
        yield "cut"

    def paused(self) -> Iterator[str]:
        """It does not answer for a while."""
        if self._server is not None:
            with self._server.paused():
                yield "paused"
            return
        connection = sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=30)
        with contextlib.closing(connection):
            connection.execute("BEGIN IMMEDIATE")
            yield "locked"


class Stage:
    """All of it, up and running inside the context."""

    def __init__(
        self, database: str, name: str = "thrash", apis: int = 2, workers: int = 4
    ) -> None:
        self._kind = database
        self._name = name
        self._counts = (apis, workers)
        self.lease = TIMES["lease"]

    def __enter__(self) -> Stage:
        with contextlib.ExitStack() as stack:
            self._build(stack)
            self._close = stack.pop_all().close
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._close()

    def _build(self, stack: contextlib.ExitStack) -> None:
        cloud = self.cloud = Cloud(
            name=self._name, regions=3, base_port=find_base(PORT_WIDTH), hook=True, sync=True
        )
        # Home's Glance can be killed at points, too.
        options = {"py-import": str(points.__file__), "points": str(cloud.directory / POINTS)}
        cloud.settings.overrides[cloud.home] = {"uwsgi": options}
        stack.enter_context(cleaned(cloud))
        cloud.up()
        cloud.stop("glance-sync")
        self.others = [name for name in cloud.names if name != cloud.home]
        self.proxies = {
            name: stack.enter_context(Proxy(cloud.region(name).port)) for name in cloud.names
        }
        urls = {name: f"http://127.0.0.1:{proxy.port}" for name, proxy in self.proxies.items()}
        Identity(cloud.session(), cloud.auth_url).ensure_endpoints("image", "glance", urls)
        self.database = stack.enter_context(self._database(cloud.directory))
        apis, workers = self._counts
        self.nodes = Nodes(
            cloud,
            apis,
            workers,
            first_port=cloud.sync_port + 1,
            # The others go by files, so each way meets what the other has left half-done.
            own={"worker-1": {"transports": "upload"}, "worker-3": {"transports": "upload"}},
            database__connection=self.database.url,
            cascading_endpoint_url=urls[cloud.home],
            delete_guard_images="100000",  # it has tests of its own
            **{name: f"{value:g}" for name, value in TIMES.items()},
        )
        stack.enter_context(self.nodes)
        ports = [self.nodes.port(number) for number in range(apis)]
        self.front = Front(cloud.sync_port, ports)
        stack.enter_context(self.front.serving())
        self.watcher = Watcher(cloud)
        self.users = Users(cloud, self.watcher)
        stack.enter_context(self.watcher.watching())

    @contextlib.contextmanager
    def _database(self, directory: Path) -> Iterator[Database]:
        with ThreadPoolExecutor(1) as starter:
            if self._kind == "sqlite":
                yield Database(None, f"sqlite:///{directory}/thrash.sqlite", starter)
                return
            with served(self._kind) as server, server.database() as url:
                yield Database(server, url, starter)


def best_database() -> str:
    """PostgreSQL where it is installed."""
    return "sqlite" if SERVERS["postgresql"].missing() else "postgresql"
