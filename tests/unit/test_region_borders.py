# SPDX-License-Identifier: Apache-2.0
"""The border to Glance and Keystone: shapes, patches, endpoints, errors."""

import json
from typing import Any

import pytest
import requests
from glanceclient import exc
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1 import exceptions as ksa

from glancesync.errors import (
    ConfigurationError,
    Conflict,
    Credential,
    Refused,
    RegionError,
    Throttled,
    Transient,
    from_status,
    retry_after,
)
from glancesync.model import Image, unversioned
from glancesync.planner import Op
from glancesync.regions.catalog import home_region
from glancesync.regions.images import image_from, is_custom, json_patch
from glancesync.regions.translate import translated

ID = "11111111-2222-3333-4444-555555555555"
#: As Glance 33 answers ``GET /v2/images/{id}`` to an admin.
BODY: dict[str, Any] = {
    "hw_disk_bus": "scsi",
    "naïve ☃": "ü",
    "name": "cirros",
    "disk_format": "qcow2",
    "container_format": "bare",
    "visibility": "shared",
    "size": 21233664,
    "virtual_size": 117440512,
    "status": "active",
    "checksum": "c8fc807773e5354afe61636071771906",
    "protected": False,
    "min_ram": 64,
    "min_disk": 1,
    "owner": "p",
    "os_hidden": False,
    "os_hash_algo": "sha512",
    "os_hash_value": "1103b92ce8",
    "id": ID,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "locations": [{"url": "file:///x", "metadata": {}}],
    "direct_url": "file:///x",
    "stores": "file",
    "os_glance_importing_to_stores": "",
    "os_glance_failed_import": "",
    "tags": ["b", "a"],
    "self": f"/v2/images/{ID}",
    "file": f"/v2/images/{ID}/file",
    "schema": "/v2/schemas/image",
}


def test_an_image_as_glance_answers_it() -> None:
    assert image_from(BODY, {"q": "accepted"}) == Image(
        ID,
        "active",
        name="cirros",
        container_format="bare",
        disk_format="qcow2",
        min_disk=1,
        min_ram=64,
        owner="p",
        tags=frozenset({"a", "b"}),
        properties={"hw_disk_bus": "scsi", "naïve ☃": "ü"},
        members={"q": "accepted"},
        size=21233664,
        checksum="c8fc807773e5354afe61636071771906",
        os_hash_algo="sha512",
        os_hash_value="1103b92ce8",
    )


def test_a_queued_image_has_little() -> None:
    queued = {
        **BODY,
        "status": "queued",
        **dict.fromkeys(("name", "size", "checksum", "os_hash_algo", "os_hash_value", "owner")),
        **dict.fromkeys(("disk_format", "container_format")),
    }
    image = image_from(queued, {})
    assert (image.status, image.name, image.size) == ("queued", None, None)
    assert not image.has_data


def test_an_accepted_import_counts_as_importing() -> None:
    body = {**BODY, "status": "queued", "os_glance_import_task": "t"}
    assert image_from(body, {}).status == "importing"
    assert image_from({**body, "status": "active"}, {}).status == "active"
    assert image_from({**BODY, "os_glance_failed_import": "a"}, {}).failed_import == "a"


@pytest.mark.parametrize("missing", ["id", "status", "min_disk", "visibility", "tags", "os_hidden"])
def test_a_body_without_what_the_api_promises_is_no_image(missing: str) -> None:
    body = {name: value for name, value in BODY.items() if name != missing}
    with pytest.raises(KeyError):
        image_from(body, {})


def test_odd_properties() -> None:
    body = {**BODY, "count": 3, "nothing": None, "os_glance_new_thing": "x"}
    properties = image_from(body, {}).properties
    assert properties["count"] == "3"
    assert "nothing" not in properties
    assert "os_glance_new_thing" not in properties


def test_what_users_may_set() -> None:
    assert is_custom("hw_disk_bus")
    assert is_custom("owner_specified.openstack.md5")
    assert not any(is_custom(name) for name in ("id", "stores", "os_hash_algo", "os_glance_x"))


@pytest.mark.parametrize(
    ("op", "wanted"),
    [
        (Op("replace", "name", "x"), {"op": "replace", "path": "/name", "value": "x"}),
        (Op("add", "a/b", "x"), {"op": "add", "path": "/a~1b", "value": "x"}),
        (Op("add", "a~b", "x"), {"op": "add", "path": "/a~0b", "value": "x"}),
        (Op("add", "~1", "x"), {"op": "add", "path": "/~01", "value": "x"}),
        (Op("remove", "~/", custom=True), {"op": "remove", "path": "/~0~1"}),
        (Op("replace", "name", None), {"op": "replace", "path": "/name", "value": None}),
        (Op("replace", "tags", ["a"]), {"op": "replace", "path": "/tags", "value": ["a"]}),
    ],
)
def test_a_patch(op: Op, wanted: dict[str, Any]) -> None:
    assert json_patch([op]) == [wanted]


@given(st.text(min_size=1))
def test_any_name_comes_back_from_its_path(name: str) -> None:
    (one,) = json_patch([Op("add", name, "x")])
    path = one["path"]
    assert path.startswith("/")
    assert "/" not in path[1:]
    assert path[1:].replace("~1", "/").replace("~0", "~") == name
    json.dumps(one)


@pytest.mark.parametrize(
    "url",
    [
        "http://h/image",
        "http://h/image/",
        "http://h/image/v2",
        "http://h/image/v2/",
        "http://h/image/v2.9",
        "http://h/image/v1//",
    ],
)
def test_an_endpoint_without_its_version(url: str) -> None:
    assert unversioned(url) == "http://h/image"


def test_only_the_end_is_a_version() -> None:
    assert unversioned("http://v2.example/v2/image") == "http://v2.example/v2/image"
    assert unversioned("http://h:9292/dev2") == "http://h:9292/dev2"


ENDPOINTS = {"One": "http://one:9292", "Two": "http://two:9292/v2/"}


@pytest.mark.parametrize(
    ("url", "home"),
    [
        ("http://one:9292", "One"),
        ("http://one:9292/", "One"),
        ("http://one:9292/v2", "One"),
        ("http://two:9292", "Two"),
        ("http://two:9292/v2/", "Two"),
    ],
)
def test_the_home_region(url: str, home: str) -> None:
    assert home_region(ENDPOINTS, url) == home


def test_no_home_region_says_what_there_is() -> None:
    with pytest.raises(ConfigurationError) as caught:
        home_region(ENDPOINTS, "http://three")
    assert caught.value.option == "[DEFAULT] cascading_endpoint_url"
    assert "http://three" in caught.value.reason
    assert "One=http://one:9292, Two=http://two:9292/v2/" in caught.value.reason
    with pytest.raises(ConfigurationError, match="has: none"):
        home_region({}, "http://three")


def test_two_home_regions_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="more than one region: One, Two"):
        home_region({"Two": "http://x/v2", "One": "http://x/"}, "http://x")


@pytest.mark.parametrize(
    ("status", "asked", "kind"),
    [
        (400, None, Refused),
        (401, None, Credential),
        (403, None, Refused),
        (404, None, Transient),
        (408, None, Transient),
        (409, None, Conflict),
        (410, None, Transient),
        (413, None, Refused),
        (415, None, Refused),
        (429, None, Throttled),
        (429, 5, Throttled),
        (500, None, Transient),
        (500, 5, Transient),
        (503, None, Transient),
        (503, 5, Throttled),
        (504, None, Transient),
    ],
)
def test_what_a_status_means(status: int, asked: int | None, kind: type[RegionError]) -> None:
    headers = {} if asked is None else {"retry-after": str(asked)}
    error = from_status("A", "no", status, headers)
    assert type(error) is kind
    assert error.retry_after == (asked if kind is Throttled else None)
    assert str(error) == "A: no"


SUNDAY = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "120"}, 120.0),
        ({"RETRY-AFTER": " 0 "}, 0.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "\u0663"}, None),
        ({"Retry-After": "soon", "Date": SUNDAY}, None),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:07 GMT", "Date": SUNDAY}, 30.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:00:00 GMT", "Date": SUNDAY}, 0.0),
        ({"Retry-After": SUNDAY}, None),
        ({"Retry-After": SUNDAY, "Date": "Sunday"}, None),
    ],
)
def test_how_long_an_answer_asks_us_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def answer(status: int, body: str, **headers: str) -> ksa.HttpError:
    """As keystoneauth raises it."""
    response = requests.Response()
    response.status_code = status
    response._content = body.encode()
    response.encoding = "utf-8"
    response.headers.update({"Content-Type": "text/html", **headers})
    error = ksa.from_response(response, "GET", "http://a")
    assert isinstance(error, ksa.HttpError)
    return error


JSON = "application/json"
GLANCE_SAYS_NO = """<html>
 <head>
  <title>403 Forbidden</title>
 </head>
 <body>
  <h1>403 Forbidden</h1>
  Property &#x27;x&#x27; is protected<br /><br />


 </body>
</html>"""


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (
            answer(403, GLANCE_SAYS_NO),
            Refused,
            "HTTP 403: 403 Forbidden: Property 'x' is protected",
        ),
        (answer(401, ""), Credential, "HTTP 401: "),
        (answer(500, "x" * 100_000), Transient, "HTTP 500: x"),
        (answer(503, "", **{"Retry-After": "9"}), Throttled, "HTTP 503: "),
        (
            answer(
                401,
                '{"error": {"message": "who are you?"}}',
                **{"Content-Type": "application/json"},
            ),
            Credential,
            "HTTP 401: who are you?",
        ),
        (exc.HTTPForbidden("no"), Refused, "HTTP 403: no"),
        (exc.HTTPConflict("no"), Conflict, "HTTP 409: no"),
        (exc.HTTPServiceUnavailable("no"), Transient, "HTTP 503: no"),
        (exc.CommunicationError("no"), Transient, "no"),
        (ksa.Unauthorized("no"), Credential, "HTTP 401: no"),
        (ksa.ConnectFailure("no"), Transient, "no"),
        (
            ksa.ConnectTimeout("Request to http://a:1/v2 timed out"),
            Transient,
            "no answer at http://a:1 in time",
        ),
        (
            exc.CommunicationError(
                "Error finding address for http://a:1/v2/images: Unable to establish connection to "
                "http://b:2/v3/auth/tokens: Failed to establish a new connection: [Errno 111] "
                "ECONNREFUSED"
            ),
            Transient,
            "nobody answers at http://b:2: connection refused",
        ),
        (
            ksa.Unauthorized("no", url="http://b:2/v3/auth/tokens"),
            Credential,
            "no token: HTTP 401: no",
        ),
        (
            exc.InvalidEndpoint("Error communicating with http://a:1/v2 Request timed out"),
            Transient,
            "no answer at http://a:1 in time",
        ),
        (ksa.EndpointNotFound("no"), Transient, "no"),
        (ksa.MissingAuthPlugin("no"), Credential, "no token: no"),
        (requests.ConnectionError("no"), Transient, "no"),
        (json.JSONDecodeError("no", "<html>", 0), Transient, "no"),
        (
            answer(400, "no such URI: swift+http://admin%3Aglance:sesame@swift:5000/v3/c/i there"),
            Refused,
            "HTTP 400: no such URI: swift+http://***@swift:5000/v3/c/i there",
        ),
        (ValueError("s3://KEY:SECRET@host/b/i?"), Transient, "s3://***@host/b/i?"),
        (KeyError("images"), Transient, "'images'"),
        (TypeError("no"), Transient, "no"),
    ],
)
def test_foreign_errors_become_ours(raised: Exception, kind: type[RegionError], said: str) -> None:
    with pytest.raises(RegionError) as caught, translated("A", "do it"):
        raise raised
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"A: could not do it: {said}")
    assert len(caught.value.message) <= 2000
    if kind is Throttled:
        assert caught.value.retry_after == 9.0


def test_our_own_errors_pass() -> None:
    ours = Conflict("B", "taken")
    with pytest.raises(Conflict) as caught, translated("A", "do it"):
        raise ours
    assert caught.value is ours
