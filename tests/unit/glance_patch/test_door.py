# SPDX-License-Identifier: Apache-2.0
"""The parts of the door for files that need no Glance."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import webob
from oslo_config import cfg

from glance_patch import locations
from glance_patch.locations import Rule, means_a_file, opened, order_from

DATA = b"bytes"
SHA512 = hashlib.sha512(DATA).hexdigest()


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> cfg.ConfigOpts:
    """What the door reads of Glance's configuration."""
    fresh = cfg.ConfigOpts()
    fresh.register_opts(
        [
            cfg.StrOpt("hashing_algorithm", default="sha512"),
            cfg.DictOpt("enabled_backends"),
        ]
    )
    for group in ("glance_store", "one", "two", "os_glance_staging_store"):
        fresh.register_opts(
            [
                cfg.StrOpt("filesystem_store_datadir"),
                cfg.MultiStrOpt("filesystem_store_datadirs"),
                cfg.ListOpt("stores", default=["file", "http"]),
            ],
            group=group,
        )
    fresh([])
    monkeypatch.setattr(locations.cfg, "CONF", fresh)
    return fresh


@pytest.mark.parametrize(
    "url",
    [
        "file:///x",
        "FILE:x",
        " \t\nfile:///x",
        "f\nile:///x",
        "\ufefffile:///x",
        "\u200bfile:///x",
        "\x00file:///x",
        "filesystem:///x",
        "/etc/passwd",
        "//host/x",
    ],
)
def test_what_might_be_a_file(url: str) -> None:
    assert means_a_file(url)


@pytest.mark.parametrize(
    "url", ["http://h/file:///x", "rbd://fsid/pool/image/snap", "", "swift+config://file", None, 7]
)
def test_what_is_none(url: Any) -> None:
    assert not means_a_file(url)


def test_an_order(conf: cfg.ConfigOpts) -> None:
    hashed = {"os_hash_algo": "sha512", "os_hash_value": SHA512}
    order = order_from({"url": "file:///x", "size": 5, "validation_data": hashed})
    assert order == ("file:///x", 5, None, "sha512", SHA512)
    conf.set_override("hashing_algorithm", "md5")  # as some have it
    weak = {"os_hash_algo": "md5", "os_hash_value": "0" * 32}
    assert order_from({"url": "file:///x", "size": 5, "validation_data": weak}).os_hash_algo
    with pytest.raises(Rule, match="size"):
        order_from({"url": "file:///x", "size": float("inf"), "validation_data": weak})


def test_the_directories_of_stores(conf: cfg.ConfigOpts) -> None:
    conf.set_override("filesystem_store_datadir", "/plain", "glance_store")
    assert list(locations.file_stores()) == [("", ["/plain"])]
    conf.set_override("stores", ["http"], "glance_store")
    assert list(locations.file_stores()) == []
    backends = {"one": "file", "two": "file", "swift": "swift", "os_glance_staging_store": "file"}
    conf.set_override("enabled_backends", backends)
    conf.set_override("filesystem_store_datadir", "/a b/", "one")
    conf.set_override("filesystem_store_datadirs", ["/low", "/mid:7", "/high: 90"], "two")
    conf.set_override("filesystem_store_datadir", "/staging", "os_glance_staging_store")
    assert list(locations.file_stores()) == [("one", ["/a b/"]), ("two", ["/high", "/mid", "/low"])]


@pytest.mark.parametrize("path", ["relative", "/a?b", "/a#b", "/a\nb"])
def test_directories_that_do_not_survive_a_url(conf: cfg.ConfigOpts, path: str) -> None:
    conf.set_override("filesystem_store_datadir", path, "glance_store")
    assert list(locations.file_stores()) == []


def test_a_place_is_told_letter_by_letter(conf: cfg.ConfigOpts) -> None:
    conf.set_override("filesystem_store_datadir", "/a b%20/", "glance_store")
    assert locations._place("file:///a b%20/x", "x") == ("", "/a b%20/")
    for url in ("file:///a b%20//x", "file:///a%20b%20/x", "file:///a b%20/y", "file:///x"):
        with pytest.raises(Rule, match="letter by letter"):
            locations._place(url, "x")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such file"),
        (lambda path: os.mkfifo(path), "regular"),
        (lambda path: path.mkdir(), "regular"),
        (lambda path: path.symlink_to("right"), "is a link"),
        (lambda path: path.symlink_to("absent"), "is a link"),
        (lambda path: path.write_bytes(DATA + b"!"), "has 6 bytes, not 5"),
    ],
    ids=["absent", "fifo", "directory", "link", "dangling", "longer"],
)
def test_files_that_are_none(tmp_path: Path, make: Callable[[Path], Any], words: str) -> None:
    (tmp_path / "right").write_bytes(DATA)
    make(path := tmp_path / "x")
    size = path.lstat().st_size if words == "regular" else len(DATA)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(Rule, match=words), opened(str(tmp_path), "x", size):
        raise AssertionError("it was opened")
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(DATA)
    before = set(os.listdir("/proc/self/fd"))
    with opened(str(tmp_path), "x", len(DATA)) as file:
        assert file.read() == DATA
    assert set(os.listdir("/proc/self/fd")) == before


class Glance:
    """The application behind the door: notes what it gets, byte by byte."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, bytes]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        self.got.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], body))
        start_response("299 Fine", [])
        return iter([b"from Glance"])


class Unused:
    """In place of Glance's Gateway and Enforcer: whatever is asked of it is a failure."""


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> locations.Door:
    door = locations.Door.__new__(locations.Door)
    monkeypatch.setattr(door, "_app", Glance(), raising=False)
    monkeypatch.setattr(door, "_gateway", Unused(), raising=False)
    monkeypatch.setattr(door, "_enforcer", Unused(), raising=False)
    return door


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v2/images/x/locations", b""),
        ("PUT", "/v2/images/x/locations", b'{"url": "file:///x"}'),
        ("POST", "/v2/images/x/file/locations", b'{"url": "file:///x"}'),
        ("POST", "/v2/images", b'{"url": "file:///x"}'),
        ("POST", "/v2/info/glance_sync", b""),
        ("GET", "/v2/info/glance_sync/x", b""),
        ("POST", "/v2/images/x/locations", b'{"url": "rbd://a/b/c/snap"}'),
        ("POST", "/v2/images/x/locations", b'{"url": "http://h/\xc3\xa9", "more": [1, 2]} '),
        ("POST", "/v2/images/x/locations", b"{"),
        ("POST", "/v2/images/x/locations", b"\xff\xfe\x00"),
        ("POST", "/v2/images/x/locations", b""),
    ],
)
def test_all_else_reaches_glance_unchanged(door: Any, method: str, path: str, body: bytes) -> None:
    request = webob.Request.blank(path, method=method, body=body)
    answer = request.get_response(door)
    assert (answer.status, answer.body) == ("299 Fine", b"from Glance")
    assert door._app.got == [(method, path, body)]


@pytest.mark.parametrize("roles", [None, [], ["admin"], ["service_admin"], ["reader", "member"]])
def test_without_the_role_files_stop_here(door: Any, roles: list[str] | None) -> None:
    for method, path in [("POST", "/v2/images/x/locations"), ("GET", locations.INFO)]:
        request = webob.Request.blank(path, method=method)
        if method == "POST":
            request.body = json.dumps({"url": "File:///etc/passwd"}).encode()
        if roles is not None:
            request.context = type("Context", (), {"roles": roles})()
        answer = request.get_response(door)
        assert answer.status_int == 403
        assert answer.json["error"]["message"] == "files are adopted for the role service only"
    assert door._app.got == []


def test_a_body_without_a_length_is_not_read(door: Any) -> None:
    request = webob.Request.blank("/v2/images/x/locations", method="POST")
    request.environ["wsgi.input"] = io.BytesIO(b'{"url": "file:///x"}')
    assert request.get_response(door).status_int == 299
    assert request.environ["wsgi.input"].read() == b'{"url": "file:///x"}'


def test_a_glance_that_does_not_fit_runs_without(caplog: pytest.LogCaptureFixture) -> None:
    """Here there is no Glance at all."""
    glance = Glance()
    assert locations.filter_factory({})(glance) is glance
    assert "adopts no files" in caplog.text
