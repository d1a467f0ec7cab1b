# SPDX-License-Identifier: Apache-2.0
"""What an operator sets in glance-api.conf.

Glance's configuration is the global ``cfg.CONF``; options are registered there because that is
where every Glance extension finds its own.
"""

from __future__ import annotations

from keystoneauth1 import loading
from oslo_config import cfg

GROUP = "glance_sync"

switch_opts = [
    cfg.BoolOpt(
        "sync_enabled",
        default=False,
        help="Tell the glance-sync server which images change. Off means that no code of "
        "glancesync runs in Glance.",
    ),
    cfg.HostAddressOpt(
        "sync_server_host",
        default="127.0.0.1",
        help="Host of the glance-sync server.",
    ),
    cfg.PortOpt("sync_server_port", default=9595, help="Port of the glance-sync server."),
]

sender_opts = [
    cfg.StrOpt(
        "sync_server_scheme",
        default="http",
        choices=["http", "https"],
        help="How to reach the glance-sync server. TLS is verified with ``cafile``.",
    ),
    cfg.IntOpt(
        "queue_size",
        default=10000,
        min=1,
        help="How many changed images are remembered while the server cannot be reached. Further "
        "ones are counted and dropped, and followed when they change again.",
    ),
    cfg.IntOpt(
        "batch_size",
        default=500,
        min=1,
        max=500,
        help="How many changed images go into one request to the server.",
    ),
    cfg.FloatOpt(
        "merge_window",
        default=0.02,
        min=0,
        help="Seconds to wait after a change for further changes of the same image.",
    ),
    cfg.FloatOpt(
        "max_backoff",
        default=10.0,
        min=0.1,
        help="Longest pause, in seconds, between two tries to reach the server.",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``; repeating it is safe.

    ``[glance_sync]`` also takes keystoneauth's options: ``auth_type`` and what that type needs, and
    ``cafile``, ``certfile``, ``keyfile``, ``insecure`` and ``timeout``.
    """
    conf.register_opts(switch_opts)
    conf.register_opts(sender_opts, group=GROUP)
    loading.register_session_conf_options(conf, GROUP)
    loading.register_auth_conf_options(conf, GROUP)
    conf.set_default("timeout", 5.0, group=GROUP)
