# SPDX-License-Identifier: Apache-2.0
"""How a replica task brings the bytes: by which transport, from where, and what if that fails."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

from glancesync import ends, leftovers
from glancesync.choice import Route
from glancesync.errors import Corrupt, Refused, RegionError, WayBlocked
from glancesync.interfaces import (
    Ask,
    Changes,
    ImageService,
    Source,
    Target,
    Transport,
)
from glancesync.model import Image, Priority, Snooze
from glancesync.pacing import CrowdedError, StoreUse
from glancesync.recording import Recording
from glancesync.sources import Candidate, candidates
from glancesync.states import ReplicaState, TaskKind

_UNFINISHED = (ReplicaState.COPYING, ReplicaState.FAILED, ReplicaState.STALLED)


class Transferring(Recording):
    """What of a replica task has to do with moving bytes."""

    def _transfer(self, home: Image) -> Snooze | None:
        """Bring the bytes by the first transport that fits; by the next if that one can't."""
        transports, schemes = self._transports, self._settings.schemes
        source, there = self._source(home)
        ways = ends.ways(transports, schemes, there, source, self._service, self._replica_id)
        passed: list[str] = []
        blocked: list[str] = []
        for route in ways.routes:
            if route.unfit is not None:
                passed.append(f"{route.transport.name}: {route.unfit}")
                continue
            rounds = self._rounds(route.transport)
            if not rounds:
                passed.append(self._blocked(route.transport, "it failed there"))
            for found in rounds:
                try:
                    return self._move(home, ways, route, found)
                except CrowdedError as error:
                    if route.transport.capabilities.direct and not self._from_home:
                        continue
                    self._record(state=ReplicaState.PENDING)
                    return self._wait(str(error))
                except RegionError as error:
                    if self._from_home and not isinstance(error, WayBlocked):
                        raise error.after(blocked) from error
                    blocked.append(self._blocked(route.transport, error.message))
                    passed.append(blocked[-1])
                    if self._from_home:
                        break
                    if isinstance(error, Corrupt):
                        self._doubt()
        said = "; ".join(passed)
        if any(route.unfit is None for route in ways.routes):
            raise WayBlocked(self._task.region, f"no transport could bring the bytes: {said}")
        raise Refused(self._task.region, f"no transport fits: {said}")

    def _source(self, home: Image) -> tuple[ImageService, Image]:
        """The Glance that has the original, and the image there."""
        original = self._original
        there = dataclasses.replace(home, id=original.image_id)
        return self._services(original.region), there

    @property
    def _transports(self) -> Sequence[Transport]:
        """In the order in which they are tried."""
        first = self._placement.transports if self._placement else ()
        rank = {name: number for number, name in enumerate(first)}
        return sorted(self._settings.transports, key=lambda one: rank.get(one.name, len(first)))

    def _rounds(self, transport: Transport) -> Sequence[tuple[Candidate, ...]]:
        """From where a transport is tried: the best that has the image; if that fails, home."""
        if self._failed(transport):
            return ()
        if not transport.capabilities.direct:
            return ((),)  # home, always: nobody has to be looked for
        found = candidates(
            self._task.region,
            self._replicas.regions(),
            self._replicas.replicas_of(self._task.image_id),
            self._settings.source_transfers,
            self._original.region,
        )
        home = tuple(one for one in found if one.original)
        return (home,) if self._failed_elsewhere(transport) else (found, home)

    def _failed_elsewhere(self, transport: Transport) -> bool:
        """Whether the region's own work by ``transport`` failed, and it was not from home."""
        last = self._last
        return (
            transport.capabilities.asynchronous
            and transport.name == last.transport
            and last.state in _UNFINISHED
            and last.source not in (None, self._original.region)
        )

    def _failed(self, transport: Transport) -> bool:
        """Whether the region's own work by ``transport`` failed, from home too.

        So did all before the one that an earlier run has begun, as only then it was its turn.
        """
        names = [one.name for one in self._transports]
        begun = self._last.transport or ""
        return (
            transport.capabilities.asynchronous
            and self._last.state is ReplicaState.COPYING
            and not self._failed_elsewhere(transport)
            and begun in names
            and names.index(transport.name) <= names.index(begun)
        )

    @property
    def _from_home(self) -> bool:
        return self.replica.source in (None, self._original.region)

    def _blocked(self, transport: Transport, said: str) -> str:
        said = f"{transport.name}: {said}"
        if not self._from_home:
            said += f" (from {self.replica.source})"
        self._queue.commit(self._task, Changes(notes=(self._note("blocked", said),)))
        return said

    def _doubt(self) -> None:
        """Have the bytes looked at, where they came from, that turned out wrong here."""
        region = self.replica.source or ""
        ask = Ask(TaskKind.REPLICA, self._task.image_id, region, Priority.AUDIT, verify=True)
        self._queue.commit(self._task, Changes(asks=(ask,)))

    @property
    def _room(self) -> str:
        """The reason to wait that ends when another region has the image."""
        return f"no region that image {self._task.image_id} can be copied from has room"

    def _move(
        self, home: Image, ways: ends.Ways, route: Route, found: Sequence[Candidate]
    ) -> Snooze | None:
        transport = route.transport
        if self._begun != transport.name:  # which finds by itself what it has left
            self._clear_leftovers()
        self._begun = None
        service, image = self._source(home)
        copying = dataclasses.replace(
            self.replica,
            state=ReplicaState.COPYING,
            transport=transport.name,
            source=service.region,
            copying_since=None,
            bytes_done=0,
            bytes_total=home.size,
        )
        if transport.capabilities.direct:
            patience = self._settings.source_patience
            reserved = self._queue.reserve(self._task, copying, found, patience)
            if reserved is None:
                return self._wait_for_room(transport)
            self.replica = copying = reserved
            if not self._from_home:
                service, image, route = self._relay(home, ways, transport)
        with self._flow(home, transport, service.region, route) as pace:
            said = f"{home.size} bytes by {transport.name} from {service.region}"
            self.replica = copying
            note = self._note("transfer", said)
            self._queue.commit(self._task, Changes(replica=copying, notes=(note,), begun=True))
            source = Source(image, service, route.source, relayed=not self._from_home)
            target = dataclasses.replace(self._target(home), place=route.target, pace=pace)
            return self._bring(transport, source, target)

    def _wait_for_room(self, transport: Transport) -> Snooze:
        was = dataclasses.replace(self.replica, state=ReplicaState.PENDING)
        if self._failed_elsewhere(transport):  # the next run, too, has to know that
            last = self._last
            was = dataclasses.replace(
                was, state=last.state, transport=last.transport, source=last.source
            )
        self.replica = dataclasses.replace(was, copying_since=None)
        return self._wait(self._room)

    def _relay(
        self, home: Image, ways: ends.Ways, transport: Transport
    ) -> tuple[ImageService, Image, Route]:
        """Another region that has the image: its Glance, the image there, the way from there."""
        region = self.replica.source or ""
        replica = self._replicas.replica(self._task.image_id, region)
        service = self._services(region)
        image = dataclasses.replace(home, id=(replica and replica.replica_id) or home.id)
        route = ways.relayed(transport, image, service)
        if route.unfit is not None:
            raise WayBlocked(region, route.unfit)
        return service, image, route

    def _flow(
        self, home: Image, transport: Transport, source: str, route: Route
    ) -> contextlib.AbstractContextManager[Callable[[], int | None]]:
        ends_of_it = ((source, route.source), (self._task.region, route.target))
        stores = [
            StoreUse(
                f"{region} {place.scheme.name} {place.scheme.store}".strip(),
                place.scheme.bandwidth,
                place.scheme.max_parallel,
            )
            for region, place in ends_of_it
            if place is not None
        ]
        regions = (source, self._task.region)
        return self._settings.pacing.flow(home.id, transport.name, regions, stores)

    def _bring(self, transport: Transport, source: Source, target: Target) -> Snooze | None:
        if transport.capabilities.asynchronous:
            outcome: list[RegionError] = []
            transport.move(
                source,
                [target],
                lambda _, error: outcome.append(error) if error else None,
            )
            if outcome:
                self._record(state=ReplicaState.PENDING)  # nothing was started
                raise outcome[0]
            return Snooze(self._settings.poll, f"the region imports it by {transport.name}")
        if self._left:
            self._bundle.stay()  # another transport was tried before
        self._left = True
        self._bundle.transfer(transport, source, target)
        return None

    def _clear_leftovers(self) -> None:
        """Remove what an earlier run has put into the store, and the region's Glance not taken."""
        settings = self._settings
        said = leftovers.clear(
            settings.leavers, settings.schemes, self._begun, self._service, self._replica_id
        )
        if said:
            self._queue.commit(self._task, Changes(notes=(self._note("left", said),)))
        self._begun = None
