# SPDX-License-Identifier: Apache-2.0
"""P1: a user's call never fails and never waits because of the sync server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from devcloud import Cloud
from tests.hook import far_end as far
from tests.hook.conftest import Home
from tests.hook.far_end import FarEnd
from tests.hook.test_hook_changes import operation

PATIENCE = 10
"""Seconds; half the timeout the sender has here, so no call can have waited for it."""


def every_kind_of_call(home: Home) -> str:
    """Create, upload, patch, share, deactivate, delete; return the id of an image that stays."""
    stays, goes = home.create_active(), home.create_active()
    home.patch(stays, operation("add", "/os_distro", "debian"))
    member = {"member": home.project("other")}
    home.call("POST", f"/images/{stays}/members", json=member)
    home.call("POST", f"/images/{stays}/actions/deactivate", "admin")
    home.call("DELETE", f"/images/{goes}")
    return stays


@contextlib.contextmanager
def nobody_waits(home: Home) -> Iterator[None]:
    for user in ("demo", "admin", "other"):
        home.session(user).get_token()
    call, slowest = home.call, 0.0

    def timed(*args: object, **kwargs: object) -> object:
        nonlocal slowest
        began = time.perf_counter()
        try:
            return call(*args, **kwargs)  # type: ignore[arg-type]
        finally:
            slowest = max(slowest, time.perf_counter() - began)

    home.call = timed  # type: ignore[method-assign, assignment]
    yield
    del home.call  # type: ignore[method-assign]
    assert slowest < PATIENCE


@pytest.mark.parametrize(
    "misbehave",
    [far.hang, far.fail, far.babble, far.accept_babble, far.noise, far.drop, far.flood],
    ids=lambda answer: answer.__name__,
)
def test_calls_succeed_and_hints_arrive_later(home: Home, misbehave: far.Answer) -> None:
    home.server.answer = misbehave
    with nobody_waits(home):
        image_id = every_kind_of_call(home)
        home.server.wait_for(lambda: bool(home.server.requests))
        every_kind_of_call(home)
    home.server.requests.clear()
    home.server.answer = far.take
    home.server.released.set()
    home.server.wait_for(lambda: image_id in [event["image_id"] for event in home.server.events])


def test_calls_succeed_while_nobody_listens(cloud: Cloud, sync_port: int) -> None:
    unheard = FarEnd(0)
    with unheard:
        home = Home(cloud, unheard)
        with nobody_waits(home):
            image_id = every_kind_of_call(home)
    with FarEnd(sync_port) as server:
        server.wait_for(lambda: image_id in [event["image_id"] for event in server.events])
        [event] = [event for event in server.events if event["image_id"] == image_id]
        assert event["merged"] >= 5


def test_a_restarted_glance_finds_a_server_that_came_later(cloud: Cloud, sync_port: int) -> None:
    glance = f"glance-{cloud.home}"
    cloud.restart(glance)
    with FarEnd(0) as unheard:
        image_id = Home(cloud, unheard).create()
    with FarEnd(sync_port) as server:
        server.wait_for(lambda: image_id in [event["image_id"] for event in server.events])
