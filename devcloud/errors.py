# SPDX-License-Identifier: Apache-2.0
"""The one error devcloud raises for what its user can mend; the message says how."""


class DevcloudError(Exception):
    """Something about the cloud is not as asked for; ``str()`` is meant for a person."""
