# SPDX-License-Identifier: Apache-2.0
"""The pages say what the code says: names, options, routes, states, files and tests."""

import ast
import enum
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from docutils.core import publish_doctree

from bench.__main__ import BENCHES, HOOK
from glance_patch import opts as hook_options
from glancesync.api import metrics, views
from glancesync.api.policies import RULES
from glancesync.api.routes import ROUTES
from glancesync.api.schemas import (
    bindings,
    events,
    images,
    jobs,
    plans,
    regions,
    replicas,
    rules,
    tasks,
)
from glancesync.conf import list_opts
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Audit, Finding, ImageRecord, Need, Region, Replica, ReplicaView
from glancesync.orders import Binding, Item, ItemView, Job, Plan, Step, Tally
from glancesync.states import FindingKind, ItemState, PlanState, ReplicaState, StepState, TaskState

CHECKOUT = Path(__file__).parents[2]
PAGES = CHECKOUT / "doc" / "source"
OURS = {option.name.replace("-", "_"): option for option in dict(list_opts())["DEFAULT"]}


def page(name: str) -> str:
    return (PAGES / name).read_text()


def section(text: str, title: str) -> str:
    """What stands below a title, up to the next one of any level."""
    _, found, rest = text.partition(f"\n{title}\n{'-' * len(title)}\n")
    assert found, title
    return re.split(r"\n[^\n]+\n[=-]{3,}\n", rest)[0]


def rows(text: str) -> set[str]:
    """The first cells of tables: what stands in double backticks at the beginning of a line."""
    return set(re.findall(r"^``(\w+)``  ", text, re.MULTILINE))


# -- the tour -------------------------------------------------------------------------------------


def holds_code(path: Path) -> bool:
    """Whether a module is more than its docstring."""
    body = ast.parse(path.read_text()).body
    return len(body) > bool(body and ast.get_docstring(ast.Module(body, [])))


def test_the_tour_names_every_module_once_and_nothing_else() -> None:
    named = re.findall(r"^``(\S+\.py)``$", page("tour.rst"), re.MULTILINE)
    there = [
        path
        for package in ("glancesync", "glance_patch")
        for path in (CHECKOUT / package).rglob("*.py")
        if path.name != "__init__.py" or holds_code(path)
    ]
    assert sorted(named) == sorted(str(path.relative_to(CHECKOUT)) for path in there)


def test_the_tours_directories_exist() -> None:
    for name in re.findall(r"^``(\S+)/``$", page("tour.rst"), re.MULTILINE):
        assert (CHECKOUT / name).is_dir(), name


# -- the API --------------------------------------------------------------------------------------


def test_every_route_is_documented() -> None:
    documented = re.findall(r"^((?:GET|POST|PATCH|PUT|DELETE) /\S+)$", page("api.rst"), re.M)
    routes = [f"{method} {path}" for path, methods in ROUTES.items() for method in methods]
    assert sorted(documented) == sorted([*routes, "GET /healthcheck", "GET /metrics"])


def test_every_policy_rule_is_documented_where_it_applies() -> None:
    text = page("api.rst")
    table = section(text, "Who may do what")
    assert set(re.findall(r"^``(glancesync:\S+)``", table, re.M)) == set(RULES)
    for rule, (_, _, method, path) in RULES.items():
        assert f"``{rule}``" in section(text, f"{method} {path}").replace("\n", " "), rule


@pytest.mark.parametrize(
    ("title", "schema"),
    [
        ("POST /v1/events", events.CREATE),
        ("GET /v1/images", images.INDEX),
        ("POST /v1/images/{id}/sync", images.SYNC),
        ("POST /v1/images/{id}/adopt", images.ADOPT),
        ("POST /v1/images/{id}/ensure", images.ENSURE),
        ("POST /v1/regions/{name}/adopt", regions.ADOPT),
        ("GET /v1/replicas", replicas.INDEX),
        ("GET /v1/tasks", tasks.INDEX),
        ("PATCH /v1/regions/{name}", regions.UPDATE),
        ("POST /v1/plans", plans.CREATE),
        ("GET /v1/plans/{id}", plans.SHOW),
        ("POST /v1/rules/test", rules.TEST),
        ("POST /v1/rules/preview", rules.PREVIEW),
        ("POST /v1/bindings/select", bindings.SELECT["properties"]["requirements"]),
        ("POST /v1/bindings", bindings.CREATE),
        ("GET /v1/bindings", bindings.INDEX),
        ("DELETE /v1/bindings/{id}", bindings.DELETE),
        ("POST /v1/jobs", jobs.SET),
        ("POST /v1/jobs", jobs.TEMPLATE),
        ("GET /v1/jobs", jobs.INDEX),
        ("GET /v1/jobs/{id}", jobs.SHOW),
        ("POST /v1/regions/{name}/promote", jobs.PROMOTE),
    ],
)
def test_what_a_request_may_hold_is_documented(title: str, schema: dict[str, Any]) -> None:
    text = section(page("api.rst"), title)
    for name in schema["properties"]:
        assert re.search(rf"``{name}``|\"{name}\":", text), name


def test_the_fields_of_answers_are_documented() -> None:
    text = page("api.rst")
    replica = views.replica(ReplicaView(Replica("i", "r"), 1, None, None))
    record = ImageRecord("i", 1, "f", True, *[None] * 2, "active", *[None] * 4, 0.0, 0.0)
    shown = rows(section(text, "GET /v1/images/{id}"))
    assert shown == {*replica, *views.image(record, [], [])}
    assert rows(section(text, "GET /v1/regions/{name}")) == set(views.region(Region("r", "u")))
    audit = rows(section(text, "GET /v1/audits/{name}"))
    finding = views.finding(Finding("r", FindingKind.GONE, "i"))
    assert audit == {*views.audit(Audit("r")), "findings", *finding}
    plan = views.plan(Plan(1, PlanState.READY, "", None, ("r",), {}, None, Actor()), {}, {})
    step = views.step(Step(1, "r", "i", None, (), "", 0, "", ""), None)
    assert rows(section(text, "GET /v1/plans/{id}")) == {*plan, *plan["regions"][0], *step}
    binding = views.binding(Binding(1, "p", "", "r", "", Actor(), 0.0), shows_actor=True)
    assert rows(section(text, "GET /v1/bindings/{id}")) == set(binding)
    need = views.need(Need(None, None, None, None, 0.0), "i", Region("r", "u"), ready=False)
    ensure = section(text, "POST /v1/images/{id}/ensure")
    [shown] = re.findall(r"^   {\n(?:    .*\n)+   }$", ensure, re.M)
    assert json.loads(shown)["ensure"].keys() == need.keys()
    job = views.job(Job(1, None, False, (), Actor()), Tally({}))
    item = views.item(ItemView(Item(1, "x", "r", "s"), ItemState.PENDING), None)
    shown = {*job, "bytes_done", "bytes_total", *item}
    assert rows(section(text, "GET /v1/jobs/{id}")) == shown
    task = ast.parse((CHECKOUT / "glancesync/api/views.py").read_text())
    [function] = [f for f in task.body if isinstance(f, ast.FunctionDef) and f.name == "task"]
    keys = {key.value for key in ast.walk(function) if isinstance(key, ast.Constant)} - {None}
    assert rows(section(text, "GET /v1/tasks/{id}")) == {key for key in keys if key}


# -- operating and configuration ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "states"),
    [
        ("States of a replica", ReplicaState),
        ("States of a task", TaskState),
        ("States of a step", StepState),
        ("States of an item of a job", ItemState),
    ],
)
def test_every_state_is_explained(title: str, states: type[enum.StrEnum]) -> None:
    first = set(re.findall(r"^(\w+)  ", section(page("operating.rst"), title), re.MULTILINE))
    assert first - {"state"} == {state.value for state in states}


def test_every_metric_is_explained(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/journal")
    database.migrate()
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics"}
    (text,) = metrics.app(Journal(database))(environ, lambda status, headers: None)
    database.dispose()
    table = section(page("operating.rst"), "Monitoring")
    explained = re.findall(r"^``(glancesync_\w+)``", table, re.MULTILINE)
    assert sorted(explained) == sorted(re.findall(r"^# TYPE (\S+)", text.decode(), re.MULTILINE))


def test_every_option_of_ours_is_documented_with_its_default() -> None:
    found = re.findall(r"^``(\w+)`` +(\S*)", page("configuration.rst"), re.MULTILINE)
    documented = {name: value for name, value in found if name in OURS}
    assert documented.keys() == OURS.keys()
    for name, option in OURS.items():
        if re.fullmatch(r"[\d.]+|None|ALL", documented[name]):
            default = option.default
            shown = ",".join(default) if isinstance(default, list) else str(default)
            assert documented[name] in (shown, shown.removesuffix(".0")), name
    left_out = f"Left out: ``{','.join(OURS['transports'].default)}``."
    assert left_out in " ".join(page("configuration.rst").split())


def test_the_options_that_reload_are_those_that_can() -> None:
    mutable = {name for name, option in OURS.items() if option.mutable}
    marked = re.findall(r"^``(\w+)``[^\n]*\*reload\*", page("configuration.rst"), re.MULTILINE)
    assert set(marked) == mutable
    paragraph = re.search(r"\*\*SIGHUP\*\*.*?\n\n", page("operating.rst"), re.DOTALL)
    assert paragraph is not None
    assert set(re.findall(r"``(\w+)``", paragraph[0])) == {*mutable, "debug"}


def test_the_hooks_options_that_pages_name_exist() -> None:
    known = {o.name for o in [*hook_options.switch_opts, *hook_options.sender_opts]}
    assert {"sync_enabled", "sync_server_host", "sync_server_port", "queue_size"} <= known


# -- promises -------------------------------------------------------------------------------------


def test_the_tests_that_try_to_break_promises_exist() -> None:
    text = page("promises.rst")
    named = re.findall(r"``(tests/\S+\.py)::(\w+)``", text)
    assert named
    for path, name in named:
        assert f"\ndef {name}(" in (CHECKOUT / path).read_text(), f"{path}::{name}"
    for number in range(1, 9):
        part = text.partition(f"\nP{number}: ")[2].partition(f"\nP{number + 1}: ")[0]
        assert "``tests/" in part, f"P{number}"


def test_what_decision_records_hold() -> None:
    records = sorted((PAGES / "decisions").glob("0*.rst"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        titles = re.findall(r"^(\w[^\n]*)\n=+$", path.read_text(), re.MULTILINE)
        assert titles[0].startswith(f"{path.name[:4]}: ")
        assert titles[1:] == ["Context", "Decision", "Consequences"], path.name


# -- commands -------------------------------------------------------------------------------------


_COMMAND = r"((?:make\b|openstack image sync|installation/|\.ci/)[^`\n]*)"


def commands(text: str) -> list[str]:
    """Literals and lines of literal blocks that begin like a command of ours."""
    places = [r"``", r"^ +[$#] ", r"^    (?=\S)"]
    found = (re.findall(place + _COMMAND, text, re.MULTILINE) for place in places)
    return [command for commands in found for command in commands]


def documents() -> list[Path]:
    return [CHECKOUT / "README.rst", *sorted(PAGES.rglob("*.rst"))]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_the_commands_of_a_page_exist(path: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    entries = project["entry-points"]["openstack.image_sync.v1"]
    subcommands = {name.removeprefix("image_sync_").replace("_", " ") for name in entries}
    for command in commands(path.read_text()):
        words = command.split()
        if words[0] == "make":
            assert words[1:] == [] or words[1] in targets, command
        elif words[0] == "openstack":
            rest = " ".join(words[3:])
            assert rest in ("", "…") or any(rest.startswith(name) for name in subcommands), command
        else:
            assert (CHECKOUT / words[0]).exists(), command


def test_every_bench_is_on_the_page_of_them() -> None:
    said = page("performance.rst")
    assert [name for name in (HOOK, *BENCHES) if f"``{name}``" not in said] == []


def test_the_readme_leads_with_demo_and_test() -> None:
    text = (CHECKOUT / "README.rst").read_text()
    first = text.partition("::\n\n")[2].partition("\n\n")[0]
    assert [line.strip() for line in first.splitlines()][1:] == [
        "cd glancesync",
        "make demo",
        "make test",
    ]
    publish_doctree(text, settings_overrides={"halt_level": 2})


# -- tools ----------------------------------------------------------------------------------------


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    run("sphinx", "-q", "-W", "--keep-going", "-b", "html", str(PAGES), str(tmp_path / "html"))


def test_the_release_notes_are_well_formed() -> None:
    run("reno.main", "lint", str(CHECKOUT))


def run(module: str, *args: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *args],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
