# SPDX-License-Identifier: Apache-2.0
"""What home is to say of where else its images are: a property that names the replicas. Pure.

It belongs to home: it is no part of what a replica takes over, and so no change of the image.
Decision 0021 tells why it is a property and no location.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from glancesync.model import MAPPING, Image, Replica
from glancesync.planner import Op
from glancesync.states import ENDED, SETTLED, ReplicaState

_UNSURE = ENDED | {ReplicaState.COPYING, ReplicaState.CONFLICT}


def shown_id(replica: Replica) -> str | None:
    """The id under which a region has an image, while that is to be said; None: it has none.

    Also while its metadata is being brought up to date.
    """
    complete = replica.state in SETTLED or replica.synced_at is not None
    return replica.replica_id if complete and replica.state not in _UNSURE else None


def mapped(replicas: Iterable[Replica]) -> Mapping[str, str]:
    """Region -> id there, of those that have the image."""
    return {one.region: shown for one in replicas if (shown := shown_id(one)) is not None}


def remapping(image: Image, wanted: Mapping[str, str]) -> Op | None:
    """The change that lets a home image say so; None: there is nothing to do, or it is too early.

    Not while home still imports the image to further stores: Glance may lose sight of what such an
    import brings while another change of the image is written.
    """
    text = json.dumps(dict(wanted), sort_keys=True) if wanted else ""
    if image.mapping == text or image.importing_to or image.in_flight:
        return None
    if not text:
        return Op("remove", MAPPING, custom=True)
    return Op("replace" if image.mapping else "add", MAPPING, text, custom=True)
