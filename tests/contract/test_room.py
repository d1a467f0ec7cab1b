# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Queue.reserve``: who copies from which region, and when it has room."""

import concurrent.futures
import dataclasses

import pytest

from glancesync.errors import LeaseLost
from glancesync.interfaces import Ask, Changes
from glancesync.journal.journal import Journal
from glancesync.model import Done, Replica, Snooze, Task
from glancesync.sources import Candidate
from glancesync.states import ReplicaState, TaskKind, TaskState

pytestmark = pytest.mark.matrix(database_kind=["mariadb"])

IMAGES = [f"{digit}1111111-2222-3333-4444-555555555555" for digit in "0123456789"]
LONG = 600.0
HOME = Candidate("E", original=True, distance=0, room=2)
NEAR = Candidate("D", original=False, distance=0, room=1)
FAR = Candidate("C", original=False, distance=2, room=1)


def claimed(journal: Journal, image_id: str, region: str = "A") -> tuple[Task, Replica]:
    journal.ask([Ask(TaskKind.REPLICA, image_id, region)], "test")
    found = journal.claim("me", lease=600, limit=1, regions={region})
    (task,) = [one for one in found if one.image_id == image_id]
    return task, Replica(image_id, region, ReplicaState.COPYING, transport="scp", bytes_total=10)


def source(
    journal: Journal, image_id: str, *found: Candidate, patience: float = LONG
) -> str | None:
    task, replica = claimed(journal, image_id)
    reserved = journal.reserve(task, replica, found, patience)
    return None if reserved is None else reserved.source


def test_it_is_written_who_copies_from_whom(journal: Journal) -> None:
    task, replica = claimed(journal, IMAGES[0])
    reserved = journal.reserve(task, replica, [HOME], LONG)
    assert reserved is not None
    assert reserved == journal.replica(IMAGES[0], "A")
    assert reserved.copying_since == pytest.approx(journal.database.now(), abs=5)
    unlike = {"source": None, "copying_since": None, "updated_at": 0.0}
    assert dataclasses.replace(reserved, **unlike) == replica  # type: ignore[arg-type]


def test_the_nearest_with_room_then_those_farther_then_nobody(journal: Journal) -> None:
    given = [source(journal, image, FAR, HOME, NEAR) for image in IMAGES[:5]]
    assert given == ["D", "E", "E", "C", None]
    assert journal.replica(IMAGES[4], "A") is None, "nothing is written of one that waits"


def test_a_replica_does_not_wait_for_the_room_it_has_itself(journal: Journal) -> None:
    task, replica = claimed(journal, IMAGES[0])
    for _ in range(2):
        reserved = journal.reserve(task, replica, [NEAR], LONG)
        assert reserved is not None
        assert reserved.source == "D"


@pytest.mark.parametrize("state", sorted(set(ReplicaState) - {ReplicaState.COPYING}))
def test_the_room_is_free_again_when_the_copying_is_over(
    journal: Journal, state: ReplicaState
) -> None:
    task, replica = claimed(journal, IMAGES[0])
    reserved = journal.reserve(task, replica, [NEAR], LONG)
    assert reserved is not None
    assert source(journal, IMAGES[1], NEAR) is None
    journal.commit(task, Changes(replica=dataclasses.replace(reserved, state=state)))
    assert source(journal, IMAGES[2], NEAR) == "D"


def test_what_is_slow_keeps_others_waiting_only_for_so_long(journal: Journal) -> None:
    assert source(journal, IMAGES[0], NEAR) == "D"
    assert source(journal, IMAGES[1], NEAR) is None
    assert source(journal, IMAGES[2], NEAR, patience=0) == "D"


def test_a_record_that_is_kept_while_the_region_imports_goes_on_taking_room(
    journal: Journal,
) -> None:
    task, replica = claimed(journal, IMAGES[0])
    reserved = journal.reserve(task, replica, [NEAR], LONG)
    journal.commit(task, Changes(replica=reserved))
    assert source(journal, IMAGES[1], NEAR) is None


def test_who_lost_the_lease_takes_no_room(journal: Journal) -> None:
    task, replica = claimed(journal, IMAGES[0])
    journal.release([task])
    with pytest.raises(LeaseLost):
        journal.reserve(task, replica, [NEAR], LONG)
    assert source(journal, IMAGES[0], NEAR) == "D"


@pytest.mark.always
def test_many_ask_at_the_same_moment(journal: Journal) -> None:
    tasks = [claimed(journal, image) for image in IMAGES]

    def reserve(one: tuple[Task, Replica]) -> str | None:
        reserved = journal.reserve(*one, [NEAR, HOME, FAR], LONG)
        return None if reserved is None else reserved.source

    with concurrent.futures.ThreadPoolExecutor(len(tasks)) as pool:
        given = list(pool.map(reserve, tasks))
    assert sorted(one for one in given if one) == ["C", "D", "E", "E"]


def test_who_waits_longest_is_due_first(journal: Journal) -> None:
    """And no more than there is room for: all others would only find out that there is none."""
    waiting = {}
    for region in ("B", "A", "D"):
        task, _ = claimed(journal, IMAGES[0], region)
        journal.commit(task, Changes(), Snooze(60, "no room"))
        waiting[region] = task.id
    task, _ = claimed(journal, IMAGES[1])
    journal.commit(task, Changes(), Snooze(60, "no room"))
    task, _ = claimed(journal, IMAGES[0], "C")
    journal.commit(task, Changes(hurry="no room", hurry_most=2), Done("in sync"))
    ready = [one.id for one in journal.list_tasks() if one.state is TaskState.READY]
    assert sorted(ready) == sorted([waiting["B"], waiting["A"]])
