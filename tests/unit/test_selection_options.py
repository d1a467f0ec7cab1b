# SPDX-License-Identifier: Apache-2.0
"""What an operator says about choosing regions."""

from pathlib import Path
from typing import cast

import pytest
from oslo_config import cfg

from glancesync import wiring
from glancesync.conf import load
from glancesync.errors import ConfigurationError
from glancesync.journal.journal import Journal
from glancesync.model import Image, Region
from glancesync.placement.rules import strategy
from glancesync.placement.selection import Candidate, Selection, Wish
from glancesync.placement.strategies import Facts


def options(tmp_path: Path, *lines: str) -> cfg.ConfigOpts:
    text = "[DEFAULT]\ncascading_endpoint_url = http://h:9292\n"
    config = tmp_path / "glance-sync.conf"
    config.write_text("\n".join([text, *lines, "[database]", "connection = sqlite://"]))
    return load(["--config-file", str(config)], prog="test", version="0")


def selection(tmp_path: Path, *lines: str) -> Selection:
    return wiring.selection(options(tmp_path, *lines))


def passes(by: Selection, project: str, region: str) -> bool:
    return by.judge(Wish(project), Candidate(Region(region, ""))).passes


def test_left_out(tmp_path: Path) -> None:
    found = selection(tmp_path)
    assert [one.name for one in found.filters] == [
        "enabled",
        "maintenance",
        "availability_zone",
        "labels",
        "disk_format",
        "capacity",
        "allowed",
    ]
    assert {one.name: multiplier for one, multiplier in found.weighers} == {
        "images": 2,
        "free": 1,
        "distance": 1,
        "backlog": 1,
        "bindings": 1,
        "cost": 1,
        "age": 0,
    }


def test_some_of_them(tmp_path: Path) -> None:
    found = selection(tmp_path, "binding_filters = maintenance", "binding_weighers = age: -0.5")
    assert [one.name for one in found.filters] == ["maintenance"]
    assert [(one.name, multiplier) for one, multiplier in found.weighers] == [("age", -0.5)]


def test_regions_of_a_project(tmp_path: Path) -> None:
    by = selection(
        tmp_path,
        "binding_allowed_regions = p: A, B",
        "binding_allowed_regions = q:C",
        "binding_allowed_regions = p : D",
    )
    assert [name for name in "ABCD" if passes(by, "p", name)] == ["A", "B", "D"]
    assert [name for name in "ABCD" if passes(by, "q", name)] == ["C"]
    assert [name for name in "ABCD" if passes(by, "r", name)] == ["A", "B", "C", "D"]


def test_without_rules_images_go_where_their_project_is_bound(tmp_path: Path) -> None:
    conf = options(tmp_path, "sync_strategy = USER", "sync_rules_file =")
    book = wiring.rule_book(conf, cast(Journal, None))
    assert book is not None
    facts = Facts(tuple(Region(name, "") for name in "ABC"), bound=frozenset("BC"))
    assert strategy(book).place(Image("i", "active"), facts).regions == {"B", "C"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("binding_filters = enabled, colour", "binding_filters: unknown: colour"),
        ("binding_weighers = colour:1", "binding_weighers: unknown: colour"),
        ("binding_weighers = free:much", "binding_weighers: free: 'much' is not a number"),
        ("binding_weighers = free:nan", "binding_weighers: free: 'nan' is not a number"),
        ("binding_weighers = free", "binding_weighers"),
        ("binding_min_free = 101", "binding_min_free"),
        ("binding_allowed_regions = A, B", "'A, B' is not like PROJECT: REGION, REGION"),
        ("binding_allowed_regions = p:", "'p:' is not like PROJECT: REGION, REGION"),
        ("binding_allowed_regions = : A", "': A' is not like PROJECT: REGION, REGION"),
    ],
)
def test_what_can_not_work(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        selection(tmp_path, line)
    assert said in str(error.value)
