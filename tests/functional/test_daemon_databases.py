# SPDX-License-Identifier: Apache-2.0
"""glance-sync on the databases that serve many hosts: what a user sees of it is the same."""

import contextlib
import threading
from collections.abc import Iterator

import pytest
import requests
import sqlalchemy as sa

from devcloud import Cloud
from tests.databases import Server
from tests.functional.daemons import Daemon, stopped
from tests.functional.estate import PATIENCE, Estate, random_bytes
from tests.functional.wait import until

#: No second session gets a word in while a connection holds this; readers of other tables do.
LOCK = {
    "postgresql": "LOCK TABLE event IN ACCESS EXCLUSIVE MODE",
    "mariadb": "LOCK TABLES event WRITE",
}


@pytest.fixture
def daemon(cloud: Cloud, server_url: str) -> Iterator[Daemon]:
    """A glance-sync on the server's database, in place of the cloud's; not running yet."""
    daemon = Daemon(
        cloud, "daemon-on-a-server", database__connection=server_url, database__retry_interval="1"
    )
    with stopped(cloud):
        daemon.manage("db_sync")
        yield daemon
    assert "Traceback" not in daemon.log
    assert "stopped" in daemon.log.splitlines()[-1]


@pytest.fixture
def estate(cloud: Cloud, daemon: Daemon) -> Iterator[Estate]:
    """The cloud's images, with that glance-sync."""
    with daemon:
        estate = Estate(cloud)
        yield estate
        estate.clear()


@contextlib.contextmanager
def locked(server: Server, url: str) -> Iterator[None]:
    """Somebody else holds a table that hints are written to."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(LOCK[server.kind])
        yield
        connection.rollback()  # and the connection is closed: either ends a lock


def test_a_start_before_the_database_is_up(daemon: Daemon, server: Server) -> None:
    """It says that it waits, and serves when there is something to serve from."""
    server.stop()
    try:
        daemon.launch()
        until(
            lambda: "the journal does not answer, waiting for it" in daemon.log, PATIENCE, "it says"
        )
        assert daemon.pid is not None
    finally:
        server.start()
    until(lambda: "is up (role all)" in daemon.log, PATIENCE, "it is up")
    daemon.stop()


def test_images_follow_and_one_who_waits_stops_nobody(
    estate: Estate, server: Server, server_url: str
) -> None:
    image = estate.create(random_bytes(1_000_000), visibility="shared", foo="bar", tags=["x"])
    gone = estate.create(name="\N{SNOWMAN} na\N{COMBINING DIAERESIS}me")
    estate.follows(image)
    estate.follows(gone)
    estate.home.images.update(image, name="changed", foo="baz")
    estate.home.image_members.create(image, "a" * 32)
    estate.home.images.delete(gone)
    estate.follows(image)
    estate.gone(gone)
    estate.settled()
    assert estate.sync("GET", "/v1/status")[1]["status"]["in_sync"]
    shown = estate.sync("GET", f"/v1/images/{gone}")[1]["image"]
    assert shown["name"] == "\N{SNOWMAN} na\N{COMBINING DIAERESIS}me"

    # Green threads share a process: a driver that blocks would stop them all.
    answers: list[int] = []
    body = {"events": [{"image_id": image}]}

    def hint() -> None:
        answers.append(estate.sync("POST", "/v1/events", user="glance", json=body)[0])

    with locked(server, server_url):
        waiter = threading.Thread(target=hint)
        waiter.start()
        waiter.join(1.0)
        assert waiter.is_alive(), "the hint waits for the lock"
        assert requests.get(f"{estate.cloud.sync_url}/healthcheck", timeout=10).text == "OK\n"
        assert waiter.is_alive(), "it waits still"
    waiter.join(PATIENCE)
    assert answers == [202]

    server.restart()
    estate.home.images.update(image, foo="after the restart")
    estate.follows(image)
    until(lambda: estate.sync("GET", "/v1/status")[0] == 200, PATIENCE, "status is shown")
