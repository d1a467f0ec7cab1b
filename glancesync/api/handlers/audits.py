# SPDX-License-Identifier: Apache-2.0
"""Audits: how far the reconciler is with each region, what it keeps back, and a human's word."""

from __future__ import annotations

from glancesync.api import views
from glancesync.api.call import Answer, Call
from glancesync.api.schemas import NO_QUERY
from glancesync.api.schemas import audits as schemas
from glancesync.errors import BadRequest
from glancesync.model import Audit


def index(call: Call) -> Answer:
    """``GET /v1/audits``: one of each region, by name."""
    call.allow("glancesync:audits:list")
    call.query(NO_QUERY)
    return 200, {"audits": [views.audit(one) for one in call.journal.audits()]}


def show(call: Call) -> Answer:
    """``GET /v1/audits/{region}``: with its findings."""
    call.allow("glancesync:audits:show")
    call.query(NO_QUERY)
    audit = _audit(call)
    findings = [views.finding(one) for one in call.journal.findings(audit.region)]
    return 200, {"audit": {**views.audit(audit), "findings": findings}}


def run(call: Call) -> Answer:
    """``POST /v1/audits/{region}/run``: look at everything the region has, now."""
    call.allow("glancesync:audits:run")
    audit = _audit(call)
    call.journal.run_audit(audit.region, call.actor)
    return 202, {"audit": views.audit(audit)}


def release(call: Call) -> Answer:
    """``POST /v1/audits/{region}/release``: let the deletions through that are held.

    Those of the last pass and no others; with ``finished_at``, only if that still is the last.
    """
    call.allow("glancesync:audits:release")
    body = call.body(schemas.RELEASE, optional=True)
    audit = _audit(call)
    seen = body.get("finished_at", views.moment(audit.finished_at))
    if seen != views.moment(audit.finished_at) or audit.running:
        raise BadRequest(f"the audit of {audit.region} has gone on since; look again", 409)
    count = call.journal.release_audit(audit, call.actor)
    if not count:
        raise BadRequest(f"the audit of {audit.region} holds nothing back", 409)
    return 202, {"audit": views.audit(_audit(call)), "released": count}


def _audit(call: Call) -> Audit:
    region = call.params["name"]
    if call.journal.region(region) is None:
        raise BadRequest(f"there is no region {region!r}", 404)
    return call.journal.audit(region)
