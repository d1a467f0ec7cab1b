# SPDX-License-Identifier: Apache-2.0
"""Files to files: what the transport ``filesystem`` costs over ``cp``, and what other ways take."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench import stage, transfer
from bench.report import Goal, Report, spread
from devcloud import Cloud

RUNS = 5
CURVE = (1, 16, 128)  # MiB, beside the whole size
OPENSTACK = Path(__file__).parents[1] / ".venv" / "bin" / "openstack"
COPIED, PLAIN = "filesystem", "cp"
SAVED, PULLED = "image save + create", "glance-download"


def run(quick: bool) -> Report:
    """Each way to two regions, by turns."""
    whole = 128 if quick else 1024
    sizes = [size for size in CURVE if size < whole] + [whole]
    found: dict[int, dict[str, list[float]]] = {}
    with stage.cloud(regions=3) as cloud:
        for number in range(RUNS):
            for size in sizes:
                turns: list[tuple[str, Callable[[Cloud, int], float]]]
                turns = [(COPIED, _copied), (PLAIN, _plain)]
                if size == whole:
                    turns += [(SAVED, _saved), (PULLED, _pulled)]
                for name, measure in turns if number % 2 == 0 else turns[::-1]:
                    stage.say(f"run {number + 1} of {RUNS}, {size} MiB, {name}")
                    seconds = measure(cloud, size * stage.MIB)
                    found.setdefault(size, {}).setdefault(name, []).append(seconds)
    rows = [["MiB", *(found[whole]), "times cp"]]
    for size in sizes:
        ratio = _ratio(found[size], COPIED, PLAIN)
        cells = [f"{spread(values)['median']:.2f}" for values in found[size].values()]
        rows.append([str(size), *cells, *[""] * (len(found[whole]) - len(cells)), f"{ratio:.2f}"])
    last = found[whole]
    return Report(
        name="filesystem",
        measures=f"seconds until {whole} MiB are in the file stores of two regions, verified and "
        "recorded as in sync, from the hint on",
        baseline="cp of the same file to the same two directories, and sync of both copies",
        runs=RUNS,
        goals=[
            Goal("times cp", _ratio(last, COPIED, PLAIN), 1.3),
            Goal("times faster than save + create", _ratio(last, SAVED, COPIED), 6, at_least=True),
            Goal(
                "times faster than glance-download", _ratio(last, PULLED, COPIED), 4, at_least=True
            ),
        ],
        rows=rows,
        figures={
            f"{size} MiB": {name: spread(values) for name, values in ways.items()}
            for size, ways in found.items()
        },
    )


def _ratio(found: dict[str, list[float]], mine: str, theirs: str) -> float:
    """The median of the ratios of the runs."""
    pairs = zip(found[mine], found[theirs], strict=True)
    return round(float(spread([one / other for one, other in pairs])["median"]), 2)


def _followed(cloud: Cloud, size: int, transport: str) -> float:
    transfer.use(cloud, transport)
    regions = cloud.names[1:]
    image = transfer.prepare(cloud, size, regions)
    seconds, _ = transfer.follow(cloud, image, regions)
    stage.delete_everywhere(cloud, image)
    return seconds


def _copied(cloud: Cloud, size: int) -> float:
    return _followed(cloud, size, "filesystem")


def _pulled(cloud: Cloud, size: int) -> float:
    return _followed(cloud, size, "pull")


def _plain(cloud: Cloud, size: int) -> float:
    regions = cloud.names[1:]
    image = transfer.prepare(cloud, size, regions)
    source = cloud.region(cloud.home).datadir / image
    copies = [cloud.region(name).datadir / "plain" for name in regions]
    began = time.perf_counter()
    for copy in copies:
        subprocess.run(["cp", source, copy], check=True)
    subprocess.run(["sync", *copies], check=True)
    seconds = time.perf_counter() - began
    for copy in copies:
        copy.unlink()
    stage.delete_everywhere(cloud, image)
    return seconds


def _saved(cloud: Cloud, size: int) -> float:
    """As people do it by hand: fetch the image, and create it in each region."""
    regions = cloud.names[1:]
    image = transfer.prepare(cloud, size, regions)
    local = cloud.directory / "saved"
    began = time.perf_counter()
    for name in regions:
        _openstack(cloud, cloud.home, "save", "--file", str(local), image)
        formats = ("--disk-format", "raw", "--container-format", "bare")
        _openstack(cloud, name, "create", *formats, "--file", str(local), "saved")
        local.unlink()
    seconds = time.perf_counter() - began
    for name in regions:
        glance = cloud.glance(name)
        for one in glance.images.list(filters={"name": "saved"}):
            glance.images.delete(one["id"])
    stage.delete_everywhere(cloud, image)
    return seconds


def _openstack(cloud: Cloud, region: str, *args: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    env |= {"OS_CLIENT_CONFIG_FILE": str(cloud.clouds_yaml), "OS_CLOUD": region}
    done = subprocess.run(
        [OPENSTACK, "image", *args], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise stage.BenchError(f"openstack image {args[0]}: {done.stderr.strip()}")
