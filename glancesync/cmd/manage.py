# SPDX-License-Identifier: Apache-2.0
"""``glance-sync-manage``: the journal's schema, what it forgets, and the doctor."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import threading
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg
from oslo_log import log as oslo_logging

from glancesync import wiring
from glancesync.cmd import doctor
from glancesync.cmd.version import VERSION
from glancesync.conf import load
from glancesync.errors import ConfigurationError, JournalError
from glancesync.journal import database
from glancesync.journal.journal import Journal
from glancesync.maintenance import Purge


def db_sync(conf: cfg.ConfigOpts) -> int:
    """Make the journal, or bring it to this program's revision."""
    revision = wiring.database(conf).migrate()
    sys.stdout.write(f"the journal is at revision {revision}\n")
    return 0


def db_version(conf: cfg.ConfigOpts) -> int:
    """Print the journal's revision and this program's."""
    have = wiring.database(conf).version() or "none"
    sys.stdout.write(f"journal {have}, program {database.head()}\n")
    return 0


def db_purge(conf: cfg.ConfigOpts) -> int:
    """Forget ended tasks, events, and images that are gone everywhere, which are old enough."""
    journal = Journal(wiring.database(conf))
    journal.database.check()
    days, most = conf.action.older_than, conf.action.max_rows
    gone = Purge(journal.purge).run(days, most, threading.Event())
    sys.stdout.write(f"{gone} rows forgotten\n")
    return 0


COMMANDS = {
    "db_sync": db_sync,
    "db_version": db_version,
    "db_purge": db_purge,
    "doctor": doctor.run,
}


def _parsers(subparsers: Any) -> None:
    for name, command in COMMANDS.items():
        said = (command.__doc__ or "").splitlines()[0]
        parser = subparsers.add_parser(name, help=said, description=said)
        parser.set_defaults(command=command)
        if command is db_purge:
            parser.add_argument(
                "--older-than",
                metavar="DAYS",
                type=_amount,
                required=True,
                help="What ended longer ago than that is forgotten",
            )
            parser.add_argument(
                "--max-rows",
                metavar="N",
                type=_amount,
                default=math.inf,
                help="Stop after about so many rows; default: when there are no more",
            )


def _amount(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")


def main(args: Sequence[str] | None = None) -> int:
    """Exit code 0: done; 1: the doctor found something; 2: what the operator must mend."""
    option = cfg.SubCommandOpt("action", title="commands", handler=_parsers)
    try:
        conf = load(
            sys.argv[1:] if args is None else args,
            prog="glance-sync-manage",
            version=VERSION,
            cli=[option],
        )
        if conf.action.name is None:
            raise ConfigurationError(
                "a command", f"must be one of {', '.join(COMMANDS)}", "the command line"
            )
        oslo_logging.setup(conf, "glance-sync")
        code: int = conf.action.command(conf)
    except (ConfigurationError, JournalError) as error:
        sys.stderr.write(f"glance-sync-manage: {error}\n")
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
