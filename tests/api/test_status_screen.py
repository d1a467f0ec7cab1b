# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync status`` as it is read: what the API answers, on 80 columns."""

from collections.abc import Iterator

import pytest
import webob

from glancesync.breaker import Breaker
from glancesync.errors import Transient
from glancesync.interfaces import Ask, Changes
from glancesync.model import Audit, Hint
from glancesync.states import TaskKind
from tests.api import service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # osc_lib warns of itself

UNWELL = (
    "could not get image aaaaaaaa-0000-0000-0000-000000000001: HTTP 503 Service Unavailable, "
    "as the upstream server is too busy to handle this request at the moment"
)


@pytest.fixture
def estate() -> Iterator[service.Estate]:
    with service.Estate() as estate:
        yield estate


@pytest.fixture
def empty() -> Iterator[service.Empty]:
    with service.Empty() as empty:
        yield empty


def screen() -> list[str]:
    """Its lines."""
    from glancesync.osc.screen import page

    request = webob.Request.blank("/v1/status", headers={"X-Auth-Token": "admin-token"})
    return page(request.get_response(service.app()).json["status"]).splitlines()


def test_a_quiet_cloud(empty: service.Empty) -> None:
    assert screen() == ["In sync: there is nothing to do."]


def test_nodes_that_differ_are_named(empty: service.Empty) -> None:
    empty.journal.say_node("north:71", {"delete_mode": "mirror", "preserve_properties": ""})
    empty.journal.say_node("south:9", {"delete_mode": "keep", "preserve_properties": "a_*"})
    assert screen() == [
        "In sync: there is nothing to do.",
        "",
        "Needs a human:",
        "  nodes: delete_mode differs: mirror on north:71, keep on south:9",
        "  nodes: preserve_properties differs: nothing on north:71, a_* on south:9",
    ]


def test_hints_count_before_the_regions_are_known(empty: service.Empty) -> None:
    empty.journal.hint([Hint(service.A1)])
    assert screen() == ["Behind by 1 image."]


def test_a_cloud_in_trouble_fits_on_a_screen(estate: service.Estate) -> None:
    journal = estate.journal
    for _ in range(6):
        journal.note_region(
            "RegionTwo", Transient("RegionTwo", UNWELL), Breaker(pause=1000, cap=1000)
        )
    journal.update_region("RegionThree", {"maintenance": True})
    journal.ask([Ask(TaskKind.AUDIT, "", "RegionOne", priority=0)], "test")
    (task,) = journal.claim("me", lease=60, limit=1, regions={"RegionOne"})
    began = journal.database.now() - 10_000
    journal.commit(task, Changes(audit=Audit("RegionOne", started_at=began, held=14)))
    lines = screen()
    assert [line for line in lines if len(line) > 80] == []
    oldest = lines[0].removeprefix("Behind by 3 images, 300 B to copy; the oldest waits for ")
    assert oldest.endswith(" s.")
    text = "\n".join(lines[1:]).replace(oldest[:-1], "0 s")
    assert text == (
        "\n"
        "Needs a human:\n"
        "  RegionOne: 14 deletions held back by its audit: openstack image sync audit\n"
        "    show RegionOne\n"
        "  RegionThree: in maintenance; its work waits\n"
        "  RegionThree: 3 partial\n"
        "  RegionTwo: left alone as it is unwell (next look in 16 min): could not get\n"
        "    image aaaaaaaa-0000-0000-0000-000000000001: HTTP 503 Service Unavailable,\n"
        "    as the upstream server is too busy to handle this request at the moment\n"
        "\n"
        "region       is              in sync  tasks  to copy  oldest  audited\n"
        "RegionOne    home            -        -      -        -       running\n"
        "RegionThree  in maintenance  0/3      -      -        -       never\n"
        "RegionTwo    broken          0/3      3      300 B    0 s     never"
    )
