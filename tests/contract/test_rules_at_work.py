# SPDX-License-Identifier: Apache-2.0
"""Strategy USER in the tasks of images, and what is told of rules to people who ask."""

import dataclasses
import datetime
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from glancesync.bundle import Bundle
from glancesync.destinations import Destinations
from glancesync.errors import BadRequest, Credential, Transient
from glancesync.executor import Executor
from glancesync.home import observed
from glancesync.interfaces import Ask, Changes, ImageService, Projects
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Done, Hint, Priority, Project, Replica, Task
from glancesync.pacing import Limits, Pacing
from glancesync.placement.rules import strategy
from glancesync.placement.strategies import STRATEGIES
from glancesync.recording import Settings
from glancesync.retry import RetryPolicy
from glancesync.rulebook.file import book
from glancesync.ruling import Amount, Ruling
from glancesync.states import ReplicaState, TaskKind, TaskState
from glancesync.transports.reading import Reading
from glancesync.transports.settings import TransferSettings
from glancesync.wiring import SystemClock
from tests.contract.listing_glance import ListingGlance, listed

pytestmark = pytest.mark.matrix(database_kind=["mariadb"])

IMAGE = "11111111-2222-3333-4444-555555555555"
HOME = "E"  # of the journal fixture, as are A to D
MEMBER = Actor("u", "p", ("member",))
AUDITOR = Actor("a", "p", ("auditor",))

BY_ROLE = """\
rules:
  - {name: members, match: {role: member}, regions: [A]}
  - {name: golden, match: {tags: golden}, regions: [B], priority: high}
override: {role: member}
"""


def nobody(project_id: str) -> Project | None:
    return None


class Works:
    """Home, and the image tasks of a journal under some rules."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.home = HOME
        self.glance = ListingGlance(HOME, page=3)
        self.rules = BY_ROLE
        self.projects: Projects = nobody

    def __call__(self, region: str) -> ImageService:
        assert region == HOME
        return self.glance.service

    @property
    def destinations(self) -> Destinations:
        made = strategy(book("rules", self.rules.encode(), []))
        return Destinations(made, self.journal, self.projects)

    def change(self, actor: Actor = MEMBER, **fields: Any) -> Task:
        """A user changes the image; the image task when it has run."""
        if IMAGE in self.glance.images:
            self.glance.images[IMAGE] |= fields
        else:
            self.glance.images[IMAGE] = listed(IMAGE, **fields)
        self.journal.hint([Hint(IMAGE, actor)])
        return self.work()

    def work(self) -> Task:
        (task,) = self.journal.claim("me", lease=60, limit=1, regions={""})
        executor = Executor(
            self.journal,
            self.journal,
            self,
            RetryPolicy(),
            Settings(
                self.destinations,
                [],
                Reading(TransferSettings()),
                SystemClock(),
                Pacing(self.journal.regions, lambda: 1, SystemClock(), lambda: 0, Limits()),
            ),
            lambda: 0.5,
            {},
            lambda region, error: None,
        )
        executor.run(task, Bundle(1), threading.Event())
        after = self.journal.task(task.id)
        assert after is not None
        return after

    def asked(self) -> dict[str, Task]:
        """The open tasks of replicas, by region."""
        return {task.region: task for task in self.journal.list_tasks(image_id=IMAGE)}

    def done(self, *regions: str) -> None:
        """The replicas in these regions are made."""
        for _ in regions:
            (task,) = self.journal.claim("me", lease=60, limit=1, regions=set(regions))
            record = self.journal.image(IMAGE)
            assert record is not None
            replica = Replica(
                IMAGE,
                task.region,
                ReplicaState.IN_SYNC,
                IMAGE,
                made=True,
                observed_generation=record.generation,
            )
            self.journal.commit(task, Changes(replica=replica), Done("made"))

    def last_error(self) -> str | None:
        record = self.journal.image(IMAGE)
        assert record is not None
        return record.last_error

    def complaints(self) -> list[str]:
        return [one.detail for one in self.journal.events(IMAGE) if one.what == "override"]


@pytest.fixture
def works(journal: Journal) -> Iterator[Works]:
    works = Works(journal)
    yield works
    works.glance.close()


def test_the_role_of_who_made_it_counts_from_the_first_look_on(works: Works) -> None:
    works.change(MEMBER)
    assert works.asked().keys() == {"A"}


def test_a_change_of_the_image_moves_it(works: Works) -> None:
    works.change(AUDITOR, tags=["golden"])
    assert works.asked().keys() == {"B"}
    works.done("B")
    works.change(MEMBER, tags=["golden", "mine"])
    asked = works.asked()
    assert {name: task.removed for name, task in asked.items()} == {"A": False, "B": True}


def test_priority_is_haste_within_its_kind(works: Works) -> None:
    works.change(AUDITOR, tags=["golden"])
    assert works.asked()["B"].priority == Priority.HINT - 3000
    works.journal.ask([Ask(TaskKind.IMAGE, IMAGE, priority=Priority.USER)], "test")
    works.rules = works.rules.replace("high", "low")
    works.work()
    assert works.asked()["B"].priority == Priority.USER


def test_what_is_wrong_with_its_own_wish_is_said_once_until_it_is_mended(works: Works) -> None:
    works.change(sync_regions="B,X")
    said = "sync_regions: there is no region 'X'; there is A, B, C, D"
    assert works.last_error() == said
    assert works.complaints() == [said]
    assert works.asked().keys() == {"A"}, "the rules decide"
    works.done("A")
    works.change(min_ram=1, sync_regions="B,X")
    assert works.complaints() == [said]
    works.done("A")
    works.change(sync_regions="B,C")
    assert works.last_error() is None
    assert works.asked().keys() == {"A", "B", "C"}
    assert works.asked()["A"].removed


def test_rotten_bytes_at_home_are_worse_than_a_wrong_wish(works: Works) -> None:
    works.change()
    record = works.journal.image(IMAGE)
    assert record is not None
    works.journal.ask([Ask(TaskKind.IMAGE, IMAGE)], "test")
    (task,) = works.journal.claim("me", lease=60, limit=1, regions={""})
    rotten = dataclasses.replace(record, last_error="the bytes are wrong")
    works.journal.commit(task, Changes(image=rotten), Done(""))
    works.change(sync_regions="X")
    assert works.last_error() == "the bytes are wrong"
    assert len(works.complaints()) == 1


def test_who_may_not_say_is_told(works: Works) -> None:
    works.change(AUDITOR, sync_regions="B")
    assert works.last_error() == (
        "sync_regions: the rules don't let this image say where it goes: role: 'auditor'"
    )
    assert works.asked() == {}


def test_nothing_is_decided_while_keystone_does_not_say_whose_it_is(works: Works) -> None:
    works.change(AUDITOR, tags=["golden"])
    works.done("B")
    works.rules = "rules: [{name: r, match: {domain: Bank}, regions: [A]}]"
    asked_for: list[str] = []

    def silent(project_id: str) -> Project | None:
        asked_for.append(project_id)
        raise Transient("Keystone", f"could not read project {project_id}: nobody answers")

    works.projects = silent
    task = works.change(min_ram=1)
    assert task.state is TaskState.WAITING
    assert task.reason == "Keystone: could not read project p: nobody answers"
    assert works.asked().keys() == {""}, "the replica in B does not go"
    works.projects = {"p": Project("p", "x", "d", "Bank")}.get
    works.journal.ask([Ask(TaskKind.IMAGE, IMAGE, urgent=True)], "test")
    works.work()
    assert works.asked().keys() == {"A", "B"}
    assert asked_for == ["p"]


def test_keystone_is_not_asked_for_nothing(works: Works) -> None:
    def never(project_id: str) -> Project | None:
        raise Credential("Keystone", "asked for nothing")

    works.projects = never
    assert works.change().state is TaskState.DONE


def test_labels_are_looked_at_anew_when_they_change(works: Works) -> None:
    works.rules = "rules: [{name: r, match: {tags: x}, regions: {labels: {tier: gold}}}]"
    works.journal.update_region("C", {"labels": {"tier": "gold"}})
    works.change(tags=["x"])
    assert works.asked().keys() == {"C"}


def test_age_is_that_of_the_home_image_by_the_clock_of_the_database(works: Works) -> None:
    born = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=10)
    match = "{age: {at_least: 9d, less_than: 11d}}"
    works.rules = f"rules: [{{name: r, match: {match}, regions: [C]}}]"
    works.change(created_at=born.strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert works.asked().keys() == {"C"}
    works.rules = works.rules.replace("9d", "10d")
    works.change(min_ram=1)
    assert works.asked().keys() == {"C"}
    works.rules = works.rules.replace("10d", "864060s")
    works.change(min_ram=2)
    assert works.asked()["C"].removed, "it is not old enough any more, so to speak"


# -- for people -----------------------------------------------------------------------------------


def ruling(works: Works, *, under: str = "USER") -> Ruling:
    destinations = works.destinations
    made = book("rules", works.rules.encode(), [])
    if under != "USER":
        return Ruling(
            Destinations(STRATEGIES[under], works.journal), None, works.journal, works.journal,
            lambda: works,
        )  # fmt: skip
    return Ruling(destinations, made, works.journal, works.journal, lambda: works)


def test_which_rule_decides_and_why(works: Works) -> None:
    works.change(AUDITOR, tags=["golden"])
    said = ruling(works).test(IMAGE, None)
    assert said.strategy == "USER"
    assert said.placement.regions == {"B"}
    assert said.explanation is not None
    assert said.explanation.decides is not None
    assert said.explanation.decides.name == "golden"
    assert [one.because for one in said.explanation.verdicts] == [
        ("role: 'auditor'",),
        ("tags: 'golden'",),
    ]
    other = book("rules", b"rules: [{name: r, match: {tags: golden}, regions: [C, D]}]", [])
    assert ruling(works, under="ALL").test(IMAGE, other).placement.regions == {"C", "D"}
    plain = ruling(works, under="ALL").test(IMAGE, None)
    assert plain.explanation is None
    assert plain.placement.regions == {"A", "B", "C", "D"}
    with pytest.raises(BadRequest, match="home has no image") as caught:
        ruling(works).test(IMAGE.replace("1", "9"), None)
    assert caught.value.code == 404


def numbered(number: int) -> str:
    return f"{number:08x}-0000-0000-0000-000000000000"


def test_what_other_rules_would_change(works: Works) -> None:
    """Eight images of 100 bytes each, of which half are golden; one has no data."""
    for number in range(8):
        tags = ["golden"] if number % 2 else []
        hidden = number == 3
        works.glance.images[numbered(number)] = listed(
            numbered(number), tags=tags, os_hidden=hidden, size=100
        )
    works.glance.images[numbered(1)] |= {"status": "queued", "size": None}
    for number in (3, 5):
        works.journal.ask([Ask(TaskKind.REPLICA, numbered(number), "B")], "test")
        (task,) = works.journal.claim("me", lease=60, limit=1, regions={"B"})
        replica = Replica(numbered(number), "B", ReplicaState.IN_SYNC, numbered(number), made=True)
        record = observed(numbered(number), works(HOME).get(numbered(number)), None)
        works.journal.commit(task, Changes(image=record, replica=replica), Done(""))
    other = book("rules", b"rules: [{name: gold, match: {tags: golden}, regions: [C]}]\n", [])
    found = ruling(works).preview(other, None, 1000)
    assert (found.seen, found.marker) == (8, None)
    assert found.added == {"C": Amount(3, 300)}
    assert found.removed == {"B": Amount(2, 200)}, "the third never got there"
    assert found.decided == {"gold": Amount(3, 300), "default": Amount(4, 400)}
    same = ruling(works).preview(book("rules", works.rules.encode(), []), None, 1000)
    assert (same.added, same.removed) == ({}, {})
    under_all = ruling(works, under="ALL").preview(other, None, 1000)
    assert under_all.added == {}
    assert under_all.removed == {"B": Amount(2, 200)}
    under_none = ruling(works, under="None").preview(other, None, 1000)
    assert under_none.added == {"C": Amount(3, 300)}
    assert under_none.removed == {"B": Amount(2, 200)}


def test_part_by_part_is_the_same_in_all(works: Works) -> None:
    for number in range(20):
        works.glance.images[numbered(number)] = listed(numbered(number), os_hidden=number % 3 == 0)
    other = book("rules", b"{rules: [], default: {regions: [C]}}", [])
    marker, parts, added = None, [], 0
    while not parts or marker is not None:
        found = ruling(works).preview(other, marker, 4)
        marker = found.marker
        parts.append(found.seen)
        added += found.added["C"].images
    assert (sum(parts), added) == (20, 20)
    assert len(parts) > 2
    assert max(parts) < 10
