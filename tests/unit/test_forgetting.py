# SPDX-License-Identifier: Apache-2.0
"""Forgetting in the background, and by hand."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from glancesync import maintenance
from glancesync.cmd import manage
from glancesync.journal.journal import Journal
from glancesync.maintenance import Purge
from glancesync.model import Actor, Hint
from glancesync.states import TaskState
from tests.functional.wait import until

IMAGE = "11111111-2222-3333-4444-555555555555"


class Rows:
    """So many rows that may be forgotten."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[tuple[float, int]] = []

    def forget(self, seconds: float, limit: int) -> int:
        self.asked.append((seconds, limit))
        gone = min(self.count, limit)
        self.count -= gone
        return gone


def test_in_batches_until_there_are_no_more() -> None:
    rows = Rows(2500)
    assert Purge(rows.forget).run(2, 10**9, threading.Event()) == 2500
    assert rows.asked == [(172800.0, 1000)] * 4


@pytest.mark.parametrize(("most", "limits"), [(1500, [1000, 500]), (7, [7]), (0, [])])
def test_no_more_than_wanted(most: int, limits: list[int]) -> None:
    rows = Rows(2500)
    assert Purge(rows.forget).run(1, most, threading.Event()) == most
    assert [limit for _, limit in rows.asked] == limits


def test_it_ends_in_the_middle_when_told_to_stop() -> None:
    rows, stopping = Rows(10**6), threading.Event()

    def forget(seconds: float, limit: int) -> int:
        if len(rows.asked) == 2:
            stopping.set()
        return rows.forget(seconds, limit)

    assert Purge(forget).run(1, 10**9, stopping) == 3000


def running(
    forget: Callable[[float, int], int], days: float
) -> tuple[threading.Thread, threading.Event]:
    stopping = threading.Event()
    purge = Purge(forget)
    thread = threading.Thread(target=purge.keep_running, args=(lambda: days, stopping))
    thread.start()
    return thread, stopping


def test_in_the_background_an_error_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_INTERVAL", 0.01)
    calls: list[float] = []

    def forget(seconds: float, limit: int) -> int:
        calls.append(seconds)
        if len(calls) == 1:
            raise OSError("the disk is full")
        return 0

    thread, stopping = running(forget, 90)
    until(lambda: len(calls) > 2, 30, "it is tried again")
    stopping.set()
    thread.join(30)
    assert not thread.is_alive()
    assert set(calls) == {90 * 86400.0}


def test_not_at_all_with_0_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_INTERVAL", 0.0001)
    rows = Rows(1)
    thread, stopping = running(rows.forget, 0)
    stopping.wait(0.1)
    stopping.set()
    thread.join(30)
    assert rows.asked == []


# -- glance-sync-manage db_purge ------------------------------------------------------------------


@pytest.fixture
def config(journal: Journal, tmp_path: Path) -> str:
    url = journal.database.engine.url.render_as_string(hide_password=False)
    path = tmp_path / "glance-sync.conf"
    path.write_text(
        f"[DEFAULT]\ncascading_endpoint_url = http://one:9292\n[database]\nconnection = {url}\n"
    )
    return str(path)


def test_by_hand(journal: Journal, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    journal.hint([Hint(IMAGE)])
    (task,) = journal.list_tasks()
    journal.cancel_task(task.id, Actor())
    args = ["--config-file", config, "db_purge", "--older-than"]
    assert manage.main([*args, "1"]) == 0
    assert capsys.readouterr().out == "0 rows forgotten\n"
    assert manage.main([*args, "0", "--max-rows", "1"]) == 0
    assert capsys.readouterr().out == "1 rows forgotten\n"
    assert journal.list_tasks(states=frozenset(TaskState)) == []
    assert manage.main([*args, "0"]) == 0
    left = 2 + len(journal.regions())  # events: the hint, the end, and each region was found
    assert capsys.readouterr().out == f"{left} rows forgotten\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "the following arguments are required: --older-than"),
        (["--older-than", "-1"], "-1 is not a number from 0 on"),
        (["--older-than", "long"], "long is not a number from 0 on"),
        (["--older-than", "1", "--max-rows", "nan"], "nan is not a number from 0 on"),
    ],
)
def test_wrong_usage(
    config: str, args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        manage.main(["--config-file", config, "db_purge", *args])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
