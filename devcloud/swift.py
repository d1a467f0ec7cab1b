# SPDX-License-Identifier: Apache-2.0
"""A Swift of one device: real servers for proxy, accounts, containers and objects.

Swift comes from PyPI, into an environment of its own; memcached, where it keeps tokens, is the
machine's. Clients log in by TempAuth or, if it is told of one, by a Keystone; ``s3api`` makes the
same proxy an S3 endpoint.
"""

import hashlib
import os
import pwd
import shutil
import signal
import venv
from collections.abc import Callable, Mapping
from pathlib import Path

from devcloud import configs, ports, venvs
from devcloud.errors import DevcloudError
from devcloud.processes import Process
from devcloud.services import Service, wait_healthy

VERSION = "2.38.3"
PORT_WIDTH = 5
ACCOUNT = "service"
LOGIN = "glance"
KEY = "secret-of-glance"
PREFIX = "KEY"  # of accounts that are projects of a Keystone
_SERVERS = ("account", "container", "object")
_RINGS = """
import sys
from swift.common.ring import RingBuilder
for number, name in enumerate(sys.argv[3:], 1):
    builder = RingBuilder(4, 1, 0)
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "device": "device",
                     "port": int(sys.argv[2]) + number, "weight": 1.0})
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[1]}/{name}.ring.gz")
"""


def missing() -> str | None:
    """What it needs of this machine, and this machine has not."""
    return None if shutil.which("memcached") else "memcached is not installed"


def ensure(root: Path, say: Callable[[str], None] = lambda _: None) -> Path:
    """The environment of Swift under *root*; built if it is not there yet. Repeating is safe."""
    path = root / f"swift-{VERSION}"
    constraints = venvs.CONSTRAINTS / "swift.txt"
    wanted = [f"swift=={VERSION}"]
    stamp = hashlib.sha256("\n".join([*wanted, constraints.read_text()]).encode()).hexdigest()
    with venvs.locked(root / f"swift-{VERSION}.lock"):
        if (path / "ready").exists() and (path / "ready").read_text() == stamp:
            return path
        say(f"installing Swift {VERSION} into its own environment, once: about a minute")
        venv.create(path, clear=True, symlinks=True, with_pip=True)
        pip = [str(path / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        more = ["keystonemiddleware", "setuptools"]
        venvs.run([*pip, "--constraint", str(constraints), *wanted, *more], what="pip for Swift")
        (path / "ready").write_text(stamp)
    return path


class Swift:
    """A Swift that keeps all it has in *directory*, and runs in the environment *environment*.

    *login* is how it logs in to a Keystone, as options of ``[keystone_authtoken]``; whoever is an
    admin of a project there may use the account of that project.
    """

    def __init__(
        self, directory: Path, environment: Path, login: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self._login = login
        self._environment = environment
        self._base = ports.find_base(PORT_WIDTH)
        self.url = f"http://{ports.HOST}:{self._base}"
        self.auth_url = f"{self.url}/auth/v1.0"
        self.user = f"{ACCOUNT}:{LOGIN}"
        self.key = KEY

    def account(self, project: str) -> str:
        """The URL of the account of a project of the Keystone, by its id."""
        return f"{self.url}/v1/{PREFIX}_{project}"

    def up(self) -> None:
        """Start it, and return when it works; repeating is safe."""
        if said := missing():
            raise DevcloudError(said)
        if not (self.directory / "etc").exists():
            self._make()
        for name in ("memcached", *_SERVERS, "proxy"):
            self.start(name)
        wait_healthy([self._service(name) for name in (*_SERVERS, "proxy")])

    def down(self) -> None:
        """Stop it; what it holds stays."""
        for name in ("proxy", *_SERVERS, "memcached"):
            self._service(name).process.stop()

    def start(self, name: str) -> None:
        """Start ``memcached``, ``account``, ``container``, ``object`` or ``proxy``."""
        service = self._service(name)
        if service.process.pid() is None:
            service.start()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal one of its servers."""
        self._service(name).process.kill(number)

    def set_object_server(self, **options: str) -> None:
        """Give the server of objects other options, and start it anew."""
        self._write_server("object", options)
        self._service("object").process.stop()
        self.start("object")
        wait_healthy([self._service("object")])

    def _service(self, name: str) -> Service:
        if name == "memcached":
            port = self._base + 4
            program = shutil.which(name)
            assert program is not None
            argv = [program, "-l", ports.HOST, "-p", str(port), "-u", "nobody", "-m", "16"]
        else:
            port = self._base + ("proxy", *_SERVERS).index(name)
            program = str(self._environment / "bin" / "python")
            server = str(self._environment / "bin" / f"swift-{name}-server")
            argv = [program, server, str(self.directory / "etc" / f"{name}.conf")]
        return Service(
            process=Process(
                f"swift-{name}",
                self.directory / "run" / f"{name}.json",
                self.directory / "logs" / f"{name}.log",
            ),
            port=port,
            health="/healthcheck",
            argv=argv,
            env=venvs.clean_environment(),
            inputs=[],
        )

    def _make(self) -> None:
        etc = self.directory / "etc"
        etc.mkdir(parents=True)
        (self.directory / "devices" / "device").mkdir(parents=True)
        hashes = {"swift_hash_path_prefix": "devcloud", "swift_hash_path_suffix": "devcloud"}
        configs.write(etc / "swift.conf", {"swift-hash": hashes})
        for name in _SERVERS:
            self._write_server(name, {})
        keystone = "authtoken keystoneauth " if self._login else ""
        first = "catch_errors healthcheck cache s3api"
        pipeline = f"{first} {keystone}tempauth copy slo dlo proxy-server"
        more: dict[str, dict[str, str]] = {
            **{name: {} for name in ("catch_errors", "healthcheck", "copy", "slo", "dlo")},
            "cache": {
                "use": "egg:swift#memcache",
                "memcache_servers": f"{ports.HOST}:{self._base + 4}",
            },
            "s3api": {"location": "us-east-1", "min_segment_size": "1"},
            "tempauth": {f"user_{ACCOUNT}_{LOGIN}": f"{KEY} .admin"},
        }
        if self._login:
            more["authtoken"] = {
                "use": "egg:keystonemiddleware#auth_token",
                "delay_auth_decision": "true",
                **self._login,
            }
            more["keystoneauth"] = {"operator_roles": "admin", "reseller_prefix": PREFIX}
        configs.write(
            etc / "proxy.conf",
            {
                "DEFAULT": self._common(0),
                "pipeline:main": {"pipeline": pipeline},
                "app:proxy-server": {
                    "use": "egg:swift#proxy",
                    "account_autocreate": "true",
                    "conn_timeout": "20",  # seconds: a busy machine is no broken one
                    "node_timeout": "60",
                    "error_suppression_interval": "1",  # there is no other server to turn to
                },
                **{
                    f"filter:{name}": {"use": f"egg:swift#{name}", **options}
                    for name, options in more.items()
                },
            },
        )
        python = str(self._environment / "bin" / "python")
        venvs.run([python, "-c", _RINGS, str(etc), str(self._base), *_SERVERS], "the rings")

    def _write_server(self, name: str, options: dict[str, str]) -> None:
        configs.write(
            self.directory / "etc" / f"{name}.conf",
            {
                "DEFAULT": {**self._common(1 + _SERVERS.index(name)), **options},
                "pipeline:main": {"pipeline": f"healthcheck {name}-server"},
                "filter:healthcheck": {"use": "egg:swift#healthcheck"},
                f"app:{name}-server": {"use": f"egg:swift#{name}"},
            },
        )

    def _common(self, offset: int) -> dict[str, str]:
        return {
            "bind_ip": ports.HOST,
            "bind_port": str(self._base + offset),
            "workers": "0",
            "swift_dir": str(self.directory / "etc"),
            "devices": str(self.directory / "devices"),
            "mount_check": "false",
            "user": _account(),
        }


def _account() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
