"""``objects``: from home's Glance into a region's store, without that region's Glance.

A child process (see :mod:`.objects_mover`) reads, hashes and writes; then the region's Glance is
told where its image is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glancesync.errors import RegionError
from glancesync.interfaces import Capabilities, Source, Target
from glancesync.transports import child, objects_mover
from glancesync.transports.objects_landing import land
from glancesync.transports.rbd import written_to
from glancesync.transports.settings import TransferSettings


class Objects:
    """Streams into stores through this host."""

    name = "objects"
    capabilities = Capabilities(needs_formats=True, writes=frozenset({"rbd"}))

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
            order["targets"] = {target.region: written_to(target.place, target.image_id)}
            land(objects_mover.__file__, order, source, target, settle)
