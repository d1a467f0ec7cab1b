# SPDX-License-Identifier: Apache-2.0
"""The reconciler on a real cloud: what no hint told of is found and mended."""

import contextlib
import io
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from devcloud import Cloud
from tests.functional.estate import PATIENCE, Estate, random_bytes
from tests.functional.reconfigured import sync_with
from tests.functional.wait import until


@pytest.fixture
def estate(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    yield estate
    estate.clear()


def audited(estate: Estate, region: str) -> dict[str, Any]:
    """Have a region audited and wait until that is done."""
    before = estate.sync("GET", f"/v1/audits/{region}")[1]["audit"]
    assert estate.sync("POST", f"/v1/audits/{region}/run")[0] == 202

    def done() -> dict[str, Any]:
        audit: dict[str, Any] = estate.sync("GET", f"/v1/audits/{region}")[1]["audit"]
        assert audit["finished_at"] != before["finished_at"], "the audit has not ended yet"
        assert not audit["running"]
        return audit

    found: dict[str, Any] = until(done, PATIENCE, f"{region} is audited")
    return found


@contextlib.contextmanager
def hints_lost(estate: Estate) -> Iterator[None]:
    """What changes at home meanwhile, nobody will ever tell glance-sync of."""
    estate.settled()
    estate.cloud.stop("glance-sync")
    try:
        yield
    finally:
        estate.cloud.kill("glance-RegionOne")  # with what its hook still had to say
        estate.cloud.start("glance-RegionOne")
        estate.cloud.start("glance-sync")


def test_drift_in_a_region_is_mended(estate: Estate) -> None:
    changed, gone, locked = (estate.create(random_bytes(1000)) for _ in range(3))
    for image in (changed, gone, locked):
        estate.follows(image)
    estate.settled()
    region = estate.glances["RegionTwo"]
    region.images.update(changed, name="drifted", surplus="x", os_hidden=True)
    region.images.delete(gone)
    region.images.deactivate(locked)

    audit = audited(estate, "RegionTwo")
    assert (audit["drifted"], audit["missing"]) == (2, 1)
    estate.follows(changed)
    estate.follows(locked)
    replica = until(lambda: _other_id(estate, gone), PATIENCE, "the deleted replica is there again")
    estate.follows(gone, RegionTwo=replica)
    estate.settled()
    audit = audited(estate, "RegionTwo")
    assert (audit["drifted"], audit["missing"]) == (0, 0)


def _other_id(estate: Estate, image: str) -> str:
    replica = estate.replica(image, "RegionTwo")
    assert replica is not None
    assert replica["replica_id"] not in (None, image)
    return str(replica["replica_id"])


def test_members_that_drifted_are_mended(estate: Estate) -> None:
    image = estate.create(random_bytes(1000), visibility="shared")
    estate.home.image_members.create(image, "a" * 32)
    estate.follows(image)
    estate.settled()
    before = estate.glances["RegionThree"].images.get(image)["updated_at"]
    estate.glances["RegionTwo"].image_members.delete(image, "a" * 32)
    estate.glances["RegionThree"].image_members.create(image, "b" * 32)
    after = estate.glances["RegionThree"].images.get(image)["updated_at"]
    assert after == before, "a watch can't know"
    for region in estate.others:
        assert audited(estate, region)["drifted"] == 1
    estate.follows(image)


def test_what_no_hint_told_of_is_found_at_home(estate: Estate) -> None:
    changed, deleted = estate.create(random_bytes(1000)), estate.create(random_bytes(1000))
    for image in (changed, deleted):
        estate.follows(image)
    with hints_lost(estate):
        made = estate.create(random_bytes(1000))
        estate.home.images.update(changed, name="nobody was told")
        estate.home.images.delete(deleted)

    audit = audited(estate, "RegionOne")
    assert audit["held"] == 0
    estate.follows(made)
    estate.follows(changed)
    estate.gone(deleted)


def test_too_many_deletions_wait_for_a_human(estate: Estate) -> None:
    images = [estate.create(random_bytes(100)) for _ in range(3)]
    for image in images:
        estate.follows(image)
    with sync_with(estate, delete_guard_images="1", delete_guard_percent="0"):
        with hints_lost(estate):
            for image in images:
                estate.home.images.delete(image)
        audit = audited(estate, "RegionOne")
        assert audit["held"] == 3
        found = estate.sync("GET", "/v1/audits/RegionOne")[1]["audit"]["findings"]
        assert {(one["what"], one["image_id"]) for one in found} == {("gone", i) for i in images}
        estate.settled()
        for image in images:
            for region in estate.others:
                assert estate.read(region, image) is not None

        status, _ = estate.sync("POST", "/v1/audits/RegionTwo/release")
        assert status == 409
        assert estate.sync("POST", "/v1/audits/RegionOne/release")[0] == 202
        for image in images:
            estate.gone(image)
        cleared = until(
            lambda: estate.sync("GET", "/v1/audits/RegionOne")[1]["audit"]["held"] == 0,
            PATIENCE,
            "nothing is held any more",
        )
        assert cleared


def test_recent_drift_is_found_without_an_audit(estate: Estate) -> None:
    image = estate.create(random_bytes(1000))
    estate.follows(image)
    with sync_with(estate, watch_interval="1"):
        estate.settled()
        estate.glances["RegionThree"].images.update(image, name="drifted", tags=["x"])
        estate.follows(image)


@contextlib.contextmanager
def not_in_the_catalog(estate: Estate, region: str) -> Iterator[None]:
    """Keystone lists no image endpoint of a region."""
    session = estate.cloud.session()
    identity = f"{estate.cloud.auth_url.rstrip('/').removesuffix('/v3')}/v3"
    services = session.get(f"{identity}/services?type=image").json()["services"]
    found = session.get(
        f"{identity}/endpoints?region_id={region}&service_id={services[0]['id']}"
    ).json()["endpoints"]

    def enable(value: bool) -> None:
        for one in found:
            session.patch(
                f"{identity}/endpoints/{one['id']}", json={"endpoint": {"enabled": value}}
            )

    enable(False)
    try:
        yield
    finally:
        enable(True)


def test_the_journal_lost_altogether_is_rebuilt_and_a_new_region_is_filled(estate: Estate) -> None:
    data = random_bytes(1000)
    images = [estate.create(data, number=str(number)) for number in range(2)]
    for image in images:
        estate.follows(image)
    two, three = estate.glances["RegionTwo"], estate.glances["RegionThree"]
    stranger = two.images.create(name="twin", disk_format="raw", container_format="bare")["id"]
    two.images.upload(stranger, io.BytesIO(data))
    estate.home.images.update(images[0], name="twin")
    estate.follows(images[0])
    estate.settled()
    with sync_with(estate, catalog_interval="1"):
        with not_in_the_catalog(estate, "RegionThree"):
            estate.cloud.stop("glance-sync")
            for part in estate.cloud.directory.glob("glance-sync.sqlite*"):
                part.unlink()
            for image in images:
                three.images.delete(image)
            manage = estate.cloud.sync_venv() / "bin" / "glance-sync-manage"
            config = str(estate.cloud.sync_config)
            subprocess.run([str(manage), "--config-file", config, "db_sync"], check=True)
            estate.cloud.start("glance-sync")
            for image in images:
                replica = until(
                    lambda image=image: estate.reaches(image, "RegionTwo", "in_sync"),
                    PATIENCE,
                    "the replica is on record again",
                )
                assert not replica["made_by_us"]
                assert estate.replica(image, "RegionThree") is None
        for image in images:
            until(
                lambda image=image: estate.replica(image, "RegionThree"), PATIENCE, "it is wanted"
            )
            replica = estate.reaches(image, "RegionThree", "in_sync")
            assert replica["made_by_us"]
            estate.follows(image, RegionThree=replica["replica_id"])
    audited(estate, "RegionTwo")
    found = estate.sync("GET", "/v1/audits/RegionTwo")[1]["audit"]["findings"]
    assert ("adoptable", images[0], stranger) in {
        (one["what"], one["image_id"], one["other_id"]) for one in found
    }
    two.images.delete(stranger)
    for image in images:  # adopted replicas are not deleted with their image
        two.images.delete(image)
