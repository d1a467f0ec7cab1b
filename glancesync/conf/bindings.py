# SPDX-License-Identifier: Apache-2.0
"""Options about the regions that projects are bound to."""

from __future__ import annotations

from oslo_config import cfg

OPTIONS = [
    cfg.ListOpt(
        "binding_filters",
        mutable=True,
        default=[
            "enabled",
            "maintenance",
            "availability_zone",
            "labels",
            "disk_format",
            "capacity",
            "allowed",
        ],
        help="Filters that leave out regions when one is chosen for a project, in the order in "
        "which people are told of them.",
    ),
    cfg.DictOpt(
        "binding_weighers",
        mutable=True,
        default={
            "images": "2",
            "free": "1",
            "distance": "1",
            "backlog": "1",
            "bindings": "1",
            "cost": "1",
            "age": "0",
        },
        help="Weighers that rank the regions left, each with its multiplier. A negative one "
        "prefers what the weigher finds worse.",
    ),
    cfg.FloatOpt(
        "binding_min_free",
        mutable=True,
        default=5,
        min=0,
        max=100,
        help="Percent of a region's capacity that must stay free for projects to be bound to it. "
        "A region whose capacity is not known counts as free.",
    ),
    cfg.IntOpt(
        "binding_capacity_age",
        mutable=True,
        default=86400,
        min=0,
        help="Seconds for which counts what was said of a region's capacity; after that it is not "
        "known any more. 0: for ever.",
    ),
    cfg.MultiStrOpt(
        "binding_allowed_regions",
        mutable=True,
        default=[],
        help="Regions that a project may be bound to, as PROJECT: REGION, REGION with the "
        "project's id; may be given more than once. Projects without an entry may be bound to any.",
    ),
]
