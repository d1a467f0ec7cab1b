# SPDX-License-Identifier: Apache-2.0
"""Where an image goes, by the strategy and by what was asked for by name. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from glancesync.model import Image, Replica
from glancesync.placement.strategies import Facts, Placement, Strategy
from glancesync.states import ENDED, DeleteMode


def place(
    strategy: Strategy, image: Image, facts: Facts, known: Mapping[str, Replica]
) -> Placement:
    """Where ``image`` goes by ``strategy``, and where somebody wants it by name.

    Never to where it comes from; one that does not come from home goes where it is wanted by name.

    :param known: its replicas by region
    """
    if facts.origin is not None:
        names = frozenset(facts.pins) - {facts.origin}
        return Placement(names, f"it comes from {facts.origin}, and goes where somebody wants it")
    held = {name: one for name, one in known.items() if one.state not in ENDED}
    placement = strategy.place(image, dataclasses.replace(facts, held=held))
    home = {region.name for region in facts.regions if region.home}
    pinned = facts.pins.keys() - placement.unused.keys()
    return dataclasses.replace(placement, regions=(placement.regions | pinned) - home)


def targets(image: Image, placement: Placement, known: Mapping[str, Replica]) -> frozenset[str]:
    """The regions in which ``image`` is to have a replica; while it has no data, those with one."""
    if image.has_data:
        return placement.regions
    return placement.regions & {name for name, one in known.items() if one.made}


def why_not(image: Image, placement: Placement, region: str) -> str | None:
    """Why a region should not have a replica, in words; None: it should, or who knows yet."""
    if not image.has_data or region in placement.regions:
        return None
    return f"the image does not go there: {placement.why}"


def delete_mode(placement: Placement, region: str) -> DeleteMode | None:
    """What is to become of a replica that is not wanted, if the placement says so.

    One that goes to make room for others is deleted: in any other way it would make none.
    """
    return DeleteMode.MIRROR if region in placement.unused else placement.delete_mode


def unplaced(image: Image, placement: Placement, known: Mapping[str, Replica]) -> list[str]:
    """The regions that have, or are about to have, a replica where ``image`` does not go."""
    held = (name for name, one in known.items() if one.state not in ENDED)
    return sorted(name for name in held if why_not(image, placement, name))
