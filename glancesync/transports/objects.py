# SPDX-License-Identifier: Apache-2.0
"""``objects``: from home's Glance into a region's store, without that region's Glance.

A child process (see :mod:`.objects_mover`) reads, hashes and writes; then the region's Glance is
told where its image is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from glancesync.errors import RegionError
from glancesync.interfaces import Capabilities, Source, Target
from glancesync.schemes import S3, Place, Swift
from glancesync.transports import child, objects_mover
from glancesync.transports.objects_landing import land, tidy
from glancesync.transports.rbd import written_to
from glancesync.transports.settings import TransferSettings


class Objects:
    """Streams into stores through this host."""

    name = "objects"
    capabilities = Capabilities(
        needs_formats=True, writes=frozenset({"rbd", "s3", "swift"}), tidies=True
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
        image = source.image
        algorithm, value = image.digest or ("", "")
        home = source.service.file(image.id)
        for target in targets:
            assert target.place is not None  # noqa: S101 - by our capabilities
            order = child.order(
                self._settings,
                home,
                {},
                size=image.size or 0,
                algorithm=algorithm,
                expected=value,
            )
            order["targets"] = {target.region: end(target.place, target.image_id)}
            land(objects_mover.__file__, order, source, target, settle)

    def tidy(self, target: Target) -> None:
        """See ``interfaces.Leaver``."""
        assert target.place is not None  # noqa: S101 - by our capabilities
        what = end(target.place, target.image_id)
        tidy(objects_mover.__file__, what, target, self._settings.stall)


def end(place: Place, image_id: str) -> dict[str, Any]:
    """The end of an order that is, or is to become, an object of that name."""
    scheme = place.scheme
    if isinstance(scheme, Swift):
        options = {
            "swift_store_auth_address": scheme.auth_address,
            "swift_store_auth_version": scheme.auth_version,
            "swift_store_user": scheme.user,
            "swift_store_key": scheme.key.value,
            "swift_store_region": scheme.region_name,
            "swift_store_endpoint": scheme.endpoint,
            "swift_store_container": scheme.container,
            "swift_store_cacert": scheme.cacert,
        }
    elif isinstance(scheme, S3):
        options = {
            "s3_store_host": scheme.host,
            "s3_store_access_key": scheme.access_key,
            "s3_store_secret_key": scheme.secret_key.value,
            "s3_store_region_name": scheme.region_name,
            "s3_store_bucket": scheme.bucket,
            "s3_store_cacert": scheme.cacert,
        }
    else:
        return {**written_to(place, image_id), "scheme": "rbd"}
    given = {name: value for name, value in options.items() if value != ""}
    return {"scheme": scheme.name, "image": image_id, "options": given}
