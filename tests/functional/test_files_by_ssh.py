# SPDX-License-Identifier: Apache-2.0
"""The transports ``rsync`` and ``scp`` between real Glances, over real sshds."""

import contextlib
from collections.abc import Iterator, Mapping

import pytest

from devcloud import Cloud
from tests.functional.estate import Estate, random_bytes, sha512
from tests.functional.reconfigured import sync_with
from tests.functional.ssh_stores import store_file
from tests.functional.test_cli import Cli
from tests.functional.test_files import files, history, ways
from tests.functional.wait import until
from tests.sshd import Host, Hosts, lets_itself_in

SIZE = 3_000_017


@pytest.fixture
def estate(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    yield estate
    estate.clear()


@pytest.fixture
def cli(cloud: Cloud) -> Cli:
    return Cli(cloud)


@contextlib.contextmanager
def stores(
    estate: Estate,
    transports: str,
    hosts: dict[str, Host],
    options: Mapping[str, str] | None = None,
    **more: str,
) -> Iterator[None]:
    """The stores of these regions are on these hosts, those of others here.

    :param options: of glance-sync
    :param more: parameters that all hosts have instead of their own
    """
    path = store_file(estate.cloud, hosts, **more)
    options = {"transports": transports, "glance_store_cfg_file": str(path), **(options or {})}
    with sync_with(estate, **options):
        yield


@pytest.mark.parametrize("way", ["rsync", pytest.param("scp", marks=pytest.mark.matrix)])
def test_files_go_to_hosts_and_are_adopted(
    way: str, estate: Estate, cli: Cli, two_hosts: tuple[Host, Host]
) -> None:
    with stores(estate, way, dict(zip(estate.others, two_hosts, strict=True))):
        content = random_bytes(SIZE)
        image = estate.create(content, tags=["t"])
        estate.follows(image)
        until(lambda: set(ways(cli, image).values()) == {way}, 20, "the record of the way")
        for region in estate.others:
            assert sha512(estate.bytes_of(region, image)) == sha512(content)
            assert estate.glances[region].images.get(image)["os_hash_value"] == sha512(content)
            assert not any(name.startswith(f".{image}") for name in files(estate, region))
        route = cli.json("route", image, estate.others[0])
        assert route[0]["Fits"] is True


def test_where_rsync_can_not_relay_scp_does(
    estate: Estate, cli: Cli, two_hosts: tuple[Host, Host]
) -> None:
    home, region = estate.cloud.home, estate.others[0]
    with stores(estate, "rsync,scp", {home: two_hosts[0], region: two_hosts[1]}):
        content = random_bytes(SIZE)
        image = estate.create(content)
        estate.follows(image)
        assert sha512(estate.bytes_of(region, image)) == sha512(content)
        until(lambda: ways(cli, image).get(region) == "scp", 20, "the record of the way")
        blocked = [one for one in history(cli, image) if one["What"] == "blocked"]
        assert any("does not let itself into" in one["Detail"] for one in blocked)


def test_a_host_with_another_key_is_left_alone(
    estate: Estate, cli: Cli, two_hosts: tuple[Host, Host]
) -> None:
    region = estate.others[0]
    hosts = {region: two_hosts[0]}
    with stores(estate, "rsync,scp,upload", hosts, host_key=two_hosts[1].host_key):
        content = random_bytes(SIZE)
        image = estate.create(content)
        estate.follows(image)
        assert sha512(estate.bytes_of(region, image)) == sha512(content)
        until(lambda: ways(cli, image).get(region) == "upload", 20, "the record of the way")
        blocked = [one for one in history(cli, image) if one["What"] == "blocked"]
        said = [one["Detail"] for one in blocked if one["Region"] == region]
        assert len(said) == 2
        assert all("is not the one that is known" in one for one in said)


@pytest.mark.parametrize("way", ["scp", pytest.param("rsync", marks=pytest.mark.matrix)])
def test_a_region_serves_the_next_host_to_host_or_home_does(
    way: str, estate: Estate, cli: Cli, hosts: Hosts
) -> None:
    """Home's store is here, so what it serves comes from here; the rest does not pass by."""
    pair = (hosts.start(), hosts.start())
    with stores(
        estate, way, dict(zip(estate.others, pair, strict=True)), {"source_transfers": "1"}
    ):
        for trust in (False, True):
            if trust:
                lets_itself_in(*pair)
                lets_itself_in(*reversed(pair))
            content = random_bytes(SIZE)
            image = estate.create(content)
            estate.follows(image)
            sources = sorted(
                str(estate.reaches(image, name, "in_sync")["source"]) for name in estate.others
            )
            relays = [name for name in sources if name != estate.cloud.home]
            assert len(relays) == trust, sources
            for region in estate.others:
                assert sha512(estate.bytes_of(region, image)) == sha512(content)
            blocked = [one["Detail"] for one in history(cli, image) if one["What"] == "blocked"]
            assert len(blocked) == (not trust), blocked
            assert all("does not let itself into" in one for one in blocked)
