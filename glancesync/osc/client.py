# SPDX-License-Identifier: Apache-2.0
"""The REST API of glance-sync, through keystoneauth.

Errors of the API arrive as keystoneauth's, which carry the server's own words.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1.adapter import Adapter
from osc_lib.exceptions import CommandError

SERVICE_TYPE = "image-sync"
PAGE = 200  # rows asked for at a time; an image brings all its replicas

Json = dict[str, Any]


def connect(manager: Any) -> Client:
    """A client for the cloud that openstackclient's ``manager`` is set up for."""
    adapter = Adapter(
        session=manager.session,
        service_type=SERVICE_TYPE,
        endpoint_override=endpoint(manager).rstrip("/").removesuffix("/v1"),
        user_agent="openstack-image-sync",
    )
    return Client(adapter)


def endpoint(manager: Any) -> str:
    """The URL of glance-sync: the one told, else the one in the catalog.

    One server serves all regions, so one that is listed in another region than the one in use is
    as good if there is only one.

    :raises CommandError: there is none, or there are several
    """
    try:
        url: str | None = manager.get_endpoint_for_service_type(
            SERVICE_TYPE, region_name=manager.region_name, interface=manager.interface
        )
    except ks_exceptions.CatalogException:
        url = None
    if url:
        return url
    urls = set()
    if manager.auth_ref is not None:
        catalog = manager.auth_ref.service_catalog
        urls = set(catalog.get_urls(service_type=SERVICE_TYPE, interface=manager.interface))
    if len(urls) == 1:
        return str(urls.pop())
    found = "several" if urls else "no"
    raise CommandError(
        f"the catalog has {found} endpoints of type {SERVICE_TYPE}; choose one with "
        + ("--os-region-name or " if urls else "")
        + "--os-image-sync-endpoint (OS_IMAGE_SYNC_ENDPOINT)"
    )


class Client:
    """What the commands ask of glance-sync. Methods are safe to repeat but where they say so.

    :param page: rows asked for at a time
    """

    def __init__(self, adapter: Adapter, *, page: int = PAGE) -> None:
        self._adapter = adapter
        self._page = page

    def images(self, **query: str | None) -> Iterator[Json]:
        """All known images by id, each with its replicas."""
        return self._pages("images", query)

    def image(self, image_id: str) -> Json:
        return self._one("image", "GET", f"/v1/images/{image_id}")

    def sync(self, image_id: str, regions: Sequence[str], *, force: bool) -> Json:
        """Ask for an image to be looked at; answered before anything is done."""
        body: Json = {"force": force}
        if regions:
            body["regions"] = list(regions)
        return self._call("image_id", "POST", f"/v1/images/{image_id}/sync", json=body)

    def ensure(self, image_id: str, region: str) -> Json:
        """Have an image brought to a region where it is needed; how far it is."""
        path = f"/v1/images/{image_id}/ensure"
        return self._one("ensure", "POST", path, json={"region": region})

    def adopt(self, image_id: str, region: str, replica_id: str | None, *, own: bool) -> Json:
        """Ask for an image of a region to be taken for the replica."""
        body: Json = {"region": region, "own": own}
        if replica_id is not None:
            body["replica_id"] = replica_id
        return self._call("task_id", "POST", f"/v1/images/{image_id}/adopt", json=body)

    def adopt_offered(self, region: str, *, own: bool) -> Json:
        """Ask for everything to be adopted that is offered in a region."""
        return self._call("asked", "POST", f"{_region(region)}/adopt", json={"own": own})

    def verify(self, image_id: str, regions: Sequence[str], *, full: bool) -> Json:
        """Ask for an image's replicas to be compared; answered before anything is done."""
        body: Json = {"full": full}
        if regions:
            body["regions"] = list(regions)
        return self._call("image_id", "POST", f"/v1/images/{image_id}/verify", json=body)

    def routes(self, image_id: str, region: str) -> list[Json]:
        """The ways an image's bytes could go to a region, the best first."""
        path = f"/v1/images/{image_id}/routes"
        return list(self._call("routes", "GET", path, params={"region": region})["routes"])

    def status(self) -> Json:
        return self._one("status", "GET", "/v1/status")

    def regions(self) -> list[Json]:
        """All regions by name."""
        return list(self._call("regions", "GET", "/v1/regions")["regions"])

    def region(self, name: str) -> Json:
        return self._one("region", "GET", _region(name))

    def update_region(self, name: str, changes: Json) -> Json:
        return self._one("region", "PATCH", _region(name), json=changes)

    def image_events(self, image_id: str) -> Iterator[Json]:
        """What was done about an image, the newest first."""
        return self._pages("events", {}, f"/v1/images/{image_id}/events")

    def region_events(self, name: str) -> Iterator[Json]:
        """What was done about a region as such, the newest first."""
        return self._pages("events", {}, f"{_region(name)}/events")

    def audits(self) -> list[Json]:
        """All audits by region."""
        return list(self._call("audits", "GET", "/v1/audits")["audits"])

    def audit(self, region: str) -> Json:
        """With its findings."""
        return self._one("audit", "GET", _region(region, "audits"))

    def run_audit(self, region: str) -> Json:
        return self._one("audit", "POST", f"{_region(region, 'audits')}/run")

    def release_audit(self, region: str, finished_at: str | None) -> Json:
        """The audit, and how many deletions were ``released``."""
        body = {} if finished_at is None else {"finished_at": finished_at}
        path = f"{_region(region, 'audits')}/release"
        done = self._call("audit", "POST", path, json=body)
        return {**done["audit"], "released": done["released"]}

    def make_plan(self, regions: Sequence[str], image_id: str | None) -> Json:
        """Ask for a plan; each call makes one more."""
        body: Json = {} if image_id is None else {"image_id": image_id}
        if regions:
            body["regions"] = list(regions)
        return self._one("plan", "POST", "/v1/plans", json=body)

    def plans(self) -> Iterator[Json]:
        """All plans, the newest first."""
        return self._pages("plans", {})

    def plan(self, plan_id: int) -> Json:
        """Without its steps."""
        return self._one("plan", "GET", f"/v1/plans/{plan_id}", params={"limit": "1"})

    def steps(self, plan_id: int, region: str | None) -> Iterator[Json]:
        """The steps of a plan by region and image."""
        return self._pages("steps", {"region": region}, f"/v1/plans/{plan_id}")

    def apply_plan(self, plan_id: int) -> Json:
        """The plan; a second time is refused."""
        return self._one("plan", "POST", f"/v1/plans/{plan_id}/apply")

    def bindings(self, **query: str | None) -> Iterator[Json]:
        """Bindings, the newest first."""
        return self._pages("bindings", query)

    def binding(self, binding_id: int) -> Json:
        return self._one("binding", "GET", f"/v1/bindings/{binding_id}")

    def select(self, wish: Json) -> Json:
        """The binding of a project, made if it has none whose region will do."""
        return self._one("binding", "POST", "/v1/bindings/select", json=wish)

    def explain(self, wish: Json) -> Json:
        """What a wish would come to; nothing is bound."""
        path = "/v1/bindings/select"
        return self._one("selection", "POST", path, params={"dry_run": "1"}, json=wish)

    def bind(self, body: Json) -> Json:
        return self._one("binding", "POST", "/v1/bindings", json=body)

    def unbind(self, binding_id: int, cause: str | None, *, release: bool) -> Json:
        """The binding, ended; a second time is refused unless it is to be released."""
        query = {"release": "1"} if release else {}
        if cause is not None:
            query["cause"] = cause
        return self._one("binding", "DELETE", f"/v1/bindings/{binding_id}", params=query)

    def create_job(self, body: Json) -> Json:
        """Ask for images to be copied; each call makes one more job."""
        return self._one("job", "POST", "/v1/jobs", json=body)

    def promote(self, region: str, image: str, *, force: bool) -> Json:
        """Ask for an image of a region to become one of home's; the job that does it."""
        body = {"image": image, "force": force}
        return self._one("job", "POST", f"{_region(region)}/promote", json=body)

    def jobs(self, **query: str | None) -> Iterator[Json]:
        """Jobs, the newest first."""
        return self._pages("jobs", query)

    def job(self, job_id: int) -> Json:
        """Without its items."""
        return self._one("job", "GET", f"/v1/jobs/{job_id}", params={"limit": "1"})

    def job_items(self, job_id: int, state: str | None) -> Iterator[Json]:
        """The items of a job by number."""
        return self._pages("items", {"state": state}, f"/v1/jobs/{job_id}")

    def cancel_job(self, job_id: int) -> Json:
        """The job; a second time is refused."""
        return self._one("job", "POST", f"/v1/jobs/{job_id}/cancel")

    def delete_job(self, job_id: int) -> None:
        """Forget it; a second time it is not there."""
        self._call("deleted", "DELETE", f"/v1/jobs/{job_id}")

    def unpin(self, image_id: str, region: str) -> None:
        """Say that nobody wants an image in a region by name; a second time nobody did."""
        where = urllib.parse.quote(region, safe="")
        self._call("image_id", "DELETE", f"/v1/images/{image_id}/pins/{where}")

    def tasks(self, **query: str | None) -> Iterator[Json]:
        """Tasks by id: the open ones unless ``state`` is given, of the ``kind`` if it is."""
        return self._pages("tasks", query)

    def task(self, task_id: int) -> Json:
        return self._one("task", "GET", f"/v1/tasks/{task_id}")

    def retry(self, task_id: int) -> Json:
        return self._one("task", "POST", f"/v1/tasks/{task_id}/retry")

    def cancel(self, task_id: int) -> Json:
        return self._one("task", "POST", f"/v1/tasks/{task_id}/cancel")

    def rules(self) -> Json:
        """The rules in force."""
        return self._one("rules", "GET", "/v1/rules")

    def test_rules(self, image_id: str, rules: str | None) -> Json:
        """What rules say of an image: those in force, or those of a file."""
        body = {"image_id": image_id}
        if rules is not None:
            body["rules"] = rules
        return self._one("test", "POST", "/v1/rules/test", json=body)

    def preview_rules(self, rules: str) -> Iterator[Json]:
        """What the rules of a file would change, part by part."""
        wanted: dict[str, str] = {}
        while True:
            said = self._call(
                "preview", "POST", "/v1/rules/preview", params=wanted, json={"rules": rules}
            )
            yield said["preview"]
            if "next" not in said:
                return
            wanted = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(said["next"]).query))

    def _pages(
        self, name: str, query: dict[str, str | None], path: str | None = None
    ) -> Iterator[Json]:
        wanted = {key: value for key, value in query.items() if value is not None}
        wanted["limit"] = str(self._page)
        while True:
            page = self._call(name, "GET", path or f"/v1/{name}", params=wanted)
            yield from page[name]
            if "next" not in page:
                return
            # Only the query of it counts: a proxy may have moved the path.
            wanted = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(page["next"]).query))

    def _one(self, name: str, method: str, path: str, **more: Any) -> Json:
        one: Json = self._call(name, method, path, **more)[name]
        return one

    def _call(self, name: str, method: str, path: str, **more: Any) -> Json:
        """The answer's body, in which there must be ``name``."""
        response = self._adapter.request(path, method, **more)
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict) or name not in body:
            raise CommandError(f"{response.url} is not answered by a glance-sync server")
        return body


def _region(name: str, noun: str = "regions") -> str:
    return f"/v1/{noun}/{urllib.parse.quote(name, safe='')}"
