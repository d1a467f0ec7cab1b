# SPDX-License-Identifier: Apache-2.0
"""What the journal keeps about regions: the catalog's word and the operator's.

How they do is in ``test_region_health.py``.
"""

import dataclasses
import threading

import pytest

from glancesync.breaker import Breaker
from glancesync.errors import ConfigurationError, RegionError, Transient
from glancesync.journal.journal import Journal
from glancesync.model import Region
from glancesync.states import TaskKind

BREAKER = Breaker(threshold=3, pause=10, cap=60)


def region(journal: Journal, name: str = "A") -> Region:
    found = journal.region(name)
    assert found is not None
    return found


def note(journal: Journal, error: RegionError | None, times: int = 1) -> Region:
    for _ in range(times):
        journal.note_region("A", error, BREAKER)
    return region(journal)


DOWN = Transient("A", "could not list: HTTP 502 ☠")


def test_the_breaker_is_the_catalogs_and_the_operators_no_business(journal: Journal) -> None:
    ill = note(journal, DOWN, times=4)
    journal.discovered({"A": "http://moved", "E": "http://e"}, "E")
    journal.update_region("A", {"delete_mode": "keep", "enabled": False})
    now = region(journal)
    assert (now.failures, now.last_error) == (ill.failures, ill.last_error)
    assert (now.url, now.delete_mode, now.enabled) == ("http://moved", "keep", False)


def test_a_journal_has_one_home(journal: Journal) -> None:
    """Two nodes with different homes would undo each other's work, and delete each other's images.

    A home that was given another name in the catalog is still the home.
    """
    journal.discovered({"A": "http://a", "E": "http://e"}, "E")
    before = journal.regions()
    with pytest.raises(ConfigurationError, match=r"the home of this journal is E, at http://e\."):
        journal.discovered({"A": "http://a", "E": "http://e", "F": "http://f"}, "A")
    assert journal.regions() == before
    journal.discovered({"A": "http://a", "renamed": "http://e"}, "renamed")
    assert [one.name for one in journal.regions() if one.home] == ["renamed"]


def test_what_no_database_holds_is_replaced(journal: Journal) -> None:
    """A region that answers garbage must not make its own failure unwritable."""
    ill = note(journal, Transient("A", "said \0 and \ud800 — ☠"))
    assert ill.last_error == "A: said \ufffd and ? — ☠"
    assert journal.list_replicas(region="\0", limit=5) == []


def test_a_megabyte_of_words(journal: Journal) -> None:
    assert note(journal, Transient("A", "é" * 500_000)).last_error == "A: " + "é" * 500_000


def test_a_catalog_is_recorded_by_many_at_once(journal: Journal) -> None:
    """Nodes that are started together all find the same new regions."""

    urls = {f"Region {number:02}": "http://x" for number in range(20)}
    barrier = threading.Barrier(6)
    new: list[list[str]] = []
    failed: list[Exception] = []

    def look() -> None:
        barrier.wait(30)
        try:
            new.append(journal.discovered(urls, "Region 00"))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert sorted(name for names in new for name in names) == sorted(urls), "each is new to one"
    assert {one.name for one in journal.regions() if one.present} == set(urls)
    tasks = journal.list_tasks(kinds=[TaskKind.WATCH, TaskKind.AUDIT], limit=1000)
    assert len(tasks) == 40


def test_names_and_labels_of_any_alphabet(journal: Journal) -> None:
    name = "東京 ☃ 🧊öln"
    journal.discovered({name: "http://x", "E": "http://e"}, "E")
    journal.update_region(name, {"labels": {"🧊": "ß"}, "limits": {"tasks": 2}})
    found = region(journal, name)
    assert (found.labels, found.limits) == ({"🧊": "ß"}, {"tasks": 2})
    assert dataclasses.replace(found, name="") in [
        dataclasses.replace(one, name="") for one in journal.regions()
    ]
