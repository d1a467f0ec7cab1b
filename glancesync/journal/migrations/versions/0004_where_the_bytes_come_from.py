# SPDX-License-Identifier: Apache-2.0
"""Where the bytes of a replica come from

Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEX = "ix_replica_source_copying_since"


def upgrade() -> None:
    """In steps that can be taken again: MySQL and MariaDB don't roll back what changes tables."""
    look = sa.inspect(op.get_bind())
    there = {column["name"] for column in look.get_columns("replica")}
    for column in (
        sa.Column("source", sa.String(length=255), nullable=True),
        sa.Column("copying_since", sa.Double(), nullable=True),
    ):
        if column.name not in there:
            op.add_column("replica", column)
    if INDEX not in {index["name"] for index in look.get_indexes("replica")}:
        op.create_index(INDEX, "replica", ["source", "copying_since"])
