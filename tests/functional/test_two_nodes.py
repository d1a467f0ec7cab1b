"""Two nodes on one journal that are not configured alike: refused, or told of."""

from collections.abc import Iterator

import pytest

from devcloud import Cloud
from tests.functional.daemons import Daemon
from tests.functional.estate import PATIENCE, Estate
from tests.functional.wait import until


@pytest.fixture
def estate(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    yield estate
    estate.clear()


def test_a_node_with_another_home_is_refused(estate: Estate) -> None:
    cloud = estate.cloud
    image = estate.create()
    estate.follows(image)
    regions = estate.sync("GET", "/v1/regions")[1]["regions"]
    other = Daemon(
        cloud,
        "node-with-another-home",
        cascading_endpoint_url=cloud.region("RegionTwo").url,
        bind_port=str(cloud.sync_port + 1),
    )
    other.launch()
    until(lambda: other.pid is None, PATIENCE, "it ends")
    said = other.log.splitlines()[-1]
    assert said.startswith(f"glance-sync: {other.config}: [DEFAULT] cascading_endpoint_url: ")
    assert "the home of this journal is RegionOne" in said
    assert "Traceback" not in other.log
    assert [one["home"] for one in estate.sync("GET", "/v1/regions")[1]["regions"]] == [
        one["home"] for one in regions
    ]
    estate.home.images.update(image, foo="bar")
    estate.follows(image)
