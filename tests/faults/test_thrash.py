# SPDX-License-Identifier: Apache-2.0
"""A short thrash, and proof that its verdict can fail."""

import dataclasses
import os
import random
from typing import Any

import pytest

from tests.databases import SERVERS
from tests.faults.proxy import Request
from tests.faults.thrash import checks, run
from tests.faults.thrash.checks import Noted, Side
from tests.faults.thrash.schedule import USERS, schedule
from tests.faults.thrash.users import Call
from tests.faults.watcher import Sight

MINUTES = 0.7
A, B, THERE = "a" * 36, "b" * 36, "c" * 36  # ids
REGION = "RegionTwo"


@pytest.mark.timeout(900)
def test_everything_breaks_and_all_is_as_promised() -> None:
    """Two APIs and four workers on PostgreSQL; the seed is printed, and can be given."""
    missing = SERVERS["postgresql"].missing()
    if missing is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    run.thrash(seed, MINUTES * 60, "postgresql", "test-thrash")


# -- what is done ---------------------------------------------------------------------------------


def rounds(seed: int, seconds: float) -> Any:
    return schedule(seed, seconds, ["One", "Two"], ["api-1"], ["worker-1", "worker-2"])


def test_a_seed_replays() -> None:
    assert rounds(7, 300) == rounds(7, 300) != rounds(8, 300)
    assert [len(rounds(7, seconds)) for seconds in (1, 75, 76, 1800)] == [1, 1, 2, 24]


def test_users_go_on_where_they_were() -> None:
    """Nobody touches an image in a later round that nobody made before."""
    known: set[str] = set()
    later = 0
    for number, steps in enumerate(rounds(7, 300)):
        for step in steps:
            if step.lane not in USERS:
                continue
            if step.what in ("create", "reserve"):
                known.add(step.args["image"])
            elif number:
                later += 1
            assert step.args["image"] in known
    assert later


# -- the verdict ----------------------------------------------------------------------------------


def looks(image_id: str = A, origin: str = A, **others: Any) -> dict[str, Any]:
    return {
        "id": image_id,
        "origin": origin,
        "status": "active",
        "os_hash_value": "1",
        "tags": ["one", "two"],
        "members": {},
        **others,
    }


def there(*images: dict[str, Any]) -> Side:
    return Side(REGION, {image["id"]: image for image in images})


def test_equal_regions_are_equal() -> None:
    home = {A: looks(updated_at="1"), B: looks(B, B, kernel_id=A, status="deactivated")}
    same = looks(THERE, A, tags=["two", "one"], updated_at="2")
    mapped = looks(B, B, kernel_id=THERE, status="deactivated")
    assert list(checks.differences(home, there(same, mapped))) == []
    assert list(checks.differences({A: looks(status="queued")}, there())) == []
    assert list(checks.differences({}, there({"id": A, "status": "deleted", "tags": []}))) == []


@pytest.mark.parametrize(
    ("images", "found"),
    [
        ([], "is missing"),
        ([looks(), looks(THERE)], "more than once"),
        ([looks(), looks(B, B)], "should not be there"),
        ([looks(status="queued")], "status"),
        ([looks(os_hash_value="2")], "os_hash_value"),
        ([looks(tags=["one"])], "tags"),
        ([looks(note="left over")], "note"),
        ([looks(members={"p": "accepted"})], "members"),
        ([looks(kernel_id=B)], "kernel_id"),
    ],
)
def test_a_region_that_differs_is_found(images: list[dict[str, Any]], found: str) -> None:
    (problem,) = checks.differences({A: looks()}, there(*images))
    assert found in problem


def test_a_stranger_that_was_touched_is_found() -> None:
    strangers = {A: {"name": "mine"}}
    assert not list(checks.strangers_changed(there(looks(name="mine")), strangers))
    for changed in (there(looks(name="ours")), there(), there(looks(name="mine", status="x"))):
        assert len(list(checks.strangers_changed(changed, strangers))) == 1


def test_what_is_left_in_a_store_is_found() -> None:
    def found(*files: str, paths: tuple[str, ...] = (), killed: bool = True) -> list[str]:
        requests = [Request(0.0, *one.split()) for one in paths]
        return list(checks.left_over(there(looks()), files, requests, killed))

    upload, told = f"PUT /v2/images/{B}/file", f"POST /v2/images/{B}/locations"
    assert found(A, f".{A}.glance-sync", f".{B}.glance-sync") == []
    assert found(A, B, paths=(upload,)) == found(A, B, paths=(told,)) == []
    assert len(found(A, B, THERE)) == 2
    assert len(found(A, B, paths=(upload,), killed=False)) == 1
    assert len(found(B, paths=(f"GET /v2/images/{B}/file", f"DELETE /v2/images/{B}"))) == 1
    for name in (f".{A}.glance-sync.partial", f".{B}.partial"):
        assert "is left over" in found(A, name, paths=(upload,))[0]


def test_a_lost_hint_is_found() -> None:
    log = [Noted(A, "", "hint", "3 changes"), Noted(A, "", "hint", ""), Noted(B, "", "home", "")]
    assert list(checks.hints_lost({A: 4}, log)) == []
    assert len(list(checks.hints_lost({A: 5, B: 1}, log))) == 2


def test_wrong_bytes_are_found_unless_nobody_could_see_them() -> None:
    seen = Sight(REGION, THERE, A, "2", private=False)
    assert len(list(checks.wrong_bytes([seen]))) == 1
    assert list(checks.wrong_bytes([dataclasses.replace(seen, private=True)])) == []


@pytest.mark.parametrize(
    ("cause", "right"),
    [
        ("the home image is deleted", {"deleted": {A}}),
        ("its bytes differ from the home image's", {"flipped": [f"/v2/images/{THERE}/file"]}),
    ],
)
def test_a_delete_needs_a_cause_and_a_true_one(cause: str, right: dict[str, Any]) -> None:
    def found(log: list[Noted], **truth: Any) -> list[str]:
        request = Request(0.0, "DELETE", f"/v2/images/{THERE}")
        facts = {"flipped": [], "deleted": set(), **truth}
        return list(checks.deletes(REGION, [request], log=log, **facts))

    noted = Noted(A, REGION, "delete", f"{THERE}: {cause}")
    assert found([noted], **right) == []
    assert "as if" in found([noted])[0]
    assert "without a cause" in found([], **right)[0]
    assert "without a cause" in found([dataclasses.replace(noted, region="RegionThree")])[0]
    unheard = dataclasses.replace(noted, detail=f"{THERE}: it was in the way")
    assert "as if" in found([unheard], **right)[0]


def test_a_call_that_failed_needs_an_excuse() -> None:
    calls = [Call(0.0, 1.0, "update", status) for status in (0, 200, 403, 500)]
    always, never = (lambda call: True), (lambda call: False)
    assert len(list(checks.calls_failed(calls, never))) == 2
    assert list(checks.calls_failed(calls, always)) == []


@pytest.mark.parametrize("line", ["Traceback (most recent", "token gAAAAAB", "it is s3cret"])
def test_logs_are_read(line: str) -> None:
    assert list(checks.said("worker-1", "all is well\n", ["s3cret"])) == []
    assert len(list(checks.said("worker-1", f"all is well\n{line}\n", ["s3cret"]))) == 1
