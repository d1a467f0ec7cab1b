# SPDX-License-Identifier: Apache-2.0
"""Named points at which a test lets a process of ours end or stop, as by ``kill``.

Our code knows nothing of them: this module is loaded into the process beside it, and puts itself
around the functions in :data:`SERVER` or :data:`GLANCE`. A point does nothing until it is armed,
which is to write a signal's number into the file of its name; the first process to get there takes
the file away and sends itself that signal.

As a program, ``points.py DIRECTORY MODULE ARGS...`` runs ``MODULE.main(ARGS)``. uWSGI imports it
into Glance (``py-import``), with the directory as its option ``points``. Standard library only.
"""

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Point(NamedTuple):
    """Before or after a call of a function."""

    module: str
    function: str
    after: bool = False


#: In glance-sync.
SERVER = {
    "hint-written": Point("glancesync.journal.events", "add_hints", after=True),  # not committed
    "hint-committed": Point("glancesync.journal.journal", "Journal.hint", after=True),
    "create-recorded": Point("glancesync.regions.images", "GlanceImages.create"),
    "created": Point("glancesync.regions.images", "GlanceImages.create", after=True),
    "transfer": Point("glancesync.journal.journal", "Journal.progress"),  # in the middle of it
    "register": Point("glancesync.regions.images", "GlanceImages.register"),  # the file is there
    "registered": Point("glancesync.regions.images", "GlanceImages.register", after=True),
    "transferred": Point("glancesync.bundle", "Bundle.transfer", after=True),
    "patch": Point("glancesync.regions.images", "GlanceImages.patch"),
    "patched": Point("glancesync.regions.images", "GlanceImages.patch", after=True),
    "delete-recorded": Point("glancesync.regions.images", "GlanceImages.delete"),
    "deleted": Point("glancesync.regions.images", "GlanceImages.delete", after=True),
    "conclude": Point("glancesync.journal.queue", "conclude", after=True),  # not committed
}

#: In the Glance that has the hook.
GLANCE = {
    "changed": Point("glance_patch.proxy", "Teller.__call__"),  # the change is committed there
    "hint-ready": Point("glance_patch.sender", "HttpPost.__call__"),
    "hint-acknowledged": Point("glance_patch.sender", "HttpPost.__call__", after=True),
}


def arm(directory: Path, name: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the first process that comes to the point send itself a signal."""
    assert name in SERVER or name in GLANCE, name
    hit(directory, name).unlink(missing_ok=True)
    partial = directory / f".{name}"
    partial.write_text(str(int(number)))
    partial.rename(directory / name)


def disarm(directory: Path, name: str) -> bool:
    """Take the arm away; False if somebody was there before."""
    try:
        (directory / name).unlink()
    except FileNotFoundError:
        return False
    return True


def hit(directory: Path, name: str) -> Path:
    """The file that holds the pid of who came to the point."""
    return directory / f"{name}.hit"


# -- inside the process ---------------------------------------------------------------------------


def _install(directory: Path, points: Mapping[str, Point]) -> None:
    for name, point in points.items():
        owner: Any = importlib.import_module(point.module)
        *classes, function = point.function.split(".")
        for one in classes:
            owner = getattr(owner, one)
        setattr(owner, function, _around(getattr(owner, function), directory / name, point.after))


def _around(inner: Callable[..., Any], path: Path, after: bool) -> Callable[..., Any]:
    @functools.wraps(inner)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not after:
            _reached(path)
        result = inner(*args, **kwargs)
        if after:
            _reached(path)
        return result

    return call


def _reached(path: Path) -> None:
    if not path.exists():
        return
    taken = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.rename(taken)
    except FileNotFoundError:
        return  # another process was faster
    number = int(taken.read_text())
    taken.write_text(str(os.getpid()))
    taken.rename(path.with_name(f"{path.name}.hit"))
    signal.raise_signal(number)  # to this very thread, so that it does not go on meanwhile


def _main() -> None:
    directory, module = Path(sys.argv[1]), sys.argv[2]
    main = importlib.import_module(module).main  # what it patches, it patches now
    _install(directory, SERVER)
    sys.exit(main(sys.argv[3:]))


if __name__ == "__main__":
    _main()
elif "uwsgi" in sys.modules:
    import uwsgi  # type: ignore[import-untyped] # what uWSGI offers to the code it runs

    _install(Path(os.fsdecode(uwsgi.opt["points"])), GLANCE)
