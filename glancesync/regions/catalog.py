# SPDX-License-Identifier: Apache-2.0
"""Which regions there are: the image endpoints of the Keystone catalog, and which one is home."""

from __future__ import annotations

from collections.abc import Mapping

from keystoneauth1.identity.base import BaseIdentityPlugin
from keystoneauth1.session import Session

from glancesync.errors import ConfigurationError
from glancesync.model import unversioned
from glancesync.regions.translate import translated

KEYSTONE = "Keystone"  # stands where a region's name would, in errors about the identity service


def image_endpoints(session: Session, interface: str) -> dict[str, str]:
    """Name -> URL of every region with an image endpoint.

    A new token is fetched for it: the catalog inside the one in use is as old as that token.

    :raises RegionError: Keystone does not answer, or refuses our credentials
    """
    plugin = session.auth
    if not isinstance(plugin, BaseIdentityPlugin):
        raise ConfigurationError("[service_credentials] auth_type", "is not one of Keystone's")
    with translated(KEYSTONE, "read the catalog"):
        catalog = plugin.get_auth_ref(session).service_catalog
        found = catalog.get_endpoints(service_type="image", interface=interface)
        return {
            endpoint["region_id"]: endpoint["url"]
            for endpoints in found.values()
            for endpoint in endpoints
            if endpoint and endpoint.get("region_id") and endpoint.get("url")
        }


def home_region(endpoints: Mapping[str, str], cascading_url: str) -> str:
    """The one region whose image endpoint is ``cascading_endpoint_url``.

    :raises ConfigurationError: none is, or more than one
    """
    wanted = unversioned(cascading_url)
    homes = sorted(name for name, url in endpoints.items() if unversioned(url) == wanted)
    if len(homes) == 1:
        return homes[0]
    option = "[DEFAULT] cascading_endpoint_url"
    if homes:
        raise ConfigurationError(
            option, f"{cascading_url} is the endpoint of more than one region: {', '.join(homes)}"
        )
    listed = ", ".join(f"{name}={url}" for name, url in sorted(endpoints.items())) or "none"
    raise ConfigurationError(
        option, f"{cascading_url} is no image endpoint of the Keystone catalog, which has: {listed}"
    )
