# SPDX-License-Identifier: Apache-2.0
"""paste.deploy's factories, and the hand-over of wired objects to them.

paste calls factories by name with strings; what they build from is left in :data:`_wired` under a
key that travels through paste's global configuration.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import webob
from keystonemiddleware.auth_token import AuthProtocol
from oslo_config import cfg
from oslo_policy import policy
from paste.deploy import loadapp

from glancesync.api import metrics
from glancesync.api.app import Application, StartResponse, fault
from glancesync.api.call import Limits
from glancesync.api.policies import list_rules
from glancesync.conf import beside, broken, strategy_name
from glancesync.journal.journal import Journal
from glancesync.routing import Routing
from glancesync.ruling import Ruling
from glancesync.selecting import Selecting

LOG = logging.getLogger(__name__)

WSGI = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


@dataclasses.dataclass(frozen=True)
class Wired:
    """What the pipeline is built from."""

    conf: cfg.ConfigOpts
    journal: Journal
    routing: Routing
    ruling: Ruling
    selecting: Selecting


_wired: dict[str, Wired] = {}
_keys = itertools.count()


def load(
    conf: cfg.ConfigOpts,
    journal: Journal,
    routing: Routing,
    ruling: Ruling,
    selecting: Selecting,
) -> WSGI:
    """The whole pipeline of ``paste_config``.

    :raises ConfigurationError: the file is missing or does not describe a pipeline
    """
    path = paste_file(conf)
    key = str(next(_keys))
    _wired[key] = Wired(conf, journal, routing, ruling, selecting)
    try:
        app: WSGI = loadapp(f"config:{path}", global_conf={"glancesync_wired": key})
    except Exception as error:
        raise broken(conf, "DEFAULT", "paste_config", f"{path}: {error}") from error
    finally:
        del _wired[key]
    return app


def paste_file(conf: cfg.ConfigOpts) -> pathlib.Path:
    """Where the pipeline is described; relative names stand beside the configuration file."""
    path = beside(conf, conf.paste_config)
    if not path.is_file():
        raise broken(conf, "DEFAULT", "paste_config", f"{path} does not exist")
    return path


def app_factory(global_conf: dict[str, str], **local: str) -> WSGI:
    """The API itself."""
    wired = _wired[global_conf["glancesync_wired"]]
    enforcer = policy.Enforcer(wired.conf)
    enforcer.register_defaults(list_rules())
    conf = wired.conf
    limits = Limits(
        body=conf.max_request_body_size,
        events=conf.max_events_per_request,
        jobs=conf.open_jobs_per_project,
        groups=conf.bindings_per_project,
    )
    strategy = functools.partial(strategy_name, conf)
    parts = (wired.journal, wired.routing, wired.ruling, wired.selecting)
    return Application(*parts, enforcer, limits, strategy)


def authtoken_factory(global_conf: dict[str, str], **local: str) -> Callable[[WSGI], WSGI]:
    """keystonemiddleware's auth_token, reading ``[keystone_authtoken]`` of our configuration."""
    conf = _wired[global_conf["glancesync_wired"]].conf

    def make(app: WSGI) -> WSGI:
        protected = AuthProtocol(app, {"oslo_config_config": conf, **local})

        def answer(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            response = webob.Request(environ).get_response(protected)
            if response.status_code == 503 and response.content_type != "application/json":
                response = fault(503, "Keystone does not answer, so no token can be checked.")
            answered: Iterable[bytes] = response(environ, start)
            return answered

        return answer

    return make


def metrics_factory(global_conf: dict[str, str], **local: str) -> Callable[[WSGI], WSGI]:
    """Answers ``GET /metrics``, for Prometheus."""
    shown = metrics.app(_wired[global_conf["glancesync_wired"]].journal)

    def make(app: WSGI) -> WSGI:
        def answer(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            if environ.get("PATH_INFO") != "/metrics":
                return app(environ, start)
            said: Iterable[bytes]
            try:
                said = shown(environ, start)
            except Exception as error:
                LOG.warning("could not answer /metrics: %s", error)
                said = fault(503, "The journal's database does not answer.")(environ, start)
            return said

        return answer

    return make


def healthcheck_factory(global_conf: dict[str, str], **local: str) -> Callable[[WSGI], WSGI]:
    """Answers ``GET /healthcheck``: is the journal there?"""
    journal = _wired[global_conf["glancesync_wired"]].journal

    def make(app: WSGI) -> WSGI:
        def answer(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            if environ.get("PATH_INFO") != "/healthcheck":
                return app(environ, start)
            try:
                journal.database.now()
            except Exception:
                response = fault(503, "The journal's database does not answer.")
                said: Iterable[bytes] = response(environ, start)
                return said
            start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
            return [b"OK\n"]

        return answer

    return make
