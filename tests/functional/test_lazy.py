# SPDX-License-Identifier: Apache-2.0
"""Under LAZY images go where somebody needs them: on a real cloud."""

import concurrent.futures
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from devcloud import Cloud
from tests.functional.estate import PATIENCE, Estate, random_bytes, sha512
from tests.functional.reconfigured import sync_with
from tests.functional.test_audits import audited, hints_lost
from tests.functional.test_cli import Cli
from tests.functional.wait import until

TWO, THREE = "RegionTwo", "RegionThree"
AT_ONCE = 50


@pytest.fixture(scope="module")
def lazy(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    estate.settled()
    with sync_with(estate, sync_strategy="LAZY"):
        yield estate


@pytest.fixture
def estate(lazy: Estate) -> Iterator[Estate]:
    yield lazy
    lazy.clear()


def ensure(estate: Estate, image: str, region: str = TWO, user: str = "admin") -> tuple[int, Any]:
    status, body = estate.sync("POST", f"/v1/images/{image}/ensure", user, json={"region": region})
    return status, body.get("ensure") or body["error"]["message"]


def arrives(estate: Estate, image: str, region: str = TWO) -> dict[str, Any]:
    """Ask until it is there."""

    def look() -> dict[str, Any]:
        status, said = ensure(estate, image, region)
        assert status == 200, json.dumps(said)
        return dict(said)

    found: dict[str, Any] = until(look, PATIENCE, f"{region} has image {image}")
    return found


def known(estate: Estate, image: str) -> None:
    """Wait until glance-sync has heard of it."""
    until(lambda: estate.sync("GET", f"/v1/images/{image}")[0] == 200, PATIENCE, "it is known")


def told(estate: Estate, image: str, what: str, region: str) -> list[str]:
    """What the log says of an image in a region, the oldest first."""
    events = estate.sync("GET", f"/v1/images/{image}/events?limit=1000")[1]["events"]
    found = [one["detail"] for one in events if (one["what"], one["region"]) == (what, region)]
    return found[::-1]


def absent(estate: Estate, image: str, *regions: str) -> None:
    for region in regions:
        assert estate.read(region, image) is None, region
        assert estate.replica(image, region) is None, region


def test_it_goes_nowhere_by_itself_and_then_where_it_is_needed(estate: Estate) -> None:
    data = random_bytes(100_000)
    image = estate.create(data, colour="red")
    known(estate, image)
    estate.settled()
    absent(estate, image, TWO, THREE)

    status, said = ensure(estate, image)
    assert (status, said["ready"], said["region"]) == (202, False, TWO)
    assert arrives(estate, image)["replica_id"] == image
    estate.follows(image, [TWO])
    assert sha512(estate.bytes_of(TWO, image)) == sha512(data)
    estate.settled()
    absent(estate, image, THREE)

    estate.home.images.update(image, colour="blue", name="another")
    estate.follows(image, [TWO])
    estate.settled()
    absent(estate, image, THREE)
    assert audited(estate, "RegionOne")["missing"] == 0
    absent(estate, image, THREE)


def test_fifty_who_need_it_at_once_share_one_copy(estate: Estate) -> None:
    size = 16_000_000
    image = estate.create(random_bytes(size))
    estate.settled()
    before = estate.metric("copied_bytes_total", region=TWO)

    def need(number: int) -> tuple[int, Any]:
        return ensure(estate, image, user="admin" if number % 2 else "demo")

    estate.home.images.update(image, visibility="public")
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(need, range(AT_ONCE)))
    assert {status for status, _ in answers} <= {200, 202}, answers
    assert len({said["task_id"] for status, said in answers if status == 202}) == 1
    arrives(estate, image)
    estate.settled()
    assert len(told(estate, image, "transfer", TWO)) == 1
    assert len(told(estate, image, "pinned", TWO)) == 1
    assert estate.metric("copied_bytes_total", region=TWO) - before == size


def test_one_that_is_not_known_yet(estate: Estate) -> None:
    with hints_lost(estate):
        image = estate.create()
    status, said = ensure(estate, image)
    assert status == 202, said
    assert said["task_id"] is not None
    arrives(estate, image)
    estate.follows(image, [TWO])


def test_it_is_cheap_when_it_is_there(estate: Estate) -> None:
    image = estate.create()
    arrives(estate, image)
    estate.settled()
    used = {ensure(estate, image)[1]["used_at"] for _ in range(5)}
    assert len(used) == 1, "one write a minute is enough"
    assert len(told(estate, image, "pinned", TWO)) == 1
    assert estate.sync("GET", "/v1/tasks")[1]["tasks"] == []


def test_a_region_that_is_down_gets_it_when_it_is_back(estate: Estate) -> None:
    image = estate.create()
    estate.settled()
    estate.cloud.stop(f"glance-{TWO}")
    try:
        assert ensure(estate, image)[0] == 202

        def failed() -> bool:
            status, said = ensure(estate, image)
            assert status == 202
            return bool(said["last_error"])

        until(failed, PATIENCE, "it says why it is not there")
        said = ensure(estate, image)[1]
        assert f"{TWO}: " in said["last_error"]
        assert "nobody answers" in said["last_error"]
    finally:
        estate.cloud.start(f"glance-{TWO}")
    arrives(estate, image)


def test_who_may_have_it_brought(estate: Estate) -> None:
    own = estate.create(user="demo", visibility="private")
    public = estate.create(visibility="public")
    shared = estate.create(user="demo", visibility="shared")
    for image in (own, public, shared):
        known(estate, image)
    assert ensure(estate, own, user="demo")[0] == 202
    assert ensure(estate, public, user="other")[0] == 202
    for image in (own, shared):
        status, said = ensure(estate, image, THREE, user="other")
        assert (status, said) == (404, f"image {image} is not known")
    other = estate.cloud.session("other").get_project_id()
    estate.cloud.glance("RegionOne", "demo").image_members.create(shared, other)
    assert ensure(estate, shared, THREE, user="other")[0] == 202
    estate.settled()
    absent(estate, own, THREE)


def test_what_can_not_be_brought_anywhere(estate: Estate) -> None:
    nothing = "00000000-1111-2222-3333-444444444444"
    assert ensure(estate, nothing) == (404, f"image {nothing} is not known")
    queued = estate.create(None)
    estate.settled()
    assert ensure(estate, queued) == (409, "home's image is queued: it has no data")
    image = estate.create()
    assert ensure(estate, image, "Nowhere")[0] == 404
    assert ensure(estate, image, "RegionOne")[0] == 409
    estate.settled()
    assert told(estate, image, "pinned", TWO) == []


def test_an_image_of_the_same_id_that_is_not_ours_is_the_reason(estate: Estate) -> None:
    image = estate.create()
    stranger = estate.glances[TWO]
    stranger.images.create(
        id=image, name="theirs", container_format="bare", disk_format="raw", visibility="private"
    )
    stranger.images.upload(image, io.BytesIO(b"other bytes than home's"))
    try:

        def refused() -> str:
            status, said = ensure(estate, image)
            assert status == 409, said
            return str(said)

        assert until(refused, PATIENCE, "it says that it can't")
    finally:
        stranger.images.delete(image)


def test_what_it_refers_to_comes_along(estate: Estate) -> None:
    kernel = estate.create(container_format="aki", disk_format="aki")
    ramdisk = estate.create(container_format="ari", disk_format="ari")
    image = estate.create(
        container_format="ami", disk_format="ami", kernel_id=kernel, ramdisk_id=ramdisk
    )
    estate.settled()
    arrives(estate, image)
    for one in (kernel, ramdisk, image):
        estate.follows(one, [TWO])


def test_what_nobody_has_needed_goes_and_comes_again(estate: Estate) -> None:
    data = random_bytes(5000)
    image = estate.create(data)
    arrives(estate, image)
    estate.settled()
    with sync_with(estate, sync_strategy="nova", evict_after="4"):

        def gone() -> bool:
            audited(estate, "RegionOne")
            return estate.read(TWO, image) is None

        until(gone, PATIENCE, "it has gone")
        estate.settled()
    reason = "the image does not go there: nobody has needed it there for 4 s"
    assert told(estate, image, "delete", TWO) == [f"{image}: {reason}"]
    assert estate.read("RegionOne", image) is not None
    replica = estate.replica(image, TWO)
    assert replica is not None
    assert (replica["state"], replica["used_at"]) == ("deleted", None)
    replica_id = arrives(estate, image)["replica_id"]
    assert replica_id != image, "Glance never takes an id again"
    assert sha512(estate.bytes_of(TWO, replica_id)) == sha512(data)
    estate.follows(image, [TWO], RegionTwo=replica_id)


# -- on the command line --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cli(cloud: Cloud) -> Cli:
    return Cli(cloud)


def test_ensure_waits_until_it_is_there(estate: Estate, cli: Cli) -> None:
    image = estate.create(name="needed in two")
    asked = cli.json("ensure", image, TWO)
    assert (asked["image_id"], asked["ready"]) == (image, False)
    done = cli.json("ensure", "needed in two", TWO, "--wait")
    assert (done["ready"], done["state"], done["last_error"]) == (True, "in_sync", None)
    shown = cli("show", image).stdout
    assert "needed" in shown


def test_ensure_says_why_not(estate: Estate, cli: Cli) -> None:
    image = estate.create()
    assert "there is no region 'Nowhere'" in cli.error("ensure", image, "Nowhere")
    estate.settled()
    estate.cloud.stop(f"glance-{TWO}")
    try:
        said = cli("ensure", image, TWO, "--timeout", "5", code=4).stderr
    finally:
        estate.cloud.start(f"glance-{TWO}")
    assert "not there within 5 s" in said
    arrives(estate, image)
