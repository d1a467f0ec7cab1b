# SPDX-License-Identifier: Apache-2.0
"""Files to files: what the transport ``filesystem`` costs over ``cp``, and what other ways take."""

import functools
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench import direct, stage, transfer
from bench.report import Goal, Report
from bench.turns import Turns
from devcloud import Cloud

RUNS = 5
OPENSTACK = Path(__file__).parents[1] / ".venv" / "bin" / "openstack"
COPIED, PLAIN = "filesystem", "cp"
SAVED, PULLED = "image save + create", "glance-download"


def run(quick: bool) -> Report:
    """Each way to two regions, by turns."""
    sizes = direct.sizes(quick)
    whole = sizes[-1]
    turns = Turns(RUNS)
    with stage.cloud(regions=3) as cloud:
        for number in range(RUNS):
            for size in sizes:
                ways = {COPIED: _copied, PLAIN: _plain}
                if size == whole:
                    ways |= {SAVED: _saved, PULLED: _pulled}
                measures: dict[str, Callable[[], float]] = {
                    name: functools.partial(measure, cloud, size * stage.MIB)
                    for name, measure in ways.items()
                }
                turns.take(number, f"{size} MiB", measures)
    last = f"{whole} MiB"
    return Report(
        name="filesystem",
        measures=f"seconds until {whole} MiB are in the file stores of two regions, verified and "
        "recorded as in sync, from the hint on",
        baseline="cp of the same file to the same two directories, and sync of both copies",
        runs=RUNS,
        goals=[
            Goal("times cp", turns.ratio(last, COPIED, PLAIN), 1.3),
            Goal("times faster than save + create", turns.ratio(last, SAVED, COPIED), 6, True),
            Goal("times faster than glance-download", turns.ratio(last, PULLED, COPIED), 4, True),
        ],
        rows=turns.rows("image", {"times cp": (COPIED, PLAIN)}),
        figures=turns.figures(),
    )


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
