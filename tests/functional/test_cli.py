# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync …`` as a user types it, against a real cloud."""

import io
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pexpect
import pytest
from glanceclient.exc import HTTPNotFound

from devcloud import Cloud
from tests.functional.openstack_client import openstack
from tests.functional.wait import until

OPENSTACK = str(Path(sys.executable).with_name("openstack"))
PATIENCE = 60  # seconds for a small image to be in sync everywhere
BESIDES = ("RegionThree", "RegionTwo")  # all but home, as they are listed
BIG = 24 * 2**20
SHARED = "shared by tests"

Make = Callable[..., str]


class Cli:
    """The client of admin, or of another cloud of clouds.yaml."""

    def __init__(self, cloud: Cloud, as_cloud: str = "RegionOne") -> None:
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        self.env |= {
            "OS_CLIENT_CONFIG_FILE": str(cloud.clouds_yaml),
            "OS_CLOUD": as_cloud,
            "COLUMNS": "200",
        }

    def __call__(self, *args: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run ``openstack image sync *args``, which must end with ``code``."""
        done = openstack(["image", "sync", *args], self.env | env)
        assert done.returncode == code, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *args: str, code: int = 0) -> Any:
        """What the command prints with ``-f json``."""
        return json.loads(self(*args, "-f", "json", code=code).stdout)

    def error(self, *args: str, code: int = 1, **env: str) -> str:
        """What a command that fails says; it prints nothing else."""
        done = self(*args, code=code, **env)
        assert done.stdout == ""
        return done.stderr


@pytest.fixture(scope="module")
def cli(cloud: Cloud) -> Cli:
    return Cli(cloud)


@contextmanager
def maker(cloud: Cloud) -> Iterator[Make]:
    """Makes images, and takes them away from everywhere in the end."""
    made: list[tuple[str, str]] = []

    def make(name: str, size: int = 1500, region: str = "RegionOne", **fields: Any) -> str:
        images = cloud.glance(region).images
        one = images.create(name=name, disk_format="raw", container_format="bare", **fields)
        made.append((region, one.id))
        images.upload(one.id, io.BytesIO(os.urandom(size)))
        return str(one.id)

    yield make
    for region, image in reversed(made):  # so that what a region held before home did, is last
        with suppress(HTTPNotFound):
            cloud.glance(region).images.delete(image)
    until(lambda: settled(cloud), PATIENCE, "nothing left to do")


@pytest.fixture
def make(cloud: Cloud) -> Iterator[Make]:
    with maker(cloud) as make:
        yield make


@pytest.fixture(scope="module")
def shared(cloud: Cloud) -> Iterator[str]:
    with maker(cloud) as make:
        yield make(SHARED)


@pytest.fixture
def image(shared: str, cloud: Cloud) -> str:
    """An image that is in sync and called ``SHARED``; tests leave its bytes alone."""
    until(lambda: settled(cloud), PATIENCE, "nothing left to do")
    return shared


def settled(cloud: Cloud) -> bool:
    status = cloud.session().get(f"{cloud.sync_url}/v1/status").json()["status"]
    assert status["in_sync"], status
    return True


@contextmanager
def maintenance(cli: Cli, *regions: str) -> Iterator[None]:
    for region in regions:
        cli("region", "set", region, "--maintenance")
    try:
        yield
    finally:
        for region in regions:
            cli("region", "set", region, "--no-maintenance")


# -- looking --------------------------------------------------------------------------------------


def test_list_says_where_an_image_is_in_sync(cli: Cli, image: str) -> None:
    table = cli("list").stdout
    line = next(line for line in table.splitlines() if image in line)
    cells = [cell.strip() for cell in line.split("|")[2:-1]]
    assert cells == [SHARED, "active", "1.5 KiB", "2/2", "", ""]
    rows = {row["ID"]: row for row in cli.json("list")}
    assert rows[image] == {
        "ID": image,
        "Name": SHARED,
        "Status": "active",
        "Size": 1500,
        "In Sync": list(BESIDES),
        "Behind": {},
        "Trouble": {},
    }
    assert image not in cli("list", "--out-of-sync").stdout
    with maintenance(cli, "RegionTwo"):
        cli("run", image)

        def behind() -> list[dict[str, str]]:
            rows = cli.json("list", "--out-of-sync")
            return [row["Behind"] for row in rows if row["ID"] == image]

        only = [{"RegionTwo": "pending"}]
        until(lambda: behind() == only, PATIENCE, f"{image} is out of sync in one region")


def test_a_deleted_image_is_listed_until_its_replicas_are_gone(
    cli: Cli, make: Make, cloud: Cloud
) -> None:
    one = make("short-lived")
    cli("run", one, "--timeout", str(PATIENCE))
    cloud.glance("RegionOne").images.delete(one)
    done = cli.json("run", one, "--timeout", str(PATIENCE))
    assert {replica["state"] for replica in done["replicas"]} == {"deleted"}
    assert one not in cli("list").stdout
    assert one in cli("list", "--deleted").stdout


def test_show_takes_a_name_or_an_id(cli: Cli, image: str) -> None:
    shown = cli.json("show", SHARED)
    assert shown["id"] == image
    assert shown["size"] == 1500
    assert [replica["region"] for replica in shown["replicas"]] == list(BESIDES)
    assert {replica["bytes_done"] for replica in shown["replicas"]} == {1500}
    table = cli("show", image.upper()).stdout
    assert re.search(r"RegionTwo +in sync +\d/\d +1.5 KiB +100 % +upload", table)
    assert cli("show", image, "-f", "value", "-c", "size").stdout == "1500\n"


def test_a_hidden_image_has_a_name_too(cli: Cli, make: Make) -> None:
    one = make("hidden", os_hidden=True)
    assert cli.json("run", "hidden", "--wait")["id"] == one


def test_status_says_whether_all_is_in_sync(cli: Cli, image: str) -> None:
    until(lambda: cli.json("status")["in_sync"], PATIENCE, "all in sync")
    with maintenance(cli, "RegionTwo"):
        cli("run", image, "--region", "RegionTwo")
        behind = cli.json("status")
        assert not behind["in_sync"]
        assert behind["images_behind"] == 1
        assert behind["behind_seconds"] > 0
        assert behind["needs_human"] == [
            {"region": "RegionTwo", "said": "in maintenance; its work waits"}
        ]
        table = cli("status").stdout
        assert re.search(r"RegionTwo +in maintenance +\d+/\d+ +1 ", table)
        assert re.search(r"RegionOne +home", table)


def test_a_user_without_rights_sees_the_images_of_the_own_project(
    cloud: Cloud, cli: Cli, make: Make
) -> None:
    theirs = make("not theirs", visibility="private")
    cli("run", theirs, "--timeout", str(PATIENCE))
    demo = Cli(cloud, "RegionOne-demo")
    assert demo.json("list") == []
    assert "no image is called 'not theirs'" in demo.error("show", "not theirs")
    assert "is not known (HTTP 404)" in demo.error("show", theirs)
    assert "policy does not allow" in demo.error("status")


# -- regions --------------------------------------------------------------------------------------


def test_a_region_is_set_step_by_step(cli: Cli) -> None:
    cli("region", "set", "RegionTwo", "--label", "tier=gold", "--limit-tasks", "3")
    try:
        shown = cli.json("region", "set", "RegionTwo", "--label", "rack=7", "--disable")
        assert shown["labels"] == {"tier": "gold", "rack": "7"}
        assert (shown["task_limit"], shown["enabled"]) == (3, False)
        rows = {row["Name"]: row for row in cli.json("region", "list")}
        assert rows["RegionTwo"]["State"] == "disabled"
        assert rows["RegionOne"]["State"] == "home"
        assert rows["RegionThree"]["State"] == "open"
    finally:
        args = ["--enable", "--no-label", "--label", "tier=bronze", "--no-limit-tasks"]
        shown = cli.json("region", "set", "RegionTwo", *args)
    assert shown["labels"] == {"tier": "bronze"}
    assert (shown["task_limit"], shown["enabled"]) == (None, True)
    assert cli.json("region", "set", "RegionTwo", "--no-label")["labels"] == {}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["Atlantis", "--disable"], 1, "there is no region 'Atlantis'"),
        (["RegionOne", "--disable"], 1, "RegionOne is the home region"),
        (["RegionTwo", "--limit-tasks", "0"], 1, "limits.tasks: 0 is less than the minimum of 1"),
        (["RegionTwo", "--enable", "--disable"], 2, "not allowed with argument"),
        (["RegionTwo", "--label", "gold"], 2, "key=value"),
    ],
)
def test_a_region_can_not_be_set_so(cli: Cli, args: list[str], code: int, said: str) -> None:
    assert said in cli.error("region", "set", *args, code=code)


# -- audits and history ---------------------------------------------------------------------------


def test_an_audit_is_run_waited_for_and_listed(cli: Cli, image: str) -> None:
    before = cli.json("audit", "show", "RegionTwo")
    done = cli.json("audit", "run", "RegionTwo", "--wait")
    assert (done["region"], done["running"]) == ("RegionTwo", False)
    assert done["finished_at"] > (before["finished_at"] or "")
    assert done["seen"] >= 1
    assert "images in the region" in done["result"]
    rows = {row["Region"]: row for row in cli.json("audit", "list")}
    assert rows.keys() == {"RegionOne", *BESIDES}
    assert (rows["RegionTwo"]["Held"], rows["RegionTwo"]["Took"]) == (0, done["took"])
    assert "holds nothing back (HTTP 409)" in cli.error("audit", "release", "RegionTwo")
    assert "there is no region 'Atlantis'" in cli.error("audit", "run", "Atlantis")
    tasks = cli.json("task", "list", "--kind", "audit")
    assert {task["Region"] for task in tasks} == {"RegionOne", *BESIDES}


def test_an_audit_of_a_closed_region_waits(cli: Cli) -> None:
    with maintenance(cli, "RegionTwo"):
        done = cli("audit", "run", "RegionTwo", "--timeout", "1", code=4)
    assert "RegionTwo is in maintenance; its audit waits until it is open" in done.stderr
    assert "not done within 1 s" in done.stderr
    cli("audit", "run", "RegionTwo", "--wait")


def test_history_says_who_asked_and_what_was_done(cli: Cli, make: Make, cloud: Cloud) -> None:
    one = make("with a past")
    cli("run", "with a past", "--region", "RegionTwo", "--timeout", str(PATIENCE))
    user = cloud.session().get_user_id()
    events = cli.json("history", "with a past")
    assert {event["Who"]["user_id"] for event in events} == {user}
    said = [(event["Region"], event["What"]) for event in events]
    order = [said.index(("RegionTwo", what)) for what in ("in_sync", "transfer", "create")]
    assert order == sorted(order), "the newest first"
    assert said[-1] == (None, "hint")
    assert ("RegionTwo", "asked") in said
    assert cli.json("history", one, "--limit", "3") == events[:3]
    row = rf"RegionTwo +\| transfer +\| 1500 bytes by upload from RegionOne +\| {user[:12]}…"
    assert re.search(row, cli("history", one).stdout)
    cloud.glance("RegionOne").images.delete(one)
    cli("run", one, "--timeout", str(PATIENCE))
    causes = [event["Detail"] for event in cli.json("history", one) if event["What"] == "delete"]
    assert causes == [f"{one}: the home image is deleted"] * 2


def test_the_history_of_a_region(cli: Cli) -> None:
    with maintenance(cli, "RegionTwo"):
        pass
    events = cli.json("region", "history", "RegionTwo", "--limit", "20")
    said = [event["Detail"] for event in events if event["What"] == "set"]
    assert said[:2] == ["maintenance = false", "maintenance = true"]


# -- running --------------------------------------------------------------------------------------


def test_run_asks_and_returns(cli: Cli, image: str) -> None:
    asked = cli.json("run", image, "--region", "RegionTwo", code=0)
    assert asked == {"id": image, "regions": ["RegionTwo"], "result": "asked"}


def test_run_waits_until_all_is_in_sync_and_is_silent_about_it(cli: Cli, make: Make) -> None:
    one = make("waited for")
    done = cli("run", "waited for", "--wait", "-f", "json")
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert (result["id"], result["result"]) == (one, "in_sync")
    states = {replica["region"]: replica["state"] for replica in result["replicas"]}
    assert states == dict.fromkeys(BESIDES, "in_sync")


def test_run_waits_for_the_regions_asked_for_only(cli: Cli, image: str) -> None:
    with maintenance(cli, "RegionTwo"):
        cli("run", image)  # leaves a task of RegionTwo open
        done = cli.json("run", image, "--region", "RegionThree", "--timeout", str(PATIENCE))
    assert [replica["region"] for replica in done["replicas"]] == ["RegionThree"]


def test_run_ends_with_4_when_time_is_up(cli: Cli, image: str) -> None:
    with maintenance(cli, "RegionTwo"):
        done = cli("run", image, "--timeout", "2", code=4)
        assert "RegionTwo is in maintenance; its work waits until it is open" in done.stderr
        assert "not done within 2 s: waiting for RegionTwo" in done.stderr
        assert re.search(r"result +\| timeout", done.stdout)


def test_run_ends_with_3_when_a_region_holds_something_else(cli: Cli, make: Make) -> None:
    clash = str(uuid.uuid4())
    make("foreign", region="RegionTwo", id=clash)
    make("clash", size=2000, id=clash)
    done = cli("run", clash, "--wait", code=3)
    assert "not in sync: RegionTwo: conflict" in done.stderr
    assert re.search(r"RegionTwo: image .* was not made by glancesync", done.stdout)
    assert "RegionTwo: 1 conflict" in cli("status").stdout
    forced = cli.json("run", clash, "--region", "RegionTwo", "--force", "--wait")
    assert forced["replicas"][0]["state"] == "in_sync"


def test_run_of_an_image_that_is_not_there(cli: Cli) -> None:
    nowhere = str(uuid.uuid4())
    assert cli.error("run", "no such name") == "no image is called 'no such name'\n"
    assert cli.error("run", nowhere) == f"there is no image {nowhere} at home\n"
    assert "there is no image" in cli.error("run", nowhere, "--wait", "--region", "RegionTwo")
    assert "is not known (HTTP 404)" in cli.error("show", nowhere)


def test_run_of_a_name_that_several_images_have(cli: Cli, make: Make) -> None:
    ids = sorted([make("twins"), make("twins")])
    said = cli.error("run", "twins")
    assert said == f"2 images are called 'twins': {', '.join(ids)}; say which one by its id\n"


def test_run_in_a_region_that_is_not_there(cli: Cli, image: str) -> None:
    assert "there is no region 'Atlantis'" in cli.error("run", image, "--region", "Atlantis")
    assert "is the home region" in cli.error("run", image, "--region", "RegionOne")


@pytest.mark.parametrize("seconds", ["0", "soon", "-1", "inf"])
def test_wrong_usage_ends_with_2(cli: Cli, seconds: str) -> None:
    said = cli.error("run", "any", f"--timeout={seconds}", code=2)
    assert f"{seconds} is not a number of seconds above 0" in said


def test_help_has_the_exit_codes(cli: Cli) -> None:
    shown = cli("run", "--help").stdout
    assert re.findall(r"^  (\d)  ", shown, re.MULTILINE) == ["0", "1", "2", "3", "4"]


def test_a_terminal_gets_a_progress_bar_on_stderr(cli: Cli, make: Make, tmp_path: Path) -> None:
    with maintenance(cli, *BESIDES):
        one = make("big", size=BIG)
        args = ["image", "sync", "run", one, "--wait", "-f", "json"]
        child = pexpect.spawn(
            "/bin/sh",
            ["-c", 'exec "$0" "$@" > "$OUT"', OPENSTACK, *args],
            env={**cli.env, "OUT": str(tmp_path / "out")},
            encoding="utf-8",
            dimensions=(24, 100),
            timeout=PATIENCE,
        )
        child.expect(r"\[\.{24}\]   0 %  0 B of 48\.0 MiB")
    drawn = child.read()
    child.close()
    assert child.exitstatus == 0
    assert drawn.endswith("\r\x1b[K")  # nothing is left of it
    assert all(len(line) < 100 for line in drawn.replace("\x1b[K", "").split("\r"))
    assert json.loads((tmp_path / "out").read_text())["result"] == "in_sync"


# -- tasks ----------------------------------------------------------------------------------------


def test_tasks_are_listed_and_shown(cli: Cli, image: str) -> None:
    assert cli.json("task", "list", "--image", image) == []
    ended = cli.json("task", "list", "--image", SHARED, "--state", "done")
    assert {row["Region"] for row in ended} >= {None, *BESIDES}
    two = cli.json("task", "list", "--image", image, "--state", "done", "--limit", "2")
    assert two == ended[:2]
    by_region = ["task", "list", "--image", image, "--state", "done", "--region", "RegionTwo"]
    assert {row["Region"] for row in cli.json(*by_region)} == {"RegionTwo"}
    newest = ["task", "list", "--image", image, "--state", "done", "--newest-first"]
    assert [row["ID"] for row in cli.json(*newest)] == [row["ID"] for row in reversed(ended)]
    shown = cli.json("task", "show", str(ended[0]["ID"]))
    assert (shown["image_id"], shown["state"]) == (image, "done")


def test_an_ended_task_can_not_be_retried_nor_cancelled(cli: Cli, image: str) -> None:
    task = str(cli.json("task", "list", "--image", image, "--state", "done")[0]["ID"])
    said = cli.error("task", "retry", task)
    assert f"task {task} has ended (done); there is nothing to retry (HTTP 409)" in said
    said = cli.error("task", "cancel", task)
    assert f"task {task} has ended already (done) (HTTP 409)" in said
    assert "there is no task 999999999" in cli.error("task", "show", "999999999")
    assert "invalid int value" in cli.error("task", "show", "x", code=2)


def test_an_open_task_can_be_retried_and_cancelled(cli: Cli, image: str) -> None:
    with maintenance(cli, "RegionTwo"):
        cli("run", image, "--region", "RegionTwo")
        task = str(cli.json("task", "list", "--image", image)[0]["ID"])
        assert cli.json("task", "retry", task)["asked"] == 2
        assert cli.json("task", "cancel", task)["state"] == "cancelled"
        assert cli.json("task", "list", "--image", image) == []


# -- finding the server ---------------------------------------------------------------------------


def test_the_server_is_found_from_any_region(cloud: Cloud) -> None:
    assert Cli(cloud, "RegionTwo").json("status")["regions"]


def test_the_endpoint_can_be_told(cloud: Cloud, cli: Cli) -> None:
    cli("status", OS_IMAGE_SYNC_ENDPOINT=f"{cloud.sync_url}/v1/")
    glance = cloud.region("RegionOne").url
    said = cli.error("list", OS_IMAGE_SYNC_ENDPOINT=glance)
    assert said.endswith("is not answered by a glance-sync server\n")
    said = cli.error("list", OS_IMAGE_SYNC_ENDPOINT="http://127.0.0.1:1")
    assert "Unable to establish connection to http://127.0.0.1:1" in said


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # osc_lib warns of itself
def test_lists_go_on_over_pages(cloud: Cloud, cli: Cli, make: Make) -> None:
    from keystoneauth1.adapter import Adapter

    from glancesync.osc.client import Client

    ids = {make(f"page {number}") for number in range(3)}
    for one in ids:
        cli("run", one, "--timeout", str(PATIENCE))
    adapter = Adapter(cloud.session(), endpoint_override=cloud.sync_url)
    listed = [one["id"] for one in Client(adapter, page=1).images()]
    assert ids <= set(listed)
    assert len(listed) == len(set(listed))
