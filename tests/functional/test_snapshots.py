# SPDX-License-Identifier: Apache-2.0
"""Home images whose bytes are a snapshot in another region: on a real cloud."""

import contextlib
import io
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from glanceclient import exc

from devcloud import Cloud
from tests.functional.estate import PATIENCE, Estate, random_bytes
from tests.functional.reconfigured import sync_with
from tests.functional.test_audits import audited
from tests.functional.wait import until

ONE, TWO, THREE = "RegionOne", "RegionTwo", "RegionThree"
QUICK = {"snapshot_sleep_interval": "0.5", "retry_max_interval": "2"}


class Darkroom:
    """Snapshots, born in a region, and home images that say that they are these."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.born: list[tuple[str, str]] = []

    def snapshot(self, data: bytes | None, region: str = TWO, **fields: Any) -> str:
        """An image that a region made by itself, with data unless None."""
        fields = {"name": "snap", "container_format": "bare", "disk_format": "raw", **fields}
        image: str = self.estate.glances[region].images.create(**fields)["id"]
        self.born.append((region, image))
        if data is not None:
            self.upload(image, data, region)
        return image

    def upload(self, image: str, data: bytes, region: str = TWO) -> None:
        self.estate.glances[region].images.upload(image, io.BytesIO(data), image_size=len(data))

    def url(self, image: str, region: str = TWO) -> str:
        endpoint = self.estate.sync("GET", f"/v1/regions/{region}")[1]["region"]["url"]
        return f"{endpoint}/v2/images/{image}"

    def pointing(self, url: str, kind: str = "snapshot", **fields: Any) -> str:
        """A home image without bytes that says that it has those of another."""
        return self.estate.create(None, image_from=kind, image_location=url, **fields)

    def arrives(self, image: str, data: bytes, region: str = THREE) -> None:
        self.estate.reaches(image, region, "in_sync")
        assert self.estate.bytes_of(region, image) == data

    def said(self, image: str) -> str | None:
        status, body = self.estate.sync("GET", f"/v1/images/{image}")
        assert status == 200, f"nothing is known of {image}"
        return body["image"]["last_error"]

    def complains(self, image: str) -> str:
        return str(until(lambda: self.said(image), PATIENCE, f"something is wrong with {image}"))

    def waits(self, image: str) -> str:
        """Why the task of a home image waits, when it does."""

        def look() -> str:
            _, body = self.estate.sync("GET", f"/v1/tasks?image_id={image}")
            found = [(task["state"], task["reason"]) for task in body["tasks"]]
            assert [state for state, _ in found] == ["waiting"], found
            return str(found[0][1])

        return until(look, PATIENCE, f"the task of {image} waits")

    def events(self, image: str, what: str) -> list[str]:
        _, body = self.estate.sync("GET", f"/v1/images/{image}/events?limit=1000")
        return [one["detail"] for one in body["events"] if one["what"] == what]

    def planned(self, image: str, **body: str) -> list[Any]:
        """What a plan would do to an image."""
        status, made = self.estate.sync("POST", "/v1/plans", json=body)
        assert status == 202, made
        path = f"/v1/plans/{made['plan']['id']}"

        def ready() -> dict[str, Any]:
            said: dict[str, Any] = self.estate.sync("GET", path)[1]
            assert said["plan"]["state"] == "ready", said
            return said

        plan = until(ready, PATIENCE, "the plan is ready")
        return [step for step in plan["steps"] if step["image_id"] == image]

    def clear(self) -> None:
        self.estate.clear()
        for region, image in self.born:
            with contextlib.suppress(exc.HTTPNotFound):
                self.estate.glances[region].images.delete(image)


@pytest.fixture(scope="module")
def quick(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    estate.settled()
    with sync_with(estate, **QUICK):
        yield estate


@pytest.fixture
def room(quick: Estate) -> Iterator[Darkroom]:
    room = Darkroom(quick)
    yield room
    room.clear()


def test_it_is_waited_for_and_goes_straight_from_where_it_was_born(room: Darkroom) -> None:
    estate, data = room.estate, random_bytes(3_000_000)
    snapshot = room.snapshot(None)
    log = estate.cloud.log(f"glance-{ONE}")
    before = len(log.read_text())
    image = room.pointing(room.url(snapshot), name="mine", min_ram=7, colour="red")
    assert room.waits(image) == f"{TWO}: image {snapshot} is queued"
    assert room.said(image) is None
    room.upload(snapshot, data)
    room.arrives(image, data)
    replica = estate.replica(image, THREE)
    assert replica is not None
    assert replica["source"] == TWO
    _, body = estate.sync("GET", f"/v1/images/{image}/routes?region={THREE}")
    assert [(one["transport"], one["fits"]) for one in body["routes"]] == [("upload", True)]
    assert room.events(image, "transfer") == [f"{len(data)} bytes by upload from {TWO}"]
    assert f"/images/{image}/file" not in log.read_text()[before:], "home was asked for its bytes"
    home, there = (estate.glances[name].images.get(image) for name in (ONE, THREE))
    lends = estate.glances[TWO].images.get(snapshot)
    assert (home["status"], home["size"]) == ("queued", None)
    names = ("name", "min_ram", "colour", "owner", "visibility", "image_from", "image_location")
    assert {name: there[name] for name in names} == {name: home[name] for name in names}
    for name in ("status", "size", "checksum", "os_hash_value"):
        assert there[name] == lends[name]
    with pytest.raises(exc.HTTPNotFound):
        estate.glances[ONE].images.get(snapshot)
    assert estate.read(TWO, image) is None, "it is there already, as the snapshot"


def test_it_follows_home_and_goes_with_it_while_the_snapshot_stays(room: Darkroom) -> None:
    estate, data = room.estate, random_bytes(200_000)
    snapshot = room.snapshot(data)
    image = room.pointing(f"{room.url(snapshot)}/file", kind="volume")
    room.arrives(image, data)
    estate.home.images.update(image, name="other", colour="blue")
    estate.home.image_tags.update(image, "new")

    def followed() -> bool:
        there = estate.glances[THREE].images.get(image)
        assert (there["name"], there.get("colour"), there["tags"]) == ("other", "blue", ["new"])
        return True

    until(followed, PATIENCE, f"{THREE} has the new properties")
    estate.settled()
    assert len(room.events(image, "transfer")) == 1
    estate.home.images.delete(image)
    estate.gone(image)
    assert estate.bytes_of(TWO, snapshot) == data


def test_audits_plans_and_looks_at_all_bytes_find_nothing_wrong(room: Darkroom) -> None:
    estate, data = room.estate, random_bytes(100_000)
    image = room.pointing(room.url(room.snapshot(data)))
    room.arrives(image, data)
    estate.settled()
    for region in (ONE, TWO, THREE):
        audit = audited(estate, region)
        assert (audit["drifted"], audit["missing"]) == (0, 0), region
    assert room.planned(image, image_id=image) == room.planned(image) == []
    assert estate.sync("POST", f"/v1/images/{image}/verify", json={"full": True})[0] == 202
    until(
        lambda: f"{len(data)} bytes are right" in room.events(image, "verify"),
        PATIENCE,
        "the snapshot's bytes were read",
    )
    estate.reaches(image, THREE, "in_sync")
    assert len(room.events(image, "transfer")) == 1
    estate.glances[THREE].images.delete(image)
    audited(estate, THREE)

    def again() -> bool:
        replica = estate.replica(image, THREE)
        assert replica is not None
        assert (replica["state"], replica["replica_id"] == image) == ("in_sync", False)
        there = estate.read(THREE, replica["replica_id"])
        assert there is not None
        assert there["status"] == "active"
        return estate.bytes_of(THREE, replica["replica_id"]) == data

    until(again, PATIENCE, "what an audit finds missing is made again")


def test_where_its_bytes_can_not_be(room: Darkroom) -> None:
    """Whoever is named there and is none of ours sees no connection, and so no token."""
    estate, nobody = room.estate, str(uuid.uuid4())
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        host = f"127.0.0.1:{stranger.getsockname()[1]}"
        example = "https://glance.region.example/v2/images/ID"
        url = f"http://{host}/v2/images/{nobody}"
        alien = f"'http://{host}' is the image endpoint of none of our regions"
        home = f"{ONE} is home; the image must be in another region"
        none = f"it must be the URL of an image, like {example}"
        cases = [
            (url, "snapshot", f"image_location: {alien}"),
            (room.url(nobody, ONE), "snapshot", f"image_location: {home}"),
            (room.url("backup"), "volume", f"image_location: is {room.url('backup')!r}; {none}"),
            (room.url(nobody), "tape", "image_from: is 'tape'; it must be snapshot or volume"),
        ]
        for location, kind, said in cases:
            image = room.pointing(location, kind)
            assert room.complains(image) == said
            assert room.events(image, "snapshot") == [said]
            estate.settled()
            assert [estate.read(name, image) for name in (TWO, THREE)] == [None, None]
        stranger.settimeout(0.5)
        with pytest.raises(TimeoutError):
            stranger.accept()
    data = random_bytes(1000)
    estate.home.images.update(image, image_from="snapshot", image_location=room.url(nobody))
    said = (
        f"image_location: {TWO}: has no image {nobody} that the project of the home image may use"
    )
    until(lambda: room.said(image) == said, PATIENCE, "there is no such image")
    estate.home.images.update(image, image_location=room.url(room.snapshot(data)))
    room.arrives(image, data)
    assert room.said(image) is None
    plain = estate.create(image_location="snapshot")  # as Nova has it on its own snapshots
    estate.follows(plain)
    own = estate.create(data, image_from="snapshot", image_location=url)
    estate.follows(own)
    assert (room.said(plain), room.said(own)) == (None, None), "they have bytes of their own"


def test_one_that_never_gets_its_bytes_is_not_waited_for_for_ever(room: Darkroom) -> None:
    with sync_with(room.estate, snapshot_timeout="2"):
        snapshot, data = room.snapshot(None), random_bytes(1000)
        image = room.pointing(room.url(snapshot))
        said = f"{TWO}: image {snapshot} is queued after 2 s still (snapshot_timeout)"
        assert room.complains(image) == f"image_location: {said}"
        _, body = room.estate.sync("GET", f"/v1/tasks?image_id={image}")
        assert [(task["state"], task["reason"]) for task in body["tasks"]] == [("failed", said)]
        assert room.estate.read(THREE, image) is None
        room.upload(snapshot, data)
        room.arrives(image, data)
        assert room.said(image) is None


def test_what_can_not_be_had_is_said_and_what_was_copied_stays(room: Darkroom) -> None:
    estate, data = room.estate, random_bytes(1000)
    lost = room.snapshot(data)
    image = room.pointing(room.url(lost))
    room.arrives(image, data)
    estate.settled()
    estate.glances[TWO].images.deactivate(lost)
    estate.home.images.update(image, colour="red")
    said = f"image_location: {TWO}: image {lost} is deactivated: its bytes can't be had"
    assert room.complains(image) == said
    estate.glances[TWO].images.reactivate(lost)
    until(
        lambda: estate.glances[THREE].images.get(image).get("colour") == "red",
        PATIENCE,
        "it follows again",
    )
    estate.settled()
    estate.glances[TWO].images.delete(lost)
    estate.home.images.update(image, colour="blue")
    said = f"image_location: {TWO}: has no image {lost} that the project of the home image may use"
    assert room.complains(image) == said
    assert estate.bytes_of(THREE, image) == data
    assert estate.glances[THREE].images.get(image)["status"] == "active"
    estate.home.images.delete(image)
    estate.gone(image)


def test_only_what_its_project_may_use(room: Darkroom) -> None:
    """glance-sync sees the images of all projects: nobody gets at those of others by it."""
    estate, data = room.estate, random_bytes(1000)
    demo = estate.cloud.session("demo").get_project_id()
    private = room.snapshot(data, owner=demo, visibility="private")
    theirs = room.pointing(room.url(private), user="other")
    said = f"has no image {private} that the project of the home image may use"
    assert room.complains(theirs) == f"image_location: {TWO}: {said}"
    own = room.pointing(room.url(private), user="demo")
    room.arrives(own, data)
    assert estate.read(THREE, theirs) is None
    estate.glances[TWO].images.update(private, visibility="public")
    room.arrives(theirs, data)


def test_it_goes_where_the_operator_says(room: Darkroom) -> None:
    estate, data = room.estate, random_bytes(1000)
    image = room.pointing(room.url(room.snapshot(data)))
    room.arrives(image, data)
    with sync_with(estate, snapshot_region_names=TWO, watch_interval="1"):
        room.arrives(image, data, TWO)
        estate.gone(image, [THREE])
        plain = estate.create()
        estate.follows(plain)


def test_regions_import_it_from_where_it_was_born_and_from_each_other(room: Darkroom) -> None:
    estate, data = room.estate, random_bytes(2_000_000)
    log = estate.cloud.log(f"glance-{ONE}")
    before = len(log.read_text())
    both = f"{TWO},{THREE}"
    with sync_with(estate, transports="pull", source_transfers="1", snapshot_region_names=both):
        images = [room.pointing(room.url(room.snapshot(data))) for _ in range(2)]
        for image in images:
            for region in (TWO, THREE):
                room.arrives(image, data, region)
                replica = estate.replica(image, region)
                assert replica is not None
                assert replica["transport"] == "pull"
                assert replica["source"] in (TWO, THREE)
    asked = log.read_text()[before:]
    assert [image for image in images if f"/images/{image}/file" in asked] == []


def test_a_restart_in_the_middle_changes_nothing(room: Darkroom) -> None:
    estate, data = room.estate, random_bytes(1000)
    snapshot = room.snapshot(None)
    image = room.pointing(room.url(snapshot))
    room.waits(image)
    estate.cloud.kill("glance-sync")
    room.upload(snapshot, data)
    estate.cloud.start("glance-sync")
    room.arrives(image, data)
    assert len(room.events(image, "transfer")) == 1


def test_a_region_that_is_down_delays_nobody_else(room: Darkroom) -> None:
    estate, data = room.estate, random_bytes(1000)
    snapshot = room.snapshot(data)
    estate.cloud.stop(f"glance-{TWO}")
    try:
        pointing = [room.pointing(room.url(snapshot)) for _ in range(12)]
        assert room.complains(pointing[-1]).startswith(f"image_location: {TWO}: ")
        plain = estate.create()
        estate.follows(plain, [THREE])
    finally:
        estate.cloud.start(f"glance-{TWO}")
    for image in pointing:
        room.arrives(image, data)
