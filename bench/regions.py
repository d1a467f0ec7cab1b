# SPDX-License-Identifier: Apache-2.0
"""Files to many regions: what each further one costs the transport ``filesystem``."""

import functools
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from bench import direct, stage
from bench.memory import LIMIT
from bench.report import Goal, Report, spread
from bench.turns import Turns
from glancesync.interfaces import ImageService, Source
from glancesync.schemes import Filesystem as Directory
from glancesync.schemes import Location, Place
from glancesync.transports.filesystem import Filesystem
from glancesync.transports.settings import TransferSettings

COUNTS = (1, 2, 4, 8)
RUNS = 5
NAME = "11111111-2222-3333-4444-555555555555"
MOVED, PLAIN = "filesystem", "cp and sync"


def run(quick: bool) -> Report:
    """The same file to 1, 2, 4 and 8 directories of this host, by turns."""
    size = 128 if quick else 1024
    turns = Turns(RUNS)
    transport = direct.Direct(Filesystem(TransferSettings()))
    direct.SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=direct.SCRATCH) as directory:
        file = Path(directory) / NAME
        with file.open("wb") as content:
            content.writelines(stage.pattern(size * stage.MIB))
        image = direct.image(NAME, file)
        source = Source(image, cast(ImageService, direct.Region("home")), _place(file))
        for number in range(RUNS):
            for count in COUNTS:
                copies = [Path(directory) / f"region {one}" / NAME for one in range(count)]
                places = [_place(copy) for copy in copies]
                ways: dict[str, Callable[[], float]] = {
                    MOVED: functools.partial(_moved, transport, source, places),
                    PLAIN: functools.partial(_plain, file, copies),
                }
                for copy in copies:
                    copy.parent.mkdir(exist_ok=True)
                turns.take(number, str(count), ways)
    each = {way: _further(turns, way) for way in (MOVED, PLAIN)}
    rows = turns.rows("regions", {"times cp": (MOVED, PLAIN)})
    rows.append(["each further", *(f"{seconds:.2f}" for seconds in each.values()), ""])
    return Report(
        name="regions",
        measures=f"seconds until {size} MiB are in the file stores of so many regions of this "
        "host, verified and synced, from the call of the transport on",
        baseline="cp of the same file to as many directories, and sync of all copies",
        runs=RUNS,
        goals=[
            Goal("times cp, 2 regions", turns.ratio("2", MOVED, PLAIN), 1.3),
            Goal("memory of the copier [MiB]", transport.memory, LIMIT),
        ],
        rows=rows,
        figures={**turns.figures(), "each_further": each, "copier_mib": transport.memory},
    )


def _place(file: Path) -> Place:
    return Place(Directory(), Location(f"file://{file}", ""), str(file))


def _further(turns: Turns, way: str) -> float:
    """The seconds that each region beyond the first takes."""
    first, *_, last = (spread(turns.found[str(count)][way])["median"] for count in COUNTS)
    return round(float(last - first) / (COUNTS[-1] - COUNTS[0]), 3)


def _moved(transport: direct.Direct, source: Source, places: Sequence[Place]) -> float:
    stage.settle_disk()
    took = transport.move(source, places)
    for place in places:
        Path(place.path).unlink()
    return took


def _plain(file: Path, copies: Sequence[Path]) -> float:
    stage.settle_disk()
    began = time.perf_counter()
    for copy in copies:
        subprocess.run(["cp", file, copy], check=True)
    subprocess.run(["sync", *copies], check=True)
    took = time.perf_counter() - began
    for copy in copies:
        copy.unlink()
    return took
