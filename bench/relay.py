# SPDX-License-Identifier: Apache-2.0
"""Regions that serve the next (tree) against all served by home (star), home's link being slow.

The cloud is in a network of its own, in which what home's Glance sends is limited to 100 Mbit/s.
"""

import contextlib
import ctypes
import os
import subprocess
import urllib.parse
from collections.abc import Iterator, Sequence

from bench import stage, transfer
from bench.report import Goal, Report, spread
from devcloud import Cloud, configs

COUNTS = (1, 2, 4, 8)
RUNS = 3
RATE = 100  # Mbit/s
ROOM = {"tree": "1", "star": "1000"}
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


def run(quick: bool) -> Report:
    """An image to 1, 2, 4 and 8 regions by ``pull``."""
    size = (16 if quick else 64) * stage.MIB
    counts, runs = ((1, 4), 1) if quick else (COUNTS, RUNS)
    found: dict[tuple[str, int], list[float]] = {}
    with own_network(), stage.cloud(regions=1 + max(counts)) as cloud:
        limit(cloud)
        transfer.use(cloud, "pull")
        for number in range(runs):
            for count in counts:
                for shape, room in ROOM.items():
                    stage.say(f"run {number + 1} of {runs}, {count} regions, {shape}")
                    configs.update(cloud.sync_config, {"DEFAULT": {"source_transfers": room}})
                    transfer.use(cloud, "pull")
                    took = _sync(cloud, size, cloud.names[1 : 1 + count])
                    found.setdefault((shape, count), []).append(took)
    alone = size * 8 / RATE / 1e6
    rows = [["regions", "tree s", "star s", "star / tree", "tree / one copy at the link's rate"]]
    medians = {key: spread(values)["median"] for key, values in found.items()}
    for count in counts:
        tree, star = medians["tree", count], medians["star", count]
        cells = [f"{tree:.1f}", f"{star:.1f}", f"{star / tree:.2f}", f"{tree / alone:.2f}"]
        rows.append([str(count), *cells])
    most = max(counts)
    ratio = medians["star", most] / medians["tree", most]
    return Report(
        name="relay",
        measures=f"seconds until {size // stage.MIB} MiB are in sync in all regions by 'pull', "
        f"home sending {RATE} Mbit/s; tree: each region serves one other at a time",
        baseline="star: home serves all at the same time",
        runs=runs,
        goals=[
            Goal(f"times faster than a star, {most} regions", round(ratio, 2), 1.0, at_least=True)
        ],
        rows=rows,
        figures={f"{shape} {count}": spread(values) for (shape, count), values in found.items()},
    )


def _sync(cloud: Cloud, size: int, regions: Sequence[str]) -> float:
    """Seconds until the image is in these regions, and no other wants it meanwhile."""
    stage.enable(cloud, {name: name in regions for name in cloud.names[1:]})
    image = transfer.prepare(cloud, size, regions)
    took, _ = transfer.follow(cloud, image, regions)
    stage.delete_everywhere(cloud, image)
    return took


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """A network that only this process and its children are in; it has a loopback."""
    call = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if call.unshare(_NEW_NETWORK):
            raise stage.BenchError(f"a network of its own: {os.strerror(ctypes.get_errno())}")
        _do("ip", "link", "set", "lo", "up")
        yield
    finally:
        call.setns(before, _NEW_NETWORK)
        os.close(before)


def limit(cloud: Cloud) -> None:
    """Let home's Glance send so much per second, and everybody else any amount."""
    port = urllib.parse.urlsplit(cloud.region(cloud.home).url).port
    _do("tc", "qdisc", "add", "dev", "lo", "root", "handle", "1:", "htb", "default", "1")
    for name, rate in (("1:1", "100gbit"), ("1:2", f"{RATE}mbit")):
        burst = ("burst", "256kb", "cburst", "256kb")
        _do("tc", "class", "add", "dev", "lo", "parent", "1:", "classid", name, "htb",
            "rate", rate, *burst)  # fmt: skip
    match = ("u32", "match", "ip", "sport", str(port), "0xffff", "flowid", "1:2")
    _do("tc", "filter", "add", "dev", "lo", "protocol", "ip", "parent", "1:0", "prio", "1", *match)


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise stage.BenchError(f"{' '.join(command)}: {done.stderr.strip()}")
