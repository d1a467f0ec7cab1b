# SPDX-License-Identifier: Apache-2.0
"""devcloud itself: what every other functional test stands on."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devcloud import PORT_WIDTH, Cloud, DevcloudError, state
from devcloud.ports import find_base, is_taken
from devcloud.processes import Process, until

CHECKOUT = Path(__file__).resolve().parents[2]


def small(name: str, **more: object) -> Cloud:
    """One region and nothing of ours in it: up within seconds."""
    settings = {"regions": 1, "base_port": find_base(PORT_WIDTH), "hook": False, "sync": False}
    return Cloud(name=name, **{**settings, **more})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def solo() -> Iterator[Cloud]:
    cloud = small("test-solo")
    cloud.clean()
    try:
        cloud.up()
        yield cloud
    finally:
        cloud.clean()


@pytest.fixture
def doomed() -> Iterator[Cloud]:
    """A cloud that is not up yet, for tests in which it does not come up."""
    cloud = small("test-doomed")
    cloud.clean()
    yield cloud
    cloud.clean()


def make_image(cloud: Cloud, data: bytes, name: str = "kept") -> str:
    glance = cloud.glance(cloud.home, "demo")
    image = glance.images.create(name=name, disk_format="raw", container_format="bare")
    glance.images.upload(image.id, io.BytesIO(data))
    return str(image.id)


def states(cloud: Cloud) -> dict[str, str]:
    return {service.name: service.state for service in cloud.status()}


def devcloud(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "devcloud", *arguments]
    return subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False)


@pytest.mark.matrix
def test_two_clouds_live_side_by_side(solo: Cloud) -> None:
    twin = small("test-twin")
    twin.clean()
    try:
        twin.up()
        image_id = make_image(solo, b"mine")
        assert [image.id for image in twin.glance(twin.home).images.list()] == []
        assert solo.session().get_token() != twin.session().get_token()
        twin.down()
        assert states(solo) == {"keystone": "running", "glance-RegionOne": "running"}
        assert solo.glance(solo.home).images.get(image_id).status == "active"
    finally:
        twin.clean()
    assert not twin.directory.exists()


def test_taken_ports_are_named_before_anything_starts(doomed: Cloud) -> None:
    port = doomed.region("RegionOne").port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(DevcloudError) as failure:
        doomed.up()
    told = str(failure.value)
    assert f"port {port} (for glance-RegionOne) is taken by pid {os.getpid()}" in told
    assert "--base-port" in told
    assert set(states(doomed).values()) == {"stopped"}


def test_service_that_dies_is_named_with_the_end_of_its_log(doomed: Cloud) -> None:
    broken = {"RegionOne": {"paste_deploy": {"flavor": "no-such-flavor"}}}
    cloud = small("test-doomed", overrides=broken)
    with pytest.raises(DevcloudError) as failure:
        cloud.up()
    told = str(failure.value)
    assert "glance-RegionOne died while starting" in told
    assert "no-such-flavor" in told
    assert str(cloud.region("RegionOne").log) in told
    # What was started with it does not stay behind.
    assert set(states(cloud).values()) == {"stopped"}


def test_answer_of_somebody_else_on_the_port_is_no_health(solo: Cloud) -> None:
    keystone = solo._services()["keystone"]
    assert keystone.is_healthy()
    glance = solo._services()["glance-RegionOne"]
    # Alive, and its health check answered, but by another process.
    elsewhere = replace(glance, port=keystone.port, health=keystone.health)
    assert not elsewhere.is_healthy()
    assert elsewhere.status().state == "unhealthy"


def test_down_and_up_keep_everything(solo: Cloud) -> None:
    image_id = make_image(solo, b"x" * 70_000)
    base = solo.auth_url
    solo.down()
    assert set(states(solo).values()) == {"stopped"}

    again = Cloud(name=solo.name)  # as another program would, that knows only the name
    assert (again.names, again.auth_url) == (solo.names, base)
    again.up()
    data = again.glance(again.home, "demo").images.data(image_id)
    assert b"".join(data) == b"x" * 70_000
    assert states(solo) == {"keystone": "running", "glance-RegionOne": "running"}


def test_up_again_leaves_alone_what_runs(solo: Cloud) -> None:
    before = {service.name: service.pid for service in solo.status()}
    Cloud(name=solo.name).up()
    assert {service.name: service.pid for service in solo.status()} == before


def test_up_adds_regions_and_restarts_what_changed(solo: Cloud) -> None:
    pids = {service: solo.pid(service) for service in solo.services}
    more = Cloud(
        name=solo.name,
        regions=2,
        overrides={"RegionOne": {"DEFAULT": {"image_property_quota": "1"}}},
    )
    try:
        more.up()
        assert more.pid("keystone") == pids["keystone"]
        assert more.pid("glance-RegionOne") != pids["glance-RegionOne"]
        assert list(more.glance("RegionTwo", "demo").images.list()) == []
        with pytest.raises(Exception, match="413"):
            more.glance("RegionOne").images.create(name="full", first="1", second="2")
    finally:
        solo.up()
    assert solo.names == ["RegionOne"]
    regions = {item["region"] for item in image_endpoints(solo)}
    assert regions == {"RegionOne"}
    assert not is_taken(more.region("RegionTwo").port)


def image_endpoints(cloud: Cloud) -> list[dict[str, str]]:
    session = cloud.session()
    catalog = session.auth.get_access(session).service_catalog.catalog
    return [
        endpoint for entry in catalog if entry["type"] == "image" for endpoint in entry["endpoints"]
    ]


def test_status_tells_the_truth(solo: Cloud) -> None:
    glance = "glance-RegionOne"
    assert devcloud("status", "--name", solo.name).returncode == 0
    try:
        solo.kill(glance, signal.SIGSTOP)
        assert states(solo)[glance] == "unhealthy"
        solo.kill(glance, signal.SIGCONT)
        assert states(solo)[glance] == "running"

        solo.kill(glance)
        assert states(solo) == {"keystone": "running", glance: "died"}
        told = devcloud("status", "--name", solo.name)
        assert told.returncode == 1
        assert "died" in told.stdout

        solo.stop(glance)
        assert states(solo)[glance] == "stopped"
    finally:
        solo.start(glance)
    assert states(solo)[glance] == "running"


def test_stopped_process_can_be_brought_down(solo: Cloud) -> None:
    try:
        solo.kill("keystone", signal.SIGSTOP)
        began = time.monotonic()
        solo.stop("keystone")
        assert time.monotonic() - began < 15
    finally:
        solo.start("keystone")


def test_killing_the_leader_alone_leaves_nothing_in_the_way(solo: Cloud) -> None:
    pid = solo.pid("glance-RegionOne")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: solo.pid("glance-RegionOne") is None, 10)
    solo.start("glance-RegionOne")
    assert solo.pid("glance-RegionOne") not in (None, pid)


def test_pid_of_somebody_else_is_never_taken_for_ours(tmp_path: Path) -> None:
    process = Process("sleeper", tmp_path / "sleeper.json", tmp_path / "sleeper.log")
    sleep = shutil.which("sleep")
    assert sleep is not None
    process.start([sleep, "600"], {}, "as started")
    try:
        mark = process.mark()
        assert mark is not None
        assert process.pid() == mark.pid
        reused = Process("reused", tmp_path / "reused.json", tmp_path / "reused.log")
        for stranger in (replace(mark, started=mark.started - 1), replace(mark, boot="earlier")):
            reused.pidfile.write_text(json.dumps(vars(stranger)))
            assert reused.pid() is None
            assert reused.members() == []
            reused.stop()
            assert process.pid() == mark.pid
    finally:
        process.stop()
    assert process.pid() is None


def test_secrets_are_for_their_owner_only(solo: Cloud) -> None:
    for path in (solo.clouds_yaml, solo.directory / "state.json"):
        assert path.stat().st_mode & 0o077 == 0
    assert solo.directory.stat().st_mode & 0o077 == 0
    passwords = json.loads((solo.directory / "state.json").read_text())["passwords"].values()
    assert len(set(passwords)) == 5
    for service in solo.services:
        command = Path(f"/proc/{solo.pid(service)}/cmdline").read_text()
        log = solo.log(service).read_text()
        assert not any(password in command or password in log for password in passwords)


#: Prints where a Keystone with the given configuration file has each kind of keys.
WHERE_KEYS_ARE = """
import sys
import keystone.conf
keystone.conf.configure()
conf = keystone.conf.CONF
conf([], project="keystone", default_config_files=sys.argv[1:])
for group in conf:
    if hasattr(conf[group], "key_repository"):
        print(conf[group].key_repository)
"""


def test_keystone_has_all_its_keys_in_the_cloud(solo: Cloud) -> None:
    """None in /etc/keystone, which another Keystone of this machine may have made."""
    python = solo.keystone_venv() / "bin" / "python"
    config = solo.directory / "keystone" / "keystone.conf"
    argv = [str(python), "-W", "ignore", "-c", WHERE_KEYS_ARE, str(config)]
    found = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert len(found) == 3
    assert {Path(path).parent for path in found} == {solo.directory}


def test_openstack_cli_reads_clouds_yaml(solo: Cloud) -> None:
    program = Path(sys.executable).with_name("openstack")
    done = subprocess.run(
        [str(program), "image", "list", "-f", "json"],
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("OS_")},
            "OS_CLIENT_CONFIG_FILE": str(solo.clouds_yaml),
            "OS_CLOUD": "RegionOne-demo",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), list)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["up", "--regions", "0"], "0 regions"),
        (["up", "--regions", "99"], "99 regions"),
        (["up", "--glance-version", "7"], "not one devcloud knows"),
        (["up", "--glance-version", "RegionNine=33"], "not there"),
        (["up", "--base-port", "80"], "out of range"),
        (["status", "--name", "../x"], "is no name"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(arguments: list[str], told: str) -> None:
    name = [] if "--name" in arguments else ["--name", "test-never"]
    done = devcloud(*arguments, *name)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (CHECKOUT / ".devcloud" / "test-never").exists()


def test_which_regions_adopt_files_is_kept(tmp_path: Path) -> None:
    def adopting(file_locations: bool | list[str] | None = None) -> list[str]:
        cloud = Cloud(name="kept", root=tmp_path, regions=3, file_locations=file_locations)
        state.save(cloud.state_file, cloud.settings)
        return [name for name in cloud.names if cloud.adopts_files(name)]

    assert adopting() == ["RegionTwo", "RegionThree"]
    assert adopting(["RegionThree"]) == adopting() == ["RegionThree"]
    assert adopting(file_locations=False) == adopting() == []
    assert adopting(file_locations=True) == ["RegionTwo", "RegionThree"]
    with pytest.raises(DevcloudError, match="RegionNine"):
        adopting(["RegionNine"])
    assert adopting() == ["RegionTwo", "RegionThree"]


def test_ports_that_one_program_has_found_no_other_finds() -> None:
    """Nor does it by itself once more; when it ends, they are free again."""
    ask = "from devcloud.ports import find_base; print(find_base(9, start=18000, end=18109))"

    def another() -> str:
        done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
        return done.stdout.strip() or done.stderr.splitlines()[-1]

    mine = find_base(9, start=18000, end=18109)
    assert another() == another() == str({18000: 18050, 18050: 18000}[mine])
    find_base(9, start=18000, end=18109)
    assert "no 9 free ports in a row" in another()
