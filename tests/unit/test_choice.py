# SPDX-License-Identifier: Apache-2.0
"""Which transport: ``choice.route`` as tables."""

import dataclasses
from typing import cast

import pytest

from glancesync.choice import End, route
from glancesync.interfaces import Capabilities, Transport
from glancesync.model import Image
from glancesync.schemes import Filesystem, Http, Location, Place, Rbd, Scheme, Secret, Swift
from glancesync.transports.filesystem import Filesystem as FilesystemTransport
from glancesync.transports.pull import Pull
from glancesync.transports.servercopy import ServerCopy
from glancesync.transports.settings import TransferSettings
from glancesync.transports.upload import Upload

IMAGE = Image("i", "active", container_format="bare", disk_format="raw")


def place(scheme: Scheme) -> Place:
    return Place(scheme, Location("somewhere", ""), path="/images/i")


class Way:
    """A transport that is asked for nothing but what it says it can do."""

    def __init__(self, name: str, **needs: object) -> None:
        self.name = name
        self.capabilities = Capabilities(**needs)  # type: ignore[arg-type]


SETTINGS = TransferSettings()
FILE, PULL, UPLOAD = FilesystemTransport(SETTINGS), Pull(SETTINGS), Upload(SETTINGS)
SCP = cast(
    Transport,
    Way("scp", reads=frozenset({"filesystem"}), writes=frozenset({"filesystem"})),
)
SHARED = cast(
    Transport,
    Way("shared", reads=frozenset({"http"}), writes=frozenset({"http"}), same_store=True),
)
HERE = place(Filesystem(datadir="/images"))
THERE = place(Filesystem(host="far", datadir="/srv/images"))
CEPH = place(Rbd(fsid="f", pool="images"))
LOGIN = {"auth_address": "http://k", "user": "service:glance", "key": Secret("p")}
SWIFT = place(Swift(**LOGIN, endpoint="http://s/v1/AUTH_1"))  # type: ignore[arg-type]
OTHER_CONTAINER = place(Swift(**LOGIN, endpoint="http://s/v1/AUTH_2", container="c"))  # type: ignore[arg-type]
OTHER_SWIFT = place(Swift(**LOGIN, endpoint="http://t/v1/AUTH_1"))  # type: ignore[arg-type]
INSIDE = ServerCopy(SETTINGS)
WEB, OTHER_WEB = place(Http(netloc="web")), place(Http(netloc="other"))


def end(name: str, *places: Place, methods: tuple[str, ...] = (), **more: str) -> End:
    return End(name, places, import_methods=frozenset(methods), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("transport", "source", "target", "why"),
    [
        (UPLOAD, end("home"), end("two"), None),
        (PULL, end("home"), end("two", methods=("web-download", "glance-download")), None),
        (
            PULL,
            end("home"),
            end("two", methods=("glance-direct",)),
            "two does not offer the import method glance-download",
        ),
        (FILE, end("home", HERE), end("two", HERE), None),
        (
            FILE,
            end("home"),
            end("two", HERE),
            "home: nothing is known of its stores",
        ),
        (
            FILE,
            end("home", HERE),
            end("two", unknown="its Glance adopts no files"),
            "two: its Glance adopts no files",
        ),
        (
            FILE,
            end("home", CEPH),
            end("two", HERE),
            "the store of home is rbd, not filesystem",
        ),
        (
            FILE,
            end("home", HERE),
            end("two", CEPH),
            "the store of two is rbd, not filesystem",
        ),
        (FILE, end("home", HERE), end("two", THERE), "/srv/images is on far, not here"),
        (FILE, end("home", THERE), end("two", HERE), "/srv/images is on far, not here"),
        (SCP, end("home", HERE), end("two", THERE), None),
        (SHARED, end("home", WEB), end("two", WEB), None),
        (
            SHARED,
            end("home", WEB),
            end("two", OTHER_WEB),
            "the two stores are not known to be one and the same",
        ),
        (INSIDE, end("home", SWIFT), end("two", OTHER_CONTAINER), None),
        (
            INSIDE,
            end("home", SWIFT),
            end("two", OTHER_SWIFT),
            "the two stores are not known to be of one and the same service",
        ),
        (
            SHARED,
            end("home", place(Http())),
            end("two", place(Http())),
            "the two stores are not known to be one and the same",
        ),
    ],
)
def test_what_fits(transport: Transport, source: End, target: End, why: str | None) -> None:
    found = route(transport, IMAGE, source, target)
    assert found.transport is transport
    assert found.unfit == why
    if why is None:
        assert found.source in (*source.places, None)
        assert found.target in (*target.places, None)
        assert (found.source is None) == (not transport.capabilities.reads)
        assert (found.target is None) == (not transport.capabilities.writes)


def test_of_several_places_the_pair_that_fits_is_taken() -> None:
    source = end("home", CEPH, THERE, HERE)
    found = route(FILE, IMAGE, source, end("two", HERE))
    assert found == dataclasses.replace(found, unfit=None, source=HERE, target=HERE)


@pytest.mark.parametrize("missing", ["container_format", "disk_format"])
def test_formats_may_be_needed(missing: str) -> None:
    image = Image("i", "active", **{"container_format": "b", "disk_format": "r", missing: None})  # type: ignore[arg-type]
    found = route(UPLOAD, image, end("home"), end("two"))
    assert found.unfit == "the image has no container_format or disk_format"
    found = route(cast(Transport, Way("any")), image, end("home"), end("two"))
    assert found.unfit is None
