# SPDX-License-Identifier: Apache-2.0
"""``make demo``: from nothing to an image that follows its home through two other regions.

The image is made, changed and deleted with the openstack CLI against RegionOne, as a user without
special rights. What the other regions hold is read from their own Glances, never from glance-sync.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glanceclient import exc

from devcloud import Cloud, DevcloudError, qcow2

NAME = "demo"
BASE_PORT = 9690
PATIENCE = 60.0  # seconds an image may take to follow
POLL = 0.05
USER = "demo"
# What Glance says of the copy and not of the image.
_LOCAL = {"created_at", "updated_at", "file", "schema", "self", "stores", "direct_url", "locations"}


class DemoError(Exception):
    """The demo did not show what it is to show; the message says what was seen instead."""


class Demo:
    """The demo on a cloud that is up."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._glances = {region: cloud.glance(region) for region in cloud.names}
        self.rows = [["step", f"{cloud.home} (home)", *cloud.names[1:]]]

    def run(self, picture: Path) -> None:
        """All steps; raises DemoError at the first that does not come out."""
        other = self._cloud.session("other").get_project_id()
        image = self._create(picture, str(other))
        self._openstack("image", "set", image, *("--name", "glancesync demo, second edition"))
        self._follow("renamed", image)
        self._openstack(
            *("image", "set", image, "--property", "os_version=2", "--property", "reviewed=yes"),
            *("--tag", "second"),
        )
        self._openstack("image", "unset", image, "--property", "hw_vif_model", "--tag", "first")
        self._follow("properties and tags set and removed", image)
        self._openstack("image", "set", image, "--community")
        self._follow("made visible to all projects", image)
        self._openstack("image", "delete", image)
        self._follow("deleted", image)

    def _create(self, picture: Path, member: str) -> str:
        told = self._openstack(
            *("image", "create", "glancesync demo", "--file", str(picture)),
            *("--disk-format", "qcow2", "--container-format", "bare", "--min-ram", "64"),
            *("--property", "os_distro=none", "--property", "os_version=1"),
            *("--property", "hw_vif_model=virtio", "--property", "description=größer als 0"),
            *("--tag", "tiny", "--tag", "first", "--shared", "-f", "json"),
        )
        image = str(json.loads(told)["id"])
        self._follow("created", image)
        self._read_back(image, picture)
        self._openstack("image", "add", "project", image, member)
        self._follow("shared with another project", image)
        return image

    def _read_back(self, image: str, picture: Path) -> None:
        """Download the image from every region: what Glance says of bytes is not the bytes."""
        wanted = hashlib.sha512(picture.read_bytes()).hexdigest()
        row = ["downloaded and hashed"]
        for region, glance in self._glances.items():
            digest = hashlib.sha512()
            for chunk in glance.images.data(image):
                digest.update(chunk)
            if digest.hexdigest() != wanted:
                raise DemoError(f"{region} has other bytes: sha512 {digest.hexdigest()}")
            row.append(f"sha512 {digest.hexdigest()[:8]}...")
        self.rows.append(row)

    def _openstack(self, *arguments: str) -> str:
        """Run the openstack CLI as the demo's user in the home region; returns what it printed."""
        quoted = " ".join(f"'{word}'" if " " in word else word for word in arguments)
        print(f"$ openstack {quoted}", flush=True)
        environment = {key: value for key, value in os.environ.items() if key[:3] != "OS_"}
        environment["OS_CLIENT_CONFIG_FILE"] = str(self._cloud.clouds_yaml)
        environment["OS_CLOUD"] = f"{self._cloud.home}-{USER}"
        program = Path(sys.executable).with_name("openstack")
        done = subprocess.run(
            [str(program), *arguments], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise DemoError(f"openstack {quoted}\n{done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _follow(self, step: str, image: str) -> None:
        """Wait until every region holds what home holds, and note how long each took."""
        began = time.monotonic()
        wanted = look(self._glances[self._cloud.home], image)
        waiting = dict.fromkeys(self._cloud.names[1:], "not looked at yet")
        took: dict[str, float] = {}
        while waiting:
            for region in list(waiting):
                found = difference(wanted, look(self._glances[region], image))
                if found:
                    waiting[region] = found
                else:
                    took[region] = time.monotonic() - began
                    del waiting[region]
            if waiting and time.monotonic() - began > PATIENCE:
                words = "\n".join(f"  {region}: {seen}" for region, seen in waiting.items())
                raise DemoError(
                    f"'{step}' did not arrive within {PATIENCE:.0f} s:\n{words}\n"
                    f"glance-sync's log is {self._cloud.log('glance-sync')}; it ends:\n"
                    + end_of(self._cloud.log("glance-sync"))
                )
            time.sleep(POLL if waiting else 0)
        home = f"{wanted['status']}, {wanted['visibility']}" if wanted else "gone"
        same = "same" if wanted else "gone"
        times = [f"{same} after {took[region]:.2f} s" for region in self._cloud.names[1:]]
        self.rows.append([step, home, *times])


def look(glance: Any, image: str) -> dict[str, Any] | None:
    """All that one Glance says of *image*, members included; None if it has none."""
    try:
        found = dict(glance.images.get(image))
        if found["visibility"] == "shared":
            members = glance.image_members.list(image)
            found["members"] = sorted(member["member_id"] for member in members)
    except exc.HTTPNotFound:
        return None
    found["tags"] = sorted(found["tags"])
    return {key: value for key, value in found.items() if key not in _LOCAL}


def difference(wanted: dict[str, Any] | None, found: dict[str, Any] | None) -> str:
    """In which way *found* is not *wanted*, in words; empty if it is."""
    if wanted is None or found is None:
        if wanted is found:
            return ""
        return "the image is still there" if wanted is None else "the image is not there"
    return "; ".join(
        f"{key} is {found.get(key)!r}, at home {wanted.get(key)!r}"
        for key in sorted(wanted.keys() | found.keys())
        if wanted.get(key) != found.get(key)
    )


def end_of(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def table(rows: list[list[str]]) -> str:
    """*rows*, the first of which is the heading, in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    ruled = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in ruled
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns 0 if every step came out."""
    parser = argparse.ArgumentParser(prog="python -m devcloud.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the cloud running at the end")
    parser.add_argument("--base-port", type=int, default=BASE_PORT, help="default: %(default)s")
    options = parser.parse_args(arguments)

    def say(message: str) -> None:
        print(f"-- {message}", flush=True)

    cloud = None
    try:
        cloud = Cloud(
            name=NAME, regions=3, base_port=options.base_port, hook=True, sync=True, say=say
        )
        return _show(cloud, say, keep=options.keep)
    except (DevcloudError, DemoError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    finally:
        if cloud is not None and not options.keep:
            cloud.down()


def _show(cloud: Cloud, say: Callable[[str], None], *, keep: bool) -> int:
    cloud.clean()
    began = time.monotonic()
    cloud.up()
    say(f"{len(cloud.names)} regions are up after {time.monotonic() - began:.0f} s")
    picture = cloud.directory / "demo.qcow2"
    qcow2.write(picture, "This image was carried here by glancesync.")
    demo = Demo(cloud)
    try:
        demo.run(picture)
    finally:
        print(f"\n{table(demo.rows)}\n")
    print(
        "Same: id, status, os_hash_value, size, name, owner, visibility, properties, tags and "
        "members.\n"
        "Times count from the moment the openstack command had ended."
    )
    if keep:
        print(f"export OS_CLIENT_CONFIG_FILE={cloud.clouds_yaml} OS_CLOUD={cloud.home}")
        print(f"python -m devcloud down --name {NAME}   # when done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
