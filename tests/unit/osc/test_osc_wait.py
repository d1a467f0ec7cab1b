# SPDX-License-Identifier: Apache-2.0
"""When ``run --wait`` is done, and whether all is well then."""

from typing import Any

import pytest
from keystoneauth1.exceptions import ConnectFailure, ServiceUnavailable

from glancesync.osc.standing import Standing, standing
from glancesync.osc.wait import Look, given_up, wait

T0, T1 = "2026-01-01T12:00:00.000Z", "2026-01-01T12:05:00.000Z"


def replica(region: str = "R2", state: str = "in_sync", **more: Any) -> dict[str, Any]:
    return {
        "region": region,
        "state": state,
        "observed_generation": 3,
        "desired_generation": 3,
        "bytes_done": 10,
        "bytes_total": 10,
        **more,
    }


def task(region: str | None = "R2", state: str = "ready", **more: Any) -> dict[str, Any]:
    moments = {"due_at": T0, "updated_at": T0}
    return {"id": 1, "region": region, "state": state, "reason": "why", **moments, **more}


def seen(
    *replicas: dict[str, Any],
    regions: tuple[str, ...] = (),
    present: bool = True,
    busy: tuple[dict[str, Any], ...] = (),
    failed: tuple[dict[str, Any], ...] = (),
) -> Look:
    image = {"replicas": replicas, "present": present, "status": "active", "size": 10}
    return Look(regions, image, list(busy), list(failed))


@pytest.mark.parametrize(
    ("one", "stands"),
    [
        (replica(), Standing.IN_SYNC),
        (replica(observed_generation=2), Standing.BEHIND),
        (replica(state="copying"), Standing.BEHIND),
        (replica(state="waiting"), Standing.BEHIND),
        (replica(state="partial"), Standing.TROUBLE),
        (replica(state="conflict"), Standing.TROUBLE),
        (replica(state="released"), Standing.ENDED),
    ],
)
def test_standings(one: dict[str, Any], stands: Standing) -> None:
    assert standing(one) is stands


def test_a_failed_task_is_given_up_until_it_is_asked_for_again() -> None:
    assert given_up(task(state="failed", due_at=T1))
    assert not given_up(task(state="failed", due_at=T1, updated_at=T1))
    assert not given_up(task(state="ready", due_at=T1))


def test_all_regions_in_sync_is_well() -> None:
    assert seen(replica("R2"), replica("R3"), replica("R4", "deleted")).wrong() == []


def test_only_the_regions_asked_for_matter() -> None:
    look = seen(replica("R2"), replica("R3", "conflict"), regions=("R2",))
    assert look.wrong() == []
    assert look.bytes() == (10, 10)


def test_what_is_wrong_is_said_by_region() -> None:
    look = seen(
        replica("R2", "copying", bytes_done=5),
        replica("R3", "partial"),
        regions=("R2", "R3", "R4"),
    )
    assert look.wrong() == ["R2: copying 50 %", "R3: partial", "R4: has no replica"]


def test_an_image_that_goes_nowhere_is_not_well() -> None:
    assert seen().wrong() == ["it is active at home and goes to no region"]


def test_an_image_that_home_could_not_be_asked_for_is_not_well() -> None:
    assert seen(replica(), failed=(task(None, "failed"),)).wrong() == ["task 1: why"]


def test_a_deleted_image_is_well_once_its_replicas_are_gone() -> None:
    assert seen(replica("R2", "deleted"), present=False).wrong() == []
    assert seen(replica("R2", "failed"), present=False).wrong() == ["R2: failed"]


def test_bytes_not_yet_planned_count_as_the_image_has_them() -> None:
    look = seen(replica("R2", "pending", bytes_done=0, bytes_total=None), replica("R3"))
    assert look.bytes() == (10, 20)


class Time:
    """A clock that goes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_waits_until_nothing_is_busy() -> None:
    time = Time()
    looks = [seen(busy=(task(),)), seen(busy=(task(),)), seen(replica())]
    shown: list[Look] = []
    last = wait(
        lambda: looks[len(shown)],
        shown.append,
        deadline=None,
        clock=lambda: time.now,
        sleep=time.sleep,
    )
    assert last is looks[-1]
    assert shown == looks


def test_looks_a_last_time_at_the_deadline() -> None:
    time = Time()
    times: list[float] = []
    last = wait(
        lambda: seen(busy=(task(),)),
        lambda look: times.append(time.now),
        deadline=5.0,
        clock=lambda: time.now,
        sleep=time.sleep,
    )
    assert last.busy
    assert times[-1] == 5.0


@pytest.mark.parametrize("error", [ConnectFailure("down"), ServiceUnavailable()])
@pytest.mark.parametrize("deadline", [None, 30.0])
def test_a_server_that_does_not_answer_is_waited_for_a_while(
    error: Exception, deadline: float | None
) -> None:
    time = Time()

    def see() -> Look:
        if 2 < time.now < recovery:
            raise error
        return seen(busy=(task(),) if time.now < 2 else ())

    def run() -> Look:
        return wait(
            see, lambda look: None, deadline=deadline, clock=lambda: time.now, sleep=time.sleep
        )

    recovery = 20.0
    assert not run().busy
    time.now, recovery = 0.0, 1000.0
    with pytest.raises(type(error)):
        run()
    assert time.now < 65 if deadline is None else time.now == deadline


def test_an_image_that_home_could_not_be_asked_for_is_not_said_to_be_missing() -> None:
    assert Look((), None, [], [task(None, "failed")]).wrong() == ["task 1: why"]
    assert Look((), None, [], []).wrong() == ["home has no such image"]
