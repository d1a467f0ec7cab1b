# SPDX-License-Identifier: Apache-2.0
"""Loads the configured transports by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from glancesync import plugins
from glancesync.errors import ConfigurationError
from glancesync.interfaces import Leaver, Transport

NAMESPACE = "glancesync.transports"


def load(names: Sequence[str], settings: Any) -> list[Transport]:
    """The transports called ``names``, in that order; each is made with ``settings``.

    :raises ConfigurationError: a name is not known or can't be loaded, or none is given
    """
    option = "[DEFAULT] transports"
    if not names:
        raise ConfigurationError(option, "names no transport")
    return plugins.load(NAMESPACE, option, names, settings)


def leavers(settings: Any) -> dict[str, Leaver]:
    """All transports, in use or not, that can remove what they may have left; by name."""
    found = plugins.usable(NAMESPACE, settings)
    return {one.name: cast(Leaver, one) for one in found if one.capabilities.tidies}
