# SPDX-License-Identifier: Apache-2.0
"""A request on its way to a handler, and what handlers share: bodies, queries, pages."""

from __future__ import annotations

import dataclasses
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema
import webob
from oslo_context import context as oslo_context
from oslo_policy import policy

from glancesync.errors import BadRequest
from glancesync.journal.journal import Journal
from glancesync.model import Actor
from glancesync.routing import Routing
from glancesync.ruling import Ruling
from glancesync.selecting import Selecting

Answer = tuple[int, dict[str, Any]]

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may bring.

    ``jobs``: how many a project may have active at a time; ``groups``: for how many it may have
    regions chosen; 0: any number.
    """

    body: int = 1024 * 1024  # bytes
    events: int = 1000
    jobs: int = 0
    groups: int = 0


@dataclasses.dataclass(frozen=True)
class Call:
    """One request.

    :param params: what the route's path names, such as ``id``
    :param strategy: the name of the one in force
    """

    request: webob.Request
    journal: Journal
    routing: Routing
    ruling: Ruling
    selecting: Selecting
    enforcer: policy.Enforcer
    limits: Limits
    params: Mapping[str, str]
    strategy: str

    @property
    def context(self) -> oslo_context.RequestContext:
        return oslo_context.RequestContext.from_environ(self.request.environ, overwrite=False)

    @property
    def actor(self) -> Actor:
        """Who sent it, by the token keystonemiddleware has checked."""
        context = self.context
        return Actor(context.user_id, context.project_id, tuple(context.roles), context.request_id)

    def allow(self, rule: str, project_id: str | None = None) -> None:
        """Go on only if policy ``rule`` allows.

        :raises BadRequest: 403, naming the rule
        """
        if not self.allows(rule, project_id):
            raise BadRequest(f"policy does not allow {rule} with this token", 403)

    def allows(self, rule: str, project_id: str | None = None) -> bool:
        """Whether policy ``rule`` allows it, for something that belongs to ``project_id``.

        What belongs to none is not that of a token without project: oslo.policy takes None for
        equal to None.
        """
        target = {} if project_id is None else {"project_id": project_id}
        return bool(self.enforcer.authorize(rule, target, self.context.to_policy_values()))

    def body(self, schema: Mapping[str, Any], *, optional: bool = False) -> Any:
        """The JSON body, checked against ``schema``.

        :raises BadRequest: 400 or 413, naming field and rule
        """
        raw = self.request.body_file.read(self.limits.body + 1)
        if len(raw) > self.limits.body:
            raise BadRequest(f"the body is larger than {self.limits.body} bytes", 413)
        if not raw and optional:
            return {}
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the body is not JSON: {error}") from None
        check(data, schema, "body")
        return data

    def query(self, schema: Mapping[str, Any]) -> dict[str, str]:
        """The query string, checked against ``schema``; ``limit`` and ``marker`` may be there.

        :raises BadRequest: naming the parameter and the rule
        """
        items = dict(self.request.GET.items())
        allowed = {*schema["properties"], "limit", "marker"}
        unknown = sorted(items.keys() - allowed)
        if unknown:
            raise BadRequest(
                f"query: unknown parameter {unknown[0]!r}; allowed: {', '.join(sorted(allowed))}"
            )
        check(items, schema, "query")
        return items

    def limit(self) -> int:
        """How many rows the caller wants on a page."""
        text = self.request.GET.get("limit", str(DEFAULT_LIMIT))
        limit = natural(text)
        if limit is None or not 1 <= limit <= MAX_LIMIT:
            raise BadRequest(f"query: limit must be a number from 1 to {MAX_LIMIT}, not {text!r}")
        return limit

    def marker(self) -> str | None:
        """The key of the last row of the page before."""
        text: str | None = self.request.GET.get("marker")
        return text

    def number_marker(self, what: str) -> int | None:
        """The marker of a list of things that have numbers."""
        text = self.marker()
        marker = None if text is None else natural(text)
        if text is not None and marker is None:
            raise BadRequest(f"query: marker: must be the id of {what}")
        return marker

    def page(self, name: str, rows: Sequence[Any], last: str | None, limit: int) -> dict[str, Any]:
        """A page; it has ``next`` if there may be another."""
        page: dict[str, Any] = {name: list(rows)}
        if last is not None and len(rows) == limit:
            query = {**self.request.GET, "limit": str(limit), "marker": last}
            page["next"] = f"{self.request.path}?{urllib.parse.urlencode(query)}"
        return page


def natural(text: str) -> int | None:
    """The number that ``text`` is, if it is one that a database can hold."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def check(data: Any, schema: Mapping[str, Any], where: str) -> None:
    """Go on only if ``data`` is as ``schema`` has it.

    :raises BadRequest: 400, naming field and rule
    """
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    validator = jsonschema.Draft202012Validator(schema, format_checker=checker)
    error = jsonschema.exceptions.best_match(validator.iter_errors(data))
    if error is not None:
        path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
        message = error.message if len(error.message) < 300 else f"{error.message[:300]}…"
        raise BadRequest(f"{where}{path}: {message}")
