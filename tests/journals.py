# SPDX-License-Identifier: Apache-2.0
"""What tests of a real journal share."""

import sqlalchemy as sa

from glancesync.journal import regions, schema
from glancesync.journal.journal import Journal


def record(journal: Journal, home: str, *names: str) -> None:
    """Have the journal know regions, without asking for their audits."""
    with journal.database.write() as connection:
        regions.discovered(connection, {name: f"http://{name}" for name in (home, *names)}, home)


def let_pass(journal: Journal, region: str, seconds: float) -> None:
    """Have so much of the time pass for which a region is left alone."""
    g = schema.region
    with journal.database.write() as connection:
        connection.execute(
            sa.update(g).where(g.c.name == region).values(broken_until=g.c.broken_until - seconds)
        )
