# SPDX-License-Identifier: Apache-2.0
"""The WSGI application: from a route to its handler, and from what was raised to an answer."""

from __future__ import annotations

import http
import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

import routes
import webob
from oslo_policy import policy

from glancesync.api.call import Answer, Call, Limits
from glancesync.api.routes import ROUTES
from glancesync.errors import BadRequest, JournalUnavailable, RegionError
from glancesync.journal.journal import Journal
from glancesync.routing import Routing
from glancesync.ruling import Ruling
from glancesync.selecting import Selecting

LOG = logging.getLogger(__name__)

StartResponse = Callable[..., Any]


class Application:
    """Serves ``/v1``; expects keystonemiddleware and the request id in front of it.

    :param strategy: the name of the one in force at the moment
    """

    def __init__(
        self,
        journal: Journal,
        routing: Routing,
        ruling: Ruling,
        selecting: Selecting,
        enforcer: policy.Enforcer,
        limits: Limits,
        strategy: Callable[[], str],
    ) -> None:
        self._journal = journal
        self._routing = routing
        self._ruling = ruling
        self._selecting = selecting
        self._enforcer = enforcer
        self._limits = limits
        self._strategy = strategy
        self._mapper = routes.Mapper()
        for path in ROUTES:
            self._mapper.connect(None, path, template=path)

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        request = webob.Request(environ)
        try:
            status, body = self._answer(request)
            response = _json(status, body)
        except BadRequest as error:
            response = fault(error.code, str(error))
            if error.code == 405:
                response.headers["Allow"] = ", ".join(self._methods(request))
        except RegionError as error:
            response = fault(502, str(error))
        except JournalUnavailable as error:
            LOG.warning(
                "%s %s: the journal does not answer: %s", request.method, request.path, error
            )
            response = fault(503, "The journal's database does not answer; try again later.")
        except Exception:
            LOG.exception("%s %s failed", request.method, request.path)
            response = fault(500, "The server has the details in its log.")
        request_id = environ.get("openstack.request_id")
        if request_id:
            response.headers["X-Openstack-Request-Id"] = request_id
        answered: Iterable[bytes] = response(environ, start)
        return answered

    def _methods(self, request: webob.Request) -> list[str]:
        return sorted(ROUTES[self._mapper.match(request.path_info)["template"]])

    def _answer(self, request: webob.Request) -> Answer:
        try:
            path, _ = request.path_info, request.GET
        except UnicodeDecodeError:
            raise BadRequest("path and query must be UTF-8, percent-encoded") from None
        match = self._mapper.match(path)
        if match is None:
            raise BadRequest(f"there is nothing at {path}", 404)
        handler = ROUTES[match["template"]].get(request.method)
        if handler is None:
            raise BadRequest(f"{request.method} is not allowed on {path}", 405)
        call = Call(
            request,
            self._journal,
            self._routing,
            self._ruling,
            self._selecting,
            self._enforcer,
            self._limits,
            match,
            self._strategy(),
        )
        answer: Answer = handler(call)
        return answer


def _json(status: int, body: dict[str, Any]) -> webob.Response:
    return webob.Response(
        status=status,
        content_type="application/json",
        charset="UTF-8",
        body=json.dumps(body).encode(),
    )


def fault(code: int, message: str) -> webob.Response:
    """An error, in the shape all OpenStack services use."""
    title = http.HTTPStatus(code).phrase
    return _json(code, {"error": {"code": code, "title": title, "message": message}})
