"""``glance-sync-manage``: the journal's schema, and the doctor."""

from __future__ import annotations

import sys
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


COMMANDS = {"db_sync": db_sync, "db_version": db_version, "doctor": doctor.run}


def _parsers(subparsers: Any) -> None:
    for name, command in COMMANDS.items():
        said = (command.__doc__ or "").splitlines()[0]
        subparsers.add_parser(name, help=said, description=said).set_defaults(command=command)


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
