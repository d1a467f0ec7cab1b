# SPDX-License-Identifier: Apache-2.0
"""Every kind of change of an image yields a hint that names the image and who asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.hook.conftest import Home
from tests.hook.far_end import FarEnd, Handler, take


def test_create(home: Home) -> None:
    answer = home.call("POST", "/images", json={"name": "new"})
    home.expect(answer.json()["id"], answer)


def test_upload(home: Home) -> None:
    image_id = home.create()
    answer = home.upload(image_id, b"bytes")
    home.expect(image_id, answer)


def operation(op: str, path: str, value: Any = None) -> dict[str, Any]:
    return {"op": op, "path": path, **({} if op == "remove" else {"value": value})}


@pytest.mark.parametrize(
    "change",
    [
        operation("replace", "/name", "ünïcödé"),
        operation("add", "/os_distro", "debian"),
        operation("replace", "/present", "other"),
        operation("remove", "/present"),
        operation("replace", "/tags", ["one", "two"]),
        operation("replace", "/visibility", "community"),
        operation("replace", "/protected", True),
        operation("replace", "/os_hidden", True),
        operation("replace", "/min_disk", 3),
    ],
    ids=lambda change: f"{change['op']}-{change['path'][1:]}",
)
def test_patch(home: Home, change: dict[str, Any]) -> None:
    image_id = home.create_active(present="yes")
    home.expect(image_id, home.patch(image_id, change))


def test_owner(home: Home) -> None:
    image_id = home.create()
    change = operation("replace", "/owner", home.project("other"))
    home.expect(image_id, home.patch(image_id, change, user="admin"), user="admin")


def test_tag_by_its_own_call(home: Home) -> None:
    image_id = home.create()
    home.expect(image_id, home.call("PUT", f"/images/{image_id}/tags/green"))
    home.expect(image_id, home.call("DELETE", f"/images/{image_id}/tags/green"))


def test_deactivate_and_reactivate(home: Home) -> None:
    image_id = home.create_active()
    for action in ("deactivate", "reactivate"):
        answer = home.call("POST", f"/images/{image_id}/actions/{action}", "admin")
        home.expect(image_id, answer, user="admin")


def test_members(home: Home) -> None:
    image_id = home.create(visibility="shared")
    members, other = f"/images/{image_id}/members", home.project("other")
    home.expect(image_id, home.call("POST", members, json={"member": other}))
    accept = home.call("PUT", f"{members}/{other}", "other", json={"status": "accepted"})
    home.expect(image_id, accept, user="other")
    answer = home.call("DELETE", f"{members}/{other}")
    home.expect(image_id, answer)
    assert [event["removed"] for event in home.hints(image_id, answer)] == [False]


def test_delete(home: Home) -> None:
    image_id = home.create_active()
    answer = home.call("DELETE", f"/images/{image_id}")
    home.expect(image_id, answer)
    assert [event["removed"] for event in home.hints(image_id, answer)] == [True]


def test_a_location_added_and_removed(home: Home) -> None:
    image_id = home.create()
    for number in range(2):
        location = {"url": f"{home.server.url}/{number}", "metadata": {"store": "elsewhere"}}
        add = operation("add", "/locations/-", location)
        home.expect(image_id, home.patch(image_id, add, user="admin"), user="admin")
    assert home.show(image_id)["status"] == "active"
    remove = operation("remove", "/locations/0")
    home.expect(image_id, home.patch(image_id, remove, user="admin"), user="admin")


def test_a_location_added_by_the_new_call(home: Home) -> None:
    image_id = home.create()
    body = {"url": f"{home.server.url}/image.raw", "validation_data": {}}
    answer = home.call("POST", f"/images/{image_id}/locations", json=body)
    last_state_told(home, image_id, answer, lambda image: image["status"] == "active")


def test_import(home: Home) -> None:
    image_id = home.create()
    home.expect(image_id, home.upload(image_id, b"staged", "stage"))
    answer = home.call("POST", f"/images/{image_id}/import", json=method("glance-direct"))
    last_state_told(home, image_id, answer, lambda image: image["status"] == "active")


def test_copy_to_another_store_and_delete_there(home: Home) -> None:
    image_id = home.create_active()
    body = method("copy-image", stores=["second"])
    answer = home.call("POST", f"/images/{image_id}/import", "admin", json=body)
    last_state_told(home, image_id, answer, lambda image: image["stores"].count(",") == 1)
    # A change that the task makes after ours would merge with it and carry the task's request id.
    wait_until(lambda: "os_glance_import_task" not in home.show(image_id))
    home.expect(image_id, home.call("DELETE", f"/stores/second/{image_id}", "admin"), user="admin")


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def method(name: str, **more: Any) -> dict[str, Any]:
    return {"method": {"name": name}, **more}


def last_state_told(home: Home, image_id: str, answer: requests.Response, wanted: Any) -> None:
    """Wait until somebody who reads the image at each hint, as the server does, sees it ``wanted``.

    Nothing but the hints makes this look at the image, so the last state must have had its hint.
    """
    looked_at = 0

    def is_told() -> bool:
        nonlocal looked_at
        hints = home.hints(image_id, answer)
        if len(hints) == looked_at:
            return False
        looked_at = len(hints)
        return bool(wanted(home.show(image_id)))

    home.server.wait_for(is_told)


def test_a_change_that_failed_is_not_told(home: Home) -> None:
    image_id = home.create(protected=True)
    assert home.try_call("DELETE", f"/images/{image_id}").status_code == 403
    home.expect(image_id, home.call("PUT", f"/images/{image_id}/tags/later"))
    told = [event for event in home.server.events if event["image_id"] == image_id]
    assert len(told) == 2, "one for the creation and one for the tag"


def test_reading_is_not_told(home: Home) -> None:
    image_id = home.create_active()
    home.expect(image_id, home.call("PUT", f"/images/{image_id}/tags/marker"))
    before = len(home.server.events)
    home.call("GET", "/images")
    home.call("GET", f"/images/{image_id}")
    home.call("GET", f"/images/{image_id}/file")
    home.call("GET", f"/images/{image_id}/members")
    home.expect(image_id, home.call("PUT", f"/images/{image_id}/tags/marker-2"))
    assert len(home.server.events) == before + 1


def test_a_burst_of_changes_is_merged(home: Home) -> None:
    image_id = home.create()

    def slowly(handler: Handler, request: dict[str, Any]) -> None:
        home.server.released.wait(10)
        take(handler, request)

    home.server.answer = slowly
    for number in range(20):
        answer = home.call("PUT", f"/images/{image_id}/tags/{number}")
    home.server.released.set()
    home.server.answer = take
    home.expect(image_id, answer)
    told = [event for event in home.server.events if event["image_id"] == image_id]
    assert sum(event["merged"] for event in told) >= 20
    assert len(told) < 20


def test_the_token_is_that_of_the_service_user(home: Home) -> None:
    answer = home.call("POST", "/images", json={})
    home.expect(answer.json()["id"], answer)
    _, headers, _ = home.server.requests[-1]
    token = {"X-Subject-Token": headers["X-Auth-Token"]}
    found = home.session("admin").get(home.cloud.auth_url + "/auth/tokens", headers=token).json()
    assert found["token"]["user"]["name"] == "glance"
    assert "service" in [role["name"] for role in found["token"]["roles"]]


def test_no_secret_is_logged(home: Home, server: FarEnd) -> None:
    answer = home.call("POST", "/images", json={})
    home.expect(answer.json()["id"], answer)
    _, headers, _ = server.requests[-1]
    log = home.cloud.log(f"glance-{home.cloud.home}").read_text(errors="replace")
    password = home.cloud.password("glance")
    assert "glance_sync" in log
    assert headers["X-Auth-Token"] not in log
    assert password not in log
