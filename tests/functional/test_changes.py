# SPDX-License-Identifier: Apache-2.0
"""Every kind of change a user makes to an image at home is seen in the other regions.

Run with the home Glance on the oldest and on the newest supported release.
"""

import io
import uuid
from collections.abc import Iterator

import pytest

from devcloud import Cloud
from tests.functional.estate import Estate, random_bytes, sha512
from tests.functional.wait import until


@pytest.fixture
def estate(versioned_cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(versioned_cloud)
    yield estate
    estate.clear()


def test_upload_by_a_user(estate: Estate) -> None:
    data = random_bytes(3_000_000)
    image = estate.create(
        data,
        user="demo",
        tags=["one", "two"],
        min_disk=3,
        min_ram=512,
        os_distro="debian",
        hw_disk_bus="virtio",
    )
    estate.follows(image)
    there = estate.read("RegionTwo", image)
    assert there is not None
    assert there["os_hash_value"] == sha512(data)
    assert there["owner"] == estate.cloud.session("demo").get_project_id()
    assert estate.bytes_of("RegionTwo", image) == data


def test_properties_added_changed_and_removed_in_one_call(estate: Estate) -> None:
    image = estate.create(keep="1", change="old", drop="x", tags=["a", "b"])
    estate.follows(image)
    estate.home.images.update(
        image, remove_props=["drop"], change="new", add="2", tags=["b", "c"], name="renamed"
    )
    estate.follows(image)
    there = estate.read("RegionTwo", image)
    assert there is not None
    assert "drop" not in there


def test_names_and_keys_of_any_script(estate: Estate) -> None:
    image = estate.create(name="ż" * 255, **{"clé/é~1": "Größe ✓", "空": "値"})
    estate.follows(image)


def test_three_hundred_properties(estate: Estate) -> None:
    image = estate.create(**{f"property_{number:03}": "ü" * 20 for number in range(300)})
    estate.follows(image)


@pytest.mark.parametrize("visibility", ["public", "community", "private", "shared"])
def test_visibility(estate: Estate, visibility: str) -> None:
    image = estate.create(visibility="private" if visibility == "shared" else "shared")
    estate.follows(image)
    estate.home.images.update(image, visibility=visibility)
    estate.follows(image)


def test_protected_hidden_owner_and_minimums(estate: Estate) -> None:
    image = estate.create()
    estate.follows(image)
    other = estate.cloud.session("other").get_project_id()
    estate.home.images.update(image, protected=True, os_hidden=True, min_disk=7, min_ram=64)
    estate.follows(image)
    estate.home.images.update(image, owner=other)
    estate.follows(image)


def test_members_and_their_answers(estate: Estate) -> None:
    image = estate.create(user="demo")
    other = estate.cloud.session("other").get_project_id()
    third = uuid.uuid4().hex
    owner = estate.cloud.glance(estate.cloud.home, "demo")
    owner.image_members.create(image, other)
    owner.image_members.create(image, third)
    estate.follows(image)
    estate.cloud.glance(estate.cloud.home, "other").image_members.update(image, other, "accepted")
    estate.follows(image)
    owner.image_members.delete(image, third)
    estate.follows(image)
    there = estate.read("RegionTwo", image)
    assert there is not None
    assert there["members"] == {other: "accepted"}


def test_deactivated_and_reactivated(estate: Estate) -> None:
    image = estate.create()
    estate.follows(image)
    estate.home.images.deactivate(image)
    estate.follows(image)
    estate.home.images.reactivate(image)
    estate.follows(image)


def test_deactivated_before_it_was_ever_copied(estate: Estate) -> None:
    with Paused(estate):
        image = estate.create()
        estate.home.images.deactivate(image)
    estate.follows(image)


def test_import(estate: Estate) -> None:
    image = estate.create(None)
    estate.home.images.stage(image, io.BytesIO(random_bytes(100_000)))
    estate.home.images.image_import(image, method="glance-direct")
    estate.follows(image)


def test_an_image_of_no_bytes(estate: Estate) -> None:
    image = estate.create(b"")
    estate.follows(image)
    assert estate.bytes_of("RegionTwo", image) == b""


def test_deleted(estate: Estate) -> None:
    image = estate.create()
    estate.follows(image)
    estate.home.images.delete(image)
    estate.gone(image)
    estate.reaches(image, "RegionTwo", "deleted")


def test_a_protected_replica_is_deleted_when_home_unprotects_and_deletes(estate: Estate) -> None:
    image = estate.create(protected=True)
    estate.follows(image)
    with Paused(estate):
        estate.home.images.update(image, protected=False)
        estate.home.images.delete(image)
    estate.gone(image)


def test_deleted_while_the_server_was_down(estate: Estate) -> None:
    image = estate.create()
    estate.follows(image)
    with Paused(estate):
        estate.home.images.delete(image)
    estate.gone(image)


def test_kernel_and_ramdisk_are_named_by_their_ids_in_the_region(estate: Estate) -> None:
    kernel = estate.create(container_format="aki", disk_format="aki")
    image = estate.create(container_format="ami", disk_format="ami", kernel_id=kernel)
    estate.follows(kernel)
    estate.follows(image)
    # The region loses the kernel and never takes its id again.
    estate.glances["RegionTwo"].images.delete(kernel)
    assert estate.sync("POST", f"/v1/images/{kernel}/sync")[0] == 202

    def mapped() -> str | None:
        replica = estate.replica(kernel, "RegionTwo")
        assert replica is not None
        if replica["state"] != "in_sync" or replica["replica_id"] == kernel:
            return None
        assert estate.read("RegionTwo", replica["replica_id"]) is not None
        return replica["replica_id"]

    there = until(mapped, 60, "the kernel has a new id in RegionTwo")
    estate.follows(kernel, RegionTwo=there)

    def rewritten() -> bool:
        seen = estate.read("RegionTwo", image)
        assert seen is not None
        return bool(seen["kernel_id"] == there)

    until(rewritten, 60, "the image refers to the kernel's id in RegionTwo")
    estate.home.images.delete(kernel)
    estate.gone(there, ["RegionTwo"])


class Paused:
    """glance-sync is down for a while; the hook keeps its hints until it is back."""

    def __init__(self, estate: Estate) -> None:
        self._cloud = estate.cloud

    def __enter__(self) -> None:
        self._cloud.stop("glance-sync")

    def __exit__(self, *exc_info: object) -> None:
        self._cloud.start("glance-sync")
