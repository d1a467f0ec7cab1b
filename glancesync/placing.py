# SPDX-License-Identifier: Apache-2.0
"""Where the bytes of an image are, and where they are to be put, in stores that can be reached.

What Glance tells of its stores and what ``glance_store.yaml`` says of them, put together. Paths and
URLs are taken letter by letter, as Glance's drivers do (``glance_store._drivers``): nothing in a
``file:`` URL is unquoted.
"""

from __future__ import annotations

import dataclasses
import posixpath
import urllib.parse
from collections.abc import Callable, Mapping, Sequence

from glancesync.schemes import (
    S3,
    Filesystem,
    Http,
    Location,
    Place,
    Rbd,
    Scheme,
    StoreInfo,
    Swift,
)

#: The types of store whose drivers make URLs that begin like that.
_TYPES = {
    **dict.fromkeys(("file", "filesystem"), "file"),
    **dict.fromkeys(("http", "https"), "http"),
    **dict.fromkeys(("swift", "swift+http", "swift+https", "swift+config"), "swift"),
    **dict.fromkeys(("s3", "s3+http", "s3+https"), "s3"),
    "rbd": "rbd",
}
_SNAPSHOT = "snap"  # what Glance's driver calls it


def source_places(
    locations: Sequence[Location], stores: Sequence[StoreInfo], schemes: Sequence[Scheme]
) -> list[Place]:
    """Where an image's bytes can be read, the cheapest first.

    :param stores: of the region the locations are of; none if its store has no name
    :param schemes: of that region
    """
    found = [source_place(location, stores, schemes) for location in locations]
    places = [one for one in found if isinstance(one, Place)]
    return sorted(places, key=lambda place: place.scheme.cost)


def source_place(
    location: Location, stores: Sequence[StoreInfo], schemes: Sequence[Scheme]
) -> Place | str:
    """How one location is read, or in words why it can't be.

    The place's scheme is completed with what Glance tells: the directory, pool, cluster, container.
    """
    kind = _TYPES.get(location.url.partition(":")[0].lower())
    if kind is None:
        return "its location is of a kind that no scheme is for"
    try:
        urllib.parse.urlparse(location.url)
    except ValueError:
        return "its location is not a URL"
    store = _known(location, kind, stores)
    if isinstance(store, str):
        return store
    if kind == "http":  # of one store, which reads from any web server
        web = [scheme for scheme in schemes if isinstance(scheme, Http)]
        return next(
            (Place(scheme, location) for scheme in web if _within(location.url, scheme)),
            "no scheme in glance_store.yaml is for that web server",
        )
    scheme = _scheme_for(store, stores, schemes)
    if isinstance(scheme, str):
        return scheme
    return _READERS[kind](location, store, scheme)


def target_place(
    image_id: str,
    stores: Sequence[StoreInfo],
    file_stores: Mapping[str, str],
    schemes: Sequence[Scheme],
) -> Place | str:
    """Where a region's default store gets an image's bytes, or in words why they can't go there.

    The location's URL is "" where it depends on the driver (``swift``, ``s3``, and ``rbd`` if
    the cluster's fsid is not known): whoever writes there makes it.

    :param image_id: what it is called in the region
    :param stores: of the region; none if its store has no name
    :param file_stores: where it adopts files: store id -> directory as Glance sees it
    :param schemes: of the region
    """
    if not image_id or "/" in image_id or image_id in (".", ".."):
        return "its id can't be the name of a file"
    store = _default(stores, file_stores, schemes)
    if isinstance(store, str):
        return store
    scheme = _scheme_for(store, stores, schemes)
    if isinstance(scheme, str):
        return scheme
    if isinstance(scheme, Filesystem):
        return _file_target(image_id, store, file_stores, scheme)
    if isinstance(scheme, Rbd):
        return _rbd_target(image_id, store, scheme)
    if isinstance(scheme, Swift):
        scheme = dataclasses.replace(scheme, container=store.container or scheme.container)
    elif not isinstance(scheme, S3):
        return f"its store{_named(store)} is of type {store.type}, which is only read from"
    return Place(scheme, Location("", store.id))


def shared_place(
    source: Place, stores: Sequence[StoreInfo], schemes: Sequence[Scheme]
) -> Place | None:
    """The same bytes as a region with these stores and schemes names them, if it reaches them.

    Only what it can't delete is shared: else who deletes the image in one region would delete the
    bytes of all.
    """
    identity = source.scheme.identity
    store = next((one.id for one in stores if one.type == source.scheme.type), None)
    if not isinstance(source.scheme, Http) or not identity or (stores and store is None):
        return None
    location = dataclasses.replace(source.location, store=store or "")
    return next((Place(one, location) for one in schemes if one.identity == identity), None)


# -- which store, which scheme --------------------------------------------------------------------


def _named(store: StoreInfo) -> str:
    return f" {store.id}" if store.id else ""


def _known(location: Location, kind: str, stores: Sequence[StoreInfo]) -> StoreInfo | str:
    """What is known of the store that a location is in."""
    if not stores:
        return StoreInfo("", kind, default=True)
    for store in stores:
        if store.id == location.store:
            fits = store.type == kind
            return store if fits else f"its location is not of the type of its store {store.id}"
    if location.store:
        return f"its store {location.store} is not one of its Glance's"
    alike = [store for store in stores if store.type == kind]
    if len(alike) == 1:
        return alike[0]
    return f"its location names no store, and its Glance has {len(alike)} of type {kind}"


def _default(
    stores: Sequence[StoreInfo], file_stores: Mapping[str, str], schemes: Sequence[Scheme]
) -> StoreInfo | str:
    """The store that a Glance puts images into unless told otherwise."""
    if stores:
        chosen = [store for store in stores if store.default] or stores
        return chosen[0] if len(chosen) == 1 else "its Glance names no default store"
    types = {"file"} if "" in file_stores else {one.type for one in schemes if not one.store}
    if len(types) == 1:
        return StoreInfo("", types.pop(), default=True)
    if types:
        return "its Glance does not tell of what type its store is; glance_store.yaml has several"
    return _nothing_for("its store", stores, schemes)


def _scheme_for(
    store: StoreInfo, stores: Sequence[StoreInfo], schemes: Sequence[Scheme]
) -> Scheme | str:
    alike = [scheme for scheme in schemes if scheme.type == store.type]
    for scheme in alike:
        if scheme.store and scheme.store == store.id:
            return scheme
    unnamed = [scheme for scheme in alike if not scheme.store]
    if unnamed and sum(one.type == store.type for one in stores) <= 1:
        return unnamed[0]
    if unnamed:
        return (
            f"its Glance has several stores of type {store.type}: the scheme in glance_store.yaml "
            "must say which of them it is for"
        )
    return _nothing_for(f"its store{_named(store)} of type {store.type}", stores, schemes)


def _nothing_for(what: str, stores: Sequence[StoreInfo], schemes: Sequence[Scheme]) -> str:
    if not schemes:
        return "glance_store.yaml does not have the region"
    said = f"glance_store.yaml has no scheme for {what}"
    unknown = {scheme.store for scheme in schemes if scheme.store} - {one.id for one in stores}
    if unknown:
        said += f"; it has one for {min(unknown)}, of which its Glance knows nothing"
    return said


# -- files ----------------------------------------------------------------------------------------


def _survives(path: str) -> bool:
    """Whether a path is the same after Glance has put it into a URL and taken it out again."""
    pieces = urllib.parse.urlparse(f"file://{path}")
    return path.startswith("/") and (pieces.netloc + pieces.path).strip() == path


def _inside(path: str) -> bool:
    """Whether a relative path stays below where it begins, and is a path at all."""
    return bool(path) and not path.endswith("/") and {".", ".."}.isdisjoint(path.split("/"))


def _read_file(location: Location, store: StoreInfo, scheme: Scheme) -> Place | str:
    assert isinstance(scheme, Filesystem)  # noqa: S101 - by its type
    _, _, path = location.url.partition("://")
    if "\0" in path or not _survives(path) or not _inside(path.lstrip("/")):
        return "its location is not the path of a file"
    seen = store.data_dir
    if not scheme.datadir:
        directory = seen if seen and _below(path, seen) else posixpath.dirname(path)
        return Place(dataclasses.replace(scheme, datadir=_tidy(directory)), location, path)
    if not seen:  # Glance tells no directory; that is where its driver puts files
        below: str | None = posixpath.basename(path)
    else:
        below = _below(path, seen)
    if not below:
        return f"its file is not in {seen}, the directory of its store{_named(store)}"
    return Place(scheme, location, posixpath.join(scheme.datadir, below))


def _tidy(directory: str) -> str:
    return directory.rstrip("/") or "/"


def _below(path: str, directory: str) -> str | None:
    """The rest of a path that is below a directory."""
    start = directory.rstrip("/") + "/"
    rest = path.removeprefix(start).lstrip("/") if path.startswith(start) else ""
    return rest or None


def _file_target(
    image_id: str, store: StoreInfo, file_stores: Mapping[str, str], scheme: Filesystem
) -> Place | str:
    directory = file_stores.get(store.id)
    if directory is None:
        return (
            f"its Glance does not adopt files that are put into its store{_named(store)}; "
            "'installation/install.sh region' on its hosts makes it do so"
        )
    url = posixpath.join(directory, image_id)
    if "\0" in url or not _survives(url):
        return f"its Glance can't find files in the directory of its store{_named(store)}"
    scheme = dataclasses.replace(scheme, datadir=scheme.datadir or _tidy(directory))
    path = posixpath.join(scheme.datadir, image_id)
    return Place(scheme, Location(f"file://{url}", store.id), path)


# -- the others -----------------------------------------------------------------------------------


def _read_rbd(location: Location, store: StoreInfo, scheme: Scheme) -> Place | str:
    assert isinstance(scheme, Rbd)  # noqa: S101 - by its type
    parts = [urllib.parse.unquote(part) for part in location.url.partition("://")[2].split("/")]
    if len(parts) not in (1, 4) or "" in parts:
        return "its location is not that of an image in a pool"
    fsid, pool = parts[:2] if len(parts) == 4 else (store.fsid, store.pool)
    whole = _completed(scheme, fsid, pool)
    return whole if isinstance(whole, str) else Place(whole, location)


def _rbd_target(image_id: str, store: StoreInfo, scheme: Rbd) -> Place | str:
    whole = _completed(scheme, store.fsid, store.pool)
    if isinstance(whole, str):
        return whole
    parts = [whole.fsid, whole.pool, image_id, _SNAPSHOT]
    url = "rbd://" + "/".join(urllib.parse.quote(part, "") for part in parts)
    return Place(whole, Location(url if whole.fsid else "", store.id))


def _completed(scheme: Rbd, fsid: str, pool: str) -> Rbd | str:
    """A scheme with what Glance says of cluster and pool, which is where the bytes are."""
    if fsid and scheme.fsid and fsid.lower() != scheme.fsid.lower():
        return f"its Glance is on the cluster {fsid}, not {scheme.fsid} as in glance_store.yaml"
    return dataclasses.replace(scheme, fsid=fsid or scheme.fsid, pool=pool or scheme.pool)


def _objects(location: Location) -> tuple[str, str] | None:
    """Container or bucket, and the name of the object in it: the last two parts of the path."""
    parts = urllib.parse.urlparse(location.url).path.strip("/").split("/")
    return (parts[-2], parts[-1]) if len(parts) > 1 and parts[-2] and parts[-1] else None


def _read_swift(location: Location, store: StoreInfo, scheme: Scheme) -> Place | str:
    assert isinstance(scheme, Swift)  # noqa: S101 - by its type
    found = _objects(location)
    if found is None:
        return "its location is not that of an object in a container"
    return Place(dataclasses.replace(scheme, container=found[0]), location)


def _read_s3(location: Location, store: StoreInfo, scheme: Scheme) -> Place | str:
    assert isinstance(scheme, S3)  # noqa: S101 - by its type
    found = _objects(location)
    if found is None:
        return "its location is not that of an object in a bucket"
    return Place(dataclasses.replace(scheme, bucket=found[0]), location)


def _within(url: str, scheme: Http) -> bool:
    """Whether a URL is below what a scheme says of a web server."""
    pieces = urllib.parse.urlparse(url)
    if ".." in urllib.parse.unquote(pieces.path).split("/"):
        return False
    netloc = pieces.netloc.rpartition("@")[2]
    return netloc.lower() == scheme.netloc.lower() and (
        (pieces.path or "/") == scheme.path or _below(pieces.path, scheme.path) is not None
    )


_READERS: Mapping[str, Callable[[Location, StoreInfo, Scheme], Place | str]] = {
    "file": _read_file,
    "swift": _read_swift,
    "s3": _read_s3,
    "rbd": _read_rbd,
}
