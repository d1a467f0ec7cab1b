# SPDX-License-Identifier: Apache-2.0
"""The paste filter ``glance_sync``.

In glance-api-paste.ini, after ``context`` in every keystone pipeline::

    [filter:glance_sync]
    paste.filter_factory = glance_patch.filter:filter_factory

It is a filter only because paste loads it in every Glance API process, after the configuration was
read. It returns the application it was given, so requests never pass through it; what it does is
wrap the two methods of ``glance.gateway.Gateway`` from which all API calls and import tasks obtain
the repositories they write images and members to.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from oslo_config import cfg

from glance_patch import opts

App = Callable[..., Any]

LOG = logging.getLogger(__name__)


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[App], App]:
    """Return a filter that changes no application; wraps the Gateway if ``sync_enabled``.

    A mistake in our configuration must not keep Glance from starting: it is logged, and Glance runs
    without the hook.
    """
    try:
        opts.register(cfg.CONF)
        if cfg.CONF.sync_enabled:
            _install(cfg.CONF)
    except Exception:
        LOG.exception("glance_sync could not be set up; images of this Glance are not synced")
    return lambda app: app


def _install(conf: cfg.ConfigOpts) -> None:
    # Imported here so that a Glance with sync_enabled = False runs nothing of it.
    from glance.gateway import Gateway

    from glance_patch import sender

    if not hasattr(Gateway.get_repo, "glance_sync"):
        wrap_gateway(Gateway, sender.from_conf(conf).offer)


def wrap_gateway(gateway: Any, offer: Callable[[str, dict[str, Any], bool], None]) -> None:
    """Let ``gateway``'s repositories say through ``offer`` which image they changed."""
    from glance_patch import proxy

    tell = proxy.Teller(offer)
    get_repo, get_member_repo = gateway.get_repo, gateway.get_member_repo

    @functools.wraps(get_repo)
    def get_repo_and_tell(self: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
        return proxy.ImageRepoProxy(get_repo(self, context, *args, **kwargs), context, tell)

    @functools.wraps(get_member_repo)
    def get_member_repo_and_tell(
        self: Any, image: Any, context: Any, *args: Any, **kwargs: Any
    ) -> Any:
        members = get_member_repo(self, image, context, *args, **kwargs)
        return proxy.ImageMemberRepoProxy(members, image, context, tell)

    get_repo_and_tell.glance_sync = True  # type: ignore[attr-defined]
    gateway.get_repo, gateway.get_member_repo = get_repo_and_tell, get_member_repo_and_tell
