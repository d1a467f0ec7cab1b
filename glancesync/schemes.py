# SPDX-License-Identifier: Apache-2.0
"""How the stores of Glances are reached: one frozen dataclass for each scheme.

An operator writes them down in ``glance_store.yaml`` (:mod:`glancesync.stores.file`); what Glance
tells of its stores by itself fills in what is left out there.
"""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from typing import ClassVar

#: The ``host`` of what is a directory on the hosts glance-sync runs on, or mounted there.
HERE = "localhost"

#: Bytes per second as people write them.
RATE = r"\A[0-9]{1,15}(?:\.[0-9]{1,6})?[KMGT]?\Z"


def rate(said: int | str) -> int:
    """Bytes per second: a number, or one with K, M, G or T, which are powers of 1024.

    :raises ValueError: it is none, or out of all reason
    """
    text = str(said)
    if not re.match(RATE, text):
        raise ValueError("must be bytes per second, as in 512K, 50M, 1.5G")
    number = text.rstrip("KMGT")
    value = int(float(number) * 1024 ** (" KMGT".find(text[-1]) if number != text else 0))
    if not 1024 <= value <= 1024**5:
        raise ValueError("must be from 1K (1024 bytes per second) to 1024T")
    return value


@dataclasses.dataclass(frozen=True)
class Secret:
    """A password or key. Never shown: what prints it prints asterisks (P6)."""

    value: str = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return "***"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scheme:
    """What the schemes of all stores have.

    ``type`` is what Glance calls the kind of store (``GET /v2/info/stores/detail``).
    """

    name: ClassVar[str] = ""
    type: ClassVar[str] = ""

    store: str = ""  # the store's id in Glance; "": the only one of its type
    max_parallel: int | None = None  # images that are copied from it, or to it, at a time
    bandwidth: int | None = None  # bytes per second, all its transfers together
    cost: int = 0  # of reading from it, beside others that hold the same

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for two schemes that reach one and the same store; () if that can't be told."""
        return ()

    @property
    def service(self) -> tuple[str, ...]:
        """Equal for two stores of one service, which can copy between them; () if it can't."""
        return ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filesystem(Scheme):
    """A directory, here or on a host that is reached by ssh.

    ``datadir`` is the directory on ``host``; Glance may see it under another name, as a container
    does. ``share`` names a file system that several regions have mounted.
    """

    name: ClassVar[str] = "filesystem"
    type: ClassVar[str] = "file"

    host: str = HERE
    port: int = 22
    datadir: str = ""
    login_user: str = ""
    login_password: Secret | None = None
    key_file: str = ""
    known_hosts: str = ""  # a file; "": that of the user glance-sync runs as
    host_key: str = ""  # as in known_hosts, without the name of the host
    share: str = ""

    @property
    def here(self) -> bool:
        """Whether it is a directory of this host."""
        return self.host == HERE

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.name, self.share, self.datadir) if self.share else ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Http(Scheme):
    """A web server that Glance only reads from."""

    name: ClassVar[str] = "http"
    type: ClassVar[str] = "http"

    netloc: str = ""
    path: str = "/"

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.name, self.netloc, self.path) if self.netloc else ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swift(Scheme):
    """A container of an object store, as one account sees it (Glance's single-tenant store)."""

    name: ClassVar[str] = "swift"
    type: ClassVar[str] = "swift"

    auth_address: str
    auth_version: str = "3"
    user: str  # "project:user" or, for TempAuth, "account:user"
    key: Secret
    user_domain_id: str = "default"
    project_domain_id: str = "default"
    region_name: str = ""
    endpoint: str = ""
    container: str = "glance"
    cacert: str = ""

    @property
    def identity(self) -> tuple[str, ...]:
        account = self.user.partition(":")[0]
        return (
            self.name,
            self.auth_address,
            self.region_name,
            self.endpoint,
            account,
            self.container,
        )

    @property
    def service(self) -> tuple[str, ...]:
        where = urllib.parse.urlsplit(self.endpoint)
        return (self.name, self.auth_address, self.region_name, where.scheme, where.netloc)


@dataclasses.dataclass(frozen=True, kw_only=True)
class S3(Scheme):
    """A bucket."""

    name: ClassVar[str] = "s3"
    type: ClassVar[str] = "s3"

    host: str  # http://HOST[:PORT] or https://...
    bucket: str
    access_key: str
    secret_key: Secret
    region_name: str = ""
    cacert: str = ""

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.name, self.host, self.bucket)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rbd(Scheme):
    """A pool of a Ceph cluster."""

    name: ClassVar[str] = "rbd"
    type: ClassVar[str] = "rbd"

    ceph_conf: str = "/etc/ceph/ceph.conf"
    user: str = ""
    keyring: str = ""
    pool: str = "images"
    fsid: str = ""  # of the cluster; "": as Glance tells it

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.name, self.fsid, self.pool) if self.fsid else ()


#: By the name they have in ``glance_store.yaml``.
SCHEMES: dict[str, type[Scheme]] = {one.name: one for one in (Filesystem, Http, Swift, S3, Rbd)}


@dataclasses.dataclass(frozen=True)
class StoreInfo:
    """What a Glance says of one of its stores (``GET /v2/info/stores/detail``)."""

    id: str
    type: str
    default: bool
    data_dir: str = ""  # file
    pool: str = ""  # rbd
    fsid: str = ""  # rbd
    container: str = ""  # swift


@dataclasses.dataclass(frozen=True)
class Location:
    """Where a Glance has the bytes of an image: a URL as its store's driver makes it.

    May hold a password (``swift+config`` does not, ``s3`` does): it is never shown.
    """

    url: str = dataclasses.field(repr=False)
    store: str  # id; "" in a Glance with one store


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an image's bytes are, or are to be put, and how one gets there.

    ``location``: as the Glance of the region names it. ``path``: of a file, on the scheme's host.
    """

    scheme: Scheme
    location: Location
    path: str = ""

    def __str__(self) -> str:
        """In words, without secrets."""
        scheme = self.scheme
        if isinstance(scheme, Filesystem):
            return self.path if scheme.here else f"{scheme.host}:{self.path}"
        return " ".join(part for part in scheme.identity if part) or scheme.name
