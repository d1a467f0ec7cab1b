# SPDX-License-Identifier: Apache-2.0
"""Tasks: what is queued, running or failed, and what has ended."""

from __future__ import annotations

from glancesync.api import views
from glancesync.api.call import Answer, Call, natural
from glancesync.api.schemas import NO_QUERY
from glancesync.api.schemas import tasks as schemas
from glancesync.errors import BadRequest
from glancesync.model import Task
from glancesync.states import ENDING, OPEN


def index(call: Call) -> Answer:
    """``GET /v1/tasks``: the open ones, unless a state is asked for.

    Those that never end are no work that waits; they are shown if their kind is asked for.
    """
    call.allow("glancesync:tasks:list")
    query = call.query(schemas.INDEX)
    limit = call.limit()
    found = call.journal.list_tasks(
        states=[query["state"]] if "state" in query else OPEN,
        kinds=[query["kind"]] if "kind" in query else ENDING,
        region=query.get("region"),
        image_id=query.get("image_id"),
        newest=query.get("sort_dir") == "desc",
        limit=limit,
        marker=call.number_marker("a task"),
    )
    rows = [views.task(task) for task in found]
    return 200, call.page("tasks", rows, str(rows[-1]["id"]) if rows else None, limit)


def show(call: Call) -> Answer:
    """``GET /v1/tasks/{id}``"""
    call.allow("glancesync:tasks:show")
    call.query(NO_QUERY)
    return 200, {"task": views.task(_task(call))}


def retry(call: Call) -> Answer:
    """``POST /v1/tasks/{id}/retry``: due now, with all its attempts before it."""
    call.allow("glancesync:tasks:retry")
    task = _task(call)
    if not call.journal.retry_task(task.id, call.actor):
        raise BadRequest(f"task {task.id} has ended ({task.state}); there is nothing to retry", 409)
    return 202, {"task": views.task(_task(call))}


def cancel(call: Call) -> Answer:
    """``POST /v1/tasks/{id}/cancel``: end it; what it has done so far stays."""
    call.allow("glancesync:tasks:cancel")
    task = _task(call)
    if not call.journal.cancel_task(task.id, call.actor):
        raise BadRequest(f"task {task.id} has ended already ({task.state})", 409)
    return 202, {"task": views.task(_task(call))}


def _task(call: Call) -> Task:
    number = natural(call.params["id"])
    task = None if number is None else call.journal.task(number)
    if task is None:
        raise BadRequest(f"there is no task {call.params['id']}", 404)
    return task
