# SPDX-License-Identifier: Apache-2.0
"""What ended long ago is forgotten; nothing else ever is."""

import threading

import pytest
import sqlalchemy as sa

from glancesync.interfaces import Ask, Changes
from glancesync.journal import schema
from glancesync.journal.journal import Journal
from glancesync.maintenance import Purge
from glancesync.model import Actor, Done, Finding, Hint, ImageRecord, Replica, Retry, Snooze
from glancesync.states import OPEN, FindingKind, ReplicaState, TaskKind, TaskState
from tests.contract.conftest import REGIONS
from tests.contract.test_queue import IMAGE, OTHER, claim_one, ids, replica_ask

DAY = 86400.0
EVER = frozenset(TaskState)
FOUND = len(REGIONS)  # events: that they are in the catalog


def put(journal: Journal, image_id: str, *replicas: Replica, present: bool = False) -> None:
    """Have the journal know an image and its replicas, with no task open."""
    status = "active" if present else "deleted"
    record = ImageRecord(
        image_id, 1, "f", present, "name", "owner", status, 1, None, None, None, 0.0, 0.0
    )
    for replica in replicas or (None,):
        journal.ask([Ask(TaskKind.IMAGE, image_id)], "test")
        finding = Finding("A", FindingKind.GONE, image_id)
        changes = Changes(image=record, replica=replica, findings=(finding,))
        journal.commit(claim_one(journal), changes, Done("well"))


def age(journal: Journal, days: float) -> None:
    """Let everything be so much older: stands for waiting."""
    with journal.database.write() as connection:
        for table, *columns in (
            (schema.task, "created_at", "updated_at", "ended_at"),
            (schema.event, "at"),
            (schema.image, "observed_at", "changed_at"),
            (schema.replica, "updated_at"),
        ):
            values = {name: table.c[name] - days * DAY for name in columns}
            connection.execute(sa.update(table).values(values))


def purge(journal: Journal, days: float = 30, most: int = 10**6) -> int:
    return Purge(journal.purge).run(days, most, threading.Event())


def rows(journal: Journal, table: sa.Table) -> int:
    with journal.database.read() as connection:
        query = sa.select(sa.func.count()).select_from(table)
        return int(connection.execute(query).scalar_one())


def test_ended_tasks_and_events_go_when_they_are_old_enough(journal: Journal) -> None:
    journal.hint([Hint(IMAGE)])
    journal.commit(claim_one(journal), Changes(), Done("well"))
    journal.hint([Hint(OTHER)])
    (task,) = journal.list_tasks()
    journal.cancel_task(task.id, Actor())
    age(journal, 29)
    assert purge(journal) == 0
    age(journal, 2)
    journal.hint([Hint(IMAGE)])
    assert purge(journal) == 2 + 3 + FOUND
    assert [one.state for one in journal.list_tasks(states=EVER)] == [TaskState.READY]
    assert [one.what for one in journal.events(IMAGE)] == ["hint"]
    assert journal.events(OTHER) == []
    assert purge(journal) == 0


def test_nothing_that_is_open_goes_however_old(journal: Journal) -> None:
    put(journal, IMAGE, Replica(IMAGE, "A", ReplicaState.DELETED))
    journal.ask([replica_ask(region) for region in "ABCD"], "test")
    journal.ask([Ask(TaskKind.AUDIT, "", "E")], "test")
    journal.commit(claim_one(journal), Changes(), Retry(1e6, "down", failed=True))
    journal.commit(claim_one(journal), Changes(), Snooze(1e6, "too early"))
    claim_one(journal)
    age(journal, 1000)
    purge(journal)
    open_tasks = journal.list_tasks(states=OPEN, kinds=frozenset(TaskKind))
    assert sorted(one.state for one in open_tasks) == [
        *("failed", "ready", "ready", "running", "waiting"),
    ]
    assert journal.image(IMAGE) is not None, "there is work on it"


def test_images_that_are_gone_everywhere_go_with_their_replicas(journal: Journal) -> None:
    gone = Replica(IMAGE, "A", ReplicaState.DELETED, replica_id=IMAGE, made=True)
    left = Replica(IMAGE, "B", ReplicaState.RELEASED, replica_id=OTHER)
    put(journal, IMAGE, gone, left)
    age(journal, 31)
    purge(journal)
    assert journal.image(IMAGE) is None
    assert journal.replicas_of(IMAGE) == []
    assert rows(journal, schema.finding) == 0


@pytest.mark.parametrize(
    "replica",
    [
        Replica(IMAGE, "A", ReplicaState.PENDING),
        Replica(IMAGE, "A", ReplicaState.STALLED, replica_id=IMAGE, made=True),
        Replica(IMAGE, "A", ReplicaState.EXPIRING, replica_id=IMAGE, made=True),
        Replica(IMAGE, "A", ReplicaState.RELEASED, replica_id=IMAGE, made=True),
    ],
    ids=lambda one: one.state.value,
)
def test_what_is_not_over_in_every_region_stays(journal: Journal, replica: Replica) -> None:
    """Also what a delete_mode has kept: only the journal knows that we made it."""
    put(journal, IMAGE, Replica(IMAGE, "B", ReplicaState.DELETED), replica)
    age(journal, 1000)
    purge(journal)
    assert journal.image(IMAGE) is not None
    assert len(journal.replicas_of(IMAGE)) == 2


def test_what_home_has_stays(journal: Journal) -> None:
    put(journal, IMAGE, Replica(IMAGE, "A", ReplicaState.IN_SYNC, IMAGE, made=True), present=True)
    put(journal, OTHER, present=True)
    age(journal, 1000)
    purge(journal)
    assert journal.image(IMAGE) is not None
    assert journal.image(OTHER) is not None
    assert rows(journal, schema.finding) == 2


def test_what_ended_lately_in_one_region_stays(journal: Journal) -> None:
    put(journal, IMAGE, Replica(IMAGE, "A", ReplicaState.DELETED))
    age(journal, 31)
    with journal.database.write() as connection:
        connection.execute(sa.update(schema.replica).values(updated_at=journal.database.now()))
    purge(journal)
    assert journal.image(IMAGE) is not None


def test_about_as_many_as_wanted(journal: Journal) -> None:
    for image_id in ids(50):
        put(journal, image_id, Replica(image_id, "A", ReplicaState.DELETED))
    age(journal, 31)
    before = sum(rows(journal, table) for table in schema.metadata.sorted_tables)
    assert purge(journal, most=30) == 30
    assert purge(journal, most=0) == 0
    assert rows(journal, schema.task) == 20
    gone = purge(journal)
    assert gone == 20 + 50 + FOUND + 2 * 50  # tasks, events, images with a replica each
    left = sum(rows(journal, table) for table in schema.metadata.sorted_tables)
    assert before - left == 30 + gone + 50  # the findings are not counted
    assert rows(journal, schema.image) == rows(journal, schema.replica) == 0


def test_several_forget_at_the_same_time_and_others_go_on(journal: Journal) -> None:
    for image_id in ids(40):
        put(journal, image_id, Replica(image_id, "A", ReplicaState.DELETED))
    age(journal, 31)
    failed: list[Exception] = []

    def work() -> None:
        try:
            while journal.purge(30 * DAY, 7):
                journal.hint([Hint(IMAGE)])
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    purge(journal)
    assert failed == []
    assert rows(journal, schema.image) == 0
    assert len(journal.list_tasks()) == 1
