# SPDX-License-Identifier: Apache-2.0
"""Strategy USER on a real cloud: who and what sends an image where, and what a new file moves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcloud import Cloud
from tests.functional.estate import PATIENCE, Estate, random_bytes
from tests.functional.reconfigured import reload, sync_with
from tests.functional.test_cli import Cli
from tests.functional.test_daemon import config, program
from tests.functional.wait import until

RULES = """\
groups:
  near: [RegionTwo]
rules:
  - {name: tagged, match: {tags: [two, both]}, regions: {groups: [near]}}
  - name: windows
    match: {name: "win-*", properties: {os_distro: "win*"}}
    regions: [RegionThree]
  - {name: large, match: {size: {at_least: 1M}}, regions: all, priority: high}
  - {name: old, match: {age: {at_least: 1d}}, regions: all}
  - name: of members
    match: {role: MEMBER, not: {role: admin}}
    regions: {labels: {rules: three}}
  - {name: of a project, match: {domain: Default, project: demo}, regions: all}
override: {role: admin}
"""
TWO, THREE = "RegionTwo", "RegionThree"


class Ruled:
    """A cloud under rules."""

    def __init__(self, estate: Estate) -> None:
        self.cloud, self.estate = estate.cloud, estate
        self.path = self.cloud.sync_config.parent / "sync_rules.yaml"

    def reload(self, text: str) -> str:
        """What glance-sync logs of a new file."""
        self.path.write_text(text)
        return reload(self.cloud)

    def only_in(self, image: str, *regions: str) -> None:
        """Wait until an image is in these regions, and in no other."""
        until(lambda: self.estate.sync("GET", f"/v1/images/{image}")[0] == 200, PATIENCE, "known")
        if regions:
            self.estate.follows(image, regions)
        if not_there := set(self.estate.others) - set(regions):
            self.estate.gone(image, not_there)
        self.estate.settled()
        there = [name for name in self.estate.others if self.estate.read(name, image)]
        assert there == sorted(regions, key=self.estate.others.index)

    def test(self, image: str, **more: Any) -> Any:
        body = {"image_id": image, **more}
        status, said = self.estate.sync("POST", "/v1/rules/test", json=body)
        assert status == 200, said
        return said["test"]

    def events(self, image: str, what: str) -> list[str]:
        _, body = self.estate.sync("GET", f"/v1/images/{image}/events?limit=1000")
        return [one["detail"] for one in body["events"] if one["what"] == what]


@pytest.fixture
def estate(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    yield estate
    estate.clear()


@pytest.fixture
def ruled(cloud: Cloud, estate: Estate) -> Iterator[Ruled]:
    """Under USER until the test ends; its images are gone before. No guard lets more than 1 go."""
    ruled = Ruled(estate)
    before = ruled.path.read_text()
    ruled.path.write_text(RULES)
    three = f"/v1/regions/{THREE}"
    estate.sync("PATCH", three, json={"labels": {"rules": "three"}})
    options = {"sync_strategy": "USER", "watch_interval": "1", "delete_guard_images": "1"}
    with sync_with(estate, **options):
        yield ruled
        estate.clear()
    estate.sync("PATCH", three, json={"labels": {}})
    ruled.path.write_text(before)


def test_who_made_it_and_what_it_is_decide_where_it_goes(ruled: Ruled, estate: Estate) -> None:
    demo = estate.cloud.session("demo").get_project_id()
    made = [
        (estate.create(tags=["x", "both"]), "tagged", [TWO]),
        (estate.create(name="win-11", os_distro="windows"), "windows", [THREE]),
        (estate.create(name="win-11", os_distro="linux"), "default", []),
        (estate.create(random_bytes(2**20)), "large", [TWO, THREE]),
        (estate.create(user="demo"), "of members", [THREE]),
        (estate.create(user="other", tags=["two"]), "tagged", [TWO]),
        (estate.create(owner=demo), "of a project", [TWO, THREE]),
        (estate.create(), "default", []),
    ]
    for image, rule, regions in made:
        ruled.only_in(image, *regions)
        said = ruled.test(image)
        assert said["rule"] == rule
        assert sorted(said["regions"]) == sorted(regions)
        first = next((one for one in said["rules"] if one["matches"]), {"name": "default"})
        assert first["name"] == rule
    (verdict,) = [one for one in ruled.test(made[4][0])["rules"] if one["name"] == "of a project"]
    assert verdict["matches"] is True, "it would, if the one before had not decided"
    assert verdict["because"] == ["domain: 'Default', 'default'", f"project: '{demo}', 'demo'"]


def test_a_change_of_the_image_takes_it_elsewhere(ruled: Ruled, estate: Estate) -> None:
    image = estate.create(tags=["two"])
    ruled.only_in(image, TWO)
    estate.home.image_tags.delete(image, "two")
    estate.home.images.update(image, name="win-10", os_distro="win")
    ruled.only_in(image, THREE)
    assert any("rule 'windows' decides" in said for said in ruled.events(image, "delete"))


def test_what_no_rule_decides_follows_the_bindings_of_its_project(
    ruled: Ruled, estate: Estate
) -> None:
    image, tagged = estate.create(), estate.create(tags=["two"])
    ruled.only_in(image)
    project = estate.cloud.session().get_project_id()
    body = {"project_id": project, "region": THREE}
    status, said = estate.sync("POST", "/v1/bindings", json=body)
    assert status == 201, said
    binding = f"/v1/bindings/{said['binding']['id']}"
    try:
        ruled.only_in(image, THREE)
        ruled.only_in(tagged, TWO)
        assert ruled.test(image)["rule"] == "default"
    finally:
        assert estate.sync("DELETE", f"{binding}?release=1")[0] == 200
    ruled.only_in(image)


def test_an_image_says_by_itself_where_it_goes(ruled: Ruled, estate: Estate) -> None:
    image = estate.create(tags=["two"], sync_regions=f"{THREE}, {estate.cloud.home}")
    ruled.only_in(image, THREE)
    replica = estate.read(THREE, image)
    assert replica is not None
    assert replica["sync_regions"].startswith(THREE), "it is a property as any other"
    estate.home.images.update(image, sync_regions="none")
    ruled.only_in(image)
    estate.home.images.update(image, sync_regions="RegionFour")
    ruled.only_in(image, TWO)
    said = "sync_regions: there is no region 'RegionFour'; there is RegionThree, RegionTwo"
    assert estate.sync("GET", f"/v1/images/{image}")[1]["image"]["last_error"] == said
    assert ruled.events(image, "override") == [said]
    assert ruled.test(image)["complaint"] == said
    estate.home.images.update(image, remove_props=["sync_regions"])
    until(
        lambda: estate.sync("GET", f"/v1/images/{image}")[1]["image"]["last_error"] is None,
        PATIENCE,
        "nothing is wrong with it any more",
    )
    mine = estate.create(user="demo", sync_regions=TWO)
    ruled.only_in(mine, THREE)
    status, body = estate.sync("GET", f"/v1/images/{mine}", user="demo")
    assert status == 200
    assert body["image"]["last_error"] == (
        "sync_regions: the rules don't let this image say where it goes: role: 'member', 'reader'"
    )


def test_another_file_moves_images_and_a_broken_one_none(ruled: Ruled, estate: Estate) -> None:
    tagged = [estate.create(tags=["two"]) for _ in range(3)]
    other = estate.create(tags=["mine"])
    for image in tagged:
        ruled.only_in(image, TWO)
    broken = RULES.replace("RegionThree]", "RegionThree]\n    region: all")
    assert f"was not reloaded: {ruled.path}:8: rules[1].region: is not known" in ruled.reload(
        broken
    )
    moved = RULES.replace("[RegionTwo]", "[RegionThree]").replace("both]", "both, mine]")
    status, body = estate.sync("POST", "/v1/rules/preview", json={"rules": moved})
    assert status == 200, body
    size = 10
    assert body["preview"]["regions"] == [
        {
            "name": THREE,
            "added": {"images": 4, "bytes": 4 * size},
            "removed": {"images": 0, "bytes": 0},
        },
        {
            "name": TWO,
            "added": {"images": 0, "bytes": 0},
            "removed": {"images": 3, "bytes": 3 * size},
        },
    ]
    assert "next" not in body
    assert "configuration reloaded" in ruled.reload(moved)
    for image in (*tagged, other):
        estate.follows(image, [THREE])
    held = until(lambda: _held(estate), PATIENCE, "the guard holds what is to go")
    assert held == 3
    assert all(estate.read(TWO, image) for image in tagged)
    assert estate.sync("POST", f"/v1/audits/{estate.cloud.home}/release")[0] == 202
    for image in tagged:
        ruled.only_in(image, THREE)


def _held(estate: Estate) -> int:
    _, body = estate.sync("GET", f"/v1/audits/{estate.cloud.home}")
    held: int = body["audit"]["held"]
    return held


def test_a_name_that_nobody_knows_is_only_said_while_it_runs(ruled: Ruled, estate: Estate) -> None:
    strange = RULES.replace("[RegionTwo]", "[RegionTwo, RegionTow]")
    said = ruled.reload(strange)
    problem = f"{ruled.path}:2: groups.near[1]: the region 'RegionTow' is not known here; is it"
    assert problem in said
    assert "configuration reloaded" in said
    status, body = estate.sync("GET", "/v1/rules")
    assert status == 200
    assert body["rules"]["problems"] == [
        "sync_rules_file:2: groups.near[1]: the region 'RegionTow' is not known here; "
        "is it to be RegionTwo?"
    ]
    status, body = estate.sync("POST", "/v1/rules/preview", json={"rules": strange})
    assert status == 400
    assert body["error"]["message"].startswith("rules:2: groups.near[1]: the region 'RegionTow'")
    assert problem in _doctor(estate.cloud)


def _doctor(cloud: Cloud) -> str:
    path = str(cloud.sync_config)
    return program(cloud, "glance-sync-manage", "--config-file", path, "doctor").stdout


def test_the_commands(ruled: Ruled, estate: Estate, tmp_path: Path) -> None:
    cli = Cli(estate.cloud)
    image = estate.create(tags=["two"])
    ruled.only_in(image, TWO)
    listed = cli.json("rule", "list")
    assert [one["Name"] for one in listed][:2] == ["tagged", "windows"]
    assert listed[-1]["Name"] == "default"
    assert "tags: [two, both]" in cli("rule", "list").stdout
    said = cli.json("rule", "test", image)
    assert (said["rule"], said["regions"]) == ("tagged", [TWO])
    assert "nobody" not in cli("rule", "test", image).stdout
    other = tmp_path / "other.yaml"
    other.write_text(RULES.replace("[RegionTwo]", "[RegionThree]"))
    assert cli.json("rule", "test", image, "--file", str(other))["regions"] == [THREE]
    rows = {one["Region"]: one for one in cli.json("rule", "preview", str(other))}
    assert (rows[THREE]["Added"], rows[THREE]["Removed"]) == (1, 0)
    assert (rows[TWO]["Added"], rows[TWO]["Removed"]) == (0, 1)
    by_rule = {one["Rule"]: one for one in cli.json("rule", "preview", str(other), "--by-rule")}
    assert by_rule["tagged"] == {"Rule": "tagged", "Images": 1, "Bytes": 10}
    other.write_text(RULES.replace("role: MEMBER", "rool: MEMBER"))
    assert "rules:11: rules[4].match.rool: is not known here; is it to be role?" in cli.error(
        "rule", "preview", str(other)
    )
    assert "No such file" in cli.error("rule", "preview", str(tmp_path / "gone"))
    assert f"ok    option sync_rules_file: {ruled.path} has 6 rules\n" in _doctor(estate.cloud)


@pytest.mark.parametrize("role", ["all", "worker", "api"])
def test_a_file_that_can_not_be_used_is_refused_at_start(
    cloud: Cloud, tmp_path: Path, role: str
) -> None:
    path = config(cloud, tmp_path, (r"^sync_strategy ?=.*", "sync_strategy = USER"))
    rules = tmp_path / "sync_rules.yaml"
    for text, said in (
        (None, ": the file: can't be read: No such file or directory"),
        ("rules:\n  - name: r", ":2: rules[0]: lacks match and regions"),
    ):
        if text is not None:
            rules.write_text(text)
        done = program(cloud, "glance-sync", "--config-file", path, "--role", role)
        assert done.returncode == 2, done.stderr
        assert done.stderr.strip().splitlines()[-1] == f"glance-sync: {rules}{said}"
