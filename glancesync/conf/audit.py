# SPDX-License-Identifier: Apache-2.0
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
]
