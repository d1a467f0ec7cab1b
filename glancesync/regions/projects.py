# SPDX-License-Identifier: Apache-2.0
"""``interfaces.Projects``: what Keystone says of projects, remembered for a while."""

from __future__ import annotations

from collections.abc import Callable

from keystoneauth1 import exceptions as ksa
from keystoneauth1.adapter import Adapter
from keystoneauth1.session import Session

from glancesync.model import Project
from glancesync.regions.catalog import KEYSTONE
from glancesync.regions.translate import translated

#: Seconds for which an answer is believed: projects are hardly ever renamed, and never move.
KEPT = 600.0
_MOST = 100_000  # answers kept; then all is forgotten, which costs requests only


class KeystoneProjects:
    """Asks with the service user's token, which must be an admin's. Safe to call from many threads.

    :param session: opens a session of the service user
    :param interface: public, internal or admin
    :param monotonic: seconds since some fixed point
    """

    def __init__(
        self, session: Callable[[], Session], interface: str, monotonic: Callable[[], float]
    ) -> None:
        self._adapter = Adapter(
            session(),
            service_type="identity",
            interface=interface,
            min_version="3.0",
            max_version="3.latest",
        )
        self._monotonic = monotonic
        self._projects: dict[str, tuple[float, Project | None]] = {}
        self._domains: dict[str, tuple[float, str]] = {}

    def __call__(self, project_id: str) -> Project | None:
        now = self._monotonic()
        known = self._projects.get(project_id)
        if known is None or known[0] < now:
            if len(self._projects) >= _MOST:
                self._projects.clear()
            known = self._projects[project_id] = now + KEPT, self._ask(project_id)
        return known[1]

    def _ask(self, project_id: str) -> Project | None:
        with translated(KEYSTONE, f"read project {project_id}"):
            try:
                said = self._adapter.get(f"/projects/{project_id}").json()["project"]
            except ksa.NotFound:
                return None
            domain_id = str(said["domain_id"])
            return Project(str(said["id"]), str(said["name"]), domain_id, self._domain(domain_id))

    def _domain(self, domain_id: str) -> str:
        now = self._monotonic()
        known = self._domains.get(domain_id)
        if known is None or known[0] < now:
            name = str(self._adapter.get(f"/domains/{domain_id}").json()["domain"]["name"])
            known = self._domains[domain_id] = now + KEPT, name
        return known[1]
