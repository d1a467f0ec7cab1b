# SPDX-License-Identifier: Apache-2.0
"""A real multi-region OpenStack on one machine: the :class:`Cloud`."""

import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from devcloud import ports, state, venvs
from devcloud.errors import DevcloudError
from devcloud.layout import CHECKOUT, Layout
from devcloud.making import Maker
from devcloud.processes import Process
from devcloud.services import Service, ServiceStatus, wait_healthy

#: They load Eventlet and never make anything green: its resolver would be loaded for nothing.
_LEAN = {"EVENTLET_NO_GREENDNS": "yes"}


class Cloud(Layout):
    """A devcloud: one Keystone, a Glance per region, and glance-sync.

    Arguments that are left out are as they were when the cloud of this name was last up, or the
    defaults: 3 regions at port 9590, the newest Glance, with hook and sync server, and with the
    door for files in all target regions.

    *glance_version* is a release or a series (``"33.0.0"``, ``"33"``) for all regions or a mapping
    from region names. *file_locations* says whether target regions adopt files, or which of them
    do. *overrides* go over the configuration files: region name, ``"keystone"`` or
    ``"glance-sync"`` -> section -> option -> value; section ``uwsgi`` is for the WSGI server's.
    As a context manager the cloud is up inside the ``with`` block and down after it.
    """

    def up(self) -> None:
        """Bring everything up, and wait until it works.

        Repeating is safe: what already runs with the same configuration is left alone. Raises
        DevcloudError if a port is taken, before anything is started, or if a service does not
        come up, after stopping what was started here.
        """
        with self._locked():
            self._stop_strangers()
            self._check_ports()
            state.save(self.state_file, self.settings)
            maker = Maker(self)
            maker.prepare_glance_and_keystone()
            services = self._services()
            started: list[Service] = []
            try:
                first = [service for name, service in services.items() if name != "glance-sync"]
                started += self._start_what_is_due(first)
                self.say("waiting for Keystone and Glance")
                wait_healthy(first)
                maker.fill_keystone()
                if self.settings.sync:
                    maker.prepare_sync()
                    started += self._start_what_is_due([services["glance-sync"]])
                    self.say("waiting for glance-sync")
                    wait_healthy([services["glance-sync"]])
            except BaseException:
                _stop([service.process for service in started])
                raise
            maker.write_clouds_yaml()

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
        self.kept_port = None
        self.settings.passwords = state.new_passwords()

    @property
    def services(self) -> list[str]:
        """The names of its services, in the order they start."""
        return list(self._services())

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

    # -- the services --------------------------------------------------------------------------

    def _services(self) -> dict[str, Service]:
        base = self.settings.base_port
        keystone_dir = self.directory / "keystone"
        found = [
            self._wsgi("keystone", keystone_dir, base, "/v3", self.keystone_venv(), []),
        ]
        for name in self.names:
            region = self.region(name)
            venv = self.glance_venv(region)
            patched = self.hooked(name) or self.adopts_files(name)
            patch = [_site_packages(venv) / "glance_patch"] if patched else []
            found.append(
                self._wsgi(
                    f"glance-{name}", region.config_dir, region.port, "/healthcheck", venv, patch
                )
            )
        if self.settings.sync:
            program = self.sync_venv() / "bin" / "glance-sync"
            found.append(
                Service(
                    process=self._process("glance-sync"),
                    port=self.sync_port,
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
            env={**venvs.clean_environment(), **_LEAN, variable: str(config_dir)},
            inputs=[config_dir, *code],
        )

    def _service(self, name: str) -> Service:
        services = self._services()
        if name not in services:
            raise DevcloudError(f"no service {name!r}; there are {', '.join(services)}")
        return services[name]

    def _process(self, name: str) -> Process:
        return Process(name, self.directory / "run" / f"{name}.json", self.log(name))

    def _processes(self) -> list[Process]:
        """All that were started and not stopped, also those the settings no longer name."""
        marks = sorted((self.directory / "run").glob("*.json"))
        return [self._process(path.stem) for path in marks]

    def _start_what_is_due(self, services: list[Service]) -> list[Service]:
        started = []
        for service in services:
            if not service.is_current():
                service.process.stop()
                self.say(f"starting {service.name} on port {service.port}")
                service.start()
                started.append(service)
        return started

    def _stop_strangers(self) -> None:
        """Stop what runs and would be elsewhere, or not at all, with the present settings."""
        wanted = self._services()
        moved = self.kept_port not in (None, self.settings.base_port)
        for process in self._processes():
            if moved or process.name not in wanted:
                process.stop()

    def _check_ports(self, services: list[Service] | None = None) -> None:
        taken = [
            f"port {service.port} (for {service.name}) is taken by {ports.owner(service.port)}"
            for service in services or self._services().values()
            if not service.process.members() and ports.is_kept(service.port)
        ]
        if taken:
            advice = "stop that, or choose other ports with --base-port"
            raise DevcloudError("\n".join([*taken, advice]))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        with venvs.locked(self.directory / "lock"):
            yield


def _site_packages(venv: Path) -> Path:
    found = sorted(venv.glob("lib/python3*/site-packages"))
    return found[0] if found else venv


def _stop(processes: list[Process]) -> None:
    """Stop *processes*: glance-sync first, which ends its work with the others' help."""
    first = [process for process in processes if process.name == "glance-sync"]
    rest = [process for process in processes if process.name != "glance-sync"]
    for group in (first, rest):
        with ThreadPoolExecutor(max_workers=max(len(group), 1)) as pool:
            list(pool.map(Process.stop, group))
