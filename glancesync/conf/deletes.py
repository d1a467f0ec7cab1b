# SPDX-License-Identifier: Apache-2.0
"""Options about what is done when a replica is not wanted any more."""

from __future__ import annotations

from oslo_config import cfg

#: A test holds these to ``states.DeleteMode``.
MODES = {
    "mirror": "it is deleted, too",
    "deactivate": "it is deactivated and stays; users can't use it any more",
    "hide": "it is hidden (os_hidden) and stays; users don't find it in lists any more",
    "keep": "it stays as it is",
}

OPTIONS = [
    cfg.StrOpt(
        "delete_mode",
        mutable=True,
        default="mirror",
        choices=list(MODES.items()),
        help="What becomes of a region's image that glance-sync made, when the home image is "
        "gone. A region may have a mode of its own. What glance-sync did not make stays untouched "
        "in every mode.",
    ),
    cfg.FloatOpt(
        "delete_grace",
        mutable=True,
        default=0,
        min=0,
        help="Seconds between the time when the home image is found gone and that when "
        "delete_mode is applied. 'openstack image sync run' ends it early.",
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
    cfg.FloatOpt(
        "evict_after",
        mutable=True,
        default=0,
        min=0,
        help="With sync_strategy = LAZY: seconds after which an image that nobody has asked for in "
        "a region goes from there again, with the next audit of home. One audit causes as many "
        "such deletions as delete_guard_images and delete_guard_percent let through. 0: never.",
    ),
]
