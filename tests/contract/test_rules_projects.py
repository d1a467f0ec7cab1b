# SPDX-License-Identifier: Apache-2.0
"""What Keystone says of projects, over a real socket: asked once, and never guessed."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest
from keystoneauth1.session import Session
from keystoneauth1.token_endpoint import Token

from glancesync.errors import Credential, Refused, RegionError, Throttled, Transient
from glancesync.model import Project
from glancesync.regions.projects import KEPT, KeystoneProjects

ANSWERS = {
    "/v3/projects/p1": {"project": {"id": "p1", "name": "finance", "domain_id": "d1"}},
    "/v3/projects/p2": {"project": {"id": "p2", "name": "lending", "domain_id": "d1"}},
    "/v3/domains/d1": {"domain": {"id": "d1", "name": "Bank"}},
}


class Keystone:
    """One that says what it is told to. ``asked``: the paths, but for discovery."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.says: tuple[int, bytes] | None = None
        keystone = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = keystone.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if status == 429:
                    self.send_header("Retry-After", "7")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v3"
        self.session = Session(auth=Token(self.url, "none"))

    def answer(self, path: str) -> tuple[int, bytes]:
        if path.rstrip("/") == "/v3":
            links = [{"rel": "self", "href": f"{self.url}/"}]
            version = {"id": "v3.14", "status": "stable", "links": links}
            return 200, json.dumps({"version": version}).encode()
        self.asked.append(path)
        if self.says is not None:
            return self.says
        found = ANSWERS.get(path)
        return (200, json.dumps(found).encode()) if found else (404, b'{"error": {}}')


@pytest.fixture
def keystone() -> Iterator[Keystone]:
    keystone = Keystone()
    yield keystone
    keystone.server.shutdown()
    keystone.server.server_close()
    keystone.session.session.close()


class Now:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def projects(keystone: Keystone, now: Now) -> KeystoneProjects:
    return KeystoneProjects(lambda: keystone.session, "public", now)


def test_a_project_is_asked_for_once_and_its_domain_too(
    keystone: Keystone, projects: KeystoneProjects, now: Now
) -> None:
    for _ in range(3):
        assert projects("p1") == Project("p1", "finance", "d1", "Bank")
    assert projects("p2") == Project("p2", "lending", "d1", "Bank")
    assert keystone.asked == ["/v3/projects/p1", "/v3/domains/d1", "/v3/projects/p2"]
    now.seconds += KEPT + 1
    projects("p1")
    assert keystone.asked[3:] == ["/v3/projects/p1", "/v3/domains/d1"]


def test_one_that_is_not_there(keystone: Keystone, projects: KeystoneProjects) -> None:
    assert projects("p9") is None
    assert projects("p9") is None
    assert keystone.asked == ["/v3/projects/p9"]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"{}", Credential),
        (403, b'{"error": {"message": "You are not authorized"}}', Refused),
        (429, b"{}", Throttled),
        (500, b"<h1>Oops</h1>", Transient),
        (503, b"", Transient),
        (200, b"<h1>Welcome to nginx</h1>", Transient),
        (200, b'{"projects": []}', Transient),
        (200, b"[]", Transient),
    ],
)
def test_what_it_does_not_say_is_not_guessed(
    keystone: Keystone,
    projects: KeystoneProjects,
    status: int,
    body: bytes,
    kind: type[RegionError],
) -> None:
    keystone.says = (status, body)
    with pytest.raises(RegionError) as caught:
        projects("p1")
    assert type(caught.value) is kind
    assert str(caught.value).startswith("Keystone: could not read project p1: ")
    keystone.says = None
    assert projects("p1") is not None, "a failure is not remembered"


def test_a_domain_that_is_gone_is_no_project_that_is_gone(
    keystone: Keystone, projects: KeystoneProjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ANSWERS, "/v3/domains/d1")
    with pytest.raises(Transient):
        projects("p1")


def test_nobody_answers(keystone: Keystone, projects: KeystoneProjects) -> None:
    projects("p1")
    keystone.server.shutdown()
    keystone.server.server_close()
    with pytest.raises(Transient, match="nobody answers"):
        projects("p2")
    assert projects("p1") is not None
