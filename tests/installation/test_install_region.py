# SPDX-License-Identifier: Apache-2.0
"""Role region on a real Glance: imports from home are let in, and nothing that was set is lost."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable

import pytest

from tests.installation.conftest import CHECKOUT, Host, run

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
# Loads the application from the paste file exactly as Glance does, and looks for the door in it.
LOAD = """
import sys
import glance.gateway, glance_store
from glance.common import config
from oslo_log import log
log.register_options(config.CONF)
config.parse_args(args=["--config-file", sys.argv[1]])
glance_store.register_opts(config.CONF)
names, apps = set(), [config.load_paste_app("glance-api")]
while apps:
    app = apps.pop()
    names.add(type(app).__name__)
    below = [getattr(app, name, None) for name in ("application", "app", "_app")]
    below += getattr(app, "applications", None) and [one for _, one in app.applications] or []
    apps += [one for one in below if callable(one)]
print("door", "Door" in names)
"""
HOME = ["--home-url", "http://203.0.113.7:9292", "--no-restart"]
KEYSTONE = ["keystone", "keystone+caching", "keystone+cachemanagement"]
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
    relays = "http://203.0.113.8:9393,https://203.0.113.9"
    host.run("region", "--home-url", url, "--relay-urls", relays, "--no-restart")
    found = ask(host, url, *relays.split(","))
    assert (found["ports"], found["hosts"]) == ([80, 443, 9292, 9393], [])
    assert found["fetched"] == [url, *relays.split(",")]
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


def pipelines(host: Host) -> dict[str, list[str]]:
    lines = host.paste_ini.read_text().splitlines()
    pairs = (line.split(" = ") for line in lines if " = cors " in line)
    return {name: value.split() for name, value in pairs}


def test_the_door_gets_in_and_works(series: str, make_host: Callable[[str], Host]) -> None:
    host = make_host(series)
    host.set(host.api_conf, "[paste_deploy]\n", "[paste_deploy]\nflavor = keystone\n")
    before, stock = host.snapshot(), pipelines(host)
    assert "door False" in host.ask_glance(LOAD)
    host.run("region", *HOME)
    after = pipelines(host)
    assert [name for name in after if after[name] != stock[name]] == KEYSTONE
    for name in KEYSTONE:
        place = stock[name].index("context") + 1
        assert after[name] == [*stock[name][:place], "glance_sync_locations", *stock[name][place:]]
    assert "door True" in host.ask_glance(LOAD)
    host.run("region", "--uninstall", "--no-restart")
    assert "door False" in host.ask_glance(LOAD)
    assert host.snapshot() == before


def test_the_door_can_be_left_out(host: Host) -> None:
    before, paste = host.snapshot(), host.paste_ini.read_text()
    host.run("region", *HOME, "--no-file-locations")
    without = host.snapshot()
    assert host.paste_ini.read_text() == paste
    assert not host.package.exists()
    host.run("region", *HOME)
    assert (host.package / "locations.py").exists()
    assert "glance_sync_locations" in host.paste_ini.read_text()
    said = host.run("region", *HOME, "--no-file-locations", "--dry-run")
    assert f"Would remove {host.package}" in said
    assert "-[filter:glance_sync_locations]" in said
    assert host.package.exists()
    host.run("region", *HOME, "--no-file-locations")
    assert host.paste_ini.read_text() == paste
    assert not host.package.exists()
    assert "Nothing to change" in host.run("region", *HOME, "--no-file-locations")
    host.run("region", *HOME)
    assert host.package.exists()
    host.run("region", "--uninstall", "--no-restart")
    assert host.snapshot() == before
    assert without != before


def test_without_a_glance_to_find_the_door_is_left_out_only_if_told(host: Host) -> None:
    before = host.snapshot()
    host.paste_ini.rename(host.root / "paste")
    said = host.run("region", *HOME, expect=1)
    assert "glance-api-paste.ini" in said
    host.run("region", *HOME, "--no-file-locations")
    host.run("region", "--uninstall", "--no-restart")
    (host.root / "paste").rename(host.paste_ini)
    assert host.snapshot() == before


def test_a_failed_restart_takes_the_door_out_again(host: Host) -> None:
    before = host.snapshot()
    said = host.run("region", *HOME[:2], "--restart-command", "false", expect=1)
    assert "put back" in said
    assert host.snapshot() == before


def test_a_paste_file_edited_since_keeps_its_edits(host: Host) -> None:
    host.run("region", *HOME)
    host.set(host.paste_ini, "osprofiler authtoken context", "authtoken context mine")
    host.run("region", *HOME)
    keystone = pipelines(host)["keystone"]
    assert keystone[-4:] == ["context", "mine", "glance_sync_locations", "rootapp"]
    host.run("region", "--uninstall", "--no-restart")
    text = host.paste_ini.read_text()
    assert "authtoken context mine" in text
    assert "glance_sync" not in text


def test_home_and_region_that_share_a_python(host: Host) -> None:
    before = host.snapshot()
    other = host.root / "etc other"
    run(["cp", "-a", str(host.config_dir), str(other)])
    elsewhere = [str(CHECKOUT / "installation" / "install.sh"), "region"]
    elsewhere += ["--config-dir", str(other)]
    run([*elsewhere, *HOME, "--python", str(host.python)])
    host.run("home", "--no-restart")
    host.run("home", "--uninstall", "--no-restart")
    assert host.package.exists()
    host.run("home", "--no-restart")
    run([*elsewhere, *HOME, "--no-file-locations"])
    assert host.package.exists()
    host.run("home", "--uninstall", "--no-restart")
    assert not host.package.exists()
    run([*elsewhere, "--uninstall", "--no-restart"])
    run(["rm", "-r", str(other)])
    assert host.snapshot() == before


@pytest.mark.parametrize("first", ["home", "region"])
@pytest.mark.parametrize("gone_first", ["home", "region"])
def test_both_roles_on_one_host(host: Host, first: str, gone_first: str) -> None:
    before = host.snapshot()
    more = {"home": [], "region": ["--home-url", "http://127.0.0.1:9292"]}
    filters = {"home": "glance_sync", "region": "glance_sync_locations"}
    second = {"home": "region", "region": "home"}
    for role in (first, second[first]):
        host.run(role, *more[role], "--no-restart")
    assert pipelines(host)["keystone"].index("context") == 5
    assert set(pipelines(host)["keystone"][6:8]) == set(filters.values())
    both = host.paste_ini.read_text()
    for role in (first, second[first]):
        assert "Nothing to change" in host.run(role, *more[role], "--no-restart")
    host.run("home", *more["home"], "--sync-port", "4321", "--no-restart")
    assert host.paste_ini.read_text() == both
    host.run(gone_first, "--uninstall", "--no-restart")
    assert (",glance-download]" in host.api_conf.read_text()) == (gone_first == "home")
    assert ("sync_server_port = 4321" in host.api_conf.read_text()) == (gone_first == "region")
    left = pipelines(host)["keystone"]
    assert [name for name in left if name in filters.values()] == [filters[second[gone_first]]]
    assert host.package.exists()
    host.run(second[gone_first], "--uninstall", "--no-restart")
    assert host.snapshot() == before
