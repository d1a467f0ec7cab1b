# SPDX-License-Identifier: Apache-2.0
"""Audits and watches against a real journal and lists of every shape."""

import dataclasses
import datetime
import json
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glancesync.destinations import Destinations
from glancesync.errors import LeaseLost, Refused, Throttled, Transient
from glancesync.interfaces import Ask, Changes, ImageService, Placed
from glancesync.journal import queue
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.listing import listing
from glancesync.model import (
    Actor,
    Again,
    Audit,
    Done,
    Finding,
    Image,
    ImageRecord,
    Outcome,
    Priority,
    Replica,
    Task,
)
from glancesync.placement.strategies import STRATEGIES, Facts, Placement, Strategy
from glancesync.reconciler import AuditSettings, Reconciler
from glancesync.regions.images import image_from
from glancesync.states import FindingKind, ReplicaState, TaskKind
from tests.contract.listing_glance import Answer, ListingGlance, listed
from tests.journals import record as record_regions

pytestmark = pytest.mark.matrix(database_kind=("postgresql", "mariadb"))

HOME, REGION = "A", "B"


def image_id(number: int) -> str:
    return f"{number:08x}-0000-0000-0000-000000000000"


def just_now() -> str:
    """As Glance writes the time."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")[:19] + "Z"


class Lease:
    """A lease that is good until told."""

    lost = False

    def is_set(self) -> bool:
        return self.lost


class World:
    """Home A and region B; images that are in sync in both."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.glances = {name: ListingGlance(name, page=2) for name in (HOME, REGION)}
        self.home = HOME
        self.settings = AuditSettings(guard_images=2, guard_percent=0)
        self.strategy = "ALL"
        self.strategies = dict(STRATEGIES)
        self.lease = Lease()
        record_regions(journal, HOME, REGION)

    def __call__(self, region: str) -> ImageService:
        return self.glances[region].service

    def in_sync(self, *numbers: int, **fields: Any) -> None:
        for number in numbers:
            one = image_id(number)
            shown = listed(one, **fields)
            image = image_from(shown, {})
            for glance in self.glances.values():
                glance.images[one] = dict(shown)
                if image.visibility == "shared":
                    glance.members[one] = {}
            self.journal.ask([Ask(TaskKind.IMAGE, one)], "test")
            (task,) = self.journal.claim("test", lease=60, limit=1, regions={""})
            record = ImageRecord(
                image_id=one,
                generation=1,
                fingerprint=image.fingerprint(),
                present=True,
                name=image.name,
                owner=image.owner,
                status=image.status,
                size=image.size,
                os_hash_value=image.os_hash_value,
                kernel_id=None,
                ramdisk_id=None,
                changed_at=0.0,
                observed_at=0.0,
            )
            replica = Replica(
                one,
                REGION,
                ReplicaState.IN_SYNC,
                replica_id=one,
                made=True,
                observed_generation=1,
                baseline=image.fingerprint(),
            )
            self.journal.commit(task, Changes(image=record, replica=replica), Done("well"))

    def end(self, number: int, state: ReplicaState) -> None:
        """The home image is gone, and the replica is no concern of ours any more."""
        self.journal.ask([Ask(TaskKind.IMAGE, image_id(number))], "test")
        (task,) = self.journal.claim("test", lease=60, limit=1, regions={""})
        replica = self.journal.replica(image_id(number), REGION)
        assert replica is not None
        replica = dataclasses.replace(replica, state=state, baseline=None)
        self.journal.commit(task, Changes(replica=replica), Done("gone"))

    def run(self, kind: TaskKind, region: str) -> Outcome:
        """Run a task that never ends, as a worker would."""
        with self.journal.database.write() as connection:
            queue.open_always(connection, [kind], [region])
            queue.make_due(connection, kind, [region])
        claimed: list[Task] = []
        while not claimed or claimed[-1].kind is not kind:
            claimed += self.journal.claim("me", lease=60, limit=1, regions={region})
        reconciler = Reconciler(
            self.journal,
            self.journal,
            self.journal,
            self,
            Destinations(self.strategies[self.strategy], self.journal),
            self.settings,
            lambda: 0.5,
            lambda region, error: None,
        )
        run = reconciler.audit if kind is TaskKind.AUDIT else reconciler.watch
        try:
            changes, outcome = run(claimed[-1], self.lease)
            self.journal.commit(claimed[-1], changes, outcome)
            return outcome
        finally:
            self.journal.release(claimed)

    def audit(self, region: str) -> Audit:
        outcome = self.run(TaskKind.AUDIT, region)
        assert isinstance(outcome, Again)
        return self.journal.audit(region)

    def asked(self) -> set[tuple[str, int, str]]:
        """The tasks that are open, and end one day."""
        return {
            (task.kind.value, int(task.image_id[:8], 16), task.region)
            for task in self.journal.list_tasks()
        }

    def settle(self) -> None:
        """End the open tasks, as if each had found nothing to do."""
        while tasks := self.journal.claim("test", lease=60, limit=9, regions={"", REGION}):
            for task in tasks:
                self.journal.commit(task, Changes(), Done("nothing to do"))


@pytest.fixture
def world(url: str) -> Iterator[World]:
    database = Database(url)
    world = World(Journal(database))
    yield world
    database.dispose()
    for glance in world.glances.values():
        glance.close()


# -- audits ---------------------------------------------------------------------------------------


def test_nothing_changed_nothing_asked(world: World) -> None:
    world.in_sync(*range(1, 8))
    for region in (HOME, REGION):
        audit = world.audit(region)
        assert (audit.seen, audit.drifted, audit.missing, audit.held) == (7, 0, 0, 0)
        assert not audit.running
        assert audit.marker is None
    assert world.asked() == set()


def test_drift_and_loss_in_a_region_get_the_usual_tasks(world: World) -> None:
    world.in_sync(*range(1, 8))
    theirs = world.glances[REGION].images
    theirs[image_id(2)]["name"] = "drifted"
    theirs[image_id(5)]["os_hidden"] = True
    del theirs[image_id(6)], theirs[image_id(7)]
    audit = world.audit(REGION)

    assert (audit.seen, audit.drifted, audit.missing) == (5, 2, 2)
    assert world.asked() == {("replica", number, REGION) for number in (2, 5, 6, 7)}
    tasks = world.journal.list_tasks()
    assert {task.priority for task in tasks} == {Priority.AUDIT}
    assert world.journal.events(image_id(6))[0].detail == "the region no longer lists it"


@pytest.mark.parametrize("kind", [TaskKind.AUDIT, TaskKind.WATCH])
def test_what_was_deleted_and_is_there_again_is_looked_at(world: World, kind: TaskKind) -> None:
    world.in_sync(1, 2, updated_at=just_now())
    for number, state in ((1, ReplicaState.DELETED), (2, ReplicaState.RELEASED)):
        world.end(number, state)
    world.run(kind, REGION)
    assert world.asked() == {("replica", 1, REGION)}
    del world.glances[REGION].images[image_id(1)]
    world.settle()
    world.run(kind, REGION)
    assert world.asked() == set()


def test_what_is_being_worked_on_is_left_to_who_works_on_it(world: World) -> None:
    world.in_sync(1, 2)
    world.glances[REGION].images[image_id(1)]["name"] = "half done"
    del world.glances[REGION].images[image_id(2)]
    world.journal.ask([Ask(TaskKind.REPLICA, image_id(n), REGION) for n in (1, 2)], "test")
    audit = world.audit(REGION)
    assert (audit.drifted, audit.missing) == (0, 0)
    assert {task.asked for task in world.journal.list_tasks()} == {1}


def test_new_changed_and_unplaced_images_of_home(world: World) -> None:
    world.in_sync(1, 2, 3, 4)
    ours = world.glances[HOME]
    ours.add(image_id(9))
    ours.images[image_id(2)]["tags"] = ["new"]
    world.journal.ask([Ask(TaskKind.REPLICA, image_id(3), REGION)], "test")
    (task,) = world.journal.claim("me", lease=60, limit=1, regions={REGION})
    stale = dataclasses.replace(
        world.journal.replica(image_id(3), REGION),
        observed_generation=0,  # type: ignore[type-var]
    )
    world.journal.commit(task, Changes(replica=stale), Done("cancelled, say"))
    audit = world.audit(HOME)

    assert (audit.seen, audit.drifted, audit.missing) == (5, 2, 1)
    assert world.asked() == {("image", number, "") for number in (2, 3, 9)}


def test_a_new_region_is_filled_by_an_audit_of_home(world: World) -> None:
    world.in_sync(1, 2, 3)
    record_regions(world.journal, HOME, REGION, "C")
    world.audit(HOME)
    assert world.asked() == {("image", number, "") for number in (1, 2, 3)}
    assert "C" in world.journal.events(image_id(1))[0].detail


def test_members_are_compared_where_images_are_shared(world: World) -> None:
    world.in_sync(1, 2, 3, visibility="shared")
    world.glances[REGION].members[image_id(1)] = {"q": "pending"}
    del world.glances[REGION].members[image_id(3)]  # no longer shared when asked
    assert world.audit(REGION).drifted == 2
    assert world.asked() == {("replica", 1, REGION), ("replica", 3, REGION)}


def test_nothing_is_asked_for_while_synchronization_is_off(world: World) -> None:
    world.in_sync(1)
    world.strategy = "None"
    for glance in world.glances.values():
        glance.images.clear()
    for kind in (TaskKind.AUDIT, TaskKind.WATCH):
        for region in (HOME, REGION):
            outcome = world.run(kind, region)
            assert isinstance(outcome, Again)
            assert "off" in outcome.result
    assert world.asked() == set()
    assert not any(glance.asked for glance in world.glances.values())


class Counting(Journal):
    """Notes how much each transaction of a task writes, and how many records each read brings."""

    wrote = 0
    read = 0

    def commit(self, task: Task, changes: Changes, outcome: Outcome | None = None) -> None:
        self.wrote = max(self.wrote, len(changes.asks), len(changes.findings), len(changes.notes))
        super().commit(task, changes, outcome)

    def present_images(self, after: str, until: str | None) -> list[ImageRecord]:
        found = super().present_images(after, until)
        self.read = max(self.read, len(found))
        return found

    def placed(self, region: str, after: str, until: str | None) -> list[Placed]:
        found = super().placed(region, after, until)
        self.read = max(self.read, len(found))
        return found

    def findings(self, region: str, kinds: Collection[FindingKind] = ()) -> list[Finding]:
        found = super().findings(region, kinds)
        self.read = max(self.read, len(found))
        return found


@pytest.mark.parametrize("region", [HOME, REGION])
@pytest.mark.parametrize("left", [(), (1,), (4,), (3, 6), (7,)], ids=str)
def test_what_a_list_leaves_out_is_looked_at_bit_by_bit(
    world: World, region: str, left: tuple[int, ...]
) -> None:
    """P7: as when a region lost its images."""
    world.settings = dataclasses.replace(world.settings, batch=3)
    world.in_sync(*range(1, 8))
    theirs = world.glances[region].images
    for number in {*range(1, 8)} - {*left}:
        del theirs[image_id(number)]
    world.journal = counting = Counting(world.journal.database)
    audit = world.audit(region)
    assert (audit.seen, audit.missing) == (len(left), 7 - len(left))
    assert max(counting.read, counting.wrote) == 3
    missing = {number for number in range(1, 8) if number not in left}
    if region == HOME:
        assert audit.held == len(missing)
        found = world.journal.findings(HOME, frozenset(FindingKind))
        assert {one.image_id for one in found} == {image_id(number) for number in missing}
    else:
        assert world.asked() == {("replica", number, REGION) for number in missing}


# -- what may end in a deletion -------------------------------------------------------------------


def test_few_images_gone_from_home_are_looked_at_when_the_list_has_ended(world: World) -> None:
    world.in_sync(*range(1, 8))
    for number in (1, 4):
        del world.glances[HOME].images[image_id(number)]
    assert world.audit(HOME).held == 0
    assert world.asked() == {("image", 1, ""), ("image", 4, "")}
    assert world.journal.findings(HOME) == []


def test_many_are_held_until_a_human_lets_them_through(world: World) -> None:
    world.in_sync(*range(1, 8))
    for number in (1, 2, 3):
        del world.glances[HOME].images[image_id(number)]
    assert world.audit(HOME).held == 3
    assert world.asked() == set()
    assert {finding.what for finding in world.journal.findings(HOME)} == {FindingKind.GONE}

    seen = world.journal.audit(HOME)
    del world.glances[HOME].images[image_id(4)]
    assert world.journal.release_audit(seen, Actor("admin")) == 3, "a human has seen three"
    assert world.asked() == {("image", number, "") for number in (1, 2, 3)}
    assert world.journal.audit(HOME).held == 0
    assert world.journal.release_audit(seen, Actor("admin")) == 0
    assert world.audit(HOME).held == 4
    assert world.journal.release_audit(seen, Actor("admin")) == 0, "that pass is not the last"


def test_the_share_of_what_is_known_counts_too(world: World) -> None:
    world.settings = AuditSettings(guard_images=0, guard_percent=50)
    world.in_sync(1, 2, 3, 4)
    for number in (1, 2):
        del world.glances[HOME].images[image_id(number)]
    assert world.audit(HOME).held == 0
    world.settle()
    del world.glances[HOME].images[image_id(3)]
    assert world.audit(HOME).held == 3


def test_a_home_that_lists_nothing_at_all_deletes_nothing(world: World) -> None:
    world.in_sync(*range(1, 8))
    world.glances[HOME].images.clear()
    assert world.audit(HOME).held == 7
    assert world.asked() == set()


def test_a_page_that_hides_that_it_is_not_the_last_deletes_nothing(world: World) -> None:
    world.in_sync(*range(1, 8))
    world.glances[HOME].forget_next = True
    assert world.audit(HOME).held == 5
    assert world.asked() == set()


def test_other_bytes_in_many_replicas_are_held_in_few_mended(world: World) -> None:
    world.in_sync(1, 2, 3)
    theirs = world.glances[REGION].images
    for number in (1, 2):
        theirs[image_id(number)]["os_hash_value"] = "f" * 128
    assert world.audit(REGION).held == 0
    assert world.asked() == {("replica", 1, REGION), ("replica", 2, REGION)}
    world.settle()
    theirs[image_id(3)]["size"] = 1
    assert world.audit(REGION).held == 3
    assert world.asked() == set()


# -- interruptions --------------------------------------------------------------------------------


def test_a_list_that_breaks_off_proves_nothing_and_is_gone_on_with(world: World) -> None:
    world.in_sync(*range(1, 8))
    ours = world.glances[HOME]
    del ours.images[image_id(1)], ours.images[image_id(7)]
    ours.break_off_after = 2
    with pytest.raises(Transient):
        world.run(TaskKind.AUDIT, HOME)
    audit = world.journal.audit(HOME)
    assert audit.running
    assert audit.marker == image_id(3)
    assert world.asked() == set()

    ours.break_off_after = None
    ours.asked.clear()
    audit = world.audit(HOME)
    lists = [one for one in ours.asked if "os_hidden" in one]
    assert f"marker={image_id(3)}" in lists[0]
    assert all("marker=" in one for one in lists), "it goes on where it was"
    assert (audit.seen, audit.missing) == (5, 2)
    assert world.asked() == {("image", 1, ""), ("image", 7, "")}


def test_a_region_that_asks_for_time_is_heard(world: World) -> None:
    world.glances[REGION].says = lambda method, path: (503, {"Retry-After": "7"}, b"")
    with pytest.raises(Throttled) as caught:
        world.run(TaskKind.AUDIT, REGION)
    assert caught.value.retry_after == 7.0


def test_a_marker_that_was_deleted_meanwhile_begins_anew(world: World) -> None:
    world.in_sync(*range(1, 8))
    ours = world.glances[HOME]
    ours.break_off_after = 2
    with pytest.raises(Transient):
        world.run(TaskKind.AUDIT, HOME)
    ours.break_off_after = None
    del ours.images[image_id(3)], ours.images[image_id(2)]
    outcome = world.run(TaskKind.AUDIT, HOME)
    assert isinstance(outcome, Again)
    assert not world.journal.audit(HOME).running
    audit = world.audit(HOME)
    assert (audit.seen, audit.missing) == (5, 2)


def test_who_lost_the_lease_stops(world: World) -> None:
    world.in_sync(1, 2, 3)
    world.glances[REGION].images.clear()
    world.lease.lost = True
    with pytest.raises(LeaseLost):
        world.run(TaskKind.AUDIT, REGION)
    assert world.asked() == set()


@pytest.mark.parametrize("after", [0, 1])
def test_a_list_that_is_refused_half_way_is_not_begun_anew_all_the_time(
    world: World, after: int
) -> None:
    world.in_sync(*range(1, 8))
    ours = world.glances[HOME]
    lists = 0

    def refuse(method: str, path: str) -> Answer | None:
        nonlocal lists
        lists += "os_hidden" in path
        return (403, {}, b"no") if lists > 2 * after else None

    ours.says = refuse
    for _ in range(2):
        lists = 0
        try:
            outcome = world.run(TaskKind.AUDIT, HOME)
        except Refused:
            continue  # has a pause as any failure
        assert isinstance(outcome, Again)
        assert outcome.seconds > 10


@pytest.mark.parametrize("kind", [TaskKind.AUDIT, TaskKind.WATCH])
def test_a_list_that_does_not_go_on_is_given_up(world: World, kind: TaskKind) -> None:
    """As through a proxy that forgets the query when it caches."""
    world.in_sync(*range(1, 8), updated_at=just_now())
    world.glances[HOME].same_page_for_ever = True
    with pytest.raises(Transient, match="does not go on"):
        world.run(kind, HOME)


@pytest.mark.parametrize("kind", [TaskKind.AUDIT, TaskKind.WATCH])
def test_an_empty_page_that_promises_another_is_no_answer(world: World, kind: TaskKind) -> None:
    body = json.dumps({"images": [], "next": "/v2/images?marker=x"}).encode()
    told = (200, {"Content-Type": "application/json"}, body)
    world.glances[HOME].says = lambda method, path: told
    with pytest.raises(Transient, match="could not list the images"):
        world.run(kind, HOME)


# -- watches --------------------------------------------------------------------------------------


def test_a_watch_sees_what_changed_lately_and_remembers_how_far(world: World) -> None:
    world.in_sync(1, 2, 3)
    late = just_now()
    theirs = world.glances[REGION].images
    theirs[image_id(1)]["name"] = "long ago"
    theirs[image_id(2)] |= {"name": "just now", "updated_at": late}
    theirs[image_id(3)] |= {"os_hidden": True, "updated_at": late}
    outcome = world.run(TaskKind.WATCH, REGION)
    assert isinstance(outcome, Again)
    assert world.asked() == {("replica", 2, REGION), ("replica", 3, REGION)}
    assert world.journal.audit(REGION).watched_to == late

    world.settle()
    del theirs[image_id(2)]
    world.run(TaskKind.WATCH, REGION)
    assert world.asked() == {("replica", 3, REGION)}, "nothing is concluded from absence"


def test_a_watch_of_a_region_asks_for_no_members(world: World) -> None:
    """While many images are copied it would be as many requests, again at each watch."""
    world.in_sync(1, 2, visibility="shared", updated_at=just_now())
    there = world.glances[REGION]
    there.members[image_id(1)] = {"q": "pending"}
    there.images[image_id(2)]["name"] = "changed"
    outcome = world.run(TaskKind.WATCH, REGION)
    assert isinstance(outcome, Again)
    assert outcome.result == "1 changed"
    assert world.asked() == {("replica", 2, REGION)}
    assert not any(path.endswith("/members") for path in there.asked)


def test_a_watch_of_home_asks_for_an_audit_under_a_new_strategy(world: World) -> None:
    world.in_sync(1)
    world.run(TaskKind.WATCH, HOME)
    kinds = {TaskKind.AUDIT}
    (task,) = world.journal.list_tasks(kinds=kinds)
    assert task.region == HOME
    world.audit(HOME)
    before: Task = world.journal.list_tasks(kinds=kinds)[0]
    world.run(TaskKind.WATCH, HOME)
    assert world.journal.list_tasks(kinds=kinds)[0].asked == before.asked
    world.strategies["ALL"] = dataclasses.replace(STRATEGIES["ALL"], version="other rules")
    world.run(TaskKind.WATCH, HOME)
    assert world.journal.list_tasks(kinds=kinds)[0].asked == before.asked + 1


# -- images that are not replicas -----------------------------------------------------------------


def test_twins_under_another_id_are_offered(world: World) -> None:
    world.in_sync(1, 2)
    twin = listed(image_id(1)) | {"id": image_id(9)}
    world.glances[REGION].images[image_id(9)] = twin
    world.glances[REGION].images[image_id(8)] = twin | {"id": image_id(8), "name": "another"}
    audit = world.audit(REGION)
    assert audit.held == 0
    (finding,) = world.journal.findings(REGION)
    assert finding.what is FindingKind.ADOPTABLE
    assert (finding.image_id, finding.other_id) == (image_id(1), image_id(9))
    assert world.asked() == set()


# -- the merged list ------------------------------------------------------------------------------


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    hidden=st.dictionaries(st.integers(1, 40), st.booleans(), max_size=20),
    page=st.integers(1, 5),
    after=st.integers(0, 40),
)
def test_every_image_once_in_order_and_nothing_left_out(
    world: World, hidden: dict[int, bool], page: int, after: int
) -> None:
    glance = world.glances[REGION]
    glance.page = page
    glance.images = {image_id(n): listed(image_id(n), os_hidden=h) for n, h in hidden.items()}
    start = image_id(after) if after in hidden else None
    seen: list[str] = []
    passed = start or ""
    for images, upto in listing(glance.service, start):
        found = {image.id for image in images}
        wanted = {one for one in glance.images if one > passed and (upto is None or one <= upto)}
        assert found == wanted
        assert len(found) == len(images)
        seen += found
        passed = upto or passed
    assert sorted(seen) == sorted(one for one in glance.images if one > (start or ""))


# -- replicas where their images do not go any more -----------------------------------------------


def nowhere(image: Image, facts: Facts) -> Placement:
    return Placement(frozenset(), "rule 7")


def test_few_that_do_not_go_there_any_more_go_by_the_usual_task(world: World) -> None:
    world.in_sync(1, 2, 3)
    world.strategies["ALL"] = Strategy("ALL", spare(1, 2), version="new")
    assert world.audit(HOME).held == 0
    assert world.asked() == {("image", 3, "")}
    assert all(task.removed for task in world.journal.list_tasks())
    assert world.journal.events(image_id(3))[0].detail == f"not to be in {REGION} any more: but it"


def test_many_that_do_not_go_there_any_more_are_held_for_a_human(world: World) -> None:
    """A slip in the rules must not empty the regions (P4)."""
    world.in_sync(1, 2, 3, 4)
    world.strategies["ALL"] = Strategy("ALL", spare(1), version="new")
    audit = world.audit(HOME)
    assert audit.held == 3
    assert world.asked() == set()
    assert world.journal.release_audit(audit, Actor("admin")) == 3
    assert world.asked() == {("image", number, "") for number in (2, 3, 4)}
    assert all(task.removed for task in world.journal.list_tasks())


def test_rules_that_are_put_right_again_let_nothing_go(world: World) -> None:
    world.in_sync(1, 2, 3, 4)
    world.strategies["ALL"] = Strategy("ALL", nowhere, version="new")
    assert world.audit(HOME).held == 4
    world.strategies["ALL"] = STRATEGIES["ALL"]
    assert world.audit(HOME).held == 0
    assert world.asked() == set()
    assert world.journal.findings(HOME) == []


def test_what_is_worked_on_or_over_is_not_found_to_be_out_of_place(world: World) -> None:
    world.in_sync(1, 2)
    world.end(1, ReplicaState.RELEASED)
    world.glances[HOME].images[image_id(2)]["status"] = "queued"
    world.strategies["ALL"] = Strategy("ALL", nowhere, version="new")
    assert world.audit(HOME).held == 0
    assert world.journal.findings(HOME) == []


def spare(*numbers: int) -> Callable[[Image, Facts], Placement]:
    """A strategy's way to place nothing but these images."""
    spared = {image_id(number) for number in numbers}

    def place(image: Image, facts: Facts) -> Placement:
        where = {REGION} if image.id in spared else set()
        return Placement(frozenset(where), "but it")

    return place
