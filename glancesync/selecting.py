"""What regions for projects are chosen by: filters and weighers, loaded by name (stevedore)."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

from stevedore.named import NamedExtensionManager

from glancesync.errors import ConfigurationError
from glancesync.placement.selection import Selection, Settings

FILTERS = "glancesync.filters"
WEIGHERS = "glancesync.weighers"


class Selecting:
    """The selection in force; another one after a reload.

    :param selection: may be replaced at any time by :meth:`use`
    """

    def __init__(self, selection: Selection) -> None:
        self.selection = selection

    def use(self, selection: Selection) -> None:
        """Go by this one from now on."""
        self.selection = selection


def load(filters: Sequence[str], weighers: Mapping[str, float], settings: Settings) -> Selection:
    """The filters and weighers of these names, in that order; each is made with ``settings``.

    :param weighers: name -> multiplier
    :raises ConfigurationError: a name is not known, or what it names can't be loaded
    """
    return Selection(
        _loaded(FILTERS, "[DEFAULT] binding_filters", filters, settings),
        list(
            zip(
                _loaded(WEIGHERS, "[DEFAULT] binding_weighers", list(weighers), settings),
                weighers.values(),
                strict=True,
            )
        ),
    )


def _loaded(namespace: str, option: str, names: Sequence[str], settings: Settings) -> list[Any]:
    known = {one.name for one in importlib.metadata.entry_points(group=namespace)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(
            option, f"unknown: {', '.join(unknown)} (known: {', '.join(sorted(known))})"
        )

    def broken(manager: Any, entry_point: Any, error: BaseException) -> None:
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
