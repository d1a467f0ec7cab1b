# SPDX-License-Identifier: Apache-2.0
"""Values as JSON. Times are ISO 8601 in UTC, sizes bytes; a field without a value is null."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from glancesync.choice import Route
from glancesync.model import (
    Actor,
    Audit,
    Event,
    Finding,
    ImageRecord,
    Need,
    Pin,
    Region,
    Replica,
    ReplicaView,
    Task,
)
from glancesync.orders import Binding, ItemView, Job, Plan, Step, Tally
from glancesync.placement.rules import DEFAULT, PRIORITIES, Book, Effect
from glancesync.placement.selection import Judged
from glancesync.rulebook import file as rulebook
from glancesync.ruling import Amount, Preview, Ruled
from glancesync.states import (
    MISSED,
    UNENDED,
    BreakerState,
    JobState,
    ReplicaState,
    StepState,
)


def moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def replica(view: ReplicaView) -> dict[str, Any]:
    own = view.replica
    return {
        "image_id": own.image_id,
        "region": own.region,
        "state": own.state.value,
        "replica_id": own.replica_id,
        "made_by_us": own.made,
        "name": view.name,
        "project_id": view.owner,
        "desired_generation": view.desired_generation,
        "observed_generation": own.observed_generation,
        "transport": own.transport,
        "source": own.source,
        "bytes_done": own.bytes_done,
        "bytes_total": own.bytes_total,
        "refused": dict(own.refused),
        "last_error": own.last_error,
        "task_id": view.task_id,
        "attempt": view.attempt,
        "next_try_at": moment(view.next_try_at),
        "synced_at": moment(own.synced_at),
        "verified_at": moment(own.verified_at),
        "expires_at": moment(own.expires_at),
        "used_at": moment(view.used_at),
        "updated_at": moment(own.updated_at),
    }


def need(one: Need, image_id: str, region: Region, *, ready: bool) -> dict[str, Any]:
    """How far an image is on its way to a region where somebody needs it."""
    view, task = one.replica, one.task
    own = Replica(image_id, region.name) if view is None else view.replica
    since = own.copying_since if own.state is ReplicaState.COPYING else None
    broken = None if region.breaker is BreakerState.CLOSED else region.last_error
    return {
        "image_id": image_id,
        "region": region.name,
        "ready": ready,
        "state": own.state.value,
        "replica_id": own.replica_id,
        "transport": own.transport,
        "source": own.source,
        "bytes_done": own.bytes_done,
        "bytes_total": own.bytes_total,
        "bytes_per_second": round(own.bytes_done / (one.now - since)) if since else None,
        "task_id": None if task is None else task.id,
        "attempt": 0 if task is None else task.attempt,
        "next_try_at": None if task is None else moment(task.due_at),
        "last_error": None if ready else own.last_error or broken,
        "synced_at": moment(own.synced_at),
        "used_at": None if view is None else moment(view.used_at),
    }


def route(one: Route) -> dict[str, Any]:
    return {
        "transport": one.transport.name,
        "fits": one.unfit is None,
        "why_not": one.unfit,
        "source": None if one.source is None else str(one.source),
        "target": None if one.target is None else str(one.target),
    }


def image(
    record: ImageRecord, replicas: Sequence[ReplicaView], pins: Sequence[Pin]
) -> dict[str, Any]:
    """An image with those of ``replicas`` and ``pins`` that are its own."""
    return {
        "id": record.image_id,
        "name": record.name,
        "project_id": record.owner,
        "status": record.status,
        "present": record.present,
        "size": record.size,
        "generation": record.generation,
        "changed_at": moment(record.changed_at),
        "observed_at": moment(record.observed_at),
        "last_error": record.last_error,
        "origin": record.origin,
        "origin_id": record.origin_id,
        "replicas": [
            replica(view) for view in replicas if view.replica.image_id == record.image_id
        ],
        "pins": [pin(one) for one in pins if one.image_id == record.image_id],
    }


def pin(one: Pin) -> dict[str, Any]:
    return {
        "region": one.region,
        "cause": one.cause,
        "pinned_at": moment(one.pinned_at),
        "used_at": moment(one.used_at),
    }


def task(one: Task) -> dict[str, Any]:
    return {
        "id": one.id,
        "key": one.key,
        "kind": one.kind.value,
        "image_id": one.image_id,
        "region": one.region or None,
        "state": one.state.value,
        "priority": one.priority,
        "asked": one.asked,
        "attempt": one.attempt,
        "force": one.force,
        "verify": one.verify,
        "removed": one.removed,
        "decision": None if one.decision is None else str(one.decision),
        "due_at": moment(one.due_at),
        "since": moment(one.since),
        "lease_owner": one.lease_owner,
        "lease_until": moment(one.lease_until),
        "actor": one.actor.as_dict(),
        "reason": one.reason,
        "created_at": moment(one.created_at),
        "updated_at": moment(one.updated_at),
        "ended_at": moment(one.ended_at),
    }


def audit(one: Audit) -> dict[str, Any]:
    return {
        "region": one.region,
        "running": one.running,
        "started_at": moment(one.started_at),
        "finished_at": moment(one.finished_at),
        "took_seconds": one.took,
        "seen": one.seen,
        "drifted": one.drifted,
        "missing": one.missing,
        "held": one.held,
        "watched_to": one.watched_to,
    }


def finding(one: Finding) -> dict[str, Any]:
    return {
        "what": one.what.value,
        "image_id": one.image_id,
        "other_id": one.other_id or None,
        "detail": one.detail,
        "found_at": moment(one.found_at),
    }


def event(one: Event, *, shows_actor: bool) -> dict[str, Any]:
    return {
        "id": one.id,
        "at": moment(one.at),
        "image_id": one.image_id or None,
        "region": one.region or None,
        "what": one.what,
        "detail": one.detail,
        "actor": one.actor.as_dict() if shows_actor and one.actor != Actor() else None,
    }


def region(one: Region) -> dict[str, Any]:
    capacity = one.capacity
    return {
        "name": one.name,
        "url": one.url,
        "home": one.home,
        "present": one.present,
        "enabled": one.enabled,
        "maintenance": one.maintenance,
        "labels": dict(one.labels),
        "limits": dict(one.limits),
        "delete_mode": one.delete_mode,
        "capacity": capacity
        and {
            "free_bytes": capacity.free_bytes,
            "total_bytes": capacity.total_bytes,
            "said_at": moment(capacity.said_at),
        },
        "breaker": one.breaker.value,
        "probed_in": max(0.0, round(one.broken_for, 3)) if one.broken_for is not None else None,
        "failures": one.failures,
        "failing_since": moment(one.failing_since),
        "found_at": moment(one.found_at),
        "seen_at": moment(one.seen_at),
        "last_error": one.last_error,
    }


def binding(one: Binding, *, shows_actor: bool) -> dict[str, Any]:
    def who(actor: Actor | None) -> dict[str, Any] | None:
        return actor.as_dict() if shows_actor and actor not in (None, Actor()) else None

    return {
        "id": one.id,
        "project_id": one.project_id,
        "group": one.group,
        "region": one.region,
        "active": one.active,
        "released": one.released,
        "cause": one.cause,
        "actor": who(one.actor),
        "began_at": moment(one.began_at),
        "ended_at": moment(one.ended_at),
        "end_cause": one.end_cause,
        "ended_by": who(one.ended_by),
    }


def judged(one: Judged) -> dict[str, Any]:
    return {
        "name": one.region,
        "passes": one.passes,
        "total": one.total,
        "filters": [
            {"name": name, "passes": verdict.passes, "why": verdict.why}
            for name, verdict in one.verdicts.items()
        ],
        "weighers": [
            {"name": name, **dataclasses.asdict(weight)} for name, weight in one.weights.items()
        ],
    }


def closed(one: Region) -> str | None:
    """Why no work for a region starts, in words; None if it does."""
    if one.open:
        return None
    if not one.present:
        return "it is not in the catalog"
    return "it is in maintenance" if one.enabled else "it is disabled"


def plan(
    one: Plan,
    counts: Mapping[str, tuple[Mapping[StepState, int], int]],
    regions: Mapping[str, Region],
) -> dict[str, Any]:
    """A plan without its steps.

    :param counts: of its steps by region and state, and the bytes they copy
    :param regions: all that are known
    """
    named = sorted({*one.regions, *counts})
    return {
        "id": one.id,
        "state": one.state.value,
        "strategy": one.strategy or None,
        "image_id": one.image_id,
        "regions": [
            {
                "name": name,
                "steps": {state.value: n for state, n in counts.get(name, ({}, 0))[0].items()},
                "bytes": counts.get(name, ({}, 0))[1],
                "waits": closed(regions[name]) if name in regions else "it is not known any more",
                "unread": one.unread.get(name),
            }
            for name in named
        ],
        "reason": one.reason,
        "actor": one.actor.as_dict(),
        "created_at": moment(one.created_at),
        "ready_at": moment(one.ready_at),
        "applied_at": moment(one.applied_at),
        "applied_by": None if one.applied_by is None else one.applied_by.as_dict(),
    }


def step(one: Step, waits: str | None) -> dict[str, Any]:
    """A step of a plan.

    :param waits: why it can't be done now
    """
    return {
        "region": one.region,
        "image_id": one.image_id,
        "name": one.name,
        "actions": list(one.actions),
        "why": one.why,
        "bytes": one.bytes,
        "adoptable": list(one.adoptable),
        "state": one.state.value,
        "result": one.result,
        "waits": waits,
        "home_fingerprint": one.home,
        "observed_fingerprint": one.observed,
        "looked_at": moment(one.looked_at),
    }


def rules(book: Book, regions: Sequence[Region]) -> dict[str, Any]:
    """Rules as they were written.

    :param regions: all that are known
    """
    return {
        "version": book.version,
        "rules": [
            {"name": one.name, "line": one.line, "match": one.said, **_effect(one.effect)}
            for one in book.rules
        ],
        "default": _effect(book.default),
        "override": book.said_override,
        "problems": [str(error) for error in rulebook.strange(book, regions, "sync_rules_file")],
    }


def _effect(one: Effect) -> dict[str, Any]:
    return {
        "regions": one.said["regions"],
        "delete_mode": one.delete_mode,
        "priority": one.said.get("priority", "normal"),
        "transports": list(one.transports),
    }


def ruled(one: Ruled) -> dict[str, Any]:
    """Where an image goes, and what each rule says of it."""
    placement, explanation = one.placement, one.explanation
    decides = None
    if explanation is not None:
        decides = DEFAULT if explanation.decides is None else explanation.decides.name
    return {
        "image_id": one.image.id,
        "strategy": one.strategy,
        "regions": sorted(placement.regions),
        "why": placement.why,
        "rule": decides,
        "complaint": placement.complaint,
        "delete_mode": placement.delete_mode,
        "priority": next(name for name, s in PRIORITIES.items() if s == placement.haste),
        "transports": list(placement.transports),
        "rules": [
            {
                "name": verdict.rule.name,
                "line": verdict.rule.line,
                "matches": verdict.answer,
                "because": list(verdict.because),
            }
            for verdict in (explanation.verdicts if explanation else ())
        ],
    }


def preview(found: Preview, book: Book, in_force: str, regions: Sequence[Region]) -> dict[str, Any]:
    """What other rules would change.

    :param in_force: the mark of what decides now
    """
    names = sorted({one.name for one in regions if not one.home} | {*found.added, *found.removed})
    return {
        "images": found.seen,
        "in_force": in_force,
        "version": book.version,
        "regions": [
            {
                "name": name,
                "added": _amount(found.added.get(name)),
                "removed": _amount(found.removed.get(name)),
            }
            for name in names
        ],
        "rules": [
            {"name": name, "decides": _amount(found.decided.get(name))}
            for name in [*(rule.name for rule in book.rules), DEFAULT]
        ],
    }


def _amount(one: Amount | None) -> dict[str, int]:
    return dataclasses.asdict(one or Amount())


def job(one: Job, tally: Tally) -> dict[str, Any]:
    """A job without its items, and without the bytes of all of them.

    :param tally: of its items
    """
    counts = {state.value: count for state, count in tally.states.items()}
    looked_up = one.cancelled_at is not None or one.position >= one.size
    state = JobState.DONE
    if not looked_up or UNENDED & tally.states.keys():
        state = JobState.ACTIVE
    elif one.cancelled_at is not None:
        state = JobState.CANCELLED
    elif MISSED & tally.states.keys():
        state = JobState.FAILED
    ended = None if state is JobState.ACTIVE else tally.ended_at or one.cancelled_at
    return {
        "id": one.id,
        "resource_type": "image",
        "state": state.value,
        "project_id": one.project_id,
        "sets": [
            {
                "source": wish.source,
                "target": list(wish.targets),
                "resources": len(wish.resources),
                "force": wish.force,
                "on_conflict": "replace" if wish.replace else "fail",
            }
            for wish in one.wishes
        ],
        "looked_up": one.position,
        "items": counts,
        "reason": one.reason,
        "actor": one.actor.as_dict(),
        "created_at": moment(one.created_at),
        "ended_at": moment(ended),
    }


def item(one: ItemView, waits: str | None) -> dict[str, Any]:
    """An item of a job.

    :param waits: why work for its region does not start
    """
    own = one.item
    return {
        "number": own.number,
        "resource": own.resource,
        "source": own.source,
        "source_id": own.source_id,
        "image_id": own.image_id,
        "name": own.name,
        "region": own.region,
        "replica_id": one.replica_id,
        "state": one.state.value,
        "bytes_done": one.bytes_done,
        "bytes_total": own.size,
        "needs": list(own.needs),
        "result": own.result,
        "reason": one.reason,
        "waits": waits if own.state in UNENDED else None,
        "ended_at": moment(own.ended_at),
    }
