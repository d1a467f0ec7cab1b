# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Transport`` as ``servercopy`` keeps it, between containers of a real Swift."""

import dataclasses
import hashlib
import random
import uuid
from typing import Any, cast

import pytest
import swiftclient

from devcloud import Cloud
from devcloud.swift import Swift as Cluster
from glancesync.errors import Corrupt, Refused, RegionError, Transient, WayBlocked
from glancesync.interfaces import Endpoint, ImageService, Source, Target
from glancesync.model import Image
from glancesync.schemes import Location, Place, Secret, Swift
from glancesync.transports import objects_drivers, objects_mover
from glancesync.transports.rbd_mover import Failed
from glancesync.transports.servercopy import ServerCopy
from glancesync.transports.settings import TransferSettings
from tests.contract.told import Region

MIB = 1024 * 1024
HOME, THERE = "glance-home", "glance-there"
CONTENT = random.Random(11).randbytes(3 * MIB + 77)
HASTY = TransferSettings(stall=20)


class Home:
    """Home's Glance, which nobody reads from."""

    region = "home"

    def file(self, image_id: str) -> Endpoint:
        raise AssertionError("home is read")


class Store:
    """Two containers of one account, or of two."""

    def __init__(self, keystone: Cloud, home: str) -> None:
        self._keystone = keystone
        self._home = swiftclient.Connection(session=keystone.session(home))
        self._there = swiftclient.Connection(session=keystone.session("glance"))
        self._home.put_container(HOME, headers={"X-Container-Read": ".r:*,.rlistings"})
        self._there.put_container(THERE)
        self.source = self.scheme(home, HOME)
        self.target = self.scheme("glance", THERE)

    def scheme(self, user: str, container: str) -> Swift:
        login = self._keystone.credentials(user)
        return Swift(
            auth_address=login["auth_url"],
            user=f"{login['project_name']}:{login['username']}",
            key=Secret(login["password"]),
            container=container,
        )

    def keep(self, image: Image, content: bytes, segments: int = 1, **headers: str) -> None:
        """Have it at home, as Glance's driver puts it there."""
        if segments > 1:
            step = -(-len(content) // segments)
            for number in range(segments):
                part = content[number * step : (number + 1) * step]
                self._home.put_object(HOME, f"{image.id}-{number + 1:05}", part)
            headers["X-Object-Manifest"] = f"{HOME}/{image.id}-"
            content = b""
        self._home.put_object(HOME, image.id, content, headers=headers)

    def at_home(self, image: Image) -> bytes:
        return bytes(self._home.get_object(HOME, image.id)[1])

    def put(self, name: str, content: bytes) -> None:
        self._there.put_object(THERE, name, content)

    def there(self, image: Image) -> bytes:
        return bytes(self._there.get_object(THERE, image.id)[1])

    def about(self, image: Image) -> dict[str, str]:
        return dict(self._there.head_object(THERE, image.id))

    def names(self, image: Image) -> list[str]:
        """What the container has of an image, without its id."""
        listed = self._there.get_container(THERE, prefix=image.id)[1]
        return [one["name"].removeprefix(image.id) for one in listed]


@pytest.fixture
def store(object_store: Cluster, keystone: Cloud) -> Store:
    return Store(keystone, "glance")


def shown(content: bytes = CONTENT, **other: object) -> Image:
    values: dict[str, Any] = {
        "size": len(content),
        "checksum": hashlib.md5(content).hexdigest(),
        "os_hash_algo": "sha512",
        "os_hash_value": hashlib.sha512(content).hexdigest(),
        **other,
    }
    return Image(str(uuid.uuid4()), "active", **values)


def ends(image: Image, store: Store, region: Region) -> tuple[Source, Target]:
    url = f"swift+http://u:p@keystone/v3/{HOME}/{image.id}"
    place = Place(store.source, Location(url, "objects"))
    target = Target(
        region.region,
        image.id,
        cast(ImageService, region),
        lambda _: None,
        lambda: False,
        Place(store.target, Location("", "objects")),
    )
    return Source(image, cast(ImageService, Home()), place), target


def moved(image: Image, store: Store, region: Region | None = None) -> RegionError | None:
    settled: list[RegionError | None] = []
    source, target = ends(image, store, region or Region("R1"))
    ServerCopy(HASTY).move(source, [target], lambda _, error: settled.append(error))
    (fate,) = settled
    return fate


def tidied(image: Image, store: Store) -> None:
    ServerCopy(HASTY).tidy(ends(image, store, Region("R1"))[1])


@pytest.mark.parametrize("segments", [1, 12], ids=["whole", "segments"])
def test_what_arrives(store: Store, segments: int) -> None:
    image, region = shown(), Region("R1")
    store.keep(image, CONTENT, segments)
    assert moved(image, store, region) is None
    assert store.there(image) == store.at_home(image) == CONTENT
    assert len(store.names(image)) == (1 if segments == 1 else 13), "and no mark"
    ((image_id, location, home),) = region.registered
    assert (image_id, location.store, home) == (image.id, "objects", image)
    assert location.url.endswith(f"/{THERE}/{image.id}")
    if segments > 1:
        assert store.about(image)["x-object-manifest"] == f"{THERE}/{image.id}-"


def test_out_of_another_account(object_store: Cluster, keystone: Cloud) -> None:
    store = Store(keystone, "admin")
    image = shown()
    store.keep(image, CONTENT, 2)
    assert moved(image, store) is None
    assert store.there(image) == CONTENT


def test_out_of_an_account_that_does_not_let_us_in(object_store: Cluster, keystone: Cloud) -> None:
    store = Store(keystone, "admin")
    store._home.post_container(HOME, {"X-Container-Read": ""})
    image = shown()
    store.keep(image, CONTENT)
    assert isinstance(moved(image, store), WayBlocked)
    assert store.names(image) == []


def test_metadata_of_the_object_stays_at_home(store: Store) -> None:
    image = shown()
    store.keep(image, CONTENT, **{"X-Object-Meta-Whose": "home's"})
    assert moved(image, store) is None
    assert "x-object-meta-whose" not in store.about(image)


@pytest.mark.parametrize("segments", [1, 3], ids=["whole", "segments"])
@pytest.mark.parametrize("checksum", [None, "right"], ids=["no checksum", "checksum"])
def test_wrong_bytes(store: Store, segments: int, checksum: str | None) -> None:
    """P3: what is not known by home's checksum is read."""
    wrong = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    image, region = shown(), Region("R1")
    if checksum is None:
        image = dataclasses.replace(image, checksum=None)
    store.keep(image, wrong, segments)
    error = moved(image, store, region)
    assert isinstance(error, Corrupt)
    assert error.region == "home"
    assert store.names(image) == []
    assert region.registered == []


def test_an_image_without_a_checksum(store: Store) -> None:
    image = shown(checksum=None)
    store.keep(image, CONTENT)
    assert moved(image, store) is None


def test_wrong_size(store: Store) -> None:
    image = shown()
    store.keep(image, CONTENT[:-1])
    error = moved(image, store)
    assert isinstance(error, WayBlocked)
    assert f"it holds {len(CONTENT) - 1} bytes, not {len(CONTENT)}" in str(error)
    assert store.names(image) == []


def test_what_home_has_not(store: Store) -> None:
    image = shown()
    assert isinstance(moved(image, store), WayBlocked)
    assert store.names(image) == []


def test_a_static_large_object_goes_another_way(store: Store) -> None:
    image = shown()
    store._home.put_object(HOME, f"{image.id}-part", CONTENT)
    manifest = f'[{{"path": "/{HOME}/{image.id}-part"}}]'
    store._home.put_object(HOME, image.id, manifest, query_string="multipart-manifest=put")
    error = moved(image, store)
    assert isinstance(error, WayBlocked)
    assert "is a static large object" in str(error)
    assert store.names(image) == []


def test_what_is_not_of_us_is_left_alone(store: Store) -> None:
    """P4."""
    image = shown()
    store.keep(image, CONTENT)
    store.put(image.id, b"somebody's")
    error = moved(image, store)
    assert isinstance(error, WayBlocked)
    assert "that is not of us" in str(error)
    assert store.there(image) == b"somebody's"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # python-keystoneclient, in our process
@pytest.mark.parametrize("segments", [1, 3], ids=["whole", "segments"])
def test_what_comes_meanwhile_is_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch, segments: int
) -> None:
    """P4: as if it had come right after the look."""
    image = shown()
    store.keep(image, CONTENT, segments)
    store.put(image.id, b"somebody's")
    monkeypatch.setattr(objects_drivers.Swift, "there", lambda _: False)
    order = ServerCopy(HASTY)._order(*ends(image, store, Region("R1")))
    with pytest.raises(Failed, match="that is not of us"):
        objects_mover.into({**order, "rates": {}}).run()
    assert store.there(image) == b"somebody's"
    assert store.names(image) == [""], "no mark, and no segments"


def test_what_a_region_refuses_goes_again(store: Store) -> None:
    image, region = shown(), Region("R1")
    store.keep(image, CONTENT, 3)
    region.answer = Refused("R1", "not by you")
    assert isinstance(moved(image, store, region), WayBlocked)
    assert store.names(image) == []
    assert store.at_home(image) == CONTENT


def test_what_a_region_may_have_taken_is_found_again(store: Store) -> None:
    image, region = shown(), Region("R1")
    store.keep(image, CONTENT)
    region.answer = Transient("R1", "no answer")
    assert moved(image, store, region) is region.answer
    written = store.about(image)["x-timestamp"]

    region.answer = None
    assert moved(image, store, region) is None
    assert store.about(image)["x-timestamp"] == written, "nothing is copied again"
    assert store.names(image) == [""]


HALVES = [
    {"": b""},
    {"": b"", "-00001": b"half"},
    {"-00001": b"half", "-00002": b"of it"},  # by ``objects``, which makes the object last
]


@pytest.mark.parametrize("left", HALVES, ids=["claimed", "in the middle", "by objects"])
def test_what_an_attempt_left_half_copied(store: Store, left: dict[str, bytes]) -> None:
    image = shown()
    store.keep(image, CONTENT)
    for name, content in {**left, ".glance-sync": b""}.items():
        store.put(image.id + name, content)
    assert moved(image, store) is None
    assert store.there(image) == CONTENT
    assert store.names(image) == [""]


@pytest.mark.parametrize("left", HALVES, ids=["claimed", "in the middle", "by objects"])
def test_what_was_left_is_tidied_up(store: Store, left: dict[str, bytes]) -> None:
    image = shown()
    for name, content in {**left, ".glance-sync": b"", "-mine": b"", "-000012": b""}.items():
        store.put(image.id + name, content)
    for _ in range(2):
        tidied(image, store)
        assert store.names(image) == ["-000012", "-mine"], "what has no name of ours stays"


def test_what_is_not_of_us_is_not_tidied_up(store: Store) -> None:
    """P4."""
    image = shown()
    store.put(image.id, b"somebody's")
    store.put(f"{image.id}-00001", b"somebody's")
    tidied(image, store)
    assert store.names(image) == ["", "-00001"]


def test_two_swifts_are_told_apart(
    store: Store, keystone: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where their schemes look alike: before anything is written."""
    image = shown()
    store.keep(image, CONTENT)
    account = store._there.get_auth()[0].replace("127.0.0.1", "localhost")
    store.target = dataclasses.replace(store.target, endpoint=account)
    error = moved(image, store)
    assert isinstance(error, WayBlocked)
    assert "they are not of one Swift: one is at 127.0.0.1" in str(error)
    assert store.names(image) == []
