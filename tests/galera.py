# SPDX-License-Identifier: Apache-2.0
"""A Galera cluster of two nodes, on this machine."""

import contextlib
import pathlib
import socket
import tempfile
from collections.abc import Iterator

from tests.databases import MariaDB, scratch
from tests.functional.wait import until

PROVIDER = pathlib.Path("/usr/lib/galera/libgalera_smm.so")


class Node(MariaDB):
    """One server of a cluster; the first one, unless it is told of that."""

    programs = (*MariaDB.programs, "rsync", "wsrep_sst_rsync")

    def __init__(self, directory: pathlib.Path, first: "Node | None" = None) -> None:
        super().__init__(directory)
        self._first = first
        self.group, self._ist, self._sst = _free_ports(3)

    @classmethod
    def missing(cls) -> str | None:
        if not PROVIDER.exists():
            return "galera-4 is not installed"
        return super().missing()

    def _command(self) -> list[str]:
        address = "gcomm://" if self._first is None else f"gcomm://127.0.0.1:{self._first.group}"
        options = [
            f"gmcast.listen_addr=tcp://127.0.0.1:{self.group}",
            f"ist.recv_addr=127.0.0.1:{self._ist}",
            "gcache.size=16M",
        ]
        settings = {
            "binlog-format": "ROW",
            "innodb-autoinc-lock-mode": "2",
            "pid-file": str(self.directory / "pid"),
            "wsrep-on": "ON",
            "wsrep-provider": str(PROVIDER),
            "wsrep-cluster-address": address,
            "wsrep-node-address": f"127.0.0.1:{self.group}",
            "wsrep-provider-options": ";".join(options),
            "wsrep-sst-method": "rsync",
            "wsrep-sst-receive-address": f"127.0.0.1:{self._sst}",
        }
        new = ["--wsrep-new-cluster"] if self._first is None else []
        return [
            *super()._command(),
            *(f"--{name}={value}" for name, value in settings.items()),
            *new,
        ]

    def url(self, database: str) -> str:
        """The URL of a database that another node has made."""
        return self._url(database).render_as_string()

    def status(self, name: str) -> str:
        """One of ``SHOW STATUS``."""
        return str(self.execute(f"SHOW GLOBAL STATUS LIKE '{name}'")[0][1])


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as open_:
        made = [open_.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in made]


@contextlib.contextmanager
def cluster() -> Iterator[tuple[Node, Node]]:
    """Two nodes that are one database."""
    with contextlib.ExitStack() as closing:
        nodes: list[Node] = []
        for number in range(2):
            directory = closing.enter_context(
                tempfile.TemporaryDirectory(prefix=f"glancesync-galera-{number}-", dir=scratch())
            )
            node = Node(pathlib.Path(directory), nodes[0] if nodes else None)
            closing.callback(node.stop)
            node.start()
            nodes.append(node)
        first, second = nodes
        until(lambda: second.status("wsrep_cluster_size") == "2", 60, "both are one cluster")
        until(lambda: second.status("wsrep_ready") == "ON", 60, "the second may be used")
        yield first, second
