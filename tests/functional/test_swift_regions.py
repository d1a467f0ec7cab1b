# SPDX-License-Identifier: Apache-2.0
"""Regions whose Glances have their images in containers of one Swift."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import keystoneclient
import pytest
import swiftclient
import yaml

from devcloud import PORT_WIDTH, Cloud
from devcloud.ports import find_base
from devcloud.swift import Swift
from tests.clouds import cleaned
from tests.functional.daemons import Daemon, stopped
from tests.functional.estate import Estate
from tests.functional.test_cli import Cli
from tests.functional.wait import until

MIB = 1024 * 1024
CONTAINERS = {"RegionOne": "glance-one", "RegionTwo": "glance-two"}


def clients(directory: Path) -> Path:
    """A directory for PYTHONPATH with what glance_store's driver needs; Glance has it not."""
    directory.mkdir()
    for module, name in ((swiftclient, "swiftclient"), (keystoneclient, "keystoneclient")):
        package = Path(module.__file__).parent
        for one in (package, *package.parent.glob(f"python_{name}-*.dist-info")):
            (directory / one.name).symlink_to(one)
    return directory


@pytest.fixture(scope="module")
def estate(
    keystone: Cloud, object_store: Swift, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Estate]:
    """glance-sync is this checkout's: the cloud's own has no python-swiftclient."""
    directory = tmp_path_factory.mktemp("swift")
    modules = clients(directory / "modules")
    login = keystone.credentials("glance")
    user = f"{login['project_name']}:{login['username']}"
    stores = directory / "glance_store.yaml"
    stores.touch(0o600)
    parameters = {"auth_address": login["auth_url"], "user": user, "key": login["password"]}
    glances = [
        {"name": name, "schemes": [{"name": "swift", "parameters": parameters}]}
        for name in CONTAINERS
    ]
    stores.write_text(yaml.safe_dump({"glances": glances}))
    overrides: dict[str, dict[str, dict[str, str]]] = {
        name: {
            "DEFAULT": {"enabled_backends": "objects:swift"},
            "glance_store": {"default_backend": "objects"},
            "objects": {
                "swift_store_auth_address": login["auth_url"],
                "swift_store_auth_version": "3",
                "swift_store_user": user,
                "swift_store_key": login["password"],
                "swift_store_container": container,
                "swift_store_create_container_on_put": "true",
            },
            "uwsgi": {"pythonpath": str(modules)},
        }
        for name, container in CONTAINERS.items()
    }
    overrides["glance-sync"] = {"DEFAULT": {"glance_store_cfg_file": str(stores)}}
    cloud = Cloud(
        name="test-swift",
        regions=2,
        base_port=find_base(PORT_WIDTH),
        hook=True,
        sync=True,
        file_locations=False,
        overrides=overrides,
    )
    with ExitStack() as closing:
        asked = swiftclient.Connection(session=keystone.session("glance"))
        for container in CONTAINERS.values():
            asked.put_container(container)
        closing.enter_context(cleaned(cloud))
        cloud.up()
        closing.enter_context(stopped(cloud))
        yield Estate(cloud)


@pytest.fixture(params=["servercopy", "objects"])
def transport(request: pytest.FixtureRequest, estate: Estate) -> Iterator[str]:
    """The way that images take."""
    name: str = request.param
    with Daemon(estate.cloud, f"by-{name}", transports=f"{name},upload"):
        yield name
        estate.clear()


def test_swift_has_it_and_glance_deletes_it(
    estate: Estate, keystone: Cloud, transport: str
) -> None:
    asked = swiftclient.Connection(session=keystone.session("glance"))

    def objects(region: str) -> list[str]:
        listed = asked.get_container(CONTAINERS[region], prefix=image_id)[1]
        return [one["name"].removeprefix(image_id) for one in listed]

    content = random.Random(1).randbytes(3 * MIB)
    image_id = estate.create(content)
    estate.follows(image_id)
    taken = estate.replica(image_id, "RegionTwo")["transport"]
    assert taken == transport, Cli(estate.cloud).json("history", image_id)
    assert estate.bytes_of("RegionTwo", image_id) == content
    until(lambda: objects("RegionTwo") == objects("RegionOne"), 20, "the mark is gone")
    assert estate.glances["RegionTwo"].images.get(image_id)["stores"] == "objects"

    estate.home.images.delete(image_id)
    estate.gone(image_id)
    until(lambda: not objects("RegionOne") + objects("RegionTwo"), 30, "the objects are gone, too")
