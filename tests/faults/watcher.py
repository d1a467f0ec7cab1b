# SPDX-License-Identifier: Apache-2.0
"""Looks at the regions from outside, again and again, and remembers what should never be seen."""

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

from keystoneauth1 import exceptions

from devcloud import Cloud

PAUSE = 0.3  # seconds between two looks at a region


@dataclasses.dataclass(frozen=True)
class Sight:
    """An image with data whose hash is not that of the home image it is a replica of."""

    region: str
    image_id: str
    origin: str
    hash: str | None
    private: bool  # as replicas are before they are verified: no user can see it

    def __str__(self) -> str:
        seen = "seen by nobody else" if self.private else "SEEN BY USERS"
        return f"{self.region}: {self.image_id}, of {self.origin}: {str(self.hash)[:16]}, {seen}"


class Watcher:
    """Compares the regions' images with what users uploaded.

    An image says by its property ``origin`` which home image it is a replica of, so nothing that
    glance-sync says is needed to tell.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._session = cloud.session()
        self._regions = {name: cloud.region(name).url for name in cloud.names}
        self._others = [name for name in cloud.names if name != cloud.home]
        self._service_project = cloud.session("glance-sync").get_project_id()
        self._hashes: dict[str, str] = {}
        self.looks = 0
        #: (region, origin) -> the ids its replicas were seen under
        self.ids: dict[tuple[str, str], set[str]] = collections.defaultdict(set)
        self.wrong: list[Sight] = []

    def uploaded(self, origin: str, sha512: str) -> None:
        """A user is about to upload bytes of that hash."""
        self._hashes[origin] = sha512

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look all the time."""
        over = threading.Event()
        threads = [
            threading.Thread(target=self._watch, args=(region, over), daemon=True)
            for region in self._others
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _watch(self, region: str, over: threading.Event) -> None:
        while not over.wait(PAUSE):
            with contextlib.suppress(exceptions.ClientException):  # it may be down
                for image in self.images(region):
                    self._judge(region, image)
                self.looks += 1

    def images(self, region: str) -> list[dict[str, Any]]:
        """All images of a region, as its own Glance lists them."""
        found = {}
        for hidden in ("false", "true"):
            url = f"{self._regions[region]}/v2/images?visibility=all&os_hidden={hidden}&limit=1000"
            for image in self._session.get(url, timeout=5).json()["images"]:
                found[image["id"]] = image
        return list(found.values())

    def is_right(self, image: dict[str, Any]) -> bool:
        """Whether it has the bytes that its origin was given; True of what has no origin."""
        if "origin" not in image:
            return True
        return bool(image["os_hash_value"] == self._hashes.get(image["origin"]))

    def members(self, region: str, image_id: str) -> dict[str, str]:
        """With whom an image is shared."""
        url = f"{self._regions[region]}/v2/images/{image_id}/members"
        found = self._session.get(url, timeout=5, raise_exc=False)
        members = found.json()["members"] if found.status_code == 200 else []
        return {one["member_id"]: one["status"] for one in members}

    def _judge(self, region: str, image: dict[str, Any]) -> None:
        origin = str(image.get("origin"))
        self.ids[region, origin].add(image["id"])
        if image["status"] in ("active", "deactivated") and not self.is_right(image):
            private = image["visibility"] == "private" and image["owner"] == self._service_project
            sight = Sight(region, image["id"], origin, image["os_hash_value"], private)
            if sight not in self.wrong:
                self.wrong.append(sight)
