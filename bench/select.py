# SPDX-License-Identifier: Apache-2.0
"""How long it takes to choose a region for a project, of many."""

import json
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.report import Report
from bench.turns import Turns
from glancesync.conf import bindings
from glancesync.journal import regions, schema
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.model import Actor
from glancesync.placement.selection import Settings, Wish
from glancesync.selecting import load

RUNS = 5
SIZES = (10, 1000)
IMAGES = 20  # of each project
HOME = "Home"
NEW, BOUND, DRY, BARE = "bind", "bound already", "dry run", "bare"


def run(quick: bool) -> Report:
    """Select for ever new projects, and again for those, each way by turns."""
    runs, each = (3, 5) if quick else (RUNS, 20)
    turns = Turns(runs)
    with tempfile.TemporaryDirectory() as directory:
        stages = [_Stage(Path(directory) / f"{size}.sqlite", size, each) for size in SIZES]
        for number in range(runs):
            for one in stages:
                turns.take(number, f"{one.size} regions", one.ways(number))
        for one in stages:
            one.close()
    rows = turns.rows("milliseconds", {f"{way} / bare": (way, BARE) for way in (NEW, BOUND, DRY)})
    return Report(
        name="select",
        measures="choosing a region for a project that has 20 images, on SQLite; milliseconds",
        baseline="the reads and the commit that it takes with nothing decided: all regions read, "
        "one row written to the same journal",
        runs=runs,
        goals=[],
        rows=rows,
        figures={"selects_of_each_run": each, "milliseconds": turns.figures()},
    )


class _Stage:
    """A journal with so many regions, and projects with images in some of them."""

    def __init__(self, path: Path, size: int, each: int) -> None:
        self.size = size
        self._each = each
        self._database = Database(f"sqlite:///{path}")
        self._journal = Journal(self._database)
        options = {option.name: option for option in bindings.OPTIONS}
        weighers = {
            name: float(multiplier)
            for name, multiplier in options["binding_weighers"].default.items()
        }
        filters = options["binding_filters"].default
        self._selection = load(filters, {**weighers, "age": 0.1}, Settings())
        names = [f"Region{number:04}" for number in range(size)]
        with self._database.write() as connection:
            schema.metadata.create_all(connection)
            urls = {name: f"http://{name}" for name in (HOME, *names)}
            regions.discovered(connection, urls, HOME)
            for number, name in enumerate(names):
                total = 2**40
                labels = {"place": f"eu/{number % 7}/{number % 31}", "cost": str(number % 13)}
                changes: dict[str, Any] = {"labels": labels}
                if number % 3:
                    free = total * (number % 97) // 97
                    changes["capacity"] = {"free_bytes": free, "total_bytes": total}
                regions.update(connection, name, changes)

    def close(self) -> None:
        self._database.dispose()

    def ways(self, number: int) -> dict[str, Callable[[], float]]:
        """What is measured in one run: milliseconds of one select, the mean of some."""
        projects = [f"project {number} {one}" for one in range(self._each)]
        self._fill(projects)
        select = self._journal.bindings.select

        def bind() -> float:
            fresh = [f"{project} {time.perf_counter_ns()}" for project in projects]
            self._move(projects, fresh)
            took = self._mean(fresh, lambda wish: select(wish, self._selection, Actor()))
            self._move(fresh, projects)
            return took

        def again() -> float:
            self._mean(projects, lambda wish: select(wish, self._selection, Actor()))
            return self._mean(projects, lambda wish: select(wish, self._selection, Actor()))

        def dry() -> float:
            explain = self._journal.bindings.explain
            return self._mean(projects, lambda wish: explain(wish, self._selection))

        return {NEW: bind, BOUND: again, DRY: dry, BARE: lambda: self._mean(projects, self._bare)}

    def _mean(self, projects: list[str], what: Callable[[Wish], object]) -> float:
        began = time.perf_counter()
        for project in projects:
            what(Wish(project))
        return (time.perf_counter() - began) / len(projects) * 1000

    def _bare(self, wish: Wish) -> None:
        """Read all that is on record of regions, and write down a name."""
        with self._database.write() as connection:
            for row in connection.execute(sa.select(schema.region)):
                json.loads(row.labels)
            connection.execute(
                sa.insert(schema.node).values(
                    name=f"{wish.project_id} {time.perf_counter_ns()}", settings="{}", seen_at=0
                )
            )

    def _fill(self, projects: list[str]) -> None:
        """Give each project its images, each in sync in three regions."""
        images, replicas = [], []
        for project in projects:
            for number in range(IMAGES):
                image_id = str(uuid.uuid4())
                images.append(
                    {
                        "image_id": image_id,
                        "generation": 1,
                        "fingerprint": "f",
                        "present": True,
                        "owner": project,
                        "status": "active",
                        "size": 2**30,
                        "changed_at": 0.0,
                        "observed_at": 0.0,
                    }
                )
                replicas += [
                    {
                        "image_id": image_id,
                        "region": f"Region{(number * 7 + step) % self.size:04}",
                        "state": "in_sync",
                        "made": False,
                        "observed_generation": 1,
                        "bytes_done": 0,
                        "refused": "{}",
                        "kept": "{}",
                        "updated_at": 0.0,
                    }
                    for step in range(3)
                ]
        with self._database.write() as connection:
            connection.execute(sa.insert(schema.image), images)
            connection.execute(sa.insert(schema.replica), replicas)

    def _move(self, projects: list[str], others: list[str]) -> None:
        """Give the images of projects to others."""
        i = schema.image
        with self._database.write() as connection:
            for project, other in zip(projects, others, strict=True):
                connection.execute(sa.update(i).where(i.c.owner == project).values(owner=other))
