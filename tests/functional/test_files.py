# SPDX-License-Identifier: Apache-2.0
"""The transport ``filesystem`` between real Glances: what it does, and what takes its place."""

import contextlib
import hashlib
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from devcloud import Cloud
from tests.functional.estate import Estate, random_bytes, sha512
from tests.functional.reconfigured import sync_with
from tests.functional.test_cli import Cli
from tests.functional.wait import until

SIZE = 3_000_017


@pytest.fixture(scope="module")
def by_files(cloud: Cloud) -> Iterator[None]:
    with sync_with(Estate(cloud), transports="filesystem,upload"):
        yield


@pytest.fixture
def estate(cloud: Cloud, by_files: None) -> Iterator[Estate]:
    estate = Estate(cloud)
    yield estate
    estate.clear()


@pytest.fixture
def cli(cloud: Cloud) -> Cli:
    return Cli(cloud)


def ways(cli: Cli, image: str) -> dict[str, str]:
    """Region -> the transport that brought the replica there."""
    shown = cli.json("show", image)
    return {one["region"]: one["transport"] for one in shown["replicas"]}


def history(cli: Cli, image: str) -> list[dict[str, Any]]:
    return list(reversed(cli.json("history", image)))


def files(estate: Estate, region: str) -> set[str]:
    return set(os.listdir(estate.cloud.region(region).datadir))


def hidden(estate: Estate, region: str, image: str) -> set[str]:
    return {name for name in files(estate, region) if name.startswith(f".{image}")}


def test_files_are_copied_and_adopted(estate: Estate, cli: Cli) -> None:
    content = random_bytes(SIZE)
    image = estate.create(content, tags=["t"], flavour="vanilla")
    estate.follows(image)
    for region in estate.others:
        assert sha512(estate.bytes_of(region, image)) == sha512(content)
        shown = estate.glances[region].images.get(image)
        assert shown["checksum"] == hashlib.md5(content).hexdigest()
        assert shown["os_hash_value"] == sha512(content)
        assert shown["size"] == SIZE
        assert files(estate, region) >= {image}
        until(lambda region=region: not hidden(estate, region, image), 10, "no hidden file is left")
    until(lambda: set(ways(cli, image).values()) == {"filesystem"}, 20, "the record of the way")


def test_a_replica_that_is_deleted_takes_its_own_file_along(estate: Estate) -> None:
    image = estate.create(random_bytes(SIZE))
    estate.follows(image)
    region = estate.others[0]
    estate.glances[region].images.delete(image)
    assert image not in files(estate, region)
    assert image in files(estate, estate.cloud.home)
    assert image in files(estate, estate.others[1])
    estate.home.images.delete(image)
    estate.gone(image)
    assert image not in files(estate, estate.others[1])


def test_the_ways_are_explained(estate: Estate, cli: Cli) -> None:
    image = estate.create(random_bytes(100))
    estate.follows(image)
    region = estate.others[0]
    (first, second) = cli.json("route", image, region)
    home = estate.cloud.region(estate.cloud.home).datadir
    assert first["Transport"] == "filesystem"
    assert first["Fits"] is True
    assert first["From"] == str(home / image)
    assert first["To"] == str(estate.cloud.region(region).datadir / image)
    assert (second["Transport"], second["Fits"]) == ("upload", True)


@contextlib.contextmanager
def moved_away(path: pathlib.Path) -> Iterator[None]:
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


@contextlib.contextmanager
def told(estate: Estate, datadirs: dict[str, str]) -> Iterator[None]:
    """A glance_store.yaml that says of some regions that their store is in another directory."""
    stores = estate.cloud.sync_config.with_name("elsewhere.yaml")
    written = []
    for name in estate.cloud.names:
        more = {"datadir": datadirs[name]} if name in datadirs else {}
        scheme = {"name": "filesystem", "parameters": {"host": "localhost", **more}}
        written.append({"name": name, "schemes": [scheme]})
    stores.write_text(json.dumps({"glances": written}))
    with sync_with(estate, transports="filesystem,upload", glance_store_cfg_file=str(stores)):
        yield


def goes_by_upload(estate: Estate, cli: Cli, said: dict[str, tuple[str, str]]) -> None:
    """An image does, to the regions, and the event log has the two words why."""
    content = random_bytes(SIZE)
    image = estate.create(content)
    estate.follows(image)
    for region in said:
        assert sha512(estate.bytes_of(region, image)) == sha512(content)
    until(lambda: set(ways(cli, image).values()) == {"upload"}, 20, "the record of the way")
    blocked = [one for one in history(cli, image) if one["What"] == "blocked"]
    assert {one["Region"] for one in blocked} == set(said)
    for one in blocked:
        path, why = said[one["Region"]]
        assert path in one["Detail"]
        assert why in one["Detail"]


def test_where_the_files_can_not_be_read_the_next_way_is_taken(estate: Estate, cli: Cli) -> None:
    with told(estate, {estate.cloud.home: "/nowhere"}):
        why = "'/nowhere/", "No such file or directory"
        goes_by_upload(estate, cli, dict.fromkeys(estate.others, why))


def test_where_no_file_can_be_put_the_next_way_is_taken(
    estate: Estate, cli: Cli, tmp_path: pathlib.Path
) -> None:
    first, second = estate.others
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)]
    if subprocess.run(command).returncode:
        pytest.skip("only root mounts a small file system")
    try:
        with told(estate, {first: str(tmp_path / "missing"), second: str(small)}):
            missing = str(tmp_path / "missing"), "No such file or directory"
            full = str(small), "No space left"
            goes_by_upload(estate, cli, {first: missing, second: full})
            assert os.listdir(small) == []
            subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
            goes_by_upload(estate, cli, {first: missing, second: (str(small), "Read-only")})
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_where_another_file_is_nothing_is_lost(estate: Estate, cli: Cli) -> None:
    """Of another size, as of an upload that was killed with its Glance."""
    region, content = estate.others[0], random_bytes(SIZE)
    with sync_with(estate, sync_strategy="None"):
        image = estate.create(content)
    path = estate.cloud.region(region).datadir / image
    path.write_bytes(b"somebody's")
    cli("run", image)

    failed = estate.reaches(image, region, "failed", "stalled")  # nor does Glance write there
    assert f"'{path}' is another file, and is left alone" in failed["last_error"]
    blocked = [one["Detail"] for one in history(cli, image) if one["What"] == "blocked"]
    assert f"filesystem: '{path}' is another file, and is left alone" in blocked
    assert path.read_bytes() == b"somebody's"
    estate.follows(image, estate.others[1:])
    path.unlink()
    cli("run", image)
    estate.follows(image)
    assert sha512(estate.bytes_of(region, image)) == sha512(content)


def test_an_active_image_whose_file_is_gone_at_home(estate: Estate, cli: Cli) -> None:
    region, content = estate.others[0], random_bytes(SIZE)
    with sync_with(estate, sync_strategy="None"):
        image = estate.create(content)
    path = estate.cloud.region(estate.cloud.home).datadir / image
    aside = path.with_name(f"{image}.aside")
    path.rename(aside)
    cli("run", image)

    def said() -> str:
        shown = cli.json("show", image)["replicas"]
        return "; ".join(one["last_error"] or "" for one in shown)

    until(lambda: image in said(), 30, "word about it")
    blocked = [one["Detail"] for one in history(cli, image) if one["What"] == "blocked"]
    assert any(f"'{path}' could not be opened: No such file" in one for one in blocked)
    for name in estate.others:
        # While it is tried again Glance says "saving" for a moment.
        glance = estate.glances[name].images
        until(lambda glance=glance: glance.get(image)["status"] == "queued", 30, "it is queued")
        assert image not in files(estate, name)
        assert not hidden(estate, name, image)
    aside.rename(path)
    cli("run", image)
    estate.follows(image)
    assert sha512(estate.bytes_of(region, image)) == sha512(content)


def test_rotten_bytes_at_home_never_become_a_replica(estate: Estate, cli: Cli) -> None:
    region = estate.others[0]
    with sync_with(estate, transports="filesystem", sync_strategy="None"):
        content = random_bytes(SIZE)
        image = estate.create(content)
        path = estate.cloud.region(estate.cloud.home).datadir / image
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with sync_with(estate, transports="filesystem"):
        cli("run", image)

        def said() -> str | None:
            shown = cli.json("show", image)["replicas"]
            return next((one["last_error"] for one in shown if one["region"] == region), None)

        until(said, 30, "word about it")
        assert "its data is wrong" in (said() or "")
        assert image not in files(estate, region)
        found = estate.glances[region].images.get(image)
        assert found["status"] == "queued"
        path.write_bytes(content)
        cli("run", image)
        estate.follows(image)
        assert sha512(estate.bytes_of(region, image)) == sha512(content)


def test_a_stock_glance_gets_the_image_through_its_api(estate: Estate, cli: Cli) -> None:
    region = estate.others[0]
    paste = estate.cloud.region(region).config_dir / "glance-api-paste.ini"
    before = paste.read_text()
    assert "glance_sync_locations" in before
    paste.write_text(before.replace(" glance_sync_locations", ""))
    estate.cloud.restart(f"glance-{region}")
    try:
        image = estate.create(random_bytes(SIZE))
        estate.follows(image)
        assert ways(cli, image) == {region: "upload", estate.others[1]: "filesystem"}
        first = cli.json("route", image, region)[0]
        assert first["Fits"] is False
        assert "does not adopt files" in first["Why not"]
    finally:
        paste.write_text(before)
        estate.cloud.restart(f"glance-{region}")
