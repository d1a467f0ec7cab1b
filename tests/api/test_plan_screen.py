# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync plan`` as it is read: what the API answers, on less than 100 columns."""

import dataclasses
import re
from collections.abc import Iterator

import pytest
import webob

from glancesync.interfaces import Changes
from glancesync.model import Actor, Done, Retry
from glancesync.orders import Step
from glancesync.states import PlanState, StepState
from tests.api import service
from tests.api.service import A1, B1, OTHERS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # osc_lib warns of itself

WIDTH = 100
MADE = "made now under strategy ALL"


@pytest.fixture
def estate() -> Iterator[service.Planned]:
    with service.Planned() as estate:
        yield estate


def screen(number: int) -> list[str]:
    """Its lines, as they are at once, however slow the machine is."""
    from glancesync.osc.outlines import page

    headers = {"X-Auth-Token": "admin-token"}
    request = webob.Request.blank(f"/v1/plans/{number}", headers=headers)
    answer = request.get_response(service.app()).json
    lines = page(answer["plan"], answer["steps"]).splitlines()
    assert max(map(len, lines)) < WIDTH, "\n".join(lines)
    return [re.sub(r"(made|applied) \d+ s ago", r"\1 now", line) for line in lines]


def test_a_plan_that_may_be_applied(estate: service.Planned) -> None:
    assert screen(1) == [
        f"Plan 1, {MADE}: 3 steps, 300 B to copy.",
        "",
        "RegionThree: 1 step, 100 B to copy (it is in maintenance)",
        f"  {B1}  b1",
        "    create, copy 100 B: the region has no image of that id",
        f"    could be adopted instead: {OTHERS}b",
        "",
        "RegionTwo: 2 steps, 200 B to copy",
        f"  {A1}  näme",
        "    create, copy 100 B: the region has no image of that id",
        f"    could be adopted instead: {OTHERS}b",
        f"  {B1}",
        "    create, copy 100 B: the region has no image of that id",
        "",
        "To have exactly this done: openstack image sync apply 1",
    ]


def test_plans_that_may_not(estate: service.Planned) -> None:
    assert screen(2)[0] == f"Plan 2 could not be made: home has no image {OTHERS}f."
    assert screen(3)[2] == "RegionThree could not be looked at: HTTP 500"
    assert screen(4) == ["Plan 4 is not ready yet."]
    estate.journal.plans.apply(1, Actor("u"))
    assert screen(1)[0] == "Plan 1, applied now: 3 planned."
    assert not screen(1)[-1].startswith("To have")


def test_what_became_of_steps_and_words_that_are_long(estate: service.Planned) -> None:
    (task,) = estate.journal.claim("host:1", lease=36000, limit=1, regions={""})
    plan = estate.journal.plans.get(4)
    assert plan is not None
    said = "could not get image: HTTP 503 Service Unavailable, as the server is too busy; " * 3
    planned = Step(4, "RegionTwo", A1, "n" * 255, ("adopt", "change name"), said, 0, "f", "f")
    steps = (planned, dataclasses.replace(planned, image_id=B1, adoptable=(OTHERS,) * 5))
    found = {"regions": ("RegionThree", "RegionTwo"), "unread": {"RegionThree": said}}
    ready = dataclasses.replace(plan, state=PlanState.READY, strategy="ALL", **found)
    estate.journal.commit(task, Changes(plan=ready, steps=steps), Done("the plan is ready"))
    assert len(screen(4)) > 10
    assert estate.journal.plans.apply(4, Actor("u")) is None
    (task,) = estate.journal.claim("host:1", lease=36000, limit=1, regions={""})
    done = dataclasses.replace(planned, state=StepState.DONE, result="patch name")
    stale = dataclasses.replace(steps[1], state=StepState.STALE, result=said)
    estate.journal.commit(task, Changes(steps=(done, stale)))
    lines = screen(4)
    assert lines[0].endswith(": 1 done, 1 stale.")
    assert "    done: patch name" in lines
    assert any(line.startswith("    stale: could not get image: HTTP 503") for line in lines)


def test_a_plan_that_waits_says_why(estate: service.Planned) -> None:
    (task,) = estate.journal.claim("host:1", lease=36000, limit=1, regions={""})
    estate.journal.commit(task, Changes(), Retry(60, "RegionOne: HTTP 500", failed=False))
    assert screen(4) == ["Plan 4 is not ready yet: RegionOne: HTTP 500."]
