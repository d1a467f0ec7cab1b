# SPDX-License-Identifier: Apache-2.0
"""The programs: what they refuse at start, how they stop and reload, what the doctor finds."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from devcloud import Cloud
from tests.functional.estate import Estate, random_bytes
from tests.functional.reconfigured import region_with
from tests.functional.wait import until
from tests.sshd import free_port


@pytest.fixture
def estate(cloud: Cloud) -> Iterator[Estate]:
    estate = Estate(cloud)
    yield estate
    estate.clear()


def program(cloud: Cloud, name: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run one of our programs as installed."""
    path = cloud.root / "venvs" / "glance-sync" / "bin" / name
    return subprocess.run(
        [str(path), *args], capture_output=True, text=True, timeout=60, check=False
    )


def config(cloud: Cloud, tmp_path: Path, *changes: tuple[str, str]) -> str:
    """A copy of the cloud's glance-sync.conf in which patterns are replaced."""
    text = cloud.sync_config.read_text()
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
        assert count, pattern
    path = tmp_path / "glance-sync.conf"
    path.write_text(text)
    for name in ("glance-sync-paste.ini", "glance_store.yaml"):
        (tmp_path / name).write_text((cloud.sync_config.parent / name).read_text())
    return str(path)


BAD = {
    "unknown strategy": (
        (r"^sync_strategy ?=.*", "sync_strategy = SOME"),
        "[DEFAULT] sync_strategy",
    ),
    "no home": ((r"^cascading_endpoint_url ?=.*", ""), "[DEFAULT] cascading_endpoint_url"),
    "home that is none": (
        (r"^cascading_endpoint_url ?=.*", "cascading_endpoint_url = http://nowhere:1/"),
        "[DEFAULT] cascading_endpoint_url",
    ),
    "unknown transport": ((r"^sync_strategy", "transports = pigeon\nsync_strategy"), "pigeon"),
    "negative count": ((r"^sync_strategy", "workers = -1\nsync_strategy"), "[DEFAULT] workers"),
    "no directory": (
        (r"^connection ?=.*", "connection = sqlite:////nonexistent/x/journal"),
        "[database] connection",
    ),
    "unknown region for snapshots": (
        (r"^sync_strategy", "snapshot_region_names = RegionTwo,RegionNine\nsync_strategy"),
        "[DEFAULT] snapshot_region_names: there is no region 'RegionNine' beside home",
    ),
    "snapshots to home": (
        (r"^sync_strategy", "snapshot_region_names = RegionOne\nsync_strategy"),
        "[DEFAULT] snapshot_region_names: there is no region 'RegionOne' beside home",
    ),
    "no such paste file": (
        (r"^sync_strategy", "paste_config = gone.ini\nsync_strategy"),
        "[DEFAULT] paste_config",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_configuration_that_cannot_work_is_refused(
    cloud: Cloud, tmp_path: Path, case: str
) -> None:
    change, said = BAD[case]
    path = config(cloud, tmp_path, (r"^bind_port ?=.*", f"bind_port = {free_port()}"), change)
    done = program(cloud, "glance-sync", "--config-file", path)
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("glance-sync: ")
    assert said in last
    assert str(tmp_path) in last or "pigeon" in last or case == "home that is none"
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(cloud: Cloud, tmp_path: Path) -> None:
    done = program(cloud, "glance-sync", "--config-file", config(cloud, tmp_path))
    assert done.returncode == 2
    assert "[DEFAULT] bind_port" in done.stderr.splitlines()[-1]


def test_a_database_that_is_not_ours(cloud: Cloud, tmp_path: Path) -> None:
    glance = cloud.region(cloud.home).database
    path = config(cloud, tmp_path, (r"^connection ?=.*", f"connection = sqlite:///{glance}"))
    for name, *args in (["glance-sync"], ["glance-sync-manage", "db_sync"]):
        done = program(cloud, name, "--config-file", path, *args)
        assert done.returncode == 2, done.stderr
        assert "another program" in done.stderr


def test_a_database_without_tables(cloud: Cloud, tmp_path: Path) -> None:
    path = config(
        cloud, tmp_path, (r"^connection ?=.*", f"connection = sqlite:///{tmp_path}/new.sqlite")
    )
    done = program(cloud, "glance-sync", "--config-file", path)
    assert done.returncode == 2
    assert "db_sync" in done.stderr
    assert program(cloud, "glance-sync-manage", "--config-file", path, "db_sync").returncode == 0
    version = program(cloud, "glance-sync-manage", "--config-file", path, "db_version")
    assert re.fullmatch(r"journal (\w+), program \1\n", version.stdout)


def test_doctor_is_content(cloud: Cloud) -> None:
    done = program(cloud, "glance-sync-manage", "--config-file", str(cloud.sync_config), "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all is well\n")
    for region in cloud.names:
        assert f"ok    {region}: treats us as an admin" in done.stdout


def test_doctor_names_what_is_wrong_and_how_to_mend_it(
    estate: Estate, cloud: Cloud, tmp_path: Path
) -> None:
    cloud.stop("glance-RegionTwo")
    try:
        wrong = "no-such-secret"
        with region_with(estate, "RegionThree", keystone_authtoken__password=wrong):
            done = program(
                cloud, "glance-sync-manage", "--config-file", str(cloud.sync_config), "doctor"
            )
    finally:
        cloud.start("glance-RegionTwo")
    assert done.returncode == 1, done.stdout
    assert "FAIL  RegionTwo: could not ask for its versions" in done.stdout
    assert "is Glance up at" in done.stdout
    assert "FAIL  RegionThree:" in done.stdout
    assert "[keystone_authtoken]" in done.stdout
    assert "ok    RegionOne" in done.stdout
    path = config(cloud, tmp_path, (r"^password ?=.*", "password = wrong"))
    assert wrong not in done.stdout
    text = Path(path).read_text().replace("password = ", "password = x")
    Path(path).write_text(text)
    done = program(cloud, "glance-sync-manage", "--config-file", path, "doctor")
    assert done.returncode == 1
    assert "check user and password in [service_credentials]" in done.stdout


def test_sigterm_lets_a_transfer_end(estate: Estate) -> None:
    image = estate.create(random_bytes(200_000_000))
    estate.reaches(image, "RegionTwo", "copying")
    estate.cloud.stop("glance-sync")
    there = estate.read("RegionTwo", image)
    assert there is not None
    assert there["status"] == "active", "the copy that ran was given time to end"
    estate.cloud.start("glance-sync")
    estate.follows(image)


def test_sighup_reloads(estate: Estate) -> None:
    cloud = estate.cloud
    before = cloud.sync_config.read_text()
    pid = cloud.pid("glance-sync")
    assert pid is not None
    log = cloud.log("glance-sync")
    try:
        cloud.sync_config.write_text(
            before.replace("[DEFAULT]\n", "[DEFAULT]\npreserve_properties = mine_*\n", 1)
        )
        os.kill(pid, signal.SIGHUP)
        until(lambda: "changed: preserve_properties" in log.read_text(), 10, "the reload is logged")
        image = estate.create(mine_alone="1", foo="2")
        until(lambda: (estate.read("RegionTwo", image) or {}).get("foo") == "2", 60, "it is there")
        assert "mine_alone" not in (estate.read("RegionTwo", image) or {})
        assert cloud.pid("glance-sync") == pid
        # What can't work is refused; the old settings stay.
        cloud.sync_config.write_text(
            before.replace("[DEFAULT]\n", "[DEFAULT]\nworkers = none\n", 1)
        )
        os.kill(pid, signal.SIGHUP)
        until(lambda: "was not reloaded" in log.read_text(), 10, "the refusal is logged")
        assert cloud.pid("glance-sync") == pid
    finally:
        reloads = log.read_text().count("configuration reloaded")
        cloud.sync_config.write_text(before)
        os.kill(pid, signal.SIGHUP)
    until(lambda: log.read_text().count("configuration reloaded") > reloads, 10, "it is as before")
    estate.home.images.update(image, foo="3")
    estate.follows(image)


def test_metrics_tell_what_was_done_also_in_the_middle_of_a_reload(estate: Estate) -> None:
    names = ("copied_bytes_total", "sync_seconds_count", "tasks_done_total")
    before = {name: estate.metric(name, region="RegionTwo") for name in names}
    image = estate.create(random_bytes(100_000))
    pid = estate.cloud.pid("glance-sync")
    assert pid is not None
    for _ in range(10):
        os.kill(pid, signal.SIGHUP)
        estate.metric("images_behind")
    estate.follows(image)
    estate.settled()
    after = {name: estate.metric(name, region="RegionTwo") for name in names}
    assert after["copied_bytes_total"] - before["copied_bytes_total"] == 100_000
    assert after["sync_seconds_count"] > before["sync_seconds_count"]
    assert after["tasks_done_total"] > before["tasks_done_total"]
    assert estate.metric("images_behind") == 0
    assert estate.metric("replicas", region="RegionTwo", state="in_sync") >= 1


def test_no_secret_is_in_logs_journal_or_argument_lists(estate: Estate) -> None:
    """P6, after all that the tests before this one did."""
    image = estate.create(random_bytes(30_000_000))
    estate.follows(image)
    cloud = estate.cloud
    passwords = set(re.findall(r"^password ?= ?(\S+)$", cloud.sync_config.read_text(), re.M))
    assert passwords
    token = cloud.session("glance-sync").get_token()
    files = [cloud.log("glance-sync"), cloud.log(f"glance-{cloud.home}")]
    files += sorted(cloud.directory.glob("glance-sync.sqlite*"))
    for path in files:
        held = path.read_bytes()
        assert not any(one.encode() in held for one in passwords), path
        assert b"gAAAAA" not in held, f"{path} holds a Fernet token"
    assert token is not None
    assert token.startswith("gAAAAA")


def _healthy(cloud: Cloud) -> bool:
    try:
        return requests.get(f"{cloud.sync_url}/healthcheck", timeout=10).status_code == 200
    except requests.ConnectionError:
        return False


def test_roles_in_processes_of_their_own(estate: Estate, tmp_path: Path) -> None:
    """An API process takes hints, a worker process works on them, on one journal."""
    cloud = estate.cloud
    cloud.stop("glance-sync")
    path = cloud.root / "venvs" / "glance-sync" / "bin" / "glance-sync"
    argv = [str(path), "--config-file", str(cloud.sync_config), "--role"]
    processes = []
    with (tmp_path / "log").open("w") as log:
        for role in ("api", "worker"):
            processes.append(subprocess.Popen([*argv, role], stdout=log, stderr=log))
        try:
            until(lambda: _healthy(cloud), 30, "the API answers")
            before = estate.metric("tasks_done_total", kind="replica", region="RegionTwo")
            image = estate.create(foo="bar")
            estate.follows(image)
            estate.settled()
            done = estate.metric("tasks_done_total", kind="replica", region="RegionTwo")
            assert done > before, "the API process tells of what the worker process did"
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            codes = [process.wait(60) for process in processes]
            cloud.start("glance-sync")
    assert codes == [0, 0]
    estate.home.images.update(image, foo="baz")
    estate.follows(image)
