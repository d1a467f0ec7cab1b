# SPDX-License-Identifier: Apache-2.0
"""What a plan says of a replica, for every kind of action; and when that no longer holds."""

import dataclasses

import pytest

from glancesync import planner
from glancesync.model import Image, Replica, fingerprint_of
from glancesync.orders import Step
from glancesync.outline import Outline, differs, outline
from glancesync.states import DeleteMode

ID = "11111111-2222-3333-4444-555555555555"
HOME = Image(
    ID,
    "active",
    name="n",
    container_format="bare",
    disk_format="raw",
    owner="p",
    tags=frozenset({"a"}),
    size=3,
    os_hash_algo="sha512",
    os_hash_value="h",
)
NEW = Replica(ID, "A")
OURS = Replica(ID, "A", replica_id=ID, made=True, synced_at=1.0)
THEIRS = Replica(ID, "A", replica_id=ID)
QUEUED = dataclasses.replace(HOME, status="queued", size=None, os_hash_value=None)
SAVING = dataclasses.replace(QUEUED, status="saving")
OTHER_BYTES = dataclasses.replace(HOME, os_hash_value="other")
PROTECTED = dataclasses.replace(OTHER_BYTES, protected=True)
OFF = dataclasses.replace(HOME, status="deactivated")
RENAMED = dataclasses.replace(HOME, name="m", tags=frozenset())
SHARED = dataclasses.replace(HOME, visibility="shared", members={"p": "accepted"})
UNSHARED = dataclasses.replace(SHARED, members={})

WRONG = "its bytes differ from the home image's"
FOREIGN = "it has home's bytes; glance-sync did not make it"
DIFFERS = "it is not as home's image is"
NOT_OURS = f"image {ID} of the region was not made by glancesync and "


def outlined(
    home: Image | None, observed: Image | None, replica: Replica, mode: str = "mirror"
) -> Outline | None:
    actions = planner.plan(home, observed, replica, delete_mode=DeleteMode(mode))
    return outline(home, observed, replica, actions)


@pytest.mark.parametrize(
    ("home", "observed", "replica", "actions", "why", "size"),
    [
        (HOME, None, NEW, ["create", "copy"], "the region has no image of that id", 3),
        (HOME, None, OURS, ["create", "copy"], "its replica is gone", 3),
        (HOME, QUEUED, OURS, ["copy"], "its bytes have not arrived", 3),
        (HOME, OTHER_BYTES, OURS, ["delete", "create", "copy"], WRONG, 3),
        (HOME, PROTECTED, OURS, ["change protected", "delete", "create", "copy"], WRONG, 3),
        (HOME, OTHER_BYTES, NEW, ["leave alone"], NOT_OURS + WRONG, 0),
        (HOME, QUEUED, NEW, ["leave alone"], NOT_OURS + "it is queued, without data", 0),
        (HOME, HOME, NEW, ["adopt"], FOREIGN, 0),
        (HOME, RENAMED, NEW, ["adopt", "change name, tags"], FOREIGN, 0),
        (HOME, RENAMED, OURS, ["change name, tags"], DIFFERS, 0),
        (HOME, RENAMED, THEIRS, ["change name, tags"], DIFFERS, 0),
        (SHARED, UNSHARED, OURS, ["change members"], DIFFERS, 0),
        (OFF, HOME, OURS, ["deactivate"], DIFFERS, 0),
        (HOME, OFF, OURS, ["reactivate"], DIFFERS, 0),
        (QUEUED, HOME, OURS, ["deactivate"], "home's image is queued, without data", 0),
        (None, HOME, OURS, ["delete"], "the home image is deleted", 0),
    ],
)
def test_what_is_to_be_done_and_why(
    home: Image | None,
    observed: Image | None,
    replica: Replica,
    actions: list[str],
    why: str,
    size: int,
) -> None:
    assert outlined(home, observed, replica) == Outline(tuple(actions), why, size)


@pytest.mark.parametrize(
    ("mode", "action"), [("deactivate", "deactivate"), ("hide", "change os_hidden")]
)
def test_what_becomes_of_it_when_home_has_deleted_it(mode: str, action: str) -> None:
    assert outlined(None, HOME, OURS, mode) == Outline((action,), "the home image is deleted")


@pytest.mark.parametrize(
    ("home", "observed", "replica"),
    [
        (HOME, HOME, OURS),
        (HOME, HOME, THEIRS),
        (HOME, SAVING, OURS),  # somebody is at it
        (QUEUED, None, NEW),
        (None, None, OURS),
        (None, HOME, THEIRS),
    ],
)
def test_where_nothing_is_to_be_done_there_is_no_step(
    home: Image | None, observed: Image | None, replica: Replica
) -> None:
    assert outlined(home, observed, replica) is None


def step(observed: Image | None, *actions: str) -> Step:
    return Step(1, "A", ID, "n", actions, "", 0, fingerprint_of(HOME), fingerprint_of(observed))


def test_a_step_holds_while_the_region_is_as_it_was() -> None:
    told = step(RENAMED, "change name, tags")
    assert differs(told, RENAMED, outlined(HOME, RENAMED, OURS)) is None


@pytest.mark.parametrize(
    ("then", "actions", "now", "replica", "said"),
    [
        (RENAMED, ["change name, tags"], OTHER_BYTES, OURS, "is not what it was"),
        (RENAMED, ["change name, tags"], None, OURS, "is not what it was"),
        (None, ["create", "copy"], HOME, NEW, "is not what it was"),
        (HOME, ["adopt"], HOME, THEIRS, "now it would be: nothing"),
        (OTHER_BYTES, ["leave alone"], OTHER_BYTES, OURS, "be: delete, create, copy"),
    ],
)
def test_a_step_is_stale_when_something_else_would_be_done(
    then: Image | None, actions: list[str], now: Image | None, replica: Replica, said: str
) -> None:
    why = differs(step(then, *actions), now, outlined(HOME, now, replica))
    assert said in str(why)
