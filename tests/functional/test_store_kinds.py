# SPDX-License-Identifier: Apache-2.0
"""Glances whose file stores are set up in other ways than usual, and what is said of them."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from devcloud import Cloud
from tests.functional.estate import Estate, random_bytes, sha512
from tests.functional.reconfigured import region_with, sync_with
from tests.functional.test_cli import Cli
from tests.functional.wait import until

SIZE = 1_000_003


@pytest.fixture
def estate(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    yield estate
    estate.clear()


@pytest.fixture
def cli(cloud: Cloud) -> Cli:
    return Cli(cloud)


@contextlib.contextmanager
def told(estate: Estate, parameters: Mapping[str, Mapping[str, Any]]) -> Iterator[Path]:
    """glance-sync has the transport ``filesystem`` only, and a file with these parameters."""
    path = estate.cloud.sync_config.with_name("kinds.yaml")
    written = [
        {
            "name": region,
            "schemes": [{"name": "filesystem", "parameters": {"host": "localhost", **more}}],
        }
        for region, more in parameters.items()
    ]
    path.write_text(json.dumps({"glances": written}))
    with sync_with(estate, transports="filesystem", glance_store_cfg_file=str(path)):
        yield path
    path.unlink()


def route(cli: Cli, image: str, region: str) -> dict[str, Any]:
    (only,) = cli.json("route", image, region)
    found: dict[str, Any] = only
    return found


@pytest.mark.parametrize("side", [pytest.param("home", marks=pytest.mark.matrix), "target"])
def test_a_glance_with_one_store_that_has_no_name(
    estate: Estate, cli: Cli, tmp_path: Path, side: str
) -> None:
    region = estate.cloud.home if side == "home" else estate.others[0]
    datadir = tmp_path / "images"
    datadir.mkdir()
    options = {
        "enabled_backends": "",
        "glance_store__stores": "file",
        "glance_store__default_store": "file",
        "glance_store__filesystem_store_datadir": str(datadir),
    }
    content = random_bytes(SIZE)
    parameters: dict[str, dict[str, Any]] = {name: {} for name in estate.cloud.names}
    with region_with(estate, region, **options), told(estate, parameters):
        image = estate.create(content)
        estate.follows(image)
        assert (datadir / image).read_bytes() == content
        assert sha512(estate.bytes_of(estate.others[0], image)) == sha512(content)
        shown = route(cli, image, estate.others[0])
        assert shown["Fits"] is True
        assert shown["From" if side == "home" else "To"] == str(datadir / image)
        estate.clear()


def test_one_of_several_stores_by_its_id(estate: Estate, cli: Cli, tmp_path: Path) -> None:
    region = estate.others[0]
    for name in ("slow", "fast"):
        (tmp_path / name).mkdir()
    options = {
        "enabled_backends": "slow:file,fast:file",
        "glance_store__default_backend": "fast",
        "slow__filesystem_store_datadir": str(tmp_path / "slow"),
        "fast__filesystem_store_datadir": str(tmp_path / "fast"),
    }
    content = random_bytes(SIZE)
    home = estate.cloud.home
    with region_with(estate, region, **options):
        with told(estate, {home: {}, region: {"store": "fast"}}):
            image = estate.create(content)
            estate.follows(image, [region])
            assert (tmp_path / "fast" / image).read_bytes() == content
            assert estate.glances[region].images.get(image)["stores"] == "fast"
        with told(estate, {home: {}, region: {"store": "slow"}}):
            said = route(cli, image, region)
            assert said["Fits"] is False
            assert "no scheme for its store fast of type file" in said["Why not"]
        with told(estate, {home: {}, region: {}}):
            assert "must say which of them it is for" in route(cli, image, region)["Why not"]
        estate.clear()


@pytest.mark.parametrize("side", [pytest.param("home", marks=pytest.mark.matrix), "target"])
def test_a_directory_that_glance_sees_under_another_name(
    estate: Estate, cli: Cli, tmp_path: Path, side: str
) -> None:
    region = estate.cloud.home if side == "home" else estate.others[0]
    ours = tmp_path / 'it\'s "ours" $(id) `id`; 100%25 \\& *'
    ours.mkdir()
    seen = tmp_path / "glance's"
    seen.symlink_to(ours)
    content = random_bytes(SIZE)
    parameters: dict[str, dict[str, Any]] = {name: {} for name in estate.cloud.names}
    parameters[region]["datadir"] = str(ours)
    options = {"local__filesystem_store_datadir": str(seen)}
    with region_with(estate, region, **options), told(estate, parameters):
        image = estate.create(content)
        estate.follows(image)
        assert sha512(estate.bytes_of(estate.others[0], image)) == sha512(content)
        shown = route(cli, image, estate.others[0])
        assert shown["From" if side == "home" else "To"] == str(ours / image)
        until(lambda: (ours / image).read_bytes() == content, 5, "the file is there")
        estate.clear()
