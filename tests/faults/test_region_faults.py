# SPDX-License-Identifier: Apache-2.0
"""What the way to a region's Glance, or that Glance itself, can do to requests.

While it lasts the other region is served as ever (P8), and the region in trouble says why it is
behind. When it is over all is well within :data:`BOUND`, and nobody has said a word to glance-sync.
"""

import dataclasses
import hashlib
import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from devcloud import Cloud
from devcloud.identity import Identity
from tests.faults.proxy import Proxy, Trouble
from tests.functional.estate import Estate
from tests.functional.reconfigured import sync_with
from tests.functional.wait import until

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))

#: Seconds. Short, so that a test sees in seconds what a cloud sees in minutes.
TIMES = {
    "retry_interval": 0.2,
    "retry_max_interval": 2,
    "breaker_pause": 0.5,
    "breaker_max_pause": 1,
    "stall_timeout": 3,
    "stuck_timeout": 5,
    "service_credentials__timeout": 3,
}
#: Seconds from the end of a trouble until all is well: the longest pause, a request that is still
#: waited for, an image that the region left in ``saving``, and the work.
BOUND = 2 + 3 + 5 + 20
#: Seconds in which a region follows that has no trouble, on a machine that is busy.
PROMPT = 20


@dataclasses.dataclass(frozen=True)
class Stage:
    """A cloud whose regions are reached through proxies by glance-sync, and by nobody else."""

    estate: Estate
    proxies: dict[str, Proxy]

    def region(self, name: str) -> dict[str, Any]:
        return dict(self.estate.sync("GET", f"/v1/regions/{name}")[1]["region"])

    def audit(self, region: str) -> dict[str, Any]:
        return dict(self.estate.sync("GET", f"/v1/audits/{region}")[1]["audit"])

    def images_of(self, region: str, origin: str | None = None) -> list[dict[str, Any]]:
        """All images of a region, or those, whatever their ids, made from one of home's."""
        glance = self.estate.glances[region]
        found = [
            dict(image)
            for hidden in (False, True)
            for image in glance.images.list(filters={"visibility": "all", "os_hidden": hidden})
        ]
        return [one for one in found if origin is None or one.get("origin") == origin]


@pytest.fixture(scope="module")
def built(cloud: Cloud) -> Iterator[Stage]:
    estate = Estate(cloud)
    identity = Identity(cloud.session(), cloud.auth_url)
    proxies = {name: Proxy(cloud.region(name).port) for name in cloud.names}
    urls = {name: f"http://127.0.0.1:{proxy.port}" for name, proxy in proxies.items()}
    for proxy in proxies.values():
        proxy.__enter__()
    identity.ensure_endpoints("image", "glance", urls)
    options = {name: str(value) for name, value in TIMES.items()}
    try:
        with sync_with(
            estate,
            cascading_endpoint_url=urls[cloud.home],
            task_retry_times="3",
            breaker_failures="3",
            **options,
        ):
            try:
                yield Stage(estate, proxies)
            finally:
                direct = {name: cloud.region(name).url for name in cloud.names}
                identity.ensure_endpoints("image", "glance", direct)
    finally:
        for proxy in proxies.values():
            proxy.__exit__(None, None, None)


@pytest.fixture
def stage(built: Stage) -> Iterator[Stage]:
    yield built
    for proxy in built.proxies.values():
        proxy.trouble = Trouble()
    built.estate.clear()
    built.estate.settled()


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Different for each test, the same for a seed."""
    sys.stdout.write(f"SEED={SEED}\n")
    return random.Random(f"{SEED} {request.node.name}")


def contents(chance: random.Random, size: int) -> bytes:
    return b"glancesync" + chance.randbytes(size - 10)


def create(estate: Estate, data: bytes, **fields: Any) -> str:
    """An image that says in every region which one of home's it is made from."""
    image = estate.create(data, visibility="shared", **fields)
    estate.home.images.update(image, origin=image)
    return image


# -- no answer, and answers that are none ---------------------------------------------------------


def answer(status: str, *headers: str, body: str = "") -> Trouble:
    """A proxy in front of Glance answers in its place."""
    length = f"Content-Length: {len(body)}"
    lines = [f"HTTP/1.1 {status}", *headers, length, "Connection: close", "", body]
    return Trouble(answer="\r\n".join(lines).encode())


#: Trouble, what is said of it, and what it is counted as.
TROUBLES = {
    "refused": (Trouble(refuse=True), r"could not \w+", "transient"),
    "hanging": (Trouble(hang=True), r"no answer at http://\S+ in time", "transient"),
    "500": (answer("500 Internal Server Error", body="oops"), "HTTP 500: oops", "transient"),
    "throttled": (answer("503 Slow Down", "Retry-After: 1"), "HTTP 503", "throttled"),
    "401": (answer("401 Unauthorized"), "HTTP 401", "credential"),
    "html": (
        answer("200 OK", "Content-Type: text/html", body="<html><h1>It works!</h1></html>"),
        "not a JSON object",
        "transient",
    ),
    "truncated": (None, r"could not \w+", "transient"),  # somewhere in the first bytes
}


@pytest.mark.parametrize("name", TROUBLES)
def test_a_region_in_trouble_delays_only_itself_and_catches_up(
    stage: Stage, chance: random.Random, name: str
) -> None:
    estate, proxy = stage.estate, stage.proxies["RegionThree"]
    trouble, said, reason = TROUBLES[name]
    trouble = trouble or Trouble(cut_out=chance.randint(1, 400))
    changed, deleted = (create(estate, contents(chance, 1000)) for _ in range(2))
    estate.follows(changed)
    estate.follows(deleted)
    estate.settled()
    failures = estate.metric("failures_total", region="RegionThree", reason=reason)

    proxy.trouble = trouble
    begun = time.monotonic()
    new = create(estate, contents(chance, 300_000))
    estate.home.images.update(changed, foo="bar")
    estate.home.images.delete(deleted)
    estate.follows(new, ["RegionTwo"])
    estate.follows(changed, ["RegionTwo"])
    estate.gone(deleted, ["RegionTwo"])
    assert time.monotonic() - begun < PROMPT

    def told() -> bool:
        replicas = [estate.replica(image, "RegionThree") for image in (new, changed, deleted)]
        errors = [one["last_error"] for one in replicas if one and one["last_error"]]
        assert any(re.search(said, error) for error in errors), errors
        return True

    until(told, PROMPT, "a replica says why it is behind")
    until(lambda: stage.region("RegionThree")["breaker"] == "open", PROMPT, "it is left alone")
    region = stage.region("RegionThree")
    assert re.search(said, region["last_error"]), region
    assert stage.region("RegionTwo")["breaker"] == "closed"
    if reason != "throttled":
        states = {"stalled", "failed", "pending"}
        assert {estate.replica(i, "RegionThree")["state"] for i in (new, changed)} <= states  # type: ignore[index]
    assert not estate.sync("GET", "/v1/status")[1]["status"]["in_sync"]
    assert estate.metric("failures_total", region="RegionThree", reason=reason) > failures

    proxy.trouble = Trouble()
    healed = time.monotonic()
    estate.follows(new)
    estate.follows(changed)
    estate.gone(deleted)
    estate.settled()
    assert time.monotonic() - healed < BOUND
    region = stage.region("RegionThree")
    assert (region["breaker"], region["last_error"], region["failures"]) == ("closed", None, 0)
    assert len(stage.images_of("RegionThree", new)) == 1


def test_a_region_that_is_slow_to_answer_is_not_unwell(stage: Stage, chance: random.Random) -> None:
    estate, proxy = stage.estate, stage.proxies["RegionThree"]
    proxy.trouble = Trouble(rate=3000)  # about half a second for each request
    begun = time.monotonic()
    image = create(estate, contents(chance, 1000))
    estate.follows(image, ["RegionTwo"])
    assert time.monotonic() - begun < PROMPT
    estate.follows(image)
    region = stage.region("RegionThree")
    assert (region["breaker"], region["last_error"], region["failures"]) == ("closed", None, 0)


# -- bytes ----------------------------------------------------------------------------------------

SIZE = 30_000_000  # more than fits on the way between two ends


@pytest.mark.parametrize("how", ["home cuts", "region cuts", "region hangs"])
def test_a_transfer_that_breaks_off_is_made_again(
    stage: Stage, chance: random.Random, how: str
) -> None:
    estate, cloud = stage.estate, stage.estate.cloud
    where = cloud.home if how == "home cuts" else "RegionThree"
    proxy = stage.proxies[where]
    data = contents(chance, SIZE)
    proxy.trouble = {
        "home cuts": Trouble(cut_out=chance.randrange(10_000, SIZE)),
        "region cuts": Trouble(cut_in=chance.randrange(10_000, SIZE)),
        "region hangs": Trouble(rate=5_000_000),
    }[how]
    image = create(estate, data)
    if how == "region hangs":
        until(
            lambda: (estate.replica(image, "RegionThree") or {}).get("bytes_done"), PROMPT, "it is"
        )
        cloud.kill("glance-RegionThree", signal.SIGSTOP)
    try:
        if where != cloud.home:
            estate.follows(image, ["RegionTwo"])

        def failed() -> bool:
            replica = estate.replica(image, "RegionThree")
            assert replica is not None
            assert replica["last_error"], replica
            return where in replica["last_error"]

        until(failed, PROMPT, "the transfer broke off")
    finally:
        cloud.kill("glance-RegionThree", signal.SIGCONT)
    proxy.trouble = Trouble()
    for name in estate.others:
        estate.reaches(image, name, "in_sync", timeout=BOUND)
    right = hashlib.sha512(data).hexdigest()
    for name in estate.others:
        (there,) = stage.images_of(name, image)
        assert (there["status"], there["os_hash_value"]) == ("active", right)
    estate.home.images.delete(image)
    for name in estate.others:
        until(lambda name=name: not stage.images_of(name, image), BOUND, f"{name} has none left")


def test_bits_that_flip_on_the_way(stage: Stage, chance: random.Random) -> None:
    estate, proxy = stage.estate, stage.proxies["RegionThree"]
    data = contents(chance, 1_000_000)
    proxy.trouble = Trouble(flip_after=chance.randrange(2000, 1_000_000))
    mismatches = estate.metric("hash_mismatches_total", region="RegionThree")
    image = create(estate, data, user="demo")
    theirs = estate.cloud.glance("RegionThree", "demo").images
    right = hashlib.sha512(data).hexdigest()

    def twice() -> bool:
        for one in theirs.list():  # what users see
            assert one.get("origin") != image, "a wrong copy is shown"
        return len(proxy.flipped) > 1

    until(twice, BOUND, "wrong bytes were sent twice")
    estate.follows(image, ["RegionTwo"])

    def said() -> bool:
        replica = estate.replica(image, "RegionThree")
        assert replica is not None
        return "bytes differ" in (replica["last_error"] or "")

    until(said, PROMPT, "it says so")
    assert estate.metric("hash_mismatches_total", region="RegionThree") > mismatches
    proxy.trouble = Trouble()
    replica = estate.reaches(image, "RegionThree", "in_sync", timeout=BOUND)
    estate.follows(image, RegionThree=replica["replica_id"])
    (there,) = stage.images_of("RegionThree", image)
    assert there["os_hash_value"] == right


# -- lists ----------------------------------------------------------------------------------------


def test_half_a_list_proves_nothing(stage: Stage, chance: random.Random) -> None:
    """Audits that never see the end of a list delete nothing and make nothing anew."""
    estate = stage.estate
    images = [create(estate, contents(chance, 1000), filler="x" * 240) for _ in range(8)]
    for image in images:
        estate.follows(image)
    estate.settled()
    audited = ["RegionOne", "RegionThree"]
    before = {name: stage.images_of(name) for name in estate.others}
    finished = {name: stage.audit(name)["finished_at"] for name in audited}

    for name in audited:  # no other answer is so long
        stage.proxies[name].trouble = Trouble(cut_out=chance.randrange(4000, 8000))
        assert estate.sync("POST", f"/v1/audits/{name}/run")[0] == 202

    def broke_off(name: str) -> bool:
        (task,) = estate.sync("GET", f"/v1/tasks?kind=audit&region={name}")[1]["tasks"]
        assert task["attempt"] > 1, task
        assert f"{name}: could not list the images" in task["reason"], task
        return True

    for name in audited:
        until(lambda name=name: broke_off(name), BOUND, "the list broke off more than once")
        assert stage.audit(name)["finished_at"] == finished[name]
        stage.proxies[name].trouble = Trouble()

    def complete(name: str) -> dict[str, Any]:
        audit = stage.audit(name)
        assert audit["finished_at"] != finished[name]
        assert not audit["running"]
        return audit

    for name in audited:
        audit = until(lambda name=name: complete(name), BOUND, "it is done again, by itself")
        assert audit["seen"] >= len(images)
        assert (audit["drifted"], audit["missing"], audit["held"]) == (0, 0, 0)
    assert {name: stage.images_of(name) for name in estate.others} == before
    for image in images:
        events = estate.sync("GET", f"/v1/images/{image}/events?limit=1000")[1]["events"]
        assert "delete" not in {event["what"] for event in events}
