# SPDX-License-Identifier: Apache-2.0
"""Ways to do the same thing, each measured several times, by turns."""

from collections.abc import Callable, Mapping
from typing import Any

from bench import stage
from bench.report import spread


class Turns:
    """What was measured: seconds by case, which is the first cell of its row, and way."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.found: dict[str, dict[str, list[float]]] = {}

    def take(self, number: int, case: str, ways: Mapping[str, Callable[[], float]]) -> None:
        """Measure each way once; every other time in the opposite order."""
        found = self.found.setdefault(case, {way: [] for way in ways})
        for way in list(ways)[:: 1 if number % 2 == 0 else -1]:
            stage.say(f"run {number + 1} of {self.runs}, {case}, {way}")
            found[way].append(ways[way]())

    def ratio(self, case: str, mine: str, theirs: str) -> float:
        """The median of the ratios of the runs."""
        pairs = zip(self.found[case][mine], self.found[case][theirs], strict=True)
        return round(float(spread([one / other for one, other in pairs])["median"]), 2)

    def rows(self, heading: str, ratios: Mapping[str, tuple[str, str]]) -> list[list[str]]:
        """A table of medians and, by the heading of its column, of ratios of two ways."""
        ways = list(dict.fromkeys(way for found in self.found.values() for way in found))
        rows = [[heading, *ways, *ratios]]
        for case, found in self.found.items():
            cells = [f"{spread(found[way])['median']:.2f}" if way in found else "" for way in ways]
            cells += [
                f"{self.ratio(case, mine, theirs):.2f}" if mine in found and theirs in found else ""
                for mine, theirs in ratios.values()
            ]
            rows.append([case, *cells])
        return rows

    def figures(self) -> dict[str, Any]:
        """All there is, with the spread."""
        return {
            case: {way: spread(values) for way, values in found.items()}
            for case, found in self.found.items()
        }
