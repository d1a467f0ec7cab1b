# SPDX-License-Identifier: Apache-2.0
"""Audits stand-in regions as ``glance-sync`` does, and says how long it took and how much memory.

Run as ``python -m bench.auditor audit|list JOURNAL URL REGION...`` by :mod:`bench.audit`; ``list``
only reads what an audit reads.
"""

import functools
import json
import sys
import time
from pathlib import Path

import eventlet
from keystoneauth1.session import Session
from keystoneauth1.token_endpoint import Token

from glancesync.breaker import Breaker
from glancesync.bundle import Bundle
from glancesync.cmd import sync as daemon  # patches the standard library for green threads
from glancesync.destinations import Destinations
from glancesync.interfaces import Lost
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Task
from glancesync.placement.strategies import STRATEGIES
from glancesync.reconciler import AuditSettings, Reconciler
from glancesync.regions.images import GlanceImages
from glancesync.worker import Worker, WorkerSettings

assert daemon


class Regions:
    """``interfaces.Services`` of the stand-in."""

    def __init__(self, url: str, names: list[str]) -> None:
        self.home = names[0]
        self.made = {name: self._images(name, f"{url}/{name}") for name in names}

    def _images(self, name: str, url: str) -> GlanceImages:
        return GlanceImages(name, Session(auth=Token(url, "none")), url, "public")

    def __call__(self, region: str) -> GlanceImages:
        return self.made[region]


def audit(journal: Journal, services: Regions) -> int:
    """Run the audits of all regions; return how many images they saw."""
    reconciler = Reconciler(
        journal,
        journal,
        journal,
        services,
        Destinations(STRATEGIES["ALL"], journal),
        AuditSettings(),
        lambda: 0.5,
        functools.partial(journal.note_region, breaker=Breaker()),
    )

    def run(task: Task, bundle: Bundle, lost: Lost) -> None:
        changes, outcome = reconciler.audit(task, lost)
        journal.commit(task, changes, outcome)

    worker = Worker("bench", journal, journal, run, eventlet.spawn_n, WorkerSettings())
    eventlet.spawn_n(worker.serve)
    eventlet.spawn_n(worker.keep_alive)
    while len([one for one in journal.audits() if one.finished_at]) < len(services.made):
        time.sleep(0.05)
    worker.stop(10)
    found = journal.audits()
    if any(one.drifted or one.missing or one.held for one in found):
        raise SystemExit(f"the audit found what is not there: {found}")
    return sum(one.seen for one in found)


def read(services: Regions) -> int:
    """Read the same pages at the same time, and do nothing with them."""
    seen = 0

    def one(name: str) -> int:
        count = 0
        for hidden in (False, True):
            after: str | None = None
            while True:
                page = services(name).page(hidden=hidden, after=after)
                count += len(page.images)
                if page.next is None:
                    break
                after = page.next
        return count

    for thread in [eventlet.spawn(one, name) for name in services.made]:
        seen += thread.wait()
    return seen


def main() -> None:
    """Do it once."""
    what, url, where, *names = sys.argv[1:]
    services = Regions(where, names)
    began = time.perf_counter()
    if what == "audit":
        database = Database(url)
        seen = audit(Journal(database), services)
    else:
        seen = read(services)
    took = time.perf_counter() - began
    status = Path("/proc/self/status").read_text().split()
    peak = int(status[status.index("VmHWM:") + 1])
    print(json.dumps({"seconds": took, "seen": seen, "peak_kib": peak}))


if __name__ == "__main__":
    main()
