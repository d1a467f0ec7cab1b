# SPDX-License-Identifier: Apache-2.0
"""A Ceph of one node: a real one, with monitor, manager and one OSD, in a directory of its own.

The programs are those of the machine (Debian: ceph-mon, ceph-mgr, ceph-osd, ceph-common); no
service of the machine is started. Clients log in by cephx, as in production.
"""

import json
import shutil
import signal
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from devcloud import configs, ports, venvs
from devcloud.errors import DevcloudError
from devcloud.processes import Process, until

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mgr", "ceph-mon", "ceph-osd", "monmaptool", "rbd")
#: Where Debian keeps the Python modules of Ceph's packages.
PYTHON = Path("/usr/lib/python3/dist-packages")
MODULES = ("rados", "rbd")

PORT_WIDTH = 12  # ports a cluster may use, from its base on
USER = "glance"  # who may use the pools
_START = 60.0  # seconds a cluster is given to work
_DAEMONS = {"mon": "a", "mgr": "a", "osd": "0"}


def missing() -> list[str]:
    """What a cluster or a client of one needs, and this machine has not."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return absent + [f"python3-{name}" for name in MODULES if not list(PYTHON.glob(f"{name}.*.so"))]


def python_path(directory: Path) -> Path:
    """*directory* with Ceph's Python modules and nothing else; to be put on a ``sys.path``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        for module in PYTHON.glob(f"{name}.*.so"):
            link = directory / module.name
            if not link.is_symlink():
                link.symlink_to(module)
    return directory


class Cluster:
    """A cluster that keeps all it has in *directory*; *size* bytes fit into it.

    *pools* are made when it is first started, and the user ``glance`` may use them.
    """

    def __init__(
        self, directory: Path, *, pools: Sequence[str] = ("images",), size: int = 6 * 2**30
    ) -> None:
        self.directory = directory
        self.fsid = str(uuid.uuid4())
        self.conf = directory / "ceph.conf"
        self.keyring = directory / f"client.{USER}.keyring"
        self._pools = pools
        self._size = size

    def up(self) -> None:
        """Start it, and return when it works; repeating is safe."""
        if absent := missing():
            raise DevcloudError(f"Ceph is not installed: no {', '.join(absent)}")
        new = not self.conf.exists()
        if new:
            self._make()
        self.start("mon")
        if new:
            osd = str(uuid.uuid4())
            self.ceph("osd", "new", osd)
            self._run("ceph-osd", "-i", _DAEMONS["osd"], "--mkfs", "--osd-uuid", osd)
        self.start("osd")
        self.start("mgr")
        if new:
            for pool in self._pools:
                self.make_pool(pool)
        if not until(self._works, _START):
            raise DevcloudError(f"Ceph does not work: {self.ceph('status')}")

    def down(self) -> None:
        """Stop it; what it holds stays."""
        for name in ("mgr", "osd", "mon"):
            self._process(name).kill(signal.SIGKILL)
            self._process(name).stop()

    # -- its daemons ---------------------------------------------------------------------------

    def start(self, daemon: str) -> None:
        """Start ``mon``, ``mgr`` or ``osd``, unless it runs."""
        process = self._process(daemon)
        if process.pid() is None:
            program = shutil.which(f"ceph-{daemon}")
            assert program is not None
            argv = [program, "-c", str(self.conf), "-i", _DAEMONS[daemon], "-f"]
            process.start(argv, venvs.clean_environment(), "")

    def kill(self, daemon: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal ``mon``, ``mgr`` or ``osd``."""
        self._process(daemon).kill(number)

    def _process(self, daemon: str) -> Process:
        return Process(
            f"ceph-{daemon}",
            self.directory / "run" / f"{daemon}.json",
            self.directory / "logs" / f"{daemon}.out",
        )

    # -- what it holds -------------------------------------------------------------------------

    def make_pool(self, name: str) -> None:
        """Make a pool that the user may use for block devices."""
        self.ceph("osd", "pool", "create", name, "8")
        self.ceph("osd", "pool", "application", "enable", name, "rbd")

    def limit(self, pool: str, bytes_: int) -> None:
        """Let *pool* hold so many bytes, which the cluster enforces after some seconds; 0: any."""
        self.ceph("osd", "pool", "set-quota", pool, "max_bytes", str(bytes_))

    def is_full(self, pool: str) -> bool:
        """Whether *pool* takes no more."""
        found = json.loads(self.ceph("osd", "dump", "--format", "json"))["pools"]
        return any("full" in one["flags_names"] for one in found if one["pool_name"] == pool)

    def rbd(self, *arguments: str) -> str:
        """What ``rbd`` answered."""
        return self._run("rbd", *arguments)

    def ceph(self, *arguments: str) -> str:
        """What ``ceph``, which may do anything, answered."""
        return self._run("ceph", "--connect-timeout", "30", *arguments)

    # -- inside --------------------------------------------------------------------------------

    def _works(self) -> bool:
        status = json.loads(self.ceph("status", "--format", "json"))
        states = {one["state_name"]: one["count"] for one in status["pgmap"]["pgs_by_state"]}
        placed = status["pgmap"]["num_pgs"]
        if status["osdmap"]["num_up_osds"] != 1:
            return False
        return placed >= 8 * len(self._pools) and states == {"active+clean": placed}

    def _make(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        base = ports.find_base(PORT_WIDTH)
        for name in _DAEMONS:
            (self.directory / name).mkdir()
        self._make_keys()
        (self.directory / "logs").mkdir()
        address = f"v2:{ports.HOST}:{base}"
        settings = {
            "fsid": self.fsid,
            "mon_host": address,
            "public_network": "127.0.0.0/8",
            "ms_bind_port_min": str(base + 1),
            "ms_bind_port_max": str(base + PORT_WIDTH - 1),
            "auth_allow_insecure_global_id_reclaim": "false",
            "osd_pool_default_size": "1",
            "osd_pool_default_min_size": "1",
            "osd_pool_default_pg_autoscale_mode": "off",
            "mon_allow_pool_size_one": "true",
            "mon_allow_pool_delete": "true",
            "mon_data_avail_crit": "0",
            "paxos_propose_interval": "0.05",  # seconds; a snapshot waits for it, and its end
            "mgr_initial_modules": "",
            "mgr_stats_period": "1",
            "osd_client_watch_timeout": "5",
            "osd_crush_chooseleaf_type": "0",
            "osd_objectstore": "bluestore",
            "bluestore_block_size": str(self._size),
            "bluestore_cache_autotune": "false",
            "bluestore_cache_size": str(64 * 2**20),
            **{f"{name}_data": str(self.directory / name) for name in _DAEMONS},
            "run_dir": str(self.directory),
            "crash_dir": str(self.directory),
            "pid_file": "",
            "log_file": str(self.directory / "logs" / "$name.log"),
            "mon_cluster_log_file": str(self.directory / "logs" / "cluster.log"),
            "keyring": str(self.directory / "keyring"),
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        # Only of daemons: a client has no use for a socket, and may not make one here.
        lines += [f"[{name}]\nadmin_socket = {self.directory}/$name.asok" for name in _DAEMONS] + [
            f"[client.{USER}]\nkeyring = {self.keyring}"
        ]
        self.conf.write_text("\n".join(["[global]", *lines, ""]))
        monmap = str(self.directory / "monmap")
        member = ["--addv", _DAEMONS["mon"], f"[{address}]"]
        venvs.run(["monmaptool", "--create", *member, "--fsid", self.fsid, monmap], "monmaptool")
        self._run("ceph-mon", "-i", _DAEMONS["mon"], "--mkfs", "--monmap", monmap)

    def _make_keys(self) -> None:
        everything = ["--cap", "mon", "allow *"]
        more = ["--cap", "osd", "allow *", "--cap", "mgr", "allow *"]
        pools = ", ".join(f"profile rbd pool={name}" for name in self._pools)
        keyring = self.directory / "keyring"
        for name, caps in {
            "mon.": everything,
            "client.admin": [*everything, *more],
            f"mgr.{_DAEMONS['mgr']}": [*everything, *more],
            f"osd.{_DAEMONS['osd']}": [*everything, *more],
            f"client.{USER}": ["--cap", "mon", "profile rbd", "--cap", "osd", pools],
        }.items():
            self._make_key(keyring, name, *caps)
        key = self._run("ceph-authtool", str(keyring), "-p", "-n", f"client.{USER}", conf=False)
        configs.write_private(self.keyring, f"[client.{USER}]\n\tkey = {key.strip()}\n")

    def _make_key(self, keyring: Path, name: str, *caps: str) -> None:
        new = [] if keyring.exists() else ["--create-keyring"]
        self._run("ceph-authtool", str(keyring), *new, "--gen-key", "-n", name, *caps, conf=False)

    def _run(self, program: str, *arguments: str, conf: bool = True) -> str:
        which = ["-c", str(self.conf)] if conf else []
        done = subprocess.run(
            [program, *which, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=venvs.clean_environment(),
        )
        if done.returncode != 0:
            tail = "\n".join(done.stderr.splitlines()[-25:])
            what = f"{program} {' '.join(arguments[:3])}"
            raise DevcloudError(f"{what} failed (exit {done.returncode}):\n{tail}")
        return done.stdout
