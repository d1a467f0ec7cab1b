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


@dataclasses.dataclass(frozen=True, eq=False)
class _Flow:
    keys: frozenset[Key]


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
        self._stores: dict[Key, float] = {}
        self._now: dict[Key, float] = {}
        self._looked_at = -math.inf

    def use(self, limits: Limits) -> None:
        """Go by these from now on."""
        self._limits = limits
        self._looked_at = -math.inf

    @contextlib.contextmanager
    def flow(
        self, transport: str, regions: Iterable[str], stores: Mapping[str, int]
    ) -> Iterator[Callable[[], int | None]]:
        """A transfer, while it lasts: what it may take at this moment, in bytes per second.

        :param regions: between which bytes move
        :param stores: name -> bytes per second, of stores that have a limit of their own
        """
        keys = {EVERYTHING, ("transport", transport)}
        keys |= {("region", name) for name in regions} | {("store", name) for name in stores}
        flow = _Flow(frozenset(keys))
        with self._lock:
            self._flows.add(flow)
            self._stores |= {("store", name): float(limit) for name, limit in stores.items()}
        try:
            yield lambda: self._share(flow)
        finally:
            with self._lock:
                self._flows.discard(flow)

    def _share(self, flow: _Flow) -> int | None:
        if self._clock.monotonic() - self._looked_at > _FRESH:
            self._look()
        with self._lock:
            flows = {one: one.keys for one in self._flows}
            limits = self._stores | self._now
        share = shares(flows, limits).get(flow)
        return None if share is None else max(1, int(share))

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
            nodes, minute = max(1, self._nodes()), self._minute()
            found = {key: one.at(minute) for key, one in timetables.items()}
            self._now = {key: limit / nodes for key, limit in found.items() if limit is not None}
