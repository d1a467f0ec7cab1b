# SPDX-License-Identifier: Apache-2.0
"""What happens when: steps that a seed decides, down to ids and sizes.

Each *lane* is one user, or one thing that can break; its steps follow one another. Lanes run side
by side, so what overlaps in time differs a little from run to run; what is done does not.

A run consists of *rounds* of about a minute. Between two rounds all must become well. Users go on
in the next one with the images they have.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

USERS = ("demo", "other", "admin")
SLOTS = 5  # images a user has at a time
ROUND = 75.0  # seconds of the longest round


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing to do, or one fault to inject for a while."""

    at: float  # seconds after the start of its round
    lane: str
    what: str
    args: Mapping[str, Any]
    lasts: float = 0.0  # seconds, of a fault

    def __str__(self) -> str:
        args = " ".join(f"{name}={value}" for name, value in self.args.items())
        lasts = f" for {self.lasts:.1f} s" if self.lasts else ""
        return f"{self.at:7.2f} {self.lane}: {self.what} {args}{lasts}"


def schedule(
    seed: int, seconds: float, regions: Sequence[str], apis: Sequence[str], workers: Sequence[str]
) -> list[list[Step]]:
    """The rounds of a run of so many seconds, each with its steps by time.

    :param regions: home first
    """
    count = max(1, math.ceil(seconds / ROUND))
    length = seconds / count
    users = [list(_until(_user(_dice(seed, user), user), seconds)) for user in USERS]
    rounds: list[list[Step]] = [[] for _ in range(count)]
    for step in itertools.chain.from_iterable(users):
        number = min(count - 1, int(step.at / length))
        rounds[number].append(dataclasses.replace(step, at=step.at - number * length))
    for number, steps in enumerate(rounds):
        for lane, choices in _breakable(regions, apis, workers).items():
            dice = _dice(seed, f"{lane}, round {number}")
            if dice.random() < _AT_ALL:
                steps += _until(_faults(dice, lane, choices), length)
        steps.sort(key=lambda step: (step.at, step.lane))
    return rounds


def _until(steps: Iterator[Step], seconds: float) -> Iterator[Step]:
    return itertools.takewhile(lambda step: step.at < seconds, steps)


def _dice(seed: int, lane: str) -> random.Random:
    """A lane's own, so that a change in one lane leaves the others as they were."""
    return random.Random(f"{seed} {lane}")


# -- users ----------------------------------------------------------------------------------------


def _user(dice: random.Random, user: str) -> Iterator[Step]:
    """What a user does with a few images, for ever."""
    at = 0.0
    images: dict[int, str] = {}
    empty: set[int] = set()  # images without data
    while True:
        at += dice.expovariate(1.0)
        slot = dice.randrange(SLOTS)
        if slot not in images:
            images[slot] = _id(dice)
            what = dice.choices(["create", "reserve"], [9, 1])[0]
            args = {"image": images[slot], **_looks(dice)}
            if what == "reserve":
                empty.add(slot)
            else:
                args["size"] = _size(dice)
        elif slot in empty:
            what, args = "upload", {"image": images[slot], "size": _size(dice)}
            empty.discard(slot)
        else:
            what, args = _change(dice, user, images, slot)
            if what == "delete":
                del images[slot]
        yield Step(at, user, what, args)


def _id(dice: random.Random) -> str:
    return str(uuid.UUID(int=dice.getrandbits(128), version=4))


def _size(dice: random.Random) -> int:
    low, high = dice.choices([(1, 1000), (10_000, 3_000_000), (10_000_000, 40_000_000)], [3, 5, 2])[
        0
    ]
    return dice.randint(low, high)


def _looks(dice: random.Random) -> dict[str, Any]:
    return {
        "name": _word(dice),
        "visibility": dice.choice(["private", "shared", "shared", "community"]),
        "tags": _tags(dice),
        "note": _word(dice),
    }


def _word(dice: random.Random) -> str:
    return dice.choice(["alpha", "βήτα", "gamma ray", "d/e~f", "日本", "x" * 60, "quote'\"s"])


def _tags(dice: random.Random) -> list[str]:
    return dice.sample(["one", "two", "drei", "четыре"], dice.randrange(4))


def _change(
    dice: random.Random, user: str, images: Mapping[int, str], slot: int
) -> tuple[str, dict[str, Any]]:
    weights = {
        "set": 5,
        "unset": 2,
        "hammer": 1,
        "tag": 2,
        "show": 2,  # visibility
        "protect": 1,
        "hide": 1,
        "share": 3,
        "accept": 1,
        "unshare": 2,
        "refer": 1,
        "deactivate": 1,
        "reactivate": 2,
        "give": 1,
        "delete": 5,
    }
    what = dice.choices(list(weights), list(weights.values()))[0]
    shown = ["private", "shared", "shared", "community"] + (["public"] if user == "admin" else [])
    word, other, on = _word(dice), dice.choice(USERS), dice.random() < 0.6
    name = f"p{dice.randrange(6)}"
    args: dict[str, dict[str, Any]] = {
        "set": {"name": name, "value": word},
        "unset": {"name": name},
        "hammer": {"times": dice.randint(3, 10)},
        "tag": {"tags": _tags(dice)},
        "show": {"visibility": dice.choice(shown)},
        "protect": {"on": on},
        "hide": {"on": on},
        "refer": {"kernel": dice.choice(sorted(images.values()))},
        "share": {"with_user": other},
        "accept": {"by_user": other},
        "unshare": {"from_user": other},
        "give": {"to_user": other},
    }
    return what, {"image": images[slot], **args.get(what, {})}


# -- faults ---------------------------------------------------------------------------------------

_AT_ALL = 0.8  # the part of the rounds in which a lane does something

Choice = tuple[int, str, dict[str, Any]]  # weight, fault, arguments

#: Troubles of a network, by the name of what :data:`breakage.TROUBLES` has for them.
_AWAY = ("refuse", "hang", "slow", "cut_in", "cut_out", "500", "503", "401", "404", "html")
HOME_POINTS = ("changed", "hint-ready", "hint-acknowledged")
POINTS = (
    "create-recorded",
    "created",
    "transfer",
    "register",
    "registered",
    "transferred",
    "patch",
    "patched",
    "delete-recorded",
    "deleted",
    "conclude",
)


def _breakable(
    regions: Sequence[str], apis: Sequence[str], workers: Sequence[str]
) -> dict[str, list[Choice]]:
    """Lane -> what can happen to it."""
    home, *others = regions
    lanes: dict[str, list[Choice]] = {
        "apis": [
            *((3, "kill_nodes", {"nodes": (name,)}) for name in apis),
            (1, "kill_nodes", {"nodes": tuple(apis)}),
            *((1, "stop_nodes", {"nodes": (name,)}) for name in apis),
            *((2, "point", {"point": f"hint-{when}"}) for when in ("written", "committed")),
        ],
        "workers": [
            *((2, "kill_nodes", {"nodes": (name,)}) for name in workers),
            *((2, "stop_nodes", {"nodes": (name,)}) for name in workers),
            (1, "kill_nodes", {"nodes": tuple(workers)}),
            (1, "stop_nodes", {"nodes": tuple(workers)}),
            (2, "end_nodes", {"nodes": (workers[0],)}),
            *((1, "point", {"point": name}) for name in POINTS),
            *((1, "point", {"point": name, "stop": True}) for name in POINTS),
        ],
        "movers": [(1, "kill_movers", {})],
        "hook": [
            (1, "hook", {"trouble": name}) for name in ("refuse", "hang", "500", "answer lost")
        ],
        "home": [
            (2, "kill_glance", {"region": home}),
            (1, "stop_glance", {"region": home}),
            *((1, "home_point", {"point": name}) for name in HOME_POINTS),
            *((1, "network", {"region": home, "trouble": name}) for name in _AWAY),
        ],
        "keystone": [(1, "kill_keystone", {}), (1, "stop_keystone", {})],
        "database": [
            (1, "restart_database", {}),
            (3, "cut_database", {}),
            (1, "pause_database", {}),
        ],
    }
    for region in others:
        lanes[region] = [
            (3, "kill_glance", {"region": region}),
            (2, "stop_glance", {"region": region}),
            (4, "network", {"region": region, "trouble": "flip"}),
            *((1, "network", {"region": region, "trouble": name}) for name in _AWAY),
        ]
        lanes[f"admin of {region}"] = [
            (3, "drift", {"region": region, "how": how})
            for how in ("change", "expose", "share", "deactivate", "delete", "hide", "protect")
        ] + [(1, "stranger", {"region": region})]
    return lanes


def _faults(dice: random.Random, lane: str, choices: Sequence[Choice]) -> Iterator[Step]:
    """The faults of one thing, one after the other, for ever."""
    weights = [weight for weight, _, _ in choices]
    at = 0.0
    while True:
        at += dice.uniform(1.0, 12.0)
        _, what, args = dice.choices(choices, weights)[0]
        lasts = dice.uniform(0.5, 6.0)
        chance = {"chance": dice.randrange(1_000_000)}  # for what only the moment can tell
        yield Step(at, lane, what, {**args, **chance}, lasts)
        at += lasts
