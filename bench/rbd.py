# SPDX-License-Identifier: Apache-2.0
"""Ceph to Ceph: what the transport ``rbd`` costs beside ``rbd export | rbd import``."""

import contextlib
import functools
import shlex
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bench import direct, stage
from bench.memory import LIMIT
from bench.report import Goal, Report
from bench.turns import Turns
from devcloud.ceph import USER, Cluster
from glancesync.interfaces import ImageService, Source
from glancesync.model import Image
from glancesync.schemes import Location, Place, Rbd
from glancesync.transports.rbd import Rbd as Transport
from glancesync.transports.settings import TransferSettings
from tests.databases import scratch

RUNS = 5
HOME, OTHER = "images", "other"  # pools
DENSITY = 8  # one of so many MiB of a sparse image holds something
MOVED, PIPED, HASHED = "rbd", "export | import", "the same, hashed"
_LAYOUT = ("--object-size", "8M")  # as Glance's driver makes them


@dataclass(frozen=True)
class Case:
    """An image of home's pool, and the pool it goes to."""

    cluster: Cluster
    image: Image
    to: Cluster
    pool: str

    @property
    def origin(self) -> str:
        """The snapshot that is copied."""
        return f"{HOME}/{self.image.id}@snap"

    @property
    def copy(self) -> str:
        """What it becomes."""
        return f"{self.pool}/{self.image.id}"


def run(quick: bool) -> Report:
    """From cluster to cluster, and from pool to pool, by turns."""
    sizes = direct.sizes(quick)
    whole = sizes[-1]
    between, sparse = f"{whole} MiB", f"{whole} MiB, of which {whole // DENSITY} hold something"
    inside = f"{whole} MiB, from pool to pool"
    transport = direct.Direct(Transport(TransferSettings()))
    turns = Turns(RUNS)
    with _clusters() as (here, there):
        images = {size: _stored(here, size) for size in sizes}
        thin = _stored(here, whole, DENSITY)
        cases = {f"{size} MiB": Case(here, image, there, HOME) for size, image in images.items()}
        cases |= {
            sparse: Case(here, thin, there, HOME),
            inside: Case(here, images[whole], here, OTHER),
        }
        for number in range(RUNS):
            for name, case in cases.items():
                ways: dict[str, Callable[[], float]] = {
                    MOVED: functools.partial(_moved, transport, case),
                    PIPED: functools.partial(_piped, case, "cat"),
                    HASHED: functools.partial(_piped, case, "tee >(sha512sum >&2)"),
                }
                turns.take(number, name, ways)
    return Report(
        name="rbd",
        measures="seconds until an image of a pool is in a pool of another Ceph cluster, verified "
        "and with its snapshot, from the call of the transport on; the clusters are of one node "
        "each, in memory where there is room",
        baseline="rbd export of the same snapshot, piped into rbd import: no snapshot, no hash",
        runs=RUNS,
        goals=[
            *(
                Goal(f"times {PIPED}, {case}", turns.ratio(case, MOVED, PIPED), 1.3)
                for case in (between, sparse, inside)
            ),
            Goal("memory of the mover [MiB]", transport.memory, LIMIT),
        ],
        rows=turns.rows(
            "image", {f"times {PIPED}": (MOVED, PIPED), "times hashed": (MOVED, HASHED)}
        ),
        figures={**turns.figures(), "mover_mib": transport.memory},
    )


@contextlib.contextmanager
def _clusters() -> Iterator[tuple[Cluster, Cluster]]:
    with contextlib.ExitStack() as closing:
        made = []
        for _ in range(2):
            directory = closing.enter_context(tempfile.TemporaryDirectory(dir=scratch()))
            made.append(Cluster(Path(directory), pools=(HOME, OTHER)))
            closing.callback(made[-1].down)
        stage.say("starting two Ceph clusters")
        with ThreadPoolExecutor() as pool:
            list(pool.map(Cluster.up, made))
        yield made[0], made[1]


def _stored(cluster: Cluster, size: int, density: int = 1) -> Image:
    """An image of so many MiB as Glance's driver leaves it in home's pool."""
    with tempfile.NamedTemporaryFile(dir=scratch()) as file:
        for number, block in enumerate(stage.pattern(size * stage.MIB)):
            if number % density == 0:
                file.seek(number * stage.MIB)
                file.write(block)
        file.truncate(size * stage.MIB)
        image = direct.image(str(uuid.uuid4()), Path(file.name))
        name = f"{HOME}/{image.id}"
        cluster.rbd("import", "--no-progress", *_LAYOUT, file.name, name)
    cluster.rbd("snap", "create", "--no-progress", f"{name}@snap")
    cluster.rbd("snap", "protect", f"{name}@snap")
    return image


def _place(cluster: Cluster, pool: str, image: Image) -> Place:
    scheme = Rbd(ceph_conf=str(cluster.conf), user=USER, pool=pool, fsid=cluster.fsid)
    return Place(scheme, Location(f"rbd://{cluster.fsid}/{pool}/{image.id}/snap", ""))


def _moved(transport: direct.Direct, case: Case) -> float:
    place = _place(case.cluster, HOME, case.image)
    source = Source(case.image, cast(ImageService, direct.Region("home")), place)
    took = transport.move(source, [_place(case.to, case.pool, case.image)])
    case.to.rbd("snap", "unprotect", f"{case.copy}@snap")
    case.to.rbd("snap", "rm", "--no-progress", f"{case.copy}@snap")
    case.to.rbd("rm", "--no-progress", case.copy)
    return took


def _piped(case: Case, through: str) -> float:
    out = shlex.join(["rbd", "-c", str(case.cluster.conf), "export", "--no-progress"])
    into = shlex.join(["rbd", "-c", str(case.to.conf), "import", "--no-progress", *_LAYOUT])
    line = f"set -o pipefail; {out} {case.origin} - | {through} | {into} - {case.copy}"
    began = time.perf_counter()
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        raise stage.BenchError(f"{PIPED}: {done.stderr.strip()}")
    case.to.rbd("rm", "--no-progress", case.copy)
    return took
