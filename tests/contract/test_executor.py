# SPDX-License-Identifier: Apache-2.0
"""What comes of a task when a region fails, and what is then known of the region.

Over real sockets: the far ends are :class:`ListingGlance`, which here says what it is told to.
"""

import dataclasses
import threading
from collections.abc import Iterator

import pytest

from glancesync.breaker import Breaker
from glancesync.bundle import Bundle
from glancesync.destinations import Destinations
from glancesync.errors import (
    Conflict,
    Credential,
    Refused,
    RegionError,
    Throttled,
    Transient,
)
from glancesync.executor import Executor, Flow
from glancesync.interfaces import Ask, Changes, ImageService, Lost, Transport
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Again, Done, Hint, Image, Outcome, Pin, Priority, Replica, Task
from glancesync.pacing import Limits, Pacing
from glancesync.placement.strategies import STRATEGIES, Facts, Placement, Strategy
from glancesync.recording import Settings
from glancesync.retry import RetryPolicy
from glancesync.states import BreakerState, DeleteMode, ReplicaState, TaskKind, TaskState
from glancesync.transports.reading import Reading
from glancesync.transports.settings import TransferSettings
from glancesync.transports.upload import Upload
from glancesync.wiring import SystemClock
from tests.contract.listing_glance import Answer, ListingGlance, Says

pytestmark = pytest.mark.matrix(database_kind=("postgresql", "mariadb"))

IMAGE = "11111111-2222-3333-4444-555555555555"
HOME = "E"  # of the journal fixture
POLICY = RetryPolicy(fast_attempts=3, base=10, cap=1000)


class Bench:
    """Home and one region, and the executor that works between them."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.home = HOME
        self.glances = {name: ListingGlance(name) for name in (HOME, "A")}
        self.heard: list[tuple[str, type[RegionError] | None]] = []
        self.strategy = "ALL"
        self.strategies = dict(STRATEGIES)
        self.lost = threading.Event()
        self.transports: list[Transport] = []

    def __call__(self, region: str) -> ImageService:
        return self.glances[region].service

    def _hear(self, region: str, error: RegionError | None) -> None:
        self.heard.append((region, type(error) if error else None))
        self.journal.note_region(region, error, Breaker())

    def watch(self, task: Task, lost: Lost) -> tuple[Changes, Outcome]:
        self(task.region).page(hidden=False)
        return Changes(), Again(60, "looked")

    def run(self, kind: TaskKind = TaskKind.REPLICA, bundle: Bundle | None = None) -> Task:
        """Run the task as a worker would, due or not; the task as it is then."""
        image_id = "" if kind is TaskKind.WATCH else IMAGE
        region = "" if kind is TaskKind.IMAGE else "A"
        self.journal.ask([Ask(kind, image_id, region, urgent=True)], "test")
        (task,) = self.journal.claim("me", lease=60, limit=1, regions={region})
        return self.execute(task, bundle)

    def claim(self, kind: TaskKind) -> list[Task]:
        """The image's task, or that of its replica, if it is due."""
        region = "" if kind is TaskKind.IMAGE else "A"
        return self.journal.claim("me", lease=60, limit=1, regions={region})

    def execute(self, task: Task, bundle: Bundle | None = None) -> Task:
        executor = Executor(
            self.journal,
            self.journal,
            self,
            POLICY,
            Settings(
                Destinations(self.strategies[self.strategy], self.journal),
                self.transports,
                Reading(TransferSettings()),
                SystemClock(),
                Pacing(self.journal.regions, lambda: 1, SystemClock(), lambda: 0, Limits()),
            ),
            lambda: 0.999,
            {TaskKind.WATCH: Flow(self.watch, 60)},
            self._hear,
        )
        executor.run(task, bundle or Bundle(1), self.lost)
        return self.task(task)

    def task(self, task: Task) -> Task:
        """The task as it is now."""
        after = self.journal.task(task.id)
        assert after is not None
        return after

    def make(self) -> None:
        """Have it on record that the replica is in sync, and that we made it."""
        self.run(TaskKind.IMAGE)
        self.run()
        self.journal.ask([Ask(TaskKind.REPLICA, IMAGE, "A")], "test")
        (task,) = self.journal.claim("me", lease=60, limit=1, regions={"A"})
        ours = dataclasses.replace(self.replica(), made=True)
        self.journal.commit(task, Changes(replica=ours), Done(""))

    def says(self, region: str, status: int, body: bytes = b"no", **headers: str) -> None:
        """Have a region answer everything so."""
        self.glances[region].says = always((status, headers, body))

    def replica(self) -> Replica:
        replica = self.journal.replica(IMAGE, "A")
        assert replica is not None
        return replica


def always(answer: Answer) -> Says:
    return lambda method, path: answer


@pytest.fixture
def bench(journal: Journal) -> Iterator[Bench]:
    bench = Bench(journal)
    for glance in bench.glances.values():
        glance.add(IMAGE)
    yield bench
    for glance in bench.glances.values():
        glance.close()


# -- what is known of a region --------------------------------------------------------------------


def test_both_ends_answered(bench: Bench) -> None:
    assert bench.run().state is TaskState.DONE
    assert bench.heard == [(HOME, None), ("A", None)]


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind"),
    [
        (500, b"<html><h1>Oops</h1></html>", {}, Transient),
        (503, b"", {}, Transient),
        (503, b"", {"Retry-After": "77"}, Throttled),
        (429, b"", {"Retry-After": "77"}, Throttled),
        (401, b"", {}, Credential),
        (401, b'{"message": "who are you?"}', {"Content-Type": "application/json"}, Credential),
        (500, b'["so", "sorry"]', {"Content-Type": "application/json"}, Transient),
        (500, b"\xff\xfe", {}, Transient),
        (200, b"<html><h1>Welcome to nginx</h1></html>", {"Content-Type": "text/html"}, Transient),
        (200, b'{"id": "1', {"Content-Type": "application/json"}, Transient),
        (200, b"[1, 2]", {"Content-Type": "application/json"}, Transient),
        (200, b'{"id": 5}', {"Content-Type": "application/json"}, Transient),
    ],
)
@pytest.mark.parametrize("region", [HOME, "A"])
def test_the_one_at_fault_is_named(
    bench: Bench,
    region: str,
    status: int,
    body: bytes,
    headers: dict[str, str],
    kind: type[RegionError],
) -> None:
    bench.says(region, status, body, **headers)
    task = bench.run()
    assert bench.heard == [(region, kind)] if region == HOME else [(HOME, None), (region, kind)]
    assert task.reason is not None
    assert task.reason.startswith(f"{region}: could not read image {IMAGE}: ")
    assert task.state is TaskState.WAITING
    assert bench.replica().last_error == task.reason
    if kind is Throttled:
        left = bench.journal.region(region)
        assert left is not None
        assert left.broken_for == pytest.approx(77, abs=5)
        assert task.attempt == 0, "it costs no attempt"
        assert bench.replica().state is ReplicaState.PENDING
        assert task.due_at >= bench.journal.database.now() + 72
    else:
        assert task.attempt == 1
        assert bench.replica().state is ReplicaState.FAILED


def test_a_region_that_is_not_there_at_all(bench: Bench) -> None:
    bench.glances["A"].close()
    task = bench.run()
    assert bench.heard == [(HOME, None), ("A", Transient)]
    assert task.reason == (
        f"A: could not read image {IMAGE}: nobody answers at {bench.glances['A'].url}: "
        "connection refused"
    )
    bench.glances["A"] = ListingGlance("A")


@pytest.mark.parametrize(("status", "kind"), [(403, Refused), (409, Conflict)])
def test_a_region_that_says_no_is_well(bench: Bench, status: int, kind: type[RegionError]) -> None:
    glance = bench.glances["A"]
    del glance.images[IMAGE]
    glance.says = lambda method, path: (status, {}, b"no") if method == "POST" else None
    for _ in range(6):
        task = bench.run()
    assert set(bench.heard) == {(HOME, None), ("A", None), ("A", kind)}
    region = bench.journal.region("A")
    assert region is not None
    assert (region.breaker, region.failures) == (BreakerState.CLOSED, 0)
    assert task.state is TaskState.FAILED, "there is no sense in fast attempts"
    assert bench.replica().state is ReplicaState.STALLED


def test_an_answer_that_comes_before_a_failure_counts(bench: Bench) -> None:
    """A region that answers is left to the tasks' own backoff, whatever it can't do."""
    glance = bench.glances["A"]
    del glance.images[IMAGE]
    glance.says = lambda method, path: (500, {}, b"no") if method == "POST" else None
    for _ in range(10):
        bench.run()
    region = bench.journal.region("A")
    assert region is not None
    assert (region.breaker, region.failures) == (BreakerState.CLOSED, 1)


@pytest.mark.parametrize(
    "answer",
    [
        (204, {}, b""),
        (404, {}, b"no"),
        (500, {}, b"oops"),
        (200, {}, b"too short"),
        (503, {"Retry-After": "77"}, b""),
    ],
    ids=lambda answer: str(answer[0]),
)
def test_bytes_of_one_image_that_home_does_not_give_do_not_make_it_unwell(
    bench: Bench, answer: Answer
) -> None:
    """All regions would fail for it at once, and nothing be done for any image for a while."""
    bench.transports = [Upload(TransferSettings())]
    bench.glances["A"].images[IMAGE]["status"] = "queued"
    ours = Replica(IMAGE, "A", replica_id=IMAGE, made=True)
    bench.journal.ask([Ask(TaskKind.REPLICA, IMAGE, "A")], "test")
    (task,) = bench.journal.claim("me", lease=60, limit=1, regions={"A"})
    bench.journal.commit(task, Changes(replica=ours), Again(0, "made"))
    bench.glances[HOME].says = lambda method, path: answer if path.endswith("/file") else None

    task = bench.run()
    assert f"{HOME}: could not read image" in str(task.reason)
    asked_for_time = answer[0] == 503
    assert bench.heard == [(HOME, None), ("A", None), (HOME, Throttled)][: 2 + asked_for_time]


def test_nothing_is_said_of_what_was_not_asked(bench: Bench) -> None:
    bench.strategy = "None"
    assert bench.run().state is TaskState.WAITING
    assert bench.heard == []


def test_a_bug_of_ours_is_nobody_elses_fault(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Bundle):
        def home_image(self, read: object) -> Image | None:
            raise ZeroDivisionError("by 0")

    task = bench.run(bundle=Broken(1))
    assert bench.heard == []
    assert task.state is TaskState.FAILED, "shown at once, and tried again at long intervals"
    assert task.reason == "a bug of glance-sync, see its log: ZeroDivisionError: by 0"
    assert "failed unexpectedly" in caplog.text


def test_who_lost_the_lease_says_only_who_answered(bench: Bench) -> None:
    def cancel(method: str, path: str) -> None:
        for task in bench.journal.list_tasks():
            bench.journal.cancel_task(task.id, Actor())

    bench.glances["A"].says = cancel
    assert bench.run().state is TaskState.CANCELLED
    assert bench.heard == [(HOME, None), ("A", None)]


# -- fast attempts, and then ----------------------------------------------------------------------


def test_failed_between_fast_attempts_then_stalled_with_reason_and_next_try(bench: Bench) -> None:
    bench.run(TaskKind.IMAGE)
    bench.says("A", 500)
    seen = []
    for _ in range(4):
        bench.run()
        view = next(one for one in bench.journal.replicas_for([IMAGE]) if one.replica.region == "A")
        assert view.next_try_at is not None
        wait = view.next_try_at - bench.journal.database.now()
        seen.append((view.replica.state, view.attempt, round(wait, -1)))
        assert view.replica.last_error == f"A: could not read image {IMAGE}: HTTP 500: no"
    assert seen == [
        (ReplicaState.FAILED, 1, 10),
        (ReplicaState.FAILED, 2, 20),
        (ReplicaState.STALLED, 3, 1000),
        (ReplicaState.STALLED, 4, 1000),
    ]
    bench.glances["A"].says = lambda method, path: None
    bench.run()
    assert bench.replica().state is ReplicaState.IN_SYNC
    assert bench.replica().last_error is None


@pytest.mark.parametrize("home_has_it", [True, False])
def test_a_replica_that_is_denied_for_a_moment_stays_ours(bench: Bench, home_has_it: bool) -> None:
    """A proxy's 404 makes no second replica, and leaves none behind."""
    bench.make()
    there = bench.glances["A"]

    def deny(method: str, path: str) -> Answer | None:
        return (404, {}, b"404 page not found") if path.endswith(IMAGE) else None

    if not home_has_it:
        del bench.glances[HOME].images[IMAGE]
        bench.journal.ask([Ask(TaskKind.IMAGE, IMAGE, removed=True)], "test")
        bench.run(TaskKind.IMAGE)
    there.says = deny
    bench.run()
    assert bench.replica().made
    assert bench.replica().state is ReplicaState.FAILED
    assert bench.replica().last_error == f"A: does not find image {IMAGE}, yet lists it"
    there.says = lambda method, path: None
    bench.run()
    assert bench.replica().state is (ReplicaState.IN_SYNC if home_has_it else ReplicaState.DELETED)
    assert list(there.images) == ([IMAGE] if home_has_it else [])


def test_what_a_region_has_lost_is_not_in_sync_until_it_is_there_again(bench: Bench) -> None:
    """Nor is it under the id it gets where the region never takes the old one again."""
    bench.make()
    there = bench.glances["A"]
    del there.images[IMAGE]
    states = []

    def says(method: str, path: str) -> Answer | None:
        if method != "POST":
            return None
        states.append(bench.replica().state)
        if len(states) == 1:
            return 409, {}, b""
        there.add(bench.replica().replica_id, status="queued")
        return 201, {}, b"{}"

    assert bench.replica().state is ReplicaState.IN_SYNC
    there.says = says
    bench.run()
    assert bench.replica().replica_id != IMAGE
    assert states == [ReplicaState.PENDING, ReplicaState.PENDING]


@pytest.mark.parametrize(
    ("status", "gone"), [("deleted", True), ("pending_delete", True), ("active", False)]
)
def test_what_glance_was_killed_while_deleting_is_gone(
    bench: Bench, status: str, gone: bool
) -> None:
    """Glance goes on listing it as deleted, and answers with it; nobody can delete it any more."""
    home = bench.glances[HOME]
    home.add(IMAGE, status=status)
    assert (home.service.get(IMAGE) is None) is gone
    assert home.service.confirm_absent(IMAGE) is gone


def test_a_watch_is_tried_again_no_later_than_it_would_be_due(bench: Bench) -> None:
    """So that a region that is back is noticed, also if there is nothing else to do for it."""
    bench.says("A", 500)
    for _ in range(6):
        task = bench.run(TaskKind.WATCH)
    assert task.state is TaskState.FAILED
    assert task.due_at == pytest.approx(bench.journal.database.now() + 60, abs=5)


# -- where it does not go (any more) --------------------------------------------------------------


def nowhere(image: Image, facts: Facts) -> Placement:
    return Placement(frozenset(), "rule 7")


NOWHERE = Strategy("nowhere", nowhere)


@pytest.fixture
def unwanted(bench: Bench) -> Bench:
    """An image with a replica of ours in A, which the strategy does not want there any more."""
    bench.make()
    bench.strategies["nowhere"] = NOWHERE
    bench.strategy = "nowhere"
    return bench


def details(bench: Bench, what: str) -> list[str]:
    return [one.detail for one in bench.journal.events(IMAGE) if one.what == what]


def test_what_a_user_changed_so_that_it_goes_elsewhere_goes(unwanted: Bench) -> None:
    unwanted.journal.hint([Hint(IMAGE)])
    (task,) = unwanted.claim(TaskKind.IMAGE)
    unwanted.execute(task)
    unwanted.run()
    assert unwanted.replica().state is ReplicaState.DELETED
    assert IMAGE not in unwanted.glances["A"].images
    assert details(unwanted, "delete") == [f"{IMAGE}: the image does not go there: rule 7"]


@pytest.mark.parametrize("kind", [TaskKind.IMAGE, TaskKind.REPLICA])
def test_what_only_an_audit_has_noticed_stays_until_it_has_counted(
    unwanted: Bench, kind: TaskKind
) -> None:
    """A mistake in the rules must not empty regions one image at a time (P4)."""
    region = "A" if kind is TaskKind.REPLICA else ""
    unwanted.journal.ask([Ask(kind, IMAGE, region, priority=Priority.AUDIT)], "test")
    (task,) = unwanted.claim(kind)
    unwanted.execute(task)
    assert unwanted.claim(TaskKind.REPLICA) == []
    assert IMAGE in unwanted.glances["A"].images
    assert unwanted.replica().state is ReplicaState.IN_SYNC
    if kind is TaskKind.REPLICA:
        assert "an audit of home decides" in str(unwanted.task(task).reason)


def test_it_goes_when_somebody_releases_what_the_audit_held(unwanted: Bench) -> None:
    unwanted.journal.ask(
        [Ask(TaskKind.IMAGE, IMAGE, priority=Priority.AUDIT, removed=True)], "test"
    )
    (task,) = unwanted.claim(TaskKind.IMAGE)
    unwanted.execute(task)
    (task,) = unwanted.claim(TaskKind.REPLICA)
    unwanted.execute(task)
    assert unwanted.replica().state is ReplicaState.DELETED


@pytest.mark.parametrize("mode", [DeleteMode.KEEP, DeleteMode.HIDE, DeleteMode.DEACTIVATE])
def test_what_becomes_of_it_is_what_the_strategy_says(unwanted: Bench, mode: DeleteMode) -> None:
    def place(image: Image, facts: Facts) -> Placement:
        return Placement(frozenset(), "rule 7", delete_mode=mode)

    unwanted.strategies["nowhere"] = Strategy("nowhere", place)
    unwanted.journal.hint([Hint(IMAGE)])
    (task,) = unwanted.claim(TaskKind.IMAGE)
    unwanted.execute(task)
    unwanted.run()
    there = unwanted.glances["A"].images[IMAGE]
    assert unwanted.replica().state is ReplicaState.RELEASED
    assert there["os_hidden"] is (mode is DeleteMode.HIDE)
    assert there["status"] == ("deactivated" if mode is DeleteMode.DEACTIVATE else "active")
    assert str(unwanted.replica().last_error).endswith(f"(delete_mode {mode})")


def test_it_comes_back_where_it_goes_again(unwanted: Bench) -> None:
    unwanted.journal.hint([Hint(IMAGE)])
    (task,) = unwanted.claim(TaskKind.IMAGE)
    unwanted.execute(task)
    unwanted.strategy = "ALL"  # before the region's turn has come
    unwanted.run()
    assert unwanted.replica().state is ReplicaState.IN_SYNC
    assert IMAGE in unwanted.glances["A"].images


def test_what_we_did_not_make_is_let_go_as_it_is(bench: Bench) -> None:
    bench.run(TaskKind.IMAGE)
    bench.run()
    assert not bench.replica().made
    bench.strategies["nowhere"] = NOWHERE
    bench.strategy = "nowhere"
    bench.journal.ask([Ask(TaskKind.IMAGE, IMAGE, priority=Priority.AUDIT)], "test")
    (task,) = bench.claim(TaskKind.IMAGE)
    bench.execute(task)
    (task,) = bench.claim(TaskKind.REPLICA)
    bench.execute(task)
    assert bench.replica().state is ReplicaState.RELEASED
    assert bench.glances["A"].images[IMAGE]["status"] == "active"


def test_a_pin_keeps_it_where_the_strategy_does_not_want_it(unwanted: Bench) -> None:
    unwanted.journal.pin([Pin(IMAGE, "A", "somebody needs it")], [])
    unwanted.journal.hint([Hint(IMAGE)])
    (task,) = unwanted.claim(TaskKind.IMAGE)
    unwanted.execute(task)
    assert unwanted.claim(TaskKind.REPLICA) == []
    unwanted.run()
    assert unwanted.replica().state is ReplicaState.IN_SYNC

    unwanted.journal.unpin(IMAGE, ["A"], "nobody does any more", Actor())
    (task,) = unwanted.claim(TaskKind.IMAGE)
    unwanted.execute(task)
    unwanted.run()
    assert unwanted.replica().state is ReplicaState.DELETED
    assert details(unwanted, "pinned") == ["somebody needs it"]
    assert details(unwanted, "unpinned") == ["nobody does any more"]


def test_who_changed_it_last_is_known_by_the_change_alone(bench: Bench) -> None:
    """Not by who asks for it to be looked at, nor by an audit that asks."""
    user = Actor("u1", "p1", ("member",))
    bench.journal.hint([Hint(IMAGE, user)])
    (task,) = bench.claim(TaskKind.IMAGE)
    bench.execute(task)
    bench.journal.ask([Ask(TaskKind.IMAGE, IMAGE, actor=Actor("u2", "p2", ("admin",)))], "test")
    (task,) = bench.claim(TaskKind.IMAGE)
    bench.execute(task)
    image = bench.glances[HOME].service.get(IMAGE)
    assert image is not None
    assert bench.journal.facts([image])[IMAGE].actor == user


def test_who_changed_it_is_told_by_a_hint_that_comes_after_the_change_was_seen(
    bench: Bench,
) -> None:
    bench.journal.ask([Ask(TaskKind.IMAGE, IMAGE, priority=Priority.AUDIT)], "the watch")
    (task,) = bench.claim(TaskKind.IMAGE)
    bench.execute(task)
    user = Actor("u1", "p1", ("member",))
    bench.journal.hint([Hint(IMAGE, user)])
    (task,) = bench.claim(TaskKind.IMAGE)
    bench.execute(task)
    image = bench.glances[HOME].service.get(IMAGE)
    assert image is not None
    assert bench.journal.facts([image])[IMAGE].actor == user


def test_the_transports_that_the_strategy_prefers_are_tried_first(bench: Bench) -> None:
    class Other(Upload):
        name = "other"

    bench.transports = [Upload(TransferSettings()), Other(TransferSettings())]

    def place(image: Image, facts: Facts) -> Placement:
        return Placement(frozenset({"A"}), "rule 7", transports=("other",))

    bench.strategies["other"] = Strategy("other", place)
    bench.glances["A"].images[IMAGE]["status"] = "queued"
    ours = Replica(IMAGE, "A", replica_id=IMAGE, made=True)
    bench.journal.ask([Ask(TaskKind.REPLICA, IMAGE, "A")], "test")
    (task,) = bench.claim(TaskKind.REPLICA)
    bench.journal.commit(task, Changes(replica=ours), Again(0, "made"))
    for strategy, first in (("ALL", "upload"), ("other", "other")):
        bench.strategy = strategy
        bench.run()
        assert bench.replica().transport == first
