# SPDX-License-Identifier: Apache-2.0
"""Regions that had images before glance-sync came: planned, looked at, applied, adopted."""

import dataclasses
import io
from collections.abc import Iterator
from typing import Any

import pytest

from devcloud import Cloud
from tests.functional.estate import PATIENCE, Estate, random_bytes
from tests.functional.reconfigured import sync_with
from tests.functional.test_cli import Cli, maintenance

TWO = "RegionTwo"
DATA = random_bytes(1000)
NO_IMAGE = "the region has no image of that id"
NOT_OURS = "it has home's bytes; glance-sync did not make it"


@dataclasses.dataclass
class Estates:
    """Home's images by what RegionTwo has of them; ``twin_there`` is the id there."""

    same: str = ""  # the same bytes under the same id
    drifted: str = ""  # so, too; and somebody goes on changing it
    other: str = ""  # other bytes under the same id
    twin: str = ""  # the same bytes and name under another id
    lacking: str = ""  # nothing
    twin_there: str = ""


@pytest.fixture
def cli(cloud: Cloud) -> Cli:
    return Cli(cloud)


@pytest.fixture
def estate(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    yield estate
    estate.clear()


def put(estate: Estate, data: bytes, **fields: Any) -> str:
    """Somebody makes an image in RegionTwo."""
    images = estate.glances[TWO].images
    one: str = images.create(disk_format="raw", container_format="bare", **fields)["id"]
    images.upload(one, io.BytesIO(data))
    return one


@pytest.fixture
def found(estate: Estate) -> Iterator[Estates]:
    """While synchronization is off."""
    estate.settled()
    with sync_with(estate, sync_strategy="None"):
        made = Estates()
        for name in ("same", "drifted", "other", "twin", "lacking"):
            setattr(made, name, estate.create(DATA, name=f"{name} at home", visibility="public"))
        put(estate, DATA, id=made.same, name="same at home", visibility="public")
        put(estate, DATA, id=made.drifted, name="drifted", visibility="public")
        put(estate, DATA[::-1], id=made.other, name="other", visibility="public")
        made.twin_there = put(estate, DATA, name="twin at home")
        estate.settled()
        yield made
    for image in estate.made:
        estate.home.images.delete(image)
    # What glance-sync did not make it does not delete.
    for image in (made.same, made.drifted, made.other, made.twin_there):
        if estate.read(TWO, image) is not None:
            estate.glances[TWO].images.delete(image)


def everything(estate: Estate) -> dict[str, Any]:
    """All that every Glance would say."""
    return {
        name: sorted((dict(one) for one in glance.images.list()), key=lambda one: one["id"])
        for name, glance in estate.glances.items()
    }


def steps_of(plan: Any) -> dict[str, Any]:
    return {step["image_id"]: step for step in plan["steps"]}


def test_an_estate_is_taken_over(estate: Estate, cli: Cli, found: Estates) -> None:
    before = everything(estate)
    plan = cli.json("plan", "--region", TWO)
    assert (plan["state"], plan["strategy"]) == ("ready", "ALL")
    steps = steps_of(plan)
    told = {image: (step["actions"], step["adoptable"]) for image, step in steps.items()}
    assert told[found.same] == (["adopt"], [])
    assert told[found.drifted] == (["adopt", "change name"], [])
    assert told[found.other] == (["leave alone"], [])
    assert told[found.twin] == (["create", "copy"], [found.twin_there])
    assert told[found.lacking] == (["create", "copy"], [])
    assert steps[found.same]["why"] == NOT_OURS
    assert steps[found.lacking]["why"] == NO_IMAGE
    assert "was not made by glancesync and its bytes differ" in steps[found.other]["why"]
    assert steps[found.lacking]["bytes"] == 1000

    page = cli("plan", "--region", TWO).stdout
    assert f"could be adopted instead: {found.twin_there}" in page
    assert "To have exactly this done: openstack image sync apply" in page
    assert max(map(len, page.splitlines())) < 100
    assert everything(estate) == before, "nothing was done"
    assert cli.json("task", "list") == []

    # A human adopts what has another id. What was planned before that is not done any more.
    cli("adopt", found.twin, TWO, found.twin_there, "--timeout", str(PATIENCE))
    said = cli.error("apply", str(plan["id"]))
    assert f"plan {plan['id']} went stale: the replica of {found.twin} in {TWO} was worked" in said
    assert steps_of(cli.json("plan", "show", str(plan["id"])))[found.same]["state"] == "planned"

    plan = cli.json("plan", "--region", TWO)
    assert steps_of(plan).keys() == steps.keys()
    assert steps_of(plan)[found.twin]["actions"] == ["change visibility"]
    estate.glances[TWO].images.update(found.drifted, name="drifted again")
    number = str(plan["id"])
    applied = cli.json("apply", number, "--timeout", str(PATIENCE), code=3)
    ended = {image: (one["state"], one["result"]) for image, one in steps_of(applied).items()}
    assert ended.pop(found.drifted) == ("stale", "the region's image is not what it was")
    assert {state for state, _ in ended.values()} == {"done"}
    assert f"plan {number} was applied already" in cli.error("apply", number)

    adopted = estate.replica(found.same, TWO)
    assert adopted is not None
    assert (adopted["state"], adopted["made_by_us"]) == ("in_sync", False)
    conflict = estate.replica(found.other, TWO)
    assert conflict is not None
    assert conflict["state"] == "conflict"
    assert estate.bytes_of(TWO, found.other) == DATA[::-1], "it is not overwritten"
    drifted = estate.read(TWO, found.drifted)
    assert drifted is not None
    assert drifted["name"] == "drifted again"
    estate.follows(found.lacking, [TWO])
    assert estate.bytes_of(TWO, found.lacking) == DATA
    assert estate.read("RegionThree", found.lacking) is None, "it was not in the plan"

    left = steps_of(cli.json("plan", "--region", TWO))
    assert left.keys() >= {found.drifted, found.other}
    assert left.keys().isdisjoint({found.same, found.twin, found.lacking})
    rows = {str(row["ID"]): row for row in cli.json("plan", "list")}
    assert (rows[number]["State"], rows[number]["Regions"]) == ("applied", [TWO])
    assert rows[number]["Steps"] == len(applied["steps"])


def test_a_clash_of_ids_ends_by_force_only(estate: Estate, cli: Cli, found: Estates) -> None:
    with sync_with(estate, sync_strategy="ALL"):
        cli("run", found.other, "--region", TWO, "--timeout", str(PATIENCE), code=3)
        assert estate.bytes_of(TWO, found.other) == DATA[::-1]
        plan = cli.json("plan", "--image", found.other, "--region", TWO)
        assert [step["actions"] for step in plan["steps"]] == [["leave alone"]]
        cli("run", found.other, "--region", TWO, "--force", "--timeout", str(PATIENCE))
        there = estate.reaches(found.other, TWO, "in_sync")["replica_id"]
        assert there != found.other
        assert estate.bytes_of(TWO, there) == DATA
        plan = cli.json("plan", "--image", "other at home", "--region", TWO)
        assert plan["steps"] == []


def test_a_plan_for_a_closed_region_waits(estate: Estate, cli: Cli) -> None:
    with maintenance(cli, TWO):
        image = estate.create(DATA)
        estate.follows(image, ["RegionThree"])
        page = cli("plan", "--image", image).stdout
        assert f"{TWO}: 1 step, 1.0 KiB to copy (it is in maintenance)" in page
        assert "RegionThree: nothing to do" in page
        number = cli.json("plan", "list")[0]["ID"]
        waiting = cli("apply", str(number), "--timeout", "1", code=4)
        assert f"{TWO}: it is in maintenance; its steps wait until it is open" in waiting.stderr
        assert "asked" in waiting.stdout
    estate.follows(image)
    done = cli.json("plan", "show", str(number), "--region", TWO)
    assert [(step["state"], step["image_id"]) for step in done["steps"]] == [("done", image)]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["plan", "--region", "Atlantis"], "there is no region 'Atlantis'"),
        (["plan", "--region", "RegionOne"], "RegionOne is the home region"),
        (["plan", "--image", "no such name"], "no image is called 'no such name'"),
        (["plan", "--image", "0" * 8 + "-0000-0000-0000-" + "0" * 12], "home has no image 000000"),
        (["plan", "show", "99999"], "there is no plan 99999"),
        (["apply", "99999"], "there is no plan 99999"),
    ],
)
def test_what_can_not_be_planned_or_applied(cli: Cli, args: list[str], said: str) -> None:
    assert said in cli.error(*args)
