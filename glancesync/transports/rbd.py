# SPDX-License-Identifier: Apache-2.0
"""``rbd``: from one Ceph pool to another, of the same cluster or not.

A child process (see :mod:`.rbd_mover`) copies and hashes; then the region's Glance is told where
its image is. Glance reads it once more to compare the hash itself, unless its operator set
``do_secure_hash = false``; the image is importing meanwhile.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

from glancesync.errors import RegionError
from glancesync.interfaces import Capabilities, Source, Target
from glancesync.schemes import Place
from glancesync.schemes import Rbd as Pool
from glancesync.transports import rbd_mover
from glancesync.transports.objects_landing import land, tidy
from glancesync.transports.settings import TransferSettings


class Rbd:
    """Copies between pools."""

    name = "rbd"
    capabilities = Capabilities(
        needs_formats=True, reads=frozenset({"rbd"}), writes=frozenset({"rbd"}), tidies=True
    )

    def __init__(self, settings: TransferSettings) -> None:
        self._settings = settings

    def move(
        self,
        source: Source,
        targets: Sequence[Target],
        settle: Callable[[Target, RegionError | None], None],
    ) -> None:
        """See ``interfaces.Transport``."""
        for target in targets:
            order = self._order(source, target)
            land(rbd_mover.__file__, order, source, target, settle)

    def tidy(self, target: Target) -> None:
        """See ``interfaces.Leaver``."""
        assert target.place is not None  # noqa: S101 - by our capabilities
        end = written_to(target.place, target.image_id)
        tidy(rbd_mover.__file__, end, target, self._settings.stall)

    def _order(self, source: Source, target: Target) -> dict[str, Any]:
        image = source.image
        assert source.place is not None  # noqa: S101 - by our capabilities
        assert target.place is not None  # noqa: S101
        algorithm, value = image.digest or ("", "")
        return {
            "source": _read_from(source.place),
            "targets": {target.region: written_to(target.place, target.image_id)},
            "size": image.size or 0,
            "hash_algo": algorithm,
            "hash_value": value,
            "stall": self._settings.stall,
        }


def _pool(place: Place) -> dict[str, Any]:
    scheme = place.scheme
    assert isinstance(scheme, Pool)  # noqa: S101 - by our capabilities
    return {
        "ceph_conf": scheme.ceph_conf,
        "user": scheme.user,
        "keyring": scheme.keyring,
        "pool": scheme.pool,
        "fsid": scheme.fsid,
    }


def _read_from(place: Place) -> dict[str, Any]:
    """Where the location says; it may be in another pool than new images are."""
    found = {**_pool(place), "snapshot": ""}
    parts = [urllib.parse.unquote(part) for part in place.location.url[len("rbd://") :].split("/")]
    if len(parts) == 4:
        found["fsid"], found["pool"], found["image"], found["snapshot"] = parts
    else:
        found["image"] = parts[0]
    return found


def written_to(place: Place, image_id: str) -> dict[str, Any]:
    """The end of an order that is to become an image of a pool."""
    return {**_pool(place), "image": image_id}
