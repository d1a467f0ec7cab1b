# SPDX-License-Identifier: Apache-2.0
"""Processes that are killed, or stopped past their lease, at the worst moments.

One API and two workers on one journal. After each death the others go on; what they must have
brought about is seen from outside: in the Glances, and in the event log.

Points that differ little from the one beside them are for ``--matrix``.
"""

import contextlib
import signal
import uuid
from collections.abc import Iterator, Sequence

import pytest
from _pytest.mark import ParameterSet
from glanceclient import exc

from devcloud import Cloud
from tests.faults import points
from tests.faults.nodes import Nodes
from tests.faults.watcher import Watcher
from tests.functional.estate import Estate, random_bytes, sha512
from tests.functional.reconfigured import Reconfigured
from tests.functional.wait import until

HOME = "glance-RegionOne"
OPTIONS = {"lease": "1", "watch_interval": "1", "retry_interval": "0.2"}


@pytest.fixture(scope="module")
def nodes(cloud: Cloud) -> Iterator[Nodes]:
    cloud.stop("glance-sync")
    with Nodes(cloud, apis=1, workers=2, first_port=cloud.sync_port, **OPTIONS) as nodes:
        yield nodes
    cloud.start("glance-sync")


class Scene:
    """A home image and its replicas, watched all the time."""

    def __init__(self, nodes: Nodes, watcher: Watcher) -> None:
        self.nodes = nodes
        self.watcher = watcher
        self.estate = Estate(nodes.cloud)

    def create(self, size: int = 100_000) -> str:
        image, data = str(uuid.uuid4()), random_bytes(size)
        self.watcher.uploaded(image, sha512(data))
        return self.estate.create(data, id=image, origin=image, note="first")

    def struck(self, point: str) -> str:
        """Wait until a process of ours came to the point; the process."""
        return until(lambda: self.nodes.reached(point), 30, f"somebody comes to {point!r}")

    def goes_on(self, node: str) -> None:
        """A process that was stopped runs again, and finds out that it lost its task."""
        said = self.nodes.log(node).count("; leaving it alone")
        self.nodes.kill(node, signal.SIGCONT)
        until(
            lambda: self.nodes.log(node).count("; leaving it alone") > said,
            30,
            f"{node} notices that its lease is lost",
        )

    def replicas(self, region: str, image: str) -> list[str]:
        return [one["id"] for one in self.watcher.images(region) if one.get("origin") == image]

    def whole(self, image: str) -> None:
        """All regions hold it as home does, and once."""
        self.estate.follows(image)
        self.estate.settled()
        for region in self.estate.others:
            assert self.replicas(region, image) == [image]
        assert self.deletes(image) == []

    def gone(self, image: str) -> None:
        """No region has it any more, and each deletion has its cause."""
        for region in self.estate.others:
            until(lambda region=region: self.replicas(region, image) == [], 60, f"{region}: gone")
        self.estate.settled()
        deletes = self.deletes(image)
        assert {region for region, _ in deletes} == set(self.estate.others)
        assert {why for _, why in deletes} == {f"{image}: the home image is deleted"}

    def deletes(self, image: str) -> list[tuple[str, str]]:
        events = self.nodes.events(image)
        return [(event.region, event.detail) for event in events if event.what == "delete"]


@pytest.fixture
def scene(nodes: Nodes) -> Iterator[Scene]:
    watcher = Watcher(nodes.cloud)
    scene = Scene(nodes, watcher)
    with watcher.watching():
        yield scene
    for name in (*nodes.apis, *nodes.workers):
        nodes.start(name)
    scene.estate.clear()
    assert watcher.wrong == []


UNTIL_THERE = [
    "create-recorded",
    "created",
    "transfer",
    "transferred",
    "patch",
    "patched",
    "conclude",
]
UNTIL_GONE = ["delete-recorded", "deleted"]
STOPPED = ["create-recorded", "created", "transferred", "patch"]


def always(points: Sequence[str], *chosen: str) -> list[ParameterSet]:
    """The points; all but the chosen ones with ``--matrix`` only."""
    assert {*chosen} <= {*points}
    return [pytest.param(one, marks=() if one in chosen else pytest.mark.matrix) for one in points]


@pytest.mark.parametrize("point", always(UNTIL_THERE, "created", "transfer", "conclude"))
def test_a_worker_is_killed_while_it_makes_a_replica(scene: Scene, point: str) -> None:
    points.arm(scene.nodes.points, point)
    image = scene.create(200_000_000 if point == "transfer" else 100_000)
    assert scene.struck(point) in scene.nodes.workers
    scene.whole(image)


@pytest.mark.parametrize("point", always(UNTIL_GONE, "deleted"))
def test_a_worker_is_killed_while_it_deletes(scene: Scene, point: str) -> None:
    image = scene.create()
    scene.whole(image)
    points.arm(scene.nodes.points, point)
    scene.estate.home.images.delete(image)
    assert scene.struck(point) in scene.nodes.workers
    scene.gone(image)


@pytest.mark.parametrize("point", always(["hint-written", "hint-committed"], "hint-committed"))
def test_the_api_is_killed_while_it_takes_a_hint(scene: Scene, point: str) -> None:
    image = scene.create()
    scene.whole(image)
    points.arm(scene.nodes.points, point)
    scene.estate.home.images.update(image, note="second")
    assert scene.struck(point) == "api-1"
    until(lambda: not scene.nodes.runs("api-1"), 10, "it is dead")
    scene.nodes.start("api-1")
    scene.whole(image)


@pytest.fixture(scope="module")
def mortal_home(nodes: Nodes) -> Iterator[None]:
    """The Glance of home can be killed at points, too; uWSGI starts its process anew."""
    config = nodes.cloud.region(nodes.cloud.home).config_dir / "uwsgi.ini"
    options = {
        "uwsgi__py-import": str(points.__file__),
        "uwsgi__points": str(nodes.points),
    }
    with Reconfigured(nodes.cloud, HOME, config, **options):
        yield


@pytest.mark.usefixtures("mortal_home")
@pytest.mark.parametrize("point", always([*points.GLANCE], "changed"))
def test_the_hooks_glance_is_killed(scene: Scene, point: str) -> None:
    """What it had not said yet is found in home's own list of what changed."""
    image = scene.create()
    scene.whole(image)
    points.arm(scene.nodes.points, point)
    with contextlib.suppress(exc.CommunicationError, exc.HTTPInternalServerError):
        scene.estate.home.images.update(image, note="second")
    until(points.hit(scene.nodes.points, point).exists, 30, f"Glance comes to {point!r}")
    scene.nodes.cloud.start(HOME)  # wait until it is back
    home = scene.estate.read("RegionOne", image)
    assert home is not None
    assert home["note"] == "second"
    scene.whole(image)


@pytest.mark.parametrize("point", always(STOPPED, "transferred"))
def test_a_worker_is_stopped_past_its_lease(scene: Scene, point: str) -> None:
    """Another does its work; when it goes on, it does no harm that lasts."""
    points.arm(scene.nodes.points, point, signal.SIGSTOP)
    image = scene.create()
    stopped = scene.struck(point)
    scene.estate.home.images.update(image, note="second")
    scene.whole(image)
    scene.goes_on(stopped)
    scene.whole(image)


def test_a_worker_is_stopped_while_its_image_is_deleted(scene: Scene) -> None:
    """It creates a replica of an image that has long been gone everywhere."""
    points.arm(scene.nodes.points, "create-recorded", signal.SIGSTOP)
    image = scene.create()
    stopped = scene.struck("create-recorded")
    scene.estate.home.images.delete(image)
    scene.estate.gone(image)
    scene.estate.settled()
    scene.goes_on(stopped)
    scene.estate.gone(image)
