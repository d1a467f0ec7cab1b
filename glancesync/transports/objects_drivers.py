"""Writes to object stores as a Glance would: by glance_store's own drivers.

Of the child process of ``objects`` only. Beside an object that is not known to be registered there
is a mark, an object of its own: by it what an earlier attempt left is told from what is of others.
"""

from __future__ import annotations

import abc
import concurrent.futures
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any, ClassVar

# Libraries that find it take it for what runs this process, and wait for it in vain.
sys.modules.setdefault("eventlet", None)  # type: ignore[arg-type]

import glance_store  # noqa: E402
from glance_store import backend  # noqa: E402
from glance_store import location as locations  # noqa: E402
from oslo_config import cfg  # noqa: E402

from glancesync.transports.rbd_mover import Failed  # noqa: E402

MARK = ".glance-sync"  # after an object's name
_GROUP = "glance_store"


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
