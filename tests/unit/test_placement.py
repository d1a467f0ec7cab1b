# SPDX-License-Identifier: Apache-2.0
"""Which regions."""

from glancesync.conf import regions as options
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
