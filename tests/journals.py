# SPDX-License-Identifier: Apache-2.0
"""What tests of a real journal share."""

from glancesync.journal import regions
from glancesync.journal.journal import Journal


def record(journal: Journal, home: str, *names: str) -> None:
    """Have the journal know regions, without asking for their audits."""
    with journal.database.write() as connection:
        regions.discovered(connection, {name: f"http://{name}" for name in (home, *names)}, home)
