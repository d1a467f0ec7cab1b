# SPDX-License-Identifier: Apache-2.0
"""Making a cloud ready to start: environments, configuration, databases, hook and server.

Everything may be repeated: databases and keys stay, configuration is written anew.
"""

import os
import pwd
import secrets
import shutil
import sqlite3
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from devcloud import configs, identity, keystone, ports, venvs
from devcloud.errors import DevcloudError
from devcloud.layout import CHECKOUT, Layout, Region

INSTALLER = CHECKOUT / "installation" / "install.sh"


class Maker:
    """Makes the parts of one cloud."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def prepare_glance_and_keystone(self) -> None:
        """All that Keystone and the Glances need before they start."""
        for version in {*self._layout.settings.versions, venvs.full_version(venvs.KEYSTONE_SERIES)}:
            venvs.ensure(self._layout.root / "venvs", version, self._layout.say)
        self._write_keystone_config()
        for name in self._layout.names:
            self._write_glance_config(self._layout.region(name))
        jobs = self._keystone_jobs() + [
            job
            for name in self._layout.names
            for job in self._glance_jobs(self._layout.region(name))
        ]
        if jobs:
            self._layout.say("making databases and keys")
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            list(pool.map(lambda job: job(), jobs))
        for name in self._layout.names:
            self._install_in_glance(self._layout.region(name))

    def _write_keystone_config(self) -> None:
        overrides = self._layout.settings.overrides.get("keystone", {})
        directory = self._layout.directory / "keystone"
        _empty(directory)
        configs.write(
            directory / "keystone.conf",
            configs.merged(configs.keystone(self._layout.directory), _without_uwsgi(overrides)),
        )
        self._write_uwsgi(
            "keystone.wsgi.api", directory, self._layout.settings.base_port, overrides
        )

    def _write_glance_config(self, region: Region) -> None:
        overrides = self._layout.settings.overrides.get(region.name, {})
        _empty(region.config_dir)
        for directory in (region.datadir, region.staging, region.config_dir.parent / "tasks"):
            directory.mkdir(parents=True, exist_ok=True)
        glance_ports = [self._layout.region(name).port for name in self._layout.names]
        options = configs.glance(
            url=region.url,
            home=region.name == self._layout.home,
            config_dir=region.config_dir,
            state=region.config_dir.parent,
            database=region.database,
            store=region.datadir,
            staging=region.staging,
            login=self._login("glance"),
            # With glance-sync it is its installer that lets the regions import from home.
            import_ports=None if self._layout.prepared(region.name) else glance_ports,
        )
        configs.write(
            region.config_dir / "glance-api.conf",
            configs.merged(options, _without_uwsgi(overrides)),
        )
        shipped = self._layout.glance_venv(region) / "etc" / "glance" / "glance-api-paste.ini"
        shutil.copyfile(shipped, region.config_dir / "glance-api-paste.ini")
        self._write_uwsgi("glance.wsgi.api", region.config_dir, region.port, overrides)

    def _write_uwsgi(
        self,
        module: str,
        config_dir: Path,
        port: int,
        overrides: Mapping[str, Mapping[str, str]],
    ) -> None:
        options = configs.uwsgi(module=module, port=port, directory=self._layout.directory)
        mine = {"uwsgi": overrides.get("uwsgi", {})}
        configs.write(config_dir / "uwsgi.ini", configs.merged(options, mine))

    def _keystone_jobs(self) -> list[Callable[[], object]]:
        return [] if self._bootstrapped.exists() else [self._make_keystone]

    def _make_keystone(self) -> None:
        directory, settings = self._layout.directory, self._layout.settings
        for name in ("fernet-keys", "credential-keys"):
            keystone.make_keys(directory / name)
        database = directory / "keystone.sqlite"
        template = f"keystone-{self._layout.home}.sqlite"
        _from_template(self._layout.keystone_venv() / template, database, self._bootstrap)
        keystone.set_password(database, settings.passwords["admin"])
        _write_ahead(database)
        self._bootstrapped.touch()

    def _bootstrap(self) -> None:
        self._keystone_manage("db_sync")
        password = {"OS_BOOTSTRAP_PASSWORD": secrets.token_urlsafe(18)}
        self._keystone_manage("bootstrap", "--bootstrap-region-id", self._layout.home, env=password)

    @property
    def _bootstrapped(self) -> Path:
        return self._layout.directory / "keystone.bootstrapped"

    def _keystone_manage(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        program = self._layout.keystone_venv() / "bin" / "keystone-manage"
        config = self._layout.directory / "keystone" / "keystone.conf"
        argv = [str(program), "--config-file", str(config), *arguments]
        venvs.run(argv, f"keystone-manage {arguments[0]}", env)

    def _glance_jobs(self, region: Region) -> list[Callable[[], object]]:
        synced = region.database.with_suffix(".version")
        if synced.exists() and synced.read_text() == region.version:
            return []
        program = self._layout.glance_venv(region) / "bin" / "glance-manage"
        config = region.config_dir / "glance-api.conf"

        def db_sync() -> None:
            argv = [str(program), "--config-file", str(config), "db_sync"]
            venvs.run(argv, f"glance-manage db_sync for {region.name}")

        def make() -> None:
            if region.database.exists():
                db_sync()  # of another version's
            else:
                template = self._layout.glance_venv(region) / "empty-glance.sqlite"
                _from_template(template, region.database, db_sync)
            _write_ahead(region.database)
            synced.write_text(region.version)

        return [make]

    def _install_in_glance(self, region: Region) -> None:
        """Run the installer on a Glance, as its operator would."""
        python = self._layout.glance_venv(region) / "bin" / "python"
        common = ["--config-dir", str(region.config_dir), "--python", str(python), "--no-restart"]
        if self._layout.hooked(region.name):
            self._layout.say(f"installing the hook into the Glance of {region.name}")
            port = str(self._layout.sync_port)
            with venvs.locked(self._layout.root / "venvs" / f"glance-{region.version}.lock"):
                self._install("home", *common, "--sync-host", ports.HOST, "--sync-port", port)
        elif self._layout.prepared(region.name):
            home_url = self._layout.region(self._layout.home).url
            others = [self._layout.region(name).url for name in self._layout.names[1:]]
            urls = ["--home-url", home_url, "--relay-urls", ",".join(others)]
            stock = [] if self._layout.adopts_files(region.name) else ["--no-file-locations"]
            with venvs.locked(self._layout.root / "venvs" / f"glance-{region.version}.lock"):
                self._install("region", *common, *urls, *stock)

    def prepare_sync(self) -> None:
        """Install glance-sync as its operator would, and set it up."""
        self._layout.say("installing glance-sync")
        directory = self._layout.sync_config.parent
        units = self._layout.directory / "units"
        _empty(directory)
        _empty(units)
        with venvs.locked(self._layout.root / "venvs" / "glance-sync.lock"):
            self._install(
                "server",
                *("--config-dir", str(directory)),
                *("--venv", str(self._layout.sync_venv())),
                *("--python", sys.executable),
                # Neither an account nor a unit of the machine we are a guest on.
                *("--user", pwd.getpwuid(os.getuid()).pw_name),
                *("--unit-dir", str(units)),
                "--no-start",
            )
        stores = configs.glance_store(self._layout.names)
        configs.write_private(directory / "glance_store.yaml", stores)
        options = configs.glance_sync(
            port=self._layout.sync_port,
            home_url=self._layout.region(self._layout.home).url,
            database=self._layout.directory / "glance-sync.sqlite",
            login=self._login("glance-sync"),
        )
        configs.update(
            self._layout.sync_config,
            configs.merged(options, self._layout.settings.overrides.get("glance-sync")),
        )
        program = self._layout.sync_venv() / "bin" / "glance-sync-manage"
        argv = [str(program), "--config-file", str(self._layout.sync_config), "db_sync"]
        venvs.run(argv, "glance-sync-manage db_sync")

    def _install(self, role: str, *arguments: str) -> None:
        if not INSTALLER.exists():
            raise DevcloudError(
                f"{INSTALLER} is missing; without it only --no-hook --no-sync can be"
            )
        venvs.run([str(INSTALLER), role, *arguments], f"installation/install.sh {role}")

    def fill_keystone(self) -> None:
        """Users and endpoints; Keystone must be up."""
        keystone = identity.Identity(self._layout.session(), self._layout.auth_url)
        keystone.ensure_users(self._layout.settings.passwords)
        keystone.ensure_endpoints(
            "identity", "keystone", dict.fromkeys(self._layout.names, self._layout.auth_url)
        )
        keystone.ensure_endpoints(
            "image", "glance", {name: self._layout.region(name).url for name in self._layout.names}
        )
        keystone.ensure_endpoints(
            "image-sync", "glance-sync", {self._layout.home: self._layout.sync_url}
        )

    def write_clouds_yaml(self) -> None:
        """The clients' configuration."""
        clouds = {}
        for region in self._layout.names:
            for user, suffix in (("admin", ""), ("demo", "-demo"), ("other", "-other")):
                clouds[region + suffix] = {
                    "auth_type": "password",
                    "auth": self._layout.credentials(user),
                    "region_name": region,
                    "interface": "public",
                    "identity_api_version": "3",
                    "image_api_version": "2",
                }
        text = yaml.safe_dump({"clouds": clouds}, sort_keys=False)
        configs.write_private(self._layout.clouds_yaml, text)
        if self._layout.name == "default":
            configs.write_private(self._layout.root / "clouds.yaml", text)

    def _login(self, user: str) -> dict[str, str]:
        layout = self._layout
        return configs.password_login(layout.auth_url, user, layout.password(user))


def _without_uwsgi(overrides: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    return {section: options for section, options in overrides.items() if section != "uwsgi"}


def _empty(directory: Path) -> None:
    """Make *directory* anew: configuration is written afresh each time the cloud comes up."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)


def _from_template(template: Path, database: Path, make: Callable[[], None]) -> None:
    """Have *database* as *make* makes it; it runs once for the environment of the template."""
    with venvs.locked(template.with_suffix(".lock")):
        if not template.exists():
            make()
            copied = template.with_suffix(".new")
            shutil.copyfile(database, copied)
            copied.rename(template)
            return
    shutil.copyfile(template, database)


def _write_ahead(database: Path) -> None:
    """Let readers of *database* go on while somebody writes; the database remembers it."""
    connection = sqlite3.connect(database)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()
