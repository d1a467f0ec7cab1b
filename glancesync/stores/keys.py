# SPDX-License-Identifier: Apache-2.0
"""Secrets that a key manager holds, as Barbican or Vault; castellan asks it."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from typing import Any

from keystoneauth1.plugin import BaseAuthPlugin
from oslo_config import cfg
from oslo_context.context import RequestContext

from glancesync.errors import without_secrets

#: The id of a secret -> the secret; ValueError says why there is none.
Keys = Callable[[str], bytes]

_LONGEST = 300

_asking = contextvars.ContextVar("asking", default=False)


def none(_: str) -> bytes:
    """:raises ValueError: always; for whoever has no key manager"""
    raise ValueError("no key manager is asked here")


class KeyManager:
    """What ``[key_manager]`` names. Nothing is asked of it before the first secret is.

    :param login: how glance-sync logs in to Keystone, which is used if ``[key_manager]`` says
        nothing of it
    """

    def __init__(self, conf: cfg.ConfigOpts, login: Callable[[], BaseAuthPlugin]) -> None:
        self._conf = conf
        self._login = login
        self._asked: tuple[Any, Any] | None = None
        self._known: dict[str, bytes] = {}

    def __call__(self, name: str) -> bytes:
        """The secret of that id, asked for once.

        :raises ValueError: it can't be had; the message says why, without it
        """
        try:
            from castellan.common import exception
        except ImportError as error:
            said = "castellan is not installed; try pip install 'glancesync[castellan]'"
            raise ValueError(said) from error
        if name not in self._known:
            try:
                self._known[name] = self._get(name)
            except exception.ManagedObjectNotFoundError:
                raise ValueError(f"the key manager has no secret {name}") from None
            except Exception as error:
                reason = without_secrets(f"{type(error).__name__}: {error}"[:_LONGEST])
                raise ValueError(f"the key manager does not give {name}: {reason}") from None
        return self._known[name]

    def _get(self, name: str) -> bytes:
        if self._asked is None:
            from castellan import key_manager

            self._asked = key_manager.API(self._conf), self._context()
        manager, context = self._asked
        logging.getLogger("keystoneauth.session").addFilter(_discreet)
        before = _asking.set(True)
        try:
            held = manager.get(context, name).get_encoded()
        finally:
            _asking.reset(before)
        if isinstance(held, str):  # what Barbican keeps as text
            return held.encode()
        if not isinstance(held, bytes):
            raise ValueError("it holds no bytes")
        return held

    def _context(self) -> Any:
        from castellan.common import utils

        self._conf.register_opts(utils.credential_opts, group=utils.OPT_GROUP)
        if self._conf.key_manager.auth_type:
            return utils.credential_factory(self._conf)
        return _ServiceUser(self._login())


class _ServiceUser(RequestContext):
    """castellan's context of somebody whom keystoneauth logs in."""

    def __init__(self, auth: BaseAuthPlugin) -> None:
        super().__init__()
        self._auth = auth

    def get_auth_plugin(self) -> BaseAuthPlugin:
        return self._auth


class _Discreet(logging.Filter):
    """At DEBUG keystoneauth writes every answer to its log, and Barbican's are secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _asking.get()


_discreet = _Discreet()
