# SPDX-License-Identifier: Apache-2.0
"""The journal as one object: transactions around the statements of the modules beside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from glancesync.breaker import Breaker
from glancesync.counts import ABANDONED, Count, Counter
from glancesync.errors import RegionError
from glancesync.interfaces import Ask, Changes, Note, Placed
from glancesync.journal import (
    audits,
    events,
    jobs,
    nodes,
    pins,
    plans,
    purge,
    queries,
    queue,
    regions,
    replicas,
    tallies,
)
from glancesync.journal.adoptions import Adoptions
from glancesync.journal.bindings import Bindings
from glancesync.journal.database import Database
from glancesync.journal.jobs import Jobs
from glancesync.journal.plans import Plans
from glancesync.journal.retries import retried
from glancesync.model import (
    Actor,
    Audit,
    Event,
    Finding,
    Hint,
    Image,
    ImageRecord,
    Need,
    Node,
    Outcome,
    Pin,
    Priority,
    Region,
    Replica,
    ReplicaView,
    Standing,
    Task,
)
from glancesync.orders import Step
from glancesync.placement.strategies import Facts
from glancesync.sources import Candidate, choose
from glancesync.states import ENDING, OPEN, FindingKind, TaskKind

_CANCELLED = "cancelled by hand"


class Journal:
    """Implements ``interfaces.Queue``, ``Replicas`` and ``Baselines``, and what the API asks.

    :param wake: called after a commit that may have made a task due
    """

    def __init__(self, database: Database, wake: Callable[[], None] = lambda: None) -> None:
        self.database = database
        self._wake = wake
        self.adoptions = Adoptions(database, self.ask)
        self.bindings = Bindings(database, lambda: self._wake())
        self.plans = Plans(database, lambda: self._wake())
        self.jobs = Jobs(database, lambda: self._wake())

    def on_work(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called whenever this process may have made a task due."""
        self._wake = wake

    # -- asking for work --------------------------------------------------------------------------

    @retried
    def hint(self, hints: Sequence[Hint], dropped: int = 0) -> None:
        """Record hints and ask for their image tasks. Committed when it returns (P2).

        :param dropped: how many the sender had to drop
        """
        if not hints:
            return
        with self.database.write() as connection:
            events.add_hints(connection, hints)
            queue.ask(
                connection,
                [
                    Ask(
                        TaskKind.IMAGE,
                        hint.image_id,
                        actor=hint.actor,
                        count=hint.merged,
                        removed=hint.removed,
                    )
                    for hint in hints
                ],
            )
            tallies.add(connection, [Count(Counter.DROPPED, amount=dropped)])
        self._wake()

    @retried
    def ask(self, asks: Sequence[Ask], note: str = "", *, expire: bool = False) -> None:
        """Record that somebody asked for these tasks, and why: a decision speaks for itself.

        :param expire: the grace period of the replicas asked for ends now, if it had begun
        """
        with self.database.write() as connection:
            queue.ask(connection, asks)
            for one in asks:
                if expire:
                    replicas.expire(connection, one.image_id, one.region)
                said = f"{one.decision.what} image {one.decision.id}" if one.decision else note
                events.add(connection, one.image_id, [Note("asked", said, one.region)], one.actor)
        self._wake()

    @retried
    def pin(self, wanted: Sequence[Pin], asks: Sequence[Ask]) -> None:
        """Record that somebody wants images in regions by name, and ask for these tasks."""
        with self.database.write() as connection:
            pins.put(connection, wanted)
            queue.ask(connection, asks)
            for one in wanted:
                note = Note("pinned", one.cause, one.region)
                events.add(connection, one.image_id, [note], one.actor)
        self._wake()

    @retried
    def need(self, image_id: str, region: str) -> Need:
        """What there is to know of an image that somebody needs in a region."""
        with self.database.read() as connection:
            return queries.need(connection, image_id, region)

    @retried
    def ensure(self, pin: Pin, ask: Ask | None) -> None:
        """Record that somebody needs an image in a region now, and ask for that task, if any.

        With a replica's task the replica is shown as pending.
        """
        with self.database.write() as connection:
            new = pins.put(connection, [pin])
            if ask is not None:
                self._ask_for(connection, ask)
            for one in new:
                note = Note("pinned", one.cause, one.region)
                events.add(connection, one.image_id, [note], one.actor)
        if ask is not None:
            self._wake()

    @retried
    def hurry(self, ask: Ask) -> None:
        """Ask for a task that brings an image where it goes anyway."""
        with self.database.write() as connection:
            self._ask_for(connection, ask)
        self._wake()

    @staticmethod
    def _ask_for(connection: Any, ask: Ask) -> None:
        if ask.region:
            replicas.make_pending(connection, ask.image_id, [ask.region])
        queue.ask(connection, [ask])

    @retried
    def unpin(self, image_id: str, names: Collection[str], why: str, actor: Actor) -> None:
        """Record that nobody wants an image in these regions by name any more, and why.

        Where the strategy does not want it either, its replica goes.
        """
        with self.database.write() as connection:
            pins.remove(connection, image_id, names)
            ask = Ask(TaskKind.IMAGE, image_id, priority=Priority.USER, actor=actor, urgent=True)
            queue.ask(connection, [dataclasses.replace(ask, removed=True)])
            for name in sorted(names):
                events.add(connection, image_id, [Note("unpinned", why, name)], actor)
        self._wake()

    # -- interfaces.Queue -------------------------------------------------------------------------

    @retried
    def claim(
        self, owner: str, *, lease: float, limit: int, regions: Collection[str]
    ) -> list[Task]:
        with self.database.write() as connection:
            return queue.claim(connection, owner, lease, limit, regions)

    @retried
    def renew(self, tasks: Iterable[Task], *, lease: float) -> set[int]:
        with self.database.write() as connection:
            return queue.renew(connection, tasks, lease)

    @retried
    def commit(self, task: Task, changes: Changes, outcome: Outcome | None = None) -> None:
        with self.database.write() as connection:
            row = queue.fence(connection, task)
            if changes.image is not None:
                replicas.save_image(connection, changes.image)
            replicas.make_pending(connection, task.image_id, changes.pending)
            if changes.replica is not None:
                replicas.save(connection, changes.replica)
            if changes.promoted:
                self._promote(connection, task)
            if changes.unused is not None:
                pins.lapse(connection, task.image_id, task.region, changes.unused)
            if changes.audit is not None:
                audits.save(connection, changes.audit)
            if changes.watched_to is not None:
                audits.watched(connection, task.region, changes.watched_to)
            audits.forget(connection, task.region, changes.settled)
            audits.add_findings(connection, changes.findings)
            events.add(connection, task.image_id, changes.notes, task.actor)
            if changes.plan is not None:
                plans.save(connection, changes.plan)
            plans.save_steps(connection, changes.steps)
            queue.ask(connection, changes.asks)
            if changes.hurry is not None:
                queue.hurry_those(connection, changes.hurry, task.image_id, changes.hurry_most)
            if changes.begun:
                queue.begin(connection, task)
            if outcome is not None:
                queue.conclude(connection, task, outcome, row)
            if task.kind is TaskKind.REPLICA:
                over = changes.promoted or not queue.again(task, row)
                jobs.follow(connection, task, changes, outcome, over=over)
            tallies.add(connection, tallies.of_end(task, changes, outcome, row.waited))
        if changes.asks or outcome is not None:
            self._wake()

    def _promote(self, connection: Any, task: Task) -> None:
        """Home has the task's image: from now on it is one of home's, and goes where these go."""
        old = replicas.get_image(connection, task.image_id)
        replicas.promote(connection, task.image_id, task.region)
        if old is None or old.origin is None:
            return
        pins.remove(connection, task.image_id, [task.region])
        said = f"made from image {old.origin_id or task.image_id} of {old.origin}"
        events.add(connection, task.image_id, [Note("promoted", said, task.region)], task.actor)
        queue.ask(connection, [Ask(TaskKind.IMAGE, task.image_id, actor=task.actor)])

    @retried
    def reserve(
        self,
        task: Task,
        replica: Replica,
        candidates: Sequence[Candidate],
        patience: float,
    ) -> Replica | None:
        with self.database.write() as connection:
            queue.fence(connection, task)
            busy = replicas.served(
                connection, [one.region for one in candidates], replica, patience
            )
            source = choose(candidates, busy)
            if source is None:
                return None
            replicas.save(connection, dataclasses.replace(replica, source=source))
            replicas.take_room(connection, replica)
            return replicas.get(connection, replica.image_id, replica.region)

    @retried
    def release(self, tasks: Iterable[Task]) -> None:
        with self.database.write() as connection:
            queue.release(connection, tasks)

    @retried
    def rescue(self, fast_attempts: int, pause: float) -> int:
        with self.database.write() as connection:
            rescued = queue.rescue(connection, fast_attempts, pause)
            tallies.add(
                connection, [Count(Counter.FAILURES, region, ABANDONED) for region in rescued]
            )
        return len(rescued)

    # -- interfaces.Replicas ----------------------------------------------------------------------

    @retried
    def image(self, image_id: str) -> ImageRecord | None:
        with self.database.read() as connection:
            return replicas.get_image(connection, image_id)

    @retried
    def replica(self, image_id: str, region: str) -> Replica | None:
        with self.database.read() as connection:
            return replicas.get(connection, image_id, region)

    @retried
    def replicas_of(self, image_id: str) -> list[Replica]:
        with self.database.read() as connection:
            return replicas.of_image(connection, image_id)

    @retried
    def holder(self, region: str, replica_id: str) -> str | None:
        with self.database.read() as connection:
            return replicas.holder(connection, region, replica_id)

    @retried
    def id_map(self, region: str, image_ids: Collection[str]) -> dict[str, str]:
        with self.database.read() as connection:
            return replicas.id_map(connection, region, image_ids)

    def step(self, plan_id: int, image_id: str, region: str) -> Step | None:
        return self.plans.step(plan_id, image_id, region)

    @retried
    def referrers(self, image_id: str) -> list[str]:
        with self.database.read() as connection:
            return replicas.referrers(connection, image_id)

    @retried
    def regions(self) -> list[Region]:
        with self.database.read() as connection:
            return regions.every(connection)

    @retried
    def facts(self, images: Collection[Image]) -> dict[str, Facts]:
        with self.database.read() as connection:
            return pins.facts(connection, images, regions.every(connection))

    @retried
    def pins(self, image_ids: Collection[str]) -> list[Pin]:
        """Where somebody wants these images by name, by image and region."""
        with self.database.read() as connection:
            return pins.of_images(connection, image_ids)

    @retried
    def progress(self, image_id: str, region: str, done: int, total: int | None) -> None:
        with self.database.write() as connection:
            replicas.progress(connection, image_id, region, done, total)

    # -- nodes ------------------------------------------------------------------------------------

    @retried
    def say_node(self, name: str, settings: Mapping[str, str]) -> None:
        """Record that a node lives, and how it is set up."""
        with self.database.write() as connection:
            nodes.say(connection, name, settings)

    @retried
    def leave_node(self, name: str) -> None:
        """Forget a node that ends."""
        with self.database.write() as connection:
            nodes.leave(connection, name)

    @retried
    def nodes(self) -> list[Node]:
        """Those heard of lately, by name."""
        with self.database.read() as connection:
            return nodes.alive(connection)

    # -- regions ----------------------------------------------------------------------------------

    @retried
    def discovered(self, urls: Mapping[str, str], home: str, *, first: bool = False) -> list[str]:
        """Record what the catalog lists, and have it audited; return the names that are new.

        A new region is filled by an audit of home, which finds that its images are missing there.

        :param first: this process has just started; see at once what changed meanwhile
        :raises ConfigurationError: the journal has another home; nothing is recorded
        """
        with self.database.write() as connection:
            new = regions.discovered(connection, urls, home)
            queue.open_always(connection, (TaskKind.WATCH, TaskKind.AUDIT), urls)
            if new:
                queue.make_due(connection, TaskKind.AUDIT, [home])
            if first:
                queue.make_due(connection, TaskKind.WATCH, urls)
        self._wake()
        return new

    @retried
    def look_again(self) -> None:
        """Have what changed lately looked at now in all regions, as after a start."""
        with self.database.write() as connection:
            names = [region.name for region in regions.every(connection)]
            queue.make_due(connection, TaskKind.WATCH, names)
        self._wake()

    @retried
    def region(self, name: str) -> Region | None:
        """The record of a region."""
        with self.database.read() as connection:
            return regions.get(connection, name)

    @retried
    def update_region(
        self,
        name: str,
        changes: Mapping[str, Any],
        actor: Actor = Actor(),  # noqa: B008 - frozen
    ) -> None:
        """Set some of what an operator may say about a region.

        One that is opened is audited at once: it may have changed while nobody looked.
        """
        with self.database.write() as connection:
            regions.update(connection, name, changes)
            said = ", ".join(f"{field} = {json.dumps(changes[field])}" for field in sorted(changes))
            events.add(connection, "", [Note("set", said, name)], actor)
            if changes.get("enabled") or changes.get("maintenance") is False:
                queue.make_due(connection, TaskKind.AUDIT, [name])
            if "labels" in changes:  # images may go by them
                homes = [one.name for one in regions.every(connection) if one.home]
                queue.make_due(connection, TaskKind.AUDIT, homes)
        self._wake()

    @retried
    def note_region(self, name: str, error: RegionError | None, breaker: Breaker) -> None:
        """Remember how a region did; if it answers again, what failed meanwhile is due."""
        if error is None:  # the usual case: write only if there is something to take back
            with self.database.read() as connection:
                region = regions.get(connection, name)
            if region is None or region.last_error is None:
                return
        with self.database.write() as connection:
            since = regions.note(connection, name, error, breaker)
            if since is not None:
                home = regions.get(connection, name)
                everything = home is not None and home.home
                queue.hurry(connection, None if everything else name, since)
        if since is not None:
            self._wake()

    # -- interfaces.Baselines ---------------------------------------------------------------------

    @retried
    def audit(self, region: str) -> Audit:
        with self.database.read() as connection:
            return audits.get(connection, region)

    @retried
    def nth(self, region: str, after: str, until: str | None, count: int) -> str | None:
        with self.database.read() as connection:
            return audits.nth(connection, region, after, until, count)

    @retried
    def present_images(self, after: str, until: str | None) -> list[ImageRecord]:
        with self.database.read() as connection:
            return audits.present_images(connection, after, until)

    @retried
    def gone(self, after: str, until: str | None) -> list[ImageRecord]:
        with self.database.read() as connection:
            return audits.gone(connection, after, until)

    @retried
    def images_by_id(self, image_ids: Collection[str]) -> dict[str, ImageRecord]:
        with self.database.read() as connection:
            return audits.images_by_id(connection, image_ids)

    @retried
    def images_by_hash(self, hashes: Collection[str]) -> list[ImageRecord]:
        with self.database.read() as connection:
            return audits.images_by_hash(connection, hashes)

    @retried
    def placed(self, region: str, after: str, until: str | None) -> list[Placed]:
        with self.database.read() as connection:
            return audits.placed(connection, region, after, until)

    @retried
    def placed_as(self, region: str, replica_ids: Collection[str]) -> list[Placed]:
        with self.database.read() as connection:
            return audits.placed_as(connection, region, replica_ids)

    @retried
    def replicas_for(self, image_ids: Collection[str]) -> list[ReplicaView]:
        with self.database.read() as connection:
            return queries.replicas_of(connection, image_ids)

    @retried
    def findings(
        self, region: str, kinds: Collection[FindingKind] = frozenset(FindingKind)
    ) -> list[Finding]:
        with self.database.read() as connection:
            return audits.findings(connection, region, kinds)

    @retried
    def count_findings(self, region: str) -> dict[FindingKind, int]:
        with self.database.read() as connection:
            return audits.count_findings(connection, region)

    @retried
    def known(self, region: str) -> int:
        with self.database.read() as connection:
            return audits.known(connection, region)

    @retried
    def audits(self) -> list[Audit]:
        """How far the reconciler is with each region that was ever looked at, by name."""
        with self.database.read() as connection:
            return audits.every(connection)

    @retried
    def run_audit(self, region: str, actor: Actor) -> None:
        """Have everything a region has be looked at now."""
        with self.database.write() as connection:
            queue.make_due(connection, TaskKind.AUDIT, [region])
            events.add(connection, "", [Note("asked", "audit", region)], actor)
        self._wake()

    @retried
    def release_audit(self, audit: Audit, actor: Actor) -> int:
        """Let the deletions through that a pass has held back, and no others; return how many.

        :param audit: that pass, as whoever releases them has seen it
        """
        with self.database.write() as connection:
            held = audits.release(connection, audit)
            queue.ask(connection, [audits.task_of(one, actor) for one in held])
            for one in held:
                note = Note("asked", f"deletion released: {one.detail}", audit.region)
                events.add(connection, one.image_id, [note], actor)
            if held:
                note = Note("asked", f"{len(held)} deletions released", audit.region)
                events.add(connection, "", [note], actor)
        if held:
            self._wake()
        return len(held)

    # -- what ended long ago ----------------------------------------------------------------------

    @retried
    def purge(self, seconds: float, limit: int) -> int:
        """Forget about ``limit`` rows that ended more than ``seconds`` ago; return how many went.

        0: there are no more. Nothing that is open ever goes.
        """
        with self.database.write() as connection:
            return purge.purge(connection, seconds, limit)

    # -- what people ask --------------------------------------------------------------------------

    @retried
    def list_images(
        self,
        *,
        owner: str | None = None,
        name: str | None = None,
        limit: int = 100,
        marker: str | None = None,
    ) -> list[ImageRecord]:
        """A page of home images, by id."""
        with self.database.read() as connection:
            return queries.images(connection, owner=owner, name=name, limit=limit, marker=marker)

    @retried
    def list_replicas(
        self,
        *,
        region: str | None = None,
        state: str | None = None,
        owner: str | None = None,
        limit: int = 100,
        marker: tuple[str, str] | None = None,
    ) -> list[ReplicaView]:
        """A page of replicas, by (image, region)."""
        with self.database.read() as connection:
            return queries.replicas(
                connection, region=region, state=state, owner=owner, limit=limit, marker=marker
            )

    @retried
    def list_tasks(
        self,
        *,
        states: Collection[str] = OPEN,
        kinds: Collection[str] = ENDING,
        region: str | None = None,
        image_id: str | None = None,
        newest: bool = False,
        limit: int = 100,
        marker: int | None = None,
    ) -> list[Task]:
        """A page of tasks by id, or the newest first.

        Those that are open, and that end one day, unless told.
        """
        with self.database.read() as connection:
            return queries.tasks(
                connection,
                states=states,
                kinds=kinds,
                region=region,
                image_id=image_id,
                newest=newest,
                limit=limit,
                marker=marker,
            )

    @retried
    def task(self, task_id: int) -> Task | None:
        """A task by its number."""
        with self.database.read() as connection:
            return queue.get(connection, task_id)

    @retried
    def retry_task(self, task_id: int, actor: Actor) -> bool:
        """Make an open task due now; False if it has ended."""
        with self.database.write() as connection:
            changed = queue.retry(connection, task_id)
            if changed:
                self._note_task(connection, task_id, "retried by hand", actor)
        self._wake()
        return changed

    @retried
    def cancel_task(self, task_id: int, actor: Actor) -> bool:
        """End an open task without result; False if it has ended.

        The next change of the image, audit of home, or wish of somebody opens another one; of an
        image that home does not have any more, only somebody's wish.
        """
        with self.database.write() as connection:
            changed = queue.cancel(connection, task_id, _CANCELLED)
            if changed:
                task = self._note_task(connection, task_id, _CANCELLED, actor)
                if task.kind is TaskKind.PLAN:
                    plans.abandon(connection, int(task.image_id), _CANCELLED)
                elif task.kind is TaskKind.JOB:
                    jobs.cancel(connection, int(task.image_id), actor)
                else:
                    jobs.abandon(connection, task.image_id, task.region, _CANCELLED)
                    replicas.abandon(connection, task.image_id, task.region, _CANCELLED)
        return changed

    def _note_task(self, connection: Any, task_id: int, what: str, actor: Actor) -> Task:
        task = queue.get(connection, task_id)
        assert task is not None  # noqa: S101 - it was just changed
        events.add(connection, task.image_id, [Note("asked", what, task.region)], actor)
        return task

    @retried
    def events(
        self,
        image_id: str,
        region: str | None = None,
        *,
        limit: int = 100,
        marker: int | None = None,
    ) -> list[Event]:
        """A page of events about an image, or with "" about ``region`` as such; newest first."""
        with self.database.read() as connection:
            return events.about(connection, image_id, region, limit, marker)

    @retried
    def standings(self) -> tuple[list[Standing], int]:
        """How far each region is, by name, and how many images are not in sync everywhere."""
        with self.database.read() as connection:
            return queries.standings(connection), queries.images_behind(connection)

    @retried
    def counts(self) -> list[Count]:
        """All that was ever counted."""
        with self.database.read() as connection:
            return tallies.every(connection)
