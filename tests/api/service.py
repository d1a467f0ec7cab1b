# SPDX-License-Identifier: Apache-2.0
"""glance-sync's API for the tests: the pipeline as it is shipped, over a real journal.

Only Keystone is missing: what it would say of a token is given by ``TOKENS``.
"""

import contextlib
import dataclasses
import pathlib
import tempfile
import threading
from typing import Any, Self
from unittest import mock

import webob.exc
from gabbi import fixture
from keystonemiddleware.auth_token import AuthProtocol
from keystonemiddleware.auth_token._exceptions import InvalidToken

from glancesync import wiring
from glancesync.api import deploy
from glancesync.conf import load
from glancesync.destinations import Destinations
from glancesync.errors import Transient
from glancesync.interfaces import Ask, Changes, ImageService, Services
from glancesync.jobs import Jobbing
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import (
    Actor,
    Again,
    Audit,
    Done,
    Finding,
    ImageRecord,
    Priority,
    Replica,
    Retry,
    Task,
)
from glancesync.orders import Plan, Step, Wish
from glancesync.placement.strategies import STRATEGIES
from glancesync.routing import Routing
from glancesync.ruling import Ruling
from glancesync.selecting import Selecting
from glancesync.states import FindingKind, PlanState, ReplicaState, TaskKind
from tests.contract.listing_glance import ListingGlance
from tests.journals import record

ROOT = pathlib.Path(__file__).parents[2]

PROJECT_A = "a" * 32
PROJECT_B = "b" * 32

#: token -> project (None: the token is for the system, not for a project), roles
TOKENS = {
    "admin-token": ("f" * 32, ["admin", "member", "reader"]),
    "service-token": ("e" * 32, ["service"]),
    "member-a-token": (PROJECT_A, ["member", "reader"]),
    "member-b-token": (PROJECT_B, ["member", "reader"]),
    "reader-a-token": (PROJECT_A, ["reader"]),
    "stranger-token": (PROJECT_A, ["stranger"]),
    "system-reader-token": (None, ["reader"]),
}

A1 = "aaaaaaaa-0000-0000-0000-000000000001"
A2 = "aaaaaaaa-0000-0000-0000-000000000002"
B1 = "bbbbbbbb-0000-0000-0000-000000000001"

OTHERS = "99999999-0000-0000-0000-00000000000"  # and a digit

_running: dict[str, Any] = {}


def app() -> Any:
    """What gabbi talks to instead of a socket; asked for before any fixture has started."""
    return lambda environ, start: _running["app"](environ, start)


def _fetch_token(self: AuthProtocol, token: str, **kwargs: object) -> dict[str, Any]:
    """As Keystone's ``GET /v3/auth/tokens`` answers."""
    if token == "keystone-is-away":
        raise webob.exc.HTTPServiceUnavailable("The Keystone service is temporarily unavailable.")
    if token not in TOKENS:
        raise InvalidToken
    project, roles = TOKENS[token]
    domain = {"id": "default", "name": "Default"}
    return {
        "token": {
            "methods": ["password"],
            "user": {"id": f"user of {token}", "name": token, "domain": domain},
            **_scope(project, domain),
            "roles": [{"id": role, "name": role} for role in roles],
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "expires_at": "2100-01-01T00:00:00.000000Z",
            "audit_ids": ["x"],
            "catalog": [],
        }
    }


def _scope(project: str | None, domain: dict[str, str]) -> dict[str, Any]:
    if project is None:
        return {"system": {"all": True}}
    return {"project": {"id": project, "name": project[0], "domain": domain}}


class Empty(fixture.GabbiFixture):
    """An API over a journal without a single row."""

    strategy = "None"
    options = ""

    def services(self) -> Services:
        """The regions of this API: what it looks up in them it does not get."""
        raise Transient("RegionOne", "could not read the image: it does not answer")

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def start_fixture(self) -> None:
        self._stack = contextlib.ExitStack()
        self.directory = pathlib.Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{self.directory}/journal.sqlite"
        config = self.directory / "glance-sync.conf"
        config.write_text(
            f"[DEFAULT]\n"
            f"cascading_endpoint_url = http://one:9292\n"
            f"sync_strategy = {self.strategy}\n"
            f"paste_config = {ROOT}/etc/glance/glance-sync-paste.ini\n"
            f"[database]\n"
            f"connection = {url}\n"
            f"[keystone_authtoken]\n"
            f"www_authenticate_uri = http://keystone:5000/v3\n"
            f"service_token_roles_required = true\n"
            f"[DEFAULT]\n" + self.options
        )
        conf = load(["--config-file", str(config)], prog="test", version="0")
        database = Database(url)
        self._stack.callback(database.dispose)
        database.migrate()
        self.journal = Journal(database)
        self._stack.enter_context(mock.patch.object(AuthProtocol, "fetch_token", _fetch_token))
        routing = Routing(self.journal, self.services, [], {})
        selecting = Selecting(wiring.selection(conf))
        app = deploy.load(conf, self.journal, routing, self.ruling(), selecting)
        _running["app"] = app
        self.fill()

    def ruling(self) -> Ruling:
        """What says where images go: to all regions."""
        destinations = Destinations(STRATEGIES["ALL"], self.journal)
        return Ruling(destinations, None, self.journal, self.journal, self.services, ["upload"])

    def fill(self) -> None:
        """Put rows into the journal."""

    def stop_fixture(self) -> None:
        _running.clear()
        self._stack.close()


class Estate(Empty):
    """Three regions; two images of project A and one of B; tasks in every state.

    Task 1, 2, 3 are the done image tasks of A1, A2, B1; 4 is ready (A1 in RegionTwo), 5 failed (A2
    in RegionTwo), 6 running (B1 in RegionTwo), 7 cancelled (B1 in RegionThree).
    """

    def fill(self) -> None:
        record(self.journal, "RegionOne", "RegionTwo", "RegionThree")
        self._image(A1, PROJECT_A, "näme")
        self._image(A2, PROJECT_A, None)
        self._image(B1, PROJECT_B, "b1")
        actor = Actor("u", PROJECT_A, ("member",), "req-1")
        self.journal.ask([self._ask(A1, "RegionTwo", actor=actor)], "test")
        self.journal.ask([self._ask(A2, "RegionTwo", priority=Priority.USER)], "test")
        self._commit(Retry(3600, "RegionTwo: policy says no", failed=True))
        self.journal.ask([self._ask(B1, "RegionTwo", priority=Priority.USER)], "test")
        self._claim()
        self.journal.ask([self._ask(B1, "RegionThree")], "test")
        self.journal.cancel_task(7, Actor())

    @staticmethod
    def _ask(image_id: str, region: str, **more: Any) -> Ask:
        return Ask(TaskKind.REPLICA, image_id, region, **more)

    def _claim(self) -> Task:
        (task,) = self.journal.claim(
            "host:1", lease=36000, limit=1, regions={"", "RegionTwo", "RegionThree"}
        )
        return task

    def _commit(self, outcome: Done | Retry, changes: Changes = Changes()) -> None:  # noqa: B008
        self.journal.commit(self._claim(), changes, outcome)

    def _image(self, image_id: str, owner: str, name: str | None) -> None:
        self.journal.ask([Ask(TaskKind.IMAGE, image_id)], "test")
        record = ImageRecord(
            image_id, 2, "f" * 64, True, name, owner, "active", 100, "h" * 128, None, None, 0.0, 0.0
        )
        replica = Replica(
            image_id,
            "RegionThree",
            ReplicaState.PARTIAL,
            replica_id=image_id,
            made=True,
            observed_generation=1,
            refused={"hw_x": "policy"},
        )
        changes = Changes(image=record, replica=replica, pending=("RegionTwo",))
        self._commit(Done("2 replicas to bring up to date"), changes)


class Lazy(Estate):
    """Images go where somebody needs them. A2 is in sync in RegionThree, and B1 has no data."""

    strategy = "LAZY"

    def fill(self) -> None:
        super().fill()
        self.journal.ask([self._ask(A2, "RegionThree", priority=Priority.USER)], "test")
        replica = self.journal.replica(A2, "RegionThree")
        assert replica is not None
        well = dataclasses.replace(replica, state=ReplicaState.IN_SYNC, observed_generation=2)
        self._commit(Done("in sync"), Changes(replica=well))
        self.journal.ask([Ask(TaskKind.IMAGE, B1, priority=Priority.USER)], "test")
        queued = self.journal.image(B1)
        assert queued is not None
        changes = Changes(image=dataclasses.replace(queued, status="queued", fingerprint="q" * 64))
        self._commit(Done("no data"), changes)


class Everywhere(Lazy):
    """As above, and images go everywhere anyway."""

    strategy = "ALL"


class Held(Estate):
    """An audit of home holds back the deletions of A1 and B1."""

    def fill(self) -> None:
        super().fill()
        self.journal.ask([Ask(TaskKind.AUDIT, "", "RegionOne")], "test")
        (task,) = self.journal.claim("host:1", lease=36000, limit=1, regions={"RegionOne"})
        findings = tuple(
            Finding("RegionOne", FindingKind.GONE, image_id, detail=name)
            for image_id, name in ((A1, "näme"), (B1, "b1"))
        )
        begun = Audit("RegionOne", started_at=task.updated_at, seen=1, missing=2)
        ended = dataclasses.replace(begun, finished_at=task.updated_at, held=2)
        self.journal.commit(task, Changes(audit=begun, findings=findings))
        self.journal.commit(task, Changes(audit=ended), Again(36000, "2 held"))


class Offers(Estate):
    """As above; in RegionTwo images were found that could be the replicas of B1 (one) and A2 (two),
    and the replica of B1 in RegionThree is adopted.
    """

    def fill(self) -> None:
        super().fill()
        found = [(B1, "b"), (A2, "2"), (A2, "3")]
        findings = tuple(
            Finding("RegionTwo", FindingKind.ADOPTABLE, image_id, f"{OTHERS}{end}")
            for image_id, end in found
        )
        adopted = Replica(B1, "RegionThree", ReplicaState.IN_SYNC, replica_id=B1)
        self.journal.ask([self._ask(B1, "RegionThree", priority=Priority.USER)], "test")
        self._commit(Done("adopted"), Changes(replica=adopted, findings=findings))


class Audited(Held):
    """As Held, and RegionTwo is being audited; so far, A2 could be adopted there."""

    def fill(self) -> None:
        super().fill()
        self.journal.ask([Ask(TaskKind.AUDIT, "", "RegionTwo", Priority.USER)], "test")
        (task,) = self.journal.claim("host:1", lease=36000, limit=1, regions={"RegionTwo"})
        audit = Audit("RegionTwo", started_at=task.updated_at, seen=7, drifted=2, missing=1)
        finding = Finding("RegionTwo", FindingKind.ADOPTABLE, A2, B1, "why")
        self.journal.commit(task, Changes(audit=audit, findings=(finding,)))


class Planned(Estate):
    """Plan 1 is ready, 2 could not be made, 3 went stale, and 4 is being made."""

    def fill(self) -> None:
        super().fill()
        absent = {"home": "f" * 64, "observed": "absent"}
        copy = Step(
            1,
            "RegionTwo",
            A1,
            "näme",
            ("create", "copy"),
            "the region has no image of that id",
            100,
            adoptable=(f"{OTHERS}b",),
            **absent,
        )
        self.journal.update_region("RegionThree", {"maintenance": True})
        plan = self._plan("RegionTwo", "RegionThree")
        self._make(
            plan,
            copy,
            dataclasses.replace(copy, image_id=B1, name=None, adoptable=()),
            dataclasses.replace(copy, region="RegionThree", image_id=B1, name="b1"),
        )
        plan = self._plan("RegionTwo", image_id=OTHERS + "f")
        failed = {"state": PlanState.FAILED, "reason": f"home has no image {OTHERS}f"}
        self._commit(Done("failed"), Changes(plan=dataclasses.replace(plan, **failed)))
        plan = self._plan("RegionTwo", "RegionThree")
        self._make(plan, dataclasses.replace(copy, plan_id=3, image_id=A2))
        self.journal.adoptions.adopt(A2, "RegionTwo", f"{OTHERS}2", Actor("u"), own=False)
        self._plan()

    def _plan(self, *regions: str, image_id: str | None = None) -> Plan:
        return self.journal.plans.create(regions, image_id, Actor("u"))

    def _make(self, plan: Plan, *steps: Step) -> None:
        unread = {"RegionThree": "RegionThree: HTTP 500"} if plan.id == 3 else {}
        ready = dataclasses.replace(plan, state=PlanState.READY, strategy="ALL", unread=unread)
        self._commit(Done("the plan is ready"), Changes(plan=ready, steps=steps))


class Bound(Estate):
    """A project may have two groups."""

    options = "bindings_per_project = 2\n"


class Regions:
    """``interfaces.Services`` of one region that answers."""

    home = "RegionOne"

    def __init__(self) -> None:
        self.glance = ListingGlance("RegionOne")

    def __call__(self, region: str) -> ImageService:
        if region != self.home:
            raise Transient(region, "it does not answer")
        return self.glance.service


class Jobs(Estate):
    """Job 1 of project A is done, 2 has failed, 3 is active, and so is 4 of project B.

    Home has A1 and A2 of project A, called "twin", and B1 of project B, which is private.
    """

    strategy = "ALL"
    options = "open_jobs_per_project = 2\n"

    def services(self) -> Services:
        return self.regions

    def fill(self) -> None:
        self.regions = Regions()
        glance = self.regions.glance
        self._stack.callback(glance.close)
        for image_id, owner, name in ((A1, PROJECT_A, "twin"), (A2, PROJECT_A, "twin")):
            glance.add(image_id, owner=owner, name=name, visibility="private")
        glance.add(B1, owner=PROJECT_B, name="b1", visibility="private")
        super().fill()
        self._job(PROJECT_A, A1)
        self._commit(Done("copied"), self._arrived(A1))
        self._job(PROJECT_A, A2, "nothing")
        self._commit(Done("copied"), self._arrived(A2))
        self._job(PROJECT_A, A2)
        self._job(PROJECT_B, B1)

    @staticmethod
    def _arrived(image_id: str) -> Changes:
        return Changes(
            replica=Replica(image_id, "RegionThree", ReplicaState.IN_SYNC, image_id, made=True)
        )

    def _job(self, project: str, *resources: str) -> None:
        wish = Wish("RegionOne", ("RegionThree",), resources)
        jobs, actor = self.journal.jobs, Actor("u", project)
        jobs.create([wish], actor, project_id=project, everything=False, most=None)
        jobbing = Jobbing(jobs, self.journal, self.regions, lambda: "")
        (task,) = self.journal.claim("host:1", lease=36000, limit=1, regions={""})
        changes, outcome = jobbing.run(task, threading.Event())
        self.journal.commit(task, changes, outcome)


class Off(Jobs):
    """The same, while synchronization is off."""

    strategy = "None"


class Gone(Estate):
    """The database went away after the API had started."""

    def fill(self) -> None:
        super().fill()
        self.journal.database.dispose()
        for file in self.directory.glob("journal.sqlite*"):
            file.unlink()
        self.directory.joinpath("journal.sqlite").mkdir()
