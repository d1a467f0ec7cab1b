# SPDX-License-Identifier: Apache-2.0
"""What regions do to a replica: refuse, preserve, clash, forget, import by themselves."""

import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcloud import Cloud
from tests.functional.estate import Estate, random_bytes
from tests.functional.reconfigured import region_with, sync_with
from tests.functional.wait import until


@pytest.fixture
def estate(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    yield estate
    estate.clear()


def test_one_read_of_home_serves_all_regions(estate: Estate) -> None:
    """And the bytes are read once, from the source's own access log."""
    estate.settled()
    log = estate.cloud.log(f"glance-{estate.cloud.home}")
    image = estate.create(random_bytes(20_000_000))
    estate.follows(image)
    reads = [
        line for line in log.read_text().splitlines() if f"GET /v2/images/{image}/file" in line
    ]
    assert len(reads) == 1, reads
    replica = estate.reaches(image, "RegionThree", "in_sync")
    assert (replica["bytes_done"], replica["bytes_total"]) == (20_000_000, 20_000_000)
    assert replica["transport"] == "upload"


def test_pull_has_the_regions_import_the_image(estate: Estate) -> None:
    data = random_bytes(5_000_000)
    with sync_with(estate, transports="pull,upload"):
        image = estate.create(data, foo="bar", tags=["x"])
        estate.follows(image)
        assert estate.reaches(image, "RegionTwo", "in_sync")["transport"] == "pull"
        assert estate.bytes_of("RegionTwo", image) == data


def test_a_region_that_has_the_image_serves_it_to_the_next(estate: Estate) -> None:
    """By the regions' own records, and by home's access log."""
    data = random_bytes(5_000_000)
    with sync_with(estate, transports="pull", source_transfers="1"):
        image = estate.create(data)
        estate.follows(image)
        replicas = [estate.reaches(image, name, "in_sync") for name in ("RegionTwo", "RegionThree")]
        (first,) = [one for one in replicas if one["source"] == "RegionOne"]
        (second,) = [one for one in replicas if one is not first]
        assert second["source"] == first["region"]
        for one in replicas:
            assert estate.bytes_of(one["region"], image) == data
        events = estate.sync("GET", f"/v1/images/{image}/events")[1]["events"]
        said = [event["detail"] for event in events if event["what"] == "transfer"]
        assert sorted(said) == sorted(
            f"5000000 bytes by pull from {one['source']}" for one in replicas
        )


def test_a_region_that_protects_a_property(estate: Estate, tmp_path: Path) -> None:
    """It is told which property and why; the rest of the image is there."""
    rules = tmp_path / "protections.conf"
    rules.write_text(
        "[^forbidden.*]\ncreate = !\nread = @\nupdate = !\ndelete = !\n\n"
        "[.*]\ncreate = @\nread = @\nupdate = @\ndelete = @\n"
    )
    with region_with(estate, "RegionThree", property_protection_file=str(rules)):
        image = estate.create(forbidden_one="1", forbidden_two="2", allowed="3")
        estate.follows(image, ["RegionTwo"])
        replica = estate.reaches(image, "RegionThree", "partial")
        assert set(replica["refused"]) == {"forbidden_one", "forbidden_two"}
        assert all("403" in why for why in replica["refused"].values())
        there = estate.read("RegionThree", image)
        assert there is not None
        assert there["allowed"] == "3"
        assert there["status"] == "active"
    assert estate.sync("POST", f"/v1/images/{image}/sync")[0] == 202
    estate.follows(image)
    estate.reaches(image, "RegionThree", "in_sync")


def test_a_region_with_a_smaller_quota_of_properties(estate: Estate) -> None:
    with region_with(estate, "RegionThree", image_property_quota="10"):
        image = estate.create(**{f"key{number}": "x" for number in range(20)})
        estate.follows(image, ["RegionTwo"])
        replica = estate.reaches(image, "RegionThree", "partial")
        assert len(replica["refused"]) == 10


def test_properties_a_region_keeps_for_itself(estate: Estate) -> None:
    with sync_with(estate, preserve_properties="local_*,region"):
        image = estate.create(foo="1", local_home="not for others")
        there: dict[str, Any] = {}

        def active() -> bool:
            nonlocal there
            there = estate.read("RegionTwo", image) or {}
            return there.get("foo") == "1" and there.get("status") == "active"

        until(active, 60, "RegionTwo has the image")
        assert "local_home" not in there
        estate.reaches(image, "RegionTwo", "in_sync")
        estate.glances["RegionTwo"].images.update(image, local_cache="warm", region="two")
        estate.home.images.update(image, foo="2")
        until(lambda: (estate.read("RegionTwo", image) or {}).get("foo") == "2", 60, "foo is 2")
        there = estate.read("RegionTwo", image) or {}
        assert (there["local_cache"], there["region"]) == ("warm", "two")

        # They outlive the image they were set on, when another takes its place.
        other = str(uuid.uuid4())
        region = estate.glances["RegionTwo"].images
        region.create(
            id=other, container_format="bare", disk_format="raw", local_cache="hot", foo="not ours"
        )
        region.upload(other, io.BytesIO(random_bytes(1000)))
        estate.create(random_bytes(2000), id=other)
        estate.reaches(other, "RegionTwo", "conflict")
        body = {"regions": ["RegionTwo"], "force": True}
        assert estate.sync("POST", f"/v1/images/{other}/sync", json=body)[0] == 202
        replica = estate.reaches(other, "RegionTwo", "in_sync")
        there = estate.read("RegionTwo", replica["replica_id"]) or {}
        assert (there["local_cache"], "foo" in there) == ("hot", False)
        estate.home.images.delete(other)
        estate.gone(replica["replica_id"], ["RegionTwo"])


def test_an_image_of_the_same_id_that_is_not_ours_is_left_alone(estate: Estate) -> None:
    image = str(uuid.uuid4())
    foreign = estate.glances["RegionTwo"].images.create(
        id=image, name="foreign", container_format="bare", disk_format="raw"
    )
    estate.glances["RegionTwo"].images.upload(image, io.BytesIO(random_bytes(1000)))
    estate.create(random_bytes(2000), id=image)
    estate.follows(image, ["RegionThree"])
    replica = estate.reaches(image, "RegionTwo", "conflict")
    assert "not made by glancesync" in replica["last_error"]
    assert estate.glances["RegionTwo"].images.get(image)["name"] == "foreign"
    # An operator may say otherwise.
    status, _ = estate.sync(
        "POST", f"/v1/images/{image}/sync", json={"regions": ["RegionTwo"], "force": True}
    )
    assert status == 202
    replica = estate.reaches(image, "RegionTwo", "in_sync")
    estate.follows(image, RegionTwo=replica["replica_id"])
    estate.home.images.delete(image)
    estate.gone(replica["replica_id"], ["RegionTwo"])
    assert foreign["id"] == image


def test_an_equal_image_that_is_not_ours_is_adopted_and_never_deleted(estate: Estate) -> None:
    image, data = str(uuid.uuid4()), random_bytes(1000)
    there = estate.glances["RegionTwo"]
    there.images.create(id=image, name="old name", container_format="bare", disk_format="raw")
    there.images.upload(image, io.BytesIO(data))
    estate.create(data, id=image, foo="bar")
    estate.follows(image)
    assert estate.reaches(image, "RegionTwo", "in_sync")["made_by_us"] is False
    estate.home.images.delete(image)
    estate.gone(image, ["RegionThree"])
    estate.reaches(image, "RegionTwo", "released")
    assert estate.read("RegionTwo", image) is not None
    there.images.delete(image)


def test_a_region_whose_glance_has_a_wrong_password(estate: Estate) -> None:
    """It alone is behind, says why, and recovers by itself."""
    secret = "not the password"
    with region_with(estate, "RegionThree", keystone_authtoken__password=secret):
        image = estate.create()
        estate.follows(image, ["RegionTwo"])
        replica = estate.reaches(image, "RegionThree", "failed", "stalled")
        assert "RegionThree" in replica["last_error"]
        regions = {one["name"]: one for one in estate.sync("GET", "/v1/regions")[1]["regions"]}
        assert regions["RegionThree"]["last_error"]
        assert regions["RegionTwo"]["last_error"] is None
    estate.follows(image)


def test_a_region_in_maintenance_waits_and_catches_up(estate: Estate) -> None:
    def maintenance(on: bool) -> None:
        assert estate.sync("PATCH", "/v1/regions/RegionThree", json={"maintenance": on})[0] == 200

    maintenance(True)
    try:
        image = estate.create()
        estate.follows(image, ["RegionTwo"])
        estate.home.images.update(image, foo="bar")
        estate.follows(image, ["RegionTwo"])
        assert estate.read("RegionThree", image) is None
        assert estate.replica(image, "RegionThree")["state"] == "pending"  # type: ignore[index]
    finally:
        maintenance(False)
    estate.follows(image)


def test_sync_on_request_mends_what_somebody_changed_in_a_region(estate: Estate) -> None:
    image = estate.create(foo="bar")
    estate.follows(image)
    estate.settled()
    estate.glances["RegionTwo"].images.update(image, foo="changed there", name="other")
    assert estate.sync("POST", f"/v1/images/{image}/sync")[0] == 202
    estate.follows(image)


def test_an_event_about_an_image_that_never_was(estate: Estate) -> None:
    unknown = str(uuid.uuid4())
    body = {"events": [{"image_id": unknown}]}
    assert estate.sync("POST", "/v1/events", user="glance", json=body)[0] == 202
    estate.settled()
    assert estate.sync("GET", f"/v1/images/{unknown}")[0] == 404
    _, tasks = estate.sync("GET", f"/v1/tasks?state=done&image_id={unknown}")
    assert tasks["tasks"][0]["reason"] == "home has no such image"


def test_a_member_of_a_project_sees_its_own_images_only(estate: Estate) -> None:
    mine = estate.create(user="demo")
    other = estate.create(user="other")
    estate.follows(mine)
    estate.follows(other)
    status, body = estate.sync("GET", "/v1/images?limit=1000", user="demo")
    assert status == 200
    listed = {image["id"] for image in body["images"]}
    assert mine in listed
    assert other not in listed
    assert estate.sync("GET", f"/v1/images/{other}", user="demo")[0] == 404
    assert estate.sync("POST", "/v1/events", user="demo", json={"events": []})[0] == 403
    assert estate.sync("GET", "/v1/tasks", user="demo")[0] == 403


def test_status_says_in_sync(estate: Estate) -> None:
    image = estate.create()
    estate.follows(image)
    estate.settled()
    status = estate.sync("GET", "/v1/status")[1]["status"]
    assert status["in_sync"] is True
    assert {region["name"] for region in status["regions"]} == set(estate.cloud.names)
    assert json.dumps(status).count('"home": true') == 1
