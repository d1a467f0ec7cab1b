# SPDX-License-Identifier: Apache-2.0
"""``filesystem``: from one directory of this host, or mounted here, to others.

A child process (see :mod:`.copier`) copies and hashes; then the regions' Glances adopt the files.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from glancesync.errors import Corrupt, Refused, RegionError, Transient, WayBlocked
from glancesync.interfaces import Capabilities, Source, Target
from glancesync.schemes import Filesystem as Directory
from glancesync.schemes import Place
from glancesync.transports import child, copier
from glancesync.transports.berth import Berth, Taken
from glancesync.transports.settings import TransferSettings

Settle = Callable[[Target, RegionError | None], None]


class Filesystem:
    """Copies files on this host."""

    name = "filesystem"
    capabilities = Capabilities(
        needs_formats=True,
        fan_out=True,
        reads=frozenset({"filesystem"}),
        writes=frozenset({"filesystem"}),
        here=True,
        tidies=True,
    )

    def __init__(self, settings: TransferSettings) -> None:
        self._settings = settings

    def move(self, source: Source, targets: Sequence[Target], settle: Settle) -> None:
        """See ``interfaces.Transport``."""
        by_name = {target.region: target for target in targets}
        adopting = []
        order = self._order(source, targets)
        with child.lines_of(order, by_name, copier.__file__) as lines:
            for line in lines:
                if "progress" in line:
                    for name, done in line["progress"].items():
                        if name in by_name:
                            by_name[name].report(done)
                elif "stalled" in line:
                    for name in line["stalled"]:
                        settle(by_name.pop(name), WayBlocked(name, "the copy stalled"))
                else:
                    target = by_name.pop(line["target"])
                    if not line["ok"]:
                        settle(target, _error(source, target, line))
                        continue
                    # A Glance that is slow to adopt its file must not keep others waiting (P8).
                    made = line["made"]
                    thread = threading.Thread(target=_adopt, args=(source, target, made, settle))
                    thread.start()
                    adopting.append(thread)
        for thread in adopting:
            thread.join()

    def tidy(self, target: Target) -> None:
        """See ``interfaces.Leaver``."""
        if not _is_here(_place(target)):
            return
        left = _taken_back(Berth(_place(target).path))
        if left:
            raise WayBlocked(target.region, left)

    def _order(self, source: Source, targets: Sequence[Target]) -> dict[str, Any]:
        image = source.image
        algorithm, value = image.digest or ("", "")
        return {
            "source": _place(source).path,
            "size": image.size or 0,
            "hash_algo": algorithm,
            "hash_value": value,
            "stall": self._settings.stall,
            "targets": {
                target.region: {
                    "path": _place(target).path,
                    "link": _shared(_place(source), _place(target)),
                }
                for target in targets
            },
        }


def _place(end: Source | Target) -> Place:
    assert end.place is not None  # noqa: S101 - by our capabilities
    return end.place


def _is_here(place: Place) -> bool:
    return isinstance(place.scheme, Directory) and place.scheme.here


def _shared(one: Place, other: Place) -> bool:
    """Whether the operator says that both are on one file system, which so holds the bytes once."""
    mine, theirs = one.scheme, other.scheme
    assert isinstance(mine, Directory)  # noqa: S101 - by our capabilities
    assert isinstance(theirs, Directory)  # noqa: S101
    return bool(mine.share) and mine.share == theirs.share


def _adopt(source: Source, target: Target, made: bool, settle: Settle) -> None:
    """Have Glance use the file; what was ``made`` goes if Glance says no, and nothing else."""
    place = _place(target)
    berth = Berth(place.path)
    try:
        target.service.register(target.image_id, place.location, source.image)
    except Refused as error:
        # It said no. After any other error it may yet have adopted the file, which so has to stay:
        # the next attempt finds it, and finds out.
        said = error.message
        if made:
            said += "".join(f"; {left}" for left in [_taken_back(berth)] if left)
        settle(target, WayBlocked(target.region, said))
    except RegionError as error:
        settle(target, error)
    except Exception as error:
        said = f"could not register the file: {type(error).__name__}: {error}"
        settle(target, Transient(target.region, said))
    else:
        with contextlib.suppress(OSError):
            berth.settle()
        settle(target, None)


def _taken_back(berth: Berth) -> str:
    """Take the file back; in words what is left over, and why."""
    try:
        berth.take_back()
    except Taken as error:
        return f"the file is left over: {error}"
    except OSError as error:
        return f"{berth.path!r} is left over: {copier.words(error)}"
    return ""


def _error(source: Source, target: Target, line: dict[str, Any]) -> RegionError:
    if line["side"] == "corrupt":
        return Corrupt(
            source.service.region, f"image {source.image.id}: its data is wrong: {line['message']}"
        )
    return WayBlocked(target.region, line["message"])
