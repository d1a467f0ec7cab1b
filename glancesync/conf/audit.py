"""Options of the reconciler."""

from __future__ import annotations

from oslo_config import cfg

OPTIONS = [
    cfg.FloatOpt(
        "watch_interval",
        mutable=True,
        default=60,
        min=0.1,
        help="Seconds between two looks at what changed lately in a region.",
    ),
    cfg.FloatOpt(
        "audit_interval",
        mutable=True,
        default=86400,
        min=1,
        help="Seconds between two complete audits of a region. Each audit reads the region's list "
        "of images, and the members of those that are shared.",
    ),
    cfg.IntOpt(
        "delete_guard_images",
        mutable=True,
        default=10,
        min=0,
        help="Deletions that one audit may cause by itself. If it finds more, and more than "
        "delete_guard_percent, all of them wait until an operator releases them.",
    ),
    cfg.FloatOpt(
        "delete_guard_percent",
        mutable=True,
        default=5,
        min=0,
        max=100,
        help="As delete_guard_images, in percent of the images that were known.",
    ),
]
