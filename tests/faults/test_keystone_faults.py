# SPDX-License-Identifier: Apache-2.0
"""Keystone is away, forgets every token, or no longer knows our password."""

import base64
import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from devcloud import Cloud
from devcloud.identity import Identity
from tests.faults.proxy import Proxy, Trouble
from tests.functional.estate import Estate, random_bytes
from tests.functional.reconfigured import sync_with
from tests.functional.wait import until

#: Seconds. Short, so that a test sees in seconds what a cloud sees in minutes.
TIMES = {
    "retry_interval": 0.2,
    "retry_max_interval": 2,
    "breaker_pause": 0.5,
    "breaker_max_pause": 1,
    "service_credentials__timeout": 5,
}
BOUND = 20.0  # seconds: the longest pause, a request that is still waited for, and the work


@pytest.fixture(scope="module")
def proxy(cloud: Cloud) -> Iterator[Proxy]:
    with Proxy(cloud.region("RegionThree").port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def built(cloud: Cloud, proxy: Proxy) -> Iterator[Estate]:
    """glance-sync, and nobody else, reaches RegionThree through the proxy."""
    estate = Estate(cloud)
    identity = Identity(cloud.session(), cloud.auth_url)
    urls = {name: cloud.region(name).url for name in cloud.names}
    options = {name: str(value) for name, value in TIMES.items()}
    identity.ensure_endpoints(
        "image", "glance", {**urls, "RegionThree": f"http://127.0.0.1:{proxy.port}"}
    )
    try:
        with sync_with(estate, task_retry_times="3", breaker_failures="3", **options):
            try:
                yield estate
            finally:
                identity.ensure_endpoints("image", "glance", urls)
    finally:
        identity.ensure_endpoints("image", "glance", urls)


@pytest.fixture
def estate(built: Estate, proxy: Proxy) -> Iterator[Estate]:
    yield built
    proxy.trouble = Trouble()
    built.clear()
    built.settled()


@contextlib.contextmanager
def away(cloud: Cloud) -> Iterator[None]:
    cloud.stop("keystone")
    try:
        yield
    finally:
        cloud.start("keystone")


def forget_tokens(cloud: Cloud) -> None:
    """Every token that was ever given out is good for nothing, and nobody remembers it."""
    with away(cloud):
        for key in (cloud.directory / "fernet-keys").iterdir():
            key.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))


def reason(estate: Estate, image: str, region: str) -> str:
    replica = estate.replica(image, region)
    assert replica is not None
    assert replica["last_error"], replica
    return str(replica["last_error"])


def test_keystone_is_away_while_there_is_work(estate: Estate) -> None:
    """What is known of a token lasts for a while; a region that has forgotten it waits."""
    cloud = estate.cloud
    image = estate.create()
    estate.follows(image)
    estate.settled()
    with away(cloud):
        estate.home.images.update(image, foo="everybody knows the token")
        estate.follows(image)
        cloud.restart("glance-RegionThree")
        estate.home.images.update(image, foo="one has forgotten it")
        new = estate.create(random_bytes(100_000))
        for one in (image, new):
            estate.reaches(one, "RegionTwo", "in_sync", timeout=BOUND)
        said = f"nobody answers at {cloud.auth_url.removesuffix('/v3')}"
        until(lambda: said in reason(estate, image, "RegionThree"), BOUND, "it says why")
        estate.reaches(image, "RegionThree", "stalled", timeout=BOUND)
    for one in (image, new):
        estate.reaches(one, "RegionThree", "in_sync", timeout=BOUND)
        estate.follows(one)


def test_tokens_end_in_the_middle_of_a_transfer(estate: Estate, proxy: Proxy) -> None:
    """The transfer goes on, and what follows it is done with a new one."""
    cloud = estate.cloud
    warm = estate.create()
    estate.follows(warm)
    proxy.trouble = Trouble(rate=5_000_000)
    image = estate.create(random_bytes(40_000_000))

    def begun() -> bool:
        replica = estate.replica(image, "RegionThree")
        return replica is not None and replica["bytes_done"] > 0

    until(begun, BOUND, "bytes are on their way")
    cloud.kill("glance-RegionThree", signal.SIGSTOP)  # else it may be over too soon
    try:
        forget_tokens(cloud)
        replica = estate.replica(image, "RegionThree")
        assert replica is not None
        assert replica["state"] == "copying"
    finally:
        cloud.kill("glance-RegionThree", signal.SIGCONT)
    proxy.trouble = Trouble()
    estate.reaches(image, "RegionThree", "in_sync", timeout=BOUND * 2)
    estate.follows(image)
    cloud.restart("glance-RegionThree")  # which remembers tokens that it saw before
    estate.home.images.update(image, foo="bar")
    new = estate.create(random_bytes(100_000))
    estate.follows(image)
    estate.follows(new)
    events = estate.sync("GET", f"/v1/images/{image}/events?limit=1000")[1]["events"]
    told = [event["what"] for event in events if event["region"] == "RegionThree"]
    assert told.count("transfer") == 1, told
    replica = estate.reaches(image, "RegionThree", "in_sync")
    assert replica["replica_id"] == image


def test_the_service_password_is_changed_and_put_back(estate: Estate) -> None:
    cloud = estate.cloud
    image = estate.create()
    estate.follows(image)
    estate.settled()
    failures = estate.metric("failures_total", reason="credential")
    users = f"{cloud.auth_url.rstrip('/')}/users"
    session = cloud.session()
    (user,) = session.get(f"{users}?name=glance-sync").json()["users"]

    def set_password(password: str) -> None:
        body = {"user": {"password": password}}
        assert session.patch(f"{users}/{user['id']}", json=body).status_code == 200

    set_password("a new one that nobody told glance-sync")
    try:
        for name in estate.others:
            cloud.restart(f"glance-{name}")  # which forgets the tokens that it knew
        assert estate.sync("POST", f"/v1/images/{image}/sync")[0] == 202
        for name in estate.others:
            estate.reaches(image, name, "stalled", timeout=BOUND)
            assert "no token: HTTP 401" in reason(estate, image, name)
        assert estate.metric("failures_total", reason="credential") > failures
        status = estate.sync("GET", "/v1/status")[1]["status"]
        assert not status["in_sync"]
        stalled = {one["name"]: one["needs_human"].get("stalled") for one in status["regions"]}
        assert [stalled[name] for name in estate.others] == [1, 1]
    finally:
        set_password(cloud.password("glance-sync"))
    for name in estate.others:
        estate.reaches(image, name, "in_sync", timeout=BOUND)
    estate.home.images.update(image, foo="bar")
    estate.follows(image)
    assert cloud.password("glance-sync") not in cloud.log("glance-sync").read_text()
