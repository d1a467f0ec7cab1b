# SPDX-License-Identifier: Apache-2.0
"""Who may import whom (design, "Layout"): checked by reading the imports of every module."""

import ast
import pathlib
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[2]

#: The layers, lowest first. A module imports its own layer and those below.
LAYERS: dict[str, set[str]] = {
    "words": {"counts", "errors", "model", "orders", "schemes", "states"},
    "decisions": {
        "planner",
        "outline",
        "placement",
        "interfaces",
        "mapping",
        "retry",
        "breaker",
        "bandwidth",
        "choice",
        "placing",
        "sources",
        "farewell",
        "snapshots",
    },
    "documents": {"documents", "plugins"},
    "adapters": {"rulebook", "journal", "regions", "stores", "transports"},
    "flows": {
        "destinations",
        "executor",
        "home",
        "decided",
        "ends",
        "leftovers",
        "replication",
        "routing",
        "selecting",
        "ruling",
        "acting",
        "recording",
        "transferring",
        "verification",
        "bundle",
        "worker",
        "maintenance",
        "pacing",
        "reconciler",
        "listing",
        "jobs",
        "planning",
    },
    "wiring": {"wiring", "conf"},
    "doors": {"api", "cmd", "osc"},
}
RANK = {part: rank for rank, parts in enumerate(LAYERS.values()) for part in parts}

#: What reaches outside of the process, or differs from one run to the next.
IMPURE = {
    *("asyncio", "glob", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random"),
    *("secrets", "select", "shutil", "signal", "socket", "ssl", "subprocess", "sys", "tempfile"),
    *("threading", "time", "urllib", "uuid", "datetime"),
}


def modules(package: str) -> list[pathlib.Path]:
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, package: str = "") -> Iterator[str]:
    """The dotted names a module imports, wherever in it they stand.

    ``from a import b`` yields ``a.b``: whether b is a module or a thing in one, a is its owner.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                owner = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*owner, base] if base else owner)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_of(path: pathlib.Path) -> set[str]:
    name = name_of(path)
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    return set(imports(path.read_text(), package))


def part(name: str) -> str | None:
    """The part of glancesync that a dotted name belongs to; None for anything else."""
    head, _, rest = name.partition(".")
    return rest.partition(".")[0] if head == "glancesync" and rest else None


def wrong(importer: str, imported: str) -> str | None:
    """Why ``importer`` may not import ``imported``, both dotted; None if it may."""
    mine, other = part(importer), part(imported)
    if mine is None or other is None or mine == other:
        return None
    if other not in RANK:
        return f"{other} has no layer"
    if RANK[other] > RANK[mine]:
        return "a layer imports only itself and those below"
    if mine in LAYERS["adapters"] and other in LAYERS["adapters"]:
        return "adapters do not know each other"
    if mine == "conf" and RANK[other] > RANK["errors"]:
        return "conf knows the words only"
    return None


def foreign(names: set[str]) -> set[str]:
    """The top-level names that belong neither to the standard library nor to glancesync."""
    tops = {name.partition(".")[0] for name in names}
    return tops - sys.stdlib_module_names - {"glancesync"}


def test_every_part_has_a_layer() -> None:
    parts = {part(name_of(path)) for path in modules("glancesync")} - {None}
    assert parts <= set(RANK), "add a new part to LAYERS, at the place where it belongs"


@pytest.mark.parametrize("path", modules("glancesync"), ids=name_of)
def test_the_direction_of_imports(path: pathlib.Path) -> None:
    found = {name: wrong(name_of(path), name) for name in imports_of(path)}
    assert {name: why for name, why in found.items() if why} == {}


def in_layer(layer: str) -> list[pathlib.Path]:
    return [path for path in modules("glancesync") if part(name_of(path)) in LAYERS[layer]]


@pytest.mark.parametrize("path", in_layer("words") + in_layer("decisions"), ids=name_of)
def test_words_and_decisions_are_pure(path: pathlib.Path) -> None:
    found = imports_of(path)
    assert foreign(found) == set(), "the standard library has all that is needed here"
    impure = {name for name in found if name.partition(".")[0] in IMPURE} - {"urllib.parse"}
    assert impure == set(), "no I/O, clock or chance"


@pytest.mark.parametrize("name", ["berth", "copier", "mover", "pace", "rbd_mover"])
def test_the_movers_need_the_standard_library_only(name: str) -> None:
    path = ROOT / f"glancesync/transports/{name}.py"
    found = imports_of(path)
    assert foreign(found) == set()
    ours = {name.rpartition(".")[0] for name in found if name.startswith("glancesync")}
    assert ours <= {"glancesync.transports.berth", "glancesync.transports.pace"}
    assert imports_of(path.with_name("__init__.py")) == set(), "it would be imported with it"


def test_the_courier_needs_little() -> None:
    """It is started for each copy."""
    names = ("courier", "hosts", "programs", "scripts", "throttle")
    ours = [ROOT / f"glancesync/transports/{name}.py" for name in names]
    found = set().union(*map(imports_of, ours))
    assert foreign(found) == {"pexpect"}
    modules = {name.split(".")[2] for name in found if name.startswith("glancesync.transports.")}
    assert modules == {"hosts", "programs", "scripts", "throttle"}
    assert {part(name) for name in found} == {None, "transports"}


@pytest.mark.parametrize("path", modules("glancesync/osc"), ids=name_of)
def test_the_command_line_plugin_stands_alone(path: pathlib.Path) -> None:
    """It runs where openstackclient does, without the server's libraries; the words need none."""
    found = imports_of(path)
    assert foreign(found) <= {"cliff", "keystoneauth1", "openstackclient", "osc_lib"}
    assert {part(name) for name in found} <= {None, "osc"} | LAYERS["words"]


@pytest.mark.parametrize("path", modules("glance_patch"), ids=name_of)
def test_the_hook_brings_nothing_into_glance(path: pathlib.Path) -> None:
    found = imports_of(path)
    others = {
        name
        for name in foreign(found) - {"glance", "glance_patch", "keystoneauth1", "webob"}
        if not name.startswith("oslo_")
    }
    assert others == set()
    assert not {name for name in found if name.startswith("glancesync")}


@pytest.mark.parametrize("path", [*modules("glancesync"), *modules("glance_patch")], ids=name_of)
def test_eventlet_stays_at_the_edge(path: pathlib.Path) -> None:
    if part(name_of(path)) != "cmd":
        assert "eventlet" not in foreign(imports_of(path))


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("glancesync.planner", "glancesync.model.Image", True),
        ("glancesync.model", "glancesync.planner.plan", False),
        ("glancesync.journal.queue", "glancesync.interfaces.Ask", True),
        ("glancesync.journal.queue", "glancesync.journal.rows", True),
        ("glancesync.journal.queue", "glancesync.regions.catalog", False),
        ("glancesync.transports.upload", "glancesync.conf.transfer", False),
        ("glancesync.executor", "glancesync.worker.Worker", True),
        ("glancesync.executor", "glancesync.wiring.engine", False),
        ("glancesync.conf.regions", "glancesync.errors.SyncError", True),
        ("glancesync.conf.regions", "glancesync.placement.strategies.STRATEGIES", False),
        ("glancesync.wiring", "glancesync.conf.load", True),
        ("glancesync.api.deploy", "glancesync.journal.journal.Journal", True),
        ("glancesync.cmd.sync", "glancesync.api.deploy", True),
        ("glancesync.executor", "glancesync.api.views", False),
        ("glancesync.executor", "glancesync.surprise", False),
    ],
)
def test_the_rules_themselves(importer: str, imported: str, allowed: bool) -> None:
    assert (wrong(importer, imported) is None) is allowed


def test_imports_are_found_wherever_they_stand() -> None:
    source = "import a.b\nfrom c import d\ndef f():\n    from . import e\n    from ..g import h\n"
    assert set(imports(source, "x.y")) == {"a.b", "c.d", "x.y.e", "x.g.h"}
