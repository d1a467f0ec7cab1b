# SPDX-License-Identifier: Apache-2.0
"""A scratch host for install.sh: a real Glance, its files and a Python, all under one directory."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from devcloud import venvs

CHECKOUT = Path(__file__).parents[2]
INSTALLER = CHECKOUT / "installation" / "install.sh"
SERIES = ["33"]
MATRIX = ["30", "31", "32"]

Snapshot = dict[str, tuple[str, ...]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "series" in metafunc.fixturenames:
        more = MATRIX if metafunc.config.getoption("--matrix", default=False) else []
        metafunc.parametrize(
            "series", sorted(SERIES + more), scope="session", ids="glance-{}".format
        )


def snapshot(directory: Path) -> Snapshot:
    """Kind, mode, owner and content of everything below; bytecode is nobody's business."""
    found: Snapshot = {}
    for path in sorted(directory.rglob("*")):
        if "__pycache__" in path.parts:
            continue
        status = path.lstat()
        if path.is_symlink():
            content = f"-> {path.readlink()}"
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content = "directory"
        owner = f"{status.st_uid}:{status.st_gid}"
        found[str(path.relative_to(directory))] = (
            oct(stat.S_IMODE(status.st_mode)),
            owner,
            content,
        )
    return found


class Host:
    """What an operator sees: a configuration directory, a Python with Glance, and install.sh.

    The Python is a scratch environment which finds Glance in another one, so that tests install
    into the former and the latter can be shared.
    """

    def __init__(self, root: Path, glance: Path) -> None:
        self.root = root
        self.glance = glance
        self.config_dir = root / "etc glance"
        self.api_conf = self.config_dir / "glance-api.conf"
        self.paste_ini = self.config_dir / "glance-api-paste.ini"
        self.config_dir.mkdir(parents=True)
        for path in (self.api_conf, self.paste_ini):
            shutil.copy(glance / "etc" / "glance" / path.name, path)
        self.prefix = root / "a python"
        venv.create(self.prefix, symlinks=True)
        self.python = self.prefix / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.site_packages = self.prefix / "lib" / version / "site-packages"
        shared = glance / "lib" / version / "site-packages"
        (self.site_packages / "glance.pth").write_text(f"{shared}\n")
        self.package = self.site_packages / "glance_patch"

    def set(self, path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def snapshot(self) -> Snapshot:
        return snapshot(self.root)

    def command(self, role: str, *arguments: str) -> list[str]:
        command = [str(INSTALLER), role, "--config-dir", str(self.config_dir), *arguments]
        if role != "server" and "--uninstall" not in arguments:
            command += ["--python", str(self.python)]
        return command

    def run(self, role: str, *arguments: str, expect: int = 0) -> str:
        """Runs install.sh and returns all it said; fails unless it exits as expected."""
        return run(self.command(role, *arguments), expect=expect)

    def ask_glance(self, program: str, *arguments: str) -> str:
        """Runs a few lines in this host's Python, as Glance would be: with its configuration."""
        return run([str(self.python), "-B", "-c", program, str(self.api_conf), *arguments])


def run(command: list[str], expect: int = 0, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == expect, f"exit {done.returncode}, not {expect}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="session")
def glance_of() -> Callable[[str], Path]:
    """The environment that holds the Glance of a series, from devcloud."""
    return lambda series: venvs.ensure(
        CHECKOUT / ".devcloud" / "venvs", venvs.full_version(series), print
    )


@pytest.fixture
def make_host(glance_of: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Host]:
    return lambda series: Host(tmp_path / f"a host with {series}", glance_of(series))


@pytest.fixture
def host(make_host: Callable[[str], Host]) -> Host:
    """A host with the newest Glance, for what does not depend on its version."""
    return make_host(SERIES[-1])


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("_PYTHON_INSTALL_DIR", raising=False)
    monkeypatch.setenv("LC_ALL", "C")
