# SPDX-License-Identifier: Apache-2.0
"""Jobs and promotion on real regions: what may be where already, and what becomes of it.

Most images here are made in RegionTwo and wanted in RegionThree: where they go is up to the job
alone. The cases of other systems' acceptance tests (FIWARE's GlanceSync, Kingbird) are tables.
"""

import contextlib
import dataclasses
import io
import json
import os
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from glanceclient.exc import HTTPException, HTTPNotFound

from devcloud import Cloud, qcow2
from tests.functional.daemons import Daemon, stopped
from tests.functional.estate import PATIENCE, Estate, random_bytes
from tests.functional.test_cli import Cli
from tests.functional.wait import until

HOME, SOURCE, TARGET = "RegionOne", "RegionTwo", "RegionThree"
DATA = random_bytes(1000)
OTHER = DATA[::-1]
BIG = 32 * 2**20
ENDED = ("done", "failed", "cancelled")


class Workshop(Estate):
    """Images that are made in any region, and the jobs about them."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.cli = Cli(cloud)
        self._put: list[tuple[str, str]] = []

    def put(
        self, region: str, data: bytes | None = DATA, user: str = "admin", **fields: Any
    ) -> str:
        """Somebody makes an image in a region."""
        images = self.cloud.glance(region, user).images
        fields = {
            "name": f"test {uuid.uuid4().hex[:8]}",
            "container_format": "bare",
            "disk_format": "raw",
            **fields,
        }
        one: str = images.create(**fields)["id"]
        self._put.append((region, one))
        if data is not None:
            images.upload(one, io.BytesIO(data))
        return one

    def ask(self, *resources: str, user: str = "admin", **more: Any) -> dict[str, Any]:
        """The job that was taken on."""
        body = {"source": SOURCE, "target": [TARGET], "resources": resources, **more}
        status, answer = self.sync("POST", "/v1/jobs", user, json=body)
        assert status == 202, answer
        job: dict[str, Any] = answer["job"]
        assert job["state"] == "active"
        return job

    def job(self, number: int) -> dict[str, Any]:
        """With its items."""
        status, answer = self.sync("GET", f"/v1/jobs/{number}?limit=1000")
        assert status == 200, answer
        return {**answer["job"], "list": answer["items"]}

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job when it has ended; until then, it is active as long as an item is open."""

        def look() -> dict[str, Any]:
            seen = self.job(job["id"])
            is_open = [one for one in seen["list"] if one["ended_at"] is None]
            looked_up = seen["looked_up"] == sum(one["resources"] for one in seen["sets"])
            if seen["state"] == "active":  # seen before the items were
                assert is_open or not looked_up or self.job(job["id"])["state"] != "active", seen
            else:
                assert not is_open, seen
            assert seen["state"] in ENDED, json.dumps(seen)
            return seen

        return until(look, PATIENCE, f"job {job['id']} has ended")

    def clear(self) -> None:
        for _, one in self._put:
            for pin in self._pins(one):
                self.sync("DELETE", f"/v1/images/{one}/pins/{pin}")
        self.settled()
        for region, one in reversed(self._put):
            for name in {region, *self.cloud.names}:
                with contextlib.suppress(HTTPNotFound):
                    self.glances[name].images.delete(one)
        self._put.clear()
        super().clear()

    def _pins(self, one: str) -> list[str]:
        status, answer = self.sync("GET", f"/v1/images/{one}")
        return [pin["region"] for pin in answer["image"]["pins"]] if status == 200 else []


@pytest.fixture
def shop(cloud: Cloud) -> Iterator[Workshop]:
    shop = Workshop(cloud)
    yield shop
    shop.clear()


# -- what is there already ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    """What the target has of an image before the job, and what becomes of it.

    ``there``: fields and bytes of the target's image of the same id, None: it has none. ``says``:
    a part of the item's result.
    """

    name: str
    there: dict[str, Any] | None
    state: str
    says: str = ""
    data: bytes = DATA
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    kept: bool = False  # what the target had is untouched
    new_id: bool = False  # by force, and each time
    mapped: bool = False  # Glance never takes the id of a deleted image again


SAME = {"name": "as it should be", "colour": "red", "tags": ["a"]}
CASES = [
    Case("empty region", None, "done", "create"),
    Case("already synced", SAME, "in_sync", "nothing to do"),
    Case(
        "metadata changed", {**SAME, "colour": "blue", "name": "else"}, "done", "patch name colour"
    ),
    Case("metadata removed", {"name": "as it should be"}, "done", "patch tags colour"),
    Case("metadata of its own", {**SAME, "local": "1"}, "done", "patch local"),
    Case("checksum conflict", SAME, "conflict", "bytes differ", OTHER, kept=True),
    Case(
        "checksum conflict, to be replaced",
        SAME,
        "done",
        "create",
        OTHER,
        {"on_conflict": "replace"},
        mapped=True,
    ),
    Case(
        "checksum conflict, beside it",
        SAME,
        "done",
        "create",
        OTHER,
        {"force": True},
        kept=True,
        new_id=True,
    ),
    Case("forced though it is there", SAME, "done", "create", options={"force": True}, new_id=True),
]


def test_what_becomes_of_what_is_there(shop: Workshop) -> None:
    jobs = {}
    for case in CASES:
        one = shop.put(SOURCE, **SAME)
        if case.there is not None:
            shop.put(TARGET, case.data, id=one, **case.there)
        jobs[case.name] = one, shop.read(TARGET, one), shop.ask(one, **case.options)
    for case in CASES:
        one, before, asked = jobs[case.name]
        job = shop.ended(asked)
        (item,) = job["list"]
        assert item["state"] == case.state, (case.name, item)
        assert case.says in item["result"], (case.name, item)
        assert job["state"] == ("failed" if case.state == "conflict" else "done"), case.name
        if case.kept:
            assert shop.read(TARGET, one) == before, case.name
            assert shop.bytes_of(TARGET, one) == case.data, case.name
        has_other_id = item["replica_id"] not in (one, None)
        assert has_other_id is (case.new_id or case.mapped), (case.name, item)
        if case.state != "conflict":
            there = shop.read(TARGET, item["replica_id"])
            assert there == shop.read(SOURCE, one), case.name
            assert shop.bytes_of(TARGET, item["replica_id"]) == DATA, case.name
        if case.mapped:
            assert shop.read(TARGET, one) is None
            shop._put.append((TARGET, item["replica_id"]))
        if case.new_id:
            shop._put.append((TARGET, item["replica_id"]))
            again = shop.ended(shop.ask(one, **case.options))["list"][0]
            assert again["replica_id"] not in (one, item["replica_id"]), "another each time"
            shop._put.append((TARGET, again["replica_id"]))
        assert shop.read(HOME, one) is None, "home was not asked for"


def test_a_mixed_estate_in_one_job(shop: Workshop) -> None:
    there, lacking, drifted, clash = (shop.put(SOURCE, name=f"mixed {n}") for n in range(4))
    shop.put(TARGET, id=there, name="mixed 0")
    shop.put(TARGET, id=drifted, name="drifted")
    shop.put(TARGET, OTHER, id=clash, name="mixed 3")
    job = shop.ended(shop.ask(there, lacking, "mixed 2", clash))
    assert job["state"] == "failed"
    assert job["items"] == {"in_sync": 1, "done": 2, "conflict": 1}
    assert [one["state"] for one in job["list"]] == ["in_sync", "done", "done", "conflict"]
    assert (job["bytes_done"], job["bytes_total"]) == (3000, 4000)

    shop.glances[SOURCE].images.update(lacking, name="renamed at the source")
    again = shop.ended(shop.ask(there, lacking, drifted))
    assert [one["state"] for one in again["list"]] == ["in_sync", "done", "in_sync"]
    there_now = shop.read(TARGET, lacking)
    assert there_now is not None
    assert there_now["name"] == "renamed at the source"


def picture(cloud: Cloud) -> bytes:
    path = cloud.directory / "job.qcow2"
    qcow2.write(path, "copied by a job")
    return path.read_bytes()


FORMATS = [("bare", "raw"), ("bare", "qcow2"), ("bare", "vhd"), ("bare", "vdi"), ("ova", "raw")]
FORMATS += [("bare", "iso"), ("bare", "vmdk"), ("bare", "ploop"), ("docker", "raw")]


def test_images_of_all_formats_are_copied(shop: Workshop, cloud: Cloud) -> None:
    """Glance looks into some: what it took at the source, it takes at the target."""
    made = {}
    for container, disk in FORMATS:
        data = picture(cloud) if disk == "qcow2" else DATA
        try:
            one = shop.put(SOURCE, data, container_format=container, disk_format=disk)
        except HTTPException:
            continue
        made[one] = container, disk, data
    assert {disk for _, disk, _ in made.values()} >= {"raw", "qcow2"}
    job = shop.ended(shop.ask(*made))
    assert job["items"] == {"done": len(made)}
    for one, (container, disk, data) in made.items():
        there = shop.read(TARGET, one)
        assert there is not None
        assert (there["container_format"], there["disk_format"]) == (container, disk)
        assert shop.bytes_of(TARGET, one) == data


# -- kernels and ramdisks -------------------------------------------------------------------------


def trio(shop: Workshop, kernel: str = "aki", ramdisk: str = "ari", **more: Any) -> dict[str, str]:
    """A kernel, a ramdisk and the image that refers to them."""
    parts = {
        "kernel": shop.put(SOURCE, b"k" * 500, container_format=kernel, disk_format=kernel),
        "ramdisk": shop.put(SOURCE, b"r" * 500, container_format=ramdisk, disk_format=ramdisk),
    }
    fields = {"kernel_id": parts["kernel"], "ramdisk_id": parts["ramdisk"]} | more
    fields = {name: value for name, value in fields.items() if value}
    image = shop.put(SOURCE, container_format="ami", disk_format="ami", **fields)
    return {**parts, "image": image}


@pytest.mark.parametrize("force", [False, True])
def test_an_ami_brings_its_kernel_and_ramdisk(shop: Workshop, force: bool) -> None:
    made = trio(shop)
    job = shop.ended(shop.ask(made["image"], force=force))
    assert job["items"] == {"done": 3}
    there = {one["source_id"]: one for one in job["list"]}
    ids = {what: there[one]["replica_id"] for what, one in made.items()}
    shop._put += [(TARGET, one) for one in ids.values()]
    assert (ids != made) is force
    image = shop.read(TARGET, ids["image"])
    assert image is not None
    assert (image["kernel_id"], image["ramdisk_id"]) == (ids["kernel"], ids["ramdisk"])
    last = max(job["list"], key=lambda one: one["ended_at"])
    assert last["source_id"] == made["image"], "the parts came first"
    assert shop.bytes_of(TARGET, ids["kernel"]) == b"k" * 500


NOWHERE = "00000000-1111-2222-3333-444444444444"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kernel_id": NOWHERE}, f"its kernel, image {NOWHERE}, is not in RegionTwo"),
        ({"ramdisk_id": NOWHERE}, f"its ramdisk, image {NOWHERE}, is not in RegionTwo"),
        ({"kernel_id": None}, "it is an AMI, and its kernel_id does not name an image"),
        ({"kernel": "ari"}, "has the container format ari, not aki"),
        ({"ramdisk": "aki"}, "has the container format aki, not ari"),
    ],
)
def test_an_ami_with_a_wrong_or_missing_part_is_refused(
    shop: Workshop, wrong: dict[str, Any], says: str
) -> None:
    made = trio(shop, **wrong)
    job = shop.ended(shop.ask(made["image"]))
    (item,) = job["list"]
    assert (job["state"], item["state"]) == ("failed", "refused")
    assert says in item["result"]
    for one in made.values():
        assert shop.read(TARGET, one) is None, "nothing of it is copied"


# -- who may what ---------------------------------------------------------------------------------


def test_members_copy_what_they_may_see(shop: Workshop, cloud: Cloud) -> None:
    project = cloud.session("demo").get_project_id()
    own = shop.put(SOURCE, user="demo", visibility="private")
    public = shop.put(SOURCE, visibility="public")
    shared = shop.put(SOURCE, user="other", visibility="shared")
    hidden = shop.put(SOURCE, user="other", visibility="private")
    members = cloud.glance(SOURCE, "other").image_members
    members.create(shared, project)
    for unseen in (shared, hidden):
        body = {"source": SOURCE, "target": [TARGET], "resources": [unseen]}
        status, answer = shop.sync("POST", "/v1/jobs", "demo", json=body)
        assert (status, answer["error"]["message"]) == (404, f"RegionTwo has no image {unseen}")
    cloud.glance(SOURCE, "demo").image_members.update(shared, project, "accepted")
    job = shop.ended(shop.ask(own, public, shared, user="demo"))
    assert job["items"] == {"done": 3}
    assert job["project_id"] == project
    assert shop.sync("GET", f"/v1/jobs/{job['id']}", "other")[0] == 404
    there = shop.read(TARGET, own)
    assert there is not None
    assert (there["owner"], there["visibility"]) == (project, "private")


def test_a_job_from_its_beginning_to_its_end_on_the_command_line(
    shop: Workshop, cloud: Cloud
) -> None:
    cli = shop.cli
    one, two = shop.put(SOURCE, name="first"), shop.put(SOURCE, name="second")
    target = ("--source", SOURCE, "--target", TARGET)
    said = cli.error("job", "create", *target, "no such name")
    assert "RegionTwo has no image called 'no such name'" in said
    cli("region", "set", TARGET, "--maintenance")
    try:
        job = cli.json("job", "create", *target, "first")
        number = str(job["id"])
        until(
            lambda: cli.json("job", "show", number)["items"],
            PATIENCE,
            "the image is looked up",
        )
        shown = cli("job", "show", number).stdout
        assert "first, RegionThree: it is in maintenance" in shown
        assert max(map(len, shown.splitlines())) < 160
        assert "is active; cancel it first" in cli.error("job", "delete", number)
        rows = {row["ID"]: row for row in cli.json("job", "list", "--state", "active")}
        assert rows[job["id"]]["To"] == [TARGET]
        timed_out = cli.json("job", "create", *target, "first", "--timeout", "1", code=4)
        for each in (number, str(timed_out["id"])):
            assert cli.json("job", "cancel", each)["state"] == "cancelled"
    finally:
        cli("region", "set", TARGET, "--no-maintenance")
    shop.settled()
    assert shop.read(TARGET, one) is None, "nobody wants it there any more"

    with tempfile.TemporaryDirectory() as directory:
        template = Path(directory, "jobs.json")
        sets = [{"source": SOURCE, "target": [TARGET], "resources": [name]} for name in (one, two)]
        template.write_text(json.dumps(sets))
        job = cli.json("job", "create", "--template", str(template), "--timeout", str(PATIENCE))
    assert (job["state"], job["counts"]) == ("done", {"done": 2})
    again = cli.json("job", "create", *target, one, two, "--wait")
    assert (again["state"], again["counts"]) == ("done", {"in_sync": 2})
    cli("job", "delete", str(job["id"]))
    assert f"there is no job {job['id']}" in cli.error("job", "delete", str(job["id"]))
    assert shop.read(TARGET, one) is not None, "its images stay"

    image = cli.json("show", one)
    assert (image["origin"], image["pins"][0]["region"]) == (SOURCE, TARGET)
    cli("unpin", one, TARGET)
    shop.gone(one, [TARGET])
    assert shop.read(SOURCE, one) is not None


# -- promotion ------------------------------------------------------------------------------------


def test_an_image_of_a_region_becomes_one_of_homes_and_goes_to_the_rest(shop: Workshop) -> None:
    one = shop.put(SOURCE, name="born in a region", colour="red", visibility="public")
    job = shop.cli.json("promote", "born in a region", "--from", SOURCE, "--timeout", str(PATIENCE))
    assert (job["state"], job["counts"]) == ("done", {"done": 1})
    shop.made.append(one)
    shop.follows(one)
    assert shop.bytes_of(HOME, one) == DATA
    assert shop.bytes_of(TARGET, one) == DATA
    shop.settled()
    image = shop.cli.json("show", one)
    assert (image["origin"], image["pins"]) == (None, [])
    assert {row["region"]: row["state"] for row in image["replicas"]} == {
        SOURCE: "in_sync",
        TARGET: "in_sync",
    }
    made = {row["region"]: row["made_by_us"] for row in image["replicas"]}
    assert made == {SOURCE: False, TARGET: True}
    history = shop.sync("GET", f"/v1/images/{one}/events?limit=1000")[1]["events"]
    copies = [event["region"] for event in history if event["what"] == "transfer"]
    assert sorted(copies) == [HOME, TARGET], "each has its bytes once"
    assert not [event for event in history if event["what"] in ("failed", "delete")]

    shop.home.images.update(one, name="renamed at home", remove_props=["colour"])
    shop.follows(one)


# -- in the middle of it --------------------------------------------------------------------------


def test_a_job_goes_on_after_the_daemon_was_killed(shop: Workshop, cloud: Cloud) -> None:
    data = random_bytes(BIG)
    ids = [shop.put(SOURCE, data if n < 2 else DATA) for n in range(8)]
    with stopped(cloud), Daemon(cloud, "killed", lease="2", upload_chunk_size="65536") as daemon:
        job = shop.ask(*ids)
        until(
            lambda: {"copying", "done"} & {one["state"] for one in shop.job(job["id"])["list"]},
            PATIENCE,
            "something is on its way",
        )
        pid = daemon.pid
        assert pid is not None

        os.killpg(pid, signal.SIGKILL)
        daemon.stop()
        daemon.start()
        seen = shop.ended(job)
    assert seen["items"] == {"done": 8}, seen
    for one in ids:
        assert shop.read(TARGET, one) == shop.read(SOURCE, one)
    assert shop.bytes_of(TARGET, ids[0]) == data
