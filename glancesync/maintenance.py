# SPDX-License-Identifier: Apache-2.0
"""What runs beside the workers: looking for regions that came or went, and forgetting."""

from __future__ import annotations

import contextlib
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from glancesync.errors import ConfigurationError, JournalUnavailable, RegionError
from glancesync.model import Node, differences

LOG = logging.getLogger(__name__)


class Catalog(Protocol):
    """The regions as Keystone lists them."""

    def look(self) -> tuple[Mapping[str, str], str]:
        """Name -> URL, and the home's name; RegionError, ConfigurationError."""

    def use(self, endpoints: Mapping[str, str], home: str) -> None:
        """Have these regions, from now on."""


class Record(Protocol):
    """See ``Journal.discovered``."""

    def __call__(self, urls: Mapping[str, str], home: str, *, first: bool) -> list[str]:
        """Name -> URL and the home's name go into the journal; the new names come back."""


DAY = 86400.0
_BATCH = 1000  # rows in one transaction: some milliseconds
_INTERVAL = 3600.0  # seconds between two purges
_TELL = 15.0  # seconds between two signs of life


class Purge:
    """Has the journal forget what ended long ago, a little at a time: nobody waits long for it.

    Several processes may do it at the same time.

    :param forget: forgets about so many rows that ended more than so many seconds ago, and returns
        how many went; 0 if there are no more
    """

    def __init__(self, forget: Callable[[float, int], int]) -> None:
        self._forget = forget

    def run(self, days: float, most: float, stopping: threading.Event) -> int:
        """Forget what ended more than ``days`` ago, about ``most`` rows; return how many went."""
        gone = 0
        while gone < most and not stopping.is_set():
            began = time.monotonic()
            count = self._forget(days * DAY, int(min(_BATCH, most - gone)))
            if not count:
                break
            gone += count
            stopping.wait(time.monotonic() - began)  # as long as others may have waited for it
        return gone

    def keep_running(self, days: Callable[[], float], stopping: threading.Event) -> None:
        """Do so every hour until ``stopping``; never while ``days`` are 0.

        Many processes that were started together do it at different times.
        """
        pause = _INTERVAL * random.random()  # noqa: S311
        while not stopping.wait(pause):
            pause = _INTERVAL
            try:
                if days() and (gone := self.run(days(), math.inf, stopping)):
                    LOG.info("forgot %d rows of what ended more than %g days ago", gone, days())
            except JournalUnavailable as error:
                LOG.warning("could not forget what ended long ago: %s", error)
            except Exception:
                LOG.exception("could not forget what ended long ago")


class Presence:
    """Tells the other nodes that this one lives, and how it is set up.

    :param name: of this process
    :param settings: those that all nodes should share, as they are now
    """

    def __init__(
        self,
        name: str,
        settings: Callable[[], Mapping[str, str]],
        say: Callable[[str, Mapping[str, str]], None],
        nodes: Callable[[], Sequence[Node]],
        leave: Callable[[str], None],
    ) -> None:
        self._name, self._settings = name, settings
        self._say, self._nodes, self._leave = say, nodes, leave
        self._said: dict[str, dict[str, list[str]]] = {}

    def tell(self) -> None:
        """Tell once, if the journal answers."""
        try:
            self._tell()
        except JournalUnavailable as error:
            LOG.warning("could not tell other nodes of this one: %s", error)
        except Exception:
            LOG.exception("could not tell other nodes of this one")

    def _tell(self) -> None:
        """Warn if nodes turn out to differ in something they did not before."""
        self._say(self._name, self._settings())
        found = differences(self._nodes())
        for option, values in found.items():
            if option not in self._said:
                said = ", ".join(
                    f"{one or 'nothing'} on {' '.join(on)}" for one, on in values.items()
                )
                LOG.warning("nodes that share this journal differ in %s: %s", option, said)
        self._said = found

    def keep_telling(self, stopping: threading.Event) -> None:
        """Tell every few seconds until ``stopping``, then say good-bye."""
        pause = 0.0
        while not stopping.wait(pause):
            pause = _TELL
            self.tell()
        with contextlib.suppress(JournalUnavailable):
            self._leave(self._name)


class Discovery:
    """Keeps the journal's regions equal to the Keystone catalog's.

    :param record: writes what the catalog lists into the journal
    """

    def __init__(self, catalog: Catalog, record: Record) -> None:
        self._catalog = catalog
        self._record = record
        self._said: str | None = None
        self._known = threading.Event()

    def wait(self, stopping: threading.Event) -> None:
        """Return when the regions are known, or ``stopping`` is set."""
        while not self._known.wait(0.5) and not stopping.is_set():
            continue

    def look(self) -> bool:
        """Look once; False if Keystone did not answer.

        :raises ConfigurationError: the catalog does not name exactly one home, or names another
            than the journal's; what was known stays in force
        """
        try:
            endpoints, home = self._catalog.look()
        except RegionError as error:
            if self._said is None:
                LOG.error("%s; what was known of the regions stays in force", error)
                self._said = str(error)
            return False
        if self._said is not None:
            LOG.info("Keystone answers again")
            self._said = None
        new = self._record(endpoints, home, first=not self._known.is_set())
        self._catalog.use(endpoints, home)
        self._known.set()
        if new:
            LOG.info("new regions: %s (home is %s)", ", ".join(new), home)
        return True

    def keep_looking(self, interval: float, stopping: threading.Event) -> None:
        """Look every ``interval`` seconds until ``stopping``; sooner while Keystone is silent."""
        answered = self._known.is_set()
        while not stopping.wait(interval if answered else min(interval, 5.0)):
            try:
                answered = self.look()
            except ConfigurationError as error:
                LOG.error("%s", error)
            except JournalUnavailable as error:
                LOG.warning("could not record the regions: %s", error)
            except Exception:
                LOG.exception("could not record the regions")
