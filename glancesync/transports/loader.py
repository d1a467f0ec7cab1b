"""Loads the configured transports by name (stevedore)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from stevedore import ExtensionManager
from stevedore.named import NamedExtensionManager

from glancesync.errors import ConfigurationError
from glancesync.interfaces import Leaver, Transport

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
    return _loaded(names, settings)


def leavers(settings: Any) -> dict[str, Leaver]:
    """All transports, in use or not, that can remove what they may have left; by name."""
    found = _loaded(sorted(ExtensionManager(NAMESPACE).names()), settings)
    return {one.name: cast(Leaver, one) for one in found if one.capabilities.tidies}


def _loaded(names: Sequence[str], settings: Any) -> list[Transport]:
    manager: NamedExtensionManager[Transport] = NamedExtensionManager(
        NAMESPACE, list(names), invoke_on_load=True, invoke_args=(settings,), name_order=True
    )
    return [extension.obj for extension in manager if extension.obj is not None]
