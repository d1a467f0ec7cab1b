# SPDX-License-Identifier: Apache-2.0
"""What has to be done to a replica: a table of cases, and what holds in every case."""

import dataclasses
import fnmatch
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from glancesync.model import IN_FLIGHT, Image, Replica
from glancesync.planner import (
    ATTRIBUTES,
    FORMATS,
    Action,
    Clash,
    Create,
    Deactivate,
    Delete,
    Members,
    Op,
    Patch,
    Reactivate,
    Transfer,
    Wait,
    desired_replica,
    plan,
    regions_own,
)
from glancesync.replication import MAX_ROUNDS
from glancesync.states import DeleteMode, ReplicaState

ID = "11111111-2222-3333-4444-555555555555"
HOME = Image(
    ID,
    "active",
    name="n",
    container_format="bare",
    disk_format="raw",
    owner="p",
    tags=frozenset({"a"}),
    properties={"x": "1"},
    size=3,
    os_hash_algo="sha512",
    os_hash_value="h",
)
OURS = Replica(ID, "A", replica_id=ID, made=True)
FINISHED = dataclasses.replace(OURS, synced_at=1.0)
THEIRS = Replica(ID, "A", replica_id=ID)
DELETED = dataclasses.replace(OURS, state=ReplicaState.DELETED)
QUEUED = dataclasses.replace(HOME, status="queued", size=None, os_hash_value=None)
OTHER_BYTES = dataclasses.replace(HOME, os_hash_value="other")
HIDDEN = Patch((Op("replace", "os_hidden", True),))
UNPROTECT = Patch((Op("replace", "protected", False),))
GONE = "the home image is deleted"
WRONG = "its bytes differ from the home image's"


def but(image: Image = HOME, **changes: Any) -> Image:
    return dataclasses.replace(image, **changes)


def clash(reason: str) -> Clash:
    return Clash(f"image {ID} of the region was not made by glancesync and {reason}")


@pytest.mark.parametrize(
    ("desired", "observed", "replica", "options", "actions"),
    [
        # in sync
        (HOME, HOME, OURS, {}, []),
        (HOME, HOME, THEIRS, {}, []),
        # not there
        (HOME, None, OURS, {}, [Create(HOME)]),
        (HOME, None, Replica(ID, "A"), {}, [Create(HOME)]),
        (QUEUED, None, OURS, {}, []),
        (HOME, None, OURS, {"preserve": ["x*"]}, [Create(but(properties={}))]),
        (None, None, OURS, {}, []),
        # there without data
        (HOME, QUEUED, OURS, {}, [Transfer()]),
        (
            HOME,
            but(QUEUED, disk_format=None, container_format="ami"),
            OURS,
            {},
            [
                Patch(
                    (Op("replace", "container_format", "bare"), Op("replace", "disk_format", "raw"))
                ),
                Transfer(),
            ],
        ),
        (HOME, QUEUED, THEIRS, {}, [clash("it is queued, without data")]),
        (
            HOME,
            QUEUED,
            THEIRS,
            {"force": True},
            [Delete("forced by an operator: it is queued, without data")],
        ),
        (HOME, but(QUEUED, status="killed"), OURS, {}, [Delete("the region's image was killed")]),
        (
            HOME,
            but(QUEUED, status="killed", protected=True),
            OURS,
            {},
            [UNPROTECT, Delete("the region's image was killed")],
        ),
        (
            HOME,
            but(QUEUED, status="saving", protected=True),
            OURS,
            {"stuck": True},
            [UNPROTECT, Delete("the region's image was stuck in saving")],
        ),
        (QUEUED, QUEUED, OURS, {}, []),
        (QUEUED, QUEUED, THEIRS, {}, []),
        # being written
        *[
            (HOME, but(QUEUED, status=one), who, {}, [Wait(f"the region's image is {one}")])
            for one in sorted(IN_FLIGHT)
            for who in (OURS, THEIRS)
        ],
        (
            HOME,
            but(QUEUED, status="saving"),
            OURS,
            {"stuck": True},
            [Delete("the region's image was stuck in saving")],
        ),
        (
            HOME,
            but(QUEUED, status="saving"),
            THEIRS,
            {"stuck": True},
            [Wait("the region's image is saving")],
        ),
        # home has no data (any more): stale bytes are not booted, but kept
        (QUEUED, HOME, OURS, {}, [Deactivate()]),
        (but(QUEUED, status="saving"), HOME, OURS, {}, [Deactivate()]),
        (QUEUED, but(status="deactivated"), OURS, {}, []),
        (QUEUED, HOME, THEIRS, {}, []),
        (QUEUED, HOME, OURS, {"refused": {"status"}}, []),
        # other bytes
        (HOME, OTHER_BYTES, OURS, {}, [Delete(WRONG)]),
        (
            HOME,
            but(OTHER_BYTES, protected=True),
            OURS,
            {},
            [UNPROTECT, Delete(WRONG)],
        ),
        (HOME, OTHER_BYTES, THEIRS, {}, [clash(WRONG)]),
        (
            HOME,
            OTHER_BYTES,
            THEIRS,
            {"force": True},
            [Delete(f"forced by an operator: {WRONG}")],
        ),
        (
            HOME,
            but(disk_format="qcow2"),
            OURS,
            {},
            [Delete("its format differs from the home image's")],
        ),
        (
            HOME,
            but(disk_format="qcow2"),
            THEIRS,
            {},
            [clash("its format differs from the home image's")],
        ),
        # deleted at home (P4)
        (None, HOME, OURS, {}, [Delete(GONE)]),
        (None, QUEUED, OURS, {}, [Delete(GONE)]),
        (None, but(QUEUED, status="saving"), OURS, {}, [Delete(GONE)]),
        (
            None,
            but(protected=True),
            OURS,
            {},
            [UNPROTECT, Delete(GONE)],
        ),
        (None, HOME, THEIRS, {}, []),
        (None, HOME, THEIRS, {"force": True}, []),
        # deleted, and there again: a request of ours that was long under way, or somebody else's
        (None, QUEUED, DELETED, {}, [Delete(GONE)]),
        (None, HOME, DELETED, {}, []),
        # deleted at home, and the region keeps something
        (None, HOME, FINISHED, {"delete_mode": DeleteMode.MIRROR}, [Delete(GONE)]),
        (None, HOME, FINISHED, {"delete_mode": DeleteMode.DEACTIVATE}, [Deactivate()]),
        (None, HOME, FINISHED, {"delete_mode": DeleteMode.HIDE}, [HIDDEN]),
        (None, HOME, FINISHED, {"delete_mode": DeleteMode.KEEP}, []),
        (None, but(protected=True), FINISHED, {"delete_mode": DeleteMode.HIDE}, [HIDDEN]),
        (None, but(status="deactivated"), FINISHED, {"delete_mode": DeleteMode.DEACTIVATE}, []),
        (None, but(os_hidden=True), FINISHED, {"delete_mode": DeleteMode.HIDE}, []),
        (
            None,
            HOME,
            FINISHED,
            {"delete_mode": DeleteMode.DEACTIVATE, "refused": {"status"}},
            [],
        ),
        (None, HOME, FINISHED, {"delete_mode": DeleteMode.HIDE, "refused": {"os_hidden"}}, []),
        *[
            case
            for mode in DeleteMode
            for case in [
                (None, HOME, THEIRS, {"delete_mode": mode, "force": True}, []),
                (None, None, FINISHED, {"delete_mode": mode}, []),
                # a copy that was never finished
                (None, HOME, OURS, {"delete_mode": mode}, [Delete(GONE)]),
                (None, QUEUED, FINISHED, {"delete_mode": mode}, [Delete(GONE)]),
                (None, but(QUEUED, status="saving"), OURS, {"delete_mode": mode}, [Delete(GONE)]),
                # of the home image nothing is known to be gone
                (HOME, HOME, FINISHED, {"delete_mode": mode}, []),
                (HOME, OTHER_BYTES, FINISHED, {"delete_mode": mode}, [Delete(WRONG)]),
            ]
        ],
        # metadata
        *[
            (but(**{name: value}), HOME, OURS, {}, [Patch((Op("replace", name, value),))])
            for name, value in {
                "name": None,
                "min_disk": 1,
                "min_ram": 1,
                "visibility": "public",
                "protected": True,
                "os_hidden": True,
                "owner": "q",
            }.items()
        ],
        (
            but(tags=frozenset({"c", "b"})),
            HOME,
            OURS,
            {},
            [Patch((Op("replace", "tags", ["b", "c"]),))],
        ),
        (but(tags=frozenset()), HOME, OURS, {}, [Patch((Op("replace", "tags", []),))]),
        (
            but(properties={"x": "2", "y": "3"}),
            but(properties={"x": "1", "z": "4"}),
            THEIRS,
            {},
            [
                Patch(
                    (
                        Op("replace", "x", "2", custom=True),
                        Op("add", "y", "3", custom=True),
                        Op("remove", "z", custom=True),
                    )
                )
            ],
        ),
        (
            but(properties={"x": "2", "y": "3"}),
            but(properties={"z": "4"}),
            OURS,
            {"preserve": ["[xz]"], "refused": {"y"}},
            [],
        ),
        (but(name="m", owner="q"), HOME, OURS, {"refused": {"name", "owner"}}, []),
        # what was the region's own before the image was replaced
        (
            HOME,
            HOME,
            dataclasses.replace(OURS, kept={"z": "4", "no longer own": "5"}),
            {"preserve": ["z"]},
            [Patch((Op("add", "z", "4", custom=True),))],
        ),
        (
            HOME,
            but(properties={"x": "1", "z": "changed since"}),
            dataclasses.replace(OURS, kept={"z": "4"}),
            {"preserve": ["z"]},
            [],
        ),
        # members
        (
            but(members={"q": "accepted", "r": "pending"}),
            but(members={"q": "pending", "s": "accepted"}),
            OURS,
            {},
            [Members({"q": "accepted", "r": "pending"}, ("s",))],
        ),
        (
            but(members={"q": "accepted"}),
            but(members={"s": "accepted"}),
            OURS,
            {"refused": {"member q", "member s"}},
            [],
        ),
        (but(visibility="public"), but(visibility="public", members={"s": "x"}), OURS, {}, []),
        (
            but(members={"q": "accepted"}),
            but(visibility="public"),
            OURS,
            {"refused": {"visibility"}},
            [],
        ),
        # activation
        (but(status="deactivated"), HOME, OURS, {}, [Deactivate()]),
        (HOME, but(status="deactivated"), OURS, {}, [Reactivate()]),
        (HOME, but(status="deactivated"), OURS, {"refused": {"status"}}, []),
    ],
)
def test_the_plan(
    desired: Image | None,
    observed: Image | None,
    replica: Replica,
    options: dict[str, Any],
    actions: list[Action],
) -> None:
    assert plan(desired, observed, replica, **options) == actions


def test_references_are_rewritten_by_the_map_of_the_region() -> None:
    home = but(properties={"kernel_id": "k", "ramdisk_id": "r", "x": "k"})
    assert desired_replica(home, "new", {"k": "K"}) == but(
        id="new", properties={"kernel_id": "K", "ramdisk_id": "r", "x": "k"}
    )


# -- what holds in every case ---------------------------------------------------------------------


class ForbiddenError(Exception):
    """The planner asked for something no Glance does, or that is not ours to do."""


@dataclasses.dataclass
class RegionModel:
    """A Glance's rules about one image, as far as the plan depends on them.

    ``refuses``: attributes, properties, members and "status" that its policy protects.
    """

    home: Image | None  # whose bytes a transfer brings
    image: Image | None
    replica: Replica
    refuses: frozenset[str]
    refused: set[str] = dataclasses.field(default_factory=set)
    deletions: list[str] = dataclasses.field(default_factory=list)
    touched: set[str] = dataclasses.field(default_factory=set)
    preserve: Sequence[str] = ()

    def act(self, action: Action) -> None:
        match action:
            case Create(image):
                if self.image is not None:
                    raise ForbiddenError("the id is in use")
                # A region that protects one property gets the image without any, see
                # Replication._create_record.
                plain = (
                    image
                    if not self.refuses & image.properties.keys()
                    else but(image, properties={})
                )
                self.touched |= plain.properties.keys()
                self.image = but(
                    plain,
                    status="queued",
                    visibility="private",
                    protected=False,
                    os_hidden=False,
                    owner="the service's project",
                    members={},
                    size=None,
                    checksum=None,
                    os_hash_algo=None,
                    os_hash_value=None,
                )
                self.replica = dataclasses.replace(self.replica, replica_id=image.id, made=True)
            case Transfer():
                image = self._there()
                assert self.home is not None
                if image.status != "queued":
                    raise ForbiddenError(f"data for an image that is {image.status}")
                names = ("size", "checksum", "os_hash_algo", "os_hash_value")
                self.image = but(
                    image, status="active", **{name: getattr(self.home, name) for name in names}
                )
            case Patch(ops):
                for op in ops:
                    self._patch(op)
            case Members(put, remove):
                if self._there().visibility != "shared":
                    raise ForbiddenError("members of an image that is not shared")
                members = dict(self._there().members)
                for project in (*put, *remove):
                    if self._refuses(f"member {project}"):
                        continue
                    members.pop(project, None)
                    if project in put:
                        members[project] = put[project]
                self.image = but(self._there(), members=members)
            case Deactivate():
                self._switch("active", "deactivated")
            case Reactivate():
                self._switch("deactivated", "active")
            case Delete(cause):
                if self._there().protected:
                    raise ForbiddenError("deleting a protected image")
                self.deletions.append(cause)
                kept = {**self.replica.kept, **regions_own(self._there(), self.preserve)}
                self.replica = dataclasses.replace(
                    self.replica, replica_id=None, made=False, kept=kept
                )
                self.image = None
            case _:
                raise AssertionError(action)

    def _there(self) -> Image:
        if self.image is None:
            raise ForbiddenError("there is no image")
        return self.image

    def _refuses(self, what: str) -> bool:
        if what in self.refused:
            raise ForbiddenError(f"{what} was refused, and is asked for again")
        if what in self.refuses:
            self.refused.add(what)
        return what in self.refuses

    def _switch(self, old: str, new: str) -> None:
        if self._there().status != old:
            raise ForbiddenError(f"{new} from {self._there().status}")
        if not self._refuses("status"):
            self.image = but(self._there(), status=new)

    def _patch(self, op: Op) -> None:
        image = self._there()
        if op.name in FORMATS and image.status != "queued":
            raise ForbiddenError("formats of an image with data")
        if not op.custom:
            assert op.op == "replace"
            if not self._refuses(op.name):
                value = frozenset(op.value) if op.name == "tags" else op.value
                self.image = but(image, **{op.name: value})
            return
        self.touched.add(op.name)
        if (op.op == "add") == (op.name in image.properties):
            raise ForbiddenError(f"{op.op} {op.name}")
        if self._refuses(op.name):
            return
        properties = dict(image.properties)
        if op.op == "remove":
            del properties[op.name]
        else:
            properties[op.name] = op.value
        self.image = but(image, properties=properties)


NAMES = st.sampled_from(["hw_a", "hw_b", "os_c", "local_d", "kernel_id"])
BYTES = st.sampled_from(
    [
        {"size": 3, "checksum": "m", "os_hash_algo": "sha512", "os_hash_value": "h"},
        {"size": 3, "checksum": None, "os_hash_algo": "sha512", "os_hash_value": "i"},
        {"size": 0, "checksum": "z", "os_hash_algo": "sha512", "os_hash_value": "0"},
        {"size": 3, "checksum": None, "os_hash_algo": None, "os_hash_value": None},
    ]
)
NO_BYTES = {"size": None, "checksum": None, "os_hash_algo": None, "os_hash_value": None}


@st.composite
def images(draw: st.DrawFn, statuses: Sequence[str]) -> Image:
    status = draw(st.sampled_from(statuses))
    visibility = draw(st.sampled_from(["shared", "private", "public", "community"]))
    member = st.sampled_from(["accepted", "pending", "rejected"])
    members = draw(st.dictionaries(st.sampled_from("qrs"), member, max_size=3))
    return Image(
        ID,
        status,
        name=draw(st.sampled_from([None, "", "n", "☃" * 255])),
        container_format=draw(st.sampled_from(["bare", "ami"])),
        disk_format=draw(st.sampled_from(["raw", "qcow2"])),
        min_disk=draw(st.integers(0, 2)),
        min_ram=draw(st.integers(0, 2)),
        visibility=visibility,
        protected=draw(st.booleans()),
        os_hidden=draw(st.booleans()),
        owner=draw(st.sampled_from([None, "p"])),
        tags=frozenset(draw(st.sets(st.sampled_from("abc")))),
        properties=draw(st.dictionaries(NAMES, st.sampled_from("12"), max_size=4)),
        members=members if visibility == "shared" else {},
        **(draw(BYTES) if status in ("active", "deactivated") else NO_BYTES),
    )


HOMES = st.none() | images(["active", "deactivated", "queued", "saving"])
OBSERVED = st.none() | images(["active", "deactivated", "queued", "killed", "importing"])
PRESERVE = st.lists(st.sampled_from(["local_*", "hw_a", "*_c"]), max_size=2)
REFUSES = st.frozensets(
    st.sampled_from(
        [
            *("hw_a", "hw_b", "os_c", "name", "owner", "tags", "visibility", "os_hidden"),
            *("status", "member q", "member r"),
        ]
    ),
    max_size=3,
)


def run(
    model: RegionModel,
    preserve: Sequence[str],
    force: bool,
    mode: DeleteMode = DeleteMode.MIRROR,
) -> tuple[Sequence[Action], int]:
    """As the executor does it; the last plan, and the rounds it took."""
    model.preserve = preserve
    for rounds in range(MAX_ROUNDS):
        actions = plan(
            model.home,
            model.image,
            model.replica,
            preserve=preserve,
            refused=model.refused,
            force=force,
            delete_mode=mode,
        )
        note(f"{model.image}\n  -> {actions}")
        if not actions or isinstance(actions[0], Wait | Clash):
            return actions, rounds
        for action in actions:
            model.act(action)
    raise AssertionError(f"no end after {MAX_ROUNDS} rounds")


def preserved(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


@settings(max_examples=300, deadline=None)
@given(HOMES, OBSERVED, st.booleans(), PRESERVE, REFUSES, st.booleans())
def test_any_replica_converges_and_nothing_else_is_touched(
    home: Image | None,
    observed: Image | None,
    made: bool,
    preserve: list[str],
    refuses: frozenset[str],
    force: bool,
) -> None:
    replica = Replica(ID, "A", replica_id=ID if made else None, made=made)
    model = RegionModel(home, observed, replica, refuses)
    last, _ = run(model, preserve, force)
    end = model.image

    if not model.deletions:
        assert not any(preserved(name, preserve) for name in model.touched)
    if observed is not None and not made and not force:
        assert end is not None, "what we did not make is never deleted"
        assert model.deletions == []
    replaced = model.deletions and end is not None and end.has_data
    if observed is not None and (replaced or not model.deletions):
        before, after = observed.properties, end.properties if end else {}
        for name in before.keys() | after.keys():
            if preserved(name, preserve) and not (replaced and name in refuses):
                assert before.get(name) == after.get(name), "a region's own property"

    if last:  # waits, or clashes
        assert end == observed
        assert model.deletions == []
        if isinstance(last[0], Wait):
            assert observed is not None
            assert observed.in_flight
        else:
            assert not made
        return
    if home is None:
        assert end == (None if made else observed)
        return
    if not home.has_data:
        stale = end is not None and end.status == "active" and model.replica.made
        assert not stale or "status" in refuses
        assert model.deletions == []
        return
    assert end is not None
    assert end.same_bytes(home)
    for name in (*ATTRIBUTES, *FORMATS, "tags"):
        if name not in refuses:
            assert getattr(end, name) == getattr(home, name), name
    for name in home.properties.keys() | end.properties.keys():
        if name not in refuses and not preserved(name, preserve):
            assert home.properties.get(name) == end.properties.get(name), name
    if home.visibility == "shared" == end.visibility and "visibility" not in refuses:
        for project in home.members.keys() | end.members.keys():
            if f"member {project}" not in refuses:
                assert home.members.get(project) == end.members.get(project)
    if "status" not in refuses:
        assert end.status == home.status


@settings(max_examples=300, deadline=None)
@given(OBSERVED, st.booleans(), st.booleans(), st.sampled_from(DeleteMode), REFUSES, st.booleans())
def test_what_is_left_when_the_home_image_is_gone(
    observed: Image | None,
    made: bool,
    finished: bool,
    mode: DeleteMode,
    refuses: frozenset[str],
    force: bool,
) -> None:
    replica = Replica(ID, "A", replica_id=ID, made=made, synced_at=1.0 if finished else None)
    model = RegionModel(None, observed, replica, refuses)
    last, _ = run(model, [], force, mode)
    end = model.image
    assert last == []
    if not made or observed is None:
        assert end == observed, "what we did not make is not touched, whatever the mode"
    elif mode is DeleteMode.MIRROR or not (finished and observed.has_data):
        assert end is None
    else:
        assert end is not None
        assert model.deletions == []
        changed = {
            field.name
            for field in dataclasses.fields(end)
            if getattr(end, field.name) != getattr(observed, field.name)
        }
        assert (
            changed
            <= {
                DeleteMode.DEACTIVATE: {"status"},
                DeleteMode.HIDE: {"os_hidden"},
                DeleteMode.KEEP: set[str](),
            }[mode]
        )
        assert mode is not DeleteMode.DEACTIVATE or end.status != "active" or "status" in refuses
        assert mode is not DeleteMode.HIDE or end.os_hidden or "os_hidden" in refuses


@settings(deadline=None)
@given(images(["active", "deactivated"]), st.booleans(), PRESERVE)
def test_nothing_is_done_to_what_is_in_sync(home: Image, made: bool, preserve: list[str]) -> None:
    replica = Replica(ID, "A", replica_id=ID, made=made)
    assert plan(home, home, replica, preserve=preserve) == []
