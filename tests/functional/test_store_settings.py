# SPDX-License-Identifier: Apache-2.0
"""``glance_store.yaml`` in the programs: refused at start, reloaded, looked at by the doctor."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcloud import Cloud
from tests.functional.estate import Estate
from tests.functional.reconfigured import reload
from tests.functional.test_daemon import config, program

PASSWORD = "hunter2hunter2"
BAD = f"""\
glances:
  - name: RegionTwo
    schemes:
      - name: filesystem
        parameters:
          host: 192.0.2.1
          login_password: {PASSWORD}
          port: ssh
"""
PORT = ":8: glances[0].schemes[0].parameters.port: must be a whole number from 1 to 65535"


def configured(cloud: Cloud, tmp_path: Path, text: str | None) -> tuple[str, Path]:
    """A copy of glance-sync.conf that names a file beside it, and that file."""
    named = "glance_store_cfg_file = stores.yaml"
    path = config(cloud, tmp_path, (r"^glance_store_cfg_file ?=.*", named))
    stores = tmp_path / "stores.yaml"
    if text is not None:
        stores.touch(0o640)
        stores.write_text(text)
    return path, stores


@pytest.mark.parametrize(
    ("role", "text", "said"),
    [
        *((role, BAD, PORT) for role in ("all", "worker", "api")),
        ("all", None, ": the file: can't be read: No such file or directory"),
        ("all", "glances: []\nglances: []\n", ":2: glances: is here twice"),
    ],
)
def test_a_file_that_can_not_be_used_is_refused_at_start(
    cloud: Cloud, tmp_path: Path, text: str | None, said: str, role: str
) -> None:
    path, stores = configured(cloud, tmp_path, text)
    done = program(cloud, "glance-sync", "--config-file", path, "--role", role, "--debug")
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().splitlines()[-1] == f"glance-sync: {stores}{said}"
    assert PASSWORD not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def estate(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    yield estate
    estate.clear()


@pytest.fixture
def stores(cloud: Cloud) -> Iterator[Path]:
    """A file that the running glance-sync reads from its next reload on."""
    stores = cloud.sync_config.parent / "stores.yaml"
    before = cloud.sync_config.read_text()
    stores.touch(0o640)
    named, count = re.subn(r"(?m)^(glance_store_cfg_file ?= ?).*", r"\1stores.yaml", before)
    assert count == 1
    cloud.sync_config.write_text(named)
    yield stores
    cloud.sync_config.write_text(before)
    reload(cloud)
    stores.unlink()


def test_a_reload_reads_it_again_and_refuses_what_can_not_be(cloud: Cloud, stores: Path) -> None:
    stores.write_text("glances: []\n")
    assert "changed: glance_store_cfg_file" in reload(cloud)
    stores.write_text(BAD)
    said = reload(cloud)
    assert f"was not reloaded: {stores}:8: glances[0].schemes[0].parameters.port: must" in said
    assert PASSWORD not in said
    stores.write_text(BAD.replace("port: ssh", "port: 22"))
    said = reload(cloud)
    assert "configuration reloaded" in said
    assert PASSWORD not in said


def test_the_doctor_compares_it_with_the_cloud(
    cloud: Cloud, estate: Estate, tmp_path: Path
) -> None:
    image = estate.create()
    estate.follows(image)
    home, other = (cloud.region(name) for name in cloud.names[:2])
    text = f"""\
glances:
  - name: {home.name}
    schemes: [{{name: filesystem, parameters: {{host: localhost}}}}]
  - name: {other.name}
    schemes:
      - name: filesystem
        parameters: {{host: localhost, store: lokal, login_password: {PASSWORD}}}
  - name: Atlantis
    schemes: [{{name: rbd, parameters: {{}}}}]
"""
    path, stores = configured(cloud, tmp_path, text)

    def doctor() -> str:
        done = program(cloud, "glance-sync-manage", "--config-file", path, "doctor")
        assert PASSWORD not in done.stdout + done.stderr
        assert done.returncode == int("FAIL" in done.stdout)
        return done.stdout

    said = doctor()
    assert f"ok    option glance_store_cfg_file: {stores} tells of 3 regions" in said
    assert f"FAIL  {stores}:8: Keystone lists no region Atlantis with an image endpoint" in said
    assert f"FAIL  {stores}:6: {other.name} has no store lokal; it has local" in said
    assert f"ok    {home.name}: {home.datadir} can be read as " in said
    assert f"ok    {home.name}: image {image} is at {home.datadir / image}\n" in said
    stores.write_text(text.partition("  - name: Atlantis")[0].replace("lokal", "local"))
    assert f"ok    {other.name}: images go into {other.datadir}, which can be" in doctor()
    stores.write_text("glances: [}")
    said = doctor()
    assert f"FAIL  option glance_store_cfg_file: {stores}:1: the file: is not YAML" in said
