# SPDX-License-Identifier: Apache-2.0
"""Options about the regions and how they are reached."""

from __future__ import annotations

from oslo_config import cfg

#: A test holds these, but for ALIASES, to the strategies there are.
STRATEGIES = {
    "None": "synchronization is off: nothing is made, changed or deleted",
    "ALL": "every image goes to every region",
    "USER": "each image goes where the rules of sync_rules_file say",
    "LAZY": "an image goes by itself to no region; where somebody has asked for it, it is kept up "
    "to date",
    "nova": "as LAZY",
}
#: Other names of theirs.
ALIASES = {"nova": "LAZY"}

OPTIONS = [
    cfg.URIOpt(
        "cascading_endpoint_url",
        schemes=["http", "https"],
        help="Image endpoint of the home region, as the Keystone catalog lists it. The region "
        "that has this endpoint is the source of truth.",
    ),
    cfg.StrOpt(
        "sync_strategy",
        mutable=True,
        default="None",
        choices=list(STRATEGIES.items()),
        help="Which regions an image goes to.",
    ),
    cfg.StrOpt(
        "sync_rules_file",
        mutable=True,
        default="sync_rules.yaml",
        help="File with the rules of sync_strategy = USER; a relative name is looked for beside "
        "the configuration file. Read at start and again at SIGHUP. Empty: there are no rules, and "
        "images go where their project is bound.",
    ),
    cfg.ListOpt(
        "preserve_properties",
        mutable=True,
        default=[],
        help="Patterns (as in file names: * ? [abc]) of custom properties that belong to each "
        "region: never set, changed or removed by glance-sync.",
    ),
    cfg.BoolOpt(
        "home_mapping",
        mutable=True,
        default=False,
        help="Say at home which regions have an image, and under which id: in the property "
        "glance_sync_regions, as JSON. This is all that glance-sync ever writes to home's images.",
    ),
    cfg.FloatOpt(
        "snapshot_timeout",
        mutable=True,
        default=300,
        min=0,
        help="Seconds that a home image waits for the image of another region that it has its "
        "bytes from, if that has none yet. Then it is shown as failed, and still tried again, "
        "every retry_max_interval seconds.",
    ),
    cfg.FloatOpt(
        "snapshot_sleep_interval",
        mutable=True,
        default=10,
        min=0.01,
        help="Seconds between two looks at an image that is waited for like that.",
    ),
    cfg.ListOpt(
        "snapshot_region_names",
        mutable=True,
        default=[],
        help="Regions that home images go to which have their bytes from another region: of "
        "those that the strategy says. Empty: all, but for the region that has the bytes already.",
    ),
    cfg.IntOpt(
        "catalog_interval",
        default=60,
        min=1,
        help="Seconds between two looks at the Keystone catalog for regions that came or went.",
    ),
]

CREDENTIAL_OPTIONS = [
    cfg.StrOpt(
        "interface",
        default="public",
        choices=["public", "internal", "admin"],
        help="Interface of the image endpoints to use.",
    ),
]
