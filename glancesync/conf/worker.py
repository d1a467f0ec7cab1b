# SPDX-License-Identifier: Apache-2.0
"""Options of the workers."""

from __future__ import annotations

from oslo_config import cfg

OPTIONS = [
    cfg.IntOpt(
        "workers",
        mutable=True,
        default=256,
        min=1,
        help="Tasks worked on at a time by one process. Most of them wait for a region; they are "
        "green threads, so a high number costs little and leaves room for regions that hang.",
    ),
    cfg.IntOpt(
        "region_workers",
        mutable=True,
        default=8,
        min=1,
        help="Tasks worked on at a time for one region by one process, so that a slow region "
        "delays only itself. A region's limit 'tasks' overrides it.",
    ),
    cfg.IntOpt(
        "task_retry_times",
        mutable=True,
        default=5,
        min=1,
        help="Attempts, with short pauses, before a task is shown as failed and its replica as "
        "stalled. Both are still tried again, every retry_max_interval seconds.",
    ),
    cfg.FloatOpt(
        "retry_interval",
        mutable=True,
        default=1,
        min=0.01,
        help="Seconds before the second attempt; doubled for each further one.",
    ),
    cfg.FloatOpt(
        "retry_max_interval",
        mutable=True,
        default=600,
        min=0.01,
        help="Longest pause, in seconds, between two attempts; also the longest that a region's "
        "Retry-After is honoured for.",
    ),
    cfg.IntOpt(
        "breaker_failures",
        mutable=True,
        default=5,
        min=1,
        help="Failures in a row of a region itself (no answer, server errors, tokens not "
        "accepted) after which it is left alone for a while, then probed by one task.",
    ),
    cfg.FloatOpt(
        "breaker_pause",
        mutable=True,
        default=5,
        min=0.01,
        help="Seconds a broken region is left alone for; doubled each time it still fails.",
    ),
    cfg.FloatOpt(
        "breaker_max_pause",
        mutable=True,
        default=60,
        min=0.01,
        help="Longest time, in seconds, that a broken region is left alone for, unless it asks "
        "for more by Retry-After.",
    ),
    cfg.FloatOpt(
        "purge_after_days",
        mutable=True,
        default=90,
        min=0,
        help="Days after which ended tasks, events, and the records of images that are gone "
        "everywhere are forgotten; 0: never.",
    ),
    cfg.FloatOpt(
        "lease",
        default=20,
        min=1,
        help="Seconds after which the tasks of a worker that gives no sign of life are given to "
        "another.",
    ),
    cfg.FloatOpt(
        "poll_interval",
        mutable=True,
        default=0.5,
        min=0.01,
        help="Seconds between two looks for work that another process has queued.",
    ),
    cfg.FloatOpt(
        "drain_timeout",
        default=30,
        min=0,
        help="Seconds that tasks are given to end after SIGTERM; then they are given back.",
    ),
    cfg.FloatOpt(
        "stuck_timeout",
        mutable=True,
        default=3600,
        min=1,
        help="Seconds after which a replica that a region left in saving, uploading or importing "
        "is deleted and made anew.",
    ),
]
