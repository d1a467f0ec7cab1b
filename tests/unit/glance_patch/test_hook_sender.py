# SPDX-License-Identifier: Apache-2.0
"""The sender against a real socket. Glance is not needed; see tests/hook for that."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from keystoneauth1 import session as ks_session
from keystoneauth1.identity import v3
from oslo_config import cfg

from glance_patch import opts
from glance_patch.sender import HttpPost, Sender, from_conf, session_from_conf
from tests.hook import far_end as far
from tests.hook.far_end import FarEnd

ACTOR = {"user_id": "u", "project_id": "p", "roles": ["member"], "request_id": "req-1"}
CHANGED = {"actor": ACTOR, "removed": False}


@pytest.fixture
def server() -> Iterator[FarEnd]:
    with FarEnd() as running:
        yield running


@pytest.fixture
def sender_to() -> Iterator[Callable[..., Sender]]:
    """Makes senders whose steps the test takes itself: ``hold`` keeps their thread away."""
    with contextlib.ExitStack() as stack:

        def make(
            url: str,
            keystone: str | None = None,
            hold: bool = True,
            timeout: float = 0.3,
            **kwargs: Any,
        ) -> Sender:
            def open_session() -> ks_session.Session:
                auth = v3.Password(
                    (keystone or url) + "/v3",
                    username="glance",
                    password="s3cret",
                    user_domain_id="default",
                )
                opened = ks_session.Session(auth=auth, timeout=timeout)
                stack.callback(opened.session.close)
                return opened

            kwargs.setdefault("merge_window", 0.005)
            sender = Sender(
                HttpPost(url + "/v1/events", open_session), jitter=lambda: 1.0, **kwargs
            )
            if hold:
                sender._start = lambda: None  # type: ignore[method-assign]
            else:
                stack.callback(sender.close)
            return sender

        yield make


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def drain(sender: Sender, most: int = 1000) -> int:
    """Take steps until there is nothing left; return how many."""
    for steps in range(most):
        if sender.step() is None:
            return steps
    raise AssertionError(f"still not drained after {most} steps")


def test_wire_format(server: FarEnd, sender_to: Callable[..., Sender]) -> None:
    sender = sender_to(server.url)
    sender.offer("a", ACTOR)
    drain(sender)
    [(path, headers, body)] = server.requests
    assert path == "/v1/events"
    assert headers["X-Auth-Token"] == "token-1"
    assert headers["Content-Type"] == "application/json"
    assert body == {"events": [{"image_id": "a", **CHANGED, "merged": 1}], "dropped": 0}


def test_changes_of_one_image_merge_and_the_latest_actor_counts(
    server: FarEnd, sender_to: Callable[..., Sender]
) -> None:
    sender = sender_to(server.url)
    for number in range(5):
        sender.offer("a", {**ACTOR, "request_id": f"req-{number}"})
    sender.offer("b", ACTOR)
    drain(sender)
    assert len(server.requests) == 1
    assert [(e["image_id"], e["merged"]) for e in server.events] == [("a", 5), ("b", 1)]
    assert server.events[0]["actor"]["request_id"] == "req-4"


def test_a_removal_is_not_forgotten_when_changes_merge(
    server: FarEnd, sender_to: Callable[..., Sender]
) -> None:
    sender = sender_to(server.url)
    sender.offer("a", ACTOR)
    sender.offer("a", ACTOR, removed=True)
    sender.offer("a", ACTOR)
    sender.offer("b", ACTOR)
    drain(sender)
    told = [(e["image_id"], e["merged"], e["removed"]) for e in server.events]
    assert told == [("a", 3, True), ("b", 1, False)]


def test_batches_are_bounded(server: FarEnd, sender_to: Callable[..., Sender]) -> None:
    sender = sender_to(server.url, batch_size=4)
    for number in range(10):
        sender.offer(str(number), ACTOR)
    drain(sender)
    assert [len(body["events"]) for _, _, body in server.requests] == [4, 4, 2]
    assert [event["image_id"] for event in server.events] == [str(n) for n in range(10)]


def test_a_change_while_its_hint_is_on_the_way_is_told_again(
    server: FarEnd, sender_to: Callable[..., Sender]
) -> None:
    sender = sender_to(server.url)

    def change_meanwhile(handler: far.Handler, request: dict[str, Any]) -> None:
        server.answer = far.take
        sender.offer("a", {**ACTOR, "request_id": "req-later"})
        far.take(handler, request)

    server.answer = change_meanwhile
    sender.offer("a", ACTOR)
    drain(sender)
    assert [(e["merged"], e["actor"]["request_id"]) for e in server.events] == [
        (1, "req-1"),
        (1, "req-later"),
    ]


def test_a_full_queue_refuses_new_images_and_says_how_many(
    server: FarEnd, sender_to: Callable[..., Sender]
) -> None:
    sender = sender_to(server.url, queue_size=3)
    server.answer = far.fail
    for number in range(8):
        sender.offer(str(number), ACTOR)
    sender.offer("0", ACTOR)
    assert sender.step() is not None
    server.answer = far.take
    sender.offer("9", ACTOR)
    drain(sender)
    sender.offer("10", ACTOR)
    drain(sender)
    failed, taken, after = (body for _, _, body in server.requests)
    assert failed["dropped"] == 5
    assert taken["dropped"] == 6
    assert [(e["image_id"], e["merged"]) for e in taken["events"]] == [("0", 2), ("1", 1), ("2", 1)]
    assert after["dropped"] == 0


@pytest.mark.parametrize(
    "misbehave",
    [
        far.fail,
        far.babble,
        far.accept_babble,
        far.plain_400,
        far.redirect,
        far.noise,
        far.drop,
        far.hang,
        far.flood,
    ],
    ids=lambda answer: answer.__name__,
)
def test_nothing_is_lost_while_the_server_misbehaves(
    server: FarEnd, sender_to: Callable[..., Sender], misbehave: far.Answer
) -> None:
    sender = sender_to(server.url)
    server.answer = misbehave
    sender.offer("a", ACTOR)
    pauses = [sender.step() for _ in range(3)]
    assert pauses == [0.25, 0.5, 1.0]
    server.answer = far.take
    sender.offer("a", ACTOR)
    drain(sender)
    _, _, taken = server.requests[-1]
    assert taken["events"] == [{"image_id": "a", **CHANGED, "merged": 2}]
    assert {path for path, _, _ in server.requests} == {"/v1/events"}


def test_nothing_is_lost_while_nobody_listens(sender_to: Callable[..., Sender]) -> None:
    port = closed_port()
    with FarEnd() as keystone:
        sender = sender_to(f"http://127.0.0.1:{port}", keystone=keystone.url)
        sender.offer("a", ACTOR)
        assert sender.step() == 0.25
        with FarEnd(port) as server:
            drain(sender)
            assert [event["image_id"] for event in server.events] == ["a"]


def test_nothing_is_lost_while_keystone_is_away(
    server: FarEnd, sender_to: Callable[..., Sender]
) -> None:
    port = closed_port()
    sender = sender_to(server.url, keystone=f"http://127.0.0.1:{port}")
    sender.offer("a", ACTOR)
    assert sender.step() == 0.25
    with FarEnd(port):
        drain(sender)
    assert [event["image_id"] for event in server.events] == ["a"]


def test_the_pause_grows_to_its_cap_and_starts_again_after_success(
    server: FarEnd, sender_to: Callable[..., Sender]
) -> None:
    sender = sender_to(server.url, max_backoff=1.5)
    server.answer = far.fail
    sender.offer("a", ACTOR)
    assert [sender.step() for _ in range(5)] == [0.25, 0.5, 1.0, 1.5, 1.5]
    server.answer = far.take
    drain(sender)
    server.answer = far.fail
    sender.offer("a", ACTOR)
    assert sender.step() == 0.25


def test_a_new_token_is_fetched_when_the_server_refuses_the_old(
    server: FarEnd, sender_to: Callable[..., Sender]
) -> None:
    def only_the_second(handler: far.Handler, request: dict[str, Any]) -> None:
        if handler.headers["X-Auth-Token"] == "token-2":
            far.take(handler, request)
        else:
            handler.reply(401, {"error": {"code": 401}})

    server.answer = only_the_second
    sender = sender_to(server.url)
    sender.offer("a", ACTOR)
    assert drain(sender) == 1
    assert server.tokens == 2


@pytest.mark.parametrize("status", [400, 413])
def test_one_bad_hint_does_not_take_others_with_it(
    server: FarEnd, sender_to: Callable[..., Sender], caplog: Any, status: int
) -> None:
    taken: list[str] = []

    def picky(handler: far.Handler, request: dict[str, Any]) -> None:
        images = [event["image_id"] for event in request["events"]]
        if {"37", "38"} & set(images):
            handler.reply(status, {"error": {"code": status, "title": "Bad", "message": "no"}})
        else:
            taken.extend(images)
            far.take(handler, request)

    server.answer = picky
    sender = sender_to(server.url, batch_size=64)
    for number in range(100):
        sender.offer(str(number), ACTOR)
    drain(sender, most=60)
    assert sorted(taken, key=int) == [str(n) for n in range(100) if n not in (37, 38)]
    assert server.requests[-1][2]["dropped"] == 0
    assert max(body["dropped"] for _, _, body in server.requests) > 0
    assert len([r for r in caplog.records if "refuses" in r.getMessage()]) == 1


def test_logs_tell_of_changes_of_state_only_and_no_secret(
    server: FarEnd, sender_to: Callable[..., Sender], caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    sender = sender_to(server.url, queue_size=2)
    for answer in (far.take, far.fail, far.babble, far.take, far.take):
        server.answer = answer
        for number in range(20):
            sender.offer(str(number), ACTOR)
            sender.step()
    ours = [r.getMessage() for r in caplog.records if r.name == "glance_patch.sender"]
    assert [line.split(":")[1].split()[0:4] for line in ours] == [
        ["the", "server", "takes", "hints"],
        ["the", "server", "does", "not"],
        ["2", "changed", "images", "are"],
        ["the", "server", "takes", "hints"],
    ]
    assert "token-1" not in caplog.text
    assert "s3cret" not in caplog.text


def test_offering_does_not_wait_for_a_hanging_server(
    server: FarEnd, sender_to: Callable[..., Sender]
) -> None:
    sender = sender_to(server.url, hold=False, timeout=60.0)
    server.answer = far.hang
    sender.offer("first", ACTOR)
    server.wait_for(lambda: bool(server.requests))
    began = time.perf_counter()
    for number in range(1000):
        sender.offer(str(number), ACTOR)
    assert time.perf_counter() - began < 5, "one request's timeout is 60 s"
    server.answer = far.take
    server.released.set()
    server.wait_for(lambda: len({e["image_id"] for e in server.events}) == 1001)


def test_many_threads_offer_and_every_change_is_counted(
    server: FarEnd, sender_to: Callable[..., Sender]
) -> None:
    sender = sender_to(server.url, hold=False, batch_size=7)

    def change() -> None:
        for number in range(500):
            sender.offer(str(number % 20), ACTOR)

    threads = [threading.Thread(target=change) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.wait_for(lambda: sum(event["merged"] for event in server.events) >= 4000)
    assert sum(event["merged"] for event in server.events) == 4000


def in_child(server: FarEnd, script: str) -> subprocess.CompletedProcess[str]:
    """Run ``script`` in a Python of its own, with a ready ``sender``."""
    ready = f"""
        import os, sys, threading, time
        from keystoneauth1 import noauth, session
        from glance_patch.sender import HttpPost, Sender
        def open_session():
            return session.Session(auth=noauth.NoAuth(), timeout=30)
        sender = Sender(HttpPost("{server.url}/v1/events", open_session), merge_window=0.005)
        actor = {json.dumps(ACTOR).replace("null", "None")}
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ready) + textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_each_forked_process_sends_its_own(server: FarEnd) -> None:
    in_child(
        server,
        """
        sender.offer("parent-before", actor)
        while sender._hints:
            time.sleep(0.005)
        children = []
        for number in range(3):
            pid = os.fork()
            if pid == 0:
                sender.offer(f"child-{number}", actor)
                while sender._hints:
                    time.sleep(0.005)
                os._exit(0)
            children.append(pid)
        sender.offer("parent-after", actor)
        for pid in children:
            assert os.waitpid(pid, 0)[1] == 0
        """,
    )
    assert {event["image_id"] for event in server.events} == {
        "parent-before",
        "parent-after",
        "child-0",
        "child-1",
        "child-2",
    }


def test_the_end_of_the_process_flushes(server: FarEnd) -> None:
    in_child(server, "sender._merge_window = 30; sender.offer('last', actor)")
    assert [event["image_id"] for event in server.events] == ["last"]


def test_the_end_of_the_process_does_not_wait_for_a_hanging_server(server: FarEnd) -> None:
    server.answer = far.hang
    began = time.monotonic()
    ended = in_child(server, "sender.offer('last', actor)")
    assert time.monotonic() - began < 10, "the request's own timeout is 30 s"
    assert "1 changed images were not told of" in ended.stderr


@pytest.fixture
def conf() -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[])
    opts.register(conf)
    opts.register(conf)
    return conf


@pytest.mark.parametrize("section", ["glance_sync", "keystone_authtoken"])
def test_credentials_are_our_own_or_those_of_authtoken(
    conf: cfg.ConfigOpts, server: FarEnd, section: str
) -> None:
    from keystoneauth1 import loading

    loading.register_auth_conf_options(conf, section)
    conf.register_opts(loading.get_auth_plugin_conf_options("v3password"), group=section)
    conf.set_override("auth_type", "v3password", group=section)
    conf.set_override("auth_url", server.url + "/v3", group=section)
    conf.set_override("username", "glance", group=section)
    conf.set_override("password", "s3cret", group=section)
    conf.set_override("user_domain_id", "default", group=section)
    session = session_from_conf(conf)
    with contextlib.closing(session.session):
        assert session.get_token() == "token-1"
    assert session.timeout == 5.0


def test_missing_credentials_are_reported_and_cost_nothing(
    conf: cfg.ConfigOpts, caplog: Any
) -> None:
    sender = from_conf(conf)
    sender._start = lambda: None  # type: ignore[method-assign]
    sender.offer("a", ACTOR)
    assert sender.step() is not None
    assert "no auth_type in [glance_sync] nor in [keystone_authtoken]" in caplog.text


@pytest.mark.parametrize(
    ("host", "scheme", "url"),
    [
        ("127.0.0.1", "http", "http://127.0.0.1:9595/v1/events"),
        ("sync.example.org", "https", "https://sync.example.org:9595/v1/events"),
        ("2001:db8::1", "https", "https://[2001:db8::1]:9595/v1/events"),
    ],
)
def test_where_the_server_is(conf: cfg.ConfigOpts, host: str, scheme: str, url: str) -> None:
    conf.set_override("sync_server_host", host)
    conf.set_override("sync_server_scheme", scheme, group="glance_sync")
    post = from_conf(conf)._post
    assert isinstance(post, HttpPost)
    assert post._url == url
