# SPDX-License-Identifier: Apache-2.0
"""A worker is killed when a file is where it belongs, and the region's Glance not told of it."""

import os
from collections.abc import Iterator

import pytest

from devcloud import Cloud
from tests.faults import points
from tests.faults.nodes import Nodes
from tests.functional.estate import Estate, random_bytes, sha512
from tests.functional.ssh_stores import store_file
from tests.functional.wait import until

OPTIONS = {"lease": "1", "watch_interval": "1", "retry_interval": "0.2"}
FIRST, UPLOAD = "worker-1", "worker-2"
SIZE = 300_000
RSYNC = pytest.param("rsync", marks=pytest.mark.matrix)
files_only = pytest.mark.parametrize("nodes", ["filesystem"], indirect=True)


@pytest.fixture(scope="module", params=["filesystem", "scp", RSYNC])
def nodes(request: pytest.FixtureRequest, cloud: Cloud) -> Iterator[Nodes]:
    """A worker that copies files, here or to real sshds, and one that is not started yet."""
    options = {**OPTIONS, "transports": f"{request.param},upload"}
    if request.param != "filesystem":
        beside = [name for name in cloud.names if name != cloud.home]
        hosts = dict(zip(beside, request.getfixturevalue("two_hosts"), strict=True))
        options["glance_store_cfg_file"] = str(store_file(cloud, hosts))
    cloud.stop("glance-sync")
    own = {UPLOAD: {"transports": "upload"}}
    with Nodes(cloud, 1, 2, first_port=cloud.sync_port, own=own, **options) as nodes:
        nodes.end(UPLOAD)
        yield nodes
    cloud.start("glance-sync")


@pytest.fixture
def estate(nodes: Nodes) -> Iterator[Estate]:
    estate = Estate(nodes.cloud)
    yield estate
    nodes.end(UPLOAD)
    nodes.start(FIRST)
    estate.clear()


def files(estate: Estate, region: str, image: str) -> set[str]:
    """What is in a region's store because of an image."""
    return {name for name in os.listdir(estate.cloud.region(region).datadir) if image in name}


def killed(nodes: Nodes, estate: Estate, point: str, content: bytes) -> tuple[str, str]:
    """An image, and the region that was about to get it from a worker that was killed."""
    points.arm(nodes.points, point)
    image = estate.create(content)
    assert until(lambda: nodes.reached(point), 60, f"somebody comes to {point!r}") == FIRST
    nodes.kill(FIRST)
    region = next(name for name in estate.others if image in files(estate, name, image))
    return image, region


def test_the_next_worker_adopts_it(nodes: Nodes, estate: Estate) -> None:
    content = random_bytes(SIZE)
    image, region = killed(nodes, estate, "register", content)
    assert files(estate, region, image) == {image, f".{image}.glance-sync"}
    path = estate.cloud.region(region).datadir / image
    before = path.stat()
    nodes.start(FIRST)
    estate.follows(image)
    assert path.stat().st_ino == before.st_ino
    assert sha512(estate.bytes_of(region, image)) == sha512(content)
    until(lambda: files(estate, region, image) == {image}, 20, "the mark is gone")


def test_it_goes_when_the_home_image_does(nodes: Nodes, estate: Estate) -> None:
    image, region = killed(nodes, estate, "register", random_bytes(SIZE))
    assert image in files(estate, region, image)
    estate.home.images.delete(image)
    nodes.start(FIRST)
    estate.gone(image)
    estate.settled()
    for name in estate.others:
        assert files(estate, name, image) == set()


def test_it_makes_way_for_another_transport(nodes: Nodes, estate: Estate) -> None:
    """Glance itself never writes where a file is."""
    content = random_bytes(SIZE)
    image, region = killed(nodes, estate, "register", content)
    assert image in files(estate, region, image)
    nodes.start(UPLOAD)
    estate.follows(image)
    assert sha512(estate.bytes_of(region, image)) == sha512(content)
    until(lambda: estate.replica(image, region)["transport"] == "upload", 20, "the record")  # type: ignore[index]
    assert files(estate, region, image) == {image}


@files_only
def test_it_goes_when_the_region_takes_another_id(nodes: Nodes, estate: Estate) -> None:
    """Its admin deletes the image meanwhile; Glance takes no id twice."""
    image, region = killed(nodes, estate, "register", random_bytes(SIZE))
    estate.glances[region].images.delete(image)
    nodes.start(FIRST)
    replica = estate.reaches(image, region, "in_sync")
    assert replica["replica_id"] != image
    assert files(estate, region, image) == set()
    estate.home.images.delete(image)
    until(lambda: estate.read(region, replica["replica_id"]) is None, 60, "the replica is gone")


@files_only
def test_it_goes_when_nobody_has_the_image(nodes: Nodes, estate: Estate) -> None:
    image, region = killed(nodes, estate, "register", random_bytes(SIZE))
    estate.glances[region].images.delete(image)
    estate.home.images.delete(image)
    nodes.start(FIRST)
    estate.gone(image)
    estate.settled()
    assert files(estate, region, image) == set()


@files_only
def test_what_glance_has_taken_is_glances(nodes: Nodes, estate: Estate) -> None:
    """Killed before it could take its mark away, which says nothing any more."""
    image, region = killed(nodes, estate, "registered", random_bytes(SIZE))
    nodes.start(FIRST)
    estate.follows(image)
    estate.settled()
    assert image in files(estate, region, image)
    estate.home.images.delete(image)
    estate.gone(image)
    assert files(estate, region, image) <= {f".{image}.glance-sync"}
