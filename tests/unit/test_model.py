# SPDX-License-Identifier: Apache-2.0
"""The words: fingerprints, the comparison of bytes, the moves of states, open regions."""

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancesync.model import OWN, Actor, Image, Lent, Original, Region
from glancesync.states import (
    ENDED,
    OPEN,
    POSTPONED,
    REPLICA_MOVES,
    SETTLED,
    TASK_MOVES,
    ReplicaState,
    TaskState,
    check_move,
)

ID = "11111111-2222-3333-4444-555555555555"
BASE = Image(
    ID,
    "active",
    name="n",
    tags=frozenset({"a", "b", "c"}),
    properties={"x": "1", "y": "2"},
    members={"p": "accepted", "q": "pending"},
    size=3,
    checksum="c",
    os_hash_algo="sha512",
    os_hash_value="h",
)

OTHERS: dict[str, Any] = {
    "id": "other",
    "status": "deactivated",
    "name": None,
    "container_format": "bare",
    "disk_format": "raw",
    "min_disk": 1,
    "min_ram": 1,
    "visibility": "public",
    "protected": True,
    "os_hidden": True,
    "owner": "p",
    "tags": frozenset({"a"}),
    "properties": {"x": "1"},
    "members": {"p": "accepted"},
    "size": 4,
    "checksum": "d",
    "os_hash_algo": "sha256",
    "os_hash_value": "i",
}


def test_the_fingerprint_does_not_depend_on_order() -> None:
    for properties, members in itertools.product(
        itertools.permutations(BASE.properties.items()),
        itertools.permutations(BASE.members.items()),
    ):
        other = dataclasses.replace(
            BASE,
            tags=frozenset(sorted(BASE.tags, reverse=True)),
            properties=dict(properties),
            members=dict(members),
        )
        assert other.fingerprint() == BASE.fingerprint()


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Image)])
def test_the_fingerprint_depends_on_every_field_that_is_synced(field: str) -> None:
    if field in OWN:
        lent = Lent(Original("R", "id"), BASE.fingerprint())
        values = {"created_at": 1.0, "lent": lent}
        changed = dataclasses.replace(BASE, **{field: values.get(field, "store1")})
        assert changed.fingerprint() == BASE.fingerprint(), "a region's own affair"
    else:
        changed = dataclasses.replace(BASE, **{field: OTHERS[field]})
        assert changed.fingerprint() != BASE.fingerprint()


@pytest.mark.parametrize("field", OTHERS)
def test_a_list_shows_all_changes_but_those_of_members(field: str) -> None:
    changed = dataclasses.replace(BASE, **{field: OTHERS[field]})
    assert not changed.is_as(BASE.fingerprint())
    shown = dataclasses.replace(changed, members={})
    assert shown.is_listed_as(BASE.fingerprint()) == (field == "members")
    assert shown.is_listed_as(changed.fingerprint())
    assert not shown.is_listed_as(None)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_any_text_has_a_fingerprint(properties: dict[str, str]) -> None:
    image = dataclasses.replace(BASE, properties=properties)
    assert len(image.fingerprint()) == 64
    assert (image.fingerprint() == BASE.fingerprint()) == (properties == BASE.properties)


def bytes_of(size: int | None, checksum: str | None, algo: str | None, value: str | None) -> Image:
    return Image(ID, "active", size=size, checksum=checksum, os_hash_algo=algo, os_hash_value=value)


FULL = bytes_of(3, "md5", "sha512", "h")
MD5 = bytes_of(3, "md5", None, None)
SHA256 = bytes_of(3, "md5", "sha256", "g")
BARE = bytes_of(3, None, None, None)


@pytest.mark.parametrize(
    ("replica", "home", "same"),
    [
        (FULL, FULL, True),
        (bytes_of(4, "md5", "sha512", "h"), FULL, False),
        (bytes_of(3, "md5", "sha512", "x"), FULL, False),  # the hash outweighs the md5
        (bytes_of(3, "x", "sha512", "h"), FULL, True),
        (SHA256, FULL, True),  # other algorithms: the md5 decides
        (bytes_of(3, "x", "sha256", "g"), FULL, False),
        (bytes_of(3, None, "sha256", "g"), FULL, False),  # nothing to compare by is no proof
        (MD5, FULL, True),
        (FULL, MD5, True),
        (bytes_of(3, "x", None, None), FULL, False),
        (bytes_of(None, "md5", "sha512", "h"), FULL, False),
        # Home knows nothing of its bytes but their number: that has to do.
        (BARE, BARE, True),
        (FULL, BARE, True),
        (MD5, BARE, True),
        (bytes_of(4, "md5", "sha512", "h"), BARE, False),
        # Home has a hash and the replica none: not shown to be the same (P3).
        (BARE, FULL, False),
        (BARE, MD5, False),
    ],
)
def test_when_a_replica_holds_the_bytes_of_home(replica: Image, home: Image, same: bool) -> None:
    assert replica.same_bytes(home) is same


def test_statuses() -> None:
    having = {s for s in _STATUSES if Image(ID, s).has_data}
    flying = {s for s in _STATUSES if Image(ID, s).in_flight}
    assert having == {"active", "deactivated"}
    assert flying == {"saving", "uploading", "importing"}


_STATUSES = (
    *("queued", "saving", "uploading", "importing", "active", "deactivated"),
    *("killed", "deleted", "pending_delete"),
)


def test_an_actor_survives_being_written_down() -> None:
    actor = Actor("u", "p", ("a", "b"), "req-1")
    assert Actor.from_dict(actor.as_dict()) == actor
    assert Actor.from_dict({}) == Actor()
    assert Actor.from_dict({"roles": None}) == Actor()


@pytest.mark.parametrize(
    ("change", "is_open"),
    [
        ({}, True),
        ({"present": False}, False),
        ({"enabled": False}, False),
        ({"maintenance": True}, False),
        ({"home": True}, True),
    ],
)
def test_an_open_region(change: dict[str, bool], is_open: bool) -> None:
    assert Region("A", "http://a", **change).open is is_open  # type: ignore[arg-type]


def test_the_moves_of_tasks() -> None:
    assert set(TASK_MOVES) == set(TaskState)
    ends = {state for state, moves in TASK_MOVES.items() if not moves}
    assert ends == set(TaskState) - OPEN
    claimed_from = {state for state in TaskState if TaskState.RUNNING in TASK_MOVES[state]}
    assert claimed_from == {TaskState.READY}
    assert {state for state in TaskState if TaskState.READY in TASK_MOVES[state]} == {
        TaskState.RUNNING,
        *POSTPONED,
    }
    assert all(TaskState.CANCELLED in TASK_MOVES[state] for state in OPEN)


@pytest.mark.parametrize("old", ReplicaState)
@pytest.mark.parametrize("new", ReplicaState)
def test_the_moves_of_replicas(old: ReplicaState, new: ReplicaState) -> None:
    alive = {"in_sync", "partial", "copying", "waiting"}
    legal = old not in ENDED or new not in alive
    assert (new in REPLICA_MOVES[old]) is legal
    if legal:
        check_move(old, new)
    else:
        with pytest.raises(ValueError, match=f"from {old} to {new}"):
            check_move(old, new)


def test_no_state_is_settled_and_ended() -> None:
    assert not SETTLED & ENDED
