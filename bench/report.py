# SPDX-License-Identifier: Apache-2.0
"""What a bench found: figures with their spread, goals met or missed; written and printed."""

import datetime
import importlib.metadata
import json
import os
import platform
import sqlite3
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devcloud import venvs

RESULTS = Path(__file__).parent / "results"
_CHECKOUT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Goal:
    """A number to reach, from section 7 of the design."""

    what: str
    measured: float
    limit: float
    at_least: bool = False  # else at most

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        relation = ">=" if self.at_least else "<="
        verdict = "met" if self.met else "MISSED"
        return f"{verdict}: {self.what} {self.measured:g}, goal {relation} {self.limit:g}"


@dataclass(frozen=True)
class Report:
    """The outcome of one bench.

    *runs* is how often each thing was measured; *rows*, of which the first is the heading, is what
    people see; *figures* is all there is.
    """

    name: str
    measures: str
    baseline: str
    runs: int
    goals: Sequence[Goal]
    rows: Sequence[Sequence[str]]
    figures: dict[str, Any] = field(default_factory=dict)


def spread(values: Sequence[float], digits: int = 3) -> dict[str, Any]:
    """The median of some runs, their extremes, and each of them in the order they were made."""
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "runs": [round(value, digits) for value in values],
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that *share* (0 to 1) of all *values* do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * round(share * 1000) // 1000) - 1)]


def table(rows: Sequence[Sequence[str]]) -> str:
    """*rows* in aligned columns, the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    ruled = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in ruled
    )


def show(report: Report) -> str:
    """A report for people."""
    lines = [f"{report.name}: {report.measures}", f"baseline: {report.baseline}", ""]
    return "\n".join([*lines, table(report.rows), "", *map(str, report.goals)])


def write(report: Report, *, quick: bool, load: tuple[float, float]) -> Path:
    """Keep a report as ``results/<name>.json``; returns the file.

    :param load: the machine's load average before and after: who else was at work
    """
    command = f"python -m bench {report.name}" + (" --quick" if quick else "")
    content = {
        "name": report.name,
        "measures": report.measures,
        "baseline": report.baseline,
        "command": command,
        "quick": quick,
        "at": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "runs": report.runs,
        "goals": [
            {
                "what": goal.what,
                "measured": goal.measured,
                "limit": goal.limit,
                "at_least": goal.at_least,
                "met": goal.met,
            }
            for goal in report.goals
        ],
        "figures": report.figures,
        "versions": _versions(),
        "machine": {**_machine(), "load_before": load[0], "load_after": load[1]},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{report.name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def _versions() -> dict[str, str]:
    names = ("eventlet", "keystonemiddleware", "python-glanceclient", "SQLAlchemy")
    return {
        "glancesync": _commit(),
        "glance": venvs.SERIES[venvs.KEYSTONE_SERIES],
        "keystone": venvs.KEYSTONE,
        "uwsgi": venvs.PYUWSGI,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: importlib.metadata.version(name) for name in names},
    }


def _commit() -> str:
    """The commit measured, with a ``+`` if what runs was changed since."""
    measured = ["glancesync", "glance_patch", "devcloud", "installation", "constraints.txt"]
    said = [
        subprocess.run(
            ["git", "-C", str(_CHECKOUT), *arguments], capture_output=True, text=True, check=False
        ).stdout.strip()
        for arguments in (
            ["rev-parse", "--short", "HEAD"],
            ["status", "--porcelain", "--", *measured],
        )
    ]
    return (said[0] or "unknown") + ("+" if said[1] else "")


def _machine() -> dict[str, Any]:
    """What the numbers depend on; nothing that tells whose machine it is."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "processor": models[0] if models else platform.machine(),
        "memory_gib": round(memory / 2**30),
        "system": platform.system(),
    }
