# SPDX-License-Identifier: Apache-2.0
"""What regions for projects are chosen by: filters and weighers, plugins by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from glancesync import plugins
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
        plugins.load(FILTERS, "[DEFAULT] binding_filters", filters, settings),
        list(
            zip(
                plugins.load(WEIGHERS, "[DEFAULT] binding_weighers", list(weighers), settings),
                weighers.values(),
                strict=True,
            )
        ),
    )
