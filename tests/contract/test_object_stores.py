# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Transport`` as ``objects`` keeps it, into a real Swift and the S3 that it has."""

import hashlib
import random
import uuid
from collections.abc import Iterator
from typing import Any, cast

import boto3
import pytest
import swiftclient
from botocore.exceptions import ClientError

from devcloud import Cloud
from devcloud.swift import Swift as Cluster
from glancesync.errors import Corrupt, Refused, RegionError, Throttled, Transient, WayBlocked
from glancesync.interfaces import ImageService, Source, Target
from glancesync.model import Image
from glancesync.schemes import S3, Location, Place, Scheme, Secret, Swift
from glancesync.transports import child, objects, objects_drivers, objects_mover
from glancesync.transports.objects import Objects
from glancesync.transports.rbd_mover import Failed
from glancesync.transports.settings import TransferSettings
from tests.contract.bare_glance import BareGlance
from tests.contract.told import Region
from tests.functional.wait import until

MIB = 1024 * 1024
CONTAINER = "glance-images"


class S3Store:
    def __init__(self, cluster: Cluster) -> None:
        self._values = {
            "host": cluster.url,
            "bucket": CONTAINER,
            "access_key": cluster.user,
            "secret_key": Secret(cluster.key),
            "region_name": "us-east-1",
        }
        self.scheme = S3(**self._values)  # type: ignore[arg-type]
        self._asked = boto3.client(
            "s3",
            endpoint_url=cluster.url,
            aws_access_key_id=cluster.user,
            aws_secret_access_key=cluster.key,
            region_name="us-east-1",
        )
        try:
            self._asked.head_bucket(Bucket=CONTAINER)
        except ClientError:
            self._asked.create_bucket(Bucket=CONTAINER)
        self._host = cluster.url.partition("://")[2]

    def names(self) -> list[str]:
        found = self._asked.list_objects(Bucket=CONTAINER).get("Contents", [])
        return [one["Key"] for one in found]

    def content(self, name: str) -> bytes:
        return bytes(self._asked.get_object(Bucket=CONTAINER, Key=name)["Body"].read())

    def parts(self, name: str) -> int:
        tag = str(self._asked.head_object(Bucket=CONTAINER, Key=name)["ETag"]).strip('"')
        return int(tag.partition("-")[2] or 1)

    def put(self, name: str, content: bytes) -> None:
        self._asked.put_object(Bucket=CONTAINER, Key=name, Body=content)

    def location(self, image_id: str) -> str:
        return f"s3://{self._host}/{CONTAINER}/{image_id}"

    def broken(self, **values: Any) -> Scheme:
        names = {"secret": "secret_key", "host": "host"}
        return S3(**{**self._values, **{names[key]: one for key, one in values.items()}})  # type: ignore[arg-type]


class SwiftStore:
    def __init__(self, keystone: Cloud) -> None:
        self._login = keystone.credentials("glance")
        self._asked = swiftclient.Connection(session=keystone.session("glance"))
        self._asked.put_container(CONTAINER)
        self.scheme = self.broken()

    def names(self) -> list[str]:
        return [one["name"] for one in self._asked.get_container(CONTAINER)[1]]

    def content(self, name: str) -> bytes:
        return bytes(self._asked.get_object(CONTAINER, name)[1])

    def put(self, name: str, content: bytes) -> None:
        self._asked.put_object(CONTAINER, name, content)

    def location(self, image_id: str) -> str:
        user = f"{self._login['project_name']}%3A{self._login['username']}"
        host = self._login["auth_url"].partition("://")[2]
        return f"swift+http://{user}:{self._login['password']}@{host}/{CONTAINER}/{image_id}"

    def broken(self, *, secret: Secret | None = None, host: str = "") -> Scheme:
        return Swift(
            auth_address=f"{host}/v3" if host else self._login["auth_url"],
            user=f"{self._login['project_name']}:{self._login['username']}",
            key=secret or Secret(self._login["password"]),
            container=CONTAINER,
        )


Store = S3Store | SwiftStore


@pytest.fixture(params=["s3", "swift"])
def store(request: pytest.FixtureRequest, object_store: Cluster, keystone: Cloud) -> Store:
    return S3Store(object_store) if request.param == "s3" else SwiftStore(keystone)


def data(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.fixture
def glance() -> Iterator[BareGlance]:
    made = BareGlance("home", data(3 * MIB + 77))
    yield made
    made.close()


def shown(glance: BareGlance, **other: object) -> Image:
    values = {"size": len(glance.serves), "os_hash_algo": "sha512", **other}
    digest = hashlib.sha512(glance.serves).hexdigest()
    return Image(str(uuid.uuid4()), "active", **{"os_hash_value": digest, **values})  # type: ignore[arg-type]


def target_of(image: Image, scheme: Scheme, region: Region) -> Target:
    place = Place(scheme, Location("", "objects"))
    service = cast(ImageService, region)
    return Target(region.region, image.id, service, lambda _: None, lambda: False, place)


def moved(
    glance: BareGlance, image: Image, scheme: Scheme, region: Region, stall: float = 20
) -> RegionError | None:
    settled: list[RegionError | None] = []
    target = target_of(image, scheme, region)
    Objects(TransferSettings(stall=stall)).move(
        Source(image, cast(ImageService, glance)), [target], lambda _, error: settled.append(error)
    )
    (fate,) = settled
    return fate


def of(image: Image, store: Store) -> list[str]:
    return [name for name in store.names() if name.startswith(image.id)]


@pytest.mark.parametrize("size", [1, 3 * MIB + 77])
def test_what_arrives(store: Store, glance: BareGlance, size: int) -> None:
    glance.serves, glance.size = data(size), size
    image = shown(glance)
    region = Region("R1")
    assert moved(glance, image, store.scheme, region) is None
    assert store.content(image.id) == glance.serves
    assert of(image, store) == [image.id], "the mark is gone"
    ((image_id, location, home),) = region.registered
    assert (image_id, location.store, home) == (image.id, "objects", image)
    assert location.url == store.location(image.id)


def test_an_image_in_many_parts(store: Store, glance: BareGlance) -> None:
    glance.serves = data(121 * MIB + 5)
    glance.size = len(glance.serves)
    image = shown(glance)
    assert moved(glance, image, store.scheme, Region("R1")) is None
    assert hashlib.sha512(store.content(image.id)).hexdigest() == image.os_hash_value


def test_what_goes_to_an_s3_goes_in_small_parts(object_store: Cluster, glance: BareGlance) -> None:
    """P7: the driver has a part in memory, more than once; by itself it takes up to 100 MiB."""
    store = S3Store(object_store)
    glance.serves = data(21 * MIB)
    glance.size = len(glance.serves)
    image = shown(glance)
    assert moved(glance, image, store.scheme, Region("R1")) is None
    assert store.parts(image.id) == 3


def test_wrong_bytes(store: Store, glance: BareGlance) -> None:
    image = shown(glance, os_hash_value="0" * 128)
    region = Region("R1")
    error = moved(glance, image, store.scheme, region)
    assert isinstance(error, Corrupt)
    assert error.region == "home"
    assert of(image, store) == []
    assert region.registered == []


def test_a_glance_that_breaks_off(store: Store, glance: BareGlance) -> None:
    image = shown(glance)
    glance.serves = glance.serves[:MIB]  # of more, by its Content-Length
    error = moved(glance, image, store.scheme, Region("R1"))
    assert type(error) is Transient
    assert error.region == "home"
    assert of(image, store) == []


def test_a_glance_that_says_no(store: Store, glance: BareGlance) -> None:
    glance.refuse_get = (503, {"Retry-After": "7"})
    image = shown(glance)
    error = moved(glance, image, store.scheme, Region("R1"))
    assert isinstance(error, Throttled)
    assert of(image, store) == []


def test_what_a_region_refuses_goes_again(store: Store, glance: BareGlance) -> None:
    image, region = shown(glance), Region("R1")
    region.answer = Refused("R1", "not by you")
    error = moved(glance, image, store.scheme, region)
    assert isinstance(error, WayBlocked)
    assert error.message == "not by you"
    assert of(image, store) == []


def test_what_a_region_may_have_taken_is_found_again(store: Store, glance: BareGlance) -> None:
    image, region = shown(glance), Region("R1")
    region.answer = Transient("R1", "no answer")
    assert moved(glance, image, store.scheme, region) is region.answer
    assert store.content(image.id) == glance.serves

    region.answer = None
    glance.gets.clear()
    assert moved(glance, image, store.scheme, region) is None
    assert glance.gets == [], "nothing is read again"
    assert of(image, store) == [image.id]


def test_what_an_attempt_left_half_written(store: Store, glance: BareGlance) -> None:
    image = shown(glance)
    store.put(image.id, b"half of")
    store.put(f"{image.id}.glance-sync", b"")
    assert moved(glance, image, store.scheme, Region("R1")) is None
    assert store.content(image.id) == glance.serves
    assert of(image, store) == [image.id]


def test_what_is_not_of_us_is_left_alone(store: Store, glance: BareGlance) -> None:
    """P4: as where home and the region share a container."""
    image, region = shown(glance), Region("R1")
    store.put(image.id, b"somebody's")
    error = moved(glance, image, store.scheme, region)
    assert isinstance(error, WayBlocked)
    assert "that is not of us" in str(error)
    assert store.content(image.id) == b"somebody's"


def test_what_comes_while_it_is_written_is_left_alone(
    object_store: Cluster, glance: BareGlance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P4: as if it had come right after the look; Swift has nothing against that."""
    store, image = S3Store(object_store), shown(glance)
    store.put(image.id, b"somebody's")
    end = objects.end(Place(store.scheme, Location("", "objects")), image.id)
    order = child.order(
        TransferSettings(),
        glance.file(image.id),
        {},
        size=len(glance.serves),
        algorithm="sha512",
        expected=image.os_hash_value or "",
    )
    monkeypatch.setattr(objects_drivers.S3, "there", lambda _: False)
    copy = objects_mover.IntoStore({**order, "targets": {"R1": end}, "rates": {}})
    with pytest.raises(Failed, match="that is not of us"):
        copy.run()
    assert store.content(image.id) == b"somebody's"
    assert of(image, store) == [image.id], "no mark"


@pytest.mark.parametrize("answer", [Transient("R1", "no answer"), None], ids=["left", "half"])
def test_what_was_left_is_tidied_up(
    store: Store, glance: BareGlance, answer: RegionError | None
) -> None:
    image, region = shown(glance), Region("R1")
    region.answer = answer
    if answer is not None:
        moved(glance, image, store.scheme, region)
    else:
        store.put(image.id, b"half of")
        store.put(f"{image.id}.glance-sync", b"")
    assert of(image, store) == [image.id, f"{image.id}.glance-sync"]
    for _ in range(2):
        Objects(TransferSettings(stall=20)).tidy(target_of(image, store.scheme, region))
        assert of(image, store) == []


def test_what_is_not_of_us_is_not_tidied_up(store: Store, glance: BareGlance) -> None:
    """P4: what a Glance has, and what is somebody else's."""
    taken, others = shown(glance), shown(glance)
    assert moved(glance, taken, store.scheme, Region("R1")) is None
    store.put(others.id, b"somebody's")
    for image in (taken, others):
        Objects(TransferSettings(stall=20)).tidy(target_of(image, store.scheme, Region("R1")))
        assert of(image, store) == [image.id]


def test_what_can_not_be_tidied_up_is_told(store: Store, glance: BareGlance) -> None:
    there = target_of(shown(glance), store.broken(host="http://127.0.0.1:9"), Region("R1"))
    with pytest.raises(WayBlocked, match="left over"):
        Objects(TransferSettings(stall=20)).tidy(there)


@pytest.mark.parametrize(
    "values", [{"secret": Secret("hunter2hunter2")}, {"host": "http://127.0.0.1:9"}], ids=str
)
def test_a_store_that_does_not_let_us_in(
    store: Store, glance: BareGlance, values: dict[str, Any]
) -> None:
    image = shown(glance)
    error = moved(glance, image, store.broken(**values), Region("R1"))
    assert isinstance(error, WayBlocked)
    assert error.region == "R1"
    assert "hunter2" not in str(error)


@pytest.mark.matrix
def test_a_store_that_is_full(object_store: Cluster, store: Store, glance: BareGlance) -> None:
    """Swift then answers 507 to itself, and 503 to others."""
    image = shown(glance)
    object_store.set_object_server(fallocate_reserve="100%")
    try:
        error = moved(glance, image, store.scheme, Region("R1"))
        assert isinstance(error, WayBlocked)
    finally:
        object_store.set_object_server()
    until(lambda: moved(glance, image, store.scheme, Region("R1")) is None, 30, "room again")
    assert store.content(image.id) == glance.serves
