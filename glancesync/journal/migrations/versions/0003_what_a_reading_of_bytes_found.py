"""What a reading of bytes found, since when regions fail, longer steps between priorities

Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")


def upgrade() -> None:
    """In steps that can be taken again: MySQL and MariaDB don't roll back what changes tables."""
    add("image", sa.Column("last_error", TEXT, nullable=True))
    add("replica", sa.Column("verified_at", sa.Double(), nullable=True))
    add("region", sa.Column("failing_since", sa.Double(), nullable=True))
    # Large images had up to 600 more. What was changed is never found by the same again.
    task = sa.table("task", sa.column("priority", sa.Integer))
    for before, after in ((60, 3600), (1800, 604800)):
        op.execute(
            sa.update(task)
            .where(task.c.priority.between(before, before + 600))
            .values(priority=task.c.priority - before + after)
        )


def add(table: str, column: sa.Column[object]) -> None:
    """Add a column that an upgrade that broke off may have added."""
    there = {one["name"] for one in sa.inspect(op.get_bind()).get_columns(table)}
    if column.name not in there:
        op.add_column(table, column)
