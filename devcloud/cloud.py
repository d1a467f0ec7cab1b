# SPDX-License-Identifier: Apache-2.0
"""A real multi-region OpenStack on one machine: the :class:`Cloud`."""

import grp
import os
import pwd
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from glanceclient import client as glanceclient
from keystoneauth1 import session as ksa
from keystoneauth1.identity import v3

from devcloud import configs, identity, ports, state, venvs
from devcloud.errors import DevcloudError
from devcloud.processes import Process
from devcloud.services import Service, ServiceStatus, wait_healthy

CHECKOUT = Path(__file__).resolve().parent.parent
INSTALLER = CHECKOUT / "installation" / "install.sh"
DEFAULT_VERSION = "33"
_NUMBERS = ("One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
MAX_REGIONS = len(_NUMBERS)
_SYNC_OFFSET = 5  # ports: Keystone at the base, glance-sync here, the Glance of region i at 10 + i
_GLANCE_OFFSET = 10
PORT_WIDTH = _GLANCE_OFFSET + MAX_REGIONS + 1  # ports a devcloud may use, from its base on


@dataclass(frozen=True)
class Region:
    """One region's Glance and where it keeps what."""

    name: str
    url: str
    port: int
    version: str  # of Glance
    datadir: Path  # of its file store
    staging: Path
    config_dir: Path
    database: Path
    log: Path


class Cloud:
    """A devcloud: one Keystone, a Glance per region, and glance-sync.

    Arguments that are left out are as they were when the cloud of this name was last up, or the
    defaults: 3 regions at port 9590, the newest Glance, with hook and sync server.

    *glance_version* is a release or a series (``"33.0.0"``, ``"33"``) for all regions or a mapping
    from region names. *overrides* go over the configuration files: region name, ``"keystone"`` or
    ``"glance-sync"`` -> section -> option -> value; section ``uwsgi`` is for the WSGI server's.
    As a context manager the cloud is up inside the ``with`` block and down after it.
    """

    def __init__(
        self,
        name: str = "default",
        root: Path | None = None,
        regions: int | None = None,
        base_port: int | None = None,
        glance_version: str | Mapping[str, str] | None = None,
        hook: bool | None = None,
        sync: bool | None = None,
        overrides: configs.Overrides | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        if not name or name == "venvs" or not name.replace("-", "").replace("_", "").isalnum():
            raise DevcloudError(f"{name!r} is no name for a devcloud: letters, digits, - and _")
        self.name = name
        self.root = (root or CHECKOUT / ".devcloud").resolve()
        self.directory = self.root / name
        self._say = say or (lambda message: None)
        self._state_file = self.directory / "state.json"
        kept = state.load(self._state_file)
        self._settings = settings = kept or state.Settings()
        self._kept_port = kept.base_port if kept else None
        if base_port is not None:
            settings.base_port = base_port
        if not 1024 <= settings.base_port <= 65535 - PORT_WIDTH:
            raise DevcloudError(f"base port {settings.base_port} is out of range")
        if hook is not None:
            settings.hook = hook
        if sync is not None:
            settings.sync = sync
        if overrides is not None:
            settings.overrides = {
                service: {section: dict(options) for section, options in sections.items()}
                for service, sections in overrides.items()
            }
        if not settings.passwords:
            settings.passwords = state.new_passwords()
        settings.versions = _versions(settings.versions, regions, glance_version)
        unknown = set(settings.overrides) - {"keystone", "glance-sync", *self.names}
        if unknown:
            raise DevcloudError(f"overrides for what is not there: {', '.join(sorted(unknown))}")

    # -- what it consists of -------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The regions, home first."""
        return _names(len(self._settings.versions))

    @property
    def home(self) -> str:
        """The home region."""
        return self.names[0]

    @property
    def auth_url(self) -> str:
        """Keystone's v3 API."""
        return f"http://{ports.HOST}:{self._settings.base_port}/v3"

    @property
    def sync_url(self) -> str:
        """glance-sync's endpoint."""
        return f"http://{ports.HOST}:{self._settings.base_port + _SYNC_OFFSET}"

    @property
    def clouds_yaml(self) -> Path:
        """For openstacksdk and the openstack CLI: a cloud per region, and ``<Region>-demo``."""
        return self.directory / "clouds.yaml"

    @property
    def sync_config(self) -> Path:
        """The glance-sync.conf in use."""
        return self.directory / "glance-sync" / "glance-sync.conf"

    @property
    def services(self) -> list[str]:
        """The names of its services, in the order they start."""
        return list(self._services())

    def region(self, name: str) -> Region:
        """The region called *name*."""
        if name not in self.names:
            raise DevcloudError(f"no region {name!r}; there are {', '.join(self.names)}")
        number = self.names.index(name)
        port = self._settings.base_port + _GLANCE_OFFSET + number + 1
        directory = self.directory / name
        return Region(
            name=name,
            url=f"http://{ports.HOST}:{port}",
            port=port,
            version=self._settings.versions[number],
            datadir=directory / "images",
            staging=directory / "staging",
            config_dir=directory / "etc",
            database=directory / "glance.sqlite",
            log=self._log(f"glance-{name}"),
        )

    def session(self, user: str = "admin") -> ksa.Session:
        """A Keystone session of admin, demo, other, glance or glance-sync."""
        login = self._credentials(user)
        return ksa.Session(
            auth=v3.Password(
                auth_url=login["auth_url"],
                username=login["username"],
                password=login["password"],
                user_domain_id=login["user_domain_id"],
                project_name=login["project_name"],
                project_domain_id=login["project_domain_id"],
            )
        )

    def glance(self, region: str, user: str = "admin") -> Any:
        """A glanceclient (v2) for one region."""
        return glanceclient.Client(
            "2", session=self.session(user), region_name=self.region(region).name
        )

    # -- up and down ---------------------------------------------------------------------------

    def up(self) -> None:
        """Bring everything up, and wait until it works.

        Repeating is safe: what already runs with the same configuration is left alone. Raises
        DevcloudError if a port is taken, before anything is started, or if a service does not
        come up, after stopping what was started here.
        """
        with self._locked():
            self._stop_strangers()
            self._check_ports()
            state.save(self._state_file, self._settings)
            services = self._services()
            self._prepare_glance_and_keystone()
            started: list[Service] = []
            try:
                first = [service for name, service in services.items() if name != "glance-sync"]
                started += self._start_what_is_due(first)
                self._say("waiting for Keystone and Glance")
                wait_healthy(first)
                self._fill_keystone()
                if self._settings.sync:
                    self._prepare_sync()
                    started += self._start_what_is_due([services["glance-sync"]])
                    self._say("waiting for glance-sync")
                    wait_healthy([services["glance-sync"]])
            except BaseException:
                _stop([service.process for service in started])
                raise
            self._write_clouds_yaml()

    def down(self) -> None:
        """Stop everything; databases, images and configuration stay."""
        if self.directory.exists():
            with self._locked():
                _stop(self._processes())

    def clean(self) -> None:
        """Stop everything and forget it; the environments with OpenStack stay."""
        self.down()
        shutil.rmtree(self.directory, ignore_errors=True)
        if self.name == "default":
            (self.root / "clouds.yaml").unlink(missing_ok=True)
        self._kept_port = None
        self._settings.passwords = state.new_passwords()

    def status(self) -> list[ServiceStatus]:
        """What each service is doing now."""
        return [service.status() for service in self._services().values()]

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    # -- single services -----------------------------------------------------------------------

    def start(self, service: str) -> None:
        """Start one service and wait until it works; nothing happens if it runs."""
        one = self._service(service)
        if one.process.pid() is None:
            one.process.finish_off()
            self._check_ports([one])
            one.start()
        wait_healthy([one])

    def stop(self, service: str) -> None:
        """Ask one service to end and wait until it has."""
        self._service(service).process.stop()

    def restart(self, service: str) -> None:
        """Stop and start one service, which then reads its configuration anew."""
        self.stop(service)
        self.start(service)

    def kill(self, service: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal one service and its workers; after SIGKILL wait until they are gone."""
        self._service(service).process.kill(number)

    def pid(self, service: str) -> int | None:
        """The pid of one service, None if it does not run."""
        return self._service(service).process.pid()

    def log(self, service: str) -> Path:
        """The log of one service."""
        return self._service(service).process.log

    # -- the services --------------------------------------------------------------------------

    def _services(self) -> dict[str, Service]:
        base = self._settings.base_port
        keystone_dir = self.directory / "keystone"
        found = [
            self._wsgi("keystone", keystone_dir, base, "/v3", self._keystone_venv(), []),
        ]
        for name in self.names:
            region = self.region(name)
            venv = self._glance_venv(region)
            patch = [_site_packages(venv) / "glance_patch"] if self._hooked(name) else []
            found.append(
                self._wsgi(
                    f"glance-{name}", region.config_dir, region.port, "/healthcheck", venv, patch
                )
            )
        if self._settings.sync:
            program = self._sync_venv() / "bin" / "glance-sync"
            found.append(
                Service(
                    process=self._process("glance-sync"),
                    port=base + _SYNC_OFFSET,
                    health="/healthcheck",
                    argv=[str(program), "--config-file", str(self.sync_config)],
                    env=venvs.clean_environment(),
                    inputs=[self.sync_config.parent, CHECKOUT / "glancesync"],
                )
            )
        return {service.name: service for service in found}

    def _wsgi(
        self, name: str, config_dir: Path, port: int, health: str, venv: Path, code: list[Path]
    ) -> Service:
        variable = "OS_KEYSTONE_CONFIG_DIR" if name == "keystone" else "OS_GLANCE_CONFIG_DIR"
        return Service(
            process=self._process(name),
            port=port,
            health=health,
            argv=[str(venv / "bin" / "uwsgi"), "--ini", str(config_dir / "uwsgi.ini")],
            env={**venvs.clean_environment(), variable: str(config_dir)},
            inputs=[config_dir, *code],
        )

    def _service(self, name: str) -> Service:
        services = self._services()
        if name not in services:
            raise DevcloudError(f"no service {name!r}; there are {', '.join(services)}")
        return services[name]

    def _process(self, name: str) -> Process:
        return Process(name, self.directory / "run" / f"{name}.json", self._log(name))

    def _processes(self) -> list[Process]:
        """All that were started and not stopped, also those the settings no longer name."""
        marks = sorted((self.directory / "run").glob("*.json"))
        return [self._process(path.stem) for path in marks]

    def _log(self, service: str) -> Path:
        return self.directory / "logs" / f"{service}.log"

    def _hooked(self, region: str) -> bool:
        return self._settings.hook and region == self.home

    def _prepared(self, region: str) -> bool:
        """Whether the installer makes *region* a target of glance-sync."""
        return self._settings.sync and region != self.home

    def _start_what_is_due(self, services: list[Service]) -> list[Service]:
        started = []
        for service in services:
            if not service.is_current():
                service.process.stop()
                self._say(f"starting {service.name} on port {service.port}")
                service.start()
                started.append(service)
        return started

    def _stop_strangers(self) -> None:
        """Stop what runs and would be elsewhere, or not at all, with the present settings."""
        wanted = self._services()
        moved = self._kept_port not in (None, self._settings.base_port)
        for process in self._processes():
            if moved or process.name not in wanted:
                process.stop()

    def _check_ports(self, services: list[Service] | None = None) -> None:
        taken = [
            f"port {service.port} (for {service.name}) is taken by {ports.owner(service.port)}"
            for service in services or self._services().values()
            if not service.process.members() and ports.is_taken(service.port)
        ]
        if taken:
            advice = "stop that, or choose other ports with --base-port"
            raise DevcloudError("\n".join([*taken, advice]))

    # -- making them ready ---------------------------------------------------------------------

    def _prepare_glance_and_keystone(self) -> None:
        for version in {*self._settings.versions, venvs.full_version(venvs.KEYSTONE_SERIES)}:
            venvs.ensure(self.root / "venvs", version, self._say)
        self._write_keystone_config()
        for name in self.names:
            self._write_glance_config(self.region(name))
        jobs = self._keystone_jobs() + [
            job for name in self.names for job in self._glance_jobs(self.region(name))
        ]
        if jobs:
            self._say("making databases and keys")
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            list(pool.map(lambda job: job(), jobs))
        self._bootstrap_keystone()
        for name in self.names:
            self._install_in_glance(self.region(name))

    def _write_keystone_config(self) -> None:
        overrides = self._settings.overrides.get("keystone", {})
        directory = self.directory / "keystone"
        _empty(directory)
        configs.write(
            directory / "keystone.conf",
            configs.merged(configs.keystone(self.directory), _without_uwsgi(overrides)),
        )
        self._write_uwsgi("keystone.wsgi.api", directory, self._settings.base_port, overrides)

    def _write_glance_config(self, region: Region) -> None:
        overrides = self._settings.overrides.get(region.name, {})
        _empty(region.config_dir)
        for directory in (region.datadir, region.staging, region.config_dir.parent / "tasks"):
            directory.mkdir(parents=True, exist_ok=True)
        glance_ports = [self.region(name).port for name in self.names]
        options = configs.glance(
            url=region.url,
            home=region.name == self.home,
            config_dir=region.config_dir,
            state=region.config_dir.parent,
            database=region.database,
            store=region.datadir,
            staging=region.staging,
            login=self._login("glance"),
            # With glance-sync it is its installer that lets the regions import from home.
            import_ports=None if self._prepared(region.name) else glance_ports,
        )
        configs.write(
            region.config_dir / "glance-api.conf",
            configs.merged(options, _without_uwsgi(overrides)),
        )
        shipped = self._glance_venv(region) / "etc" / "glance" / "glance-api-paste.ini"
        shutil.copyfile(shipped, region.config_dir / "glance-api-paste.ini")
        self._write_uwsgi("glance.wsgi.api", region.config_dir, region.port, overrides)

    def _write_uwsgi(
        self,
        module: str,
        config_dir: Path,
        port: int,
        overrides: Mapping[str, Mapping[str, str]],
    ) -> None:
        options = configs.uwsgi(module=module, port=port, directory=self.directory)
        mine = {"uwsgi": overrides.get("uwsgi", {})}
        configs.write(config_dir / "uwsgi.ini", configs.merged(options, mine))

    def _keystone_jobs(self) -> list[Callable[[], object]]:
        if self._bootstrapped.exists():
            return []
        who = [
            "--keystone-user",
            pwd.getpwuid(os.getuid()).pw_name,
            "--keystone-group",
            grp.getgrgid(os.getgid()).gr_name,
        ]
        return [
            lambda: self._keystone_manage("db_sync"),
            lambda: self._keystone_manage("fernet_setup", *who),
            lambda: self._keystone_manage("credential_setup", *who),
        ]

    def _bootstrap_keystone(self) -> None:
        if self._bootstrapped.exists():
            return
        password = {"OS_BOOTSTRAP_PASSWORD": self._settings.passwords["admin"]}
        self._keystone_manage("bootstrap", "--bootstrap-region-id", self.home, env=password)
        _write_ahead(self.directory / "keystone.sqlite")
        self._bootstrapped.touch()

    @property
    def _bootstrapped(self) -> Path:
        return self.directory / "keystone.bootstrapped"

    def _keystone_manage(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        program = self._keystone_venv() / "bin" / "keystone-manage"
        config = self.directory / "keystone" / "keystone.conf"
        argv = [str(program), "--config-file", str(config), *arguments]
        venvs.run(argv, f"keystone-manage {arguments[0]}", env)

    def _glance_jobs(self, region: Region) -> list[Callable[[], object]]:
        synced = region.database.with_suffix(".version")
        if synced.exists() and synced.read_text() == region.version:
            return []
        program = self._glance_venv(region) / "bin" / "glance-manage"
        config = region.config_dir / "glance-api.conf"

        def db_sync() -> None:
            argv = [str(program), "--config-file", str(config), "db_sync"]
            venvs.run(argv, f"glance-manage db_sync for {region.name}")
            _write_ahead(region.database)
            synced.write_text(region.version)

        return [db_sync]

    def _install_in_glance(self, region: Region) -> None:
        """Run the installer on a Glance, as its operator would."""
        python = self._glance_venv(region) / "bin" / "python"
        common = ["--config-dir", str(region.config_dir), "--python", str(python), "--no-restart"]
        if self._hooked(region.name):
            self._say(f"installing the hook into the Glance of {region.name}")
            port = str(self._settings.base_port + _SYNC_OFFSET)
            with venvs.locked(self.root / "venvs" / f"glance-{region.version}.lock"):
                self._install("home", *common, "--sync-host", ports.HOST, "--sync-port", port)
        elif self._prepared(region.name):
            self._install("region", *common, "--home-url", self.region(self.home).url)

    def _prepare_sync(self) -> None:
        self._say("installing glance-sync")
        directory = self.sync_config.parent
        units = self.directory / "units"
        _empty(directory)
        _empty(units)
        with venvs.locked(self.root / "venvs" / "glance-sync.lock"):
            self._install(
                "server",
                *("--config-dir", str(directory)),
                *("--venv", str(self._sync_venv())),
                *("--python", sys.executable),
                # Neither an account nor a unit of the machine we are a guest on.
                *("--user", pwd.getpwuid(os.getuid()).pw_name),
                *("--unit-dir", str(units)),
                "--no-start",
            )
        options = configs.glance_sync(
            port=self._settings.base_port + _SYNC_OFFSET,
            home_url=self.region(self.home).url,
            database=self.directory / "glance-sync.sqlite",
            login=self._login("glance-sync"),
        )
        configs.update(
            self.sync_config,
            configs.merged(options, self._settings.overrides.get("glance-sync")),
        )
        program = self._sync_venv() / "bin" / "glance-sync-manage"
        argv = [str(program), "--config-file", str(self.sync_config), "db_sync"]
        venvs.run(argv, "glance-sync-manage db_sync")

    def _install(self, role: str, *arguments: str) -> None:
        if not INSTALLER.exists():
            raise DevcloudError(
                f"{INSTALLER} is missing; without it only --no-hook --no-sync can be"
            )
        venvs.run([str(INSTALLER), role, *arguments], f"installation/install.sh {role}")

    def _fill_keystone(self) -> None:
        keystone = identity.Identity(self.session(), self.auth_url)
        keystone.ensure_users(self._settings.passwords)
        keystone.ensure_endpoints("identity", "keystone", dict.fromkeys(self.names, self.auth_url))
        keystone.ensure_endpoints(
            "image", "glance", {name: self.region(name).url for name in self.names}
        )
        keystone.ensure_endpoints("image-sync", "glance-sync", {self.home: self.sync_url})

    def _write_clouds_yaml(self) -> None:
        clouds = {}
        for region in self.names:
            for user, suffix in (("admin", ""), ("demo", "-demo"), ("other", "-other")):
                clouds[region + suffix] = {
                    "auth_type": "password",
                    "auth": self._credentials(user),
                    "region_name": region,
                    "interface": "public",
                    "identity_api_version": "3",
                    "image_api_version": "2",
                }
        text = yaml.safe_dump({"clouds": clouds}, sort_keys=False)
        configs.write_private(self.clouds_yaml, text)
        if self.name == "default":
            configs.write_private(self.root / "clouds.yaml", text)

    # -- small things --------------------------------------------------------------------------

    def _credentials(self, user: str) -> dict[str, str]:
        if user not in self._settings.passwords:
            known = ", ".join(self._settings.passwords)
            raise DevcloudError(f"no user {user!r}; there are {known}")
        return {
            "auth_url": self.auth_url,
            "username": user,
            "password": self._settings.passwords[user],
            "user_domain_id": "default",
            "project_name": identity.PROJECT_OF[user],
            "project_domain_id": "default",
        }

    def _login(self, user: str) -> dict[str, str]:
        return configs.password_login(self.auth_url, user, self._settings.passwords[user])

    def _keystone_venv(self) -> Path:
        version = venvs.full_version(venvs.KEYSTONE_SERIES)
        return self.root / "venvs" / f"glance-{version}"

    def _glance_venv(self, region: Region) -> Path:
        return self.root / "venvs" / f"glance-{region.version}"

    def _sync_venv(self) -> Path:
        return self.root / "venvs" / "glance-sync"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        with venvs.locked(self.directory / "lock"):
            yield


def _names(count: int) -> list[str]:
    return [f"Region{number}" for number in _NUMBERS[:count]]


def _versions(
    kept: list[str], regions: int | None, wanted: str | Mapping[str, str] | None
) -> list[str]:
    """The Glance release of each region, from what was kept and what is asked for now."""
    count = regions if regions is not None else len(kept) or 3
    if not 1 <= count <= MAX_REGIONS:
        raise DevcloudError(f"{count} regions: devcloud makes 1 to {MAX_REGIONS}")
    default = venvs.full_version(wanted if isinstance(wanted, str) else DEFAULT_VERSION)
    versions = [default] * count
    if not isinstance(wanted, str):
        versions[: len(kept)] = kept[:count]
    if isinstance(wanted, Mapping):
        names = _names(count)
        for name, version in wanted.items():
            if name not in names:
                raise DevcloudError(f"a Glance version for {name!r}, which is not there")
            versions[names.index(name)] = venvs.full_version(version)
    return versions


def _without_uwsgi(overrides: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    return {section: options for section, options in overrides.items() if section != "uwsgi"}


def _site_packages(venv: Path) -> Path:
    found = sorted(venv.glob("lib/python3*/site-packages"))
    return found[0] if found else venv


def _empty(directory: Path) -> None:
    """Make *directory* anew: configuration is written afresh each time the cloud comes up."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)


def _stop(processes: list[Process]) -> None:
    """Stop *processes*: glance-sync first, which ends its work with the others' help."""
    first = [process for process in processes if process.name == "glance-sync"]
    rest = [process for process in processes if process.name != "glance-sync"]
    for group in (first, rest):
        with ThreadPoolExecutor(max_workers=max(len(group), 1)) as pool:
            list(pool.map(Process.stop, group))


def _write_ahead(database: Path) -> None:
    """Let readers of *database* go on while somebody writes; the database remembers it."""
    connection = sqlite3.connect(database)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()
