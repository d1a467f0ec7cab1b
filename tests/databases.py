# SPDX-License-Identifier: Apache-2.0
"""Real database servers: PostgreSQL and MariaDB, each started when a test first asks for it.

A server lives in a scratch directory, is reached by a socket in there, and ends with the session.
Each test gets a database of its own. Servers are set up as an operator might have them, not as
would be easy for us: their clocks, character sets, orders and isolation levels are not what the
journal wants, so it must ask for that itself.

Where the server's programs are not installed, tests that need them are skipped; in CI they fail.
"""

import contextlib
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

import pytest
import sqlalchemy as sa

from tests.functional.wait import until

#: Debian keeps the server's programs away from PATH.
_PLACES = [*sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), "/usr/sbin"]
_START = 60.0  # seconds a server is given to answer


class Server:
    """A database server of one kind, and the databases in it.

    *account* is who runs it if we are root: neither server does as root.
    """

    kind: str
    account: str
    programs: Sequence[str]
    #: what ends all connections but the one it comes from
    cut: str

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self._names = (f"journal_{number}" for number in itertools.count())
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = sa.create_engine(
            self._url(self.owners), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
        )

    @classmethod
    def missing(cls) -> str | None:
        """Why the server can't be had on this machine."""
        absent = [name for name in cls.programs if _program(name) is None]
        return f"{cls.kind} is not installed: no {', '.join(absent)}" if absent else None

    def _make(self) -> None:
        """Make the files of an empty server in ``directory``."""
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _url(self, database: str) -> sa.URL:
        raise NotImplementedError

    def _drop(self, database: str) -> list[str]:
        raise NotImplementedError

    # -- its databases ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def database(self, options: str = "") -> Iterator[str]:
        """The URL of an empty database, dropped at the end."""
        name = next(self._names)
        self.execute(f"CREATE DATABASE {name} {options}")
        try:
            yield self._url(name).render_as_string()
        finally:
            for statement in self._drop(name):
                self.execute(statement)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement as the server's owner."""
        with self._owner.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []

    #: a database that is always there
    owners: str

    # -- its life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and return when it answers."""
        if not self.log.exists():
            if os.geteuid() == 0:
                shutil.chown(self.directory, self.account, self.account)
            self._make()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_account(), *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C is for the tests
            )
        until(self._answers, _START, f"{self.kind} answers; see {self.log}")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.kind} ended:\n{self.log.read_text()[-3000:]}")
        try:
            self.execute("SELECT 1")
        except sa.exc.OperationalError:
            return False
        return True

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it and its connections; what was committed is on disk."""
        if self._process is not None:
            left = [pathlib.Path(f"/proc/{pid}") for pid in _children(self._process.pid)]
            self._process.send_signal(number)
            self._process.wait(_START)
            self._process = None
            # Of one that was killed they end by themselves; until then no other starts.
            until(lambda: not any(map(pathlib.Path.exists, left)), _START, f"{self.kind} is gone")

    def restart(self) -> None:
        self.stop()
        self.start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """All its processes are stopped: connections are accepted, and nothing answers."""
        assert self._process is not None
        stopped = [self._process.pid, *_children(self._process.pid)]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

    def _run(self, *argv: str) -> None:
        done = subprocess.run(
            [*self._as_account(), *argv], cwd=self.directory, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{argv[0]}:\n{done.stdout}{done.stderr}"

    def _as_account(self) -> list[str]:
        """Runs what follows unprivileged, and not longer than the thread that started it."""
        argv = ["setpriv", "--pdeathsig=SIGKILL"]
        if os.geteuid() == 0:
            argv += [f"--reuid={self.account}", f"--regid={self.account}", "--clear-groups"]
        return [*argv, "--"]


class PostgreSQL(Server):
    kind = "postgresql"
    account = "postgres"
    programs = ("initdb", "postgres")
    owners = "postgres"
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )

    def _make(self) -> None:
        options = ["--auth=trust", "--no-sync", "--no-instructions", "--username=tests"]
        order = ["--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu"]
        where = f"--pgdata={self.directory / 'data'}"
        self._run(_find("initdb"), where, *options, *order, "--icu-locale=en-US")

    def _command(self) -> list[str]:
        settings = {
            "fsync": "off",  # survives kill -9, not power loss
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "max_connections": "200",
            "timezone": "Asia/Kolkata",
            "default_transaction_isolation": "repeatable read",
        }
        command = [_find("postgres"), "-D", str(self.directory / "data")]
        return command + [f"--{name}={value}" for name, value in settings.items()]

    def _url(self, database: str) -> sa.URL:
        return sa.URL.create(
            "postgresql+psycopg2", "tests", database=database, query={"host": str(self.directory)}
        )

    def _drop(self, database: str) -> list[str]:
        return [f"DROP DATABASE {database} WITH (FORCE)"]


class MariaDB(Server):
    kind = "mariadb"
    account = "mysql"
    programs = ("mariadb-install-db", "mariadbd")
    owners = "mysql"
    cut = "KILL USER tests"

    _SMALL = (
        "--no-defaults",
        "--innodb-buffer-pool-size=32M",
        "--innodb-log-file-size=16M",
        "--innodb-flush-method=nosync",  # survives kill -9, not power loss
        "--skip-name-resolve",
    )

    def _make(self) -> None:
        self._run(
            _find("mariadb-install-db"),
            *self._SMALL,
            f"--datadir={self.directory / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )

    def _command(self) -> list[str]:
        return [
            _find("mariadbd"),
            *self._SMALL,
            f"--datadir={self.directory / 'data'}",
            f"--socket={self.directory / 'socket'}",
            "--skip-networking",
            "--max-connections=200",
            "--default-time-zone=+05:30",
            "--character-set-server=latin1",
            "--transaction-isolation=REPEATABLE-READ",
        ]

    def start(self) -> None:
        new = not self.log.exists()
        super().start()
        if new:
            self.execute("CREATE USER IF NOT EXISTS tests")
            self.execute("GRANT ALL ON *.* TO tests")

    def stop(self, number: int = signal.SIGTERM) -> None:
        super().stop(number)

    def _url(self, database: str) -> sa.URL:
        return sa.URL.create(
            "mysql+pymysql",
            "root" if database == self.owners else "tests",
            database=database,
            # TLS is not used on a socket, yet each connection would load all authorities for it.
            query={"unix_socket": str(self.directory / "socket"), "ssl_disabled": "true"},
        )

    def _drop(self, database: str) -> list[str]:
        return [self.cut, f"DROP DATABASE {database}"]  # else it waits for open transactions


SERVERS: dict[str, type[Server]] = {server.kind: server for server in (PostgreSQL, MariaDB)}


@contextlib.contextmanager
def served(kind: str) -> Iterator[Server]:
    """A server of *kind*, started."""
    with tempfile.TemporaryDirectory(prefix=f"glancesync-{kind}-", dir=scratch()) as directory:
        server = SERVERS[kind](pathlib.Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def scratch() -> str | None:
    """Memory, if there is enough of it: making tables waits for disks more than for anything."""
    memory = "/dev/shm"
    try:
        return memory if shutil.disk_usage(memory).free > 2**30 else None
    except OSError:
        return None


def _session(kind: str) -> Iterator[Server]:
    missing = SERVERS[kind].missing()
    if missing is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with served(kind) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server."""
    yield from _session("postgresql")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A MariaDB server."""
    yield from _session("mariadb")


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """One of each kind."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def server_url(server: Server) -> Iterator[str]:
    """The URL of a database on it that holds nothing."""
    with server.database() as url:
        yield url


def _program(name: str) -> str | None:
    places = [*map(str, _PLACES), *os.environ.get("PATH", "").split(os.pathsep)]
    return shutil.which(name, path=os.pathsep.join(places))


def _find(name: str) -> str:
    found = _program(name)
    assert found is not None, name
    return found


def _children(pid: int) -> list[int]:
    text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]
