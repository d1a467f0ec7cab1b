# SPDX-License-Identifier: Apache-2.0
"""Secrets of ``glance_store.yaml`` that castellan gets from a key manager: a real Barbican.

With ``--matrix`` only; one that does not answer takes none.
"""

import logging
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from devcloud import Cloud, barbican, configs
from devcloud.identity import Identity
from devcloud.layout import CHECKOUT
from glancesync import conf, wiring
from glancesync.errors import ConfigurationError
from glancesync.schemes import Filesystem, Swift
from tests.databases import scratch
from tests.functional.wait import until

if os.environ.get("CI") != "true":
    pytest.importorskip("castellan", reason="castellan is not installed")

PASSWORD = "hunter2hunter2"
GONE = "00000000-0000-4000-8000-000000000000"
STORES = """\
glances:
  - name: RegionOne
    schemes:
      - name: filesystem
        parameters: {{host: h, login_password: {{castellan: {password}}}}}
      - name: swift
        parameters: {{auth_address: 'http://k', user: 'a:b', key: {{castellan: {key}}}}}
"""


@pytest.fixture(scope="module")
def key_manager(keystone: Cloud) -> Iterator[barbican.Barbican]:
    environment = barbican.ensure(CHECKOUT / ".devcloud" / "venvs")
    login = configs.password_login(keystone.auth_url, "glance", keystone.password("glance"))
    with tempfile.TemporaryDirectory(prefix="glancesync-barbican-", dir=scratch()) as directory:
        server = barbican.Barbican(pathlib.Path(directory), environment, login)
        try:
            server.up()
            admin = Identity(keystone.session(), keystone.auth_url)
            admin.ensure_endpoints("key-manager", "barbican", {keystone.home: server.url})
            yield server
        finally:
            server.down()


class Settings:
    """A glance-sync.conf, and a glance_store.yaml beside it."""

    def __init__(self, keystone: Cloud, directory: pathlib.Path) -> None:
        self._path = directory / "glance-sync.conf"
        self.stores = directory / "glance_store.yaml"
        self.journal = directory / "journal.sqlite"
        self.stores.touch(0o640)
        login = configs.password_login(
            keystone.auth_url, "glance-sync", keystone.password("glance-sync")
        )
        home = keystone.region(keystone.home).url
        self.options = configs.glance_sync(
            port=1, home_url=home, database=self.journal, login=login
        )
        self.options["DEFAULT"]["debug"] = "true"
        self.options["DEFAULT"]["default_log_levels"] = "keystoneauth=DEBUG,castellan=DEBUG"
        self.login = login

    @property
    def path(self) -> str:
        configs.write(self._path, self.options)
        return str(self._path)

    def load(self) -> Any:
        return conf.load(["--config-file", self.path], prog="test", version="1")


@pytest.fixture
def settings(keystone: Cloud, tmp_path: pathlib.Path) -> Settings:
    return Settings(keystone, tmp_path)


@pytest.fixture
def kept(keystone: Cloud, key_manager: barbican.Barbican) -> Iterator[dict[str, str]]:
    """The ids of secrets: one of text, as a person keeps it, and one of bytes."""
    session = keystone.session("glance-sync")
    payloads = {
        "text": {"payload": PASSWORD, "payload_content_type": "text/plain"},
        "bytes": {
            "payload": "aHVudGVyMmh1bnRlcjIK",  # with a line break at the end
            "payload_content_type": "application/octet-stream",
            "payload_content_encoding": "base64",
        },
        "broken": {
            "payload": "/w==",
            "payload_content_type": "application/octet-stream",
            "payload_content_encoding": "base64",
        },
    }
    made = {
        name: session.post(f"{key_manager.url}/v1/secrets", json=what).json()["secret_ref"]
        for name, what in payloads.items()
    }
    yield {name: ref.rpartition("/")[2] for name, ref in made.items()}
    for ref in made.values():
        session.delete(ref)


def given(settings: Settings) -> list[str]:
    file, container = wiring.schemes(settings.load())["RegionOne"]
    assert isinstance(file, Filesystem)
    assert isinstance(container, Swift)
    assert file.login_password is not None
    return [file.login_password.value, container.key.value]


@pytest.mark.matrix
def test_what_glance_sync_may_read(settings: Settings, kept: dict[str, str]) -> None:
    """As its service user: nothing is said of the key manager."""
    settings.stores.write_text(STORES.format(password=kept["text"], key=kept["bytes"]))
    assert given(settings) == [PASSWORD, PASSWORD]


@pytest.mark.matrix
def test_a_login_of_its_own(settings: Settings, kept: dict[str, str], keystone: Cloud) -> None:
    settings.stores.write_text(STORES.format(password=kept["text"], key=kept["text"]))
    login = {name: value for name, value in settings.login.items() if name != "auth_type"}
    settings.options["key_manager"] = {
        "backend": "barbican",
        "auth_type": "keystone_password",
        **login,
    }
    assert given(settings) == [PASSWORD, PASSWORD]
    settings.options["key_manager"]["password"] = "wrong"
    error = refused(settings)
    assert "does not give" in error.reason
    assert "wrong" not in error.reason


def refused(settings: Settings) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        wiring.schemes(settings.load())
    assert PASSWORD not in str(caught.value)
    return caught.value


@pytest.mark.matrix
def test_a_secret_that_is_not_there(settings: Settings, kept: dict[str, str]) -> None:
    settings.stores.write_text(STORES.format(password=kept["text"], key=GONE))
    error = refused(settings)
    assert error.source == f"{settings.stores}:7"
    assert error.option == "glances[0].schemes[1].parameters.key"
    assert error.reason == f"the key manager has no secret {GONE}"


@pytest.mark.matrix
def test_bytes_that_are_no_password(settings: Settings, kept: dict[str, str]) -> None:
    settings.stores.write_text(STORES.format(password=kept["broken"], key=kept["text"]))
    assert refused(settings).reason == f"the key manager's {kept['broken']} is not UTF-8"


@pytest.mark.parametrize(
    "options",
    [
        {"barbican": {"barbican_endpoint": "http://127.0.0.1:9"}},
        {"key_manager": {"backend": "vault"}, "vault": {"vault_url": "http://127.0.0.1:9"}},
        {"key_manager": {"backend": "nonsense"}},
        {"key_manager": {"auth_type": "keystone_password"}},
    ],
    ids=["barbican", "vault", "unknown", "half"],
)
def test_a_key_manager_that_does_not_answer(
    settings: Settings, options: dict[str, dict[str, str]]
) -> None:
    settings.options.update(options)
    settings.stores.write_text(STORES.format(password=GONE, key=GONE))
    error = refused(settings)
    assert f"the key manager does not give {GONE}: " in error.reason
    assert error.source == f"{settings.stores}:5"


@pytest.mark.matrix
def test_each_secret_is_asked_for_once(
    settings: Settings, kept: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    settings.stores.write_text(STORES.format(password=kept["text"], key=kept["text"]))
    with caplog.at_level(logging.DEBUG, "barbicanclient"):
        given(settings)
    assert caplog.text.count(f"Secret href: {kept['text']}") == 1


@pytest.mark.matrix
def test_no_secret_is_logged_kept_or_in_an_argument(
    settings: Settings, kept: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """P6: of a whole glance-sync that writes all it can to its log."""
    settings.stores.write_text(STORES.format(password=kept["text"], key=kept["bytes"]))
    log = tmp_path / "log"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    manage = [sys.executable, "-P", "-m", "glancesync.cmd.manage", "--config-file", settings.path]
    done = [
        subprocess.run([*manage, *what], env=environment, capture_output=True, check=False)
        for what in (["db_sync"], ["doctor"])
    ]
    assert done[0].returncode == 0, done[0].stderr
    argv = [sys.executable, "-P", "-m", "glancesync.cmd.sync", "--config-file", settings.path]
    with log.open("wb") as said:
        role = ["--role", "worker", "--debug"]
        process = subprocess.Popen([*argv, *role], env=environment, stdout=said, stderr=said)
    try:
        until(lambda: b"is up (role worker" in log.read_bytes(), 60, "glance-sync is up")
        words = pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes()
        words += pathlib.Path(f"/proc/{process.pid}/environ").read_bytes()
    finally:
        process.terminate()
        process.wait(30)
    assert kept["text"].encode() in log.read_bytes(), "what was talked is in the log"
    shown = [words, log.read_bytes(), *(one.stdout + one.stderr for one in done)]
    shown += [path.read_bytes() for path in tmp_path.glob("journal.sqlite*")]
    assert len(shown) > 4
    assert not any(PASSWORD.encode() in text for text in shown)
