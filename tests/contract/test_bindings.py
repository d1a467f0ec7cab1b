# SPDX-License-Identifier: Apache-2.0
"""Which region a project belongs to, as the journal keeps it."""

import dataclasses
import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from glancesync.errors import BadRequest, JournalError, JournalRefused
from glancesync.interfaces import Ask, Changes
from glancesync.journal import schema
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Done, Hint, Image, ImageRecord, Replica, Task
from glancesync.orders import Binding
from glancesync.placement import filters, weighers
from glancesync.placement.selection import Selection, Settings, Wish
from glancesync.states import ReplicaState, TaskKind

SETTINGS = Settings()
FILTERS = [filters.Enabled(SETTINGS), filters.Maintenance(SETTINGS), filters.Capacity(SETTINGS)]
PLAIN = Selection(FILTERS, [])
ADMIN = Actor("admin", "admins", ("admin",), "req-1")
WISH = Wish("p")


def select(journal: Journal, wish: Wish = WISH, by: Selection = PLAIN) -> Binding:
    found = journal.bindings.select(wish, by, ADMIN).binding
    assert found is not None
    return found


def weighing(kind: Callable[[Settings], object]) -> Selection:
    return Selection(FILTERS, [(kind(SETTINGS), 1.0)])  # type: ignore[list-item]


def image(image_id: str, owner: str | None = "p") -> ImageRecord:
    return ImageRecord(
        image_id, 1, "f", True, "n", owner, "active", 100, None, None, None, 0.0, 0.0
    )


def has(journal: Journal, image_id: str, owner: str | None = "p", *regions: str) -> None:
    """The image is on record, and in sync in these regions."""
    journal.hint([Hint(image_id)])
    task = claim(journal)
    journal.commit(task, Changes(image=image(image_id, owner)))
    for region in regions:
        replica = Replica(
            image_id, region, ReplicaState.IN_SYNC, image_id, made=True, observed_generation=1
        )
        journal.commit(task, Changes(replica=replica))
    journal.commit(task, Changes(), Done("well"))


def claim(journal: Journal) -> Task:
    (task,) = journal.claim("host:1", lease=600, limit=1, regions={""})
    return task


def asked(journal: Journal) -> set[str]:
    """The images that are to be looked at."""
    return {task.image_id for task in journal.list_tasks(kinds={TaskKind.IMAGE})}


# -- one at a time --------------------------------------------------------------------------------


def test_a_project_is_bound_at_its_first_request_and_stays(journal: Journal) -> None:
    first = journal.bindings.select(WISH, PLAIN, ADMIN)
    assert first.created
    assert first.binding is not None
    assert (first.binding.region, first.binding.group, first.binding.active) == ("A", "", True)
    assert first.binding.actor == ADMIN
    assert [one.region for one in first.ranked] == ["A", "B", "C", "D"], "not home, which is E"
    again = journal.bindings.select(WISH, PLAIN, Actor())
    assert (again.created, again.binding) == (False, first.binding)
    other, group = select(journal, Wish("q")), select(journal, Wish("p", "g"))
    assert len({first.binding.id, other.id, group.id}) == 3
    assert [one.id for one in journal.bindings.every()] == [group.id, other.id, first.binding.id]


def test_bindings_are_found_by_what_they_are_about(journal: Journal) -> None:
    ids = [select(journal, Wish(project)).id for project in "pqr"]
    journal.bindings.end(ids[1], "over", ADMIN, release=False)

    def found(**about: object) -> list[int]:
        return [one.id for one in journal.bindings.every(**about)]  # type: ignore[arg-type]

    assert found(project_id="q") == [ids[1]]
    assert found(active=True) == [ids[2], ids[0]]
    assert found(active=False) == [ids[1]]
    assert found(region="A", limit=2) == [ids[2], ids[1]]
    assert found(region="A", limit=2, marker=ids[1]) == [ids[0]]
    assert found(region="B") == []
    assert journal.bindings.get(999) is None
    assert journal.bindings.end(999, "over", ADMIN, release=True) is None


def test_the_region_is_left_when_it_will_not_do_and_may_be_come_back_to(journal: Journal) -> None:
    first = select(journal)
    journal.update_region("A", {"maintenance": True})
    second = select(journal)
    assert (second.region, second.cause) == ("B", "A will not do: it is in maintenance")
    ended = journal.bindings.get(first.id)
    assert ended is not None
    assert not ended.active
    assert ended.end_cause == "bound to B instead: A will not do: it is in maintenance"
    assert ended.ended_by == ADMIN

    journal.update_region("A", {"maintenance": False})
    assert select(journal) == second, "nobody moves without need"
    journal.update_region("B", {"capacity": {"free_bytes": 4, "total_bytes": 100}})
    third = select(journal)
    assert (third.region, third.id > second.id) == ("A", True)
    assert third.cause == "B will not do: 4 % of 100 B would be free; 5 % must stay free"
    assert [one.region for one in journal.bindings.every(project_id="p")] == ["A", "B", "A"]


def test_a_region_that_left_the_catalog_is_left(journal: Journal) -> None:
    select(journal)
    journal.discovered({name: f"http://{name}" for name in "BCDE"}, "E")
    assert select(journal).cause == "A will not do: it is not in the catalog"


def test_when_no_region_will_do_the_binding_stays_as_it_was(journal: Journal) -> None:
    first = select(journal)
    for name in "ABCD":
        journal.update_region(name, {"enabled": False})
    nothing = journal.bindings.select(WISH, PLAIN, ADMIN)
    assert nothing.binding is None
    assert {one.region: one.reasons for one in nothing.ranked} == dict.fromkeys(
        "ABCD", ("it is disabled",)
    )
    assert journal.bindings.every() == [first]


def test_explaining_changes_nothing(journal: Journal) -> None:
    journal.update_region("A", {"maintenance": True})
    said = journal.bindings.explain(WISH, PLAIN)
    assert (said.binding, said.created) == (None, False)
    assert [(one.region, one.passes) for one in said.ranked] == [
        ("B", True),
        ("C", True),
        ("D", True),
        ("A", False),
    ]
    assert journal.bindings.every() == []
    bound = select(journal)
    assert journal.bindings.explain(WISH, PLAIN).binding == bound


def test_by_hand(journal: Journal) -> None:
    first, new = journal.bindings.bind("p", "g", "C", "a contract", ADMIN)
    assert (first.region, first.cause, new) == ("C", "a contract", True)
    assert journal.bindings.bind("p", "g", "C", "once more", ADMIN) == (first, False)
    assert select(journal, Wish("p", "g")) == first
    second, _ = journal.bindings.bind("p", "g", "D", "another contract", ADMIN)
    ended = journal.bindings.get(first.id)
    assert ended is not None
    assert (ended.end_cause, second.region) == ("bound to D instead: another contract", "D")


def test_ending(journal: Journal) -> None:
    first = select(journal)
    ended = journal.bindings.end(first.id, "the project moves", ADMIN, release=False)
    assert ended is not None
    assert (ended.active, ended.released, ended.end_cause) == (False, False, "the project moves")
    later = journal.bindings.end(first.id, "gone", ADMIN, release=True)
    assert later == dataclasses.replace(ended, released=True), "it ended when it ended"
    assert select(journal).id > first.id


def test_the_log_of_a_region_tells_of_its_bindings(journal: Journal) -> None:
    first = select(journal, Wish("p", "g"))
    journal.bindings.end(first.id, "over", ADMIN, release=True)
    said = [(one.what, one.detail, one.actor.user_id) for one in journal.events("", "A")[:3]]
    assert said == [
        ("released", "project p, g: over", "admin"),
        ("unbound", "project p, g: over", "admin"),
        ("bound", "project p, g: the first request", "admin"),
    ]


def test_what_says_where_images_go_is_never_forgotten(journal: Journal) -> None:
    ids = [select(journal, Wish(project)).id for project in "pqr"]
    journal.bindings.end(ids[0], "over", ADMIN, release=False)
    journal.bindings.end(ids[1], "over", ADMIN, release=True)
    assert journal.purge(3600, 100) == 0, "so long ago nothing ended"
    with journal.database.write() as connection:
        older = {"ended_at": schema.binding.c.ended_at - 7200}
        connection.execute(sa.update(schema.binding).values(older))
    assert journal.purge(3600, 100) == 1
    assert [one.id for one in journal.bindings.every()] == [ids[2], ids[0]]


# -- what a choice goes by ------------------------------------------------------------------------


def test_where_the_projects_images_are_already(journal: Journal) -> None:
    has(journal, "i1", "p", "B", "C")
    has(journal, "i2", "p", "C")
    has(journal, "i3", "q", "D", "B")
    assert select(journal, by=weighing(weighers.Images)).region == "C"


def test_what_waits_for_a_region(journal: Journal) -> None:
    has(journal, "i1", "p")
    journal.ask([Ask(TaskKind.REPLICA, "i1", region) for region in "ABC"], "test")
    assert select(journal, by=weighing(weighers.Backlog)).region == "D"


def test_projects_spread(journal: Journal) -> None:
    by = weighing(weighers.Bindings)
    found = [select(journal, Wish(project), by).region for project in "pqrstu"]
    assert found == ["A", "B", "C", "D", "A", "B"]


def test_distance_to_home(journal: Journal) -> None:
    journal.update_region("E", {"labels": {"place": "eu/fr/paris"}})
    for name, place in (("A", "us"), ("B", "eu/de"), ("C", "eu/fr/lyon")):
        journal.update_region(name, {"labels": {"place": place}})
    assert select(journal, by=weighing(weighers.Distance)).region == "C"


def test_capacity_is_kept_with_when_it_was_said(journal: Journal) -> None:
    before = journal.database.now()
    journal.update_region("C", {"capacity": {"free_bytes": 2**62, "total_bytes": 2**63 - 1}})
    region = journal.region("C")
    assert region is not None
    assert region.capacity is not None
    assert region.capacity.free_bytes == 2**62
    assert before <= region.capacity.said_at <= journal.database.now()
    journal.update_region("C", {"maintenance": False})
    assert journal.region("C") == region
    journal.update_region("C", {"capacity": None})
    region = journal.region("C")
    assert region is not None
    assert region.capacity is None


def test_what_was_said_of_a_capacity_long_ago_counts_no_more(journal: Journal) -> None:
    for name in "ABC":
        journal.update_region(name, {"capacity": {"free_bytes": 0, "total_bytes": 10}})
    with journal.database.write() as connection:
        long_ago = {"capacity_at": schema.region.c.capacity_at - 3601}
        there = schema.region.c.name == "B"
        connection.execute(sa.update(schema.region).where(there).values(long_ago))
    by = Selection([filters.Capacity(Settings(capacity_age=3600))], [])
    ranked = {one.region: one for one in journal.bindings.explain(WISH, by).ranked}
    assert {name: one.passes for name, one in ranked.items()} == {
        "A": False,
        "B": True,
        "C": False,
        "D": True,
    }
    said = ranked["B"].verdicts["capacity"].why
    assert said == "its capacity was said too long ago to count"


def test_a_project_has_so_many_groups_and_no_more(journal: Journal) -> None:
    for group in ("", "web"):
        journal.bindings.select(Wish("p", group), PLAIN, ADMIN, 2)
    with pytest.raises(BadRequest, match=r"^2 groups of the project are bound; bindings_per_p"):
        journal.bindings.select(Wish("p", "db"), PLAIN, ADMIN, 2)
    assert journal.bindings.select(Wish("p", "web"), PLAIN, ADMIN, 2).binding is not None
    assert journal.bindings.select(Wish("q", "db"), PLAIN, ADMIN, 2).created
    journal.update_region("A", {"maintenance": True})
    moved = journal.bindings.select(Wish("p", "web"), PLAIN, ADMIN, 2)
    assert moved.created, "what moves is no further group"
    assert moved.binding is not None
    journal.bindings.end(moved.binding.id, "gone", ADMIN, release=False)
    assert journal.bindings.select(Wish("p", "db"), PLAIN, ADMIN, 2).created


def test_groups_that_ask_at_once_are_counted(journal: Journal) -> None:
    barrier = threading.Barrier(8)
    refused: list[str] = []

    def ask(number: int) -> None:
        barrier.wait()
        try:
            journal.bindings.select(Wish("p", f"g{number}"), PLAIN, ADMIN, 3)
        except BadRequest as error:
            refused.append(str(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert len(refused) == 5
    assert len(journal.bindings.every(active=True)) == 3


def test_how_long_a_region_is_known(journal: Journal) -> None:
    g = schema.region
    with journal.database.write() as connection:
        for name, seconds in (("A", 10), ("B", 3600), ("C", 60)):
            older = sa.update(g).where(g.c.name == name).values(found_at=g.c.found_at - seconds)
            connection.execute(older)
        connection.execute(sa.update(g).where(g.c.name == "D").values(found_at=None))
    assert select(journal, by=weighing(weighers.Age)).region == "B"
    ranked = journal.bindings.explain(WISH, weighing(weighers.Age)).ranked
    raw = {one.region: one.weights["age"].raw for one in ranked}
    assert raw["D"] is None
    assert 3600 <= (raw["B"] or 0) < 3700
    journal.discovered({name: f"http://{name}" for name in "ABCDE"}, "E")
    known = {one.name: one.found_at for one in journal.regions()}
    assert known["D"] is None, "when it was found is not known later either"


# -- where images go ------------------------------------------------------------------------------


def bound(journal: Journal, owner: str | None = "p") -> frozenset[str]:
    one = Image("i1", "active", owner=owner)
    return journal.facts([one])["i1"].bound


def test_images_go_to_where_their_project_is_bound_and_was(journal: Journal) -> None:
    assert bound(journal) == frozenset()
    first = select(journal)
    journal.bindings.bind("p", "g", "C", "by hand", ADMIN)
    assert bound(journal) == {"A", "C"}
    assert bound(journal, "q") == frozenset()
    assert bound(journal, None) == frozenset()

    journal.update_region("A", {"maintenance": True})
    assert select(journal).region == "B"
    assert bound(journal) == {"A", "B", "C"}, "what runs in A still needs them"
    journal.bindings.end(first.id, "nothing runs there", ADMIN, release=True)
    assert bound(journal) == {"B", "C"}


def test_what_one_group_lets_go_of_another_may_hold(journal: Journal) -> None:
    first = select(journal)
    journal.bindings.bind("p", "g", "A", "by hand", ADMIN)
    journal.bindings.end(first.id, "over", ADMIN, release=True)
    assert bound(journal) == {"A"}


def test_earlier_bindings_to_the_region_are_let_go_of_with_the_last(journal: Journal) -> None:
    for region in "ABA":
        last, _ = journal.bindings.bind("p", "", region, "to and fro", ADMIN)
    journal.bindings.end(last.id, "over", ADMIN, release=True)
    assert bound(journal) == {"B"}


def test_a_binding_asks_for_the_images_that_are_not_there(journal: Journal) -> None:
    has(journal, "i1", "p")
    has(journal, "i2", "p", "A")
    has(journal, "i3", "p", "B")
    has(journal, "i4", "q")
    assert select(journal).region == "A"
    assert asked(journal) == {"i1", "i3"}
    tasks = journal.list_tasks(kinds={TaskKind.IMAGE})
    assert {(task.removed, task.actor) for task in tasks} == {(False, Actor())}


def test_who_changed_an_image_is_not_forgotten_for_who_binds(journal: Journal) -> None:
    has(journal, "i1", "p")
    journal.hint([Hint("i1", Actor("u", "p", ("member",)))])
    select(journal)
    (task,) = journal.list_tasks(kinds={TaskKind.IMAGE})
    assert (task.asked, task.actor.user_id) == (2, "u")


def test_letting_go_asks_for_the_images_that_are_there(journal: Journal) -> None:
    has(journal, "i1", "p")
    has(journal, "i2", "p", "A")
    has(journal, "i3", "q", "A")
    with journal.database.write() as connection:
        connection.execute(
            sa.insert(schema.binding).values(
                project_id="p",
                group_name="",
                region="A",
                active=True,
                released=False,
                cause="c",
                actor="{}",
                began_at=0,
            )
        )
    (binding,) = journal.bindings.every()
    journal.bindings.end(binding.id, "over", ADMIN, release=False)
    assert asked(journal) == set(), "they stay wanted"
    journal.bindings.end(binding.id, "over", ADMIN, release=True)
    assert asked(journal) == {"i2"}


def test_an_image_that_is_just_being_looked_at_is_looked_at_once_more(journal: Journal) -> None:
    """Its first look may have seen no binding, and it is not on record yet."""
    journal.hint([Hint("i1")])
    task = claim(journal)
    assert bound(journal) == frozenset()
    select(journal)
    journal.commit(task, Changes(image=image("i1")), Done("goes nowhere"))
    assert asked(journal) == {"i1"}


def test_there_is_no_binding_without_the_tasks_that_follow(journal: Journal) -> None:
    """A crash, or a database that fails half-way, leaves both or none."""
    has(journal, "i1", "p")
    with journal.database.write() as connection:
        connection.execute(sa.text("ALTER TABLE task RENAME TO away"))
    with pytest.raises(JournalError):
        journal.bindings.bind("p", "", "A", "by hand", ADMIN)
    assert journal.bindings.every() == []
    with journal.database.write() as connection:
        connection.execute(sa.text("ALTER TABLE away RENAME TO task"))
    journal.bindings.bind("p", "", "A", "by hand", ADMIN)
    assert asked(journal) == {"i1"}


def test_a_project_with_many_images(journal: Journal) -> None:
    rows = [dataclasses.asdict(image(f"{number:08}")) | {"actor": None} for number in range(2500)]
    with journal.database.write() as connection:
        connection.execute(sa.insert(schema.image), rows)
    select(journal)
    with journal.database.read() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(schema.task)).scalar()
    assert count == 2500


# -- many at a time -------------------------------------------------------------------------------


def at_once(url: str, count: int, what: Callable[[Journal], Binding]) -> list[Binding]:
    """So many threads, of two processes' worth of journals, do it at the same moment."""
    databases = [Database(url, max_pool_size=count), Database(url, max_pool_size=count)]
    journals = [Journal(database) for database in databases]
    found: list[Binding] = []
    errors: list[BaseException] = []
    ready = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            ready.wait()
            found.append(what(journals[number % 2]))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in databases:
        database.dispose()
    assert errors == []
    return found


def test_fifty_first_requests_bind_once(journal: Journal, url: str) -> None:
    has(journal, "i1", "p")
    by = weighing(weighers.Bindings)
    found = at_once(url, 50, lambda one: select(one, by=by))
    assert len(found) == 50
    assert len(set(found)) == 1
    assert journal.bindings.every() == [found[0]]
    (task,) = journal.list_tasks(kinds={TaskKind.IMAGE})
    assert task.asked == 1


def test_fifty_requests_leave_a_region_once(journal: Journal, url: str) -> None:
    first = select(journal)
    journal.update_region("A", {"maintenance": True})
    found = at_once(url, 50, select)
    assert {one.region for one in found} == {"B"}
    assert [one.id for one in journal.bindings.every()] == [found[0].id, first.id]


def test_many_projects_at_once(journal: Journal, url: str) -> None:
    numbers = iter(range(50))
    lock = threading.Lock()

    def mine(one: Journal) -> Binding:
        with lock:
            number = next(numbers)
        return select(one, Wish(f"p{number}"))

    assert len(set(at_once(url, 50, mine))) == 50


@pytest.mark.parametrize("broken", [{"active": None}, {"ended_at": 1.0}, {"released": True}])
def test_the_database_itself_keeps_the_rules(journal: Journal, broken: dict[str, object]) -> None:
    row = {
        "project_id": "p",
        "group_name": "",
        "region": "A",
        "active": True,
        "released": False,
        "cause": "c",
        "actor": "{}",
        "began_at": 0.0,
    }
    with pytest.raises(JournalRefused), journal.database.write() as connection:
        connection.execute(sa.insert(schema.binding).values(row | broken))
    with pytest.raises(JournalRefused), journal.database.write() as connection:
        connection.execute(sa.insert(schema.binding), [row, row | {"region": "B"}])
    assert journal.bindings.every() == []
