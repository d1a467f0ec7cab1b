# SPDX-License-Identifier: Apache-2.0
"""What would have replicas deleted by the thousand, and does not (P4).

The journal and everything that decides are real; the Glances lie, or have lost their images.
"""

import dataclasses
import functools
import pathlib
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from glancesync.breaker import Breaker
from glancesync.bundle import Bundle
from glancesync.destinations import Destinations
from glancesync.executor import Executor, Flow
from glancesync.home import observed
from glancesync.interfaces import Ask, Changes
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Audit, Done, Hint, Priority, Replica
from glancesync.pacing import Limits, Pacing
from glancesync.placement.strategies import STRATEGIES
from glancesync.reconciler import AuditSettings, Reconciler
from glancesync.recording import Settings
from glancesync.regions.images import GlanceImages
from glancesync.retry import RetryPolicy
from glancesync.states import DeleteMode, ReplicaState, TaskKind
from glancesync.transports.reading import Reading
from glancesync.transports.settings import TransferSettings
from glancesync.wiring import SystemClock
from tests.contract.listing_glance import ListingGlance, listed
from tests.functional.wait import until

HOME = "Home"
REGIONS = ("East", "West")
USER = Actor("alice", "p" * 32, ("member",), "req-1")
ADMIN = Actor("the operator", "f" * 32, ("admin",), "req-2")
GUARD = 2
#: More than the guard lets through by itself, and as many.
MANY, FEW = 8, GUARD


def private(image_id: str, **fields: Any) -> dict[str, Any]:
    return listed(image_id, visibility="private", **fields)


class Estate:
    """Home and two regions that hold what home holds; everything of it on record as ours."""

    def __init__(self, url: str) -> None:
        self.journal = Journal(Database(url))
        self.journal.database.migrate()
        self.glances = {name: ListingGlance(name) for name in (HOME, *REGIONS)}
        self.home = HOME
        self.settings = Settings(
            Destinations(STRATEGIES["ALL"], self.journal),
            [],
            Reading(TransferSettings()),
            SystemClock(),
            Pacing(self.journal.regions, lambda: 1, SystemClock(), lambda: 0, Limits()),
        )
        self.ids: list[str] = []
        self.journal.discovered({name: f"http://{name}" for name in self.glances}, HOME)

    def __call__(self, region: str) -> GlanceImages:
        return self.glances[region].service

    def close(self) -> None:
        self.journal.database.dispose()
        for glance in self.glances.values():
            glance.close()

    def fill(self, count: int) -> None:
        """Images that are in sync everywhere."""
        self.ids = sorted(str(uuid.uuid5(uuid.NAMESPACE_OID, str(n))) for n in range(count))
        self.journal.ask([Ask(TaskKind.IMAGE, self.ids[0])], "test")
        (task,) = self.journal.claim("test", lease=60, limit=1, regions={""})
        for image_id in self.ids:
            for glance in self.glances.values():
                glance.images[image_id] = private(image_id)
            image = self(HOME).get(image_id)
            assert image is not None
            record = observed(image_id, image, None)
            for region in REGIONS:
                replica = Replica(
                    image_id,
                    region,
                    ReplicaState.IN_SYNC,
                    replica_id=image_id,
                    made=True,
                    observed_generation=1,
                    baseline=image.fingerprint(),
                )
                self.journal.commit(task, Changes(image=record, replica=replica))
        self.journal.commit(task, Changes(), Done("filled"))
        self.work()  # the audits that begin by themselves
        assert [one.held for one in self.journal.audits()] == [0, 0, 0]

    def executor(self) -> Executor:
        heard = functools.partial(self.journal.note_region, breaker=Breaker())
        reconciler = Reconciler(
            self.journal,
            self.journal,
            self.journal,
            self,
            self.settings.destinations,
            AuditSettings(guard_images=GUARD),
            lambda: 0.5,
            heard,
        )
        return Executor(
            self.journal,
            self.journal,
            self,
            RetryPolicy(),
            self.settings,
            lambda: 0.5,
            {
                TaskKind.WATCH: Flow(reconciler.watch, 60),
                TaskKind.AUDIT: Flow(reconciler.audit, 86400),
            },
            heard,
        )

    def work(self, *closed: str) -> None:
        """Run every task that is due, but for those of closed regions."""
        executor = self.executor()
        regions = {"", *self.glances} - set(closed)
        while tasks := self.journal.claim("test", lease=60, limit=8, regions=regions):
            for task in tasks:
                executor.run(task, Bundle(1), threading.Event())

    def audited(self, region: str = HOME) -> Audit:
        self.journal.run_audit(region, ADMIN)
        self.work()
        return self.journal.audit(region)

    def whole(self) -> bool:
        """True if no region has lost an image."""
        return all(
            glance.deleted == [] and sorted(glance.images) == self.ids
            for name, glance in self.glances.items()
            if name != HOME
        )

    def states(self, image_id: str) -> list[ReplicaState]:
        return [one.state for one in self.journal.replicas_of(image_id)]

    def words(self) -> str:
        """Everything that open tasks say."""
        kinds = [kind.value for kind in TaskKind]
        return "\n".join(task.reason or "" for task in self.journal.list_tasks(kinds=kinds))


@pytest.fixture
def estate(tmp_path: pathlib.Path) -> Iterator[Estate]:
    estate = Estate(f"sqlite:///{tmp_path}/journal.sqlite")
    yield estate
    estate.close()


# -- the ordinary case, to compare with -----------------------------------------------------------


def test_a_deletion_that_was_told_of_is_followed_and_its_cause_is_on_record(
    estate: Estate,
) -> None:
    estate.fill(FEW)
    gone = estate.ids[0]
    del estate.glances[HOME].images[gone]
    estate.journal.hint([Hint(gone, USER, removed=True)])
    estate.work()
    for region in REGIONS:
        assert estate.glances[region].deleted == [gone]
        [event] = [
            one
            for one in estate.journal.events(gone)
            if one.what == "delete" and one.region == region
        ]
        assert event.detail == f"{gone}: the home image is deleted"
        assert event.actor == USER
    assert estate.states(gone) == [ReplicaState.DELETED] * 2


def test_a_deletion_that_nobody_told_of_is_found_by_the_audit(estate: Estate) -> None:
    estate.fill(FEW)
    gone = estate.ids[0]
    del estate.glances[HOME].images[gone]
    assert estate.audited().held == 0
    assert estate.states(gone) == [ReplicaState.DELETED] * 2
    assert [len(estate.glances[region].deleted) for region in REGIONS] == [1, 1]


# -- home lost its images, or hides them ----------------------------------------------------------


def restored_empty(home: ListingGlance) -> None:
    home.images.clear()


def lists_nothing(home: ListingGlance) -> None:
    home.lists_nothing = True


@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize("lie", [restored_empty, lists_nothing])
def test_a_home_that_lists_nothing_is_not_believed(
    estate: Estate, lie: Callable[[ListingGlance], None], count: int
) -> None:
    estate.fill(count)
    lie(estate.glances[HOME])
    assert estate.audited().held == count
    assert estate.audited().held == count, "nor when it says so again"
    assert estate.whole()
    assert len(estate.journal.findings(HOME)) == count
    assert "held until somebody releases them: the region lists no image at all" in estate.words()


def test_a_home_that_forgot_the_last_weeks_is_not_believed(estate: Estate) -> None:
    """Its database was restored from a backup."""
    estate.fill(MANY)
    for image_id in estate.ids[: GUARD + 1]:
        del estate.glances[HOME].images[image_id]
    assert estate.audited().held == GUARD + 1
    assert estate.whole()


def test_a_page_that_lacks_a_few_is_looked_at_twice(estate: Estate) -> None:
    """So few need no human; but each is asked for by name before anything is deleted."""
    estate.fill(MANY)
    home = estate.glances[HOME]
    home.page, home.forget_next = MANY - GUARD, True
    audit = estate.audited()
    assert (audit.held, audit.missing) == (0, GUARD)
    assert estate.whole()
    assert estate.journal.known(HOME) == MANY


def test_a_home_that_ceased_to_treat_us_as_admin(estate: Estate) -> None:
    estate.fill(FEW)
    estate.glances[HOME].images[estate.ids[0]]["visibility"] = "public"
    estate.glances[HOME].admin = False
    before = estate.journal.audit(HOME).finished_at
    assert estate.audited().finished_at == before, "that pass does not end"
    assert "does not treat us as an admin" in estate.words()
    assert estate.whole()
    assert estate.journal.known(HOME) == FEW


def test_a_listing_that_does_not_go_on(estate: Estate) -> None:
    estate.fill(FEW)
    home = estate.glances[HOME]
    home.page, home.same_page_for_ever = 1, True
    estate.audited()
    assert "does not go on" in estate.words()


def test_what_was_queued_when_home_lost_its_images_deletes_nothing(estate: Estate) -> None:
    """A region was away for days; its tasks are as many as there are images."""
    estate.fill(MANY)
    for image_id in estate.ids:
        estate.glances[HOME].images[image_id]["name"] = "changed"
    estate.journal.hint([Hint(image_id, USER) for image_id in estate.ids])
    estate.work("West")
    assert len(estate.journal.list_tasks(region="West")) == MANY
    restored_empty(estate.glances[HOME])
    estate.work()
    assert estate.whole()
    assert estate.journal.known(HOME) == MANY
    assert estate.audited().held == MANY
    replica = estate.journal.replica(estate.ids[0], "West")
    assert replica is not None
    assert "says whether it is gone" in (replica.last_error or "")


def test_hints_that_waited_when_home_lost_its_images_delete_nothing(estate: Estate) -> None:
    """They say that the images changed, not that anybody removed them."""
    estate.fill(MANY)
    estate.journal.hint([Hint(image_id, USER) for image_id in estate.ids])
    restored_empty(estate.glances[HOME])
    estate.work()
    assert estate.whole()
    assert estate.journal.known(HOME) == MANY
    assert estate.audited().held == MANY


def test_a_removal_that_was_told_of_before_a_change_counts(estate: Estate) -> None:
    """Hints of two Glance processes may come in any order."""
    estate.fill(FEW)
    gone = estate.ids[0]
    estate.journal.hint([Hint(gone, USER, removed=True)])
    estate.journal.hint([Hint(gone, USER)])
    forget(estate, [gone])
    estate.work()
    for region in REGIONS:
        assert estate.glances[region].deleted == [gone]


def test_a_deletion_found_by_a_replica_task_waits_for_the_audit_only(estate: Estate) -> None:
    estate.fill(FEW)
    gone = estate.ids[0]
    del estate.glances[HOME].images[gone]
    estate.journal.ask([Ask(TaskKind.REPLICA, gone, "West")], "test")
    estate.work()
    assert estate.whole()
    estate.audited()
    assert estate.states(gone) == [ReplicaState.DELETED] * 2


def test_who_asks_by_name_is_believed(estate: Estate) -> None:
    estate.fill(FEW)
    gone = estate.ids[0]
    del estate.glances[HOME].images[gone]
    ask = Ask(TaskKind.REPLICA, gone, "West", Priority.USER, ADMIN, urgent=True)
    estate.journal.ask([ask], "sync")
    estate.work()
    assert estate.states(gone) == [ReplicaState.DELETED] * 2


# -- a region seems to have lost its bytes --------------------------------------------------------


@pytest.mark.parametrize("count", [FEW, MANY])
def test_a_region_whose_replicas_all_look_corrupt(estate: Estate, count: int) -> None:
    estate.fill(count)
    for body in estate.glances["East"].images.values():
        body["os_hash_value"] = "b" * 128
    assert estate.audited("East").held == count
    assert estate.whole()
    assert f"these are all of the {count} that were known" in estate.words()


def test_a_region_that_hashes_otherwise_is_not_corrupt(estate: Estate) -> None:
    estate.fill(FEW)
    for body in estate.glances["East"].images.values():
        body.update(os_hash_algo="sha256", os_hash_value="b" * 64)
    audit = estate.audited("East")
    assert (audit.held, audit.drifted) == (0, FEW)
    assert estate.whole()


# -- what a human lets through --------------------------------------------------------------------


def forget(estate: Estate, ids: list[str]) -> None:
    for image_id in ids:
        del estate.glances[HOME].images[image_id]


def test_what_is_released_is_what_was_held_and_no_more(estate: Estate) -> None:
    estate.fill(MANY)
    first, later = estate.ids[:3], estate.ids[3:6]
    forget(estate, first)
    seen = estate.audited()
    assert seen.held == 3
    forget(estate, later)
    assert estate.journal.release_audit(seen, ADMIN) == 3
    estate.work()
    for region in REGIONS:
        assert sorted(estate.glances[region].deleted) == first
    [event] = [
        one
        for one in estate.journal.events(first[0])
        if one.what == "delete" and one.region == "East"
    ]
    assert event.actor == ADMIN
    assert estate.journal.audit(HOME).held == 0
    assert estate.audited().held == 3


def test_a_pass_that_is_no_longer_the_last_can_not_be_released(estate: Estate) -> None:
    estate.fill(MANY)
    forget(estate, estate.ids[:3])
    seen = estate.audited()
    forget(estate, estate.ids[3:])
    now = estate.audited()
    assert now.held == MANY
    assert estate.journal.release_audit(seen, ADMIN) == 0
    assert estate.journal.release_audit(dataclasses.replace(now, region="East"), ADMIN) == 0
    estate.work()
    assert estate.whole()


def test_what_was_released_by_mistake_is_still_looked_at(estate: Estate) -> None:
    """The operator believed a lying list; home has the images when asked for one by one."""
    estate.fill(MANY)
    lists_nothing(estate.glances[HOME])
    held = estate.audited()
    assert estate.journal.release_audit(held, ADMIN) == MANY
    estate.work()
    assert estate.whole()
    assert estate.journal.known(HOME) == MANY


# -- what is left, and when -----------------------------------------------------------------------


def test_a_region_keeps_what_its_delete_mode_says(estate: Estate) -> None:
    estate.fill(FEW)
    estate.settings = dataclasses.replace(estate.settings, delete_mode=DeleteMode.KEEP)
    estate.journal.update_region("West", {"delete_mode": "hide"})
    gone = estate.ids[0]
    del estate.glances[HOME].images[gone]
    estate.journal.hint([Hint(gone, USER, removed=True)])
    estate.work()
    assert estate.whole()
    east, west = estate.journal.replicas_of(gone)
    assert east.state is west.state is ReplicaState.RELEASED
    assert east.last_error == "left there as it was (delete_mode keep)"
    assert west.last_error == "left there, hidden (delete_mode hide)"
    assert estate.glances["East"].images[gone] == private(gone)
    assert estate.glances["West"].images[gone] == private(gone, os_hidden=True)

    estate.journal.update_region("East", {"delete_mode": "mirror"})
    ask = Ask(TaskKind.IMAGE, gone, "", Priority.USER, ADMIN, urgent=True)
    estate.journal.ask([ask], "sync")
    estate.work()
    assert estate.glances["East"].deleted == [gone], "it was ours to delete all the time"
    assert estate.states(gone) == [ReplicaState.DELETED, ReplicaState.RELEASED]


def test_what_we_did_not_make_is_left_in_every_mode(estate: Estate) -> None:
    estate.fill(FEW)
    gone = estate.ids[0]
    (task,) = claimed(estate, gone)
    replica = estate.journal.replica(gone, "West")
    assert replica is not None
    adopted = dataclasses.replace(replica, made=False)
    estate.journal.commit(task, Changes(replica=adopted), Done("adopted"))
    estate.journal.update_region("West", {"delete_mode": "deactivate"})
    del estate.glances[HOME].images[gone]
    estate.journal.hint([Hint(gone, USER, removed=True)])
    estate.work()
    assert estate.glances["West"].images[gone] == private(gone)
    [_, west] = estate.journal.replicas_of(gone)
    assert west.state is ReplicaState.RELEASED
    assert west.last_error == "left there as it was: it was not made by glance-sync"


def claimed(estate: Estate, image_id: str) -> list:  # type: ignore[type-arg]
    estate.journal.ask([Ask(TaskKind.REPLICA, image_id, "West")], "test")
    return estate.journal.claim("test", lease=60, limit=1, regions={"West"})


def test_nothing_is_done_before_the_grace_period_is_over(estate: Estate) -> None:
    estate.fill(FEW)
    estate.settings = dataclasses.replace(estate.settings, delete_grace=3600.0)
    gone = estate.ids[0]
    del estate.glances[HOME].images[gone]
    estate.journal.hint([Hint(gone, USER, removed=True)])
    estate.work()
    record = estate.journal.image(gone)
    east, west = estate.journal.replicas_of(gone)
    assert record is not None
    assert east.state is west.state is ReplicaState.EXPIRING
    assert east.expires_at == pytest.approx(record.changed_at + 3600)
    estate.journal.hint([Hint(gone, USER, removed=True)])
    estate.work()
    assert estate.whole(), "another hint does not end it"
    assert estate.states(gone) == [ReplicaState.EXPIRING] * 2

    ask = Ask(TaskKind.REPLICA, gone, "East", Priority.USER, ADMIN, urgent=True)
    estate.journal.ask([ask], "sync", expire=True)
    estate.work()
    assert estate.glances["East"].deleted == [gone], "a human does, in the region named"
    assert estate.glances["West"].deleted == []
    assert estate.states(gone) == [ReplicaState.DELETED, ReplicaState.EXPIRING]


def test_the_wish_of_before_does_not_end_a_grace_period(estate: Estate) -> None:
    """Somebody asked for a sync, the region was away, and then the image was deleted."""
    estate.fill(FEW)
    estate.settings = dataclasses.replace(estate.settings, delete_grace=3600.0)
    gone = estate.ids[0]
    ask = Ask(TaskKind.REPLICA, gone, "West", Priority.USER, ADMIN, urgent=True)
    estate.journal.ask([ask], "sync", expire=True)
    del estate.glances[HOME].images[gone]
    estate.journal.hint([Hint(gone, USER, removed=True)])
    estate.work()
    assert estate.whole()


def test_the_end_of_a_grace_period(estate: Estate) -> None:
    estate.fill(FEW)
    estate.settings = dataclasses.replace(estate.settings, delete_grace=1.0)
    gone = estate.ids[0]
    del estate.glances[HOME].images[gone]
    estate.journal.hint([Hint(gone, USER, removed=True)])
    estate.work()
    assert estate.whole()

    def over() -> bool:
        estate.work()
        return estate.states(gone) == [ReplicaState.DELETED] * 2

    until(over, 20, "the grace period is over")
    assert [len(estate.glances[region].deleted) for region in REGIONS] == [1, 1]


def test_an_image_that_is_back_is_not_deleted_at_the_end_of_its_grace(estate: Estate) -> None:
    """Home's database was put right again while there was time."""
    estate.fill(FEW)
    estate.settings = dataclasses.replace(estate.settings, delete_grace=3600.0)
    gone = estate.ids[0]
    body = estate.glances[HOME].images.pop(gone)
    estate.journal.hint([Hint(gone, USER, removed=True)])
    estate.work()
    estate.glances[HOME].images[gone] = body
    estate.audited()
    assert estate.whole()
    for replica in estate.journal.replicas_of(gone):
        assert (replica.state, replica.expires_at) == (ReplicaState.IN_SYNC, None)
