# SPDX-License-Identifier: Apache-2.0
"""Virtual environments with OpenStack from PyPI, shared by all devclouds of a checkout."""

import fcntl
import hashlib
import os
import subprocess
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from devcloud.errors import DevcloudError

# The last release of each supported Glance series; constraints/<series>.txt holds what it was
# tested with.
SERIES = {"30": "30.2.0", "31": "31.1.0", "32": "32.0.0", "33": "33.0.0"}
KEYSTONE = "30.0.0"
KEYSTONE_SERIES = "33"  # the Glance series whose environment holds Keystone as well
PYUWSGI = "2.0.30.post1"  # uWSGI as a wheel: needs no compiler
CONSTRAINTS = Path(__file__).parent / "constraints"


def full_version(wanted: str) -> str:
    """The Glance release for ``33.0.0`` or just ``33``."""
    version = SERIES.get(wanted, wanted)
    if version.partition(".")[0] not in SERIES or "." not in version:
        known = ", ".join(sorted(SERIES.values()))
        raise DevcloudError(f"Glance {wanted!r} is not one devcloud knows; it knows {known}")
    return version


def ensure(root: Path, version: str, say: Callable[[str], None]) -> Path:
    """The environment of one Glance release under *root*; built if it is not there yet.

    Repeating is safe, also by several programs at once: an environment is used only once it is
    stamped with what was installed, and built under a lock.
    """
    series = version.partition(".")[0]
    path = root / f"glance-{version}"
    constraints = CONSTRAINTS / f"{series}.txt"
    wanted = [f"glance=={version}", f"pyuwsgi=={PYUWSGI}"]
    if series == KEYSTONE_SERIES:
        wanted.append(f"keystone=={KEYSTONE}")
    stamp = hashlib.sha256("\n".join([*wanted, constraints.read_text()]).encode()).hexdigest()
    ready = path / "ready"
    with locked(root / f"glance-{version}.lock"):
        if ready.exists() and ready.read_text() == stamp:
            return path
        say(f"installing Glance {version} into its own environment, once: about a minute")
        ready.unlink(missing_ok=True)
        venv.create(path, clear=True, symlinks=True, with_pip=True)
        pip = [str(path / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        run([*pip, "--constraint", str(constraints), *wanted], what=f"pip for Glance {version}")
        ready.write_text(stamp)
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file lock *path*; waits for whoever holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(argv: list[str], what: str, env: dict[str, str] | None = None) -> str:
    """Run a program to its end and return what it printed; its failure is told with its output."""
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**clean_environment(), **(env or {})},
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        tail = "\n".join(output.splitlines()[-25:])
        raise DevcloudError(f"{what} failed (exit {done.returncode}):\n{tail}")
    return output


def clean_environment() -> dict[str, str]:
    """Our environment without what would lead another environment's Python or OpenStack astray."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OS_", "PYTHON", "VIRTUAL_ENV"))
    }
