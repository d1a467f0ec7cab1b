# SPDX-License-Identifier: Apache-2.0
"""Plugins by name, of this package and of others (stevedore)."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Sequence
from typing import Any

from stevedore import ExtensionManager
from stevedore.named import NamedExtensionManager

from glancesync.errors import ConfigurationError

LOG = logging.getLogger(__name__)


def load(namespace: str, option: str, names: Sequence[str], settings: Any) -> list[Any]:
    """What these names stand for, in that order; each is made with ``settings``.

    :param option: where the names come from, for the error
    :raises ConfigurationError: a name is not known, or what it names can't be loaded
    """
    known = {one.name for one in importlib.metadata.entry_points(group=namespace)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(
            option, f"unknown: {', '.join(unknown)} (known: {', '.join(sorted(known))})"
        )

    def broken(manager: Any, entry_point: Any, error: BaseException) -> None:
        if isinstance(error, ConfigurationError):
            raise error
        raise ConfigurationError(option, f"{entry_point.name} can't be loaded: {error}") from error

    manager: NamedExtensionManager[Any] = NamedExtensionManager(
        namespace,
        list(dict.fromkeys(names)),
        invoke_on_load=True,
        invoke_args=(settings,),
        name_order=True,
        on_load_failure_callback=broken,
    )
    return [extension.obj for extension in manager]


def usable(namespace: str, settings: Any) -> list[Any]:
    """All that are installed, each made with ``settings``; what can't be loaded is logged."""

    def broken(manager: Any, entry_point: Any, error: BaseException) -> None:
        LOG.warning("%s of %s can't be loaded: %s", entry_point.name, namespace, error)

    manager: ExtensionManager[Any] = ExtensionManager(
        namespace,
        invoke_on_load=True,
        invoke_args=(settings,),
        on_load_failure_callback=broken,
    )
    return [extension.obj for extension in manager]
