# SPDX-License-Identifier: Apache-2.0
"""What the transport ``upload`` costs over a bare PUT of the same bytes into the same Glance."""

from bench import stage
from bench.report import Goal, Report, spread
from devcloud import Cloud

RUNS = 5
LIMIT = 1.1


def run(quick: bool) -> Report:
    """Synchronize an image and PUT it, by turns."""
    size = (256 if quick else 1024) * stage.MIB
    synced: list[dict[str, float]] = []
    bare: list[float] = []
    with stage.cloud(regions=2) as cloud:
        payload = cloud.directory / "payload"
        with payload.open("wb") as file:
            file.writelines(stage.pattern(size))
        _sync(cloud, stage.MIB)  # tokens are fetched, modules imported
        for number in range(RUNS):
            stage.say(f"run {number + 1} of {RUNS}")
            for turn in ("sync", "bare") if number % 2 == 0 else ("bare", "sync"):
                if turn == "sync":
                    synced.append(_sync(cloud, size))
                else:
                    bare.append(_bare(cloud, size))
    totals = [one["total"] for one in synced]
    ratios = [mine / theirs for mine, theirs in zip(totals, bare, strict=True)]
    figures = {
        "bytes": size,
        "synced_seconds": spread(totals),
        "of_which_before_the_bytes": spread([one["before"] for one in synced]),
        "bare_put_seconds": spread(bare),
        "ratio": spread(ratios),
    }
    table = [["seconds", "median", "min", "max"]]
    for label, values in (
        ("hint -> in sync", totals),
        ("  before the first byte", [one["before"] for one in synced]),
        ("bare PUT", bare),
        ("ratio", ratios),
    ):
        one = spread(values)
        table.append([label, *(f"{one[key]:.2f}" for key in ("median", "min", "max"))])
    return Report(
        name="upload",
        measures=f"{size // stage.MIB} MiB from home to one region by 'upload', verified, from "
        "the hint that the image is active until its replica is recorded as in sync",
        baseline="one bare HTTP PUT of the same bytes into the same Glance, in chunks of 1 MiB",
        runs=RUNS,
        goals=[Goal("times the bare PUT", round(spread(ratios)["median"], 2), LIMIT)],
        rows=table,
        figures=figures,
    )


def _sync(cloud: Cloud, size: int) -> dict[str, float]:
    """Seconds from the hint to the replica, by the journal's clock."""
    region = cloud.names[1]
    image = stage.queued_image(cloud, cloud.home, "upload")
    stage.wait_idle(cloud)
    stage.settle_disk()
    stage.fill(cloud, cloud.home, image, size, stage.pattern(size))
    stage.wait_in_sync(cloud, image, [region], 600)
    events = stage.rows(cloud, "SELECT at, what FROM event WHERE image_id = ? ORDER BY id", image)
    began = next(row["at"] for row in events if row["what"] == "transfer")
    ended = next(row["at"] for row in events if row["what"] == "in_sync")
    hinted = max(row["at"] for row in events if row["what"] == "hint" and row["at"] <= began)
    stage.delete_everywhere(cloud, image)
    return {"total": ended - hinted, "before": began - hinted}


def _bare(cloud: Cloud, size: int) -> float:
    region = cloud.names[1]
    image = stage.queued_image(cloud, region, "bare")
    stage.settle_disk()
    payload = stage.chunks_of(cloud.directory / "payload")
    took = stage.fill(cloud, region, image, size, payload)
    cloud.glance(region).images.delete(image)
    return took
