# SPDX-License-Identifier: Apache-2.0
"""What the doctor finds of ``glance_store.yaml``: whether it fits the regions and this host."""

from __future__ import annotations

import dataclasses
import os
import pwd
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from glancesync.errors import RegionError
from glancesync.interfaces import ImageService
from glancesync.placing import source_place, target_place
from glancesync.schemes import Filesystem, Location, Place, Scheme, StoreInfo
from glancesync.stores.file import Entry

Finding = tuple[bool, str, str]  # is it well, what was looked at, what was found

Key = tuple[str | int, ...]
#: A directory of another host, and whether it is to be written to -> why that can't be, or "".
LogIn = Callable[[Filesystem, str, bool], str]

_ANY_IMAGE = "00000000-0000-4000-8000-000000000000"
#: Fields that name a file which is read on this host.
_FILES = ("key_file", "known_hosts", "cacert", "ceph_conf", "keyring")


class Told(NamedTuple):
    """What a region tells of itself.

    :param adopts: where it adopts files: store id -> directory
    :param image: some image of home that has data, if there is one
    """

    stores: tuple[StoreInfo, ...]
    adopts: Mapping[str, str]
    image: str = ""
    locations: tuple[Location, ...] = ()


def ask(service: ImageService, *, is_home: bool) -> Told:
    """What a region tells; RegionError if it does not."""
    if not is_home:
        return Told(service.stores(), service.file_stores())
    images = service.page(hidden=False).images
    image = next((one.id for one in images if one.status == "active" and one.size), "")
    return Told(service.stores(), {}, image, service.locations(image) if image else ())


def examine(
    source: str,
    entries: Sequence[Entry],
    regions: Mapping[str, Callable[[], Told]],
    home: str,
    log_in: LogIn,
) -> Iterator[Finding]:
    """Every finding; home first, as others are compared with it.

    :param source: the name of the file
    :param regions: those of the catalog, and how to ask them
    :param log_in: tells why a directory of another host can't be used
    """
    taken: dict[Key, str] = {}
    directories: list[str] = []  # of home, on this host
    for entry in sorted(entries, key=lambda one: one.region != home):
        if entry.region not in regions:
            said = f"Keystone lists no region {entry.region} with an image endpoint"
            yield False, f"{source}:{entry.line}", f"{said}; it has {', '.join(sorted(regions))}"
            continue
        yield from _files(source, entry)
        try:
            told = regions[entry.region]()
        except RegionError as error:
            yield False, entry.region, f"{error.message}; its stores are not known"
            continue
        wrong = list(_unfit(source, entry, told.stores))
        yield from wrong
        if entry.region == home:
            read = list(_directories(entry, told.stores))
            taken = dict.fromkeys(_keys_of_home(entry, told.stores, read), home)
            directories = [one.datadir for one in read if one.here]
            readable = [_readable(entry.region, one, log_in) for one in read]
            yield from readable
            if told.image and all(well for well, _, _ in wrong + readable):
                yield _source(entry, told)
        elif not wrong:
            yield _target(entry, told, directories, taken, log_in)


def _unfit(source: str, entry: Entry, stores: Sequence[StoreInfo]) -> Iterator[Finding]:
    """Schemes that are for no store of the region, by their lines."""
    ids = sorted(store.id for store in stores)
    for scheme, line in zip(entry.schemes, entry.lines, strict=True):
        where = f"{source}:{line}"
        alike = [store for store in stores if store.type == scheme.type]
        if scheme.store and not stores:
            said = f"the store of {entry.region} has no name; leave out 'store: {scheme.store}'"
            yield False, where, said
        elif scheme.store and scheme.store not in ids:
            said = f"{entry.region} has no store {scheme.store}; it has {', '.join(ids)}"
            yield False, where, said
        elif scheme.store and scheme.store not in [store.id for store in alike]:
            said = f"the store {scheme.store} of {entry.region} is not of type {scheme.type}"
            yield False, where, said
        elif stores and not alike:
            yield False, where, f"{entry.region} has no store of type {scheme.type}"
        elif not scheme.store and len(alike) > 1:
            names = ", ".join(store.id for store in alike)
            yield False, where, f"say by 'store' which of {names} of {entry.region} it is for"


def _directories(entry: Entry, stores: Sequence[StoreInfo]) -> Iterator[Filesystem]:
    """The region's schemes for files, with the directories, as far as Glance tells them."""
    for scheme in entry.schemes:
        if isinstance(scheme, Filesystem):
            told = [one.data_dir for one in stores if _is_for(scheme, one) and one.data_dir]
            if scheme.datadir or len(told) == 1:
                yield dataclasses.replace(scheme, datadir=scheme.datadir or told[0])


def _is_for(scheme: Scheme, store: StoreInfo) -> bool:
    return scheme.type == store.type and scheme.store in ("", store.id)


def _who() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _trouble(directory: str, mode: int) -> str:
    """Why a directory can't be used; "" if it can."""
    if not os.path.isdir(directory):
        return f"{directory} is not a directory of this host; is 'host: localhost' right?"
    if not os.access(directory, mode):
        what = "written" if mode & os.W_OK else "read"
        return f"{directory} can't be {what} as {_who()}"
    return ""


def _readable(region: str, scheme: Filesystem, log_in: LogIn) -> Finding:
    directory = scheme.datadir
    if scheme.here:
        said = _trouble(directory, os.R_OK | os.X_OK)
        return not said, region, said or f"{directory} can be read as {_who()}"
    said = log_in(scheme, directory, False)
    return not said, region, said or f"{scheme.host}:{directory} can be read by ssh"


def _source(entry: Entry, told: Told) -> Finding:
    """Whether one image can be found."""
    found = [source_place(one, told.stores, entry.schemes) for one in told.locations]
    places = [one for one in found if isinstance(one, Place)]
    if not places:
        said = next((one for one in found if isinstance(one, str)), "Glance tells no location")
        return False, entry.region, f"image {told.image} can't be read from its store: {said}"
    for place in places:
        scheme = place.scheme
        if isinstance(scheme, Filesystem) and scheme.here and not os.path.isfile(place.path):
            said = f"image {told.image} is not at {place.path}; is 'datadir' right?"
            return False, entry.region, said
    return True, entry.region, f"image {told.image} is at {places[0]}"


def _key(scheme: Scheme) -> Key:
    """Equal for two schemes that lead to the same directory, pool or the like; () if unknown."""
    if not isinstance(scheme, Filesystem):
        return scheme.identity
    if not scheme.here:
        return (scheme.host, scheme.port, scheme.datadir)
    try:
        found = os.stat(scheme.datadir)
    except OSError:
        return ()
    return (found.st_dev, found.st_ino)


def _keys_of_home(
    entry: Entry, stores: Sequence[StoreInfo], directories: Sequence[Filesystem]
) -> Iterator[Key]:
    yield from map(_key, directories)
    place = target_place(_ANY_IMAGE, stores, {}, entry.schemes)
    if isinstance(place, Place):
        yield _key(place.scheme)


def _target(
    entry: Entry, told: Told, homes: Sequence[str], taken: dict[Key, str], log_in: LogIn
) -> Finding:
    """Whether images can be put into the region's store, and whether that is its own.

    :param taken: the stores that were looked at, and whose they are; this one is added
    """
    place = target_place(_ANY_IMAGE, told.stores, told.adopts, entry.schemes)
    if isinstance(place, str):
        return False, entry.region, f"nothing can be put into its store by itself: {place}"
    scheme = place.scheme
    what = f"its store of type {scheme.type}"
    if isinstance(scheme, Filesystem):
        what = scheme.datadir if scheme.here else f"{scheme.host}:{scheme.datadir}"
        if scheme.here:
            said = _trouble(scheme.datadir, os.R_OK | os.W_OK | os.X_OK)
        else:
            said = log_in(scheme, scheme.datadir, True)
        if said:
            return False, entry.region, said
    key = _key(scheme)
    other = taken.setdefault(key, entry.region) if key else entry.region
    if other != entry.region:
        said = f"{what} is also that of {other}: who deletes an image in one region deletes "
        return False, entry.region, said + "the data it has in the other"
    said = f"images go into {what}"
    if isinstance(scheme, Filesystem):
        said += f", which can be written as {_who()}" if scheme.here else ", by ssh"
        if scheme.here and _device(scheme.datadir) in map(_device, homes):
            said += " and is on the file system of home's"
    return True, entry.region, said


def _device(directory: str) -> int | None:
    return os.stat(directory).st_dev if os.path.isdir(directory) else None


def _files(source: str, entry: Entry) -> Iterator[Finding]:
    """Keys and the like that can't be read."""
    for scheme, line in zip(entry.schemes, entry.lines, strict=True):
        for name in _FILES:
            path = getattr(scheme, name, "")
            if not path:
                continue
            where = f"{source}:{line}"
            if not os.path.isfile(path):
                yield False, where, f"{name} {path} does not exist"
            elif not os.access(path, os.R_OK):
                yield False, where, f"{name} {path} can't be read as {_who()}"
            elif name == "key_file" and os.stat(path).st_mode & 0o077:
                yield False, where, f"ssh refuses {path}, as others may use it; 'chmod 600 {path}'"
