# SPDX-License-Identifier: Apache-2.0
"""Which regions, and which transport."""

from typing import cast

import pytest

from glancesync.choice import choose, unfit
from glancesync.conf import regions as options
from glancesync.interfaces import Capabilities, Transport
from glancesync.model import Image, Region
from glancesync.placement.strategies import STRATEGIES

IMAGE = Image("i", "active", container_format="bare", disk_format="raw")
REGIONS = [
    Region("home", "http://h", home=True),
    Region("open", "http://o"),
    Region("closed", "http://c", maintenance=True),
    Region("off", "http://f", enabled=False),
    Region("gone", "http://g", present=False),
]


def test_all_is_every_region_but_home_also_those_that_are_closed_now() -> None:
    assert STRATEGIES["ALL"].place(IMAGE, REGIONS) == {"open", "closed", "off", "gone"}
    assert STRATEGIES["ALL"].place(IMAGE, []) == frozenset()
    assert STRATEGIES["ALL"].active


def test_none_is_nowhere_and_off() -> None:
    assert STRATEGIES["None"].place(IMAGE, REGIONS) == frozenset()
    assert not STRATEGIES["None"].active


def test_the_configuration_offers_exactly_the_strategies_there_are() -> None:
    assert list(options.STRATEGIES) == list(STRATEGIES)
    assert all(name == strategy.name for name, strategy in STRATEGIES.items())


class Way:
    def __init__(self, name: str, **needs: object) -> None:
        self.name = name
        self.capabilities = Capabilities(**needs)  # type: ignore[arg-type]


PULL = cast(Transport, Way("pull", needs_import_method="glance-download", needs_formats=True))
UPLOAD = cast(Transport, Way("upload", fan_out=True))


@pytest.mark.parametrize(
    ("ways", "methods", "chosen", "passed"),
    [
        ([UPLOAD], [], UPLOAD, {}),
        ([UPLOAD, PULL], ["glance-download"], UPLOAD, {}),
        ([PULL, UPLOAD], ["web-download", "glance-download"], PULL, {}),
        (
            [PULL, UPLOAD],
            ["glance-direct"],
            UPLOAD,
            {"pull": "the region does not offer the import method glance-download"},
        ),
        (
            [PULL],
            [],
            None,
            {"pull": "the region does not offer the import method glance-download"},
        ),
        ([], [], None, {}),
    ],
)
def test_the_first_that_fits(
    ways: list[Transport], methods: list[str], chosen: Transport | None, passed: dict[str, str]
) -> None:
    assert choose(ways, IMAGE, iter(methods)) == (chosen, passed)


@pytest.mark.parametrize("missing", ["container_format", "disk_format"])
def test_formats_may_be_needed(missing: str) -> None:
    image = Image("i", "active", **{"container_format": "b", "disk_format": "r", missing: None})  # type: ignore[arg-type]
    why = unfit(Capabilities(needs_formats=True), image, [])
    assert why == "the image has no container_format or disk_format"
    assert unfit(Capabilities(), image, []) is None
