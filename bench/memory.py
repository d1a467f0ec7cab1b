# SPDX-License-Identifier: Apache-2.0
"""Resident memory of glance-sync and of its mover while a large image is copied."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import stage
from bench.report import Goal, Report, spread
from devcloud import Cloud

RUNS = 3
LIMIT = 150.0  # MiB, for each of the two
SMALL = 16 * stage.MIB
_POLL = 0.05
_MOVERS = b"/glancesync/transports/"  # their programs


def run(quick: bool) -> Report:
    """Copy a small and a large image into one region after the other."""
    size = (1024 if quick else 4096) * stage.MIB
    peaks: dict[str, list[tuple[int, int]]] = {"small": [], "large": []}
    with stage.cloud(regions=1 + RUNS) as cloud:
        stage.enable(cloud, dict.fromkeys(cloud.names[1:], False))
        images = {
            name: _image(cloud, length) for name, length in (("small", SMALL), ("large", size))
        }
        # Each copy is asked for when its turn comes.
        stage.cancel_tasks(cloud)
        stage.enable(cloud, dict.fromkeys(cloud.names[1:], True))
        for number, region in enumerate(cloud.names[1:]):
            stage.say(f"run {number + 1} of {RUNS}")
            for name, image in images.items():
                peaks[name].append(_copy(cloud, image, region))
            cloud.glance(region).images.delete(images["large"])  # the disk is not endless
        idle = _rss(_status(cloud.pid("glance-sync") or 0), "VmRSS")
        ever = _rss(_status(cloud.pid("glance-sync") or 0), "VmHWM")
    figures: dict[str, Any] = {
        "bytes_small": SMALL,
        "bytes_large": size,
        "sampled_every_seconds": _POLL,
        "glance_sync_idle_mib": mib(idle),
        "glance_sync_highest_ever_mib": mib(ever),
    }
    rows = [["MiB, highest", f"image of {SMALL // stage.MIB} MiB", f"of {size // stage.MIB} MiB"]]
    for at, process in enumerate(("glance_sync", "mover")):
        cells = []
        for name, found in peaks.items():
            one = spread([mib(pair[at]) for pair in found], 1)
            figures[f"{process}_{name}_mib"] = one
            cells.append(f"{one['max']:.1f}")
        rows.append([process.replace("_", "-"), *cells])
    rows.append(["glance-sync, ever", f"{mib(ever):.1f}", ""])
    return Report(
        name="memory",
        measures=f"highest resident memory while {size // stage.MIB} MiB go to one region",
        baseline=f"the same for {SMALL // stage.MIB} MiB, just before",
        runs=RUNS,
        goals=[
            Goal("glance-sync [MiB]", mib(ever), LIMIT),
            Goal("mover [MiB]", figures["mover_large_mib"]["max"], LIMIT),
        ],
        rows=rows,
        figures=figures,
    )


def _image(cloud: Cloud, size: int) -> str:
    image = stage.queued_image(cloud, cloud.home, "memory")
    stage.say(f"{size // stage.MIB} MiB into {cloud.home}")
    stage.fill(cloud, cloud.home, image, size, stage.pattern(size))
    stage.until(lambda: stage.states(cloud, image), 30, "the image's replicas are waiting")
    return image


def _copy(cloud: Cloud, image: str, region: str) -> tuple[int, int]:
    """The peaks of glance-sync and of the mover, in bytes, while *region* gets *image*."""
    session = cloud.session()
    with Watch(cloud.pid("glance-sync") or 0) as watch:
        session.post(f"{cloud.sync_url}/v1/images/{image}/sync", json={"regions": [region]})
        # It counts as stalled since its task was cancelled.
        stage.until(lambda: stage.states(cloud, image)[region] != "stalled", 30, "its turn")
        stage.wait_in_sync(cloud, image, [region], 900)
    return watch.daemon, watch.mover


class Watch:
    """Inside its ``with`` block, looks at the memory of a process, and of those that move bytes
    for it.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.daemon = 0  # bytes
        self.mover = 0  # of the largest

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_POLL):
            self.daemon = max(self.daemon, _rss(_status(self._pid), "VmRSS"))
            for child in stage.children(self._pid):
                # Its own high-water mark, which began anew when it became the mover.
                if _MOVERS in _read(child, "cmdline"):
                    self.mover = max(self.mover, _rss(_status(child), "VmHWM"))


def mib(size: float) -> float:
    """Bytes as MiB."""
    return round(size / stage.MIB, 1)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""  # it has ended


def _status(pid: int) -> str:
    return _read(pid, "status").decode(errors="replace")


def _rss(status: str, field: str) -> int:
    """A size out of ``/proc/<pid>/status``, in bytes; 0 if there is none."""
    for line in status.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0
