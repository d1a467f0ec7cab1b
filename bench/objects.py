# SPDX-License-Identifier: Apache-2.0
"""Into object stores: what the transport ``objects`` costs beside the stores' own clients."""

import contextlib
import dataclasses
import functools
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import boto3
import swiftclient

from bench import direct, stage
from bench.memory import LIMIT
from bench.report import Goal, Report
from bench.turns import Turns
from devcloud import Cloud, configs
from devcloud import swift as servers
from devcloud.identity import Identity
from glancesync.interfaces import Endpoint, ImageService, Source
from glancesync.model import Image
from glancesync.schemes import S3, Location, Place, Scheme, Secret, Swift
from glancesync.transports.objects import Objects
from glancesync.transports.servercopy import ServerCopy
from glancesync.transports.settings import TransferSettings
from tests.databases import scratch

RUNS = 3
CONTAINER, BUCKET, COPIES = "glance-images", "glance-bucket", "glance-copies"
REGION = "us-east-1"
SENT, CLIENT, COPIED, INSIDE = "objects", "its own client", "copy inside", "servercopy"
_UPLOAD = """
import sys, boto3
from boto3.s3.transfer import TransferConfig
# as the transport has glance_store's driver do it
limits = {"multipart_threshold": 10 << 20, "multipart_chunksize": 10 << 20}
client = boto3.client("s3", endpoint_url=sys.argv[1])
client.upload_file(*sys.argv[2:], Config=TransferConfig(max_concurrency=10, **limits))
"""


def run(quick: bool) -> Report:
    """Into a Swift, and into the same as an S3, by turns."""
    sizes = direct.sizes(quick)
    whole = sizes[-1]
    transport = direct.Direct(Objects(TransferSettings()))
    turns = Turns(RUNS)
    with stage.cloud(regions=1, sync=False) as cloud, _swift(cloud) as store:
        stores: tuple[IntoSwift | IntoS3, ...] = (IntoSwift(store, cloud), IntoS3(store))
        images = {size: _image(cloud, size) for size in sizes}
        for number in range(RUNS):
            for size, image in images.items():
                source = Source(image, cast(ImageService, Home(cloud)))
                file = cloud.region(cloud.home).datadir / image.id
                for into in stores:
                    ways: dict[str, Callable[[], float]] = {
                        SENT: functools.partial(_sent, transport, source, into),
                        CLIENT: functools.partial(_put, into, file),
                    }
                    if size == whole and isinstance(into, IntoSwift):
                        ways[COPIED] = functools.partial(_copied, into, file)
                        ways[INSIDE] = functools.partial(_inside, source, into, file)
                    turns.take(number, f"{size} MiB into {into.name}", ways)
    return Report(
        name="objects",
        measures="seconds until an image of a Glance is in an object store, verified, from the "
        "call of the transport on; the store is of one node, in memory where there is room",
        baseline="the same file put into the same store by its own client (swift upload; "
        "upload_file of boto3) in parts of the same size; and a copy inside of the store",
        runs=RUNS,
        goals=[
            *(
                Goal(f"times {CLIENT}, {case}", turns.ratio(case, SENT, CLIENT), 1.3)
                for case in (f"{whole} MiB into Swift", f"{whole} MiB into S3")
            ),
            Goal("memory of the mover [MiB]", transport.memory, LIMIT),
        ],
        rows=turns.rows("image", {f"times {CLIENT}": (SENT, CLIENT)}),
        figures={**turns.figures(), "mover_mib": transport.memory},
    )


class Home:
    """The region that has the images."""

    def __init__(self, cloud: Cloud) -> None:
        self.region = cloud.home
        self._cloud = cloud

    def file(self, image_id: str) -> Endpoint:
        """See ``interfaces.ImageService``."""
        url = f"{self._cloud.region(self.region).url}/v2/images/{image_id}/file"
        return Endpoint(self.region, url, str(self._cloud.session().get_token()))


class IntoSwift:
    """A container of the Swift."""

    name = "Swift"

    def __init__(self, store: servers.Swift, cloud: Cloud) -> None:
        login = cloud.credentials("glance")
        account = {cloud.home: store.account("%(project_id)s")}
        Identity(cloud.session(), cloud.auth_url).ensure_endpoints("object-store", "swift", account)
        self._env = {
            "OS_IDENTITY_API_VERSION": "3",
            "OS_AUTH_URL": login["auth_url"],
            "OS_USERNAME": login["username"],
            "OS_PASSWORD": login["password"],
            "OS_PROJECT_NAME": login["project_name"],
            "OS_USER_DOMAIN_ID": login["user_domain_id"],
            "OS_PROJECT_DOMAIN_ID": login["project_domain_id"],
        }
        self._connection = swiftclient.Connection(session=cloud.session("glance"))
        for container in (CONTAINER, COPIES):
            self._connection.put_container(container)
        self.scheme: Scheme = Swift(
            auth_address=login["auth_url"],
            user=f"{login['project_name']}:{login['username']}",
            key=Secret(login["password"]),
            container=CONTAINER,
        )

    def put(self, file: Path) -> None:
        """By its own client, in one part: so does the driver up to 5 GiB."""
        program = Path(sys.executable).with_name("swift")
        _run(self._env, program, "-q", "upload", "--object-name", file.name, CONTAINER, file)

    def copy(self, name: str) -> None:
        """Let it make a second object of one."""
        self._connection.copy_object(CONTAINER, name, f"/{CONTAINER}/{name}-copy")

    def remove(self, name: str, container: str = CONTAINER) -> None:
        """Delete an object."""
        self._connection.delete_object(container, name)


class IntoS3:
    """A bucket of it."""

    name = "S3"

    def __init__(self, store: servers.Swift) -> None:
        self._env = {
            "AWS_ACCESS_KEY_ID": store.user,
            "AWS_SECRET_ACCESS_KEY": store.key,
            "AWS_DEFAULT_REGION": REGION,
        }
        self._url = store.url
        self._client = boto3.client(
            "s3",
            endpoint_url=store.url,
            aws_access_key_id=store.user,
            aws_secret_access_key=store.key,
            region_name=REGION,
        )
        self._client.create_bucket(Bucket=BUCKET)
        self.scheme: Scheme = S3(
            host=store.url,
            bucket=BUCKET,
            access_key=store.user,
            secret_key=Secret(store.key),
            region_name=REGION,
        )

    def put(self, file: Path) -> None:
        """By its own client."""
        _run(self._env, sys.executable, "-c", _UPLOAD, self._url, file, BUCKET, file.name)

    def remove(self, name: str) -> None:
        """Delete an object."""
        self._client.delete_object(Bucket=BUCKET, Key=name)


@contextlib.contextmanager
def _swift(cloud: Cloud) -> Iterator[servers.Swift]:
    environment = servers.ensure(direct.SCRATCH / "venvs", stage.say)
    login = configs.password_login(cloud.auth_url, "glance", cloud.password("glance"))
    with tempfile.TemporaryDirectory(dir=scratch()) as directory:
        store = servers.Swift(Path(directory), environment, login)
        try:
            store.up()
            yield store
        finally:
            store.down()


def _image(cloud: Cloud, size: int) -> Image:
    name = stage.queued_image(cloud, cloud.home, "objects")
    stage.fill(cloud, cloud.home, name, size * stage.MIB, stage.pattern(size * stage.MIB))
    return direct.image(name, cloud.region(cloud.home).datadir / name)


def _sent(transport: direct.Direct, source: Source, into: IntoSwift | IntoS3) -> float:
    took = transport.move(source, [Place(into.scheme, Location("", ""))])
    into.remove(source.image.id)
    return took


def _put(into: IntoSwift | IntoS3, file: Path) -> float:
    began = time.perf_counter()
    into.put(file)
    took = time.perf_counter() - began
    into.remove(file.name)
    return took


def _inside(source: Source, into: IntoSwift, file: Path) -> float:
    """From one container to another by the transport that has Swift copy."""
    into.put(file)
    place = Place(into.scheme, Location(f"swift+http://k/v3/{CONTAINER}/{file.name}", ""))
    with file.open("rb") as content:
        checksum = hashlib.file_digest(content, "md5").hexdigest()  # as every Glance has one
    image = dataclasses.replace(source.image, checksum=checksum)
    inside = dataclasses.replace(source, image=image, place=place)
    there = dataclasses.replace(into.scheme, container=COPIES)  # type: ignore[call-arg]
    transport = direct.Direct(ServerCopy(TransferSettings()))
    took = transport.move(inside, [Place(there, Location("", ""))])
    into.remove(file.name)
    into.remove(file.name, COPIES)
    return took


def _copied(into: IntoSwift, file: Path) -> float:
    into.put(file)
    began = time.perf_counter()
    into.copy(file.name)
    took = time.perf_counter() - began
    for name in (file.name, f"{file.name}-copy"):
        into.remove(name)
    return took


def _run(env: Mapping[str, str], *command: str | Path) -> None:
    done = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise stage.BenchError(f"{CLIENT}: {done.stderr.strip()[-500:]}")
