# SPDX-License-Identifier: Apache-2.0
"""``python -m bench [NAME ...] [--quick]``: measures, prints tables, writes ``bench/results``.

The exit code is 1 if something could not be measured; a goal that is missed is only told.
"""

import argparse
import os
import subprocess
import sys
import traceback
from collections.abc import Callable

from bench import (
    audit,
    backlog,
    fanout,
    filesystem,
    hints,
    jobs,
    journal,
    memory,
    metadata,
    objects,
    rbd,
    regions,
    relay,
    report,
    rules,
    select,
    ssh,
    stage,
    upload,
)
from devcloud import DevcloudError

BENCHES: dict[str, Callable[[bool], report.Report]] = {
    "metadata": metadata.run,
    "backlog": backlog.run,
    "upload": upload.run,
    "filesystem": filesystem.run,
    "regions": regions.run,
    "ssh": ssh.run,
    "rbd": rbd.run,
    "objects": objects.run,
    "fanout": fanout.run,
    "relay": relay.run,
    "memory": memory.run,
    "hints": hints.run,
    "audit": audit.run,
    "journal": journal.run,
    "rules": rules.run,
    "select": select.run,
    "jobs": jobs.run,
}
HOOK = "hook"  # a program of its own


def main(arguments: list[str] | None = None) -> int:
    """Run the benches named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = [HOOK, *BENCHES]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="smaller images, shorter runs")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(names))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(names)}")
    broken = [name for name in options.names or names if not _run(name, quick=options.quick)]
    if broken:
        print(f"could not be measured: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


def _run(name: str, *, quick: bool) -> bool:
    """Run one bench; False if it could not be done."""
    print(f"\n== {name}", flush=True)
    if name == HOOK:
        fewer = ["--requests", "60", "--rounds", "3"] if quick else []
        return subprocess.run([sys.executable, "-m", "bench.hook", *fewer]).returncode == 0
    before = _load()
    try:
        found = BENCHES[name](quick)
    except (DevcloudError, stage.BenchError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return False
    except Exception:  # of a client; the benches that follow may still be done
        traceback.print_exc()
        return False
    report.write(found, quick=quick, load=(before, _load()))
    print(f"\n{report.show(found)}", flush=True)
    return True


def _load() -> float:
    return round(os.getloadavg()[0], 2)


if __name__ == "__main__":
    sys.exit(main())
