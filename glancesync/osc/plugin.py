# SPDX-License-Identifier: Apache-2.0
"""What python-openstackclient looks for in a plugin: names, global options, the client.

It is imported at each start of ``openstack``, whatever the command, so it imports little itself.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glancesync.osc.client import Client

API_NAME = "image_sync"
API_VERSIONS = ("1",)
DEFAULT_API_VERSION = "1"
API_VERSION_OPTION = "os_image_sync_api_version"


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the global options."""
    parser.add_argument(
        "--os-image-sync-api-version",
        metavar="<image-sync-api-version>",
        default=os.environ.get("OS_IMAGE_SYNC_API_VERSION", ""),
        help="Image synchronization API version, default=1 (Env: OS_IMAGE_SYNC_API_VERSION)",
    )
    parser.add_argument(
        "--os-image-sync-endpoint",
        metavar="<image-sync-endpoint>",
        # The name under which clouds.yaml and openstacksdk know the override of an endpoint.
        dest="os_image_sync_endpoint_override",
        default=os.environ.get("OS_IMAGE_SYNC_ENDPOINT", ""),
        help="Use this glance-sync server instead of the one in the catalog "
        "(Env: OS_IMAGE_SYNC_ENDPOINT)",
    )
    return parser


def make_client(instance: Any) -> Client:
    """The client for the cloud in use; ``instance`` is openstackclient's ClientManager.

    :raises CommandError: the catalog has no glance-sync server
    """
    from glancesync.osc import client

    return client.connect(instance)
