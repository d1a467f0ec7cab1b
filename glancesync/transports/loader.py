"""Loads the configured transports by name (stevedore)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stevedore import ExtensionManager
from stevedore.named import NamedExtensionManager

from glancesync.errors import ConfigurationError
from glancesync.interfaces import Transport

NAMESPACE = "glancesync.transports"


def load(names: Sequence[str], settings: Any) -> list[Transport]:
    """The transports called ``names``, in that order; each is made with ``settings``.

    :raises ConfigurationError: a name is not known, or none is given
    """
    option = "[DEFAULT] transports"
    if not names:
        raise ConfigurationError(option, "names no transport")
    known = ExtensionManager(NAMESPACE).names()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(
            option, f"unknown: {', '.join(unknown)} (known: {', '.join(sorted(known))})"
        )
    manager: NamedExtensionManager[Transport] = NamedExtensionManager(
        NAMESPACE, list(names), invoke_on_load=True, invoke_args=(settings,), name_order=True
    )
    return [extension.obj for extension in manager if extension.obj is not None]
