# SPDX-License-Identifier: Apache-2.0
"""Services with other options than the cloud gave them."""

from collections.abc import Mapping
from configparser import RawConfigParser
from pathlib import Path

from devcloud import Cloud
from tests.functional.estate import Estate


def set_options(path: Path, options: Mapping[str, str]) -> None:
    """Write options into a configuration file; ``section__name`` outside [DEFAULT]."""
    parser = RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    for name, value in options.items():
        section, _, option = name.rpartition("__")
        section = section or "DEFAULT"
        if section != "DEFAULT" and not parser.has_section(section):
            parser.add_section(section)
        parser.set(section, option, value)
    with path.open("w") as file:
        parser.write(file)


class Reconfigured:
    """A configuration file with other options for a while, and the service that reads it."""

    def __init__(self, cloud: Cloud, service: str, path: Path, **options: str) -> None:
        self._cloud, self._service, self._path, self._options = cloud, service, path, options

    def __enter__(self) -> None:
        self._before = self._path.read_bytes()
        set_options(self._path, self._options)
        self._cloud.restart(self._service)

    def __exit__(self, *exc_info: object) -> None:
        self._path.write_bytes(self._before)
        self._cloud.restart(self._service)


def sync_with(estate: Estate, **options: str) -> Reconfigured:
    """glance-sync with other options."""
    return Reconfigured(estate.cloud, "glance-sync", estate.cloud.sync_config, **options)


def region_with(estate: Estate, region: str, **options: str) -> Reconfigured:
    """A region's Glance with other options."""
    path = estate.cloud.region(region).config_dir / "glance-api.conf"
    return Reconfigured(estate.cloud, f"glance-{region}", path, **options)
