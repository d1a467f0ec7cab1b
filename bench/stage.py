# SPDX-License-Identifier: Apache-2.0
"""The devcloud that benches run on, images for it, and what its journal says."""

import contextlib
import http.client
import os
import random
import sqlite3
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from devcloud import Cloud
from devcloud.configs import Overrides

NAME = "bench"
BASE_PORT = 9900
MIB = 2**20
_CHUNK = MIB
#: Open tasks, without those that never end.
_UNDONE = "open_key IS NOT NULL AND kind IN ('image', 'replica')"

Seen = TypeVar("Seen")


class BenchError(Exception):
    """A bench could not be done; the message says what was seen instead."""


def say(message: str) -> None:
    """Tell how far it is."""
    print(f"-- {message}", flush=True)


@contextlib.contextmanager
def cloud(
    regions: int, overrides: Overrides | None = None, *, sync: bool = True
) -> Iterator[Cloud]:
    """A fresh cloud, with hook and sync server if *sync*; nothing is left of it afterwards.

    Bytes go by ``upload``, unless *overrides* say otherwise.
    """
    made = Cloud(
        name=NAME,
        base_port=BASE_PORT,
        regions=regions,
        glance_version="33",
        hook=sync,
        sync=sync,
        overrides=overrides or {"glance-sync": {"DEFAULT": {"transports": "upload"}}},
        say=say,
    )
    made.clean()
    try:
        made.up()
        yield made
    finally:
        made.clean()


def until(look: Callable[[], Seen], timeout: float, what: str, poll: float = 0.05) -> Seen:
    """Poll *look* until it returns something true, and return that."""
    deadline = time.monotonic() + timeout
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {timeout:g} s")
        time.sleep(poll)
    return seen


# -- bytes ------------------------------------------------------------------------------------


def pattern(size: int) -> Iterator[bytes]:
    """*size* bytes in chunks of 1 MiB; the same ones each time.

    They do not compress, and the first are zeros: Glance takes them for a raw image.
    """
    block = random.Random(size).randbytes(_CHUNK)
    yield (bytes(4096) + block[4096:])[:size]
    for _ in range(1, size // _CHUNK):
        yield block


def chunks_of(path: Path) -> Iterator[bytes]:
    """What a file holds, in chunks of 1 MiB."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def put(url: str, image: str, token: str, size: int, chunks: Iterable[bytes]) -> float:
    """One bare PUT of an image's data; the seconds until Glance had answered 204."""
    began = time.perf_counter()
    with contextlib.closing(_connection(url)) as connection:
        connection.putrequest("PUT", f"/v2/images/{image}/file")
        connection.putheader("X-Auth-Token", token)
        connection.putheader("Content-Type", "application/octet-stream")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        for chunk in chunks:
            connection.send(chunk)
        answer = connection.getresponse()
        said = answer.read(500).decode(errors="replace")
    if answer.status != 204:
        raise BenchError(f"PUT of {size} bytes: HTTP {answer.status} {said}")
    return time.perf_counter() - began


def _connection(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=300)


def queued_image(cloud: Cloud, region: str, name: str) -> str:
    """The id of a new raw image without data."""
    image = cloud.glance(region).images.create(
        name=name, disk_format="raw", container_format="bare"
    )
    return str(image["id"])


def fill(cloud: Cloud, region: str, image: str, size: int, chunks: Iterable[bytes]) -> float:
    """Upload an image's data; the seconds the bare PUT took."""
    token = str(cloud.session().get_token())
    return put(cloud.region(region).url, image, token, size, chunks)


def delete_everywhere(cloud: Cloud, image: str, patience: float = 60) -> None:
    """Delete an image at home, and wait until no open region has it."""
    cloud.glance(cloud.home).images.delete(image)
    until(
        lambda: (
            not any(
                (cloud.region(region).datadir / image).exists()
                for region in cloud.names
                if region not in closed(cloud)
            )
        ),
        patience,
        f"image {image} is gone",
    )


def settle_disk() -> None:
    """Write out what earlier measurements left, so that later ones do not pay for it."""
    os.sync()


def cpu_seconds(cloud: Cloud, service: str) -> float:
    """The processor time a service has used until now: all its processes, ended ones as well."""
    ticks = 0
    todo = [cloud.pid(service) or 0]
    for pid in todo:
        with contextlib.suppress(OSError):
            # utime, stime, and those of children that have ended (proc(5))
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
        todo += children(pid)
    return ticks / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The live children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


# -- the journal, read directly: watching must not cost what is watched -----------------------


def rows(cloud: Cloud, query: str, *values: Any) -> list[sqlite3.Row]:
    """What a query of glance-sync's database finds."""
    database = cloud.directory / "glance-sync.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(query, values).fetchall()


def states(cloud: Cloud, image: str) -> dict[str, str]:
    """Region -> state of an image's replica there."""
    found = rows(cloud, "SELECT region, state FROM replica WHERE image_id = ?", image)
    return {row["region"]: row["state"] for row in found}


def wait_in_sync(cloud: Cloud, image: str, regions: Iterable[str], timeout: float) -> None:
    """Wait until the replicas in *regions* are in sync; a failed one ends the bench."""
    wanted = set(regions)

    def all_in_sync() -> bool:
        seen = states(cloud, image)
        failed = sorted(region for region in wanted if seen.get(region) == "stalled")
        if failed:
            said = rows(cloud, "SELECT last_error FROM replica WHERE image_id = ?", image)
            raise BenchError(f"failed in {failed}: {[row[0] for row in said]}")
        return all(seen.get(region) == "in_sync" for region in wanted)

    until(all_in_sync, timeout, f"image {image} in sync in {sorted(wanted)}")


def closed(cloud: Cloud) -> set[str]:
    """The regions that are disabled."""
    return {row["name"] for row in rows(cloud, "SELECT name FROM region WHERE NOT enabled")}


def enable(cloud: Cloud, regions: Mapping[str, bool]) -> None:
    """Open or close regions, as an operator does."""
    session = cloud.session()
    for name, enabled in regions.items():
        session.patch(f"{cloud.sync_url}/v1/regions/{name}", json={"enabled": enabled})


def hint(cloud: Cloud, image: str) -> None:
    """Say that an image changed, as the hook does."""
    session = cloud.session("glance")
    session.post(f"{cloud.sync_url}/v1/events", json={"events": [{"image_id": image}]})


def cancel_tasks(cloud: Cloud) -> None:
    """Forget what waits for closed regions."""
    wait_idle(cloud)
    session = cloud.session()
    for row in rows(cloud, f"SELECT id FROM task WHERE {_UNDONE}"):
        session.post(f"{cloud.sync_url}/v1/tasks/{row['id']}/cancel")


def wait_idle(cloud: Cloud, timeout: float = 60) -> None:
    """Wait until there is nothing left to do in any open region."""

    def nothing() -> bool:
        shut = closed(cloud)
        found = rows(cloud, f"SELECT region FROM task WHERE {_UNDONE}")
        return all(row["region"] in shut for row in found)

    until(nothing, timeout, "no open task")
