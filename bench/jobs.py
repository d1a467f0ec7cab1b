# SPDX-License-Identifier: Apache-2.0
"""A job of many small images to two regions, against a loop over the openstack CLI."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import stage
from bench.report import Report, spread
from devcloud import Cloud

SIZE = 4096  # bytes
SAMPLE = 4  # images that the loop is measured with
_PATIENCE = 1800.0
_OPENSTACK = str(Path(sys.executable).with_name("openstack"))
_LAZY = {"glance-sync": {"DEFAULT": {"transports": "upload", "sync_strategy": "LAZY"}}}


def run(quick: bool) -> Report:
    """Copy images once by a job, under new ids each time, and some of them by hand."""
    count, runs = (100, 2) if quick else (1000, 3)
    with stage.cloud(regions=3, overrides=_LAZY) as cloud:
        images = _made(cloud, count)
        found = []
        for number in range(runs):
            stage.say(f"run {number + 1} of {runs}")
            found.append((_job(cloud, images), _loop(cloud, images[:SAMPLE])))
    jobs = spread([pair[0] for pair in found], 1)
    wanted = count * 2
    loops = spread([pair[1] * wanted for pair in found], 1)
    ratios = spread([by_hand * wanted / ours for ours, by_hand in found], 1)
    return Report(
        name="jobs",
        measures=f"a job of {count} images of {SIZE} bytes to two regions, from the request until "
        "it is done",
        baseline="openstack image save and image create for each image and region, one after the "
        f"other; measured with {SAMPLE} images and multiplied",
        runs=runs,
        goals=[],
        rows=[
            ["seconds", "median", "min", "max"],
            *(
                [label, *(f"{one[key]:.1f}" for key in ("median", "min", "max"))]
                for label, one in (("job", jobs), ("loop", loops), ("times faster", ratios))
            ),
        ],
        figures={"images": count, "sample": SAMPLE, "job": jobs, "loop": loops, "ratio": ratios},
    )


def _made(cloud: Cloud, count: int) -> list[str]:
    stage.say(f"making {count} images")
    made = []
    for _ in range(count):
        image = stage.queued_image(cloud, cloud.home, "job")
        stage.fill(cloud, cloud.home, image, SIZE, stage.pattern(SIZE))
        made.append(image)
    stage.wait_idle(cloud, _PATIENCE)
    return made


def _job(cloud: Cloud, images: list[str]) -> float:
    """Seconds until all of them are in both regions."""
    session, url = cloud.session(), f"{cloud.sync_url}/v1/jobs"
    targets = [name for name in cloud.names if name != cloud.home]
    wish = {"source": cloud.home, "target": targets, "resources": images, "force": True}
    began = time.perf_counter()
    job = session.post(url, json=wish).json()["job"]
    waiting = "SELECT 1 FROM item WHERE job_id = ? AND state IN ('pending', 'waiting') LIMIT 1"
    looked_up = "SELECT 1 FROM job WHERE id = ? AND position >= total"

    def ended() -> bool:
        return bool(stage.rows(cloud, looked_up, job["id"])) and not stage.rows(
            cloud, waiting, job["id"]
        )

    stage.until(ended, _PATIENCE, f"job {job['id']} has ended", 0.1)
    took = time.perf_counter() - began
    job = session.get(f"{url}/{job['id']}?limit=1").json()["job"]
    if job["state"] != "done":
        raise stage.BenchError(f"job {job['id']}: {job['state']}, {job['items']}")
    return took


def _loop(cloud: Cloud, images: list[str]) -> float:
    """Seconds for one image and region."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    env["OS_CLIENT_CONFIG_FILE"] = str(cloud.clouds_yaml)
    targets = [name for name in cloud.names if name != cloud.home]
    formats = ("--disk-format", "raw", "--container-format", "bare")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        file = str(Path(directory, "image"))
        for image in images:
            for region in targets:
                for name, *command in (
                    (cloud.home, "image", "save", "--file", file, image),
                    (region, "image", "create", *formats, "--file", file, f"copy of {image}"),
                ):
                    subprocess.run(
                        [_OPENSTACK, "--os-cloud", name, *command],
                        env=env,
                        check=True,
                        capture_output=True,
                    )
    return (time.perf_counter() - began) / (len(images) * len(targets))
