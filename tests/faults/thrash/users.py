# SPDX-License-Identifier: Apache-2.0
"""Users of home's Glance: they do what their steps say, and note what Glance answered."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import random
import time
from collections.abc import Iterable, Mapping
from typing import Any

from keystoneauth1 import exceptions

from devcloud import Cloud
from tests.faults.thrash.schedule import USERS, Step
from tests.faults.watcher import Watcher

_PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
_HALF_MADE = ("saving", "uploading", "importing")
_TIMEOUT = 30.0  # seconds a user waits for an answer


def contents(image_id: str, size: int) -> bytes:
    """The bytes of an image: always the same, and of no disk format."""
    return b"glancesync"[:size] + random.Random(image_id).randbytes(max(0, size - 10))


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a user, and how it ended."""

    began: float  # monotonic
    ended: float
    what: str
    status: int  # of HTTP; 0: no answer

    @property
    def failed(self) -> bool:
        """True if the user may say that the service is broken."""
        return self.status == 0 or self.status >= 500


class Users:
    """All of them, on home's own Glance."""

    def __init__(self, cloud: Cloud, watcher: Watcher) -> None:
        self._url = f"{cloud.region(cloud.home).url}/v2/images"
        self._sessions = {user: cloud.session(user) for user in USERS}
        self._projects = {
            user: str(session.get_project_id()) for user, session in self._sessions.items()
        }
        self._watcher = watcher
        self.calls: list[Call] = []
        self.deleted: set[str] = set()  # or somebody has tried to
        self._unsure: set[str] = set()  # whose deletion was not answered

    def do(self, step: Step) -> str:
        """Carry out a step; what Glance answered."""
        call = getattr(self, f"_{step.what}")
        return str(call(step.lane, **step.args))

    def tidy(self, home: Iterable[Mapping[str, Any]]) -> None:
        """Delete what was left half-made or half-deleted at home: only users can.

        A Glance that is killed while it deletes leaves an active image without data.
        """
        for image in home:
            if image["status"] in _HALF_MADE or image["id"] in self._unsure:
                self._delete("admin", image["id"])

    def counts(self) -> dict[str, collections.Counter[str]]:
        """What -> how often it went how."""
        found: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for call in self.calls:
            how = "failed" if call.failed else "refused" if call.status >= 400 else "done"
            found[call.what][how] += 1
        return found

    # -- calls ------------------------------------------------------------------------------------

    def _call(self, user: str, what: str, method: str, path: str, **kwargs: Any) -> int:
        began = time.monotonic()
        try:
            answer = self._sessions[user].request(
                self._url + path, method, raise_exc=False, timeout=_TIMEOUT, **kwargs
            )
            status = int(answer.status_code)
        except exceptions.ClientException:
            status = 0
        self.calls.append(Call(began, time.monotonic(), what, status))
        return status

    def _patch(self, user: str, what: str, image: str, *ops: Mapping[str, Any]) -> int:
        return self._call(user, what, "PATCH", f"/{image}", json=list(ops), headers=_PATCH)

    # -- what they do -----------------------------------------------------------------------------

    def _reserve(self, user: str, image: str, **looks: Any) -> int:
        body = {
            "id": image,
            "origin": image,
            "container_format": "bare",
            "disk_format": "raw",
            **looks,
        }
        return self._call(user, "create", "POST", "", json=body)

    def _create(self, user: str, image: str, size: int, **looks: Any) -> int:
        status = self._reserve(user, image, **looks)
        return self._upload(user, image, size) if status == 201 else status

    def _upload(self, user: str, image: str, size: int) -> int:
        data = contents(image, size)
        self._watcher.uploaded(image, hashlib.sha512(data).hexdigest())
        headers = {"Content-Type": "application/octet-stream"}
        return self._call(user, "upload", "PUT", f"/{image}/file", data=data, headers=headers)

    def _set(self, user: str, image: str, name: str, value: str) -> int:
        return self._patch(user, "update", image, {"op": "add", "path": f"/{name}", "value": value})

    def _unset(self, user: str, image: str, name: str) -> int:
        return self._patch(user, "update", image, {"op": "remove", "path": f"/{name}"})

    def _hammer(self, user: str, image: str, times: int) -> int:
        return max(self._set(user, image, "count", str(number)) for number in range(times))

    def _refer(self, user: str, image: str, kernel: str) -> int:
        return self._set(user, image, "kernel_id", kernel)

    def _replace(self, user: str, what: str, image: str, name: str, value: Any) -> int:
        return self._patch(user, what, image, {"op": "replace", "path": f"/{name}", "value": value})

    def _tag(self, user: str, image: str, tags: list[str]) -> int:
        return self._replace(user, "update", image, "tags", tags)

    def _show(self, user: str, image: str, visibility: str) -> int:
        return self._replace(user, "visibility", image, "visibility", visibility)

    def _protect(self, user: str, image: str, on: bool) -> int:
        return self._replace(user, "protect", image, "protected", on)

    def _hide(self, user: str, image: str, on: bool) -> int:
        return self._replace(user, "hide", image, "os_hidden", on)

    def _give(self, user: str, image: str, to_user: str) -> int:
        return self._replace("admin", "owner", image, "owner", self._projects[to_user])

    def _share(self, user: str, image: str, with_user: str) -> int:
        body = {"member": self._projects[with_user]}
        return self._call(user, "members", "POST", f"/{image}/members", json=body)

    def _accept(self, user: str, image: str, by_user: str) -> int:
        path = f"/{image}/members/{self._projects[by_user]}"
        return self._call(by_user, "members", "PUT", path, json={"status": "accepted"})

    def _unshare(self, user: str, image: str, from_user: str) -> int:
        path = f"/{image}/members/{self._projects[from_user]}"
        return self._call(user, "members", "DELETE", path)

    def _deactivate(self, user: str, image: str) -> int:
        return self._call("admin", "deactivate", "POST", f"/{image}/actions/deactivate")

    def _reactivate(self, user: str, image: str) -> int:
        return self._call("admin", "reactivate", "POST", f"/{image}/actions/reactivate")

    def _delete(self, user: str, image: str) -> int:
        self._protect("admin", image, False)
        self.deleted.add(image)
        status = self._call("admin", "delete", "DELETE", f"/{image}")
        (self._unsure.add if status == 0 or status >= 500 else self._unsure.discard)(image)
        return status
