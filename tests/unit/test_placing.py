# SPDX-License-Identifier: Apache-2.0
"""Where bytes are and where they go, by what Glance tells and ``glance_store.yaml`` says."""

import posixpath
import urllib.parse
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glancesync.placing import shared_place, source_place, source_places, target_place
from glancesync.schemes import (
    S3,
    SCHEMES,
    Filesystem,
    Http,
    Location,
    Place,
    Rbd,
    Scheme,
    Secret,
    StoreInfo,
    Swift,
)

ID = "0d3e4f6a-9b8c-4d2e-8f40-5162738495a6"
FSID = "7a1c4b52-0d3e-4f6a-9b8c-1d2e3f405162"
FILES = StoreInfo("local", "file", default=True, data_dir="/var/lib/glance/images")
MORE = StoreInfo("more", "file", default=False, data_dir="/more")
PARTED = StoreInfo("local", "file", default=True)  # over several directories
BLOCKS = StoreInfo("blocks", "rbd", default=False, pool="images", fsid=FSID)
OBJECTS = StoreInfo("objects", "swift", default=False, container="glance")
BUCKET = StoreInfo("bucket", "s3", default=False)
WEB = StoreInfo("web", "http", default=False)
ALL = (FILES, BLOCKS, OBJECTS, BUCKET, WEB)
HERE = Filesystem()
SWIFT = Swift(auth_address="http://k", user="a:b", key=Secret("hunter2"))
S3_ = S3(host="http://s", bucket="glance", access_key="a", secret_key=Secret("hunter2"))


def default(store: StoreInfo) -> tuple[StoreInfo, ...]:
    return (StoreInfo(**{**vars(store), "default": True}),)


# -- where they are -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "store", "stores", "scheme", "path", "datadir"),
    [
        # what Glance says is what we see
        (
            f"{FILES.data_dir}/{ID}",
            "local",
            [FILES],
            HERE,
            f"{FILES.data_dir}/{ID}",
            FILES.data_dir,
        ),
        # we see it under another name
        (f"{FILES.data_dir}/{ID}", "local", [FILES], Filesystem(datadir="/d"), f"/d/{ID}", "/d"),
        (f"{FILES.data_dir}/a/b", "local", [FILES], Filesystem(datadir="/d"), "/d/a/b", "/d"),
        (f"{FILES.data_dir}//a", "local", [FILES], Filesystem(datadir="/d"), "/d/a", "/d"),
        # a location that names no store
        (f"{FILES.data_dir}/a", "", ALL, Filesystem(datadir="/d"), "/d/a", "/d"),
        # a Glance whose only store has no name
        ("/images/a", "", [], HERE, "/images/a", "/images"),
        ("/images/a", "", [], Filesystem(datadir="/d"), "/d/a", "/d"),
        # one that does not tell its directories
        ("/two/a", "local", [PARTED], HERE, "/two/a", "/two"),
        ("/two/a", "local", [PARTED], Filesystem(datadir="/d"), "/d/a", "/d"),
        # a file that somebody else put elsewhere
        ("/elsewhere/a", "local", [FILES], HERE, "/elsewhere/a", "/elsewhere"),
        # one of two stores
        ("/more/a", "more", [FILES, MORE], Filesystem(store="more"), "/more/a", "/more"),
        # names that are odd and nothing but names
        (
            "/images/50%25 'of' \"$it\" é\\",
            "",
            [],
            HERE,
            "/images/50%25 'of' \"$it\" é\\",
            "/images",
        ),
        ("/a", "", [], HERE, "/a", "/"),
        ("/d/...", "", [], HERE, "/d/...", "/d"),
    ],
)
def test_a_file_that_can_be_read(
    url: str, store: str, stores: Sequence[StoreInfo], scheme: Scheme, path: str, datadir: str
) -> None:
    for kind in ("file", "filesystem"):
        location = Location(f"{kind}://{url}", store)
        found = source_place(location, stores, [scheme])
        assert isinstance(found, Place), found
        assert isinstance(found.scheme, Filesystem)
        assert (found.path, found.scheme.datadir) == (path, datadir)
        assert found.location == location


@pytest.mark.parametrize(
    ("url", "store", "stores", "schemes", "why"),
    [
        ("file:///e/a", "local", [FILES], [Filesystem(datadir="/d")], "is not in /var/lib/glance/"),
        ("file:///d/../etc/passwd", "", [], [HERE], "not the path of a file"),
        ("file:///d/..", "", [], [HERE], "not the path of a file"),
        ("file:///d/", "", [], [HERE], "not the path of a file"),
        ("file:///", "", [], [HERE], "not the path of a file"),
        ("file://", "", [], [HERE], "not the path of a file"),
        ("file:", "", [], [HERE], "not the path of a file"),
        ("file:/d/a", "", [], [HERE], "not the path of a file"),
        ("file://host/d/a", "", [], [HERE], "not the path of a file"),
        ("file://d/a", "", [], [HERE], "not the path of a file"),
        # Glance itself does not find these again
        ("file:///d/a?b", "", [], [HERE], "not the path of a file"),
        ("file:///d/a#b", "", [], [HERE], "not the path of a file"),
        ("file:///d/a\nb", "", [], [HERE], "not the path of a file"),
        ("file:///d/a ", "", [], [HERE], "not the path of a file"),
        ("file:///d/a\0", "", [], [HERE], "not the path of a file"),
        ("file:///d/a", "gone", [FILES], [HERE], "its store gone is not one of its Glance's"),
        ("file:///d/a", "blocks", ALL, [HERE], "is not of the type of its store blocks"),
        (
            "file:///d/a",
            "",
            [FILES, MORE],
            [HERE],
            "names no store, and its Glance has 2 of type f",
        ),
        ("file:///d/a", "more", [FILES, MORE], [HERE], "must say which of them it is for"),
        ("file:///d/a", "", [], [], "glance_store.yaml does not have the region"),
        ("file:///d/a", "local", [FILES], [Rbd()], "no scheme for its store local of type file"),
        (
            *("file:///d/a", "local", [FILES], [Filesystem(store="lokal")]),
            "no scheme for its store local of type file; it has one for lokal, of which its Glance",
        ),
        ("cinder://x/y", "", ALL, [HERE], "of a kind that no scheme is for"),
        ("", "", ALL, [HERE], "of a kind that no scheme is for"),
        ("http://[/", "", ALL, [Http(netloc="h")], "is not a URL"),
        ("http://g/a", "", ALL, [Http(netloc="h")], "for that web server"),
        ("http://h/b/a", "", ALL, [Http(netloc="h", path="/a")], "for that web server"),
        ("http://h/ab", "", ALL, [Http(netloc="h", path="/a")], "for that web server"),
        ("http://h/a/%2e%2E/b", "", ALL, [Http(netloc="h", path="/a")], "for that web server"),
        ("rbd://a/b", "blocks", ALL, [Rbd()], "not that of an image in a pool"),
        ("rbd://f/p//snap", "blocks", ALL, [Rbd()], "not that of an image in a pool"),
        (f"rbd://f/p/{ID}/snap", "blocks", ALL, [Rbd(fsid=FSID)], f"cluster f, not {FSID}"),
        ("swift://u:hunter2@h/a", "objects", ALL, [SWIFT], "not that of an object in a container"),
        ("s3://h/a", "bucket", ALL, [S3_], "not that of an object in a bucket"),
    ],
)
def test_what_can_not_be_read_and_why(
    url: str, store: str, stores: Sequence[StoreInfo], schemes: Sequence[Scheme], why: str
) -> None:
    location = Location(url, store)
    found = source_place(location, stores, schemes)
    assert isinstance(found, str)
    assert why in found
    assert "hunter2" not in found
    assert source_places([location], stores, schemes) == []


@pytest.mark.parametrize(
    ("url", "store", "scheme", "whole"),
    [
        (f"rbd://{FSID}/p%2F1/{ID}/snap", "blocks", Rbd(), Rbd(fsid=FSID, pool="p/1")),
        (f"rbd://{FSID}/images/{ID}/snap", "", Rbd(), Rbd(fsid=FSID)),
        (f"rbd://{ID}", "blocks", Rbd(pool="other"), Rbd(fsid=FSID)),
        (f"rbd://{FSID}/i/{ID}/snap", "blocks", Rbd(fsid=FSID.upper()), Rbd(fsid=FSID, pool="i")),
        (f"swift+config://ref/glance_1/{ID}", "objects", SWIFT, "glance_1"),
        (f"swift+https://u:p@h/v3/glance/{ID}", "objects", SWIFT, "glance"),
        (f"s3+https://h/one/{ID}", "bucket", S3_, "one"),
        ("http://u:p@H/a/b?c=d", "web", Http(netloc="h", path="/a"), None),
        ("https://h/a", "", Http(netloc="h", path="/a"), None),
        ("https://h", "", Http(netloc="h"), None),
    ],
)
def test_other_stores(url: str, store: str, scheme: Scheme, whole: Scheme | str | None) -> None:
    location = Location(url, store)
    [found] = source_places([location], ALL, [HERE, scheme])
    if isinstance(whole, str):
        assert isinstance(found.scheme, Swift | S3)
        said = found.scheme.container if isinstance(found.scheme, Swift) else found.scheme.bucket
        assert said == whole
    else:
        assert found.scheme == (whole or scheme)
    assert (found.location, found.path) == (location, "")


def test_the_cheapest_comes_first_and_what_can_not_be_read_is_left_out() -> None:
    locations = [Location(f"rbd://{FSID}/images/{ID}/snap", "blocks"), Location("cinder://x", "")]
    locations += [
        Location(f"file:///d/{ID}", "local"),
        Location(f"swift+config://r/c/{ID}", "objects"),
    ]
    schemes = [Filesystem(cost=2), Rbd(cost=9), SWIFT]
    found = source_places(locations, ALL, schemes)
    assert [place.scheme.name for place in found] == ["swift", "filesystem", "rbd"]


def test_places_in_a_shared_directory_are_in_one_store_whoever_names_it() -> None:
    """Only one of the two regions' entries says the directory that both Glances tell."""
    location = Location(f"file://{FILES.data_dir}/{ID}", "local")
    [one] = source_places([location], [FILES], [Filesystem(share="nfs")])
    two = target_place(
        ID, [FILES], {"local": "/x"}, [Filesystem(host="h", share="nfs", datadir=FILES.data_dir)]
    )
    three = target_place(ID, [FILES], {"local": "/x"}, [Filesystem(host="h", share="nfs")])
    assert isinstance(two, Place)
    assert isinstance(three, Place)
    assert one.scheme.identity == two.scheme.identity == ("filesystem", "nfs", FILES.data_dir)
    assert three.scheme.identity == ("filesystem", "nfs", "/x")


# -- where they go --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stores", "adopts", "schemes", "path", "url"),
    [
        ([FILES], {"local": "/g"}, [HERE], f"/g/{ID}", f"/g/{ID}"),
        ([FILES], {"local": "/g/"}, [HERE], f"/g/{ID}", f"/g/{ID}"),
        ([FILES], {"local": "/g"}, [Filesystem(datadir="/d")], f"/d/{ID}", f"/g/{ID}"),
        (
            [FILES, MORE],
            {"local": "/g", "more": "/m"},
            [Filesystem(store="local")],
            *[f"/g/{ID}"] * 2,
        ),
        ([MORE], {"more": "/m"}, [HERE], f"/m/{ID}", f"/m/{ID}"),  # the only one is the default
        ([], {"": "/g"}, [HERE, Rbd()], f"/g/{ID}", f"/g/{ID}"),
        ([FILES], {"local": "/it's 5%20 é\\"}, [HERE], *[f"/it's 5%20 é\\/{ID}"] * 2),
        ([FILES], {"local": "/"}, [HERE], f"/{ID}", f"/{ID}"),
    ],
)
def test_a_file_that_can_be_put_there(
    stores: Sequence[StoreInfo],
    adopts: dict[str, str],
    schemes: Sequence[Scheme],
    path: str,
    url: str,
) -> None:
    found = target_place(ID, stores, adopts, schemes)
    assert isinstance(found, Place), found
    assert found.path == path
    assert found.location.url == f"file://{url}"
    assert found.location.store == (stores[0].id if stores else "")
    assert isinstance(found.scheme, Filesystem)
    assert posixpath.join(found.scheme.datadir, ID) == path


@pytest.mark.parametrize(
    ("stores", "adopts", "schemes", "why"),
    [
        ([FILES], {}, [HERE], "its Glance does not adopt files that are put into its store local"),
        ([FILES], {"more": "/m"}, [HERE], "does not adopt files"),
        ([], {}, [HERE], "does not adopt files that are put into its store;"),
        ([FILES], {"local": "/g"}, [], "glance_store.yaml does not have the region"),
        ([FILES], {"local": "/g"}, [Rbd()], "no scheme for its store local of type file"),
        (
            *([FILES, MORE], {"local": "/g"}, [Filesystem(store="more")]),
            "no scheme for its store local of type file",
        ),
        ([FILES], {"local": "/g"}, [Filesystem(store="x")], "has one for x, of which its Glance"),
        ([FILES, MORE], {"local": "/g"}, [HERE], "must say which of them it is for"),
        ([BLOCKS, OBJECTS], {}, [Rbd(), SWIFT], "names no default store"),
        ([], {}, [HERE, Rbd()], "does not tell of what type its store is"),
        ([], {}, [Filesystem(store="x")], "no scheme for its store; it has one for x"),
        ([FILES], {"local": "/g?"}, [HERE], "can't find files in the directory of its store local"),
        ([FILES], {"local": "/g\n"}, [HERE], "can't find files in the directory"),
        ([FILES], {"local": "g"}, [HERE], "can't find files in the directory"),
        (default(WEB), {}, [Http(netloc="h")], "its store web is of type http, which is only read"),
        (
            *([StoreInfo("vol", "cinder", default=True)], {}, [HERE]),
            "no scheme for its store vol of type cinder",
        ),
        (default(BLOCKS), {}, [Rbd(fsid=ID)], f"is on the cluster {FSID}, not {ID}"),
    ],
)
def test_where_nothing_can_be_put_and_why(
    stores: Sequence[StoreInfo], adopts: dict[str, str], schemes: Sequence[Scheme], why: str
) -> None:
    found = target_place(ID, stores, adopts, schemes)
    assert isinstance(found, str)
    assert why in found


@pytest.mark.parametrize("image_id", ["", ".", "..", "a/b", "../b", "/"])
def test_an_id_that_is_no_name(image_id: str) -> None:
    found = target_place(image_id, [FILES], {"local": "/g"}, [HERE])
    assert found == "its id can't be the name of a file"


@pytest.mark.parametrize(
    ("store", "scheme", "url", "whole"),
    [
        (BLOCKS, Rbd(), f"rbd://{FSID}/images/{ID}/snap", Rbd(fsid=FSID)),
        (StoreInfo("b", "rbd", default=True), Rbd(pool="a b"), "", Rbd(pool="a b")),
        (
            *(StoreInfo("b", "rbd", default=True, pool="a/b"), Rbd(fsid=FSID)),
            *(f"rbd://{FSID}/a%2Fb/{ID}/snap", Rbd(fsid=FSID, pool="a/b")),
        ),
        (OBJECTS, SWIFT, "", SWIFT),
        (BUCKET, S3_, "", S3_),
    ],
)
def test_what_other_stores_get(store: StoreInfo, scheme: Scheme, url: str, whole: Scheme) -> None:
    found = target_place(ID, default(store), {}, [scheme])
    assert found == Place(whole, Location(url, store.id))


# -- whatever else --------------------------------------------------------------------------------

NAMES = st.text(st.sampled_from("a .'\"$\n\t%20/\\é;?#&*\x85"), max_size=12)
PATHS = NAMES.map(lambda name: f"/{name}")
SOME_SCHEMES = st.lists(
    st.builds(Filesystem, datadir=st.sampled_from(["", "/d"]), store=st.sampled_from(["", "local"]))
    | st.sampled_from([Rbd(), SWIFT, S3_, Http(netloc="h"), Rbd(store="blocks", fsid=FSID)]),
    max_size=3,
)
SOME_STORES = st.lists(
    st.builds(
        StoreInfo,
        st.sampled_from(["local", "blocks", "x"]),
        st.sampled_from([*(kind.type for kind in SCHEMES.values()), "cinder"]),
        default=st.booleans(),
        data_dir=st.just("") | PATHS,
        fsid=st.sampled_from(["", FSID, "x"]),
    ),
    max_size=3,
    unique_by=lambda store: store.id,
)


def as_glance_reads(url: str) -> str:
    """As ``glance_store._drivers.filesystem.StoreLocation.parse_uri`` does it."""
    pieces = urllib.parse.urlparse(url)
    return (pieces.netloc + pieces.path).strip()


def steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step not in ("", ".")]


@given(PATHS, st.sampled_from(["", "/d", "/d e/f"]), st.just("") | PATHS)
@example("/a/../b", "", "")
@example("/images/../../etc/passwd", "/d", "/images")
@example("//a", "", "/")
@example("/.", "/d", "")
def test_a_file_that_is_read_is_the_one_glance_reads(path: str, datadir: str, seen: str) -> None:
    store = StoreInfo("local", "file", default=True, data_dir=seen)
    found = source_place(
        Location(f"file://{path}", "local"), [store], [Filesystem(datadir=datadir)]
    )
    if isinstance(found, str):
        return
    assert ".." not in found.path.split("/")
    if not datadir:
        assert found.path == as_glance_reads(f"file://{path}") == path
    else:
        assert posixpath.normpath(found.path).startswith(f"{datadir}/")
        if seen:
            rest = posixpath.relpath(posixpath.normpath(found.path), datadir)
            assert steps(f"{seen}/{rest}") == steps(path)


@given(PATHS, NAMES, st.sampled_from(["", "/d"]))
def test_a_file_that_is_put_there_is_the_one_glance_finds(
    adopts: str, image_id: str, datadir: str
) -> None:
    scheme = Filesystem(datadir=datadir)
    found = target_place(image_id, [FILES], {"local": adopts}, [scheme])
    if isinstance(found, str):
        odd = set("?#\n\t") & set(adopts + image_id) or image_id != image_id.rstrip()
        assert odd or "/" in image_id or image_id in ("", ".", "..")
        return
    assert as_glance_reads(found.location.url) == posixpath.join(adopts, image_id)
    assert posixpath.dirname(found.path).rstrip("/") == (datadir or adopts.rstrip("/"))
    assert posixpath.basename(found.path) == image_id


WEB = Place(Http(netloc="web:80"), Location("http://web:80/image", "far"))


@pytest.mark.parametrize(
    ("source", "stores", "schemes", "store"),
    [
        (WEB, [StoreInfo("w", "http", default=False)], [Http(netloc="web:80")], "w"),
        (WEB, [], [Http(netloc="web:80")], ""),
        (WEB, [StoreInfo("w", "http", default=False)], [Http(netloc="other")], None),
        (WEB, [StoreInfo("w", "http", default=False)], [], None),
        (WEB, [StoreInfo("l", "file", default=True)], [Http(netloc="web:80")], None),
        (Place(Http(), Location("http://web/", "")), [], [Http()], None),
        # What a Glance can delete is not shared, though it is one store.
        (
            Place(Filesystem(share="nfs", datadir="/d"), Location("file:///d/i", ""), "/d/i"),
            [],
            [Filesystem(share="nfs", datadir="/d")],
            None,
        ),
    ],
)
def test_what_two_regions_share(
    source: Place, stores: list[StoreInfo], schemes: list[Scheme], store: str | None
) -> None:
    found = shared_place(source, stores, schemes)
    assert (found and found.location.store) == store
    if found is not None:
        assert found.location.url == source.location.url
        assert found.scheme is schemes[0]


@given(
    st.text(max_size=9)
    | st.tuples(
        st.sampled_from(["file", "http", "https", "rbd", "swift", "swift+config", "s3", "S3"]),
        st.sampled_from([":", "://", ":///"]),
        st.text(st.sampled_from("ab/%[]@:?#.\0 é"), max_size=12),
    ).map("".join),
    st.sampled_from(["", "local", "blocks", "y"]),
    SOME_STORES,
    SOME_SCHEMES,
    NAMES,
)
def test_every_answer_is_a_place_or_words(
    url: str, store: str, stores: list[StoreInfo], schemes: list[Scheme], image_id: str
) -> None:
    for found in (
        source_place(Location(url, store), stores, schemes),
        target_place(image_id, stores, {"local": "/g"}, schemes),
    ):
        if isinstance(found, str):
            assert found
        else:
            assert type(found.scheme) in {type(scheme) for scheme in schemes}
            assert bool(found.path) is isinstance(found.scheme, Filesystem)
