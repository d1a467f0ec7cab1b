# SPDX-License-Identifier: Apache-2.0
"""A project is bound to a region, and its images are there; against a real cloud."""

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from devcloud import Cloud
from tests.functional.estate import PATIENCE, Estate
from tests.functional.reconfigured import sync_with
from tests.functional.test_cli import Cli
from tests.functional.wait import until


@pytest.fixture(scope="module")
def bound(cloud: Cloud) -> Iterator[Estate]:
    """Images go where their project is bound."""
    estate = Estate(cloud)
    with sync_with(estate, sync_strategy="USER", sync_rules_file=""):
        yield estate
        estate.clear()
        for binding in every(estate):
            estate.sync("DELETE", f"/v1/bindings/{binding['id']}?release=1")


@pytest.fixture
def estate(bound: Estate) -> Iterator[Estate]:
    """No region is closed or described, and nobody is bound, before and after."""
    yield bound
    bound.clear()
    for name in bound.others:
        tell(bound, name, maintenance=False, labels={}, capacity=None)
    for binding in every(bound):
        if not binding["released"]:
            assert bound.sync("DELETE", f"/v1/bindings/{binding['id']}?release=1")[0] == 200
    bound.settled()


def every(estate: Estate) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = estate.sync("GET", "/v1/bindings?limit=1000")[1]["bindings"]
    return found


def tell(estate: Estate, region: str, **changes: Any) -> None:
    status, body = estate.sync("PATCH", f"/v1/regions/{region}", json=changes)
    assert status == 200, body


def project_of(estate: Estate, user: str) -> str:
    return str(estate.cloud.session(user).get_project_id())


def select(estate: Estate, user: str = "demo", **body: Any) -> tuple[int, dict[str, Any]]:
    wish = {"project_id": project_of(estate, user), **body}
    status, answer = estate.sync("POST", "/v1/bindings/select", user=user, json=wish)
    return status, answer.get("binding", answer)


def other_of(estate: Estate, region: str) -> str:
    (other,) = [name for name in estate.others if name != region]
    return other


def stays_away(estate: Estate, image: str, region: str) -> None:
    """All is done that is to be done, and the region has no such image."""
    estate.settled()
    assert estate.read(region, image) is None


def test_images_go_where_their_project_is_bound(estate: Estate) -> None:
    mine, strangers = estate.create(user="demo"), estate.create(user="other")
    until(lambda: estate.sync("GET", f"/v1/images/{mine}")[0] == 200, PATIENCE, "it is known")
    for name in estate.others:
        stays_away(estate, mine, name)

    status, first = select(estate)
    assert status == 201, first
    there = first["region"]
    estate.follows(mine, [there])
    later = estate.create(user="demo")
    estate.follows(later, [there])
    for image in (mine, later):
        stays_away(estate, image, other_of(estate, there))
    stays_away(estate, strangers, there)
    assert select(estate) == (200, first)


def test_a_region_in_maintenance_is_left_and_come_back_to(estate: Estate) -> None:
    image = estate.create(user="demo")
    _, first = select(estate)
    one, other = first["region"], other_of(estate, first["region"])
    estate.follows(image, [one])

    tell(estate, one, maintenance=True)
    status, second = select(estate)
    assert (status, second["region"]) == (201, other)
    assert second["cause"] == f"{one} will not do: it is in maintenance"
    estate.follows(image, [other])

    tell(estate, one, maintenance=False)
    estate.home.images.update(image, name="it follows changes still")
    estate.follows(image, [one, other])
    assert select(estate) == (200, second)

    tell(estate, other, capacity={"free_bytes": 1, "total_bytes": 100})
    status, third = select(estate)
    assert (status, third["region"]) == (201, one)
    assert third["cause"].startswith(f"{other} will not do: 1 % of 100 B would be free")
    mine = [each for each in every(estate) if not each["released"]]
    assert [(each["region"], each["active"]) for each in mine] == [
        (one, True),
        (other, False),
        (one, False),
    ]

    status, body = estate.sync("DELETE", f"/v1/bindings/{second['id']}?release=1&cause=empty")
    assert (status, body["binding"]["released"]) == (200, True)
    estate.gone(image, [other])
    estate.settled()
    estate.follows(image, [one])


def test_no_region_will_do(estate: Estate) -> None:
    status, body = select(estate, user="demo", requirements={"labels": {"tier": "gold"}})
    assert (status, body["error"]["message"]) == (409, "no region will do")
    wish = {"project_id": "p", "requirements": {"labels": {"tier": "gold"}}}
    status, body = estate.sync("POST", "/v1/bindings/select", json=wish)
    assert status == 409
    for name in estate.others:
        assert f"{name}: it has no label tier" in body["error"]["message"]


def test_glance_does_not_say_how_much_is_free(estate: Estate) -> None:
    """If it ever does, that should be the capacity of regions nobody has said it of."""
    url = f"http://127.0.0.1:{estate.cloud.region('RegionTwo').port}/v2/info/stores/detail"
    (store,) = estate.cloud.session().get(url).json()["stores"]
    assert store["type"] == "file"
    assert set(store["properties"]) == {"data_dir", "chunk_size", "thin_provisioning"}


def test_fifty_requests_at_once_bind_once(estate: Estate) -> None:
    body = {"project_id": uuid.uuid4().hex}
    found: list[tuple[int, Any]] = []
    ready = threading.Barrier(50)
    estate.sync("GET", "/v1/bindings")  # has the token

    def ask() -> None:
        ready.wait()
        found.append(estate.sync("POST", "/v1/bindings/select", json=body))

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for status, _ in found) == [200] * 49 + [201]
    assert len({answer["binding"]["id"] for _, answer in found}) == 1
    own = f"/v1/bindings?project_id={body['project_id']}"
    assert len(estate.sync("GET", own)[1]["bindings"]) == 1


def test_on_the_command_line(estate: Estate) -> None:
    """A project is named by its name or its id."""
    cli, project = Cli(estate.cloud), project_of(estate, "demo")
    cli("region", "set", "RegionTwo", "--capacity-free", "50", "--capacity-total", "100")
    shown = cli("region", "set", "RegionTwo", "--label", "tier=gold").stdout
    assert "50 B of 100 B free, said " in shown
    gold = ("--project", "demo", "--label", "tier=gold")
    assert "no project is called 'dmeo'" in cli.error("binding", "list", "--project", "dmeo")

    said = cli("binding", "select", *gold, "--dry-run").stdout.splitlines()
    assert said[0] == "It would be bound to RegionTwo."
    assert said[-2:] == ["Left out:", "  RegionThree: it has no label tier"]
    assert cli.json("binding", "list") == []
    full = cli.json("binding", "select", *gold, "--dry-run")
    assert [one["name"] for one in full["regions"]] == ["RegionTwo", "RegionThree"]

    bound = cli.json("binding", "select", *gold)
    assert (bound["region"], bound["active"]) == ("RegionTwo", True)
    (row,) = cli.json("binding", "list")
    assert (row["ID"], row["Project ID"], row["Region"]) == (bound["id"], project, "RegionTwo")
    member = Cli(estate.cloud, "RegionOne-demo")
    assert member.json("binding", "select")["id"] == bound["id"]
    assert "policy does not allow" in member.error("binding", "select", "--dry-run")

    moved = cli.json(
        "binding", "create", "--project", project, "--cause", "a contract", "RegionThree"
    )
    assert moved["cause"] == "a contract"
    assert [row["ID"] for row in cli.json("binding", "list", "--all", "--project", project)][
        :2
    ] == [moved["id"], bound["id"]]
    assert "bound to RegionThree instead" in cli("binding", "show", str(bound["id"])).stdout
    ended = cli.json("binding", "delete", str(moved["id"]), "--release")
    assert (ended["active"], ended["released"]) == (False, True)
    assert "has ended already" in cli.error("binding", "delete", str(moved["id"]))
