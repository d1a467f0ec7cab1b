# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Baselines``: how far audits are, what they found, and what they compare with."""

import collections
import dataclasses
import threading
from collections.abc import Iterable

import pytest

from glancesync.interfaces import Ask, Changes
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Audit, Finding, Replica, Task
from glancesync.states import FindingKind, ReplicaState, TaskKind
from tests.contract.test_replicas import record

pytestmark = pytest.mark.matrix(database_kind=["mariadb"])

GONE, CORRUPT, ADOPTABLE = FindingKind.GONE, FindingKind.CORRUPT, FindingKind.ADOPTABLE


def image_id(text: str) -> str:
    return text.ljust(36, "0")


@pytest.fixture
def task(journal: Journal) -> Task:
    """The task by whose lease all is written."""
    journal.ask([Ask(TaskKind.AUDIT, "", "A")], "test")
    (task,) = journal.claim("me", lease=600, limit=1, regions={"A"})
    return task


def place(
    journal: Journal,
    task: Task,
    names: Iterable[str],
    state: ReplicaState = ReplicaState.IN_SYNC,
    region: str = "A",
) -> None:
    for name in names:
        replica = Replica(image_id(name), region, state, replica_id=image_id(name))
        journal.commit(task, Changes(image=record(image_id(name)), replica=replica))


# -- how far --------------------------------------------------------------------------------------


def test_a_region_never_looked_at(journal: Journal) -> None:
    assert journal.audit("A") == Audit("A")
    assert journal.audits() == []
    assert journal.release_audit(Audit("A", finished_at=5.0), Actor()) == 0


def test_a_pass_comes_back_as_far_as_it_was(journal: Journal, task: Task) -> None:
    begun = Audit("A", started_at=1000.5, marker=image_id("m"), seen=2**40, drifted=3, missing=1)
    journal.commit(task, Changes(audit=begun))
    assert journal.audit("A") == begun
    assert journal.audit("A").running
    further = dataclasses.replace(begun, marker=None, seen=5)
    journal.commit(task, Changes(audit=further))
    assert journal.audits() == [further]


def test_its_end_has_the_databases_time(journal: Journal, task: Task) -> None:
    began = journal.database.now() - 50
    journal.commit(task, Changes(audit=Audit("A", started_at=began)))
    journal.commit(task, Changes(audit=Audit("A", started_at=began, finished_at=began, held=4)))
    ended = journal.audit("A")
    assert not ended.running
    assert ended.finished_at == pytest.approx(journal.database.now(), abs=10)


def test_watch_and_audit_keep_off_each_others_columns(journal: Journal, task: Task) -> None:
    journal.commit(task, Changes(watched_to="2026-01-01T00:00:00Z"))
    journal.commit(task, Changes(audit=Audit("A", started_at=5.0, marker="m")))
    journal.commit(task, Changes(watched_to="2026-01-02T00:00:00Z"))
    found = journal.audit("A")
    assert (found.watched_to, found.marker, found.started_at) == ("2026-01-02T00:00:00Z", "m", 5.0)


def test_a_humans_word_is_for_the_pass_that_was_seen_and_counts_once(
    journal: Journal, task: Task
) -> None:
    began = journal.database.now()
    held = Audit("A", started_at=began, finished_at=began, held=2)
    findings = [Finding("A", GONE, image_id(name)) for name in "12"]
    findings.append(Finding("A", ADOPTABLE, image_id("3"), image_id("x")))
    journal.commit(task, Changes(audit=held, findings=tuple(findings)))
    seen = dataclasses.replace(journal.audit("A"), finished_at=journal.database.now())
    assert journal.release_audit(seen, Actor()) == 0, "not a pass that ended"
    journal.commit(task, Changes(audit=held))
    seen = journal.audit("A")

    assert journal.release_audit(seen, Actor("admin")) == 2
    assert journal.release_audit(seen, Actor("admin")) == 0
    asked = {one.image_id: one.actor for one in journal.list_tasks()}
    assert asked == {image_id(name): Actor("admin") for name in "12"}
    assert [one.what for one in journal.findings("A")] == [ADOPTABLE]


# -- findings -------------------------------------------------------------------------------------


def test_findings_are_kept_once_and_forgotten_by_kind(journal: Journal, task: Task) -> None:
    one = Finding("A", GONE, image_id("1"), detail="ä")
    found = (
        one,
        one,
        Finding("A", CORRUPT, image_id("2"), image_id("x")),
        Finding("A", ADOPTABLE, image_id("1"), image_id("y")),
        Finding("A", ADOPTABLE, image_id("1"), image_id("Y")),
        Finding("B", GONE, image_id("1")),
    )
    journal.commit(task, Changes(findings=found))
    journal.commit(task, Changes(findings=(dataclasses.replace(one, detail="newer"),)))
    kept = journal.findings("A")
    assert [(f.what, f.other_id, f.detail) for f in kept] == [
        (ADOPTABLE, image_id("Y"), ""),
        (ADOPTABLE, image_id("y"), ""),
        (CORRUPT, image_id("x"), ""),
        (GONE, "", "newer"),
    ]
    assert all(f.found_at == pytest.approx(journal.database.now(), abs=10) for f in kept)
    assert [f.what for f in journal.findings("A", {GONE})] == [GONE]
    counts = collections.Counter(f.what for f in journal.findings("A"))
    assert journal.count_findings("A") == counts
    assert journal.count_findings("nowhere") == {}

    journal.commit(task, Changes(settled=frozenset({GONE, CORRUPT})))
    assert {f.what for f in journal.findings("A")} == {ADOPTABLE}
    assert len(journal.findings("B")) == 1, "of the task's region only"


# -- what regions are compared with ---------------------------------------------------------------


def test_images_between_two_ids_as_python_orders_them(journal: Journal, task: Task) -> None:
    names = ["0", "9", "A", "Z", "a", "f", "-", "_"]
    for name in names:
        journal.commit(task, Changes(image=record(image_id(name))))
    journal.commit(task, Changes(image=record(image_id("b"), present=False)))
    ids = sorted(map(image_id, names))

    assert [one.image_id for one in journal.present_images("", None)] == ids
    assert [one.image_id for one in journal.present_images(ids[2], ids[5])] == ids[3:6]
    assert journal.present_images(ids[-1], None) == []
    home = next(region.name for region in journal.regions() if region.home)
    assert [journal.nth(home, "", None, n) for n in (1, 8, 9)] == [ids[0], ids[7], None]
    assert [journal.nth(home, ids[2], ids[5], n) for n in (1, 3, 4)] == [ids[3], ids[5], None]
    by_id = journal.images_by_id([*ids, image_id("nobody")])
    assert sorted(by_id) == ids
    assert journal.images_by_id([]) == {}


def test_images_by_their_hash(journal: Journal, task: Task) -> None:
    for name, value in (("1", "x"), ("2", "X"), ("3", "x"), ("4", None)):
        value = value and value * 128
        journal.commit(task, Changes(image=record(image_id(name), os_hash_value=value)))
    journal.commit(
        task, Changes(image=record(image_id("5"), os_hash_value="x" * 128, present=False))
    )
    found = journal.images_by_hash(["x" * 128, "unknown"])
    assert [one.image_id for one in found] == [image_id("1"), image_id("3")]
    assert journal.images_by_hash([]) == []


def test_replicas_thought_to_be_there(journal: Journal, task: Task) -> None:
    place(journal, task, "aB1")
    place(journal, task, "c", ReplicaState.CONFLICT)
    place(journal, task, "d", ReplicaState.DELETED)
    place(journal, task, "e", ReplicaState.RELEASED)
    place(journal, task, "f", region="B")
    mapped = Replica(image_id("g"), "A", ReplicaState.COPYING, replica_id=image_id("0"), made=True)
    journal.commit(task, Changes(image=record(image_id("g")), replica=mapped))
    journal.commit(task, Changes(image=record(image_id("h")), pending=()))
    journal.ask([Ask(TaskKind.REPLICA, image_id("a"), "A")], "test")
    journal.ask([Ask(TaskKind.REPLICA, image_id("1"), "B")], "test")

    placed = journal.placed("A", "", None)
    there = [(one.replica.replica_id, one.busy) for one in placed]
    assert there == [(image_id(name), name == "a") for name in "01Bac"]
    assert placed[0].image.image_id == image_id("g")
    assert placed[0].replica.made
    between = journal.placed("A", image_id("1"), image_id("a"))
    assert [one.replica.replica_id for one in between] == [image_id("B"), image_id("a")]
    nth = [journal.nth("A", image_id("1"), image_id("a"), n) for n in (1, 2, 3)]
    assert nth == [image_id("B"), image_id("a"), None]
    assert journal.nth("A", "", None, 1) == image_id("0")
    named = journal.placed_as("A", [image_id(name) for name in "0def"])
    assert [one.image.image_id for one in named] == [image_id("g"), image_id("d")]
    assert journal.placed_as("A", []) == []
    views = journal.replicas_for([image_id("a"), image_id("f")])
    assert [(one.replica.region, one.task_id is not None) for one in views] == [
        ("A", True),
        ("B", False),
    ]


def test_how_many_are_known(journal: Journal, task: Task) -> None:
    home = next(region.name for region in journal.regions() if region.home)
    place(journal, task, "abc")
    place(journal, task, "d", ReplicaState.DELETED)
    place(journal, task, "e", region="B")
    journal.commit(task, Changes(image=record(image_id("b"), present=False)))
    assert [journal.known(name) for name in ("A", "B", "C", home)] == [3, 1, 0, 4]


# -- at the same time -----------------------------------------------------------------------------


@pytest.mark.always
def test_watch_and_audit_of_a_region_write_at_once(journal: Journal) -> None:
    """Whichever is first makes the row."""
    failed: list[Exception] = []
    for region in "ABCD":
        journal.ask([Ask(kind, "", region) for kind in (TaskKind.WATCH, TaskKind.AUDIT)], "test")
        claims = [journal.claim("me", lease=60, limit=1, regions={region})[0] for _ in range(2)]
        barrier = threading.Barrier(2)

        def write(task: Task, region: str = region, barrier: threading.Barrier = barrier) -> None:
            finding = Finding(region, CORRUPT, image_id("1"))
            changes = Changes(findings=(finding,), watched_to="2026-01-01T00:00:00Z")
            if task.kind is TaskKind.AUDIT:
                changes = Changes(findings=(finding,), audit=Audit(region, started_at=5.0))
            barrier.wait(30)
            try:
                journal.commit(task, changes)
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=write, args=(task,)) for task in claims]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
        found = journal.audit(region)
        assert (found.started_at, found.watched_to) == (5.0, "2026-01-01T00:00:00Z")
        assert len(journal.findings(region)) == 1
