# SPDX-License-Identifier: Apache-2.0
"""What the transfers of this process may take of the bandwidth, as it is now.

The limits of regions are the journal's, so they change while transfers run, for all nodes. Each
node takes its part of them: it knows how many nodes there are, not what the others do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from glancesync.bandwidth import Timetable, shares
from glancesync.errors import JournalUnavailable
from glancesync.interfaces import Clock
from glancesync.model import Region

_FRESH = 2.0  # seconds that what was looked up stays good

#: What a limit is on: the kind of thing, and its name.
Key = tuple[str, str]
EVERYTHING: Key = ("all", "")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the configuration says; the regions' own limits are in the journal."""

    everything: Timetable | None = None
    transports: Mapping[str, Timetable] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class StoreUse:
    """A store that a transfer reads from or writes to, and its limits.

    ``bandwidth``: bytes per second. ``at_once``: images that may be copied from or to it at a
    time.
    """

    name: str
    bandwidth: int | None = None
    at_once: int | None = None


class CrowdedError(Exception):
    """As many images as may be are being copied from or to a store."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Flow:
    keys: frozenset[Key]
    image_id: str
    stores: frozenset[str]


class Pacing:
    """Shares out what there is. Safe to use from many threads.

    :param regions: all regions, with their limits
    :param nodes: how many processes work on tasks
    :param minute: the minute of the day, by this host's clock
    """

    def __init__(
        self,
        regions: Callable[[], Sequence[Region]],
        nodes: Callable[[], int],
        clock: Clock,
        minute: Callable[[], int],
        limits: Limits,
    ) -> None:
        self._regions, self._nodes = regions, nodes
        self._clock, self._minute = clock, minute
        self._limits = limits
        self._lock = threading.Lock()
        self._flows: set[_Flow] = set()
        self._stores: dict[Key, int] = {}
        self._now: dict[Key, float] = {}
        self._parts = 1
        self._looked_at = -math.inf

    def use(self, limits: Limits) -> None:
        """Go by these from now on."""
        self._limits = limits
        self._looked_at = -math.inf

    @contextlib.contextmanager
    def flow(
        self, image_id: str, transport: str, regions: Iterable[str], stores: Iterable[StoreUse]
    ) -> Iterator[Callable[[], int | None]]:
        """A transfer, while it lasts: what it may take at this moment, in bytes per second.

        :param regions: between which bytes move
        :raises CrowdedError: one of the stores has no room for it
        """
        uses = {use.name: use for use in stores}
        keys = {EVERYTHING, ("transport", transport)}
        keys |= {("region", name) for name in regions} | {("store", name) for name in uses}
        flow = _Flow(frozenset(keys), image_id, frozenset(uses))
        self._keep_up()
        with self._lock:
            for use in uses.values():
                self._check(use, image_id)
            self._flows.add(flow)
            for use in uses.values():  # what is said of them now: there may have been a reload
                self._stores.pop(("store", use.name), None)
                if use.bandwidth:
                    self._stores["store", use.name] = use.bandwidth
        try:
            yield lambda: self._share(flow)
        finally:
            with self._lock:
                self._flows.discard(flow)

    def _check(self, use: StoreUse, image_id: str) -> None:
        if use.at_once is None:
            return
        images = {flow.image_id for flow in self._flows if use.name in flow.stores} - {image_id}
        most = max(1, use.at_once // self._parts)
        if len(images) >= most:
            raise CrowdedError(f"{use.name}: {most} images are copied from or to it, the most")

    def _share(self, flow: _Flow) -> int | None:
        self._keep_up()
        with self._lock:
            flows = {one: one.keys for one in self._flows}
            stores = {key: limit / self._parts for key, limit in self._stores.items()}
        limits = stores | self._now
        share = shares(flows, limits).get(flow)
        return None if share is None else max(1, int(share))

    def _keep_up(self) -> None:
        if self._clock.monotonic() - self._looked_at > _FRESH:
            self._look()

    def _look(self) -> None:
        """See what the limits are now; while the journal is away, they stay."""
        self._looked_at = self._clock.monotonic()
        timetables: dict[Key, Timetable] = {
            ("transport", name): one for name, one in self._limits.transports.items()
        }
        if self._limits.everything is not None:
            timetables[EVERYTHING] = self._limits.everything
        with contextlib.suppress(JournalUnavailable):
            for region in self._regions():
                if said := region.limits.get("bandwidth"):
                    timetables["region", region.name] = Timetable.parse(str(said))
            self._parts, minute = max(1, self._nodes()), self._minute()
            found = {key: one.at(minute) for key, one in timetables.items()}
            self._now = {
                key: limit / self._parts for key, limit in found.items() if limit is not None
            }
