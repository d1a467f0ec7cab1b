# SPDX-License-Identifier: Apache-2.0
"""Requests that are too large, or too odd, to stand in a YAML file."""

import json
from collections.abc import Iterator

import pytest
import webob

from glancesync.model import Hint
from tests.api import service

IDS = [f"aaaaaaaa-0000-0000-0000-{number:012}" for number in range(100_000)]


@pytest.fixture
def api() -> Iterator[service.Empty]:
    with service.Empty() as api:
        yield api


def post(body: bytes, path: str = "/v1/events", token: str = "service-token") -> webob.Response:
    request = webob.Request.blank(path, method="POST", body=body)
    request.headers["X-Auth-Token"] = token
    return request.get_response(service.app())


def events(count: int, **more: object) -> bytes:
    return json.dumps({"events": [{"image_id": one, **more} for one in IDS[:count]]}).encode()


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b" " * 10_000_000, 413, "the body is larger than 1048576 bytes"),
        (events(100_000), 413, "the body is larger than 1048576 bytes"),
        (events(1001), 413, "body.events: 1001 events; at most 1000 are taken at a time"),
        (b'{"events": \xff}', 400, "the body is not JSON: "),
        (b"[" * 500_000, 400, "the body is not JSON: "),
        (b'{"events": ' + b"9" * 5000 + b"}", 400, "the body is not JSON: "),
        (b'{"events": NaN}', 400, "body.events: nan is not of type 'array'"),
        (b'"\\ud800"', 400, "body: "),
        (events(1, merged=2**31), 400, "body.events[0].merged: 2147483648 is greater than"),
        (events(1, merged=1.5), 400, "body.events[0].merged: 1.5 is not of type 'integer'"),
        (events(1, merged=True), 400, "body.events[0].merged: True is not of type 'integer'"),
        (events(1, actor={"user_id": "u" * 256}), 400, "body.events[0].actor.user_id: "),
        (events(1, actor={"roles": ["r"] * 101}), 400, "body.events[0].actor.roles: "),
        (b'{"events": "' + b"x" * 100_000 + b'"}', 400, "body.events: "),
    ],
)
def test_what_is_refused_leaves_no_trace(
    api: service.Empty, body: bytes, status: int, message: str
) -> None:
    response = post(body)
    assert response.status_code == status
    error = response.json["error"]
    assert error["code"] == status
    assert error["title"]
    assert error["message"].startswith(message)
    assert len(error["message"]) < 500, "a large body does not come back as a large error"
    assert api.journal.list_tasks() == []


def test_as_many_as_are_taken(api: service.Empty) -> None:
    response = post(events(1000))
    assert (response.status_code, response.json) == (202, {"accepted": 1000})
    assert len(api.journal.list_tasks(limit=2000)) == 1000


@pytest.fixture
def jobs() -> Iterator[service.Jobs]:
    with service.Jobs() as api:
        yield api


def job(images: list[str], *regions: str) -> bytes:
    wish = {"resource_type": "image", "source": "RegionOne", "target": regions}
    return json.dumps({**wish, "resources": images}).encode()


def test_a_job_of_ten_thousand_images(jobs: service.Jobs) -> None:
    """It is taken at once, and looked up later; too large a one leaves nothing."""
    images = IDS[:10_000]
    before = jobs.journal.jobs.every(project_id=None, state=None, limit=100, marker=None)
    response = post(job(images, "RegionTwo", "RegionThree"), "/v1/jobs", "admin-token")
    assert response.status_code == 202
    number = response.json["job"]["id"]
    made = jobs.journal.jobs.get(number)
    assert made is not None
    assert made.wishes[0].resources == tuple(images)
    assert made.position == 0
    assert len(response.body) < 2000, "who asked knows which they are"

    names = [str(number) for number in range(50_001)]
    response = post(job(names, "RegionTwo", "RegionThree"), "/v1/jobs", "admin-token")
    assert response.status_code == 413
    said = "a job may have 100000 images times regions, not 100002"
    assert response.json["error"]["message"] == said
    after = jobs.journal.jobs.every(project_id=None, state=None, limit=100, marker=None)
    assert len(after) == len(before) + 1


def test_a_chunked_body_is_limited_as_well(api: service.Empty) -> None:
    """A body without a length, as eventlet hands it over."""
    request = webob.Request.blank("/v1/events", method="POST")
    request.body = b" " * 2_000_000
    del request.environ["CONTENT_LENGTH"]
    request.environ["wsgi.input_terminated"] = True
    request.headers["X-Auth-Token"] = "service-token"
    assert request.get_response(service.app()).status_code == 413


def test_text_of_every_kind_is_kept_as_it_came(api: service.Empty) -> None:
    actor = {"user_id": "ü☃\u0000\ud800", "project_id": None, "roles": ["'; DROP TABLE task"]}
    assert post(events(1, actor=actor)).status_code == 202
    (task,) = api.journal.list_tasks()
    assert task.actor.user_id == actor["user_id"]
    assert task.actor.roles == ("'; DROP TABLE task",)
    request = webob.Request.blank(f"/v1/tasks/{task.id}")
    request.headers["X-Auth-Token"] = "admin-token"
    response = request.get_response(service.app())
    assert response.json["task"]["actor"]["user_id"] == actor["user_id"]


def test_a_merged_count_that_is_a_whole_float_is_whole(api: service.Empty) -> None:
    """JSON knows one kind of number; JSON Schema calls 2.0 an integer."""
    assert post(events(1, merged=2.0)).status_code == 202
    (task,) = api.journal.list_tasks()
    assert task.asked == 2
    assert api.journal.events(IDS[0])[0].detail == "2 changes"


@pytest.mark.parametrize("region", ["\ud800", "\u0000", "x" * 255])
def test_regions_nobody_has_heard_of(api: service.Empty, region: str) -> None:
    body = json.dumps({"regions": [region]}).encode()
    response = post(body, f"/v1/images/{IDS[0]}/sync", "admin-token")
    assert response.status_code == 400
    assert response.json["error"]["message"] == f"body.regions: there is no region {region!r}"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/images/%ff", 400),
        ("/v1/images?project_id=%ff", 400),
        ("/v1/tasks/%C2%B2", 404),  # a digit, by Unicode's rules
        ("/v1/tasks/-1", 404),
        ("/v1/regions/%E2%98%83", 404),
        ("/v1/regions/a%2Fb", 404),
    ],
)
def test_paths(api: service.Empty, path: str, status: int) -> None:
    request = webob.Request.blank(path)
    request.headers["X-Auth-Token"] = "admin-token"
    response = request.get_response(service.app())
    assert response.status_code == status
    assert response.json["error"]["code"] == status


@pytest.mark.parametrize("path", ["/v1/images/{}", "/v1/images/{}/events"])
def test_what_belongs_to_no_project_does_not_belong_to_a_token_without_one(
    api: service.Empty, path: str
) -> None:
    api.journal.hint([Hint(IDS[0])])  # of an image that nobody has looked at: its owner is unknown
    statuses = {}
    for token in ("system-reader-token", "member-a-token", "admin-token"):
        request = webob.Request.blank(path.format(IDS[0]))
        request.headers["X-Auth-Token"] = token
        statuses[token] = request.get_response(service.app()).status_code
    admins = 200 if path.endswith("/events") else 404
    assert statuses == {
        "system-reader-token": 404,
        "member-a-token": 404,
        "admin-token": admins,
    }
