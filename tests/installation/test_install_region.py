"""Role region on a real Glance: imports from home are let in, and nothing that was set is lost."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable

import pytest

from tests.installation.conftest import Host

# What Glance makes of its configuration, and whether it would fetch each of the URLs.
ASK = """
import json, os, sys
from glance.async_.flows import _internal_plugins
from glance.common import config, utils
from oslo_log import log
log.register_options(config.CONF)
files = [os.path.join(os.path.dirname(sys.argv[1]), "glance-image-import.conf"), sys.argv[1]]
arguments = [word for path in files if os.path.exists(path) for word in ("--config-file", path)]
config.parse_args(args=arguments)
filters = config.CONF.import_filtering_opts
allowed = getattr(utils, "validate_uri", None) or utils.validate_import_uri
print(json.dumps({
    "methods": config.CONF.enabled_import_methods,
    "schemes": filters.allowed_schemes,
    "hosts": filters.allowed_hosts,
    "ports": filters.allowed_ports,
    "fetched": [url for url in sys.argv[2:] if allowed(url)],
}))
"""
DEFAULT_METHODS = ["glance-direct", "web-download", "copy-image"]


def ask(host: Host, *urls: str) -> dict[str, list[str | int]]:
    answer = host.ask_glance(ASK, *urls).splitlines()[-1]
    found = json.loads(answer)
    assert isinstance(found, dict)
    return found


def test_home_is_let_in_and_the_defaults_stay(
    series: str, make_host: Callable[[str], Host]
) -> None:
    host = make_host(series)
    before = host.snapshot()
    url, other = "http://203.0.113.7:9292", "https://198.51.100.1/image"
    assert ask(host, url, other)["fetched"] == [other]
    host.run("region", "--home-url", url, "--no-restart")
    assert ask(host, url, other) == {
        "methods": [*DEFAULT_METHODS, "glance-download"],
        "schemes": ["http", "https"],
        # Empty lets all hosts in: naming the home would shut the others out.
        "hosts": [],
        "ports": [80, 443, 9292],
        "fetched": [url, other],
    }
    installed = host.snapshot()
    assert "Nothing to change" in host.run("region", "--home-url", url, "--no-restart")
    assert host.snapshot() == installed
    host.run("region", "--uninstall", "--no-restart")
    assert host.snapshot() == before


def test_a_home_on_this_machine_is_named(series: str, make_host: Callable[[str], Host]) -> None:
    host = make_host(series)
    url = "http://127.0.0.1:19292/image"
    said = host.run("region", "--home-url", url, "--no-restart")
    assert "warning" in said
    assert ask(host, url)["fetched"] == [url]
    assert ask(host)["hosts"] == ["127.0.0.1"]


def test_lists_that_are_set_are_extended(host: Host) -> None:
    host.set(host.api_conf, "[DEFAULT]\n", "[DEFAULT]\nenabled_import_methods = ['web-download']\n")
    with host.api_conf.open("a") as file:
        file.write(
            "\n[import_filtering_opts]\nallowed_schemes = [https]\nallowed_hosts: [other.example]\n"
            "allowed_ports = [443,\n    8080]\n"
        )
    before = host.snapshot()
    url = "http://203.0.113.7:9292"
    host.run("region", "--home-url", url, "--no-restart")
    found = ask(host, url)
    assert found["methods"] == ["web-download", "glance-download"]
    assert found["schemes"] == ["https", "http"]
    assert found["hosts"] == ["other.example", "203.0.113.7"]
    assert found["ports"] == [443, 8080, 9292]
    assert found["fetched"] == [url]
    host.run("region", "--uninstall", "--no-restart")
    assert host.snapshot() == before


def test_what_glance_image_import_conf_sets_counts(host: Host) -> None:
    extra = host.config_dir / "glance-image-import.conf"
    extra.write_text("[import_filtering_opts]\nallowed_ports = [8080]\n")
    conf = host.api_conf.read_text()
    url = "http://203.0.113.7:9292"
    host.run("region", "--home-url", url, "--no-restart")
    assert ask(host, url)["ports"] == [8080, 9292]
    assert "allowed_ports" not in host.api_conf.read_text().replace(conf, "")
    host.run("region", "--uninstall", "--no-restart")
    assert extra.read_text() == "[import_filtering_opts]\nallowed_ports = [8080]\n"


def test_a_refused_home_is_told_and_nothing_changes(host: Host) -> None:
    with host.api_conf.open("a") as file:
        file.write("[import_filtering_opts]\ndisallowed_hosts = [home.example, '203.0.113.7']\n")
    before = host.snapshot()
    said = host.run("region", "--home-url", "http://203.0.113.7", "--no-restart", expect=1)
    assert "disallowed_hosts" in said
    assert host.snapshot() == before


def test_a_list_without_brackets_is_told_and_nothing_changes(host: Host) -> None:
    host.set(host.api_conf, "[DEFAULT]\n", "[DEFAULT]\nenabled_import_methods = web-download\n")
    before = host.snapshot()
    said = host.run("region", "--home-url", "http://203.0.113.7", "--no-restart", expect=1)
    assert "enabled_import_methods" in said
    assert host.snapshot() == before


def test_uninstall_takes_only_our_items_out_of_an_edited_list(host: Host) -> None:
    host.run("region", "--home-url", "http://203.0.113.7:9292", "--no-restart")
    host.set(host.api_conf, ",glance-download]", ",glance-download,mine]")
    host.set(host.api_conf, "allowed_ports = [80,443,9292]", "allowed_ports = [443, 9292, 8080]")
    host.run("region", "--uninstall", "--no-restart")
    text = host.api_conf.read_text()
    listed = dict(
        line.split(" = ", 1)
        for line in text.splitlines()
        if line.startswith(("enabled_import_methods = ", "allowed_ports = "))
    )
    assert listed["enabled_import_methods"] == "[glance-direct,web-download,copy-image,mine]"
    assert ast.literal_eval(listed["allowed_ports"]) == [443, 8080]


def test_edits_between_two_installs_survive_uninstall(host: Host) -> None:
    host.run("region", "--home-url", "http://203.0.113.7:9292", "--no-restart")
    host.set(host.api_conf, "[80,443,9292]", "[80,443,9292,8080]")
    host.run("region", "--home-url", "http://203.0.113.7:9393", "--no-restart")
    assert ask(host)["ports"] == [80, 443, 9292, 8080, 9393]
    host.run("region", "--uninstall", "--no-restart")
    assert ask(host)["ports"] == [80, 443, 8080]
    assert ask(host)["methods"] == DEFAULT_METHODS


@pytest.mark.parametrize("first", ["home", "region"])
@pytest.mark.parametrize("gone_first", ["home", "region"])
def test_both_roles_on_one_host(host: Host, first: str, gone_first: str) -> None:
    before = host.snapshot()
    more = {"home": [], "region": ["--home-url", "http://127.0.0.1:9292"]}
    second = {"home": "region", "region": "home"}
    for role in (first, second[first]):
        host.run(role, *more[role], "--no-restart")
    host.run("home", *more["home"], "--sync-port", "4321", "--no-restart")
    host.run(gone_first, "--uninstall", "--no-restart")
    assert (",glance-download]" in host.api_conf.read_text()) == (gone_first == "home")
    assert ("sync_server_port = 4321" in host.api_conf.read_text()) == (gone_first == "region")
    host.run(second[gone_first], "--uninstall", "--no-restart")
    assert host.snapshot() == before
