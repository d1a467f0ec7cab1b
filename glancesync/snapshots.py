# SPDX-License-Identifier: Apache-2.0
"""Home images whose bytes are those of an image of another region. Pure.

A server's snapshot, or the image of a volume, is born in the region of the server or the volume.
A home image that has no bytes of its own says by two properties that it is that image; decision
0023 tells why by properties. Its name, rights and other properties are home's, as ever.
"""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from collections.abc import Callable, Collection, Sequence

from glancesync.errors import Misdirected, RegionError, without_secrets
from glancesync.model import WITH_DATA, Image, ImageRecord, Lent, Original, Region, unversioned
from glancesync.placement.strategies import Facts, Placement, Strategy

#: What the other image is. Without it no image says anything of its bytes.
FROM = "image_from"
KINDS = ("snapshot", "volume")
#: The URL of the other image at its Glance, with or without ``/file``.
LOCATION = "image_location"

_EXAMPLE = "https://glance.region.example/v2/images/ID"
_IMAGE = re.compile(r"(.*)/v2/images/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:/file)?")
_PORTS = {"http": 80, "https": 443}
_LONGEST = 200  # characters that are repeated of what was said
_COMING = ("queued", "saving", "uploading", "importing")
_SEEN_BY_ALL = ("public", "community")


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long the other image is waited for, and how often it is looked at; seconds."""

    timeout: float = 300.0
    interval: float = 10.0


USUAL = Patience()


# -- what a home image says -----------------------------------------------------------------------


def lender(image: Image, regions: Callable[[], Sequence[Region]]) -> Original | None:
    """The image that a home image has its bytes from; None: it says of none, or has its own.

    Its URL is only compared with those of the regions, and never asked for anything.

    :raises Misdirected: it says what can't be
    """
    kind = image.properties.get(FROM)
    if image.status != "queued" or kind is None:
        return None
    known = regions()
    home = next((region.name for region in known if region.home), "home")
    if kind not in KINDS:
        said = f"{FROM}: is {_short(kind)}; it must be {' or '.join(KINDS)}"
        raise Misdirected(home, said)
    url = image.properties.get(LOCATION, "")
    found = _split(url)
    if found is None:
        said = f"{LOCATION}: is {_short(url)}; it must be the URL of an image, like {_EXAMPLE}"
        raise Misdirected(home, said)
    base, image_id = found
    region = next((one for one in known if _base(one.url) == base), None)
    if region is None:
        said = f"{LOCATION}: {_short(base)} is the image endpoint of none of our regions"
        raise Misdirected(home, said)
    if region.home:
        said = f"{LOCATION}: {region.name} is home; the image must be in another region"
        raise Misdirected(home, said)
    return Original(region.name, image_id)


def complaint(error: RegionError) -> str:
    """What is put on record of a home image whose bytes can't be had."""
    return error.message if isinstance(error, Misdirected) else f"{LOCATION}: {error}"


def is_complaint(last_error: str) -> bool:
    """Whether it is one of :func:`complaint`."""
    return last_error.startswith((f"{FROM}: ", f"{LOCATION}: "))


def _split(url: str) -> tuple[str, str] | None:
    """The endpoint in the URL of an image, and the image's id; None: it is not the URL of one."""
    match = _IMAGE.fullmatch(url)
    base = _base(match[1]) if match else None
    return (base, match[2]) if match and base else None


def _base(endpoint: str) -> str | None:
    """An endpoint in the one spelling that two of them are compared in; None: it is none."""
    try:
        parts = urllib.parse.urlsplit(unversioned(endpoint))
        port = _PORTS[parts.scheme] if parts.port is None else parts.port
    except (KeyError, ValueError):
        return None
    strange = re.search(r"[^!-~]|[\\@?#%]", endpoint) or "//" in parts.path or "/." in parts.path
    if strange or not parts.hostname:
        return None
    return f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"


def _short(said: str) -> str:
    said = without_secrets(said)
    return repr(said[:_LONGEST] + "..." if len(said) > _LONGEST else said)


# -- what comes of it -----------------------------------------------------------------------------


def unfit(image: Image, there: Image | None, image_id: str) -> str | None:
    """Why the other image can't lend its bytes, in words; None: it can, maybe not yet.

    glance-sync sees more than those who may write a home image: they learn nothing of an image
    that they could not use, not even that there is one.
    """
    if there is None or not _may_use(image, there):
        return f"has no image {image_id} that the project of the home image may use"
    if there.status in ("active", *_COMING):
        return None
    return f"image {image_id} is {there.status}: its bytes can't be had"


def _may_use(image: Image, there: Image) -> bool:
    return there.owner == image.owner or there.visibility in _SEEN_BY_ALL


def coming(there: Image) -> bool:
    """Whether the other image is to get its bytes yet."""
    return there.status in _COMING


def with_bytes(image: Image, original: Original, there: Image) -> Image:
    """A home image as it would be if the other's bytes were its own."""
    return dataclasses.replace(
        image,
        lent=Lent(original, image.fingerprint()),
        status=there.status,
        size=there.size,
        checksum=there.checksum,
        os_hash_algo=there.os_hash_algo,
        os_hash_value=there.os_hash_value,
        container_format=image.container_format or there.container_format,
        disk_format=image.disk_format or there.disk_format,
    )


def is_lent(image: Image, regions: Callable[[], Sequence[Region]]) -> bool:
    """Whether the bytes of a home image are those of an image that there could be."""
    return _found(image, regions) is not None


def recalled(
    image: Image, record: ImageRecord | None, regions: Callable[[], Sequence[Region]]
) -> Image:
    """A home image with what is on record of the bytes it is lent, if anything is.

    It is enough to place it, and not to compare bytes.
    """
    original = _found(image, regions)
    if original is None or record is None or record.status not in WITH_DATA:
        return image
    if record.fingerprint != image.fingerprint():
        return image
    return dataclasses.replace(
        image,
        lent=Lent(original, record.fingerprint),
        status=record.status,
        size=record.size,
        os_hash_value=record.os_hash_value,
    )


def _found(image: Image, regions: Callable[[], Sequence[Region]]) -> Original | None:
    try:
        return lender(image, regions)
    except Misdirected:
        return None


# -- where it goes --------------------------------------------------------------------------------


def among(strategy: Strategy, names: Collection[str]) -> Strategy:
    """A strategy by which lent bytes go nowhere but to the regions of these ``names``.

    None named: to any, but for the region that lends them: there they are.
    """

    def place(image: Image, facts: Facts) -> Placement:
        placement = strategy.place(image, facts)
        if image.lent is None:
            return placement
        lends = image.lent.original
        if names:
            over = placement.regions - set(names)
            why = f"snapshots go to {', '.join(sorted(names))} only (snapshot_region_names)"
        else:
            over = placement.regions & {lends.region}
            why = f"{lends.region} has its bytes as image {lends.image_id}"
        return dataclasses.replace(
            placement, regions=placement.regions - over, why=f"{placement.why}; yet {why}"
        )

    version = strategy.version
    if names:
        version = f"{version} snapshots to {','.join(sorted(names))}".strip()
    return dataclasses.replace(strategy, place=place, version=version)
