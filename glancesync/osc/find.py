# SPDX-License-Identifier: Apache-2.0
"""From what the user calls an image, or a project, to its id."""

from __future__ import annotations

import re
from typing import Any

from keystoneauth1 import exceptions as ks_exceptions
from keystoneauth1.adapter import Adapter
from osc_lib.exceptions import CommandError

from glancesync.osc.standing import alive

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PROJECT = re.compile(r"[0-9a-f]{32}")
_NAMED = 5  # ids that an error message lists


def image_id(manager: Any, image: str) -> str:
    """The id of the image with that id or name.

    A name is looked up in the Glance of the home region, and if that can't be asked or does not
    have it, among the images that glance-sync knows: those include deleted ones whose replicas
    are still to go, and are all that a user without special rights may see.

    :raises CommandError: no image has that name, or several have
    """
    if _ID.fullmatch(image):
        return image.lower()
    found = _ids_at_home(manager, image) or {
        one["id"] for one in manager.image_sync.images(name=image) if alive(one)
    }
    if not found:
        raise CommandError(f"no image is called {image!r}")
    return _only(found, "images", image)


def project_id(manager: Any, project: str) -> str:
    """The id of the project with that id or name.

    A name that Keystone does not let us look up is taken for an id.

    :raises CommandError: no project has that name, or several have
    """
    if _PROJECT.fullmatch(project):
        return project
    keystone = Adapter(
        session=manager.session,
        service_type="identity",
        interface=manager.interface,
        region_name=manager.region_name,
        min_version="3",
        max_version="3.latest",
        user_agent="openstack-image-sync",
    )
    try:
        found = keystone.get("/projects", params={"name": project}).json()["projects"]
    except ks_exceptions.Forbidden:
        return project
    if not found:
        raise CommandError(f"no project is called {project!r}")
    return _only({one["id"] for one in found}, "projects", project)


def _only(found: set[str], what: str, name: str) -> str:
    if len(found) > 1:
        ids = sorted(found)
        more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        raise CommandError(
            f"{len(ids)} {what} are called {name!r}: {', '.join(ids[:_NAMED])}{more}; "
            "say which one by its id"
        )
    return found.pop()


def is_at_home(manager: Any, image: str) -> bool:
    """Whether home has the image with that id; True also if home can't be asked."""
    glance = _home_glance(manager)
    try:
        return glance is None or bool(glance.get(f"/images/{image}"))
    except ks_exceptions.NotFound:
        return False


def _ids_at_home(manager: Any, name: str) -> set[str]:
    glance = _home_glance(manager)
    if glance is None:
        return set()
    found = set()
    for hidden in ("false", "true"):
        query = {"name": name, "visibility": "all", "os_hidden": hidden}
        found |= {one["id"] for one in glance.get("/images", params=query).json()["images"]}
    return found


def _home_glance(manager: Any) -> Adapter | None:
    """The Image API of the home region; None if we may not know or reach it."""
    try:
        homes = [one["name"] for one in manager.image_sync.regions() if one["home"]]
    except ks_exceptions.Forbidden:
        return None
    if not homes:
        return None
    glance = Adapter(
        session=manager.session,
        service_type="image",
        interface=manager.interface,
        region_name=homes[0],
        min_version="2",
        max_version="2.latest",
        user_agent="openstack-image-sync",
    )
    try:
        return glance if glance.get_endpoint() else None
    except ks_exceptions.ClientException:
        return None
