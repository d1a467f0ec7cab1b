# SPDX-License-Identifier: Apache-2.0
"""Regions whose Glance has its images in Ceph: what glance-sync puts into their pools."""

import hashlib
import io
import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from devcloud import PORT_WIDTH, Cloud
from devcloud.ceph import USER, Cluster, python_path
from devcloud.ports import find_base
from tests.clouds import cleaned
from tests.functional.estate import Estate
from tests.functional.reconfigured import region_with
from tests.functional.wait import until

MIB = 1024 * 1024


def in_ceph(cluster: Cluster, modules: Path) -> dict[str, dict[str, str]]:
    """What the Glance of a region with its images in ``cluster`` has of its own."""
    return {
        "DEFAULT": {"enabled_backends": "ceph:rbd"},
        "glance_store": {"default_backend": "ceph"},
        "ceph": {
            "rbd_store_ceph_conf": str(cluster.conf),
            "rbd_store_user": USER,
            "rbd_store_pool": "images",
        },
        "uwsgi": {"pythonpath": str(modules)},
    }


def stores_yaml(clusters: dict[str, Cluster]) -> str:
    return "glances:\n" + "".join(
        f"  - name: {region}\n    schemes:\n      - name: rbd\n        parameters:\n"
        f"          ceph_conf: {cluster.conf}\n          user: {USER}\n"
        for region, cluster in clusters.items()
    )


@pytest.fixture(scope="module")
def estate(
    clusters: tuple[Cluster, Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Estate]:
    """Home has files, and a store in one cluster; RegionTwo is in the other."""
    here, there = clusters
    directory = tmp_path_factory.mktemp("rbd")
    modules = python_path(directory / "modules")
    yaml = directory / "glance_store.yaml"
    yaml.touch(0o600)
    yaml.write_text(stores_yaml({"RegionOne": here, "RegionTwo": there}))
    home = in_ceph(here, modules)
    home["DEFAULT"]["enabled_backends"] = "local:file,ceph:rbd"
    home["glance_store"]["default_backend"] = "local"
    cloud = Cloud(
        name="test-rbd",
        regions=2,
        base_port=find_base(PORT_WIDTH),
        hook=True,
        sync=True,
        file_locations=False,
        overrides={
            "RegionOne": home,
            "RegionTwo": in_ceph(there, modules),
            "glance-sync": {
                "DEFAULT": {"transports": "rbd,objects,upload", "glance_store_cfg_file": str(yaml)}
            },
        },
    )
    with ExitStack() as closing:
        closing.enter_context(cleaned(cloud))
        cloud.up()
        made = Estate(cloud)
        yield made
        made.clear()


def upload(estate: Estate, content: bytes, store: str) -> str:
    """An image at home, in that store."""
    image_id = estate.create(None)
    estate.home.images.upload(image_id, io.BytesIO(content), image_size=len(content), backend=store)
    return image_id


def told(estate: Estate, image_id: str, region: str) -> dict[str, Any]:
    """How a Glance shows an image to those who may see locations."""
    return {**estate.glances[region].images.get(image_id)}


def snapshots(cluster: Cluster, image_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        cluster.rbd("snap", "ls", f"images/{image_id}", "--format", "json")
    )
    return found


def test_from_pool_to_pool(estate: Estate, clusters: tuple[Cluster, Cluster]) -> None:
    there = clusters[1]
    content = random.Random(1).randbytes(20 * MIB) + bytes(20 * MIB)
    image_id = upload(estate, content, "ceph")
    estate.follows(image_id)

    assert estate.replica(image_id, "RegionTwo")["transport"] == "rbd"
    assert hashlib.sha512(estate.bytes_of("RegionTwo", image_id)).digest() == (
        hashlib.sha512(content).digest()
    )
    for cluster in clusters:
        (snapshot,) = snapshots(cluster, image_id)
        assert (snapshot["name"], snapshot["protected"]) == ("snap", "true")
    assert told(estate, image_id, "RegionTwo")["stores"] == "ceph"
    assert there.rbd("ls", "images").split() == [image_id]

    # Nova makes disks like that at once; Glance then can't delete what they are made of.
    there.rbd("clone", f"images/{image_id}@snap", "images/disk")
    there.rbd("rm", "images/disk")


def test_the_regions_glance_deletes_it(estate: Estate, clusters: tuple[Cluster, Cluster]) -> None:
    image_id = upload(estate, random.Random(2).randbytes(MIB), "ceph")
    estate.follows(image_id)
    estate.clear()
    until(
        lambda: [image_id not in c.rbd("ls", "images") for c in clusters] == [True, True],
        30,
        "its data is gone, too",
    )


def test_from_files_into_a_pool(estate: Estate, clusters: tuple[Cluster, Cluster]) -> None:
    content = random.Random(3).randbytes(5 * MIB)
    image_id = upload(estate, content, "local")
    estate.follows(image_id)
    assert estate.replica(image_id, "RegionTwo")["transport"] == "objects"
    assert estate.bytes_of("RegionTwo", image_id) == content
    (snapshot,) = snapshots(clusters[1], image_id)
    assert (snapshot["name"], snapshot["protected"]) == ("snap", "true")


def test_a_cluster_that_can_not_be_used_is_passed_over(estate: Estate) -> None:
    """Its Glance still can."""
    yaml = Path(estate.cloud.settings.overrides["glance-sync"]["DEFAULT"]["glance_store_cfg_file"])
    before = yaml.read_text()
    yaml.write_text(before.replace(f"user: {USER}", "user: nobody"))
    estate.cloud.restart("glance-sync")
    try:
        content = random.Random(4).randbytes(MIB)
        image_id = upload(estate, content, "ceph")
        estate.follows(image_id)
        assert estate.replica(image_id, "RegionTwo")["transport"] == "upload"
        assert estate.bytes_of("RegionTwo", image_id) == content
    finally:
        yaml.write_text(before)
        estate.cloud.restart("glance-sync")


@pytest.mark.matrix
def test_a_glance_that_does_not_look_itself(estate: Estate) -> None:
    """``do_secure_hash = false``: nothing is read there a second time, nor has it an md5."""
    content = random.Random(5).randbytes(4 * MIB)
    with region_with(estate, "RegionTwo", do_secure_hash="false"):
        image_id = upload(estate, content, "ceph")
        assert estate.reaches(image_id, "RegionTwo", "in_sync")["transport"] == "rbd"
        image = told(estate, image_id, "RegionTwo")
        assert image["checksum"] is None
        assert image["os_hash_value"] == hashlib.sha512(content).hexdigest()
        assert estate.bytes_of("RegionTwo", image_id) == content
