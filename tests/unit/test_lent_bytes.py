# SPDX-License-Identifier: Apache-2.0
"""What home images say of bytes that are in another region, and where such images go."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancesync.errors import Misdirected, Refused, Unready
from glancesync.home import observed
from glancesync.model import Image, Original, Region, Snooze
from glancesync.placement.rules import of_bytes
from glancesync.placement.strategies import STRATEGIES, Facts
from glancesync.retry import RetryPolicy
from glancesync.snapshots import (
    among,
    complaint,
    is_lent,
    lender,
    recalled,
    unfit,
    with_bytes,
)

ID = "12345678-9abc-def0-1234-56789abcdef0"
REGIONS = (
    Region("H", "http://home.example:9292", home=True),
    Region("Two", "https://two.example/image/v2"),
    Region("Three", "http://[::1]:9292/"),
    Region("Four", "http://four.example:80", present=False),
    Region("Five", ""),
)
OTHERS = REGIONS[1:4]


def regions() -> tuple[Region, ...]:
    return REGIONS


def home(url: str = f"https://two.example/image/v2/images/{ID}", **fields: object) -> Image:
    properties = {"image_from": "snapshot", "image_location": url, "colour": "red"}
    image = Image("i", "queued", owner="p", properties=properties)
    return dataclasses.replace(image, **fields)  # type: ignore[arg-type]


THERE = Image(
    ID,
    "active",
    "snap",
    owner="p",
    container_format="bare",
    disk_format="qcow2",
    size=7,
    checksum="c",
    os_hash_algo="sha512",
    os_hash_value="v",
    properties={"theirs": "1"},
)


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (f"https://two.example/image/v2/images/{ID}", "Two"),
        (f"https://two.example/image/v2/images/{ID}/file", "Two"),
        (f"HTTPS://Two.Example:443/image/v2/images/{ID}", "Two"),
        (f"http://[::1]:9292/v2/images/{ID}", "Three"),
        (f"http://four.example/v2/images/{ID}", "Four"),
    ],
)
@pytest.mark.parametrize("kind", ["snapshot", "volume"])
def test_the_regions_that_a_url_may_name(url: str, region: str, kind: str) -> None:
    image = home(properties={"image_from": kind, "image_location": url})
    assert lender(image, regions) == Original(region, ID)


@pytest.mark.parametrize(
    "url",
    [
        f"http://two.example/image/v2/images/{ID}",
        f"https://two.example:444/image/v2/images/{ID}",
        f"https://two.example:0/image/v2/images/{ID}",
        f"https://two.example/v2/images/{ID}",
        f"https://two.example/other/image/v2/images/{ID}",
        f"https://two.example.evil.example/image/v2/images/{ID}",
        f"https://evil.example/two.example/image/v2/images/{ID}",
        f"https://two.example./image/v2/images/{ID}",
    ],
)
def test_what_is_none_of_our_regions(url: str) -> None:
    with pytest.raises(Misdirected) as caught:
        lender(home(url), regions)
    host = url.partition("//")[2].partition("/")[0]
    assert caught.value.message.startswith("image_location: '")
    assert host in caught.value.message
    assert "none of our regions" in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "snapshot",
        ID,
        f"//two.example/image/v2/images/{ID}",
        f"file:///image/v2/images/{ID}",
        f"ftp://two.example/image/v2/images/{ID}",
        f"https:///image/v2/images/{ID}",
        f"https://two.example/image/v1/images/{ID}",
        f"https://two.example/image/v2/images/{ID}/",
        f"https://two.example/image/v2/images/{ID}/members",
        f"https://two.example/image/v2/images/{ID}?x=1",
        f"https://two.example/image/v2/images/{ID}#x",
        f"https://two.example/image/v2/images/{ID}\n",
        f"https://two.example/image/v2/images/{ID}/../{ID}",
        f"https://two.example/image/../image/v2/images/{ID}",
        f"https://two.example//image/v2/images/{ID}",
        f"https://two.example/im%61ge/v2/images/{ID}",
        f"https://two.example\\@evil.example/image/v2/images/{ID}",
        f"https://user:secret@two.example/image/v2/images/{ID}",
        f"https://two.example:x/image/v2/images/{ID}",
        f"https://[two.example/image/v2/images/{ID}",
        "https://two.example/image/v2/images/1234",
        "x" * 70_000,
    ],
)
def test_what_is_not_the_url_of_an_image(url: str) -> None:
    with pytest.raises(Misdirected) as caught:
        lender(home(url), regions)
    assert caught.value.message.startswith("image_location: is '")
    assert caught.value.message.endswith("like https://glance.region.example/v2/images/ID")
    assert "secret" not in caught.value.message
    assert len(caught.value.message) < 400


def test_it_must_be_elsewhere() -> None:
    with pytest.raises(Misdirected, match=r"^H: image_location: H is home"):
        lender(home(f"http://home.example:9292/v2/images/{ID}"), regions)


@pytest.mark.parametrize(
    "image",
    [
        home(status="active"),
        home(status="saving"),
        home(status="importing"),
        home(properties={"image_location": "snapshot"}),  # as Nova has it
        home(properties={}),
    ],
)
def test_what_says_nothing_of_its_bytes(image: Image) -> None:
    assert lender(image, regions) is None
    assert recalled(image, observed("i", image, None), regions) is image


def test_there_are_snapshots_and_volumes() -> None:
    for kind in ("", "Snapshot", "backup"):
        image = home(properties={"image_from": kind, "image_location": "x"})
        with pytest.raises(Misdirected, match=f"image_from: is '{kind}'; it must be snapshot or"):
            lender(image, regions)
        assert not is_lent(image, regions)


PIECES = (
    *("https://", "http://", "two.example", "home.example:9292", "evil.example", "[::1]", ":443"),
    *("@", "/", "\\", "?", "#", "%2f", " ", "..", "/image", "/v2", "/images/", ID, "/file"),
)
HOSTS = {"Two": "https://two.example", "Three": "http://[::1]:9292", "Four": "http://four."}


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=9).map("".join))
def test_whatever_it_says_it_is_one_of_our_regions_or_a_complaint(url: str) -> None:
    found = wrong = None
    try:
        found = lender(home(url), regions)
    except Misdirected as error:
        wrong = complaint(error)
    if found is None:
        assert wrong is not None
        assert wrong.startswith("image_location: ")
        assert of_bytes(wrong) is None
    else:
        assert found.image_id == ID
        assert url.lower().startswith(HOSTS[found.region])


def test_its_bytes_are_the_others_and_all_else_is_its_own() -> None:
    image, original = home(), Original("Two", ID)
    whole = with_bytes(image, original, THERE)
    assert whole.lent is not None
    assert whole.lent.original == original
    for name in ("status", "size", "checksum", "os_hash_algo", "os_hash_value", "disk_format"):
        assert getattr(whole, name) == getattr(THERE, name)
    for name in ("id", "name", "owner", "visibility", "properties", "tags", "members"):
        assert getattr(whole, name) == getattr(image, name)
    own = with_bytes(home(disk_format="raw"), original, THERE)
    assert (own.disk_format, own.container_format) == ("raw", "bare")
    assert whole.fingerprint() == image.fingerprint(), "home's has not changed"
    assert whole.fingerprint() != home(name="n").fingerprint()
    json.dumps(whole.as_dict())


def test_what_is_on_record_is_enough_to_place_it() -> None:
    image = home()
    record = observed("i", with_bytes(image, Original("Two", ID), THERE), None)
    again = recalled(image, record, regions)
    assert again.lent is not None
    assert (again.status, again.size, again.lent.original.region) == ("active", 7, "Two")
    assert again.fingerprint() == record.fingerprint
    assert recalled(image, None, regions) is image
    assert recalled(image, observed("i", image, None), regions) is image, "no bytes were seen yet"
    other = home(name="n")
    assert recalled(other, record, regions) is other, "it is not what was looked at"


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (None, "has no image"),
        (dataclasses.replace(THERE, owner="q"), "has no image"),
        (dataclasses.replace(THERE, owner="q", visibility="shared"), "has no image"),
        (dataclasses.replace(THERE, owner="q", status="killed"), "has no image"),
        (dataclasses.replace(THERE, owner="q", visibility="public"), None),
        (dataclasses.replace(THERE, owner="q", visibility="community"), None),
        (dataclasses.replace(THERE, status="killed"), "is killed"),
        (dataclasses.replace(THERE, status="deleted"), "is deleted"),
        (dataclasses.replace(THERE, status="deactivated"), "is deactivated"),
        (dataclasses.replace(THERE, status="queued"), None),
        (dataclasses.replace(THERE, status="importing"), None),
        (THERE, None),
    ],
)
def test_who_lends_to_whom(there: Image | None, said: str | None) -> None:
    why = unfit(home(), there, ID)
    assert (why is None) if said is None else (why is not None and said in why)
    if why is not None and there is not None and there.owner != "p":
        assert why == unfit(home(), None, ID), "nobody learns that there is one"


def test_where_such_images_go() -> None:
    image = with_bytes(home(), Original("Two", ID), THERE)
    facts = Facts(OTHERS)
    every = STRATEGIES["ALL"]
    usual = among(every, [])
    assert usual.mark == every.mark
    placed = usual.place(image, facts)
    assert placed.regions == {"Three", "Four"}
    assert placed.why.endswith(f"Two has its bytes as image {ID}")
    assert usual.place(THERE, facts) == every.place(THERE, facts)
    named = among(every, ["Two", "Three"])
    assert named.mark == "ALL snapshots to Three,Two"
    assert named.place(image, facts).regions == {"Two", "Three"}
    assert "snapshot_region_names" in named.place(image, facts).why
    assert named.place(THERE, facts) == every.place(THERE, facts)
    nowhere = among(STRATEGIES["None"], ["Two"])
    assert nowhere.place(image, facts).regions == frozenset()
    assert not nowhere.active


def test_to_wait_for_bytes_costs_no_attempt() -> None:
    outcome = RetryPolicy().decide(Unready("Two", "not yet", retry_after=10), 3, 0.0)
    assert outcome == Snooze(10, "Two: not yet")
    assert complaint(Refused("Two", "gone")) == "image_location: Two: gone"
