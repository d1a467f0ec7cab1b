# SPDX-License-Identifier: Apache-2.0
"""A Barbican: what keeps secrets in an OpenStack, here in an SQLite database, encrypted.

It comes from PyPI, into an environment of its own, and knows its users by a Keystone.
"""

import base64
import hashlib
import os
import venv
from collections.abc import Callable, Mapping
from pathlib import Path

from devcloud import configs, ports, venvs
from devcloud.processes import Process
from devcloud.services import Service, wait_healthy

VERSION = "23.0.0"


def ensure(root: Path, say: Callable[[str], None] = lambda _: None) -> Path:
    """The environment of Barbican under *root*; built if it is not there yet. Repeating is safe."""
    path = root / f"barbican-{VERSION}"
    constraints = venvs.CONSTRAINTS / "barbican.txt"
    wanted = [f"barbican=={VERSION}", f"pyuwsgi=={venvs.PYUWSGI}"]
    stamp = hashlib.sha256("\n".join([*wanted, constraints.read_text()]).encode()).hexdigest()
    with venvs.locked(root / f"barbican-{VERSION}.lock"):
        if (path / "ready").exists() and (path / "ready").read_text() == stamp:
            return path
        say(f"installing Barbican {VERSION} into its own environment, once: about a minute")
        venv.create(path, clear=True, symlinks=True, with_pip=True)
        pip = [str(path / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        venvs.run([*pip, "--constraint", str(constraints), *wanted], what="pip for Barbican")
        (path / "ready").write_text(stamp)
    return path


class Barbican:
    """A Barbican that keeps all it has in *directory*, and runs in the environment *environment*.

    *login* is how it logs in to its Keystone, as options of ``[keystone_authtoken]``.
    """

    def __init__(self, directory: Path, environment: Path, login: Mapping[str, str]) -> None:
        self.directory = directory
        self._environment = environment
        self._login = login
        self._port = ports.find_base(1)
        self.url = f"http://{ports.HOST}:{self._port}"

    def up(self) -> None:
        """Start it, and return when it works; repeating is safe."""
        # It looks for its configuration in fixed places; one of them is the user's home.
        if not (self.directory / ".barbican").exists():
            self._make()
        service = self._service()
        if service.process.pid() is None:
            service.start()
        wait_healthy([service])

    def down(self) -> None:
        """Stop it; what it holds stays."""
        self._service().process.stop()

    def _service(self) -> Service:
        return Service(
            process=Process(
                "barbican", self.directory / "run" / "barbican.json", self.directory / "log"
            ),
            port=self._port,
            health="/healthcheck",
            argv=[str(self._environment / "bin/uwsgi"), "--ini", str(self.directory / "uwsgi.ini")],
            env={**venvs.clean_environment(), "HOME": str(self.directory)},
            inputs=[],
        )

    def _make(self) -> None:
        (self.directory / "run").mkdir(parents=True)
        configs.write(
            self.directory / ".barbican" / "barbican.conf",
            {
                "DEFAULT": {
                    "use_stderr": "true",
                    "host_href": self.url,
                    "db_auto_create": "true",
                },
                "database": {"connection": configs.sqlite(self.directory / "barbican.sqlite")},
                "simple_crypto_plugin": {"kek": base64.urlsafe_b64encode(os.urandom(32)).decode()},
            },
        )
        paste = self.directory / "paste.ini"
        filters = "http_proxy_to_wsgi authtoken context microversion"
        configs.write(
            paste,
            {
                "composite:main": {
                    "use": "egg:Paste#urlmap",
                    "/": "versions",
                    "/healthcheck": "healthcheck",
                    "/v1": "api",
                },
                "pipeline:versions": {"pipeline": "http_proxy_to_wsgi microversion versionapp"},
                "pipeline:api": {"pipeline": f"{filters} apiapp"},
                "app:apiapp": {"paste.app_factory": "barbican.api.app:create_main_app"},
                "app:versionapp": {"paste.app_factory": "barbican.api.app:create_version_app"},
                "app:healthcheck": {"paste.app_factory": "oslo_middleware:Healthcheck.app_factory"},
                "filter:http_proxy_to_wsgi": {
                    "paste.filter_factory": "oslo_middleware:HTTPProxyToWSGI.factory"
                },
                "filter:context": {
                    "paste.filter_factory": "barbican.api.middleware.context:"
                    "ContextMiddleware.factory"
                },
                "filter:microversion": {
                    "paste.filter_factory": "barbican.api.middleware.microversion:"
                    "MicroversionMiddleware.factory"
                },
                "filter:authtoken": {
                    "paste.filter_factory": "keystonemiddleware.auth_token:filter_factory",
                    **self._login,
                },
            },
        )
        program = self.directory / "barbican_wsgi.py"
        program.write_text(
            f"from paste import deploy\n\napplication = deploy.loadapp('config:{paste}')\n"
        )
        options = configs.uwsgi(module="barbican_wsgi", port=self._port, directory=self.directory)
        del options["uwsgi"]["import"]
        configs.write(self.directory / "uwsgi.ini", options)
