"""What runs beside the workers: looking for regions that came or went."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Protocol

from glancesync.errors import ConfigurationError, JournalUnavailable, RegionError

LOG = logging.getLogger(__name__)


class Catalog(Protocol):
    """The regions as Keystone lists them."""

    endpoints: Mapping[str, str]
    home: str

    def refresh(self) -> None:
        """Look again; RegionError, ConfigurationError."""


class Record(Protocol):
    """See ``Journal.discovered``."""

    def __call__(self, urls: Mapping[str, str], home: str, *, first: bool) -> list[str]:
        """Name -> URL and the home's name go into the journal; the new names come back."""


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

        :raises ConfigurationError: the catalog does not name exactly one home
        """
        try:
            self._catalog.refresh()
        except RegionError as error:
            if self._said is None:
                LOG.error("%s; what was known of the regions stays in force", error)
                self._said = str(error)
            return False
        if self._said is not None:
            LOG.info("Keystone answers again")
            self._said = None
        new = self._record(
            self._catalog.endpoints, self._catalog.home, first=not self._known.is_set()
        )
        self._known.set()
        if new:
            LOG.info("new regions: %s (home is %s)", ", ".join(new), self._catalog.home)
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
