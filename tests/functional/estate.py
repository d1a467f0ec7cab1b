# SPDX-License-Identifier: Apache-2.0
"""Images of a devcloud as its users and admins see them: made at home, read from each Glance."""

import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterable
from typing import Any

import requests
from glanceclient import exc
from keystoneauth1.session import Session
from prometheus_client.parser import text_string_to_metric_families

from devcloud import Cloud
from tests.functional.wait import until

#: What Glance says of its own copy, and not of the image.
LOCAL = frozenset(
    {"id", "created_at", "updated_at", "file", "schema", "self"}
    | {"stores", "direct_url", "locations", "virtual_size"}
)
PATIENCE = 60.0  # seconds an image may take to follow
#: Seconds between looks at services: each takes as much of a processor as a good part of the work
#: that is waited for.
POLL = 0.3


class Estate:
    """The images of a cloud. ``made`` are deleted at home by :meth:`clear`."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        session = cloud.session()
        self.glances = {name: cloud.glance(name, session=session) for name in cloud.names}
        self.home = self.glances[cloud.home]
        self.others = [name for name in cloud.names if name != cloud.home]
        self.made: list[str] = []
        self._sessions: dict[str, Session] = {}
        for name in cloud.names:  # learn the endpoints now, before a test sends others elsewhere
            self.read(name, str(uuid.uuid4()))

    # -- at home ----------------------------------------------------------------------------------

    def create(self, data: bytes | None = b"some bytes", user: str = "admin", **fields: Any) -> str:
        """An image at home, with data unless None."""
        glance = self.home if user == "admin" else self.cloud.glance(self.cloud.home, user)
        fields = {
            "name": f"test {uuid.uuid4().hex[:8]}",
            "container_format": "bare",
            "disk_format": "raw",
            **fields,
        }
        image_id: str = glance.images.create(**fields)["id"]
        self.made.append(image_id)
        if data is not None:
            glance.images.upload(image_id, io.BytesIO(data), image_size=len(data))
        return image_id

    def clear(self) -> None:
        """Delete what was made and wait until no region holds it any more."""
        for image_id in self.made:
            try:
                self.home.images.update(image_id, protected=False)
                self.home.images.delete(image_id)
            except exc.HTTPNotFound:
                pass
        for image_id in self.made:
            self.gone(image_id)
        self.made.clear()

    # -- in the regions ---------------------------------------------------------------------------

    def read(self, region: str, image_id: str) -> dict[str, Any] | None:
        """What a replica must have in common with its home image; None if there is none."""
        image, members = self._image(region, image_id), self._members(region, image_id)
        return None if image is None or members is None else {**image, "members": members}

    def _image(self, region: str, image_id: str) -> dict[str, Any] | None:
        try:
            image = dict(self.glances[region].images.get(image_id))
        except exc.HTTPNotFound:
            return None
        shown = {
            name: value
            for name, value in image.items()
            if name not in LOCAL and not name.startswith("os_glance_")
        }
        return {**shown, "tags": sorted(image["tags"])}

    def _members(self, region: str, image_id: str) -> dict[str, str] | None:
        try:
            found = self.glances[region].image_members.list(image_id)
            return {one.member_id: one.status for one in found}
        except exc.HTTPNotFound:
            return None
        except exc.HTTPForbidden:  # it is not shared
            return {}

    def follows(self, image_id: str, regions: Iterable[str] = (), **ids: str) -> None:
        """Wait until the regions (all, unless named) hold what home holds.

        :param ids: region -> id there, where it differs
        """
        for region in list(regions) or self.others:

            def same(region: str = region) -> bool:
                there_id = ids.get(region, image_id)
                for look in (self._image, self._members):
                    there = look(region, there_id)
                    assert there is not None, f"{region} does not have it"
                    home = look(self.cloud.home, image_id)
                    assert home is not None
                    differs = {k for k in home | there if home.get(k) != there.get(k)}
                    assert not differs, {k: (home.get(k), there.get(k)) for k in sorted(differs)}
                return True

            until(same, PATIENCE, f"{region} holds image {image_id} as home does", POLL)

    def gone(self, image_id: str, regions: Iterable[str] = ()) -> None:
        """Wait until no region has the image."""
        for region in list(regions) or self.others:
            until(
                lambda region=region: self._image(region, image_id) is None,
                PATIENCE,
                f"{region} has no image {image_id}",
                POLL,
            )

    def bytes_of(self, region: str, image_id: str) -> bytes:
        """The image's data, as a user downloads it."""
        return b"".join(self.glances[region].images.data(image_id, do_checksum=False))

    # -- what glance-sync says --------------------------------------------------------------------

    def sync(self, method: str, path: str, user: str = "admin", **kwargs: Any) -> Any:
        """A request to glance-sync; the answer as (status, JSON)."""
        session = self._sessions.setdefault(user, self.cloud.session(user))
        response = session.request(
            f"{self.cloud.sync_url}{path}", method, raise_exc=False, **kwargs
        )
        return response.status_code, response.json() if response.content else None

    def replica(self, image_id: str, region: str) -> dict[str, Any] | None:
        """The journal's word on a replica."""
        status, body = self.sync("GET", f"/v1/images/{image_id}")
        if status != 200:
            return None
        found = [one for one in body["image"]["replicas"] if one["region"] == region]
        return found[0] if found else None

    def reaches(self, image_id: str, region: str, *states: str, timeout: float = PATIENCE) -> Any:
        """Wait until the journal says that a replica is in one of ``states``; return it."""

        def look() -> dict[str, Any] | None:
            replica = self.replica(image_id, region)
            assert replica is not None, f"no replica in {region} is known"
            assert replica["state"] in states, json.dumps(replica)
            return replica

        return until(look, timeout, f"the replica of {image_id} in {region} is {states}", POLL)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels, as Prometheus reads them."""
        answer = requests.get(f"{self.cloud.sync_url}/metrics", timeout=30)
        assert answer.status_code == 200, answer.text
        return sum(
            sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == f"glancesync_{name}" and labels.items() <= sample.labels.items()
        )

    def settled(self) -> None:
        """Wait until glance-sync has no open task."""
        until(
            lambda: not self.sync("GET", "/v1/tasks")[1]["tasks"],
            PATIENCE,
            "there is no open task",
            POLL,
        )


def random_bytes(size: int) -> bytes:
    """Bytes that do not compress and do not look like any disk format."""
    return b"glancesync" + os.urandom(size - 10)


def sha512(data: bytes) -> str:
    return hashlib.sha512(data).hexdigest()
