# SPDX-License-Identifier: Apache-2.0
"""Services with other options than the cloud gave them."""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from configparser import RawConfigParser
from pathlib import Path

from devcloud import Cloud
from glancesync.conf import list_opts
from tests.functional.estate import Estate
from tests.functional.wait import until

#: What glance-sync reads again while it runs; all of it is in [DEFAULT].
RELOADED = {option.dest for _, options in list_opts() for option in options if option.mutable}


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


@contextlib.contextmanager
def sync_with(estate: Estate, **options: str) -> Iterator[None]:
    """glance-sync with other options: it reads them again, or is started anew if it must be."""
    cloud, path = estate.cloud, estate.cloud.sync_config
    if not options.keys() <= RELOADED:
        with Reconfigured(cloud, "glance-sync", path, **options):
            yield
        return
    before = path.read_bytes()
    set_options(path, options)
    try:
        assert "configuration reloaded" in reload(cloud)
        yield
    finally:
        path.write_bytes(before)
        if cloud.pid("glance-sync") is None:
            cloud.start("glance-sync")
        else:
            assert "configuration reloaded" in reload(cloud)


def reload(cloud: Cloud) -> str:
    """Have glance-sync read its configuration again; what it logs then."""
    pid = cloud.pid("glance-sync")
    assert pid is not None
    log = cloud.log("glance-sync")
    before = log.stat().st_size
    os.kill(pid, signal.SIGHUP)

    def said() -> str:
        with log.open("rb") as file:
            file.seek(before)
            return file.read().decode(errors="replace")

    until(lambda: " reload" in said(), 10, "the reload is logged")
    return said()


def region_with(estate: Estate, region: str, **options: str) -> Reconfigured:
    """A region's Glance with other options."""
    path = estate.cloud.region(region).config_dir / "glance-api.conf"
    return Reconfigured(estate.cloud, f"glance-{region}", path, **options)
