# SPDX-License-Identifier: Apache-2.0
"""How often the source is read when one image goes to several regions.

Counted at the source: the bytes that home's WSGI server says it sent for ``GET .../file``.
"""

import re
from typing import Any

from bench import stage, transfer
from bench.memory import Watch, mib
from bench.report import Goal, Report, spread
from devcloud import Cloud

COUNTS = (1, 2, 4)
RUNS = 3
_ACCESS = re.compile(r" GET (\S+) => generated (\d+) bytes ")


def run(quick: bool) -> Report:
    """The same image to 1, 2 and 4 regions, by ``upload`` and by ``pull``."""
    size = (64 if quick else 128) * stage.MIB
    figures: dict[str, Any] = {"image_bytes": size}
    table = [["regions", "upload: bytes read / image", "pull: bytes read / image", "mover MiB"]]
    found: dict[tuple[str, int], list[float]] = {}
    movers: dict[int, list[float]] = {}
    with stage.cloud(regions=1 + max(COUNTS)) as cloud:
        for transport in ("upload", "pull"):
            transfer.use(cloud, transport)
            for number in range(RUNS):
                for count in COUNTS:
                    stage.say(f"{transport}, run {number + 1} of {RUNS}, {count} regions")
                    read, mover = _sync(cloud, size, count)
                    found.setdefault((transport, count), []).append(read / size)
                    if transport == "upload":
                        movers.setdefault(count, []).append(mover)
    for transport in ("upload", "pull"):
        figures[transport] = {str(count): spread(found[transport, count], 4) for count in COUNTS}
    figures["mover_rss_mib"] = {str(count): spread(movers[count], 1) for count in COUNTS}
    for count in COUNTS:
        cells = [
            figures["upload"][str(count)]["median"],
            figures["pull"][str(count)]["median"],
            figures["mover_rss_mib"][str(count)]["max"],
        ]
        table.append([str(count), f"{cells[0]:.2f}", f"{cells[1]:.2f}", f"{cells[2]:.0f}"])
    most = max(found["upload", max(COUNTS)])
    return Report(
        name="fanout",
        measures=f"bytes read at home, as a multiple of the image's {size // stage.MIB} MiB, when "
        "it goes to 1, 2 and 4 regions",
        baseline="the transport 'pull': each region downloads for itself",
        runs=RUNS,
        goals=[Goal(f"times the image, to {max(COUNTS)} regions", round(most, 4), 1.0)],
        rows=table,
        figures=figures,
    )


def _sync(cloud: Cloud, size: int, count: int) -> tuple[int, float]:
    """The bytes read at home, and the mover's peak memory in MiB."""
    regions = cloud.names[1:]
    stage.enable(cloud, {name: at < count for at, name in enumerate(regions)})
    stage.wait_idle(cloud)
    image = stage.queued_image(cloud, cloud.home, "fanout")
    with Watch(cloud.pid("glance-sync") or 0) as watch:
        stage.fill(cloud, cloud.home, image, size, stage.pattern(size))
        stage.wait_in_sync(cloud, image, regions[:count], 300)
    stage.delete_everywhere(cloud, image)
    return _sent(cloud, image), mib(watch.mover)


def _sent(cloud: Cloud, image: str) -> int:
    """The bytes home has sent of an image's data until now."""
    text = cloud.region(cloud.home).log.read_text(errors="replace")
    wanted = f"/v2/images/{image}/file"
    return sum(int(size) for path, size in _ACCESS.findall(text) if path == wanted)
