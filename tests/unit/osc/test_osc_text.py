# SPDX-License-Identifier: Apache-2.0
"""Sizes, times, tables and the progress bar as people read them."""

import datetime

import pytest

from glancesync.osc import progress, text

NOW = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (100 * 2**20, "100 MiB"),
        (1023 * 2**20, "1.0 GiB"),
        (5 * 2**60, "5120 PiB"),
    ],
)
def test_sizes(count: int, said: str) -> None:
    assert text.size(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (119.6, "120 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (1e6, "11 d")],
)
def test_durations_in_the_largest_unit_of_which_there_are_two(seconds: float, said: str) -> None:
    assert text.duration(seconds) == said


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("2026-01-01T12:00:00.900Z", "now"),
        ("2026-01-01T11:57:00.000Z", "3 min ago"),
        ("2026-01-01T12:00:35.000Z", "in 35 s"),
    ],
)
def test_moments(at: str, said: str) -> None:
    assert text.moment(at, NOW) == said


def test_a_table_has_aligned_columns_and_leaves_out_those_that_are_empty() -> None:
    lines = text.table(("region", "error", "try"), [["RegionTwo", "", "1"], ["R3", "", ""]])
    assert lines == ["region     try", "RegionTwo  1", "R3         -"]


def test_the_bar_says_only_what_is_known() -> None:
    assert progress.line(0, 0, 0.0, "waiting for home") == "waiting for home"
    assert progress.line(0, 2**20, 0.0, "") == f"[{'.' * 24}]   0 %  0 B of 1.0 MiB  "
    half = progress.line(2**29, 2**30, 2**20, "waiting for R2")
    assert half.endswith("]  50 %  512 MiB of 1.0 GiB  1.0 MiB/s  ETA 8:32  waiting for R2")
    assert "ETA" not in progress.line(2**30, 2**30, 2**20, "")
    assert "ETA 2:46:40" in progress.line(1, 10001, 1.0, "")


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = progress.Rate()
    assert rate.add(0.0, 500) == 0.0  # were there before
    assert rate.add(1.0, 600) == 100.0
    for second in range(2, 30):
        last = rate.add(float(second), 600)
    assert last == 0.0


def test_a_copy_that_begins_afresh_has_no_negative_rate() -> None:
    rate = progress.Rate()
    rate.add(0.0, 1000)
    assert rate.add(1.0, 0) == 0.0
    assert rate.add(2.0, 50) == 50.0
