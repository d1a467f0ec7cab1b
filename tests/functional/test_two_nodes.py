# SPDX-License-Identifier: Apache-2.0
"""Two nodes on one journal that are not configured alike: refused, or told of."""

from collections.abc import Iterator

import pytest

from devcloud import Cloud
from tests.functional.daemons import Daemon
from tests.functional.estate import PATIENCE, Estate
from tests.functional.reconfigured import sync_with
from tests.functional.wait import until

FORGOTTEN = 90.0  # seconds; a node that has said nothing for 60 is taken for dead


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
    assert said.startswith("glance-sync: ")
    assert "[DEFAULT] cascading_endpoint_url: is the endpoint of RegionTwo" in said
    assert "the home of this journal is RegionOne" in said
    assert "Traceback" not in other.log
    assert [one["home"] for one in estate.sync("GET", "/v1/regions")[1]["regions"]] == [
        one["home"] for one in regions
    ]
    estate.home.images.update(image, foo="bar")
    estate.follows(image)


def test_nodes_that_differ_in_what_a_replica_should_be_are_named(estate: Estate) -> None:
    cloud = estate.cloud
    pid = cloud.pid("glance-sync")
    one = {"preserve_properties": "mine_*", "region_workers": "2"}

    def differences() -> dict[str, dict[str, list[str]]]:
        return dict(estate.sync("GET", "/v1/status")[1]["status"]["differences"])

    until(
        lambda: not differences(), FORGOTTEN, "nodes that earlier tests have killed are forgotten"
    )
    with Daemon(cloud, "node-of-another-mind", bind_port=str(cloud.sync_port + 1), **one) as other:
        until(differences, PATIENCE, "the difference is told of")
        ((option, values),) = differences().items()
        assert option == "preserve_properties"
        pids = {v: {name.rpartition(":")[2] for name in names} for v, names in values.items()}
        assert pids.keys() == {"", "mine_*"}
        assert str(pid) in pids[""], "with those of earlier tests that died less than a minute ago"
        assert pids["mine_*"] == {str(other.pid)}
        said = "nodes that share this journal differ in preserve_properties"
        until(lambda: said in other.log, PATIENCE, "it warns")
        with sync_with(estate, preserve_properties="mine_*"):
            assert not differences(), "all know what is in force as soon as it is"
        assert differences()
    until(lambda: not differences(), PATIENCE, "it is gone, and so is the difference")
