# SPDX-License-Identifier: Apache-2.0
"""One run: rounds of lanes side by side, each followed by calm and a verdict."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from keystoneauth1 import exceptions

from tests.faults.thrash.breakage import Breakage
from tests.faults.thrash.schedule import USERS, Step, schedule
from tests.faults.thrash.stage import Stage, bound
from tests.faults.thrash.users import Call
from tests.faults.thrash.verdict import Verdict
from tests.functional.wait import until

_LATE = 15.0  # seconds after the end of a round in which its steps may still begin
_GRACE = 3.0  # seconds a service may still fail after it was brought back
#: Faults that users of home must feel: its Glance, and the Keystone that checks their tokens.
_FELT = {"kill_glance", "stop_glance", "home_point", "kill_keystone", "stop_keystone"}


@dataclasses.dataclass(frozen=True)
class Done:
    """A step that was carried out. Times are this machine's monotonic clock."""

    step: Step
    began: float
    ended: float
    how: str


class Failed(AssertionError):  # noqa: N818 - as pytest says it
    """The run is not as promised."""


class Run:
    """A seeded run on a stage.

    :param log: has a line for each step
    """

    def __init__(self, stage: Stage, seed: int, seconds: float, log: TextIO) -> None:
        self.stage = stage
        nodes = stage.nodes
        self.rounds = schedule(seed, seconds, stage.cloud.names, nodes.apis, nodes.workers)
        self.breakage = Breakage(stage)
        self.done: list[Done] = []
        self.skipped = 0
        self.verdicts: list[Verdict] = []
        self._length = seconds / len(self.rounds)
        self._broken = threading.Event()  # the harness itself does not work
        self._trouble: list[str] = []
        self._log = log
        self._origin = time.monotonic()

    def go(self, on: bool = False) -> list[str]:
        """All rounds, or those up to the first in which something is wrong; what that is.

        :param on: go on after such a round; a problem counts once
        """
        problems: list[str] = []
        for number, steps in enumerate(self.rounds, 1):
            self.say(f"round {number} of {len(self.rounds)}")
            self._round(steps)
            if self._trouble:
                return [*problems, *self._trouble]
            self._tidy()
            self.say("all faults are over")
            verdict = Verdict(self, set(problems))
            self.verdicts.append(verdict)
            verdict.reach(bound())
            problems += verdict.problems
            self._tell(f"round {number} of {len(self.rounds)}: {len(steps)} steps, {verdict}")
            if problems and not on:
                break
            for one in verdict.problems:
                self._tell(f"  {one}")
        return problems

    def say(self, what: str) -> None:
        """Write a line into the log of the run."""
        self._log.write(f"{time.strftime('%H:%M:%S')} {self._now():8.2f} {what}\n")

    def _tell(self, what: str) -> None:
        print(what, flush=True)  # noqa: T201
        self.say(what)

    def _now(self) -> float:
        return time.monotonic() - self._origin

    def _round(self, steps: Sequence[Step]) -> None:
        lanes = collections.defaultdict(list)
        for step in steps:
            lanes[step.lane].append(step)
        start = time.monotonic()
        threads = [
            threading.Thread(target=self._lane, args=(start, lane), name=name, daemon=True)
            for name, lane in lanes.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _lane(self, start: float, steps: Sequence[Step]) -> None:
        for step in steps:
            if self._broken.wait(max(0.0, start + step.at - time.monotonic())):
                return
            began = time.monotonic()
            if began > start + self._length + _LATE:
                self.skipped += 1
                continue
            try:
                how = self._step(step)
            except Exception:
                how = traceback.format_exc(limit=-3, chain=False)
                self._trouble.append(f"{step} could not be carried out:\n{how}")
                self._broken.set()
            done = Done(step, began, time.monotonic(), how)
            self.done.append(done)
            self.say(f"{step} -> {how}, took {done.ended - began:.2f} s")

    def _step(self, step: Step) -> str:
        if step.lane in USERS:
            return self.stage.users.do(step)
        with self.breakage(step.what, step.args) as how:
            self._broken.wait(step.lasts)
        return how

    def _tidy(self) -> None:
        def listed() -> list[dict[str, Any]]:
            try:
                return self.stage.watcher.images(self.stage.cloud.home)
            except exceptions.ClientException as error:
                raise AssertionError(error) from error

        self.stage.users.tidy(until(listed, 60, "home's Glance answers again"))

    # -- what the verdict asks --------------------------------------------------------------------

    def ask(self, method: str, path: str) -> Any:
        """A request to an API of glance-sync."""
        port = self.stage.nodes.port(0)
        session = self.stage.cloud.session()
        return session.request(f"http://127.0.0.1:{port}{path}", method, timeout=30).json()

    def excused(self, call: Call) -> bool:
        """Whether home's Glance or Keystone was broken while a call ran."""
        home = self.stage.cloud.home
        return any(
            done.began <= call.ended and call.began <= done.ended + _GRACE
            for done in self.done
            if done.step.what in _FELT and done.step.args.get("region", home) == home
        )

    def killed(self, region: str) -> bool:
        """Whether a region's Glance was killed so far."""
        return any(
            done.step.what == "kill_glance" and done.step.args["region"] == region
            for done in self.done
        )

    def save_events(self, path: Path) -> None:
        """Write down the journal's event log, as last read."""
        log = self.verdicts[-1].log if self.verdicts else []
        path.write_text("".join(f"{one}\n" for one in log))

    # -- what people read -------------------------------------------------------------------------

    def table(self) -> str:
        """What was done, and what came of it."""
        rows: list[tuple[str, str]] = []
        for what, ways in sorted(self.stage.users.counts().items()):
            rows.append((f"users: {what}", ", ".join(f"{n} {way}" for way, n in ways.items())))
        faults = collections.Counter(_kind(one.step) for one in self.done if _is_fault(one.step))
        rows += [(f"fault: {what}", str(count)) for what, count in sorted(faults.items())]
        watcher, front = self.stage.watcher, self.stage.front
        requests = [one.method for proxy in self.stage.proxies.values() for one in proxy.requests]
        calls = self.stage.users.calls
        slow = sorted(call.ended - call.began for call in calls if not self.excused(call))
        last = self.verdicts[-1]
        after = [one.converged_after for one in self.verdicts if one.converged_after is not None]
        rows += [
            ("calls of users", str(len(calls))),
            ("slowest while home was well", f"{slow[-1]:.1f} s" if slow else ""),
            ("faults", str(sum(faults.values()))),
            ("steps not begun in time", str(self.skipped)),
            ("hints acknowledged", str(sum(front.acknowledged.values()))),
            ("requests to Glances", _counted(collections.Counter(requests))),
            ("event log", _counted(last.events)),
            ("images at home in the end", str(len(last.home))),
            ("looks at the regions", str(watcher.looks)),
            ("wrong bytes, not yet verified", str(sum(one.private for one in watcher.wrong))),
            ("converged after at most", f"{max(after, default=0):.1f} s of {bound():.0f} s"),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _is_fault(step: Step) -> bool:
    return step.lane not in USERS


def _kind(step: Step) -> str:
    args = step.args
    which = args.get("trouble") or args.get("how") or args.get("point") or ""
    return f"{step.what} {which}{', stopped there' if args.get('stop') else ''}".strip()


def _counted(counts: collections.Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())


def thrash(
    seed: int, seconds: float, database: str, name: str = "thrash", on: bool = False
) -> None:
    """Run once, print what was done, and raise Failed unless all is as promised.

    :param on: see :meth:`Run.go`
    """
    replay = f"make thrash SEED={seed} MINUTES={seconds / 60:g} DATABASE={database}"
    print(f"{replay}: two APIs, four workers, three regions", flush=True)  # noqa: T201
    with Stage(database, name) as stage:
        logs = stage.cloud.directory / "logs"
        with (logs / "thrash.log").open("w", buffering=1) as log:
            run = Run(stage, seed, seconds, log)
            problems = run.go(on)
        if run.verdicts:
            print(run.table(), flush=True)  # noqa: T201
        if problems:
            run.save_events(logs / "events.log")
            kept = stage.cloud.root / "test-logs" / name
            last = [str(one.step) for one in itertools.islice(reversed(run.done), 5)]
            lines = [*problems[:30], f"last steps: {'; '.join(last)}"]
            raise Failed("\n".join([*lines, f"logs: {kept}", f"replay: {replay}"]))
