# SPDX-License-Identifier: Apache-2.0
"""One image on its way from home to regions, by the journal's clock."""

import signal
from collections.abc import Sequence

from bench import stage
from devcloud import Cloud, configs


def use(cloud: Cloud, *transports: str) -> None:
    """Have glance-sync move bytes by these from now on."""
    options = {"transports": ",".join(transports), "import_poll_interval": "0.5"}
    configs.update(cloud.sync_config, {"DEFAULT": options})
    log = cloud.log("glance-sync")
    before = log.read_text().count("configuration reloaded")
    cloud.kill("glance-sync", signal.SIGHUP)
    stage.until(lambda: log.read_text().count("configuration reloaded") > before, 20, "a reload")


def prepare(cloud: Cloud, size: int, regions: Sequence[str]) -> str:
    """An image that is at home, on disk, and of which no region knows yet; its id.

    So the upload at home shares the disk with nothing that is measured.
    """
    image = stage.queued_image(cloud, cloud.home, "transfer")
    stage.wait_idle(cloud)
    stage.enable(cloud, dict.fromkeys(regions, False))
    stage.fill(cloud, cloud.home, image, size, stage.pattern(size))
    stage.until(
        lambda: set(stage.states(cloud, image)) >= set(regions), 30, "the replicas are waiting"
    )
    stage.cancel_tasks(cloud)
    stage.enable(cloud, dict.fromkeys(regions, True))
    stage.settle_disk()
    return image


def follow(cloud: Cloud, image: str, regions: Sequence[str]) -> tuple[float, float]:
    """Give the hint, which is the hook's in all but the sender, and wait.

    Returns the seconds until the last replica was recorded as in sync, and those of them before the
    first byte.
    """
    stage.hint(cloud, image)
    # They count as stalled since their tasks were cancelled.
    stage.until(lambda: "stalled" not in stage.states(cloud, image).values(), 30, "the hint's work")
    stage.wait_in_sync(cloud, image, regions, 600)
    events = stage.rows(cloud, "SELECT at, what FROM event WHERE image_id = ? ORDER BY id", image)
    began = next(row["at"] for row in events if row["what"] == "transfer")
    ended = [row["at"] for row in events if row["what"] == "in_sync"][len(regions) - 1]
    hinted = max(row["at"] for row in events if row["what"] == "hint" and row["at"] <= began)
    return ended - hinted, began - hinted
