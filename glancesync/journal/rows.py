# SPDX-License-Identifier: Apache-2.0
"""The border between rows and values: one function each way per table."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import sqlalchemy as sa

from glancesync.journal import schema
from glancesync.model import (
    Actor,
    Audit,
    Capacity,
    Decision,
    Event,
    Finding,
    ImageRecord,
    Pin,
    Region,
    Replica,
    Task,
)
from glancesync.orders import Binding, Item, Job, Plan, Step, Wish
from glancesync.states import (
    DeleteMode,
    FindingKind,
    ItemState,
    PlanState,
    ReplicaState,
    StepState,
    TaskKind,
    TaskState,
)

Row = sa.Row[Any]


def actor_text(actor: Actor) -> str:
    return json.dumps(actor.as_dict())


def actor(text: str | None) -> Actor:
    return Actor.from_dict(json.loads(text or "{}"))


def task(row: Row) -> Task:
    data = dict(row._mapping)
    data["key"] = data.pop("task_key")
    del data["open_key"], data["rank"]
    data["kind"] = TaskKind(data["kind"])
    data["state"] = TaskState(data["state"])
    data["actor"] = actor(data["actor"])
    data["decision"] = Decision.parse(data["decision"]) if data["decision"] else None
    return Task(**data)


def image(row: Row) -> ImageRecord:
    return image_of(dict(row._mapping))


def image_of(columns: dict[str, Any]) -> ImageRecord:
    data = dict(columns)
    data["actor"] = actor(data["actor"])
    return ImageRecord(**data)


def image_values(value: ImageRecord) -> dict[str, Any]:
    data = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    data["actor"] = actor_text(value.actor)
    return data


def pin(row: Row) -> Pin:
    data = dict(row._mapping)
    data["actor"] = actor(data["actor"])
    return Pin(**data)


def replica(row: Row) -> Replica:
    return replica_of(dict(row._mapping))


def replica_of(columns: dict[str, Any]) -> Replica:
    data = dict(columns)
    data["state"] = ReplicaState(data["state"])
    data["refused"] = json.loads(data["refused"])
    data["kept"] = json.loads(data["kept"])
    if data["delete_mode"] is not None:
        data["delete_mode"] = DeleteMode(data["delete_mode"])
    return Replica(**data)


def replica_values(value: Replica) -> dict[str, Any]:
    data = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    data["state"] = value.state.value
    data["refused"] = json.dumps(dict(value.refused))
    data["kept"] = json.dumps(dict(value.kept))
    data["delete_mode"] = value.delete_mode and value.delete_mode.value
    return data


def region(row: Row) -> Region:
    data = dict(row._mapping)
    data["labels"] = json.loads(data["labels"])
    data["limits"] = json.loads(data["limits"])
    if data["delete_mode"] is not None:
        data["delete_mode"] = DeleteMode(data["delete_mode"])
    said_at = data.pop("capacity_at")
    if data["capacity"] is not None:
        data["capacity"] = Capacity(**json.loads(data["capacity"]), said_at=said_at)
    del data["broken_until"]
    return Region(**data)


def binding(row: Row) -> Binding:
    data = dict(row._mapping)
    del data["active"]
    data["group"] = data.pop("group_name")
    data["actor"] = actor(data["actor"])
    data["ended_by"] = None if data["ended_by"] is None else actor(data["ended_by"])
    return Binding(**data)


def audit(row: Row) -> Audit:
    return Audit(**row._mapping)


def finding(row: Row) -> Finding:
    data = dict(row._mapping)
    data["what"] = FindingKind(data["what"])
    return Finding(**data)


def plan(row: Row) -> Plan:
    data = dict(row._mapping)
    data["state"] = PlanState(data["state"])
    data["regions"] = tuple(json.loads(data["regions"]))
    data["unread"] = json.loads(data["unread"])
    data["actor"] = actor(data["actor"])
    by = data["applied_by"]
    data["applied_by"] = None if by is None else actor(by)
    return Plan(**data)


def step(row: Row) -> Step:
    data = {column.name: row._mapping[column.name] for column in schema.step.c}
    for name in ("actions", "adoptable"):
        data[name] = tuple(json.loads(data[name]))
    data["state"] = StepState(data["state"])
    return Step(**data)


def job(row: Row) -> Job:
    data = dict(row._mapping)
    data["wishes"] = tuple(wish(one) for one in json.loads(data["wishes"]))
    data["actor"] = actor(data["actor"])
    del data["total"]
    return Job(**data)


def wish(data: dict[str, Any]) -> Wish:
    lists = {name: tuple(data[name]) for name in ("targets", "resources")}
    return Wish(**{**data, **lists})


def item(row: Row) -> Item:
    data = {column.name: row._mapping[column] for column in schema.item.c}
    data["state"] = ItemState(data["state"])
    data["needs"] = tuple(json.loads(data["needs"]))
    return Item(**data)


def item_values(value: Item) -> dict[str, Any]:
    return {**vars(value), "state": value.state.value, "needs": json.dumps(value.needs)}


def event(row: Row) -> Event:
    data = dict(row._mapping)
    data["actor"] = actor(data["actor"])
    return Event(**data)
