# SPDX-License-Identifier: Apache-2.0
"""What came of a round, from outside: in the Glances, in what passed the proxies, in the log."""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import sqlalchemy as sa
from keystoneauth1 import exceptions

from glancesync.journal.schema import event
from tests.faults.thrash import checks
from tests.faults.thrash.checks import Looks, Noted, Side
from tests.functional.wait import until

if TYPE_CHECKING:
    from tests.faults.thrash.run import Run

_AUDITED = 60.0  # seconds an audit may take that has no work to do


class Verdict:
    """Judges a run in which nothing is broken at the moment.

    :param known: problems that earlier rounds have left
    """

    def __init__(self, run: Run, known: Collection[str] = ()) -> None:
        self._run = run
        self._stage = run.stage
        self._known = known
        self.problems: list[str] = []
        self.converged_after: float | None = None
        self.home: dict[str, Looks] = {}
        self.log: list[Noted] = []

    def __str__(self) -> str:
        if self.converged_after is None:
            return "not well in time"
        others = f", yet {len(self.problems)} problems" if self.problems else ""
        return f"well after {self.converged_after:.1f} s{others}"

    def reach(self, bound: float) -> None:
        """Look at everything; takes up to ``bound`` seconds and a bit."""
        self._equal(bound)
        if not self.problems and not self._known:
            self._at_rest()
        self.log = self._read_log()
        watcher, users = self._stage.watcher, self._stage.users
        self.problems += checks.hints_lost(self._stage.front.acknowledged, self.log)
        self.problems += checks.wrong_bytes(watcher.wrong)
        if not watcher.looks:
            self.problems.append("the watcher saw nothing")
        there = {name for name, looks in self.home.items() if looks["status"] not in checks.GONE}
        deleted = users.deleted - there
        for region in self._stage.others:
            proxy = self._stage.proxies[region]
            self.problems += checks.deletes(
                region, proxy.requests, proxy.flipped, self.log, deleted
            )
        self.problems += checks.calls_failed(users.calls, self._run.excused)
        secrets = [self._stage.cloud.password(user) for user in ("glance-sync", "glance", "admin")]
        for name in (*self._stage.nodes.apis, *self._stage.nodes.workers):
            self.problems += checks.said(name, self._stage.nodes.log(name), secrets)
        self.problems = [one for one in self.problems if one not in self._known]

    # -- now --------------------------------------------------------------------------------------

    def _equal(self, bound: float) -> None:
        began, before = time.monotonic(), [""]
        while True:
            found = self._looked()
            if found != before:
                self._run.say(f"{len(found)} differences: {'; '.join(found[:3])}")
                before = found
            if not found:
                self.converged_after = time.monotonic() - began
                return
            if time.monotonic() - began > bound:
                self._run.say(f"not well within {bound:.0f} s")
                self.problems += found
                return
            time.sleep(0.5)

    def _looked(self) -> list[str]:
        try:
            found = [*self._differences(), *([] if self._known else self._behind())]
        except exceptions.ClientException as error:
            return [f"could not look: {error}"]
        return [one for one in found if one not in self._known]

    def _images(self, region: str) -> dict[str, Looks]:
        watcher = self._stage.watcher
        return {
            image["id"]: {**image, "members": watcher.members(region, image["id"])}
            for image in watcher.images(region)
        }

    def _differences(self) -> Iterator[str]:
        self.home = self._images(self._stage.cloud.home)
        for region in self._stage.others:
            files = os.listdir(self._stage.cloud.region(region).datadir)  # first: images may come
            there = self._images(region)
            requests = self._stage.proxies[region].requests
            killed = self._run.killed(region)
            yield from checks.left_over(Side(region, there), files, requests, killed)
            strangers = self._run.breakage.strangers[region]
            yield from checks.strangers_changed(Side(region, there), strangers)
            once = {
                origin: ids
                for (name, origin), ids in self._stage.watcher.ids.items()
                if name == region
            }
            ours = {image: looks for image, looks in there.items() if image not in strangers}
            yield from checks.differences(self.home, Side(region, ours, once))

    def _behind(self) -> Iterator[str]:
        """What glance-sync says of itself must be the same."""
        status = self._run.ask("GET", "/v1/status")["status"]
        if not status["in_sync"]:
            yield f"glance-sync says that it is not in sync: {status}"

    def _at_rest(self) -> None:
        """An audit of everything finds nothing, and changes nothing.

        The first of home may: of an image that no region had, and that was deleted with the hint
        lost, nothing is to be seen before.
        """
        home = self._stage.cloud.home
        for number, region in enumerate([home, *self._stage.cloud.names]):
            before = self._run.ask("GET", f"/v1/audits/{region}")["audit"]["finished_at"]
            self._run.ask("POST", f"/v1/audits/{region}/run")

            def ended(region: str = region, before: str | None = before) -> Looks:
                audit: Looks = self._run.ask("GET", f"/v1/audits/{region}")["audit"]
                assert audit["finished_at"] not in (None, before), audit
                assert not audit["running"], audit
                return audit

            try:
                audit = until(ended, _AUDITED, f"the audit of {region} ends")
            except AssertionError as error:
                self.problems.append(str(error))
                continue
            if number and (audit["drifted"] or audit["missing"]):
                self.problems.append(f"{region} was at rest, and an audit found: {audit}")
        self.problems += [f"after an audit: {one}" for one in self._looked()]

    # -- before -----------------------------------------------------------------------------------

    def _read_log(self) -> list[Noted]:
        journal = self._stage.nodes.journal
        columns = event.c.image_id, event.c.region, event.c.what, event.c.detail, event.c.at
        with journal.database.read() as connection:
            found = list(connection.execute(sa.select(*columns).order_by(event.c.id)))
        journal.database.dispose()
        return [Noted(*row) for row in found]

    @property
    def events(self) -> collections.Counter[str]:
        """What -> how often it is in the event log."""
        return collections.Counter(one.what for one in self.log)
