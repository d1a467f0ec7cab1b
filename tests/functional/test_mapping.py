# SPDX-License-Identifier: Apache-2.0
"""Home says where else its images are (home_mapping): on a real cloud."""

import json
import urllib.parse
from collections.abc import Iterator

import pytest
from glanceclient import exc

from devcloud import Cloud
from tests.functional.estate import PATIENCE, Estate, random_bytes
from tests.functional.reconfigured import region_with, sync_with
from tests.functional.test_audits import audited
from tests.functional.wait import until

NAME = "glance_sync_regions"
TWO, THREE = "RegionTwo", "RegionThree"


@pytest.fixture(scope="module")
def mapped(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    estate.settled()
    with sync_with(estate, home_mapping="true"):
        yield estate


@pytest.fixture
def estate(mapped: Estate) -> Iterator[Estate]:
    yield mapped
    mapped.clear()


def said(estate: Estate, image: str) -> dict[str, str]:
    return dict(json.loads(estate.home.images.get(image).get(NAME) or "{}"))


def says(estate: Estate, image: str, **ids: str) -> None:
    """Wait until home says that exactly these regions have it, under these ids."""

    def look() -> bool:
        found = said(estate, image)
        assert found == ids
        return True

    until(look, PATIENCE, f"home says that {ids} have it")
    estate.settled()
    assert said(estate, image) == ids


def written(estate: Estate, image: str) -> int:
    """How often home was told, as the log has it."""
    events = estate.sync("GET", f"/v1/images/{image}/events?limit=1000")[1]["events"]
    return sum(one["what"] == "mapping" for one in events)


def test_home_says_where_it_is_and_nobody_else_does(estate: Estate) -> None:
    data = random_bytes(300_000)
    image = estate.create(data)
    says(estate, image, RegionTwo=image, RegionThree=image)
    assert estate.bytes_of("RegionOne", image) == data
    for region in (TWO, THREE):
        assert NAME not in estate.glances[region].images.get(image)
        assert estate.bytes_of(region, image) == data


def test_what_is_written_there_is_no_change_of_the_image(estate: Estate) -> None:
    image = estate.create()
    says(estate, image, RegionTwo=image, RegionThree=image)
    before = estate.sync("GET", f"/v1/images/{image}")[1]["image"]
    told = written(estate, image)
    assert told <= 2, "once for each region at most"
    estate.home.images.update(image, colour="red")
    until(
        lambda: estate.glances[TWO].images.get(image).get("colour") == "red", PATIENCE, "it follows"
    )
    estate.settled()
    after = estate.sync("GET", f"/v1/images/{image}")[1]["image"]
    assert after["generation"] == before["generation"] + 1
    assert written(estate, image) == told


def test_what_a_region_has_no_more_is_not_said_any_more(estate: Estate) -> None:
    image = estate.create()
    says(estate, image, RegionTwo=image, RegionThree=image)
    estate.glances[TWO].images.delete(image)
    assert estate.sync("POST", f"/v1/images/{image}/sync", json={"regions": [TWO]})[0] == 202

    def another() -> str:
        replica = estate.replica(image, TWO)
        assert replica is not None
        assert (replica["state"], replica["replica_id"] == image) == ("in_sync", False)
        return str(replica["replica_id"])

    other = until(another, PATIENCE, "RegionTwo has it under another id")
    says(estate, image, RegionTwo=other, RegionThree=image)


def test_what_others_write_there_is_mended(estate: Estate) -> None:
    image = estate.create()
    says(estate, image, RegionTwo=image, RegionThree=image)
    estate.home.images.update(image, **{NAME: '{"Nowhere": "x"}'})
    says(estate, image, RegionTwo=image, RegionThree=image)
    estate.home.images.update(image, remove_props=[NAME])
    says(estate, image, RegionTwo=image, RegionThree=image)


def test_an_audit_finds_what_was_in_sync_before_it_was_asked_for(estate: Estate) -> None:
    with sync_with(estate, home_mapping="false"):
        image = estate.create()
        estate.follows(image)
        estate.settled()
        assert said(estate, image) == {}
    assert audited(estate, "RegionOne")["drifted"] == 1
    says(estate, image, RegionTwo=image, RegionThree=image)
    assert audited(estate, "RegionOne")["drifted"] == 0


def test_it_is_deleted_at_home_as_ever(estate: Estate) -> None:
    image = estate.create()
    says(estate, image, RegionTwo=image, RegionThree=image)
    estate.home.images.delete(image)
    estate.gone(image)
    with pytest.raises(exc.HTTPNotFound):
        estate.home.images.get(image)


def test_why_it_is_no_location(estate: Estate) -> None:
    """Glance asks the URL of a location for its size, and has no token to show there.

    When this fails, decision 0021 is to be made again.
    """
    image = estate.create()
    says(estate, image, RegionTwo=image, RegionThree=image)
    url = estate.sync("GET", f"/v1/regions/{TWO}")[1]["region"]["url"]
    options = {
        "enabled_backends": "local:file, web:http",
        "import_filtering_opts__allowed_hosts": "[127.0.0.1,localhost]",
        "import_filtering_opts__allowed_ports": f"[{urllib.parse.urlsplit(url).port}]",
    }
    with region_with(estate, "RegionOne", **options):
        stores = [one["id"] for one in estate.home.images.get_stores_info()["stores"]]
        assert stores == ["local", "web"]
        with pytest.raises(exc.HTTPBadRequest, match="Invalid location"):
            estate.home.images.add_location(image, f"{url}/v2/images/{image}/file", {})
