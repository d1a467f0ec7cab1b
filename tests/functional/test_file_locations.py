# SPDX-License-Identifier: Apache-2.0
"""The door for files, on real Glances: what it lets in, and what people try to get through it."""

import functools
import hashlib
import http.server
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from devcloud import PORT_WIDTH, Cloud
from devcloud.layout import CHECKOUT
from devcloud.ports import find_base
from glancesync.errors import Conflict, Refused
from glancesync.model import Image
from glancesync.regions.images import PATCH_TYPE, GlanceImages
from glancesync.schemes import Location
from tests.clouds import BETWEEN, ENDS_OF_SUPPORT, cleaned
from tests.functional.wait import until

#: With one nameless store that has two directories; the others have two named stores.
PLAIN = "RegionTwo"
#: Home's Glance is stock.
STOCK = "RegionOne"
#: With one Glance series each.
NAMES = ("RegionThree", "RegionFour", "RegionFive", "RegionSix")
CLOUD = CHECKOUT / ".devcloud" / "test-doors"
DATA = b"the bytes of an image\n" * 1000


class Pages(http.server.BaseHTTPRequestHandler):
    """A web server that has an image, and sends those who ask for more to a file."""

    seen: list[str]
    aims: dict[str, str]

    def do_HEAD(self) -> None:
        self.seen.append(self.path)
        aim = self.aims.get(self.path)
        self.send_response(302 if aim else 200)
        if aim:
            self.send_header("Location", aim)
        self.send_header("Content-Length", "0" if aim else str(len(DATA)))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        if self.path not in self.aims:
            self.wfile.write(DATA)

    def log_message(self, *_: Any) -> None:
        pass


class Target:
    """One region's Glance with its files, as users and services see it."""

    def __init__(self, cloud: Cloud, region: str, datadir: Path, store: str, web: str) -> None:
        self.cloud, self.region, self.datadir, self.store, self.web = (
            cloud,
            region,
            datadir,
            store,
            web,
        )
        self.url = cloud.region(region).url
        self.session = functools.cache(cloud.session)
        self.images = GlanceImages(region, self.session("glance-sync"), self.url, "public")

    def call(self, method: str, path: str, user: str = "glance-sync", **more: Any) -> Any:
        return self.session(user).request(f"{self.url}/v2{path}", method, raise_exc=False, **more)

    def queued(self, user: str = "glance-sync", **properties: Any) -> str:
        body = {"disk_format": "raw", "container_format": "bare", **properties}
        answer = self.call("POST", "/images", user, json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def put(self, image_id: str, data: bytes = DATA) -> Path:
        path = self.datadir / image_id
        path.write_bytes(data)
        return path

    def body(self, image_id: str, data: bytes = DATA, **other: Any) -> dict[str, Any]:
        """What the door wants to hear; ``other`` replaces fields."""
        return {
            "url": f"file://{self.datadir}/{image_id}",
            "size": len(data),
            "checksum": hashlib.md5(data, usedforsecurity=False).hexdigest(),
            "validation_data": {
                "os_hash_algo": "sha512",
                "os_hash_value": hashlib.sha512(data).hexdigest(),
            },
            **other,
        }

    def post(
        self, image_id: str, body: Any, user: str = "glance-sync", beside: str = ""
    ) -> requests.Response:
        headers = {"X-Service-Token": self.session(beside or user).get_token()}
        url = f"/images/{image_id}/locations"
        answer = self.call("POST", url, user, json=body, headers=headers)
        assert isinstance(answer, requests.Response)
        return answer

    def show(self, image_id: str) -> dict[str, Any]:
        found = self.call("GET", f"/images/{image_id}").json()
        assert isinstance(found, dict)
        return found

    def content(self, image_id: str) -> bytes:
        return bytes(self.call("GET", f"/images/{image_id}/file").content)

    def refuses(self, image_id: str, answer: requests.Response, status: int, *words: str) -> None:
        """It said so in words, and the image is what it was: queued, without bytes."""
        assert answer.status_code == status, answer.text
        for word in words:
            assert word in answer.json()["error"]["message"]
        self.is_untouched(image_id)

    def is_untouched(self, image_id: str) -> None:
        found = self.show(image_id)
        assert (found["status"], found["size"], found["checksum"]) == ("queued", None, None)
        assert self.images.locations(image_id) == ()
        assert self.content(image_id) == b""


@pytest.fixture(scope="module")
def web() -> Iterator[tuple[int, list[str], dict[str, str]]]:
    """The web server's port, what was asked for, and whither it sends whom."""
    seen: list[str] = []
    aims: dict[str, str] = {}
    handler = type("Handler", (Pages,), {"seen": seen, "aims": aims})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1], seen, aims
        server.shutdown()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        where = [*(f"glance-{one}" for one in every_series(metafunc.config)), "one-store"]
        metafunc.parametrize("target", where, indirect=True)


def every_series(config: pytest.Config) -> list[str]:
    """The Glance series whose doors are tried: the newest, and with ``--matrix`` all others."""
    if config.getoption("--matrix"):
        return sorted(ENDS_OF_SUPPORT + BETWEEN)
    return ENDS_OF_SUPPORT[-1:]


@pytest.fixture(scope="module")
def doors(
    web: tuple[int, list[str], dict[str, str]], request: pytest.FixtureRequest
) -> Iterator[tuple[Cloud, dict[str, str]]]:
    """The cloud, and the region of each Glance series."""
    regions = dict(zip(every_series(request.config), NAMES, strict=False))
    targets = [PLAIN, *regions.values()]
    fresh = Cloud(
        name=CLOUD.name,
        regions=1 + len(targets),
        base_port=find_base(PORT_WIDTH),
        glance_version={name: series for series, name in regions.items()},
        hook=False,
        sync=True,
        file_locations=set(targets),
        overrides={
            "glance-sync": {"DEFAULT": {"sync_strategy": "None"}},
            **{name: options_for(name, web[0]) for name in [STOCK, *targets]},
        },
    )
    with cleaned(fresh):
        fresh.up()
        yield fresh, regions


def options_for(region: str, web_port: int) -> dict[str, dict[str, str]]:
    """Two directories, web pages as images, and all that makes file locations as easy as can be."""
    images, other = (CLOUD / region / name for name in ("images", "other images"))
    options = {
        "DEFAULT": {
            "show_multiple_locations": "true",
            "enabled_backends": "local:file,second:file,web:http",
            "user_storage_quota": "5MB",
        },
        "second": {"filesystem_store_datadir": str(other)},
        "import_filtering_opts": {
            "allowed_hosts": "[127.0.0.1]",
            "allowed_ports": f"[80,443,{web_port}]",
        },
    }
    if region == PLAIN:
        options["DEFAULT"] |= {
            "enabled_backends": "",
            "node_staging_uri": f"file://{CLOUD / region / 'staging'}",
        }
        options["glance_store"] = {
            "stores": "file,http",
            "filesystem_store_datadir": "",
            "default_backend": "",
            "filesystem_store_datadirs": f"{images}:1\nfilesystem_store_datadirs = {other}:2",
        }
    return options


@pytest.fixture
def target(
    doors: tuple[Cloud, dict[str, str]],
    web: tuple[int, list[str], dict[str, str]],
    request: pytest.FixtureRequest,
) -> Target:
    cloud, regions = doors
    name = regions.get(request.param.removeprefix("glance-"), PLAIN)
    return target_in(cloud, name, web[0])


def target_in(cloud: Cloud, name: str, port: int) -> Target:
    datadir = cloud.region(name).datadir
    if name == PLAIN:
        return Target(cloud, name, datadir.parent / "other images", "", f"http://127.0.0.1:{port}")
    return Target(cloud, name, datadir, "local", f"http://127.0.0.1:{port}")


# -- what it is for -------------------------------------------------------------------------------


def test_a_file_becomes_an_image(target: Target) -> None:
    image = target.queued()
    path = target.put(image)
    answer = target.post(image, target.body(image))
    assert (answer.status_code, answer.json()) == (200, {"image_id": image}), answer.text
    found = target.show(image)
    said = target.body(image)
    assert found["status"] == "active"
    assert (found["size"], found["virtual_size"]) == (len(DATA), len(DATA))
    assert found["checksum"] == said["checksum"]
    assert {key: found[key] for key in said["validation_data"]} == said["validation_data"]
    assert target.content(image) == DATA
    assert target.images.locations(image) == (Location(said["url"], target.store),)
    assert found.get("stores", "") == target.store
    target.images.delete(image)
    assert not path.exists()


def test_an_upload_leaves_the_same(target: Target) -> None:
    """Field by field what Glance's own upload of the same bytes leaves behind."""
    ours, theirs = target.queued(name="x"), target.queued(name="x")
    target.put(ours)
    assert target.post(ours, target.body(ours)).status_code == 200
    kind = {"Content-Type": "application/octet-stream"}
    assert target.call("PUT", f"/images/{theirs}/file", data=DATA, headers=kind).ok
    left, right = (
        {
            key: value.replace(image, "ID") if isinstance(value, str) else value
            for key, value in target.show(image).items()
            if key not in ("created_at", "updated_at", "locations")
        }
        for image in (ours, theirs)
    )
    assert left == right
    [mine], [its] = target.images.locations(ours), target.images.locations(theirs)
    assert (mine.url.replace(ours, "ID"), mine.store) == (its.url.replace(theirs, "ID"), its.store)


def test_what_glancesync_says_is_understood(target: Target) -> None:
    stores = target.images.file_stores()
    second = str(target.datadir.parent / "other images")
    first = str(target.datadir)
    assert stores == ({"local": first, "second": second} if target.store else {"": second})
    image = target.queued()
    target.put(image)
    home = Image(id=image, status="active", **_home(DATA))
    location = Location(f"file://{target.datadir}/{image}", target.store)
    target.images.register(image, location, home)
    there = target.images.get(image)
    assert there is not None
    assert (there.status, there.os_hash_value) == ("active", home.os_hash_value)
    with pytest.raises(Conflict, match="active, not queued"):
        target.images.register(image, location, home)
    other = target.queued()
    target.put(other, DATA + b"!")
    with pytest.raises(Refused, match="size: the file has"):
        target.images.register(other, Location(f"file://{target.datadir}/{other}", ""), home)


def _home(data: bytes) -> dict[str, Any]:
    return {
        **dict.fromkeys(("name", "owner")),
        "container_format": "bare",
        "disk_format": "raw",
        "min_disk": 0,
        "min_ram": 0,
        "visibility": "private",
        "protected": False,
        "os_hidden": False,
        "tags": frozenset(),
        "properties": {},
        "members": {},
        "size": len(data),
        "checksum": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        "os_hash_algo": "sha512",
        "os_hash_value": hashlib.sha512(data).hexdigest(),
    }


def test_the_other_directory_will_do_as_well(target: Target) -> None:
    image = target.queued()
    directory = target.cloud.region(target.region).datadir.parent
    directory /= "images" if not target.store else "other images"
    (directory / image).write_bytes(DATA)
    answer = target.post(image, target.body(image, url=f"file://{directory}/{image}"))
    assert answer.status_code == 200, answer.text
    assert target.content(image) == DATA
    [location] = target.images.locations(image)
    assert location.store == ("second" if target.store else "")


def test_an_image_from_before_there_were_hashes(target: Target) -> None:
    image = target.queued()
    target.put(image)
    assert target.post(image, target.body(image, validation_data=None)).status_code == 200
    found = target.show(image)
    assert (found["os_hash_algo"], found["os_hash_value"]) == (None, None)
    assert found["checksum"] == target.body(image)["checksum"]


def test_only_one_of_many_wins(target: Target) -> None:
    image = target.queued()
    target.put(image)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: target.post(image, target.body(image)), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 7]
    assert len(target.images.locations(image)) == 1
    assert target.content(image) == DATA


def test_other_locations_reach_glance_as_they_came(
    target: Target, web: tuple[int, list[str], dict[str, str]]
) -> None:
    image = target.queued()
    answer = target.post(image, {"url": f"{target.web}/an-image", "validation_data": {}})
    assert answer.status_code == 202, answer.text
    until(lambda: target.show(image)["status"] == "active", 30, "Glance's own task")
    until(lambda: target.show(image)["os_hash_value"], 30, "its hash")
    assert target.content(image) == DATA
    assert "/an-image" in web[1]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"url": 1}', b"[" * 50_000])
def test_nonsense_is_for_glance_to_answer(target: Target, body: bytes) -> None:
    image = target.queued()
    headers = {"Content-Type": "application/json"}
    answer = target.call("POST", f"/images/{image}/locations", data=body, headers=headers)
    assert 400 <= answer.status_code <= 500
    target.is_untouched(image)


def test_a_stock_glance_is_told_from_ours(
    doors: tuple[Cloud, dict[str, str]], web: tuple[int, list[str], dict[str, str]]
) -> None:
    """And it takes no file, which is why there is a door."""
    stock = target_in(doors[0], STOCK, web[0])
    assert stock.images.file_stores() == {}
    image = stock.queued()
    stock.put(image)
    stock.post(image, stock.body(image))
    idle = lambda: "os_glance_import_task" not in stock.show(image)  # noqa: E731
    until(lambda: idle() and stock.show(image)["status"] == "queued", 30, "Glance's refusal")
    assert stock.content(image) == b""


# -- who asks -------------------------------------------------------------------------------------


def test_users_and_admins_are_refused(target: Target) -> None:
    for user in ("demo", "admin"):
        image = target.queued(user)
        target.put(image)
        target.refuses(image, target.post(image, target.body(image), user), 403, "role service")
        answer = target.call("GET", "/info/glance_sync", user)
        assert answer.status_code == 403
        assert str(target.datadir) not in answer.text


def test_a_user_with_a_service_at_hand_is_still_a_user(target: Target) -> None:
    """Nova sends its own token beside the user's; that does not make the user a service."""
    image = target.queued("demo")
    target.put(image)
    answer = target.post(image, target.body(image), "demo", beside="glance-sync")
    target.refuses(image, answer, 403, "role service")


def test_nobody_is_refused(target: Target) -> None:
    image = target.queued()
    target.put(image)
    for headers in ({}, {"X-Roles": "service", "X-Identity-Status": "Confirmed"}):
        url = f"{target.url}/v2/images/{image}/locations"
        answer = requests.post(url, json=target.body(image), headers=headers, timeout=30)
        assert answer.status_code == 401
        answer = requests.get(f"{target.url}/v2/info/glance_sync", headers=headers, timeout=30)
        assert answer.status_code == 401
    target.is_untouched(image)


# -- which file -----------------------------------------------------------------------------------


def _other_paths(target: Target, image: str, other: str) -> Iterator[str]:
    directory = target.datadir
    name = directory.name
    yield from (
        "file:///etc/passwd",
        f"file://{directory}/{other}",
        f"file://{directory}/./{image}",
        f"file://{directory}/../{name}/{image}",
        f"file://{directory}/{other}/../{image}",
        f"file://{directory}/{image}/../../../../../../../etc/passwd",
        f"file://{directory}//{image}",
        f"file://{directory}/{image}/",
        f"file://{directory}/%2e%2e/{name}/{image}",
        f"file://{directory}/%{ord(image[0]):x}{image[1:]}",
        f"file://{str(directory).replace('/', '%2f')}/{image}",
        f"file://{directory}/{image}%00",
        f"file://{directory}/{image}\0",
        f"file://{directory}/{image}?x",
        f"file://{directory}/{image}#x",
        f"file://{directory}/{image} ",
        f"file://{directory}/{image}\n",
        f"file://{directory}/{image.upper()}",
        f"file://localhost{directory}/{image}",
        f"file:{directory}/{image}",
        f"file:///{directory}/{image}",
        f"file:\\\\{directory}/{image}",
        f"FILE://{directory}/{image}",
        f"File://{directory}/{image}",
        f" file://{directory}/{image}",
        f"\tfile://{directory}/{image}",
        f"\u200bfile://{directory}/{image}",
        f"fi\nle://{directory}/{image}",
        f"filesystem://{directory}/{image}",
        f"FileSystem://{directory}/{image}",
        f"{directory}/{image}",
        f"//{directory}/{image}",
        f"file://{directory.parent / 'staging'}/{image}",
        f"file://{directory.parent / 'tasks'}/{image}",
        "file://",
        "file:",
    )


def test_other_urls_are_refused(target: Target) -> None:
    image, other = target.queued(), target.queued()
    target.put(image)
    target.put(other)
    for directory in ("staging", "tasks"):
        (target.datadir.parent / directory / image).write_bytes(DATA)
    for url in _other_paths(target, image, other):
        answer = target.post(image, target.body(image, url=url))
        assert answer.status_code == 400, (url, answer.text)
        assert "url: must be" in answer.json()["error"]["message"], url
        answer = target.post(image, target.body(image, url=url), "demo")
        assert answer.status_code in (403, 404), (url, answer.text)
    target.is_untouched(image)
    target.is_untouched(other)


def test_links_are_not_followed(target: Target, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(DATA)
    other = target.queued()
    target.put(other)
    for aim in (secret, Path("/etc/passwd"), target.datadir / other, Path(other)):
        image = target.queued()
        (target.datadir / image).symlink_to(aim)
        size = (target.datadir / image).stat().st_size
        answer = target.post(image, target.body(image, size=size))
        target.refuses(image, answer, 400, "url", "is a link")
    image = target.queued()
    (tmp_path / image).write_bytes(DATA)
    link = target.datadir / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path)
    answer = target.post(image, target.body(image, url=f"file://{link}/{image}"))
    target.refuses(image, answer, 400, "url: must be")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such file"),
        (lambda path: os.mkfifo(path), "regular file"),
        (lambda path: path.mkdir(), "regular file"),
        (lambda path: os.mknod(path, 0o140644), "can't open"),  # a socket
        (lambda path: path.write_bytes(b""), "size: the file has 0"),
        (lambda path: path.write_bytes(DATA[:-1]), "size: the file has"),
        (lambda path: path.write_bytes(DATA + b"x"), "size: the file has"),
    ],
    ids=["absent", "fifo", "directory", "socket", "empty", "shorter", "longer"],
)
def test_what_is_no_such_file(target: Target, make: Callable[[Path], Any], words: str) -> None:
    image = target.queued()
    make(target.datadir / image)
    target.refuses(image, target.post(image, target.body(image)), 400, words)


def test_a_directory_that_is_gone(target: Target) -> None:
    image = target.queued()
    target.put(image)
    away = target.datadir.with_name("away")
    target.datadir.rename(away)
    try:
        target.refuses(image, target.post(image, target.body(image)), 400, "no such file")
    finally:
        away.rename(target.datadir)


# -- what is said of it ---------------------------------------------------------------------------

SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        *(("size", value, "size: must be") for value in (0, -1, None, "22000", 22000.0, True)),
        ("checksum", "0" * 31, "checksum: must be"),
        ("checksum", "g" * 32, "checksum: must be"),
        ("checksum", 7, "checksum: must be"),
        ("validation_data", {}, "validation_data: must have"),
        ("validation_data", "sha512", "validation_data: must have"),
        *(
            (
                "validation_data",
                {"os_hash_algo": algorithm, "os_hash_value": value},
                words,
            )
            for algorithm, value, words in [
                ("md5", "0" * 32, "os_hash_algo: must be"),
                ("sha1", "0" * 40, "os_hash_algo: must be"),
                ("rot13", "0" * 40, "os_hash_algo: must be"),
                (None, "0" * 40, "os_hash_algo: must be"),
                ("sha512", SHA256, "os_hash_value: must be 128"),
                ("sha256", SHA256[:-1] + "x", "os_hash_value: must be 64"),
                ("sha256", None, "os_hash_value: must be 64"),
            ]
        ),
        ("metadata", {"store": "second"}, "metadata: unknown"),
        ("size", 2**70, "size: the file has"),
    ],
)
def test_fields_that_break_a_rule(target: Target, field: str, value: Any, words: str) -> None:
    image = target.queued()
    target.put(image)
    answer = target.post(image, target.body(image, **{field: value}))
    target.refuses(image, answer, 400, words)


def test_without_any_hash_it_is_refused(target: Target) -> None:
    image = target.queued()
    target.put(image)
    body = {"url": target.body(image)["url"], "size": len(DATA)}
    target.refuses(image, target.post(image, body), 400, "validation_data")
    longer = target.body(image, checksum="x" * 70_000)
    target.refuses(image, target.post(image, longer), 413, "at most 65536 bytes")


def test_other_algorithms(target: Target) -> None:
    image = target.queued()
    target.put(image)
    said = {"os_hash_algo": "sha256", "os_hash_value": SHA256}
    assert target.post(image, target.body(image, validation_data=said)).status_code == 200
    found = target.show(image)
    assert (found["os_hash_algo"], found["os_hash_value"]) == ("sha256", SHA256)


# -- which image ----------------------------------------------------------------------------------


def test_images_that_do_not_wait_for_bytes(target: Target) -> None:
    active = target.queued()
    target.put(active)
    body = target.body(active)
    assert target.post(active, body).status_code == 200
    for status, change in [("active", None), ("deactivated", "deactivate")]:
        if change:
            assert target.call("POST", f"/images/{active}/actions/{change}").status_code == 204
        answer = target.post(active, body)
        assert answer.status_code == 409
        assert f"the image is {status}" in answer.json()["error"]["message"]
    unknown = str(uuid.uuid4())
    target.put(unknown)
    assert target.post(unknown, target.body(unknown)).status_code == 404
    target.images.delete(active)
    target.put(active)
    assert target.post(active, body).status_code == 404
    assert target.post("passwd", target.body("passwd")).status_code == 404


def test_an_image_without_formats(target: Target) -> None:
    image = target.queued(disk_format=None)
    target.put(image)
    target.refuses(image, target.post(image, target.body(image)), 409, "disk_format: must be set")


def test_an_image_that_is_being_staged(target: Target) -> None:
    image = target.queued()
    target.put(image)
    kind = {"Content-Type": "application/octet-stream"}
    assert target.call("PUT", f"/images/{image}/stage", data=DATA, headers=kind).ok
    answer = target.post(image, target.body(image))
    assert answer.status_code == 409
    assert "the image is uploading" in answer.json()["error"]["message"]


# -- as for an upload -----------------------------------------------------------------------------


def test_the_quota_holds(target: Target) -> None:
    image = target.queued()
    data = bytes(6_000_000)
    target.put(image, data)
    answer = target.post(image, target.body(image, data))
    target.refuses(image, answer, 413, "exceed")
    assert (target.datadir / image).exists()


def test_a_qcow2_that_reads_other_files_is_refused(target: Target) -> None:
    """CVE-2024-32498: its backing file is one of the host's."""
    image = target.queued(disk_format="qcow2")
    backing = b"/etc/passwd"
    header = b"QFI\xfb" + (3).to_bytes(4, "big") + (104).to_bytes(8, "big")
    header += (
        len(backing).to_bytes(4, "big") + (16).to_bytes(4, "big") + (1 << 20).to_bytes(8, "big")
    )
    header = header.ljust(100, b"\0") + (104).to_bytes(4, "big") + backing
    data = header.ljust(1 << 17, b"\0")
    target.put(image, data)
    target.refuses(image, target.post(image, target.body(image, data)), 415, "safety")


# -- past the door --------------------------------------------------------------------------------


def test_patching_locations_stays_shut(target: Target) -> None:
    """With ``show_multiple_locations``, for services as for users: Glance's own check."""
    for user in ("glance-sync", "admin", "demo"):
        image = target.queued(user)
        target.put(image)
        for url in (f"file://{target.datadir}/{image}", "file:///etc/passwd"):
            for path, value in [
                ("/locations/-", {"url": url, "metadata": {}}),
                ("/locations", [{"url": url, "metadata": {}}]),
            ]:
                change = [{"op": "add" if "-" in path else "replace", "path": path, "value": value}]
                answer = target.call(
                    "PATCH",
                    f"/images/{image}",
                    user,
                    json=change,
                    headers={"Content-Type": PATCH_TYPE},
                )
                assert 400 <= answer.status_code < 500, answer.text
        target.is_untouched(image)


@pytest.mark.parametrize("way", ["location", "patch"])
def test_a_web_server_cannot_send_glance_to_a_file(
    target: Target, web: tuple[int, list[str], dict[str, str]], way: str
) -> None:
    _, seen, aims = web
    image = target.queued()
    target.put(image)
    for number, aim in enumerate(("file:///etc/passwd", f"file://{target.datadir}/{image}")):
        page = f"/{target.region}-{way}-{number}"
        aims[page] = aim
        url = f"{target.web}{page}"
        if way == "location":
            answer = target.post(image, {"url": url})
        else:
            change = [{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}]
            headers = {"Content-Type": PATCH_TYPE}
            answer = target.call("PATCH", f"/images/{image}", json=change, headers=headers)
        assert answer.status_code < 500, answer.text
        until(lambda page=page: page in seen, 30, "Glance to ask the web server")  # type: ignore[misc]
        until(
            lambda: "os_glance_import_task" not in target.show(image), 30, "Glance to have given up"
        )
        until(lambda: target.show(image)["status"] == "queued", 30, "the image to be queued again")
        assert target.content(image) == b""
