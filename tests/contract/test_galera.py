# SPDX-License-Identifier: Apache-2.0
"""Processes that write to different nodes of one Galera cluster. With ``--matrix`` only.

Rows are locked on one node only. That both wrote to the same row is found at the commit, and is a
deadlock for the later one.
"""

import collections
import threading
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from glancesync.errors import LeaseLost
from glancesync.interfaces import Changes, Note
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Done, Hint
from glancesync.states import TaskState
from tests import galera
from tests.contract.test_nodes import LONG, done, nodes, times_done, workers
from tests.contract.test_queue import IMAGE, claim, ids, replica_ask
from tests.functional.wait import until
from tests.journals import record

pytestmark = pytest.mark.matrix

Cluster = tuple[galera.Node, galera.Node]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    missing = galera.Node.missing()
    if missing is not None:
        pytest.skip(missing)
    with galera.cluster() as both:
        yield both


@pytest.fixture
def urls(cluster: Cluster) -> Iterator[list[str]]:
    """The same new journal, by way of either node."""
    first, second = cluster
    with first.database() as url:
        database = Database(url)
        head = database.migrate()
        record(Journal(database), "A", "B")
        database.dispose()
        other = second.url(str(sa.make_url(url).database))
        assert other != url
        database = Database(other)
        until(lambda: database.version() == head, LONG, "the other node has it")
        database.dispose()
        yield [url, other]


@pytest.fixture
def journals(urls: list[str]) -> Iterator[list[Journal]]:
    made = [Journal(Database(url)) for url in urls]
    yield made
    for journal in made:
        journal.database.dispose()


def conflicts(cluster: Cluster) -> int:
    """How often a node had to give up a transaction for one of the other's."""
    names = ("wsrep_local_cert_failures", "wsrep_local_bf_aborts")
    return sum(int(node.status(name)) for node in cluster for name in names)


def at_once(work: Callable[[Journal], None], journals: list[Journal]) -> None:
    threads = [threading.Thread(target=work, args=(journal,)) for journal in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


def test_hints_of_one_image_by_both_nodes_are_all_counted(
    cluster: Cluster, journals: list[Journal]
) -> None:
    before = conflicts(cluster)

    def hint(journal: Journal) -> None:
        for _ in range(50):
            journal.hint([Hint(IMAGE)])

    at_once(hint, journals)
    assert conflicts(cluster) > before, "nothing was tried"
    until(lambda: [j.list_tasks()[0].asked for j in journals] == [100, 100], LONG, "all counted")


def test_no_task_is_claimed_by_both_nodes(cluster: Cluster, journals: list[Journal]) -> None:
    before = conflicts(cluster)
    journals[0].ask([replica_ask("A", image_id) for image_id in ids(100)], "test")
    until(lambda: len(journals[1].list_tasks(limit=200)) == 100, LONG, "both know")
    claimed: list[int] = []

    def take(journal: Journal) -> None:
        while tasks := claim(journal, str(id(journal)), limit=1):
            claimed.extend(task.id for task in tasks)

    at_once(take, journals)
    assert conflicts(cluster) > before, "nothing was tried"
    assert len(claimed) == 100
    assert set(collections.Counter(claimed).values()) == {1}


def test_who_lost_its_lease_is_refused_by_the_other_node(journals: list[Journal]) -> None:
    first, second = journals
    first.ask([replica_ask("A")], "test")
    (old,) = claim(first, "first", lease=0.2)
    until(lambda: second.rescue(5, 0), LONG, "rescued by the other node")
    (new,) = until(lambda: claim(second, "second"), LONG, "claimed there")
    assert new.id == old.id
    until(lambda: first.task(old.id) == second.task(old.id), LONG, "both know")
    for outcome in (None, Done("mine")):
        with pytest.raises(LeaseLost):
            first.commit(old, Changes(notes=(Note("did", "first"),)), outcome)
    second.commit(new, Changes(notes=(Note("did", "second"),)), Done("mine"))
    assert [e.detail for e in second.events(IMAGE) if e.what == "did"] == ["second"]
    task = second.task(new.id)
    assert task is not None
    assert task.state == TaskState.DONE


def test_apis_and_workers_on_both_nodes(urls: list[str], journals: list[Journal]) -> None:
    """Every hint that was acknowledged is worked on once, whichever node took it."""
    crew_of = [workers(url, 0, 0) for url in urls]
    commands = [*crew_of[0], *crew_of[1], ("hint", urls[0], "a"), ("hint", urls[1], "b")]
    with nodes(*commands) as running:
        crew, apis = running[:4], running[4:]
        until(lambda: min(len(api.lines) for api in apis) > 40, LONG, "hints")
        until(lambda: all(node.said("took") for node in crew), LONG, "all have a share")
        for api in apis:
            api.end()
        hinted = {line for api in apis for line in api.lines}
        for journal in journals:
            until(lambda j=journal: done(j) >= len(hinted), LONG, "all done")  # type: ignore[misc]
            until(lambda j=journal: not j.list_tasks(), LONG, "nothing left")  # type: ignore[misc]
        assert [node.said("refused") for node in crew] == [[]] * 4
    times = times_done(journals[1])
    assert set(times.values()) == {1}
    assert hinted <= {image_id for image_id, _ in times}
