# SPDX-License-Identifier: Apache-2.0
"""Options of the API service."""

from __future__ import annotations

from oslo_config import cfg

OPTIONS = [
    cfg.HostAddressOpt("bind_host", default="127.0.0.1", help="Address the API listens on."),
    cfg.PortOpt("bind_port", default=9595, help="Port the API listens on."),
    cfg.IntOpt("backlog", default=1024, min=1, help="Length of the listen queue."),
    cfg.IntOpt(
        "api_concurrency",
        default=200,
        min=1,
        help="Requests served at a time; further ones wait in the listen queue.",
    ),
    cfg.StrOpt(
        "paste_config",
        default="glance-sync-paste.ini",
        help="File with the paste pipeline; a relative name is looked for beside the "
        "configuration file.",
    ),
    cfg.IntOpt(
        "max_events_per_request",
        default=1000,
        min=1,
        help="Events taken in one POST /v1/events; more are refused with 413.",
    ),
    cfg.IntOpt(
        "open_jobs_per_project",
        default=10,
        min=0,
        help="Jobs that a project may have active at a time; further ones are refused with 403. "
        "0: any number. Admins are not limited.",
    ),
    cfg.IntOpt(
        "bindings_per_project",
        default=100,
        min=0,
        help="Groups for which a project may have regions chosen; further ones are refused with "
        "403. 0: any number. Admins and services are not limited.",
    ),
    cfg.IntOpt(
        "max_request_body_size",
        default=1024 * 1024,
        min=1024,
        help="Bytes of request body read; more are refused with 413.",
    ),
]
