# SPDX-License-Identifier: Apache-2.0
"""``openstack image sync binding select --dry-run`` as it is read, on less than 100 columns."""

from collections.abc import Iterator

import pytest
import webob

from glancesync.model import Actor
from tests.api import service
from tests.api.service import PROJECT_A
from tests.journals import record

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # osc_lib warns of itself

WIDTH = 100
GIB = 2**30


@pytest.fixture
def estate() -> Iterator[service.Estate]:
    with service.Estate() as estate:
        yield estate


def screen() -> list[str]:
    """Its lines."""
    from glancesync.osc.bindings import page

    request = webob.Request.blank(
        "/v1/bindings/select?dry_run=1",
        headers={"X-Auth-Token": "admin-token"},
        method="POST",
        json={"project_id": PROJECT_A, "requirements": {"size": GIB}},
    )
    lines = page(request.get_response(service.app()).json["selection"]).splitlines()
    assert max(map(len, lines)) < WIDTH, "\n".join(lines)
    return lines


def test_a_choice_between_two(estate: service.Estate) -> None:
    room = {"free_bytes": 60 * GIB, "total_bytes": 100 * GIB}
    estate.journal.update_region("RegionTwo", {"capacity": room, "labels": {"cost": "2.5"}})
    estate.journal.update_region("RegionThree", {"labels": {"cost": "3", "place": "eu/fr"}})
    assert screen() == [
        "It would be bound to RegionThree.",
        "",
        "The figure of each weigher, and what it counts:",
        "  region       total  images x 2   free            distance  backlog  bindings  cost",
        "  RegionThree  4.00   200 B: 2.00  ?: 0.50         2: 0.00   0: 1.00  0: 0.50   3: 0.00",
        "  RegionTwo    3.00   0 B: 0.00    60.0 GiB: 0.50  0: 1.00   2: 0.00  0: 0.50   2.5: 1.00",
    ]


def test_who_is_left_out_and_why(estate: service.Estate) -> None:
    estate.journal.bindings.bind(PROJECT_A, "", "RegionTwo", "by hand", Actor())
    assert screen()[0] == "It stays in RegionTwo."
    room = {"free_bytes": GIB, "total_bytes": 100 * GIB}
    closed = {"capacity": room, "maintenance": True}
    estate.journal.update_region("RegionTwo", closed)
    lines = screen()
    assert lines[0] == "It would move from RegionTwo to RegionThree."
    assert lines[-3:] == [
        "Left out:",
        "  RegionTwo: it is in maintenance; 0 % of 100 GiB would be free; 5 % must stay",
        "    free",
    ]
    estate.journal.update_region("RegionThree", {"enabled": False})
    assert screen()[:3] == ["No region will do; it is bound to RegionTwo.", "", "Left out:"]


def test_many_regions(estate: service.Estate) -> None:
    more = [f"Region{number:03}" for number in range(30)]
    record(estate.journal, "RegionOne", "RegionTwo", "RegionThree", *more)
    for name in more[:25]:
        estate.journal.update_region(name, {"enabled": False})
    lines = screen()
    assert lines[-1] == "  and 5 more; -f json has all"
    assert len(lines) == 3 + 1 + 7 + 2 + 20 + 1
