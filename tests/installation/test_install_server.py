# SPDX-License-Identifier: Apache-2.0
"""Role server in a scratch environment: repeatable, reversible, careful with operators' files."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installation.conftest import CHECKOUT, INSTALLER, run, snapshot

USER = pwd.getpwuid(os.getuid()).pw_name
SAMPLES = ["glance-sync.conf", "glance-sync-paste.ini", "glance_store.yaml", "sync_rules.yaml"]


class Server:
    """Places for one installation of the server; the environment is shared, as pip takes long."""

    def __init__(self, root: Path, venv: Path, checkout: Path = CHECKOUT) -> None:
        self.root = root
        self.venv = venv
        self.checkout = checkout
        self.config_dir = root / "etc" / "glance sync"
        self.unit_dir = root / "units"
        self.unit_dir.mkdir(parents=True)
        self.unit = self.unit_dir / "glance-sync.service"

    def command(self, *arguments: str) -> list[str]:
        installer = self.checkout / INSTALLER.relative_to(CHECKOUT)
        return [str(installer), "server", "--config-dir", str(self.config_dir), *arguments]

    def install(self, *arguments: str, expect: int = 0) -> str:
        places = ["--venv", str(self.venv), "--unit-dir", str(self.unit_dir)]
        python = ["--python", sys.executable, "--user", USER]
        return run(self.command(*places, *python, *arguments), expect=expect)

    def uninstall(self, *arguments: str) -> str:
        return run(self.command("--uninstall", *arguments))


def copy_checkout(target: Path) -> Path:
    """Only what the installer reads."""
    for name in ("glancesync", "glance_patch", "installation", "etc"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / name, target / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.rst", "LICENSE", "constraints.txt"):
        shutil.copy(CHECKOUT / name, target / name)
    return target


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that editing the checkout while tests run does not start pip again."""
    return copy_checkout(tmp_path_factory.mktemp("checkout") / "a checkout")


@pytest.fixture(scope="session")
def installed_venv(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Path:
    """An environment made by install.sh, once."""
    root = tmp_path_factory.mktemp("server")
    server = Server(root, root / "opt" / "glance sync", checkout)
    server.install()
    return server.venv


@pytest.fixture
def server(tmp_path: Path, installed_venv: Path, checkout: Path) -> Server:
    return Server(tmp_path / "host", installed_venv, checkout)


def test_the_server_is_installed(server: Server) -> None:
    before = snapshot(server.root)
    said = server.install()
    assert "Start the server yourself" in said
    for name in SAMPLES:
        target = server.config_dir / name
        assert target.read_bytes() == (server.checkout / "etc" / "glance" / name).read_bytes()
        assert target.stat().st_mode & 0o777 == 0o640
    program = server.venv / "bin" / "glance-sync"
    unit = server.unit.read_text()
    assert f'ExecStart="{program}" --config-file "{server.config_dir}/glance-sync.conf"' in unit
    assert f"User={USER}\n" in unit
    assert "@" not in unit.replace("@system-service", "")
    found = run([str(server.venv / "bin" / "python"), "-c", "import glancesync, glance_patch"])
    assert found == ""

    installed = snapshot(server.root)
    assert "Nothing to change" in server.install()
    assert snapshot(server.root) == installed

    # The environment was there before this installation: it stays.
    server.uninstall()
    assert snapshot(server.root) == before
    assert program.exists()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_systemd_takes_the_unit(server: Server) -> None:
    program = server.venv / "bin" / "glance-sync"
    assert program.exists()
    server.install()
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(server.unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "glance-sync.service" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_dry_run_touches_nothing(server: Server, tmp_path: Path) -> None:
    server.venv = tmp_path / "new venv"
    before = snapshot(tmp_path)
    said = server.install("--dry-run")
    assert f"Would install glancesync from {server.checkout} into {server.venv}" in said
    assert "glance-sync.service" in said
    assert snapshot(tmp_path) == before


def test_files_of_the_operator_stay(server: Server) -> None:
    server.config_dir.mkdir(parents=True)
    mine = server.config_dir / "glance-sync.conf"
    mine.write_text("[DEFAULT]\nsync_strategy = ALL\n")
    assert f"Left {mine}" in server.install()
    assert mine.read_text() == "[DEFAULT]\nsync_strategy = ALL\n"
    edited = server.config_dir / "glance_store.yaml"
    edited.write_text("glances: [] # mine\n")
    server.install()
    assert f"Left {edited}" in server.uninstall()
    assert sorted(path.name for path in server.config_dir.iterdir()) == [mine.name, edited.name]


def test_samples_follow_the_checkout_until_they_are_edited(server: Server, tmp_path: Path) -> None:
    server.install()
    newer = copy_checkout(tmp_path / "newer")
    for name in SAMPLES:
        with (newer / "etc" / "glance" / name).open("a") as file:
            file.write("# newer\n")
    edited = server.config_dir / "glance-sync.conf"
    edited.write_text("[DEFAULT]\n")
    server.checkout = newer
    server.install()
    assert edited.read_text() == "[DEFAULT]\n"
    followed = server.config_dir / "glance_store.yaml"
    assert followed.read_text().endswith("# newer\n")
    server.uninstall()
    assert [path.name for path in server.config_dir.iterdir()] == [edited.name]


def test_a_failed_pip_leaves_no_trace(server: Server, tmp_path: Path) -> None:
    broken = copy_checkout(tmp_path / "broken")
    (broken / "pyproject.toml").write_text("this is not TOML\n")
    server.checkout = broken
    server.venv = tmp_path / "new" / "venv"
    before = snapshot(tmp_path)
    assert "pip failed" in server.install(expect=1)
    assert snapshot(tmp_path) == before


def test_a_failed_upgrade_leaves_the_environment_as_it_was(server: Server, tmp_path: Path) -> None:
    server.install()
    broken = copy_checkout(tmp_path / "broken")
    (broken / "pyproject.toml").write_text("this is not TOML\n")
    server.checkout = broken
    before = snapshot(server.venv), snapshot(tmp_path)
    server.install(expect=1)
    assert (snapshot(server.venv), snapshot(tmp_path)) == before


def test_a_missing_sample_is_told_first(server: Server, tmp_path: Path) -> None:
    server.checkout = copy_checkout(tmp_path / "short")
    (server.checkout / "etc" / "glance" / "glance-sync.conf").unlink()
    before = snapshot(tmp_path)
    assert "no etc/glance/glance-sync.conf" in server.install(expect=1)
    assert snapshot(tmp_path) == before


def test_an_environment_of_the_operator_only_loses_the_package(
    server: Server, tmp_path: Path
) -> None:
    run(["cp", "-a", str(server.venv), str(tmp_path / "copied")])
    server.venv = tmp_path / "copied"
    (server.venv / "glance-sync.digest").unlink()
    before = snapshot(server.root)
    said = server.install()
    assert "Installing glancesync" in said
    assert (server.venv / "glance-sync.digest").exists()
    assert "was there before" in server.uninstall()
    assert snapshot(server.root) == before
    assert not (server.venv / "bin" / "glance-sync").exists()
    assert (server.venv / "bin" / "alembic").exists()


SYSTEMCTL = """#!/bin/bash
# As much of systemctl as install.sh uses: notes what it is asked, and keeps two facts.
echo "$*" >>"$STATE/calls"
case "$*" in
  "enable "*) touch "$STATE/enabled" ;;
  "disable "*) rm -f "$STATE/enabled" ;;&
  "disable "*--now* | "stop "*) rm -f "$STATE/active" ;;
  "is-enabled "*) test -e "$STATE/enabled" && echo enabled ;;
  "is-active "*) test -e "$STATE/active" && echo active ;;
  "restart "*) test ! -e "$STATE/broken" && touch "$STATE/active" ;;
esac
"""


class UnderSystemd:
    """install.sh in a mount namespace where systemd seems to run, with a stand-in for systemctl."""

    def __init__(self, server: Server, root: Path) -> None:
        self.server = server
        self.state = root / "state"
        self.programs = root / "bin"
        self.units = root / "system"
        for directory in (self.state, self.programs, self.units):
            directory.mkdir(parents=True)
        (self.programs / "systemctl").write_text(SYSTEMCTL)
        (self.programs / "systemctl").chmod(0o755)

    def run(self, *arguments: str, expect: int = 0) -> str:
        prepare = (
            "mount -t tmpfs none /run && mkdir -p /run/systemd/system /etc/systemd/system &&"
            ' mount --bind "$UNITS" /etc/systemd/system && exec "$@"'
        )
        return run(
            ["unshare", "--mount", "bash", "-c", prepare, "-", *self.server.command(*arguments)],
            expect=expect,
            env={
                "PATH": f"{self.programs}:{os.environ['PATH']}",
                "STATE": str(self.state),
                "UNITS": str(self.units),
            },
        )

    def install(self, *arguments: str, expect: int = 0) -> str:
        places = ["--venv", str(self.server.venv), "--user", USER]
        return self.run(*places, *arguments, expect=expect)

    def facts(self) -> list[str]:
        return sorted(path.name for path in self.state.iterdir() if path.name != "calls")

    def calls(self) -> list[str]:
        return (self.state / "calls").read_text().splitlines()


def can_unshare() -> bool:
    done = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/run"],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


@pytest.fixture
def systemd(server: Server, tmp_path: Path) -> UnderSystemd:
    if not (Path("/etc/systemd/system").is_dir() and can_unshare()):
        pytest.skip("needs the right to mount")
    return UnderSystemd(server, tmp_path / "systemd")


def test_systemd_starts_the_server_once_it_is_set_up(systemd: UnderSystemd) -> None:
    assert "Not started yet" in systemd.install()
    assert systemd.facts() == []
    conf = systemd.server.config_dir / "glance-sync.conf"
    conf.write_text("[DEFAULT]\nsync_strategy = ALL\n")
    (systemd.units / "glance-sync.service").unlink()
    systemd.install()
    assert systemd.facts() == ["active", "enabled"]
    said = systemd.run("--uninstall")
    assert "Left" in said
    assert systemd.facts() == []
    assert not list(systemd.units.iterdir())


def test_a_server_that_does_not_start_leaves_no_trace(
    systemd: UnderSystemd, tmp_path: Path
) -> None:
    systemd.server.config_dir.mkdir(parents=True)
    (systemd.server.config_dir / "glance-sync.conf").write_text("[DEFAULT]\n")
    (systemd.state / "broken").touch()
    before = snapshot(systemd.server.root), list(systemd.units.iterdir())
    assert "does not start" in systemd.install(expect=1)
    assert systemd.facts() == ["broken"]
    assert (snapshot(systemd.server.root), list(systemd.units.iterdir())) == before


def test_no_start_starts_nothing(systemd: UnderSystemd) -> None:
    systemd.server.config_dir.mkdir(parents=True)
    (systemd.server.config_dir / "glance-sync.conf").write_text("[DEFAULT]\n")
    systemd.install("--no-start")
    assert systemd.calls() == ["daemon-reload"]
    assert systemd.facts() == []


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck here")
def test_the_shell_is_clean() -> None:
    run(["shellcheck", "-x", "-P", str(CHECKOUT), str(INSTALLER)])
