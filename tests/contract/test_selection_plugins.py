# SPDX-License-Identifier: Apache-2.0
"""What every filter and every weigher keeps, whoever has brought it."""

import math
from pathlib import Path

import pytest
from stevedore import ExtensionManager

from glancesync.errors import ConfigurationError
from glancesync.model import Capacity, Region
from glancesync.placement.selection import Candidate, Filter, Settings, Weigher, Wish
from glancesync.selecting import FILTERS, WEIGHERS, load

LABELS = {"availability_zones": ",, ,", "disk_formats": "", "cost": "1,5 €", "place": "//"}
CANDIDATES = [
    Candidate(Region("R", "http://r")),
    Candidate(Region("R", "", present=False, enabled=False, maintenance=True, labels=LABELS)),
    Candidate(
        Region("é" * 255, "http://r", labels={"cost": "nan"}, capacity=Capacity(0)),
        9,
        2**63,
        2**31,
        2**31,
        1e10,
    ),
    Candidate(Region("R", "http://r", capacity=Capacity(2**63 - 1, 2**63 - 1)), age=0.0),
    Candidate(Region("R", "http://r", capacity=Capacity(0, 1), labels={"cost": "1e999"})),
]
WISHES = [
    Wish("p"),
    Wish("p", "g", "az1", {"tier": "gold", "": ""}, "raw", 2**63 - 1),
    Wish("", size=0, availability_zone="", disk_format=""),
]
SETTINGS = [Settings(), Settings(100.0, {"p": frozenset()}), Settings(0.0)]


def names(namespace: str) -> list[str]:
    return sorted(ExtensionManager(namespace).names())


@pytest.mark.parametrize("name", names(FILTERS))
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_filter(name: str, settings: Settings) -> None:
    (one,) = load([name], {}, settings).filters
    check: Filter = one
    assert check.name == name, "people know it by the name it is configured by"
    for wish in WISHES:
        for candidate in CANDIDATES:
            verdict = check.judge(wish, candidate)
            assert isinstance(verdict.passes, bool)
            assert verdict.why.strip()
            assert verdict.why[0].islower() or verdict.why[0].isdigit(), "part of a sentence"
            assert "\n" not in verdict.why
            assert check.judge(wish, candidate) == verdict


@pytest.mark.parametrize("name", names(WEIGHERS))
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_weigher(name: str, settings: Settings) -> None:
    selection = load([], {name: 1.0}, settings)
    ((one, _),) = selection.weighers
    weigher: Weigher = one
    assert weigher.name == name
    assert isinstance(weigher.less, bool)
    assert isinstance(weigher.unit, str)
    for wish in WISHES:
        for candidate in CANDIDATES:
            figure = weigher.figure(wish, candidate)
            assert figure is None or isinstance(figure, int | float)
            same = weigher.figure(wish, candidate)
            assert same == figure or (math.isnan(same or 0.0) and math.isnan(figure or 0.0))
            (judged,) = selection.rank(wish, [candidate])
            assert judged.total == 0.5, "alone, it is neither the best nor the worst"


def test_they_come_in_the_order_they_are_named_in() -> None:
    backwards = list(reversed(names(FILTERS)))
    weighers = {name: float(number) for number, name in enumerate(reversed(names(WEIGHERS)))}
    selection = load(backwards, weighers, Settings())
    assert [one.name for one in selection.filters] == backwards
    assert {one.name: multiplier for one, multiplier in selection.weighers} == weighers
    assert [one.name for one, _ in selection.weighers] == list(weighers)


def test_none_at_all() -> None:
    selection = load([], {}, Settings())
    (judged,) = selection.rank(WISHES[0], CANDIDATES[:1])
    assert (judged.passes, judged.total) == (True, 0)


@pytest.mark.parametrize("option", ["binding_filters", "binding_weighers"])
def test_a_name_that_nobody_knows(option: str) -> None:
    filters = ["enabled", "colour"] if option == "binding_filters" else []
    weighers = {"free": 1.0, "colour": 1.0} if option == "binding_weighers" else {}
    with pytest.raises(ConfigurationError, match=rf"{option}: unknown: colour \(known: a"):
        load(filters, weighers, Settings())


FOREIGN = """
from glancesync.placement.selection import Verdict

class Short:
    name = "short"
    def __init__(self, settings):
        pass
    def judge(self, wish, candidate):
        return Verdict(len(candidate.region.name) < 3, "its name")
"""


def test_somebody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebodys.py").write_text(FOREIGN)
    about = tmp_path / "somebodys-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys\nVersion: 1.0\n")
    points = "[glancesync.filters]\nshort = somebodys:Short\ngone = somebodys:Gone\n"
    (about / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    # stevedore looks once in a process.
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})
    selection = load(["enabled", "short"], {}, Settings())
    ranked = selection.rank(Wish("p"), [Candidate(Region(name, "")) for name in ("RST", "U")])
    assert [(one.region, one.passes) for one in ranked] == [("U", True), ("RST", False)]
    with pytest.raises(ConfigurationError, match="binding_filters: gone can't be loaded"):
        load(["enabled", "gone"], {}, Settings())
