# SPDX-License-Identifier: Apache-2.0
"""Waiting for the work that was asked for, and what became of it.

A replica's state alone does not tell whether it is from before or after the request. Open tasks
do: the request is a task before it is answered, and a task that leads to others ends in the same
transaction in which those begin. So all is done when no task that matters is open.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from keystoneauth1 import exceptions as ks_exceptions

from glancesync.osc.standing import Standing, in_words, standing
from glancesync.states import TaskState

if TYPE_CHECKING:
    from glancesync.osc.client import Client, Json

_SHORTEST, _LONGEST = 0.25, 1.0  # seconds between two looks
_PATIENCE = 60.0  # seconds a server may not answer, as while it is restarted


class Exit(enum.IntEnum):
    """Exit codes of ``run``."""

    WELL = 0
    ERROR = 1
    USAGE = 2
    OUT_OF_SYNC = 3
    TIMEOUT = 4


@dataclasses.dataclass(frozen=True)
class Look:
    """What was seen of the work on one image.

    :param regions: those asked for; empty: all it goes to
    :param image: None if glance-sync does not know it
    :param busy: the open tasks that are still to be waited for
    :param failed: those that the server tries again only after a long pause
    """

    regions: Collection[str]
    image: Json | None
    busy: list[Json]
    failed: list[Json]

    @property
    def replicas(self) -> list[Json]:
        """Those that matter: of the regions asked for, or all but what is no more."""
        if self.image is None:
            return []
        return [
            one
            for one in self.image["replicas"]
            if (one["region"] in self.regions if self.regions else self._alive(one))
        ]

    def bytes(self) -> tuple[int, int]:
        """How many bytes are there, and of how many."""
        size = (self.image or {}).get("size") or 0
        rows = [one for one in self.replicas if standing(one) is not Standing.ENDED]
        return (
            sum(one["bytes_done"] for one in rows),
            sum(size if one["bytes_total"] is None else one["bytes_total"] for one in rows),
        )

    def wrong(self) -> list[str]:
        """In words, why this is not in sync; empty if it is."""
        lost = [f"task {one['id']}: {one['reason']}" for one in self.failed if not one["region"]]
        if self.image is None:
            return lost or ["home has no such image"]
        found = {one["region"]: one for one in self.replicas}
        wanted = Standing.IN_SYNC if self.image["present"] else Standing.ENDED
        wrong = [
            f"{region}: {in_words(one)}"
            for region, one in found.items()
            if standing(one) is not wanted
        ]
        wrong += [f"{region}: has no replica" for region in self.regions if region not in found]
        wrong += lost
        if not found and not wrong and self.image["present"]:
            wrong.append(f"it is {self.image['status']} at home and goes to no region")
        return wrong

    def unsound(self) -> list[str]:
        """In words, what is wrong with bytes although the hashes that are said are right."""
        home = (self.image or {}).get("last_error")
        said = [f"home: {home}"] if home and not self.regions else []
        return said + [
            f"{one['region']}: {one['last_error']}" for one in self.replicas if one["last_error"]
        ]

    def _alive(self, replica: Json) -> bool:
        assert self.image is not None  # noqa: S101 - it has a replica
        return not self.image["present"] or standing(replica) is not Standing.ENDED


def look(client: Client, image_id: str, regions: Collection[str]) -> Look:
    """Look once; the image after the tasks, so that it is not older than they are."""
    tasks = [
        task
        for task in client.tasks(image_id=image_id)
        if not regions or task["region"] is None or task["region"] in regions
    ]
    image: Json | None
    try:
        image = client.image(image_id)
    except ks_exceptions.NotFound:
        image = None
    return Look(
        regions,
        image,
        busy=[task for task in tasks if not given_up(task)],
        failed=[task for task in tasks if given_up(task)],
    )


def given_up(task: Json) -> bool:
    """Whether the task's fast attempts are used up.

    One that was asked for again since is due at once, so not later than it was last written.
    """
    return bool(task["state"] == TaskState.FAILED and task["due_at"] > task["updated_at"])


class Busy(Protocol):
    """What was seen of some work."""

    @property
    def busy(self) -> Any:
        """What is still to be waited for; something false when all is done."""


Seen = TypeVar("Seen", bound=Busy)


def wait(
    see: Callable[[], Seen],
    show: Callable[[Seen], None],
    *,
    deadline: float | None,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Seen:
    """Look until nothing is busy or ``clock`` has reached ``deadline``; return the last look.

    :raises ClientException: keystoneauth's; the server refuses to say, or has not answered for long
    """
    pause, answered = _SHORTEST, clock()
    while True:
        seen = None
        try:
            seen = see()
            answered = clock()
        except (ks_exceptions.ConnectionError, ks_exceptions.HttpServerError):
            if clock() - answered >= _PATIENCE or (deadline is not None and clock() >= deadline):
                raise
        left = _LONGEST if deadline is None else deadline - clock()
        if seen is not None:
            show(seen)
            if not seen.busy or left <= 0:
                return seen
        sleep(max(0.0, min(pause, left)))
        pause = min(pause * 1.3, _LONGEST)
