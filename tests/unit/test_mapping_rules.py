# SPDX-License-Identifier: Apache-2.0
"""What home is to say of where else an image is."""

import dataclasses
import json
from typing import Any

import pytest

from glancesync.mapping import mapped, remapping, shown_id
from glancesync.model import MAPPING, Image, Replica
from glancesync.planner import Op
from glancesync.regions.images import image_from, is_custom
from glancesync.states import ReplicaState
from tests.unit.test_region_borders import BODY

IMAGE = Image("i", "active")
THERE = Replica("i", "two", ReplicaState.IN_SYNC, replica_id="x", synced_at=1.0)


@pytest.mark.parametrize("state", sorted(ReplicaState))
@pytest.mark.parametrize("synced_at", [None, 1.0])
def test_the_states_in_which_a_region_has_it(state: ReplicaState, synced_at: float | None) -> None:
    settled = state in (ReplicaState.IN_SYNC, ReplicaState.PARTIAL)
    unsure = state in ("copying", "conflict", "deleted", "released")
    shown = settled or (synced_at is not None and not unsure)
    replica = dataclasses.replace(THERE, state=state, synced_at=synced_at)
    assert shown_id(replica) == ("x" if shown else None)


def test_who_has_it_under_which_id() -> None:
    other = dataclasses.replace(THERE, region="one", replica_id="i")
    gone = dataclasses.replace(THERE, region="three", state=ReplicaState.DELETED)
    assert mapped([THERE, other, gone]) == {"two": "x", "one": "i"}


TEXT = '{"a \\"b\\"": "1", "\\u00e9": "2"}'


@pytest.mark.parametrize(
    ("before", "wanted", "change"),
    [
        ("", {}, None),
        ("", {"é": "2", 'a "b"': "1"}, Op("add", MAPPING, TEXT, custom=True)),
        (TEXT, {"é": "2", 'a "b"': "1"}, None),
        (TEXT, {"é": "2"}, Op("replace", MAPPING, '{"\\u00e9": "2"}', custom=True)),
        (TEXT, {}, Op("remove", MAPPING, custom=True)),
        ("what a user wrote", {}, Op("remove", MAPPING, custom=True)),
    ],
)
def test_the_change_that_says_so(before: str, wanted: dict[str, str], change: Op | None) -> None:
    assert remapping(dataclasses.replace(IMAGE, mapping=before), wanted) == change
    if change is not None and change.value:
        assert json.loads(change.value) == wanted


@pytest.mark.parametrize("busy", [{"importing_to": "ceph"}, {"status": "importing"}])
def test_nothing_is_written_while_home_imports(busy: dict[str, Any]) -> None:
    assert remapping(dataclasses.replace(IMAGE, **busy), {"two": "x"}) is None


def test_it_is_no_property_that_is_copied() -> None:
    image = image_from({**BODY, MAPPING: "said", "os_glance_importing_to_stores": "a"}, {})
    assert (image.mapping, image.importing_to) == ("said", "a")
    assert MAPPING not in image.properties
    assert not is_custom(MAPPING)
    assert image.fingerprint() == image_from(BODY, {}).fingerprint()
