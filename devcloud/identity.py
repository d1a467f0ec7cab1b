# SPDX-License-Identifier: Apache-2.0
"""What the one Keystone of all regions holds: regions, endpoints, projects, users, roles.

Everything here makes sure that something is there, so repeating is safe.
"""

from collections.abc import Mapping
from typing import Any

from keystoneauth1 import session as ksa

INTERFACES = ("public", "internal", "admin")
# user -> (project, roles); admin comes from keystone-manage bootstrap
USERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "glance": ("service", ("admin", "service")),
    "glance-sync": ("service", ("admin", "service")),
    "demo": ("demo", ("member",)),
    "other": ("other", ("member",)),
}
PROJECT_OF = {"admin": "admin"} | {user: project for user, (project, _) in USERS.items()}


class Identity:
    """Keystone's v3 API, as its admin."""

    def __init__(self, session: ksa.Session, auth_url: str) -> None:
        self._session = session
        self._url = auth_url.rstrip("/")

    def ensure_users(self, passwords: Mapping[str, str]) -> None:
        """Make the users of :data:`USERS`, their projects and roles."""
        for user, (project, roles) in USERS.items():
            project_id = self._ensure("project", {"name": project, "domain_id": "default"})
            user_id = self._ensure(
                "user",
                {"name": user, "domain_id": "default"},
                {"password": passwords[user], "default_project_id": project_id},
            )
            for role in roles:
                role_id = self._ensure("role", {"name": role})
                path = f"/projects/{project_id}/users/{user_id}/roles/{role_id}"
                self._session.put(self._url + path)

    def ensure_endpoints(self, kind: str, name: str, urls: Mapping[str, str]) -> None:
        """Make service *name* of type *kind* have exactly the endpoints *urls* (region -> URL)."""
        service_id = self._ensure("service", {"type": kind}, {"name": name})
        listed = self._get("/endpoints", service_id=service_id)["endpoints"]
        existing = {(item["region_id"], item["interface"]): item for item in listed}
        for region, url in urls.items():
            self._ensure_region(region)
            for interface in INTERFACES:
                item = existing.pop((region, interface), None)
                body = {
                    "endpoint": {
                        "service_id": service_id,
                        "region_id": region,
                        "interface": interface,
                        "url": url,
                    }
                }
                if item is None:
                    self._session.post(f"{self._url}/endpoints", json=body)
                elif item["url"] != url:
                    self._session.patch(f"{self._url}/endpoints/{item['id']}", json=body)
        for item in existing.values():
            self._session.delete(f"{self._url}/endpoints/{item['id']}")

    def _ensure_region(self, region: str) -> None:
        if self._session.get(f"{self._url}/regions/{region}", raise_exc=False).status_code == 404:
            self._session.post(f"{self._url}/regions", json={"region": {"id": region}})

    def _ensure(
        self, kind: str, key: Mapping[str, str], more: Mapping[str, str] | None = None
    ) -> str:
        """The id of the one resource of *kind* that has the attributes *key*; made if need be."""
        found = self._get(f"/{kind}s", **key)[f"{kind}s"]
        if found:
            return str(found[0]["id"])
        body = {kind: {**key, **(more or {})}}
        return str(self._session.post(f"{self._url}/{kind}s", json=body).json()[kind]["id"])

    def _get(self, path: str, **query: str) -> Any:
        return self._session.get(self._url + path, params=query).json()
