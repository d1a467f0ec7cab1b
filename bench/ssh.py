# SPDX-License-Identifier: Apache-2.0
"""Files from host to host: what the transports ``scp`` and ``rsync`` cost over plain ``scp``."""

import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from bench import stage
from bench.report import Goal, Report, spread
from glancesync.errors import RegionError
from glancesync.interfaces import ImageService, Source, Target, Transport
from glancesync.model import Image
from glancesync.schemes import Filesystem, Location, Place
from glancesync.transports.settings import TransferSettings
from glancesync.transports.ssh import Rsync, Scp
from tests.deliveries import IMAGE, Registry
from tests.sshd import Host, Hosts

RUNS = 5
CURVE = (1, 16, 128)  # MiB, beside the whole size
LIMIT = 1.3
PLAIN, WRITTEN = "plain scp", "plain scp, then sync"
WAYS: dict[str, type[Transport]] = {"scp": Scp, "rsync": Rsync}


def run(quick: bool) -> Report:
    """To a host on loopback, by turns."""
    whole = 128 if quick else 1024
    sizes = [size for size in CURVE if size < whole] + [whole]
    found: dict[int, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(dir=Path(__file__).parents[1] / ".devcloud") as directory:
        hosts = Hosts(Path(directory) / "hosts")
        try:
            host = hosts.start()
            for size in sizes:
                _make(Path(directory), size)
            for number in range(RUNS):
                for size in sizes:
                    _round(number, Path(directory), host, size, found.setdefault(size, {}))
        finally:
            hosts.close()
    rows = [["MiB", *found[whole], *(f"{way}, times {PLAIN}" for way in WAYS)]]
    for size, ways in found.items():
        cells = [f"{spread(values)['median']:.2f}" for values in ways.values()]
        rows.append([str(size), *cells, *(f"{_ratio(ways, way, PLAIN):.2f}" for way in WAYS)])
    return Report(
        name="ssh",
        measures=f"seconds until {whole} MiB are on another host, hashed and synced there, from "
        "the call of the transport on",
        baseline="scp of the same file to the same host with the same key, not hashed nor synced",
        runs=RUNS,
        goals=[
            Goal(f"{way}, times {PLAIN}", _ratio(found[whole], way, PLAIN), LIMIT) for way in WAYS
        ],
        rows=rows,
        figures={
            f"{size} MiB": {
                **{name: spread(values) for name, values in ways.items()},
                **{f"{way}, times {WRITTEN}": _ratio(ways, way, WRITTEN) for way in WAYS},
            }
            for size, ways in found.items()
        },
    )


def _ratio(found: dict[str, list[float]], mine: str, theirs: str) -> float:
    """The median of the ratios of the runs."""
    pairs = zip(found[mine], found[theirs], strict=True)
    return round(float(spread([one / other for one, other in pairs])["median"]), 2)


def _make(directory: Path, size: int) -> None:
    folder = directory / str(size)
    folder.mkdir()
    with (folder / IMAGE).open("wb") as file:
        file.writelines(stage.pattern(size * stage.MIB))
    _image(folder / IMAGE)


def _round(
    number: int, directory: Path, host: Host, size: int, found: dict[str, list[float]]
) -> None:
    """Each way once; every other time in the opposite order."""
    there = directory / "there"
    source = directory / str(size) / IMAGE
    turns: list[tuple[str, Callable[[], None]]] = [(PLAIN, lambda: _plain(host, source, there))]
    turns += [(way, lambda way=way: _moved(way, host, source, there)) for way in WAYS]  # type: ignore[misc]
    for way in (PLAIN, WRITTEN, *WAYS):
        found.setdefault(way, [])
    for name, measure in turns if number % 2 == 0 else turns[::-1]:
        stage.say(f"run {number + 1} of {RUNS}, {size} MiB, {name}")
        there.mkdir()
        stage.settle_disk()
        began = time.perf_counter()
        measure()
        took = time.perf_counter() - began
        found[name].append(took)
        if name == PLAIN:
            subprocess.run(["sync", there / IMAGE], check=True)
            found[WRITTEN].append(time.perf_counter() - began)
        (there / IMAGE).unlink()
        there.rmdir()


def _plain(host: Host, source: Path, there: Path) -> None:
    known = host.directory / "known_hosts"
    known.write_text(f"[{host.address}]:{host.port} {host.host_key}\n")
    options = ("-i", host.key_file, "-P", str(host.port), "-o", f"UserKnownHostsFile={known}")
    where = f"{host.user}@{host.address}:{there / IMAGE}"
    done = subprocess.run(
        ["scp", "-F", os.devnull, "-q", *options, source, where],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise stage.BenchError(f"scp: {done.stderr.strip()}")


_HASHES: dict[Path, str] = {}


def _image(source: Path) -> Image:
    if source not in _HASHES:
        with source.open("rb") as file:
            _HASHES[source] = hashlib.file_digest(file, "sha512").hexdigest()
    size = source.stat().st_size
    return Image(IMAGE, "active", size=size, os_hash_algo="sha512", os_hash_value=_HASHES[source])


def _moved(way: str, host: Host, source: Path, there: Path) -> None:
    class Quiet(Registry):
        def register(self, *arguments: object) -> None:
            return

    settled: list[RegionError | None] = []
    path = str(there / IMAGE)
    target = Target(
        "there",
        IMAGE,
        cast(ImageService, Quiet("there")),
        lambda done: None,
        lambda: False,
        Place(host.scheme(there), Location(f"file://{path}", ""), path),
    )
    home = Place(Filesystem(), Location(f"file://{source}", ""), str(source))
    WAYS[way](TransferSettings()).move(  # type: ignore[call-arg]
        Source(_image(source), cast(ImageService, Registry("home")), home),
        [target],
        lambda _, error: settled.append(error),
    )
    if settled != [None]:
        raise stage.BenchError(f"{way}: {settled}")
