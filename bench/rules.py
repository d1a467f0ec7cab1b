# SPDX-License-Identifier: Apache-2.0
"""How fast rules decide, against the same rules written by hand in Python."""

import fnmatch
import random
import time
from collections.abc import Callable

from bench import stage
from bench.report import Report
from bench.turns import Turns
from glancesync.model import Actor, Image, Project, Region
from glancesync.placement.rules import Book, decide
from glancesync.placement.strategies import Facts
from glancesync.rulebook.file import book

RUNS = 5
RULES = 100
SEED = 19
REGIONS = tuple(Region(f"Region{number}", "http://r") for number in range(10))
DECIDED, NONE, LOADED = "some match", "none matches", "loaded"
OURS, THEIRS = "rules", "by hand"

Decide = Callable[[Image, Facts], frozenset[str]]
Predicate = Callable[[Image, Facts], bool]


def run(quick: bool) -> Report:
    """Decide about many images, each way by turns; both decide the same."""
    runs, count = (3, 5_000) if quick else (RUNS, 100_000)
    turns = Turns(runs)
    cases = {DECIDED: 10, NONE: 1_000_000}
    for case, variety in cases.items():
        world = _world(count, variety)
        text = _file()
        made = book("rules", text.encode(), ["upload"])
        ours, theirs = _ours(made), _by_hand()
        differ = sum(ours(*one) != theirs(*one) for one in world)
        if differ:
            raise stage.BenchError(f"{case}: they differ about {differ} of {count} images")
        for number in range(runs):
            ways = {way: _timed(one, world) for way, one in ((OURS, ours), (THEIRS, theirs))}
            turns.take(number, case, ways)
    for number in range(runs):
        turns.take(number, LOADED, {OURS: _load(text)})
    return Report(
        name="rules",
        measures=f"deciding about {count} images by {RULES} rules; and loading the file; seconds",
        baseline="the same rules as Python functions written by hand, called one after the other",
        runs=runs,
        goals=[],
        rows=turns.rows("seconds", {f"{OURS} / {THEIRS}": (OURS, THEIRS)}),
        figures={"images": count, "rules": RULES, "seed": SEED, "seconds": turns.figures()},
    )


def _world(count: int, variety: int) -> list[tuple[Image, Facts]]:
    """Images, of which more are decided by an early rule the smaller ``variety`` is."""
    dice = random.Random(SEED)
    known = [
        Facts(
            REGIONS,
            Actor(f"user{dice.randrange(50)}", "p", ("member", f"role{dice.randrange(variety)}")),
            project=Project(f"p{number}", f"project{number}", "d", f"domain{number % variety}"),
            now=1e9,
        )
        for number in range(100)
    ]
    return [
        (
            Image(
                f"{number:08x}-0000-0000-0000-000000000000",
                "active",
                name=f"image-{dice.randrange(variety * 10)}-{number}",
                disk_format="qcow2",
                container_format="bare",
                visibility="private",
                owner=f"p{dice.randrange(variety * 10)}",
                tags=frozenset({f"tag{dice.randrange(variety * 10)}", "linux"}),
                properties={"os_distro": f"distro{dice.randrange(variety * 10)}"},
                size=dice.randrange(2**20, 2**34),
                created_at=1e9 - dice.randrange(10**7),
            ),
            dice.choice(known),
        )
        for number in range(count)
    ]


def _match(number: int) -> str:
    """What a rule matches: as :func:`_predicate`."""
    return [
        f"{{tags: [tag{number}, spare{number}]}}",
        f"{{owner: p{number}}}",
        f'{{name: "image-{number}-*"}}',
        f'{{properties: {{os_distro: "distro{number}"}}, visibility: private}}',
        f"{{any: [{{tags: other{number}}}, {{properties: {{os_distro: x{number}}}}}]}}",
        f"{{role: role{number}, not: {{tags: linux}}}}",
        f"{{size: {{at_least: {RULES - number}T}}, disk_format: [raw, qcow2]}}",
        f"{{age: {{at_least: {2 * RULES - number}d}}}}",
        f"{{user: nobody{number}, container_format: bare}}",
        f"{{domain: domain{number}, tags: special{number}}}",
    ][number % 10]


def _file() -> str:
    lines = ["rules:"]
    for number in range(RULES):
        lines += [
            f"  - name: rule {number}",
            f"    match: {_match(number)}",
            f"    regions: [Region{number % 10}]",
        ]
    return "\n".join([*lines, "default: {regions: none}", ""])


def _by_hand() -> Decide:
    """As somebody would write it who needs no file, no words and no third answer."""
    made: list[tuple[Predicate, frozenset[str]]] = [
        (_predicate(number), frozenset({f"Region{number % 10}"})) for number in range(RULES)
    ]
    nowhere: frozenset[str] = frozenset()

    def place(image: Image, facts: Facts) -> frozenset[str]:
        for predicate, regions in made:
            if predicate(image, facts):
                return regions
        return nowhere

    return place


def _predicate(n: int) -> Predicate:
    tags, day, tib = {f"tag{n}", f"spare{n}"}, 86400, 2**40
    return [
        lambda image, facts: bool(tags & image.tags),
        lambda image, facts: image.owner == f"p{n}",
        lambda image, facts: fnmatch.fnmatchcase(image.name or "", f"image-{n}-*"),
        lambda image, facts: (
            image.properties.get("os_distro") == f"distro{n}" and image.visibility == "private"
        ),
        lambda image, facts: (
            f"other{n}" in image.tags or image.properties.get("os_distro") == f"x{n}"
        ),
        lambda image, facts: f"role{n}" in facts.actor.roles and "linux" not in image.tags,
        lambda image, facts: (
            (image.size or 0) >= (RULES - n) * tib and image.disk_format in ("raw", "qcow2")
        ),
        lambda image, facts: facts.now - (image.created_at or facts.now) >= (2 * RULES - n) * day,
        lambda image, facts: (
            facts.actor.user_id == f"nobody{n}" and image.container_format == "bare"
        ),
        lambda image, facts: (
            facts.project is not None
            and facts.project.domain_name == f"domain{n}"
            and f"special{n}" in image.tags
        ),
    ][n % 10]


def _ours(made: Book) -> Decide:
    return lambda image, facts: decide(made, image, facts).regions


def _timed(place: Decide, world: list[tuple[Image, Facts]]) -> Callable[[], float]:
    def measure() -> float:
        began = time.perf_counter()
        for image, facts in world:
            place(image, facts)
        return time.perf_counter() - began

    return measure


def _load(text: str) -> Callable[[], float]:
    def measure() -> float:
        began = time.perf_counter()
        book("rules", text.encode(), ["upload"])
        return time.perf_counter() - began

    return measure
