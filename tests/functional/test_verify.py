# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync verify`` and the bytes in the stores of real Glances."""

import contextlib
import io
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from devcloud import Cloud
from tests.functional.estate import Estate, random_bytes, sha512
from tests.functional.test_cli import Cli

SIZE = 5_000_000


@pytest.fixture
def estate(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    yield estate
    estate.clear()


@pytest.fixture
def cli(cloud: Cloud) -> Cli:
    return Cli(cloud)


def rot(estate: Estate, region: str, image: str) -> None:
    """Flip a bit in the middle of an image's file; its Glance notices nothing."""
    path = estate.cloud.region(region).datadir / image
    with path.open("r+b") as file:
        file.seek(SIZE // 2)
        byte = file.read(1)
        file.seek(SIZE // 2)
        file.write(bytes([byte[0] ^ 1]))


def replicas(shown: Any) -> dict[str, Any]:
    return {one["region"]: one for one in shown["replicas"]}


def log(estate: Estate, image: str) -> list[tuple[str, str, str]]:
    """The event log about an image: region, what, detail."""
    query = f"SELECT region, what, detail FROM event WHERE image_id = '{image}' ORDER BY id"
    path = estate.cloud.directory / "glance-sync.sqlite"
    done = subprocess.run(
        ["sqlite3", "-json", str(path), query], capture_output=True, text=True, check=True
    )
    return [(one["region"], one["what"], one["detail"]) for one in json.loads(done.stdout)]


def test_bytes_that_rotted_in_a_region_are_found_and_copied_again(estate: Estate, cli: Cli) -> None:
    content = random_bytes(SIZE)
    image = estate.create(content)
    estate.follows(image)
    estate.settled()
    rot(estate, "RegionTwo", image)

    shown = cli.json("verify", image, "--wait")
    assert shown["result"] == "in_sync", "by the hashes that are said, it is"
    assert {one["verified_at"] for one in replicas(shown).values()} == {None}
    assert sha512(estate.bytes_of("RegionTwo", image)) != sha512(content)

    shown = cli.json("verify", image, "--full", "--wait")
    assert shown["result"] == "in_sync"
    two, three = (replicas(shown)[region] for region in ("RegionTwo", "RegionThree"))
    assert two["replica_id"] not in (None, image), "Glance takes no id twice"
    assert sha512(estate.bytes_of("RegionTwo", two["replica_id"])) == sha512(content)
    assert three["replica_id"] == image
    assert three["verified_at"] is not None
    estate.follows(image, RegionTwo=two["replica_id"])

    told = log(estate, image)
    assert ("RegionTwo", "delete", f"{image}: its bytes differ from the home image's") in told
    [rotten] = [detail for region, what, detail in told if what == "rotten"]
    assert f"not {sha512(content)}" in rotten
    assert ("RegionOne", "verify", f"{SIZE} bytes are right") in told

    shown = cli.json("verify", image, "--full", "--wait", "--region", "RegionTwo")
    assert replicas(shown)["RegionTwo"]["verified_at"] is not None
    estate.home.images.delete(image)
    estate.gone(two["replica_id"], ["RegionTwo"])


def test_homes_own_rot_is_said_and_nothing_is_done(estate: Estate, cli: Cli) -> None:
    content = random_bytes(SIZE)
    image = estate.create(content)
    estate.follows(image)
    estate.settled()
    rot(estate, "RegionOne", image)
    done = cli("verify", image, "--full", "--wait", "-f", "json", code=3)
    assert "not in sync: home: the bytes have rotted" in done.stderr
    shown = cli.json("show", image)
    assert shown["last_error"].startswith("the bytes have rotted")
    for region in estate.others:
        assert estate.bytes_of(region, image) == content, "here are the right ones"
        assert replicas(shown)[region]["replica_id"] == image

    rot(estate, "RegionOne", image)
    cli("verify", image, "--full", "--wait")
    assert cli.json("show", image)["last_error"] is None


def test_rot_of_what_is_not_ours_and_bytes_that_can_not_be_read(estate: Estate, cli: Cli) -> None:
    content = random_bytes(SIZE)
    image = estate.create(None)
    there = estate.glances["RegionTwo"].images
    there.create(id=image, name="theirs", container_format="bare", disk_format="raw")
    there.upload(image, io.BytesIO(content))
    estate.home.images.upload(image, io.BytesIO(content), image_size=SIZE)
    estate.follows(image)
    assert estate.reaches(image, "RegionTwo", "in_sync")["made_by_us"] is False
    rot(estate, "RegionTwo", image)
    store = estate.cloud.region("RegionThree").datadir / image
    store.rename(store.with_suffix(".away"))
    try:
        said = cli("verify", image, "--full", "--wait", code=3).stderr
    finally:
        store.with_suffix(".away").rename(store)
    assert "RegionTwo: conflict" in said
    two = estate.replica(image, "RegionTwo")
    three = estate.replica(image, "RegionThree")
    assert two is not None
    assert three is not None
    assert "rotted" in two["last_error"]
    assert two["replica_id"] == three["replica_id"] == image, "nothing was deleted"
    assert three["last_error"].startswith("the bytes could not be read: could not read image")
    rot(estate, "RegionTwo", image)
    cli("verify", image, "--full", "--wait")
    with contextlib.suppress(Exception):
        estate.home.images.delete(image)
    there.delete(image)
