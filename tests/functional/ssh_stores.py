# SPDX-License-Identifier: Apache-2.0
"""A ``glance_store.yaml`` for regions whose directories are on other hosts."""

import json
from collections.abc import Mapping
from pathlib import Path

from devcloud import Cloud
from tests.sshd import Host


def store_file(cloud: Cloud, hosts: Mapping[str, Host], **more: str) -> Path:
    """Says that the stores of these regions are on these hosts, and those of others here.

    :param more: parameters that all hosts have instead of their own
    """
    path = cloud.sync_config.with_name("hosts.yaml")
    path.touch(0o600)
    glances = []
    for name in cloud.names:
        parameters: dict[str, object] = {"host": "localhost"}
        if name in hosts:
            host = hosts[name]
            parameters = {
                "host": host.address,
                "port": host.port,
                "login_user": host.user,
                "key_file": str(host.key_file),
                "host_key": host.host_key,
                **more,
            }
        scheme = {"name": "filesystem", "parameters": parameters}
        glances.append({"name": name, "schemes": [scheme]})
    path.write_text(json.dumps({"glances": glances}))
    return path
