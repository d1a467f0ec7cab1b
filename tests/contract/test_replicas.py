# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Replicas`` and the records that tasks write."""

import concurrent.futures
import dataclasses

import pytest

from glancesync.errors import JournalRefused
from glancesync.interfaces import Ask, Changes
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Actor, ImageRecord, Replica, Task
from glancesync.states import BEHIND, ENDED, SETTLED, ReplicaState, TaskKind

IMAGE = "11111111-2222-3333-4444-555555555555"
KERNEL = "22222222-2222-3333-4444-555555555555"
RAMDISK = "33333333-2222-3333-4444-555555555555"
MAPPED = "44444444-2222-3333-4444-555555555555"


def record(image_id: str = IMAGE, generation: int = 1, **more: object) -> ImageRecord:
    made = ImageRecord(
        image_id=image_id,
        generation=generation,
        fingerprint="f" * 64,
        present=True,
        name="näme",
        owner="p",
        status="active",
        size=10,
        os_hash_value="h" * 128,
        kernel_id=None,
        ramdisk_id=None,
        changed_at=0.0,
        observed_at=0.0,
    )
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


@pytest.fixture
def task(journal: Journal) -> Task:
    journal.ask([Ask(TaskKind.IMAGE, IMAGE)], "test")
    (task,) = journal.claim("me", lease=600, limit=1, regions={""})
    return task


def save(journal: Journal, task: Task, **changes: object) -> None:
    journal.commit(task, Changes(**changes))  # type: ignore[arg-type]


# -- home images ----------------------------------------------------------------------------------


def test_an_image_record_comes_back_as_it_was_with_the_databases_time(
    journal: Journal, task: Task
) -> None:
    assert journal.image(IMAGE) is None
    save(journal, task, image=record())

    found = journal.image(IMAGE)
    assert found is not None
    assert dataclasses.replace(found, changed_at=0.0, observed_at=0.0) == record()
    assert found.changed_at == found.observed_at == pytest.approx(journal.database.now(), abs=5)


def test_only_a_new_generation_counts_as_a_change(journal: Journal, task: Task) -> None:
    save(journal, task, image=record())
    first = journal.image(IMAGE)
    save(journal, task, image=record(name="still generation 1"))
    same = journal.image(IMAGE)
    save(journal, task, image=record(generation=2))
    second = journal.image(IMAGE)
    assert first is not None
    assert same is not None
    assert second is not None

    assert same.changed_at == first.changed_at
    assert same.observed_at > first.observed_at
    assert second.changed_at > first.changed_at


def test_referrers_are_the_present_images_that_name_a_kernel_or_ramdisk(
    journal: Journal, task: Task
) -> None:
    names = [f"{n}0000000-0000-0000-0000-000000000000" for n in range(4)]
    references = [{"kernel_id": KERNEL}, {"ramdisk_id": KERNEL}, {"kernel_id": RAMDISK}]
    for name, more in zip(names, references, strict=False):
        save(journal, task, image=record(name, **more))
    save(journal, task, image=record(names[3], kernel_id=KERNEL, present=False))

    assert journal.referrers(KERNEL) == names[:2]
    assert journal.referrers(IMAGE) == []


# -- replicas -------------------------------------------------------------------------------------


def test_a_replica_record_comes_back_as_it_was(journal: Journal, task: Task) -> None:
    value = Replica(
        IMAGE,
        "RegionTwo",
        ReplicaState.PARTIAL,
        replica_id=MAPPED,
        made=True,
        observed_generation=3,
        baseline="b" * 64,
        transport="upload",
        bytes_done=2**40,
        bytes_total=2**41,
        refused={"hw_ä": "policy — no"},
        kept={"ö": "ü"},
        last_error="x" * 5000,
    )
    save(journal, task, replica=value)

    found = journal.replica(IMAGE, "RegionTwo")
    assert found is not None
    assert dataclasses.replace(found, synced_at=None, updated_at=0.0) == value
    assert found.updated_at == pytest.approx(journal.database.now(), abs=5)
    assert journal.replicas_of(IMAGE) == [found]
    assert journal.replica(IMAGE, "RegionThree") is None
    assert journal.replica(KERNEL, "RegionTwo") is None


@pytest.mark.parametrize("recorded_before", [False, True])
@pytest.mark.parametrize("state", [ReplicaState.IN_SYNC, ReplicaState.PARTIAL])
def test_reaching_home_is_dated(
    journal: Journal, task: Task, state: ReplicaState, recorded_before: bool
) -> None:
    if recorded_before:
        save(journal, task, pending=("A",))
    save(journal, task, replica=Replica(IMAGE, "A", state))
    found = journal.replica(IMAGE, "A")
    assert found is not None
    assert found.synced_at == pytest.approx(journal.database.now(), abs=5)

    save(journal, task, replica=dataclasses.replace(found, state=ReplicaState.FAILED))
    later = journal.replica(IMAGE, "A")
    assert later is not None
    assert later.synced_at == found.synced_at


def test_pending_is_shown_for_new_and_known_replicas_but_hides_no_copy(
    journal: Journal, task: Task
) -> None:
    save(journal, task, replica=Replica(IMAGE, "A", ReplicaState.COPYING, IMAGE, made=True))
    save(journal, task, replica=Replica(IMAGE, "B", ReplicaState.DELETED))
    save(journal, task, replica=Replica(IMAGE, "C", ReplicaState.FAILED, last_error="why"))

    save(journal, task, pending=("A", "B", "C", "D"))

    found = {one.region: one for one in journal.replicas_of(IMAGE)}
    assert [one.state.value for one in found.values()] == ["copying", *["pending"] * 3]
    assert found["A"].made, "what we know of it stays"
    assert found["C"].last_error == "why"


def test_a_grace_period_that_a_person_ended_is_not_begun_anew(journal: Journal, task: Task) -> None:
    """By a task that was just looking when it was ended."""
    expiring = Replica(IMAGE, "A", ReplicaState.EXPIRING, IMAGE, made=True, expires_at=4e9)
    save(journal, task, replica=expiring)
    before = journal.replica(IMAGE, "A")
    journal.ask([Ask(TaskKind.REPLICA, IMAGE, "A")], "sync", expire=True)
    save(journal, task, replica=before)
    found = journal.replica(IMAGE, "A")
    assert found is not None
    assert found.expires_at == pytest.approx(journal.database.now(), abs=5)
    save(journal, task, replica=dataclasses.replace(found, state=ReplicaState.PENDING))
    save(journal, task, replica=dataclasses.replace(expiring, expires_at=5e9))
    later = journal.replica(IMAGE, "A")
    assert later is not None
    assert later.expires_at == 5e9, "another grace period"


@pytest.mark.parametrize("ended", sorted(ENDED))
@pytest.mark.parametrize("new", sorted({*ENDED, *SETTLED, ReplicaState.PENDING}))
def test_what_has_ended_is_left_only_by_new_work(
    journal: Journal, task: Task, ended: ReplicaState, new: ReplicaState
) -> None:
    save(journal, task, replica=Replica(IMAGE, "A", ended))
    wanted = Replica(IMAGE, "A", new)
    if new not in SETTLED:
        save(journal, task, replica=wanted)
        expected = new
    else:
        with pytest.raises(ValueError, match=f"can't move from {ended} to {new}"):
            save(journal, task, replica=wanted)
        expected = ended
    found = journal.replica(IMAGE, "A")
    assert found is not None
    assert found.state is expected


def test_the_id_map_of_a_region(journal: Journal, task: Task) -> None:
    save(journal, task, replica=Replica(KERNEL, "A", replica_id=MAPPED, made=True))
    save(journal, task, replica=Replica(RAMDISK, "A", replica_id=RAMDISK))
    save(journal, task, replica=Replica(KERNEL, "B", replica_id=KERNEL))
    save(journal, task, replica=Replica(IMAGE, "A"))

    asked = [KERNEL, RAMDISK, IMAGE, "unknown"]
    assert journal.id_map("A", asked) == {KERNEL: MAPPED, RAMDISK: RAMDISK}
    assert journal.id_map("B", asked) == {KERNEL: KERNEL}
    assert journal.id_map("C", asked) == {}
    assert journal.id_map("A", []) == {}


def test_two_images_never_share_one_replica(journal: Journal, task: Task) -> None:
    save(journal, task, replica=Replica(KERNEL, "A", replica_id=MAPPED))
    save(journal, task, replica=Replica(KERNEL, "B", replica_id=MAPPED))
    with pytest.raises(Exception, match="replica_id"):
        save(journal, task, replica=Replica(IMAGE, "A", replica_id=MAPPED))


def test_what_we_made_has_an_id(journal: Journal, task: Task) -> None:
    with pytest.raises(Exception, match="made_has_id"):
        save(journal, task, replica=Replica(IMAGE, "A", made=True))


def test_progress(journal: Journal, task: Task) -> None:
    save(journal, task, replica=Replica(IMAGE, "A", ReplicaState.COPYING, IMAGE, made=True))
    journal.progress(IMAGE, "A", 5, 10)
    journal.progress(IMAGE, "A", 2**40, None)
    journal.progress(IMAGE, "nowhere", 1, 1)

    (found,) = journal.replicas_of(IMAGE)
    assert (found.bytes_done, found.bytes_total) == (2**40, None)
    assert found.state is ReplicaState.COPYING


# -- regions --------------------------------------------------------------------------------------


def test_regions_come_go_and_come_back_with_what_the_operator_set(url: str) -> None:
    journal = Journal(Database(url))
    assert journal.discovered({"B": "http://b", "A": "http://a"}, "A") == ["A", "B"]
    journal.update_region("B", {"maintenance": True, "labels": {"city": "Köln"}})
    journal.update_region("B", {"limits": {"tasks": 2}})

    assert journal.discovered({"A": "http://a", "C": "http://c"}, "A") == ["C"]
    a, b, c = journal.regions()
    assert (a.home, b.home, c.home) == (True, False, False)
    assert (c.open, b.present, b.open) == (True, False, False)

    assert journal.discovered({"B": "http://new", "C": "http://c"}, "C") == []
    b = journal.region("B")  # type: ignore[assignment]
    assert (b.url, b.present, b.maintenance) == ("http://new", True, True)
    assert (b.labels, b.limits) == ({"city": "Köln"}, {"tasks": 2})
    assert journal.region("nowhere") is None
    journal.database.dispose()


# -- several who write ----------------------------------------------------------------------------


def test_every_other_fingerprint_is_another_generation(journal: Journal, task: Task) -> None:
    """Also if two tasks looked at the same time, and both took the record for the older one."""
    save(journal, task, image=record(fingerprint="a" * 64))
    save(journal, task, image=record(fingerprint="b" * 64, generation=2))
    save(journal, task, image=record(fingerprint="c" * 64, generation=2))
    found = journal.image(IMAGE)
    assert found is not None
    assert (found.generation, found.fingerprint) == (3, "c" * 64)
    save(journal, task, image=record(fingerprint="c" * 64, generation=2))
    again = journal.image(IMAGE)
    assert again is not None
    assert again.generation == 3


def test_many_may_record_an_image_first(journal: Journal) -> None:
    regions = ("A", "B", "C", "D")
    journal.ask([Ask(TaskKind.REPLICA, IMAGE, region) for region in regions], "test")
    tasks = journal.claim("me", lease=600, limit=4, regions=regions)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda task: save(journal, task, image=record()), tasks))
    assert journal.image(IMAGE) is not None


def test_what_a_region_released_may_be_another_images_replica(journal: Journal, task: Task) -> None:
    save(journal, task, image=record())
    save(journal, task, replica=Replica(KERNEL, "A", ReplicaState.IN_SYNC, replica_id=MAPPED))
    assert journal.holder("A", MAPPED) == KERNEL
    with pytest.raises(JournalRefused):
        save(journal, task, replica=Replica(IMAGE, "A", replica_id=MAPPED))
    save(journal, task, replica=Replica(KERNEL, "A", ReplicaState.RELEASED, replica_id=MAPPED))
    assert journal.holder("A", MAPPED) is None
    save(journal, task, replica=Replica(IMAGE, "A", replica_id=MAPPED))
    assert journal.holder("A", MAPPED) == IMAGE
    assert journal.holder("B", MAPPED) is None
    released = journal.replica(KERNEL, "A")
    assert released is not None
    assert released.replica_id is None


@pytest.mark.parametrize("state", sorted(ReplicaState))
def test_a_replica_whose_task_is_cancelled_says_so_unless_it_is_well(
    journal: Journal, task: Task, state: ReplicaState
) -> None:
    save(journal, task, replica=Replica(IMAGE, "A", state, last_error="why"))
    save(journal, task, replica=Replica(IMAGE, "B", state, last_error="why"))
    save(journal, task, asks=(Ask(TaskKind.REPLICA, IMAGE, "A"),))
    (open_task,) = journal.list_tasks(region="A", image_id=IMAGE)
    assert journal.cancel_task(open_task.id, Actor())

    unfinished = state in (BEHIND - {ReplicaState.CONFLICT}) | {ReplicaState.EXPIRING}
    found = journal.replica(IMAGE, "A")
    assert found is not None
    if unfinished:
        assert (found.state, found.last_error) == (ReplicaState.STALLED, "cancelled by hand")
    else:
        assert (found.state, found.last_error) == (state, "why")
    other = journal.replica(IMAGE, "B")
    assert other is not None
    assert (other.state, other.last_error) == (state, "why")
