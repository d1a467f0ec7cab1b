# SPDX-License-Identifier: Apache-2.0
"""Jobs and their items, and the tasks that look them up

Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from glancesync.journal.migrations import steps

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_STATES = [
    "waiting",
    "pending",
    "copying",
    "done",
    "in_sync",
    "conflict",
    "failed",
    "refused",
    "cancelled",
]


def upgrade() -> None:
    """In steps that can be taken again: MySQL and MariaDB don't roll back what changes tables."""
    steps.table(
        "job",
        sa.Column("id", steps.KEY, autoincrement=True, nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=True),
        sa.Column("everything", sa.Boolean(), nullable=False),
        sa.Column("wishes", steps.TEXT, nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("actor", steps.TEXT, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("cancelled_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    op.create_index("ix_job_project_id", "job", ["project_id"])
    op.create_index("ix_job_created_at", "job", ["created_at"])
    states = ", ".join(repr(state) for state in _STATES)
    steps.table(
        "item",
        sa.Column("job_id", steps.KEY, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("resource", sa.String(length=255), nullable=False),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("region", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("source_id", steps.ID, nullable=True),
        sa.Column("image_id", steps.ID, nullable=True),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("replace", sa.Boolean(), nullable=False),
        sa.Column("needs", steps.TEXT, nullable=False),
        sa.Column("part", sa.Boolean(), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("touched", sa.Boolean(), nullable=False),
        sa.Column("result", steps.TEXT, nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.CheckConstraint(f"state IN ({states})", name=op.f("ck_item_state")),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_item")),
    )
    op.create_index("ix_item_image_id", "item", ["image_id", "region"])
    op.create_index("ix_item_job_id_state", "item", ["job_id", "state"])
    op.create_index("ix_item_job_id_source_id", "item", ["job_id", "source_id"])
    steps.check("task", "kind", ("image", "replica", "watch", "audit", "plan", "job"))
