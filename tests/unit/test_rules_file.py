# SPDX-License-Identifier: Apache-2.0
"""``sync_rules.yaml``: what is taken, and what is refused, by line."""

import pathlib
import re

import pytest

from glancesync.errors import ConfigurationError
from glancesync.model import Region
from glancesync.placement.matching import Among, Every, Like, Not, Some, Within
from glancesync.placement.rules import AS_BOUND, Area, Book, Effect
from glancesync.rulebook.file import MAX_SIZE, book, load, strange
from glancesync.states import DeleteMode

SAMPLE = pathlib.Path(__file__).parents[2] / "etc/glance/sync_rules.yaml"
TRANSPORTS = ["rsync", "scp", "upload"]
GIB = 1024**3
DAY = 86400.0

#: A file as operators write it; the lines of what follows are counted from the first.
FULL = """\
groups:
  europe: [RegionTwo, RegionThree]
  asia:
    - RegionFour
rules:
  - name: golden
    match:
      visibility: [public, community]
      tags: golden
    regions: all
    priority: high
  - name: bank
    match:
      any:
        - domain: Bank
        - not: {role: Auditor}
        - all:
            - properties: {os_distro: [ubuntu, "rhel*"], hw_x: "*"}
            - name: "win-*"
              size: {at_least: 512, less_than: 1.5G}
              age: {less_than: 2w}
    regions: {groups: [europe], names: [RegionFive], labels: {tier: gold}, except: [RegionTwo]}
    delete_mode: hide
    transports: [upload, scp]
default:
  regions: [RegionTwo]
  priority: low
override: {role: member}
"""


def taken(text: str) -> Book:
    return book("f", text.encode(), TRANSPORTS)


def test_everything_there_is() -> None:
    made = taken(FULL)
    golden, bank = made.rules
    assert golden.match == Every(
        (
            Among("visibility", frozenset({"public", "community"})),
            Among("tags", frozenset({"golden"})),
        )
    )
    assert (golden.line, bank.line) == (6, 12)
    assert golden.effect == Effect(Area(every=True), haste=3000)
    assert bank.match == Some(
        (
            Among("domain", frozenset({"Bank"})),
            Not(Among("role", frozenset({"auditor"}))),
            Every(
                (
                    Every(
                        (
                            Like(frozenset({"ubuntu", "rhel*"}), "os_distro"),
                            Like(frozenset({"*"}), "hw_x"),
                        )
                    ),
                    Every(
                        (
                            Like(frozenset({"win-*"})),
                            Within("size", 512, 1.5 * GIB),
                            Within("age", 0, 14 * DAY),
                        )
                    ),
                )
            ),
        )
    )
    assert bank.effect == Effect(
        Area(
            names=frozenset({"RegionTwo", "RegionThree", "RegionFive"}),
            labels={"tier": frozenset({"gold"})},
            but=frozenset({"RegionTwo"}),
        ),
        DeleteMode.HIDE,
        0,
        ("upload", "scp"),
    )
    assert made.default == Effect(Area(names=frozenset({"RegionTwo"})), haste=-3000)
    assert made.override == Among("role", frozenset({"member"}))
    assert made.by_project


def test_the_least_there_is() -> None:
    made = taken("rules: []")
    assert (made.rules, made.default, made.override) == ((), AS_BOUND, False)
    assert taken("{rules: [], override: all}").override is True
    assert taken("{rules: [], override: none}").override is False
    assert taken("{rules: [], default: {regions: none}}").default == Effect(Area())
    areas = {"{bound: true}": Area(bound=True), "{all: true}": Area(every=True)}
    areas["{except: [A]}"] = Area(every=True, but=frozenset("A"))
    for said, area in areas.items():
        assert taken(f"{{rules: [], default: {{regions: {said}}}}}").default.area == area


def test_a_change_of_the_file_is_another_version() -> None:
    assert taken("rules: []").version == taken("rules: []").version
    assert taken("rules: []").version != taken("rules: [] ").version


def test_the_sample_is_taken_and_places_nothing_by_surprise() -> None:
    made = load(str(SAMPLE), ["rsync", "scp"])
    assert (made.rules, made.default, made.override) == ((), AS_BOUND, False)
    text = SAMPLE.read_text()
    examples = re.sub(r"(?m)^#(?=\S|  )", "", text.replace("\nrules: []\n", "\n"))
    found = taken(examples.replace("\n#\n", "\n"))
    assert len(found.rules) == 4


def one(match: str = "{tags: a}", more: str = "") -> str:
    """A file with one rule, whose match is on line 3, and what comes ``more`` from line 5 on."""
    return f"rules:\n  - name: r\n    match: {match}\n    regions: all\n{more}"


def two(first: str, second: str) -> str:
    """A file with two rules, whose matches are on lines 3 and 6."""
    return one(first, f"  - name: s\n    match: {second}\n    regions: all\n")


TEXT = "must be text, or a list of texts"
REFUSED: list[tuple[str, str]] = [
    # what is no such file
    ("", "f: the file: is empty"),
    ("- x", "f:1: the file: must be a mapping with rules"),
    ("{}", "f:1: the file: lacks rules"),
    ("rules: []\nrules: []", "f:2: rules: is here twice"),
    ("rules: [", "f:1: the file: is not YAML"),
    ("rules:\n", "f:1: rules: is empty; it must be a list of 1000 rules at the most"),
    ("rule: []", "f:1: the file: lacks rules"),
    ("rules: []\nrulez: []", "f:2: rulez: is not known here; is it to be rules?"),
    ("rules: []\nx: !!python/none 1", "f:2: x: has a tag; only plain YAML is taken here"),
    # what a rule must have
    ("rules:\n  - a", "f:2: rules[0]: must be a mapping with name, match and regions"),
    ("rules:\n  - name: a\n    regions: all", "f:2: rules[0]: lacks match"),
    ("rules:\n  - {name: a, match: {tags: a}}", "f:2: rules[0]: lacks regions"),
    (
        one(more="    region: all"),
        "f:5: rules[0].region: is not known here; is it to be regions?",
    ),
    (
        "rules:\n  - name: 5\n    match: {tags: a}\n    regions: all",
        "f:2: rules[0].name: must be text of 1 to 255 characters, none for control; "
        "put it in quotes",
    ),
    # matches
    (one("{}"), "f:3: rules[0].match: must be a mapping with one condition or more"),
    (one("all"), "f:3: rules[0].match: must be a mapping with one condition or more"),
    (one("{rool: x}"), "f:3: rules[0].match.rool: is not known here; is it to be role?"),
    (one("{xor: [{tags: a}]}"), "f:3: rules[0].match.xor: is not known here; there is age, all,"),
    (one("{not: {nto: {}}}"), "f:3: rules[0].match.not.nto: is not known here; is it to be not?"),
    (one("{any: []}"), "f:3: rules[0].match.any: must be a list of matches, one or more"),
    (one("{all: {tags: a}}"), "f:3: rules[0].match.all: must be a list of matches, one or more"),
    (one("{not: [{tags: a}]}"), "f:3: rules[0].match.not: must be a mapping with one condition"),
    (one("{tags: 24}"), f"f:3: rules[0].match.tags: {TEXT}; put it in quotes"),
    (one("{tags: yes}"), f"f:3: rules[0].match.tags: {TEXT}; put it in quotes"),
    (one("{tags: }"), f"f:3: rules[0].match.tags: is empty; it {TEXT}"),
    (one("{tags: []}"), f"f:3: rules[0].match.tags: {TEXT}"),
    (one("{tags: {a: b}}"), f"f:3: rules[0].match.tags: {TEXT}"),
    (one("{tags: [a, 1]}"), "f:3: rules[0].match.tags[1]: must be text of 1 to 255 characters"),
    (one('{tags: "a\\nb"}'), f"f:3: rules[0].match.tags: {TEXT}"),
    (one("{properties: x}"), "f:3: rules[0].match.properties: must be a mapping of names of"),
    (one("{properties: {v: 9}}"), f"f:3: rules[0].match.properties.v: {TEXT}; put it in quotes"),
    (one("{size: 5G}"), "f:3: rules[0].match.size: must be a mapping with at_least, less_than or"),
    (one("{size: {more: 5}}"), "f:3: rules[0].match.size.more: is not known here; there is at_le"),
    (
        one("{size: {at_least: 5X}}"),
        "f:3: rules[0].match.size.at_least: must be bytes: a whole number, or as 512K, 50M, 1.5G",
    ),
    (one("{size: {at_least: 5d}}"), "f:3: rules[0].match.size.at_least: must be bytes"),
    (one("{size: {at_least: -5}}"), "f:3: rules[0].match.size.at_least: must be bytes"),
    (one("{size: {at_least: yes}}"), "f:3: rules[0].match.size.at_least: must be bytes"),
    (one("{size: {at_least: '٣'}}"), "f:3: rules[0].match.size.at_least: must be bytes"),
    (
        one("{age: {less_than: 30}}"),
        "f:3: rules[0].match.age.less_than: must be a time as 90s, 30m, 12h, 7d, 2w",
    ),
    (one("{age: {less_than: 1y}}"), "f:3: rules[0].match.age.less_than: must be a time as"),
    # effects
    (
        "rules: []\ndefault: {regions: some}",
        "f:2: default.regions: must be all, none, a list of regions, or a mapping with all, names,"
        " groups, labels, bound or except",
    ),
    ("rules: []\ndefault: {regions: }", "f:2: default.regions: is empty; it must be all, none"),
    ("rules: []\ndefault: {regions: []}", "f:2: default.regions: must be all, none"),
    ("rules: []\ndefault: {regions: {}}", "f:2: default.regions: must be all, none"),
    ("rules: []\ndefault: {regions: [1]}", "f:2: default.regions[0]: must be text of 1 to 255"),
    ("rules: []\ndefault: {}", "f:2: default: lacks regions"),
    ("rules: []\ndefault: {regions: {bound: false}}", "f:2: default.regions.bound: must be true"),
    (
        "rules: []\ndefault: {regions: {region: [A]}}",
        "f:2: default.regions.region: is not known here; there is all, bound,",
    ),
    (
        "rules: []\ndefault: {regions: {all: true, names: [A]}}",
        "f:2: default.regions: says all, and names beside it",
    ),
    (
        "groups: {europe: [A]}\nrules: []\ndefault:\n  regions: {groups: [eurpe]}",
        "f:4: default.regions.groups[0]: the group 'eurpe' is not known here; is it to be europe?",
    ),
    ("rules: []\ngroups: {a: B}", "f:2: groups.a: must be a list of texts, one or more"),
    (
        "rules: []\ndefault:\n  regions: all\n  delete_mode: off",
        "f:4: default.delete_mode: must be one of deactivate, hide, keep, mirror",
    ),
    (
        "rules: []\ndefault:\n  regions: all\n  priority: highest",
        "f:4: default.priority: must be one of high, normal, low",
    ),
    (
        "rules: []\ndefault:\n  regions: all\n  transports: [upload, pigeon]",
        "f:4: default.transports[1]: 'pigeon' is not known here; there is rsync, scp, upload",
    ),
    ("rules: []\noverride: yes", "f:2: override: must be all, none, or a match: a mapping with"),
    ("rules: []\noverride: {}", "f:2: override: must be all, none, or a match"),
    ("rules: []\noverride: {rol: a}", "f:2: override.rol: is not known here; is it to be role?"),
    # rules that contradict
    (
        two("{tags: a}", "{tags: b}").replace("name: s", "name: r"),
        "f:5: rules[1].name: is the name of the rule at line 2 already",
    ),
    (
        one("{all: [{visibility: public}, {visibility: private}]}"),
        "f:3: rules[0].match: contradicts itself: no image can match it",
    ),
    (one("{size: {at_least: 2G, less_than: 1G}}"), "f:3: rules[0].match: contradicts itself"),
    (
        two("{tags: a}", "{tags: a}"),
        "f:6: rules[1].match: is never reached: whatever it matches, rule 'r' at line 2 has "
        "matched before",
    ),
    (two("{tags: [a, b]}", "{tags: b, owner: x}"), "f:6: rules[1].match: is never reached"),
    (two('{name: "*"}', "{tags: b}"), "f:6: rules[1].match: is never reached"),
    (
        two("{any: [{tags: a}, {owner: b}]}", "{owner: b}"),
        "f:6: rules[1].match: is never reached",
    ),
    (
        one('{name: "*"}', "default: {regions: all}"),
        "f:5: default: is never reached: rule 'r' at line 2 matches all",
    ),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_is_wrong_is_named_by_line(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        taken(text)
    assert str(caught.value).startswith(said)


def test_a_file_that_is_not_there_or_too_large(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "sync_rules.yaml"
    for said in ("can't be read: No such file or directory", f"is larger than {MAX_SIZE} bytes"):
        with pytest.raises(ConfigurationError) as caught:
            load(str(path), TRANSPORTS)
        assert str(caught.value) == f"{path}: the file: {said}"
        path.write_bytes(b" " * (MAX_SIZE + 1))
    path.write_text(FULL)
    assert load(str(path), TRANSPORTS) == taken(FULL)


def test_regions_that_nobody_knows_are_named_by_line() -> None:
    regions = [Region("RegionOne", "u", home=True), Region("RegionTwo", "u"), Region("R5", "u")]
    found = list(map(str, strange(taken(FULL), regions, "f")))
    assert found == [
        "f:2: groups.europe[1]: the region 'RegionThree' is not known here; is it to be RegionTwo?",
        "f:4: groups.asia[0]: the region 'RegionFour' is not known here; is it to be RegionTwo?",
        "f:22: rules[1].regions.names[0]: the region 'RegionFive' is not known here; "
        "is it to be RegionTwo?",
    ]
    at_home = taken("rules: []\ndefault: {regions: [RegionOne, RegionTwo]}")
    (error,) = strange(at_home, regions, "f")
    assert str(error) == "f:2: default.regions[0]: RegionOne is the home region"
