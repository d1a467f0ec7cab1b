# SPDX-License-Identifier: Apache-2.0
"""What the transport ``upload`` costs over a bare PUT of the same bytes into the same Glance."""

from bench import stage, transfer
from bench.report import Goal, Report, spread
from devcloud import Cloud

RUNS = 5
LIMIT = 1.1
BEFORE = "before the first byte"
TARGET, HOME, SYNC = "processor: target", "processor: home", "processor: glance-sync and mover"
PARTS = (BEFORE, TARGET, HOME, SYNC)


def run(quick: bool) -> Report:
    """Synchronize an image and PUT it, by turns."""
    size = (256 if quick else 1024) * stage.MIB
    synced: list[dict[str, float]] = []
    bare: list[dict[str, float]] = []
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
    totals = [one["seconds"] for one in synced]
    direct = [one["seconds"] for one in bare]
    ratios = [mine / theirs for mine, theirs in zip(totals, direct, strict=True)]
    figures = {
        "bytes": size,
        "synced": {key: spread([one[key] for one in synced]) for key in synced[0]},
        "bare_put": {key: spread([one[key] for one in bare]) for key in bare[0]},
        "ratio": spread(ratios),
    }
    table = [["seconds", "median", "min", "max"]]
    for label, values in (
        ("hint -> in sync", totals),
        ("bare PUT", direct),
        ("ratio", ratios),
        *((f"hint -> in sync, {key}", [one[key] for one in synced]) for key in PARTS),
        *((f"bare PUT, {key}", [one[key] for one in bare]) for key in bare[0] if key in PARTS),
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
    """Seconds from the hint to the replica, and where the processors' time went."""
    regions = cloud.names[1:]
    image = transfer.prepare(cloud, size, regions)
    before = _processors(cloud)
    seconds, waited = transfer.follow(cloud, image, regions)
    after = _processors(cloud)
    stage.delete_everywhere(cloud, image)
    return {
        "seconds": seconds,
        BEFORE: waited,
        **{name: after[name] - before[name] for name in before},
    }


def _bare(cloud: Cloud, size: int) -> dict[str, float]:
    region = cloud.names[1]
    image = stage.queued_image(cloud, region, "bare")
    stage.settle_disk()
    before = _processors(cloud)
    payload = stage.chunks_of(cloud.directory / "payload")
    took = stage.fill(cloud, region, image, size, payload)
    after = _processors(cloud)
    cloud.glance(region).images.delete(image)
    return {"seconds": took, TARGET: after[TARGET] - before[TARGET]}


def _processors(cloud: Cloud) -> dict[str, float]:
    """The processor time all that takes part has used until now."""
    services = (f"glance-{cloud.names[1]}", f"glance-{cloud.home}", "glance-sync")
    names = (TARGET, HOME, SYNC)
    return {
        name: stage.cpu_seconds(cloud, service)
        for name, service in zip(names, services, strict=True)
    }
