# SPDX-License-Identifier: Apache-2.0
"""The command line of the thrash."""

from __future__ import annotations

import argparse
import random
import sys

from tests.databases import SERVERS
from tests.faults.thrash import run, stage


def main() -> int:
    """0: all is as promised; 1: not, and how to replay it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.thrash", description=run.__doc__)
    parser.add_argument("--seed", type=int, help="default: a new one")
    parser.add_argument("--minutes", type=float, default=2.0, help="default: %(default)g")
    parser.add_argument(
        "--database",
        choices=["sqlite", *SERVERS],
        help="of the journal; default: postgresql where it is installed, else sqlite",
    )
    parser.add_argument("--name", default="thrash", help="of the devcloud; default: %(default)s")
    parser.add_argument("--on", action="store_true", help="go on after a round that went wrong")
    options = parser.parse_args()
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    database = options.database or stage.best_database()
    try:
        run.thrash(seed, options.minutes * 60, database, options.name, options.on)
    except run.Failed as failed:
        print(failed, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
