# SPDX-License-Identifier: Apache-2.0
"""The promises of the design, each with a test that tries to break it on a real cloud.

P1 has its tests in ``tests/hook``; P2's and P5's finer points are in ``tests/contract``, P7's in
``tests/contract/test_transport.py``.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcloud import Cloud
from tests.faults.proxy import Proxy, Trouble
from tests.functional.estate import Estate, random_bytes
from tests.functional.reconfigured import region_with, sync_with
from tests.functional.wait import until


@pytest.fixture
def estate(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    yield estate
    estate.clear()


@contextlib.contextmanager
def frozen(cloud: Cloud, service: str) -> Iterator[None]:
    """The service accepts connections and never answers."""
    cloud.kill(service, signal.SIGSTOP)
    try:
        yield
    finally:
        cloud.kill(service, signal.SIGCONT)


@contextlib.contextmanager
def endpoint(estate: Estate, region: str, port: int) -> Iterator[None]:
    """The catalog sends everybody to another port for a region's images."""
    session = estate.cloud.session()
    identity = f"{estate.cloud.auth_url.rstrip('/').removesuffix('/v3')}/v3"
    services = session.get(f"{identity}/services?type=image").json()["services"]
    found = session.get(
        f"{identity}/endpoints?region_id={region}&service_id={services[0]['id']}"
    ).json()["endpoints"]

    def point(urls: dict[str, str]) -> None:
        for one in found:
            body = {"endpoint": {"url": urls[one["id"]]}}
            session.patch(f"{identity}/endpoints/{one['id']}", json=body)
        estate.cloud.restart("glance-sync")

    point({one["id"]: f"http://127.0.0.1:{port}" for one in found})
    try:
        yield
    finally:
        point({one["id"]: one["url"] for one in found})


def test_p2_hints_survive_kill_9_of_the_server(estate: Estate) -> None:
    images = [estate.create(number=str(number)) for number in range(5)]
    estate.cloud.kill("glance-sync", signal.SIGKILL)
    for image in images:
        estate.home.images.update(image, name="changed while it was dead")
    estate.cloud.start("glance-sync")
    for image in images:
        estate.follows(image)


def test_p3_and_p5_killed_in_the_middle_of_a_copy(estate: Estate) -> None:
    """The regions drop what they got, keep the id, and get it all in the end.

    Whatever is active there at any moment has the bytes of home: a region
    that had it all before the kill counts as right.
    """
    with sync_with(estate, lease="3"):
        image = estate.create(random_bytes(300_000_000))
        right = estate.home.images.get(image)["os_hash_value"]
        estate.reaches(image, "RegionTwo", "copying")
        estate.cloud.kill("glance-sync", signal.SIGKILL)

        def dropped() -> bool:
            there = [one for region in estate.others if (one := estate.read(region, image))]
            assert {one["os_hash_value"] for one in there if one["status"] == "active"} <= {right}
            return all(one["status"] in ("queued", "active") for one in there)

        until(dropped, 60, "the regions noticed that the upload broke off")
        estate.cloud.start("glance-sync")
        estate.follows(image)
        for region in estate.others:
            assert estate.replica(image, region)["replica_id"] == image  # type: ignore[index]


def test_p3_a_bit_flipped_on_the_way(estate: Estate) -> None:
    """The wrong copy is never shown to users, is removed, and the right one comes in the end."""
    data = random_bytes(3_000_000)
    with (
        Proxy(estate.cloud.region("RegionThree").port, Trouble(flip_after=1_000_000)) as proxy,
        endpoint(estate, "RegionThree", proxy.port),
    ):
        image = estate.create(data, user="demo", visibility="shared")
        estate.follows(image, ["RegionTwo"])
        replica = estate.reaches(image, "RegionThree", "failed", "pending", "copying")
        until(lambda: proxy.flipped, 60, "a bit was flipped")
        replica = estate.reaches(image, "RegionThree", "failed", "stalled")
        assert "bytes differ" in replica["last_error"]
        theirs = estate.cloud.glance("RegionThree", "demo").images.list()
        assert [one for one in theirs if one["id"] == image] == []
        proxy.trouble = Trouble()
        _, tasks = estate.sync("GET", f"/v1/tasks?image_id={image}")
        for task in tasks["tasks"]:
            estate.sync("POST", f"/v1/tasks/{task['id']}/retry")
        replica = estate.reaches(image, "RegionThree", "in_sync")
    estate.follows(image, RegionThree=replica["replica_id"])
    estate.home.images.delete(image)
    estate.gone(replica["replica_id"], ["RegionThree"])


def test_p4_a_home_that_is_down_deletes_nothing(estate: Estate) -> None:
    image = estate.create()
    estate.follows(image)
    estate.settled()
    estate.cloud.stop("glance-RegionOne")
    try:
        body = {"events": [{"image_id": image}]}
        assert estate.sync("POST", "/v1/events", user="glance", json=body)[0] == 202

        def failed() -> bool:
            _, tasks = estate.sync("GET", f"/v1/tasks?image_id={image}")
            return any(task["attempt"] > 0 for task in tasks["tasks"])

        until(failed, 60, "the look at home failed")
        for region in estate.others:
            assert estate.read(region, image) is not None
    finally:
        estate.cloud.start("glance-RegionOne")
    estate.settled()
    estate.follows(image)


@pytest.mark.parametrize("region", ["RegionOne", "RegionThree"])
def test_p4_a_glance_that_hides_images_from_us_deletes_nothing(
    estate: Estate, tmp_path: Path, region: str
) -> None:
    """A Glance says 404 of what one may not see: no reason to delete, nor to make it anew."""
    image = estate.create(visibility="private")
    estate.follows(image)
    estate.settled()
    policy = tmp_path / "policy.yaml"
    policy.write_text('"context_is_admin": "role:nobody-has-this"\n')
    with region_with(estate, region, oslo_policy__policy_file=str(policy)):
        assert estate.sync("POST", f"/v1/images/{image}/sync")[0] == 202

        def failed() -> bool:
            _, body = estate.sync("GET", f"/v1/tasks?image_id={image}")
            return any("treat us as an admin" in (task["reason"] or "") for task in body["tasks"])

        until(failed, 60, "somebody says why")
    assert estate.sync("POST", f"/v1/images/{image}/sync")[0] == 202
    estate.follows(image)
    for name in estate.others:
        replica = estate.reaches(image, name, "in_sync")
        assert (replica["replica_id"], replica["made_by_us"]) == (image, True)


def test_a_strategy_of_none_stops_what_is_queued(estate: Estate) -> None:
    estate.cloud.stop("glance-RegionThree")
    try:
        image = estate.create()
        estate.follows(image, ["RegionTwo"])
        estate.reaches(image, "RegionThree", "failed", "stalled")
        with sync_with(estate, sync_strategy="None"):
            estate.cloud.start("glance-RegionThree")
            estate.home.images.update(image, name="changed while it was off")
            assert (
                estate.sync("POST", f"/v1/images/{image}/sync", json={"regions": ["RegionThree"]})[
                    0
                ]
                == 202
            )

            def put_off() -> bool:
                _, body = estate.sync("GET", f"/v1/tasks?image_id={image}&region=RegionThree")
                return any("is off" in (task["reason"] or "") for task in body["tasks"])

            until(put_off, 60, "the task is put off")
            assert estate.read("RegionThree", image) is None
    finally:
        estate.cloud.start("glance-RegionThree")
    assert estate.sync("POST", f"/v1/images/{image}/sync")[0] == 202
    estate.follows(image)


def test_a_start_without_keystone(estate: Estate) -> None:
    """Hints are taken as soon as tokens can be checked; tasks wait for the catalog."""
    estate.cloud.stop("glance-sync")
    estate.cloud.stop("keystone")
    try:
        estate.cloud.start("glance-sync")
    finally:
        estate.cloud.start("keystone")
    image = estate.create()
    estate.follows(image)


def test_p5_a_region_that_is_down_catches_up_by_itself(estate: Estate) -> None:
    estate.cloud.stop("glance-RegionThree")
    try:
        images = [estate.create(number=str(number)) for number in range(3)]
        for image in images:
            estate.follows(image, ["RegionTwo"])
        # Of those behind it, not all are tried: the region is left alone.
        replica = estate.reaches(images[0], "RegionThree", "failed", "stalled")
        assert "RegionThree: could not read image" in replica["last_error"]
        estate.home.images.delete(images[0])
        estate.gone(images[0], ["RegionTwo"])
    finally:
        estate.cloud.start("glance-RegionThree")
    for image in images[1:]:
        estate.follows(image)
    estate.gone(images[0])


def test_p8_a_region_that_hangs_delays_only_itself(estate: Estate) -> None:
    with frozen(estate.cloud, "glance-RegionThree"):
        for number in range(12):  # more than the region may have at a time
            estate.create(number=str(number))
        begun = time.monotonic()
        image = estate.create(random_bytes(1_000_000))
        estate.follows(image, ["RegionTwo"])
        estate.home.images.update(image, foo="bar")
        estate.follows(image, ["RegionTwo"])
        assert time.monotonic() - begun < 25, "less than one request's timeout"
    for image in estate.made:
        estate.follows(image)


def test_p8_a_region_that_is_slow_to_take_bytes(estate: Estate) -> None:
    """1 MB/s for one region; the other has the image as if it were alone."""
    data = random_bytes(40_000_000)
    with (
        Proxy(estate.cloud.region("RegionThree").port, Trouble(rate=2_000_000)) as proxy,
        endpoint(estate, "RegionThree", proxy.port),
    ):
        image = estate.create(data)
        estate.follows(image, ["RegionTwo"])
        behind = estate.replica(image, "RegionThree")
        assert behind is not None
        assert behind["state"] == "copying"
        until(
            lambda: 0 < estate.replica(image, "RegionThree")["bytes_done"] < len(data),  # type: ignore[index]
            30,
            "progress is shown while it runs",
        )
        estate.follows(image, ["RegionThree"])


def test_deleted_in_the_middle_of_its_copy(estate: Estate) -> None:
    with (
        Proxy(estate.cloud.region("RegionThree").port, Trouble(rate=10_000_000)) as proxy,
        endpoint(estate, "RegionThree", proxy.port),
    ):
        image = estate.create(random_bytes(60_000_000))
        estate.reaches(image, "RegionThree", "copying")
        estate.home.images.delete(image)
        estate.gone(image)
        estate.settled()


def test_the_server_is_stopped_past_its_lease_and_goes_on(estate: Estate) -> None:
    with sync_with(estate, lease="2"):
        image = estate.create(random_bytes(100_000_000))
        estate.reaches(image, "RegionTwo", "copying", "in_sync")
        pid = estate.cloud.pid("glance-sync")
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        time.sleep(5)  # the fault itself: longer than the lease
        os.kill(pid, signal.SIGCONT)
        estate.follows(image)
        estate.settled()
