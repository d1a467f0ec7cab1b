# SPDX-License-Identifier: Apache-2.0
"""A real multi-region OpenStack on one machine, for the demo, the functional tests and the bench.

Keystone, a Glance per region and glance-sync, from PyPI, as processes of the user who asks for
them. It knows nothing of glancesync but its installer and its programs, so that what it shows is
what an operator would see. ``python -m devcloud --help`` is its command line, :class:`Cloud` its
Python face, ``doc/source/devcloud.rst`` its manual.
"""

from devcloud.cloud import Cloud
from devcloud.errors import DevcloudError
from devcloud.layout import PORT_WIDTH, Region
from devcloud.services import ServiceStatus

__all__ = ["PORT_WIDTH", "Cloud", "DevcloudError", "Region", "ServiceStatus"]
