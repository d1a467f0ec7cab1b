# SPDX-License-Identifier: Apache-2.0
"""How long a complete audit takes when nothing has changed, and how much memory it needs."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench import stage, standin
from bench.report import Goal, Report, spread
from glancesync.journal import audits, queue, regions, schema
from glancesync.journal.database import Database, now
from glancesync.model import Audit
from glancesync.regions.images import image_from
from glancesync.states import ReplicaState, TaskKind

REGIONS = 10
LIMIT = 60.0  # seconds for 10,000 images in 10 regions
_NAMES = ["home", *(f"R{number}" for number in range(REGIONS))]
_ROWS = 5000  # written at a time


def run(quick: bool) -> Report:
    """Audit ever more images; a fresh process each time, as memory is measured."""
    sizes = (1_000, 10_000) if quick else (1_000, 10_000, 100_000)
    rows = [["images x 10 regions", "audit s", "lists alone s", "ratio", "peak MiB"]]
    figures: dict[str, Any] = {"regions": REGIONS}
    goals = []
    for size in sizes:
        runs = 1 if size > 10_000 else 3
        audits_took, lists_took, peaks = [], [], []
        with tempfile.TemporaryDirectory() as directory, _standin(size) as url:
            stage.say(f"a journal with {size} images")
            journal = _filled(Path(directory), size)
            for number in range(runs):
                stage.say(f"{size} images, run {number + 1} of {runs}")
                lists_took.append(_run("list", journal, url)["seconds"])
                _due(journal)
                found = _run("audit", journal, url)
                if found["seen"] != size * len(_NAMES):
                    raise stage.BenchError(f"{found['seen']} images were seen")
                audits_took.append(found["seconds"])
                peaks.append(found["peak_kib"] / 1024)
        one = figures[str(size)] = {
            "audit_seconds": spread(audits_took),
            "lists_seconds": spread(lists_took),
            "peak_mib": spread(peaks, 1),
        }
        took, alone = one["audit_seconds"]["median"], one["lists_seconds"]["median"]
        rows.append(
            [f"{size:,}", f"{took:.1f}", f"{alone:.1f}", f"{took / alone:.2f}", f"{max(peaks):.0f}"]
        )
        if size == 10_000:
            goals.append(Goal("audit of 10,000 images x 10 regions [s]", took, LIMIT))
    return Report(
        name="audit",
        measures="a complete audit of home and 10 regions in which nothing has changed, on SQLite",
        baseline="reading the same lists from the same stand-in Glances, and nothing else",
        runs=3,
        goals=goals,
        rows=rows,
        figures=figures,
    )


@contextmanager
def _standin(size: int) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.standin", str(size)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def _run(what: str, journal: str, url: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.auditor", what, journal, url, *_NAMES],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise stage.BenchError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _filled(directory: Path, size: int) -> str:
    """The URL of a journal in which every image is in sync everywhere."""
    url = f"sqlite:///{directory}/journal.sqlite"
    database = Database(url)
    database.migrate()
    with database.write() as connection:
        regions.discovered(connection, {name: f"http://{name}" for name in _NAMES}, "home")
        at = float(connection.execute(sa.select(now())).scalar_one())
    known = standin.ids(size)
    for start in range(0, size, _ROWS):
        images, replicas = [], []
        for image_id in known[start : start + _ROWS]:
            image = image_from(standin.image(image_id), {})
            baseline = image.fingerprint()
            images.append(
                {
                    "image_id": image.id,
                    "generation": 1,
                    "fingerprint": baseline,
                    "present": True,
                    "name": image.name,
                    "owner": image.owner,
                    "status": image.status,
                    "size": image.size,
                    "os_hash_value": image.os_hash_value,
                    "changed_at": at,
                    "observed_at": at,
                }
            )
            replicas += [
                {
                    "image_id": image.id,
                    "region": name,
                    "state": ReplicaState.IN_SYNC.value,
                    "replica_id": image.id,
                    "made": True,
                    "observed_generation": 1,
                    "baseline": baseline,
                    "bytes_done": image.size,
                    "bytes_total": image.size,
                    "refused": "{}",
                    "synced_at": at,
                    "updated_at": at,
                }
                for name in _NAMES[1:]
            ]
        with database.write() as connection:
            connection.execute(sa.insert(schema.image), images)
            connection.execute(sa.insert(schema.replica), replicas)
    database.dispose()
    return url


def _due(url: str) -> None:
    """Forget earlier audits and make all of them due."""
    database = Database(url)
    with database.write() as connection:
        connection.execute(sa.delete(schema.audit))
        queue.open_always(connection, [TaskKind.AUDIT], _NAMES)
        queue.make_due(connection, TaskKind.AUDIT, _NAMES)
        for name in _NAMES:
            audits.save(connection, Audit(name))
    database.dispose()
