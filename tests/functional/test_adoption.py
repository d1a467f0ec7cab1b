# SPDX-License-Identifier: Apache-2.0
"""Images that regions have already: taken for replicas because a human says so."""

import io
import uuid
from collections.abc import Iterator

import pytest

from devcloud import Cloud
from tests.functional.estate import PATIENCE, Estate, random_bytes
from tests.functional.test_cli import Cli
from tests.functional.test_regions import sync_with
from tests.functional.wait import until


@pytest.fixture
def estate(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    yield estate
    estate.clear()


@pytest.fixture
def cli(cloud: Cloud) -> Cli:
    return Cli(cloud)


def stranger(estate: Estate, region: str, data: bytes, name: str = "foreign") -> str:
    """An image that somebody made in a region, not knowing of home's."""
    images = estate.glances[region].images
    image: str = images.create(name=name, disk_format="raw", container_format="bare")["id"]
    images.upload(image, io.BytesIO(data))
    return image


def test_an_image_of_another_id_is_adopted(estate: Estate, cli: Cli) -> None:
    data = random_bytes(1000)
    deleted = estate.create()
    estate.follows(deleted)
    with sync_with(estate, sync_strategy="None"):
        image = estate.create(data, tags=["t"], visibility="public")
        estate.home.images.delete(deleted)
        twin = stranger(estate, "RegionTwo", data)
        other = stranger(estate, "RegionTwo", data[::-1])

        said = cli.error("adopt", image, "RegionTwo", other, "--wait")
        assert f"{other} of RegionTwo is not adopted: its bytes differ from the home" in said
        said = cli.error("adopt", image, "RegionTwo", str(uuid.uuid4()), "--wait")
        assert "is not adopted: there is no such image" in said
        adopted = cli.json("adopt", image, "RegionTwo", twin, "--timeout", str(PATIENCE))
        assert (adopted["replica_id"], adopted["result"]) == (twin, "adopted")
        untouched = estate.read("RegionTwo", twin)
        assert untouched is not None
        assert untouched["name"] == "foreign"
        said = cli.error("adopt", image, "RegionTwo", image)
        assert f"the replica in RegionTwo is image {twin} (HTTP 409)" in said

    # What was put off, and what changed meanwhile, is found by itself.
    estate.follows(image, RegionTwo=twin)
    estate.gone(deleted)
    assert estate.read("RegionTwo", image) is None, "it has not been copied"
    replica = estate.reaches(image, "RegionTwo", "in_sync")
    assert (replica["replica_id"], replica["made_by_us"]) == (twin, False)

    owned = cli.json("adopt", image, "RegionTwo", "--own", "--timeout", str(PATIENCE))
    assert (owned["replica_id"], owned["result"]) == (twin, "adopted")
    assert estate.reaches(image, "RegionTwo", "in_sync")["made_by_us"]
    estate.home.images.delete(image)
    until(lambda: estate.read("RegionTwo", twin) is None, PATIENCE, "its replica is deleted")
    estate.glances["RegionTwo"].images.delete(other)
