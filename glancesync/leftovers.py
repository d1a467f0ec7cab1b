# SPDX-License-Identifier: Apache-2.0
"""What a transport has left in a region's store that was killed before Glance knew of it.

It is only looked for where Glance has no data of the image, and only what bears our mark goes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from glancesync.ends import Schemes
from glancesync.errors import RegionError
from glancesync.interfaces import ImageService, Leaver, Target
from glancesync.placing import target_place
from glancesync.schemes import Place

LOG = logging.getLogger(__name__)


def clear(
    leavers: Mapping[str, Leaver],
    schemes: Schemes,
    begun: str | None,
    service: ImageService,
    image_id: str,
) -> str:
    """Have the transport ``begun`` remove what it may have left of an image.

    :param image_id: what it is called in the region, whose Glance has no data of it
    :return: what could not be looked for or removed, and why; "" if all is well
    """
    leaver = leavers.get(begun or "")
    written = schemes.get(service.region, ())
    if leaver is None or not written:
        return ""
    try:
        stores = service.stores()
        # Those of a Glance that has ceased to adopt files, too.
        directories = {one.id: one.data_dir for one in stores if one.data_dir}
        place = target_place(image_id, stores, {**directories, **service.file_stores()}, written)
        if not isinstance(place, Place) or place.scheme.name not in leaver.capabilities.writes:
            return ""
        leaver.tidy(Target(service.region, image_id, service, lambda _: None, lambda: False, place))
    except RegionError as error:
        said = f"{image_id}: what {leaver.name} may have left is not removed: {error.message}"
        LOG.warning("%s: %s", service.region, said)
        return said
    return ""
