# SPDX-License-Identifier: Apache-2.0
"""``GET /metrics``: what the journal knows, as Prometheus reads it.

Every number comes from the journal when it is asked for. So each API process gives the same
answer, about all processes, and nothing is lost when one of them ends.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from glancesync.counts import BEYOND, BUCKETS, SUM, Counter, reasons
from glancesync.journal.journal import Journal
from glancesync.model import Standing
from glancesync.states import OPEN, BreakerState, ReplicaState, TaskKind

#: Gauges with one value for each region: name -> help, value (None: there is none).
_PLAIN: dict[str, tuple[str, Callable[[Standing], float | None]]] = {
    "region_open": (
        "1 if operator and catalog let work for the region start.",
        lambda one: one.region.open,
    ),
    "region_failures": (
        "Failures of the region itself, in a row.",
        lambda one: one.region.failures,
    ),
    "backlog_bytes": ("Bytes still to be copied.", lambda one: one.bytes_behind),
    "backlog_oldest_seconds": (
        "How long the oldest task of the backlog has been waited for; 0 if there is none.",
        lambda one: one.oldest,
    ),
    "bindings": ("Projects, or groups of theirs, bound to the region.", lambda one: one.bindings),
    "audit_running": ("1 while an audit is under way.", lambda one: one.audit.running),
    "audit_started_timestamp_seconds": (
        "When the last audit began.",
        lambda one: one.audit.started_at,
    ),
    "audit_finished_timestamp_seconds": (
        "When an audit last ended.",
        lambda one: one.audit.finished_at,
    ),
    "audit_duration_seconds": (
        "How long the last audit that ended took.",
        lambda one: one.audit.took,
    ),
    "audit_seen": ("Images seen by the audit that runs or ran last.", lambda one: one.audit.seen),
    "audit_drifted": ("Those it found changed.", lambda one: one.audit.drifted),
    "audit_missing": ("Those it found missing.", lambda one: one.audit.missing),
    "audit_held_deletions": (
        "Deletions it holds back until somebody releases them.",
        lambda one: one.audit.held,
    ),
}

#: Gauges with several values for each region: name -> help, label, its values.
_SPLIT: dict[str, tuple[str, str, Callable[[Standing], Mapping[str, float]]]] = {
    "region_breaker": (
        "1 for the state the region's circuit breaker is in.",
        "state",
        lambda one: {state.value: one.region.breaker is state for state in BreakerState},
    ),
    "replicas": (
        "Replicas by state.",
        "state",
        lambda one: {state.value: one.replicas.get(state, 0) for state in ReplicaState},
    ),
    "backlog_tasks": (
        "Open tasks that are waited for, by state; of home, images to look at.",
        "state",
        lambda one: {state.value: one.tasks.get(state, 0) for state in sorted(OPEN)},
    ),
}

#: Counters: name, help, label (None: none), its values that are shown also before they occur.
_COUNTERS: dict[Counter, tuple[str, str, str | None, Sequence[str]]] = {
    Counter.TASKS: ("tasks_done", "Tasks done.", "kind", [kind.value for kind in TaskKind]),
    Counter.FAILURES: (
        "failures",
        "Attempts that failed, by the region at fault and the class of error.",
        "reason",
        reasons(),
    ),
    Counter.BYTES: ("copied_bytes", "Bytes copied to the region.", "transport", []),
    Counter.DRIFT: (
        "drift_found",
        "Images found changed or missing that no hint had told of.",
        "what",
        ["drifted", "missing"],
    ),
    Counter.REPAIRED: ("drift_repaired", "Replicas mended because of that.", None, [""]),
    Counter.MISMATCHES: (
        "hash_mismatches",
        "Replicas found with other bytes than home's, when copied or by an audit.",
        None,
        [""],
    ),
}

_Counted = Mapping[tuple[str, str], float]  # region and label -> how often, or how much


def app(journal: Journal) -> Callable[..., Any]:
    """The WSGI application; it raises what reading the journal raises."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FromJournal(journal))
    made: Callable[..., Any] = make_wsgi_app(registry)
    return made


class _FromJournal(Collector):
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def collect(self) -> Iterator[Metric]:
        standings, behind = self._journal.standings()
        regions = [one.region.name for one in standings]
        home = next((one.region.name for one in standings if one.region.home), "")
        counted: dict[Counter, dict[tuple[str, str], float]] = collections.defaultdict(dict)
        for one in self._journal.counts():
            place = (one.region or home, one.label)
            counted[one.counter][place] = counted[one.counter].get(place, 0) + one.amount

        yield GaugeMetricFamily(
            "glancesync_images_behind", "Images that are not in sync in every region.", behind
        )
        yield from _gauges(standings)
        for counter in _COUNTERS:
            yield _counter(counter, regions, counted[counter])
        yield _sync_seconds(regions, counted[Counter.SYNC])
        yield CounterMetricFamily(
            "glancesync_hook_dropped_hints",
            "Hints that hooks had to drop.",
            sum(counted[Counter.DROPPED].values()),
        )


def _gauges(standings: Iterable[Standing]) -> Iterator[Metric]:
    for name, (says, value) in _PLAIN.items():
        gauge = GaugeMetricFamily(f"glancesync_{name}", says, labels=["region"])
        for one in standings:
            if (found := value(one)) is not None:
                gauge.add_metric([one.region.name], found)
        yield gauge
    for name, (says, label, values) in _SPLIT.items():
        gauge = GaugeMetricFamily(f"glancesync_{name}", says, labels=["region", label])
        for one in standings:
            for which, found in values(one).items():
                gauge.add_metric([one.region.name, which], found)
        yield gauge


def _counter(counter: Counter, regions: Sequence[str], counted: _Counted) -> Metric:
    name, says, label, known = _COUNTERS[counter]
    labels = ["region"] if label is None else ["region", label]
    family = CounterMetricFamily(f"glancesync_{name}", says, labels=labels)
    shown = dict.fromkeys(itertools.product(regions, known), 0.0) | dict(counted)
    for place, amount in sorted(shown.items()):
        family.add_metric(place[: len(labels)], amount)
    return family


def _sync_seconds(regions: Sequence[str], counted: _Counted) -> Metric:
    family = HistogramMetricFamily(
        "glancesync_sync_seconds",
        "From a hint, or a person's wish, until the replica had followed.",
        labels=["region"],
    )
    for region in sorted({*regions, *(region for region, _ in counted)}):
        total, buckets = 0.0, []
        for bound in [*(f"{one:g}" for one in BUCKETS), BEYOND]:
            total += counted.get((region, bound), 0)
            buckets.append((str(float(bound)) if bound != BEYOND else bound, total))
        family.add_metric([region], buckets, counted.get((region, SUM), 0))
    return family
