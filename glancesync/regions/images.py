# SPDX-License-Identifier: Apache-2.0
"""``interfaces.ImageService`` over python-glanceclient.

Reads and writes use the client's HTTP layer with documented JSON rather than its schema-bound
models: those drop what they do not know, and "removals are removals" needs the exact patch.
Source for the shapes: OpenStack Image API v2 reference.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import urllib.parse
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import glanceclient
from glanceclient import exc
from keystoneauth1.session import Session

from glancesync.errors import Credential
from glancesync.interfaces import Endpoint, Page
from glancesync.model import MAPPING, Image, unversioned
from glancesync.planner import Op
from glancesync.regions.translate import legible, translated
from glancesync.schemes import Location, StoreInfo

PATCH_TYPE = "application/openstack-images-v2.1-json-patch"

#: Attributes of an image that are not custom properties.
ATTRIBUTES = frozenset(
    """
    id name status visibility protected os_hidden checksum owner size virtual_size
    container_format disk_format created_at updated_at tags direct_url min_ram min_disk self
    file stores schema locations os_hash_algo os_hash_value deleted deleted_at
    """.split()  # noqa: SIM905 - a list of fifty quotes reads worse
)
RESERVED_PREFIX = "os_glance_"
#: Also listed like that, for good: what Glance was killed in the middle of deleting.
_ON_THE_WAY_OUT = ("deleted", "pending_delete")
_IDS = 100  # in one request: its line must not grow too long
PAGE = 500  #: images asked for in one page; a Glance may be configured to give fewer


def _not_on_the_way_out(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in bodies if one["status"] not in _ON_THE_WAY_OUT]


def is_custom(name: str) -> bool:
    """True for a property that users may set and that we may therefore copy."""
    return name not in {*ATTRIBUTES, MAPPING} and not name.startswith(RESERVED_PREFIX)


def image_from(body: Mapping[str, Any], members: Mapping[str, str]) -> Image:
    """An :class:`Image` from what ``GET /v2/images/{id}`` answered.

    :raises KeyError, TypeError: the body lacks what the API promises
    """
    status = body["status"]
    if status == "queued" and body.get("os_glance_import_task"):
        status = "importing"  # accepted; Glance changes the status when the import begins
    return Image(
        id=body["id"],
        status=status,
        name=body.get("name"),
        container_format=body.get("container_format"),
        disk_format=body.get("disk_format"),
        min_disk=int(body["min_disk"]),
        min_ram=int(body["min_ram"]),
        visibility=body["visibility"],
        protected=bool(body["protected"]),
        os_hidden=bool(body["os_hidden"]),
        owner=body.get("owner"),
        tags=frozenset(body["tags"]),
        properties={
            name: str(value)
            for name, value in body.items()
            if is_custom(name) and value is not None
        },
        members=members,
        size=body.get("size"),
        checksum=body.get("checksum"),
        os_hash_algo=body.get("os_hash_algo"),
        os_hash_value=body.get("os_hash_value"),
        failed_import=body.get("os_glance_failed_import") or "",
        created_at=_seconds(body.get("created_at")),
        importing_to=body.get("os_glance_importing_to_stores") or "",
        mapping=body.get(MAPPING) or "",
    )


def _seconds(iso: str | None) -> float | None:
    """A time as Glance writes it: ISO 8601, UTC."""
    if iso is None:
        return None
    at = datetime.datetime.fromisoformat(iso)
    return at.replace(tzinfo=at.tzinfo or datetime.UTC).timestamp()


def _store_info(body: Mapping[str, Any]) -> StoreInfo:
    said = body.get("properties") or {}
    return StoreInfo(
        id=body["id"],
        type=body["type"],
        default=body.get("default") == "true",
        **{name: said.get(name) or "" for name in ("data_dir", "pool", "fsid", "container")},
    )


def json_patch(ops: Sequence[Op]) -> list[dict[str, Any]]:
    """Operations as a JSON patch (RFC 6902; paths escaped by RFC 6901)."""
    patch = []
    for op in ops:
        name = op.name.replace("~", "~0").replace("/", "~1")
        one: dict[str, Any] = {"op": op.op, "path": f"/{name}"}
        if op.op != "remove":
            one["value"] = op.value
        patch.append(one)
    return patch


class GlanceImages:
    """The images of one region.

    keystoneauth fetches a new token before the old one ends and, once, when a region refuses it;
    nothing else is repeated here.

    :param endpoint: of its Glance, as the catalog lists it
    :param interface: the kind of endpoint that is; a region's import uses the same
    """

    def __init__(self, region: str, session: Session, endpoint: str, interface: str) -> None:
        self.region = region
        self._interface = interface
        self._session = session
        hooks = session.session.hooks["response"]
        if legible not in hooks:
            hooks.append(legible)
        self._url = unversioned(endpoint)
        self._client = glanceclient.Client("2", endpoint=self._url, session=session)
        self._http = self._client.http_client

    def _json(self, method: str, url: str, **kwargs: Any) -> dict[str, Any]:
        _, body = getattr(self._http, method)(url, **kwargs)
        if not isinstance(body, dict):
            raise ValueError("the answer is not a JSON object")
        return body

    def get(self, image_id: str) -> Image | None:
        with translated(self.region, f"read image {image_id}"):
            try:
                body = self._json("get", f"/v2/images/{image_id}")
            except exc.HTTPNotFound:
                return None
            if body["status"] in _ON_THE_WAY_OUT:
                return None
            members = self._members(image_id) if body["visibility"] == "shared" else {}
            if members is None:  # it was there and shared a moment ago
                raise ValueError("the image changed while it was read")
            return image_from(body, members)

    def _members(self, image_id: str) -> dict[str, str] | None:
        try:
            body = self._json("get", f"/v2/images/{image_id}/members")
        except (exc.HTTPNotFound, exc.HTTPForbidden):
            return None
        return {member["member_id"]: member["status"] for member in body["members"]}

    def members(self, image_id: str) -> dict[str, str] | None:
        with translated(self.region, f"read the members of image {image_id}"):
            return self._members(image_id)

    def page(
        self, *, hidden: bool, after: str | None = None, updated_since: str | None = None
    ) -> Page:
        query = {"visibility": "all", "os_hidden": str(hidden).lower(), "limit": str(PAGE)}
        if updated_since is None:
            query["sort"] = "id:asc"
        else:
            query |= {"sort": "updated_at:asc,id:asc", "updated_at": f"gte:{updated_since}"}
        if after:
            query["marker"] = after
        with translated(self.region, "list the images"):
            body = self._json("get", f"/v2/images?{urllib.parse.urlencode(query)}")
            found = _not_on_the_way_out(body["images"])
            return Page(
                images=tuple(image_from(one, {}) for one in found),
                updated_at=tuple(one["updated_at"] for one in found),
                next=body["images"][-1]["id"] if "next" in body else None,
            )

    def some(self, image_ids: Collection[str]) -> list[Image]:
        ids = sorted(image_ids)
        found: list[Image] = []
        with translated(self.region, "list some images"):
            for start in range(0, len(ids), _IDS):
                found += self._listed(id=f"in:{','.join(ids[start : start + _IDS])}")
        return found

    def named(self, name: str) -> list[Image]:
        with translated(self.region, "list the images with a name"):
            # What begins like Glance's only operator on names has to be quoted.
            said = f'in:"{name}"' if name.startswith("in:") else name
            return [one for one in self._listed(name=said) if one.name == name]

    def with_bytes(self, hash_value: str) -> list[Image]:
        with translated(self.region, "list the images with a hash"):
            return self._listed(os_hash_value=hash_value)

    def _listed(self, **filters: str) -> list[Image]:
        """All images, hidden ones too, that filters let through."""
        found: list[Image] = []
        for hidden in ("false", "true"):
            query = {**filters, "visibility": "all", "os_hidden": hidden, "limit": str(PAGE)}
            while True:
                body = self._json("get", f"/v2/images?{urllib.parse.urlencode(query)}")
                found += [image_from(one, {}) for one in _not_on_the_way_out(body["images"])]
                if "next" not in body or not body["images"]:
                    break
                if query.get("marker") == (marker := body["images"][-1]["id"]):
                    raise ValueError("its list of images does not go on")
                query["marker"] = marker
        return found

    def confirm_absent(self, image_id: str) -> bool:
        with translated(self.region, f"list image {image_id}"):
            for hidden in ("false", "true"):
                body = self._json(
                    "get", f"/v2/images?id=in:{image_id}&visibility=all&os_hidden={hidden}"
                )
                if any(one["id"] == image_id for one in _not_on_the_way_out(body["images"])):
                    return False
        self.require_admin()
        return True

    def require_admin(self) -> None:
        # The tasks API is open to whom Glance's policy rule context_is_admin names, and nobody
        # else: the very rule that decides whose images one gets to see.
        with translated(self.region, "see whether we are treated as an admin"):
            try:
                self._json("get", "/v2/tasks?limit=1")
            except exc.HTTPForbidden:
                raise Credential(
                    self.region,
                    "does not treat us as an admin and hides other projects' images from us; "
                    "check the roles of the service user and context_is_admin of its policy",
                ) from None

    def create(self, image: Image) -> None:
        body: dict[str, Any] = {
            **image.properties,
            "id": image.id,
            "visibility": "private",
            "min_disk": image.min_disk,
            "min_ram": image.min_ram,
            "tags": sorted(image.tags),
        }
        for name in ("name", "container_format", "disk_format"):
            if getattr(image, name) is not None:
                body[name] = getattr(image, name)
        with translated(self.region, f"create image {image.id}"):
            self._json("post", "/v2/images", data=body)

    def patch(self, image_id: str, ops: Sequence[Op]) -> None:
        with translated(self.region, f"change {', '.join(op.name for op in ops)}"):
            self._json(
                "patch",
                f"/v2/images/{image_id}",
                headers={"Content-Type": PATCH_TYPE},
                data=json.dumps(json_patch(ops)),
            )

    def put_member(self, image_id: str, project_id: str, status: str) -> None:
        with translated(self.region, f"share image {image_id} with {project_id}"):
            with contextlib.suppress(exc.HTTPConflict):  # it is a member already
                self._client.image_members.create(image_id, project_id)
            self._client.image_members.update(image_id, project_id, status)

    def remove_member(self, image_id: str, project_id: str) -> None:
        doing = f"unshare image {image_id} from {project_id}"
        with translated(self.region, doing), contextlib.suppress(exc.HTTPNotFound):
            self._client.image_members.delete(image_id, project_id)

    def deactivate(self, image_id: str) -> None:
        with translated(self.region, f"deactivate image {image_id}"):
            self._client.images.deactivate(image_id)

    def reactivate(self, image_id: str) -> None:
        with translated(self.region, f"reactivate image {image_id}"):
            self._client.images.reactivate(image_id)

    def delete(self, image_id: str) -> None:
        with translated(self.region, f"delete image {image_id}"):
            try:
                self._client.images.delete(image_id)
            except exc.HTTPNotFound:
                return
            except exc.HTTPBadRequest:
                # Glance's answer while somebody else is deleting it at the same time.
                if self.get(image_id) is not None:
                    raise

    def import_from(self, image_id: str, source_region: str, source_id: str) -> None:
        with translated(self.region, f"import image {image_id} from {source_region}"):
            self._client.images.image_import(
                image_id,
                method="glance-download",
                remote_region=source_region,
                remote_image_id=source_id,
                remote_service_interface=self._interface,
            )

    def import_methods(self) -> frozenset[str]:
        with translated(self.region, "ask for the import methods"):
            return frozenset(self._json("get", "/v2/info/import")["import-methods"]["value"])

    def stores(self) -> tuple[StoreInfo, ...]:
        with translated(self.region, "ask for its stores"):
            try:
                body = self._json("get", "/v2/info/stores/detail")
            except exc.HTTPNotFound:  # it has one store, which has no name
                return ()
            return tuple(_store_info(one) for one in body["stores"])

    def locations(self, image_id: str) -> tuple[Location, ...]:
        with translated(self.region, f"ask where image {image_id} is"):
            url = f"/v2/images/{image_id}/locations"
            _, body = self._http.get(url, headers=self._as_service())
            return tuple(
                Location(one["url"], one.get("metadata", {}).get("store", "")) for one in body
            )

    def file_stores(self) -> Mapping[str, str]:
        with translated(self.region, "ask whether it adopts files"):
            try:
                body = self._json("get", "/v2/info/glance_sync")
            except exc.HTTPNotFound:
                return {}
            return {str(store): str(path) for store, path in body["file_stores"].items()}

    def register(self, image_id: str, location: Location, home: Image) -> None:
        body: dict[str, Any] = {"url": location.url}
        if home.os_hash_algo and home.os_hash_value:
            body["validation_data"] = {
                "os_hash_algo": home.os_hash_algo,
                "os_hash_value": home.os_hash_value,
            }
        if location.url.startswith("file:"):  # glance_patch.locations knows more than Glance
            body |= {"size": home.size, "checksum": home.checksum}
        with translated(self.region, f"have image {image_id} use what was put into its store"):
            url = f"/v2/images/{image_id}/locations"
            self._http.post(url, headers=self._as_service(), data=body)

    def _as_service(self) -> dict[str, str]:
        # For Glance's rule service_api a service is, up to 31, who brings a service's token beside
        # a user's: we are both. From 32 on the roles of the one token count.
        return {"X-Service-Token": self._session.get_token() or ""}

    def file(self, image_id: str) -> Endpoint:
        with translated(self.region, "get a token"):
            token = self._session.get_token() or ""
        return Endpoint(self.region, f"{self._url}/v2/images/{image_id}/file", token)
