# SPDX-License-Identifier: Apache-2.0
"""Options about moving bytes."""

from __future__ import annotations

from oslo_config import cfg

OPTIONS = [
    cfg.ListOpt(
        "transports",
        mutable=True,
        default=["shared", "filesystem", "rbd", "servercopy", "rsync", "scp", "objects", "upload"],
        help="Ways to move bytes, best first; for each image and region the first that fits is "
        "taken. 'shared' has both regions read from one web server; 'filesystem' copies files from "
        "store to store on this host, 'rsync' and 'scp' from host to host; 'rbd' copies between "
        "Ceph pools, 'servercopy' has a Swift copy within itself, 'objects' writes to Ceph, Swift "
        "and S3; 'upload' reads the home image once "
        "and writes it to all regions that need it; 'pull' has the region's Glance import it "
        "(glance-download).",
    ),
    cfg.StrOpt(
        "glance_store_cfg_file",
        mutable=True,
        default="",
        help="File that says how the stores of the regions are reached, for transports that go "
        "to stores by themselves; a relative name is looked for beside the configuration file. "
        "Read at start and again at SIGHUP. Empty: only the Glances' own API is known.",
    ),
    cfg.IntOpt(
        "upload_chunk_size",
        mutable=True,
        default=1024 * 1024,
        min=4096,
        help="Bytes read and written at a time.",
    ),
    cfg.IntOpt(
        "upload_window",
        mutable=True,
        default=16,
        min=1,
        help="Chunks a region may lag behind the fastest before it goes on with a read of its own.",
    ),
    cfg.FloatOpt(
        "upload_patience",
        mutable=True,
        default=1.0,
        min=0,
        help="Seconds, in all, that a region which lags by the whole window may keep others "
        "waiting.",
    ),
    cfg.FloatOpt(
        "stall_timeout",
        mutable=True,
        default=60,
        min=1,
        help="Seconds without a byte of progress after which a transfer is given up.",
    ),
    cfg.StrOpt(
        "bandwidth",
        mutable=True,
        default="",
        help="Bytes per second of all transfers together, as in 50M, or by the time of day, as in "
        "'08:00-18:00 50M, else unlimited'; K, M, G are powers of 1024. Shared evenly by those "
        "that run. Empty: unlimited. Regions may have limits of their own.",
    ),
    cfg.MultiStrOpt(
        "transport_bandwidth",
        mutable=True,
        default=[],
        help="The same for one transport, as in 'upload: 50M'; may be given more than once.",
    ),
    cfg.IntOpt(
        "source_transfers",
        mutable=True,
        default=4,
        min=1,
        help="Regions that may copy from one region at a time, by a transport whose bytes go "
        "straight from region to region (rsync, scp, pull). Regions that have an image serve it to "
        "the next: the nearest by their labels 'place', home last. Regions may have limits of "
        "their own.",
    ),
    cfg.FloatOpt(
        "source_patience",
        mutable=True,
        default=600,
        min=1,
        help="Seconds for which such a copy counts: a slow one does not keep others waiting for "
        "longer.",
    ),
    cfg.FloatOpt(
        "scp_copy_timeout",
        mutable=True,
        default=3600,
        min=1,
        help="Seconds that copying an image from host to host may take in all, by scp or rsync.",
    ),
    cfg.FloatOpt(
        "import_poll_interval",
        mutable=True,
        default=2,
        min=0.1,
        help="Seconds between two looks at a region that imports an image by itself; grows with "
        "the time waited.",
    ),
]
