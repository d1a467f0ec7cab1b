# SPDX-License-Identifier: Apache-2.0
"""Where images go: pins, who changed an image last, what becomes of a replica that is not wanted

Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from glancesync.journal.migrations import steps

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """In steps that can be taken again: MySQL and MariaDB don't roll back what changes tables."""
    steps.add("image", sa.Column("actor", steps.TEXT, nullable=True))
    steps.add("image", sa.Column("origin", sa.String(length=255), nullable=True))
    steps.add("image", sa.Column("origin_id", steps.ID, nullable=True))
    steps.add("replica", sa.Column("delete_mode", sa.String(length=16), nullable=True))
    steps.table(
        "pin",
        sa.Column("image_id", steps.ID, nullable=False),
        sa.Column("region", sa.String(length=255), nullable=False),
        sa.Column("cause", steps.TEXT, nullable=False),
        sa.Column("actor", steps.TEXT, nullable=False),
        sa.Column("pinned_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("image_id", "region", name=op.f("pk_pin")),
    )
    steps.check("finding", "what", ("gone", "unplaced", "corrupt", "adoptable"))
