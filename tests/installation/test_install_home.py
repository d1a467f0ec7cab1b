# SPDX-License-Identifier: Apache-2.0
"""Role home on a real Glance: the hook gets in, runs, and goes without a trace."""

from __future__ import annotations

import configparser
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.installation.conftest import CHECKOUT, Host, run, snapshot

# Loads the application from the paste file exactly as Glance does, and says whether we are in.
LOAD = """
import sys
from glance.common import config
from glance.gateway import Gateway
from oslo_log import log
log.register_options(config.CONF)
config.parse_args(args=["--config-file", sys.argv[1]])
app = config.load_paste_app("glance-api")
print("hooked", getattr(Gateway.get_repo, "glance_sync", False))
"""


def pipelines(path: Path) -> dict[str, list[str]]:
    pairs = (line.split(" = ") for line in path.read_text().splitlines() if " = cors " in line)
    return {name: value.split() for name, value in pairs}


def test_every_keystone_pipeline_gets_the_filter(
    series: str, make_host: Callable[[str], Host]
) -> None:
    host = make_host(series)
    before = pipelines(host.paste_ini)
    host.run("home", "--no-restart")
    after = pipelines(host.paste_ini)
    hooked = [name for name in after if after[name] != before[name]]
    assert hooked == ["keystone", "keystone+caching", "keystone+cachemanagement"]
    for name in hooked:
        place = before[name].index("context") + 1
        assert after[name] == [*before[name][:place], "glance_sync", *before[name][place:]]


def test_glance_runs_with_the_hook(series: str, make_host: Callable[[str], Host]) -> None:
    host = make_host(series)
    host.set(host.api_conf, "[paste_deploy]\n", "[paste_deploy]\nflavor = keystone\n")
    assert "hooked False" in host.ask_glance(LOAD)
    said = host.run("home", "--sync-host", "sync.example.org", "--sync-port=9696", "--no-restart")
    assert "flavor" not in said
    assert "hooked True" in host.ask_glance(LOAD)
    text = host.api_conf.read_text()
    assert "[DEFAULT]\nsync_enabled = True\nsync_server_host = sync.example.org\n" in text
    assert "\nsync_server_port = 9696\n" in text


def test_a_second_run_changes_nothing(host: Host) -> None:
    host.run("home", "--no-restart")
    installed = host.snapshot()
    said = host.run("home", "--restart-command", "false")
    assert "Nothing to change" in said
    assert host.snapshot() == installed


def test_what_is_set_stays_and_what_is_given_counts(host: Host) -> None:
    host.set(
        host.api_conf, "[DEFAULT]\n", "[DEFAULT]\nsync_enabled = yes\nsync_server_port: 1234\n"
    )
    host.run("home", "--no-restart")
    text = host.api_conf.read_text()
    assert "\nsync_enabled = yes\nsync_server_port: 1234\n" in text
    host.run("home", "--sync-port", "4321", "--no-restart")
    assert host.api_conf.read_text() == text.replace("1234", "4321")


def test_dry_run_shows_the_change_and_touches_nothing(host: Host) -> None:
    # Right where our lines go in: a secret that a diff with context would show.
    host.set(host.api_conf, "[DEFAULT]\n", "[DEFAULT]\ntransport_url = rabbit://u:hidden@h/\n")
    before = host.snapshot()
    said = host.run("home", "--dry-run")
    assert "+sync_enabled = True" in said
    assert "context glance_sync rootapp" in said
    assert "hidden" not in said
    assert host.snapshot() == before
    host.run("home", "--no-restart")
    installed = host.snapshot()
    assert "-sync_enabled = True" in host.run("home", "--uninstall", "--dry-run")
    assert host.snapshot() == installed


def test_uninstall_leaves_no_trace(series: str, make_host: Callable[[str], Host]) -> None:
    host = make_host(series)
    host.api_conf.chmod(0o640)
    host.paste_ini.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(host.api_conf, 0, 65534)
    before = host.snapshot()
    host.run("home", "--no-restart")
    host.run("home", "--sync-port", "4321", "--no-restart")
    assert host.api_conf.stat().st_mode & 0o777 == 0o640
    host.run("home", "--uninstall", "--no-restart")
    assert host.snapshot() == before
    assert "not installed" in host.run("home", "--uninstall", "--no-restart")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[database]\r\nconnection = sqlite://\r\n", id="crlf"),
        pytest.param(b"[DEFAULT]\ndebug = true", id="last line open"),
        pytest.param(b"[DEFAULT]\n# caf\xe9 \xff\n", id="not utf-8"),
        pytest.param(b"[DEFAULT]\nsync_enabled =\n", id="empty value"),
        pytest.param(b"[DEFAULT]\nsync_enabled = False\n[a]\n[DEFAULT]\nx = 1\n", id="twice"),
    ],
)
def test_unusual_files_come_back_byte_for_byte(host: Host, text: bytes) -> None:
    host.api_conf.write_bytes(text)
    before = host.snapshot()
    host.run("home", "--no-restart")
    parser = configparser.RawConfigParser(strict=False)
    parser.read(host.api_conf, encoding="latin-1")
    assert parser.defaults()["sync_enabled"] == "True"
    assert parser.defaults()["sync_server_port"] == "9595"
    assert set(text.splitlines()) - set(host.api_conf.read_bytes().splitlines()) <= {
        b"sync_enabled =",
        b"sync_enabled = False",
    }
    host.run("home", "--uninstall", "--no-restart")
    assert host.snapshot() == before


def test_symbolic_links_stay_links(host: Host) -> None:
    kept = host.root / "kept elsewhere.conf"
    host.api_conf.rename(kept)
    host.api_conf.symlink_to(kept)
    before = host.snapshot()
    host.run("home", "--no-restart")
    assert host.api_conf.is_symlink()
    assert "sync_enabled" in kept.read_text()
    host.run("home", "--uninstall", "--no-restart")
    assert host.snapshot() == before


def test_edits_of_the_operator_survive_uninstall(host: Host) -> None:
    host.set(host.api_conf, "[DEFAULT]\n", "[DEFAULT]\nsync_server_port = 1\n")
    host.set(host.api_conf, "[cors]\n", "[cors]\nallowed_origin = before\n")
    conf, paste = host.api_conf.read_text(), host.paste_ini.read_text()
    host.run("home", "--sync-port", "2", "--no-restart")
    host.set(host.api_conf, "allowed_origin = before", "allowed_origin = mine")
    host.set(host.paste_ini, "[filter:cors]", "# a note\n[filter:cors]")
    with host.paste_ini.open("a") as file:
        file.write("\n# and a filter\n[filter:mine]\npaste.filter_factory = mine:factory\n")
    said = host.run("home", "--uninstall", "--no-restart")
    assert said.count("only our lines") == 2
    assert host.api_conf.read_text() == conf.replace("= before", "= mine")
    assert host.paste_ini.read_text() == (
        paste.replace("[filter:cors]", "# a note\n[filter:cors]")
        + "\n# and a filter\n[filter:mine]\npaste.filter_factory = mine:factory\n"
    )
    assert not (host.config_dir / ".glance-sync-install").exists()


def test_edits_between_two_installs_survive_uninstall(host: Host) -> None:
    conf = host.api_conf.read_text()
    host.run("home", "--no-restart")
    host.set(host.api_conf, "[cors]\n", "[cors]\nallowed_origin = mine\n")
    host.run("home", "--sync-port", "4321", "--no-restart")
    host.run("home", "--uninstall", "--no-restart")
    assert host.api_conf.read_text() == conf.replace("[cors]\n", "[cors]\nallowed_origin = mine\n")


def test_a_failed_restart_puts_everything_back(host: Host) -> None:
    before = host.snapshot()
    log = host.root.parent / "restarts"
    said = host.run("home", "--restart-command", f"echo >>'{log}'; false", expect=1)
    assert "the restart failed" in said
    assert host.snapshot() == before
    # Glance is restarted once more, with its own files: the first try may have left it stopped.
    assert len(log.read_text().splitlines()) == 2


def test_a_failed_upgrade_leaves_the_earlier_install(host: Host) -> None:
    host.run("home", "--no-restart")
    (host.package / "filter.py").write_text("# an older version\n")
    installed = host.snapshot()
    host.run("home", "--sync-port", "4321", "--restart-command", "false", expect=1)
    assert host.snapshot() == installed
    host.run("home", "--sync-port", "4321", "--restart-command", "true")
    assert "older" not in (host.package / "filter.py").read_text()


def test_a_glance_that_is_not_healthy_gets_its_files_back(host: Host) -> None:
    before = host.snapshot()
    said = host.run(
        "home",
        *("--restart-command", "true"),
        *("--health-url", "http://127.0.0.1:9/healthcheck", "--health-timeout", "1"),
        expect=1,
    )
    assert "not healthy" in said
    assert host.snapshot() == before


def test_a_failed_uninstall_leaves_the_install(host: Host) -> None:
    host.run("home", "--no-restart")
    installed = host.snapshot()
    host.run("home", "--uninstall", "--restart-command", "false", expect=1)
    assert host.snapshot() == installed


def test_a_package_that_does_not_import_is_not_left_behind(host: Host) -> None:
    (host.site_packages / "oslo_config.py").write_text("raise ImportError('no oslo.config')\n")
    before = host.snapshot()
    said = host.run("home", "--no-restart", expect=1)
    assert "cannot import glance_patch" in said
    assert host.snapshot() == before


def test_a_paste_file_that_is_none_changes_nothing(host: Host) -> None:
    host.paste_ini.unlink()
    before = host.snapshot()
    assert str(host.paste_ini) in host.run("home", "--no-restart", expect=1)
    host.paste_ini.mkdir()
    assert str(host.paste_ini) in host.run("home", "--no-restart", expect=1)
    host.paste_ini.rmdir()
    assert host.snapshot() == before
    host.paste_ini.write_text("[pipeline:main]\npipeline = something else\n")
    before = host.snapshot()
    assert "no pipeline with Glance's context" in host.run("home", "--no-restart", expect=1)
    assert host.snapshot() == before


def heed_signals() -> None:
    """What runs in the background, or under nohup, ignores some; so would the installer."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Hanging:
    """install.sh that waits for a restart which takes for ever; a second restart ends at once."""

    def __init__(self, host: Host) -> None:
        started = host.root.parent / "started"
        self.again = host.root.parent / "again"
        restart = (
            f"test -e '{started}' && touch '{self.again}' && exit; echo $$ >'{started}'; sleep 600"
        )
        self.process = subprocess.Popen(
            host.command("home", "--restart-command", f"{restart}; true"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=heed_signals,
        )
        deadline = time.monotonic() + 30
        while not (started.exists() and started.read_text()):
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.restart = int(started.read_text())

    def end(self) -> int:
        """Waits for its end and returns the exit status."""
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_puts_everything_back(host: Host, number: int) -> None:
    before = host.snapshot()
    hanging = Hanging(host)
    hanging.process.send_signal(number)
    assert hanging.end() == 1
    assert host.snapshot() == before
    assert hanging.again.exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(hanging.restart, 0)


def test_a_killed_run_is_put_back_by_the_next(host: Host) -> None:
    before = host.snapshot()
    hanging = Hanging(host)
    hanging.process.kill()
    os.killpg(hanging.restart, signal.SIGKILL)
    assert hanging.end() == -signal.SIGKILL
    halfway = host.snapshot()
    assert halfway != before
    assert "cut off" in host.run("home", "--dry-run", expect=1)
    assert host.snapshot() == halfway
    said = host.run("home", "--uninstall", "--no-restart")
    assert "putting its changes back" in said
    assert host.snapshot() == before


def test_two_at_a_time_are_refused(host: Host) -> None:
    hanging = Hanging(host)
    halfway = host.snapshot()
    assert "another install.sh" in host.run("home", "--no-restart", expect=1)
    assert host.snapshot() == halfway
    os.killpg(hanging.restart, signal.SIGKILL)
    assert hanging.end() == 1


def test_glances_that_share_a_python_share_the_package(host: Host) -> None:
    before = host.snapshot()
    other = host.root / "etc other"
    run(["cp", "-a", str(host.config_dir), str(other)])
    arguments = ["--python", str(host.python), "--no-restart"]
    host.run("home", "--no-restart")
    command = [str(CHECKOUT / "installation" / "install.sh"), "home", "--config-dir", str(other)]
    run([*command, *arguments])
    assert "it is still used" in host.run("home", "--uninstall", "--no-restart")
    assert (host.package / "filter.py").exists()
    run([*command, "--uninstall", "--no-restart"])
    assert not host.package.exists()
    run(["rm", "-r", str(other)])
    assert host.snapshot() == before


def test_a_package_of_that_name_comes_back(host: Host) -> None:
    host.package.mkdir()
    (host.package / "__init__.py").write_text("# somebody else's\n")
    before = host.snapshot()
    host.run("home", "--no-restart")
    assert (host.package / "filter.py").exists()
    host.run("home", "--uninstall", "--no-restart")
    assert host.snapshot() == before


def test_the_python_is_found_by_the_script_of_glance(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = host.root / "bin"
    programs.mkdir()
    (programs / "glance-api").write_text(f"#!{host.python}\n")
    (programs / "glance-api").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    command = [str(CHECKOUT / "installation" / "install.sh"), "home", "--no-restart"]
    run([*command, "--config-dir", str(host.config_dir)])
    assert (host.package / "filter.py").exists()


def test_the_python_is_found_by_the_variable_of_the_seeds(
    make_host: Callable[[str], Host], tmp_path: Path
) -> None:
    host = make_host("33")
    # The variable names the directory that holds glance itself.
    (host.site_packages / "glance.pth").unlink()
    for path in (host.glance / host.site_packages.relative_to(host.prefix)).iterdir():
        if path.name not in ("glance_patch", "__pycache__"):
            (host.site_packages / path.name).symlink_to(path)
    (host.site_packages / "glance").unlink()
    shared = host.glance / host.site_packages.relative_to(host.prefix) / "glance"
    (host.site_packages / "glance").mkdir()
    (host.site_packages / "glance" / "__init__.py").write_bytes(
        (shared / "__init__.py").read_bytes()
    )
    command = [str(CHECKOUT / "installation" / "install.sh"), "home", "--no-restart"]
    command += ["--config-dir", str(host.config_dir)]
    run(command, env={"_PYTHON_INSTALL_DIR": str(host.site_packages)})
    assert (host.package / "filter.py").exists()
    said = run(command, expect=2, env={"_PYTHON_INSTALL_DIR": str(tmp_path)})
    assert "_PYTHON_INSTALL_DIR" in said


def test_a_paste_file_elsewhere_is_found_by_the_configuration(host: Host) -> None:
    elsewhere = host.root / "elsewhere.ini"
    host.paste_ini.rename(elsewhere)
    host.set(host.api_conf, "[paste_deploy]\n", f"[paste_deploy]\nconfig_file = {elsewhere}\n")
    host.run("home", "--no-restart")
    assert "context glance_sync" in elsewhere.read_text()


def test_pipelines_written_differently(host: Host) -> None:
    host.paste_ini.write_text(
        "[pipeline:glance-api-keystone]\n"
        "pipeline =\n  authtoken\n  who\n  # context\n  rootapp\n\n"
        "[pipeline:glance-api-done]\npipeline: context glance_sync rootapp\n"
        "# [pipeline:no]\n# pipeline = context rootapp\n"
        "[filter:who]\n"
        "paste.filter_factory = glance.api.middleware.context:ContextMiddleware.factory\n"
    )
    before = host.paste_ini.read_text()
    host.run("home", "--no-restart")
    after = host.paste_ini.read_text()
    assert "\n  who glance_sync\n" in after
    assert after.count(": context glance_sync rootapp\n") == 1
    assert "# pipeline = context rootapp\n" in after
    host.run("home", "--uninstall", "--no-restart")
    assert host.paste_ini.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], "role"),
        (["house"], "house"),
        (["home"], "--config-dir"),
        (["home", "--config-dir"], "--config-dir"),
        (["home", "--config-dir", "/nowhere/at all"], "--config-dir"),
        (["home", "--config-dir", "EMPTY"], "glance-api.conf"),
        (["home", "--config-dir", "CONF", "--bogus"], "--bogus"),
        (["home", "--config-dir", "CONF", "--venv", "x"], "--venv"),
        (["home", "--config-dir", "CONF", "stray"], "stray"),
        (["home", "--config-dir", "CONF", "--python", "/no/python"], "--python"),
        (["home", "--config-dir", "CONF", "--sync-port", "0"], "--sync-port"),
        (["home", "--config-dir", "CONF", "--sync-port", "65536"], "--sync-port"),
        (["home", "--config-dir", "CONF", "--sync-port", "http"], "--sync-port"),
        (["home", "--config-dir", "CONF", "--sync-host", "http://h"], "--sync-host"),
        (["home", "--config-dir", "CONF", "--sync-host", ""], "--sync-host"),
        (["home", "--config-dir", "CONF", "--health-url", "ftp://h"], "--health-url"),
        (["home", "--config-dir", "CONF", "--no-restart", "--restart-command", "x"], "contradict"),
        (["region", "--config-dir", "CONF"], "--home-url"),
        (["region", "--config-dir", "CONF", "--home-url", "h:9292"], "--home-url"),
        (["region", "--config-dir", "CONF", "--home-url", "http://u:p@h"], "--home-url"),
        (["region", "--config-dir", "CONF", "--home-url", "http://h:0"], "--home-url"),
        (
            ["region", "--config-dir", "CONF", "--home-url", "http://h", "--relay-urls", "ftp://h"],
            "--relay-urls",
        ),
        (["server"], "--config-dir"),
        (["server", "--config-dir", "NEW", "--user", "a b"], "--user"),
        (["server", "--config-dir", "NEW", "--unit-dir", "/no/such"], "--unit-dir"),
        (["server", "--config-dir", "NEW", "--no-restart"], "--no-restart"),
    ],
)
def test_wrong_usage_is_told_and_touches_nothing(
    host: Host, arguments: list[str], names: str
) -> None:
    empty = host.root / "empty"
    empty.mkdir()
    before = snapshot(host.root)
    places = {"CONF": host.config_dir, "EMPTY": empty, "NEW": host.root / "new"}
    filled = [str(places.get(argument, argument)) for argument in arguments]
    assert names in run([str(CHECKOUT / "installation" / "install.sh"), *filled], expect=2)
    assert snapshot(host.root) == before


def test_help_tells_every_option() -> None:
    said = run([str(CHECKOUT / "installation" / "install.sh"), "--help"])
    for option in ("--config-dir", "--dry-run", "--uninstall", "--home-url", "--unit-dir"):
        assert option in said
