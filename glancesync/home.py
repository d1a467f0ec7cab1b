# SPDX-License-Identifier: Apache-2.0
"""Looking at the original of an image, mostly at home, and what is put on record of it."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from glancesync import snapshots
from glancesync.errors import Refused, Transient, Unready, WayBlocked
from glancesync.interfaces import ImageService, Services
from glancesync.model import Actor, Image, ImageRecord, Original, Region, fingerprint_of
from glancesync.planner import REFERENCES
from glancesync.snapshots import USUAL, Patience


def read(services: Services, image_id: str, record: ImageRecord | None) -> Image | None:
    """The original, under the id that its replicas have; None only if it is sure not to be (P4).

    A 404 alone does not prove it: a proxy in front of Glance says the same.

    :param record: what is known of the image
    """
    original = Original.of(image_id, record, services.home)
    service = services(original.region)
    image = service.get(original.image_id)
    if image is None:
        doubt(service, original.image_id)
        return None
    return image if record is None else as_recorded(image, record)


def as_recorded(image: Image, record: ImageRecord) -> Image:
    """An original under the id that its replicas have, referring to what was copied along."""
    if record.origin is None:
        return image
    # What it refers to is copied along, and has other ids where it is copied to by force.
    references = {"kernel_id": record.kernel_id, "ramdisk_id": record.ramdisk_id}
    copied = {name: value for name, value in references.items() if value is not None}
    properties = {**image.properties, **copied}
    return dataclasses.replace(image, id=record.image_id, properties=properties)


class Turns:
    """Lets so many tasks at a time ask the same region, and puts off who can't have its turn soon.

    So the tasks of home, and of regions that go well, are not all held up by one that has become
    slow (P8).
    """

    def __init__(self, most: int = 4, patience: float = 1.0) -> None:
        self._most = most
        self._patience = patience
        self._free: dict[str, threading.Semaphore] = {}

    @contextlib.contextmanager
    def __call__(self, region: str) -> Iterator[None]:
        """
        :raises Unready: too many have waited for it, and for too long
        """
        free = self._free.setdefault(region, threading.Semaphore(self._most))
        if not free.acquire(timeout=self._patience):
            raise Unready(region, "is slow to answer others that have asked for what it lends")
        try:
            yield
        finally:
            free.release()


def with_lent_bytes(
    services: Services,
    regions: Callable[[], Sequence[Region]],
    image: Image,
    waited: float = 0.0,
    patience: Patience = USUAL,
    turn: Callable[[str], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> Image:
    """A home image with its bytes, if they are another image's; any other image as it is.

    :param waited: seconds since it was last found changed
    :param turn: entered to ask a region
    :raises Misdirected: it says of them what can't be
    :raises Unready: the other image has none yet, or its region has to be asked later
    :raises RegionError: the other image's can't be had, or its region does not answer
    """
    original = snapshots.lender(image, regions)
    if original is None:
        return image
    image_id = original.image_id
    region = next(one for one in regions() if one.name == original.region)
    if not (region.present and region.open) or region.broken_for is not None:
        # Its own tasks find out when it answers again; those of home must not hang meanwhile (P8).
        raise WayBlocked(region.name, f"takes no work, and its image {image_id} has the bytes")
    with turn(region.name):
        there = services(region.name).get(image_id)
    why = snapshots.unfit(image, there, image_id)
    if there is None or why is not None:
        raise Refused(region.name, why or "")
    if snapshots.coming(there):
        said = f"image {image_id} is {there.status}"
        if waited >= patience.timeout:
            said += f" after {patience.timeout:g} s still (snapshot_timeout)"
            raise Refused(region.name, said)
        raise Unready(region.name, said, retry_after=patience.interval)
    return snapshots.with_bytes(image, original, there)


def doubt(service: ImageService, image_id: str) -> None:
    """Ask again, in another way, after a region said that it does not have an image (P4, P5).

    :raises Transient: it lists the image
    """
    if not service.confirm_absent(image_id):
        raise Transient(service.region, f"does not find image {image_id}, yet lists it")


def observed(image_id: str, image: Image | None, old: ImageRecord | None) -> ImageRecord:
    """The record of what home answered; a new generation if it differs from the old one."""
    fingerprint = fingerprint_of(image)
    generation = old.generation if old else 0
    if old is None or old.fingerprint != fingerprint:
        generation += 1
    if image is None:
        assert old is not None  # noqa: S101 - an image never seen is not recorded
        return ImageRecord(
            **{
                **vars(old),
                "generation": generation,
                "fingerprint": fingerprint,
                "present": False,
                "status": "deleted",
                "last_error": None,
            }
        )
    references: dict[str, Any] = {
        name: value if len(value := image.properties.get(name, "")) == len(image.id) else None
        for name in REFERENCES
    }
    return ImageRecord(
        image_id=image_id,
        generation=generation,
        fingerprint=fingerprint,
        present=True,
        name=image.name,
        owner=image.owner,
        status=image.status,
        size=image.size,
        os_hash_value=image.os_hash_value,
        **references,
        changed_at=0.0,
        observed_at=0.0,
        last_error=old.last_error if old and _same_bytes(old, image) else None,
        actor=old.actor if old else Actor(),
        origin=old.origin if old else None,
        origin_id=old.origin_id if old else None,
    )


def _same_bytes(old: ImageRecord, image: Image) -> bool:
    return (old.size, old.os_hash_value) == (image.size, image.os_hash_value)
