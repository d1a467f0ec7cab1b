# SPDX-License-Identifier: Apache-2.0
"""As ``test_leftovers``, of files that went to other hosts: real sshds, a worker killed by -9."""

import json
import os
from collections.abc import Iterator

import pytest

from devcloud import Cloud
from tests.faults import points
from tests.faults.nodes import Nodes
from tests.functional.estate import Estate, random_bytes, sha512
from tests.functional.wait import until
from tests.sshd import Host

OPTIONS = {"lease": "1", "watch_interval": "1", "retry_interval": "0.2"}
SSH, UPLOAD = "worker-1", "worker-2"
SIZE = 300_000


@pytest.fixture(scope="module", params=["scp", pytest.param("rsync", marks=pytest.mark.matrix)])
def nodes(
    request: pytest.FixtureRequest, cloud: Cloud, two_hosts: tuple[Host, Host]
) -> Iterator[Nodes]:
    path = cloud.sync_config.with_name("hosts.yaml")
    path.touch(0o600)
    glances = []
    for number, name in enumerate(cloud.names):
        parameters: dict[str, object] = {"host": "localhost"}
        if number:
            host = two_hosts[number - 1]
            parameters = {
                "host": host.address,
                "port": host.port,
                "login_user": host.user,
                "key_file": str(host.key_file),
                "host_key": host.host_key,
            }
        scheme = {"name": "filesystem", "parameters": parameters}
        glances.append({"name": name, "schemes": [scheme]})
    path.write_text(json.dumps({"glances": glances}))
    cloud.stop("glance-sync")
    own = {UPLOAD: {"transports": "upload"}}
    options = {
        **OPTIONS,
        "transports": f"{request.param},upload",
        "glance_store_cfg_file": str(path),
    }
    with Nodes(cloud, 1, 2, first_port=cloud.sync_port, own=own, **options) as nodes:
        nodes.end(UPLOAD)
        yield nodes
    cloud.start("glance-sync")


@pytest.fixture
def estate(nodes: Nodes) -> Iterator[Estate]:
    estate = Estate(nodes.cloud)
    yield estate
    nodes.end(UPLOAD)
    nodes.start(SSH)
    estate.clear()


def files(estate: Estate, region: str, image: str) -> set[str]:
    """What is in a region's store because of an image."""
    return {name for name in os.listdir(estate.cloud.region(region).datadir) if image in name}


def killed(nodes: Nodes, estate: Estate, content: bytes) -> tuple[str, str]:
    """An image, and the region that was about to get it from a worker that was killed."""
    points.arm(nodes.points, "register")
    image = estate.create(content)
    assert until(lambda: nodes.reached("register"), 60, "somebody has copied it") == SSH
    nodes.kill(SSH)
    region = next(name for name in estate.others if image in files(estate, name, image))
    return image, region


def test_the_next_worker_adopts_it(nodes: Nodes, estate: Estate) -> None:
    content = random_bytes(SIZE)
    image, region = killed(nodes, estate, content)
    assert files(estate, region, image) == {image, f".{image}.glance-sync"}
    path = estate.cloud.region(region).datadir / image
    before = path.stat()
    nodes.start(SSH)
    estate.follows(image)
    assert path.stat().st_ino == before.st_ino
    assert sha512(estate.bytes_of(region, image)) == sha512(content)
    until(lambda: files(estate, region, image) == {image}, 20, "the mark is gone")


def test_it_goes_when_the_home_image_does(nodes: Nodes, estate: Estate) -> None:
    image, region = killed(nodes, estate, random_bytes(SIZE))
    assert image in files(estate, region, image)
    estate.home.images.delete(image)
    nodes.start(SSH)
    estate.gone(image)
    estate.settled()
    for name in estate.others:
        assert files(estate, name, image) == set()


def test_it_makes_way_for_another_transport(nodes: Nodes, estate: Estate) -> None:
    """Glance itself never writes where a file is."""
    content = random_bytes(SIZE)
    image, region = killed(nodes, estate, content)
    nodes.start(UPLOAD)
    estate.follows(image)
    assert sha512(estate.bytes_of(region, image)) == sha512(content)
    until(lambda: estate.replica(image, region)["transport"] == "upload", 20, "the record")  # type: ignore[index]
    assert files(estate, region, image) == {image}
