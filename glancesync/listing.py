# SPDX-License-Identifier: Apache-2.0
"""All images of a region, page by page, and the members that listings lack."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Iterator, Sequence

from glancesync.errors import Transient
from glancesync.interfaces import ImageService, Page
from glancesync.model import Image

_MEMBER_READS = 8  # at a time, of shared images of one region


def with_members(service: ImageService, images: Sequence[Image]) -> dict[str, Image | None]:
    """Id -> image with its members, which listings lack; None if it changed meanwhile."""
    shared = [image.id for image in images if image.visibility == "shared"]
    members: dict[str, dict[str, str] | None] = {}
    if shared:
        with concurrent.futures.ThreadPoolExecutor(_MEMBER_READS) as pool:
            members = dict(zip(shared, pool.map(service.members, shared), strict=True))
    found: dict[str, Image | None] = {}
    for image in images:
        theirs = members.get(image.id, {})
        found[image.id] = None if theirs is None else dataclasses.replace(image, members=theirs)
    return found


def pages(
    service: ImageService,
    *,
    hidden: bool,
    after: str | None = None,
    updated_since: str | None = None,
) -> Iterator[Page]:
    """The pages of one list, to its end; for the order see ``interfaces.ImageService.page``.

    :raises Transient: it does not go on
    """
    while True:
        page = service.page(hidden=hidden, after=after, updated_since=updated_since)
        if page.next is not None and page.next == after:
            raise Transient(service.region, "its list of images does not go on")
        yield page
        if page.next is None:
            return
        after = page.next


def listing(service: ImageService, after: str | None) -> Iterator[tuple[list[Image], str | None]]:
    """All images of a region after an id, page by page, hidden ones among the others.

    Each page comes with the id up to which nothing was left out; None with the last.
    """
    going_on = {hidden: pages(service, hidden=hidden, after=after) for hidden in (False, True)}
    waiting: dict[bool, list[Image]] = {False: [], True: []}
    while True:
        for hidden, buffer in waiting.items():
            while not buffer and hidden in going_on:
                page = next(going_on[hidden])
                buffer += page.images
                if page.next is None:
                    del going_on[hidden]
        upto = min(
            (max(image.id for image in waiting[hidden]) for hidden in going_on), default=None
        )
        ready: list[Image] = []
        for hidden, buffer in waiting.items():
            ready += [one for one in buffer if upto is None or one.id <= upto]
            waiting[hidden] = [one for one in buffer if upto is not None and one.id > upto]
        yield ready, upto
        if upto is None:
            return
