# SPDX-License-Identifier: Apache-2.0
"""Writes to object stores as a Glance would: by glance_store's own drivers.

Of the child process of ``objects`` only. Beside an object that is not known to be registered there
is a mark, an object of its own: by it what an earlier attempt left is told from what is of others.
"""

from __future__ import annotations

import abc
import concurrent.futures
import re
import sys
import threading
import types
import urllib.parse
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

# Libraries that find it take it for what runs this process, and wait for it in vain.
sys.modules.setdefault("eventlet", None)  # type: ignore[arg-type]

import glance_store  # noqa: E402
from glance_store import backend  # noqa: E402
from glance_store import location as locations  # noqa: E402
from oslo_config import cfg  # noqa: E402

from glancesync.transports.rbd_mover import PIECE, Failed, words  # noqa: E402

MARK = ".glance-sync"  # after an object's name
_GROUP = "glance_store"
_SEGMENT = re.compile("-[0-9]{5}")


class Chunks:
    """A readable file of an image's chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """At the most ``size`` bytes; none at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = memoryview(chunk)
        size = len(self._rest) if size < 0 else size
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)


class Store(abc.ABC):
    """A container or bucket, by its driver; ``spec`` is an end of an order."""

    options: ClassVar[dict[str, Any]] = {}  # of the driver's, unless it is told otherwise

    def __init__(self, spec: dict[str, Any]) -> None:
        self.name = spec["image"]
        self._conf = cfg.ConfigOpts()
        # The driver adds its own; all of them together would have each and every driver loaded.
        self._conf.register_opts(backend._STORE_OPTS, group=_GROUP)
        self._driver = self._made(self._conf, spec)
        for option, value in {**self.options, **spec["options"]}.items():
            self._conf.set_override(option, value, group=_GROUP)
        self._driver = self._made(self._conf, spec)
        self._driver.configure(re_raise_bsc=True)

    @abc.abstractmethod
    def _made(self, conf: Any, spec: dict[str, Any]) -> Any:
        """The driver, not configured."""

    def write(self, chunks: Iterator[bytes], size: int, algorithm: str) -> tuple[str, int, str]:
        """Write the object; its location as Glance knows it, its size and its hash.

        :raises Failed: ``way``: there is one of that name
        """
        try:
            added = self._driver.add(self.name, Chunks(chunks), size, algorithm)
        except glance_store.Duplicate as error:
            raise self.not_ours() from error
        url, written, _, digest, _ = added
        return str(url), int(written), str(digest)

    def not_ours(self) -> Failed:
        """What to raise if somebody else's object has the name."""
        return Failed("way", f"the store has an object {self.name} that is not of us")

    def remove(self, url: str) -> None:
        """Delete the object with its segments; one that is not there is no error."""
        kind = self._driver.get_store_location_class()
        where = locations.Location(self._driver.get_schemes()[0], kind, self._conf, uri=url)
        try:
            self._driver.delete(where)
        except glance_store.NotFound:
            return

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """Where the object is, or will be."""

    @abc.abstractmethod
    def there(self) -> bool:
        """Whether there is an object of that name."""

    @abc.abstractmethod
    def mark(self) -> str | None:
        """What its mark says; None if it has none."""

    @abc.abstractmethod
    def set_mark(self, what: str | None) -> None:
        """Set the mark, or take it away."""


class Part(NamedTuple):
    """An object that holds an image, or a part of one; ``md5`` as Swift tells it."""

    container: str
    name: str
    size: int
    md5: str


class Swift(Store):
    """A container of Swift."""

    def _made(self, conf: Any, spec: dict[str, Any]) -> Any:
        try:
            import swiftclient
            from glance_store._drivers.swift import store
        except ImportError as error:
            raise Failed("way", f"python-swiftclient is not installed: {error}") from error
        self._error = swiftclient.ClientException
        conf.register_opts(store.BaseStore.OPTIONS, group=_GROUP)
        return store.Store(conf)

    @property
    def _location(self) -> Any:
        return self._driver.create_location(self.name)

    @property
    def url(self) -> str:
        return str(self._location.get_uri(credentials_included=True))

    def there(self) -> bool:
        return self._asked("head_object", self.name) is not None

    def mark(self) -> str | None:
        found = self._asked("get_object", self.name + MARK)
        return None if found is None else found[1].decode()

    def set_mark(self, what: str | None) -> None:
        if what is None:
            self._asked("delete_object", self.name + MARK)
        else:
            self._asked("put_object", self.name + MARK, what.encode())

    def remove(self, url: str) -> None:
        """As any; and segments of an object that somebody killed did not come to make."""
        super().remove(url)
        where = self._location
        asked = self._driver.get_connection(where)
        try:
            listed = asked.get_container(where.container, prefix=f"{self.name}-", full_listing=True)
        except self._error as error:
            if error.http_status == 404:
                return
            raise
        for one in listed[1]:
            if _SEGMENT.fullmatch(one["name"].removeprefix(self.name)):
                self._asked("delete_object", one["name"])

    def parts(self, size: int) -> tuple[list[Part], bool]:
        """The objects that hold the bytes, in order; whether it is one in segments.

        :raises Failed: ``way``: it can't be copied; ``source``: it has not so many bytes
        """
        where = self._location
        asked = self._driver.get_connection(where)
        try:
            about = asked.head_object(where.container, self.name)
            manifest = about.get("x-object-manifest")
            if manifest is None:
                length, md5 = int(about["content-length"]), about["etag"].strip('"')
                found = [Part(where.container, self.name, length, md5)]
            else:
                container, _, prefix = urllib.parse.unquote(manifest).partition("/")
                listed = asked.get_container(container, prefix=prefix, full_listing=True)[1]
                found = [Part(container, one["name"], one["bytes"], one["hash"]) for one in listed]
        except self._error as error:
            raise Failed("source", f"Swift does not give {self.name}: {words(error)}") from error
        if about.get("x-static-large-object"):
            raise Failed("way", f"{self.name} is a static large object")
        total = sum(part.size for part in found)
        if total != size:
            raise Failed("source", f"it holds {total} bytes, not {size}")
        return found, manifest is not None

    def origin(self, other: Swift) -> dict[str, str]:
        """What a request to copy from a container of ``other`` says of its account.

        :raises Failed: ``way``: they are not of one Swift
        """
        (host, theirs), (ours, mine) = (
            (url.netloc, url.path.rstrip("/").rpartition("/")[2])
            for url in (
                urllib.parse.urlsplit(one._driver.get_connection(one._location).get_auth()[0])
                for one in (other, self)
            )
        )
        if host != ours:
            raise Failed("way", f"they are not of one Swift: one is at {host}, the other at {ours}")
        return {} if theirs == mine else {"X-Copy-From-Account": theirs}

    def claim(self, in_segments: bool) -> None:
        """Make an empty object of the name, or one that its segments will fill.

        :raises Failed: ``way``: there is one
        """
        where = self._location
        asked = self._driver.get_connection(where)
        self._driver._create_container_if_missing(where.container, asked)
        headers = {"If-None-Match": "*"}
        if in_segments:
            headers["X-Object-Manifest"] = f"{where.container}/{self.name}-"
        try:
            asked.put_object(where.container, self.name, b"", headers=headers)
        except self._error as error:
            if error.http_status == 412:
                raise self.not_ours() from error
            raise

    def copy(self, parts: list[Part], in_segments: bool, account: dict[str, str]) -> Iterator[Part]:
        """Have Swift copy objects into what was claimed; each, as it is now, when that is done.

        Swift compares the MD5 of what it writes with that of what it reads.

        :param account: as :meth:`origin` says
        :raises Failed: one could not be copied, or is not what it was
        """
        where = self._location
        asked = self._driver.get_connection(where)
        for number, part in enumerate(parts, 1):
            name = f"{self.name}-{number:05}" if in_segments else self.name
            path = urllib.parse.quote(f"/{part.container}/{part.name}")
            headers = {"X-Copy-From": path, "X-Fresh-Metadata": "true", **account}
            try:
                md5 = asked.put_object(where.container, name, b"", headers=headers)
            except self._error as error:
                raise Failed("target", f"Swift does not copy: {words(error)}") from error
            if md5.strip('"') != part.md5:
                raise Failed("source", f"{part.name} changed while it was copied")
            yield Part(where.container, name, part.size, part.md5)

    def chunks(self, parts: list[Part]) -> Iterator[bytes]:
        """The bytes of objects, one after the other."""
        asked = self._driver.get_connection(self._location)
        for part in parts:
            yield from asked.get_object(part.container, part.name, resp_chunk_size=PIECE)[1]

    def _asked(self, method: str, *arguments: Any) -> Any:
        where = self._location
        try:
            return getattr(self._driver.get_connection(where), method)(where.container, *arguments)
        except self._error as error:
            if error.http_status == 404 and method != "put_object":
                return None
            raise


class S3(Store):
    """A bucket."""

    # MiB from which on it goes in parts: what is in one is all in memory, more than once.
    options: ClassVar[dict[str, Any]] = {"s3_store_large_object_size": 10}

    def _made(self, conf: Any, spec: dict[str, Any]) -> Any:
        try:
            import boto3  # noqa: F401
            import botocore.exceptions
            from glance_store._drivers import s3
        except ImportError as error:
            raise Failed("way", f"boto3 is not installed: {error}") from error
        self._error = botocore.exceptions.ClientError
        s3.futures = types.SimpleNamespace(ThreadPoolExecutor=Bounded, wait=concurrent.futures.wait)
        return s3.Store(conf)

    @property
    def _asking(self) -> tuple[Any, str]:
        from glance_store._drivers import s3

        where = self._where(s3)
        client, bucket, _ = self._driver._operation_set(where)
        return client, bucket

    def _where(self, s3: Any) -> Any:
        specs = {
            "scheme": self._driver.scheme,
            "bucket": self._driver.bucket,
            "key": self.name,
            "s3serviceurl": self._driver.full_s3_host,
        }
        return s3.StoreLocation(store_specs=specs, conf=self._conf, backend_group=None)

    @property
    def url(self) -> str:
        from glance_store._drivers import s3

        return str(self._where(s3).get_uri())

    def there(self) -> bool:
        return self._asked("head_object", self.name) is not None

    def mark(self) -> str | None:
        found = self._asked("get_object", self.name + MARK)
        return None if found is None else found["Body"].read().decode()

    def set_mark(self, what: str | None) -> None:
        if what is None:
            self._asked("delete_object", self.name + MARK)
        else:
            self._asked("put_object", self.name + MARK, Body=what.encode())

    def _asked(self, method: str, key: str, **more: Any) -> Any:
        client, bucket = self._asking
        try:
            return getattr(client, method)(Bucket=bucket, Key=key, **more)
        except self._error as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404 and not more:
                return None
            raise


class Bounded(concurrent.futures.ThreadPoolExecutor):
    """Takes no more work than it will soon do, and lets go of what is done.

    The driver would read all of an image ahead, and keep it.
    """

    def __init__(self, max_workers: int) -> None:
        super().__init__(max_workers)
        self._room = threading.BoundedSemaphore(max_workers + 1)

    def submit(self, *what: Any, **more: Any) -> concurrent.futures.Future[Any]:
        self._room.acquire()

        def done(_: object) -> None:
            part = what[-1]
            part.fp.close()
            self._room.release()

        future = super().submit(*what, **more)
        future.add_done_callback(done)
        return future


STORES: dict[str, type[Store]] = {"swift": Swift, "s3": S3}
