# SPDX-License-Identifier: Apache-2.0
"""A Glance that has both roles: a file it adopts is told of like an upload."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from devcloud import venvs
from tests.functional.reconfigured import set_options
from tests.hook.conftest import Home
from tests.installation.conftest import INSTALLER, run

DATA = b"bytes that lay there\n"


@pytest.fixture
def with_door(home: Home) -> Iterator[Home]:
    """Home with role region beside role home, and notifications in its log."""
    region = home.cloud.region(home.cloud.home)
    conf = region.config_dir / "glance-api.conf"
    before = conf.read_bytes()
    venv = home.cloud.glance_venv(region)
    command = [str(INSTALLER), "region", "--config-dir", str(region.config_dir), "--no-restart"]
    python = ["--python", str(venv / "bin" / "python")]

    def install(*arguments: str) -> None:
        with venvs.locked(home.cloud.root / "venvs" / f"glance-{region.version}.lock"):
            run([*command, *python, *arguments])

    install("--home-url", "http://127.0.0.1:9292")
    set_options(conf, {"oslo_messaging_notifications__driver": "log"})
    home.cloud.restart(f"glance-{region.name}")
    yield home
    install("--uninstall")
    conf.write_bytes(before)
    home.cloud.restart(f"glance-{region.name}")


def test_a_file_is_told_of_like_an_upload(with_door: Home) -> None:
    home = with_door
    region = home.cloud.region(home.cloud.home)
    uploaded, adopted = home.create_active(DATA), home.create()
    (region.datadir / adopted).write_bytes(DATA)
    answer = home.call(
        "POST",
        f"/images/{adopted}/locations",
        "glance-sync",
        headers={"X-Service-Token": home.session("glance-sync").get_token()},
        json={
            "url": f"file://{region.datadir}/{adopted}",
            "size": len(DATA),
            "validation_data": {
                "os_hash_algo": "sha512",
                "os_hash_value": hashlib.sha512(DATA).hexdigest(),
            },
        },
    )
    assert answer.json() == {"image_id": adopted}
    home.expect(adopted, answer, "glance-sync")
    assert home.show(adopted)["status"] == "active"
    log = [
        line
        for line in region.log.read_text().splitlines()
        if "oslo.messaging.notification" in line
    ]
    told = {
        image: [
            event
            for line in log
            for event in ("prepare", "upload", "activate")
            if f"notification.image.{event} " in line and image in line
        ]
        for image in (uploaded, adopted)
    }
    assert told[adopted] == told[uploaded] == ["prepare", "upload", "activate"]
