# SPDX-License-Identifier: Apache-2.0
"""The ``openstack`` program, run often: each time in a new process, yet imported only once.

Importing takes it more than a second; a test of what it prints needs a fraction of that. So one
process waits for orders, and forks for each: the child is the program as a shell would start it,
with its own arguments, environment, outputs and exit status. What the first one had to import, the
process imports, for all that follow.
"""

import contextlib
import functools
import importlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


@functools.cache
def _waiting() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", __name__]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def openstack(
    args: Sequence[str], env: Mapping[str, str], timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run ``openstack *args`` in this environment."""
    process = _waiting()
    assert process.stdin is not None
    assert process.stdout is not None
    with tempfile.TemporaryDirectory() as directory:
        order = {"args": list(args), "env": dict(env), "directory": directory}
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], timeout)[0]:
            process.kill()
            _waiting.cache_clear()
            raise subprocess.TimeoutExpired(["openstack", *args], timeout)
        status = int(process.stdout.readline())
        said, warned = (Path(directory, name).read_text() for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(["openstack", *args], status, said, warned)


def _be_it(args: list[str], env: dict[str, str], directory: str) -> int:
    """Be the program; its exit status."""
    from openstackclient import shell

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in enumerate(("stdout", "stderr"), 1):
        os.dup2(os.open(Path(directory, name), os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["openstack", *args]
    try:
        return int(shell.main(args))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _serve() -> None:
    imported = False
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        modules = Path(order["directory"], "modules")
        child = os.fork()
        if not child:
            status = 1
            try:
                status = _be_it(**order)
                modules.write_text("\n".join(sys.modules))
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if not imported and modules.exists():
            imported = True
            for name in modules.read_text().split():
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
