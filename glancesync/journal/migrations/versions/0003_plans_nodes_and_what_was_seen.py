# SPDX-License-Identifier: Apache-2.0
"""Readings of bytes, outages, removals that were seen, plans; longer steps between priorities

Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from glancesync.journal.migrations import steps

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """In steps that can be taken again: MySQL and MariaDB don't roll back what changes tables."""
    steps.add("image", sa.Column("last_error", steps.TEXT, nullable=True))
    steps.add("replica", sa.Column("verified_at", sa.Double(), nullable=True))
    steps.add("region", sa.Column("failing_since", sa.Double(), nullable=True))
    steps.add("task", sa.Column("removed", sa.Boolean(), nullable=False, server_default=sa.false()))
    # Large images had up to 600 more. What was changed is never found by the same again.
    task = sa.table("task", sa.column("priority", sa.Integer))
    for before, after in ((60, 3600), (1800, 604800)):
        op.execute(
            sa.update(task)
            .where(task.c.priority.between(before, before + 600))
            .values(priority=task.c.priority - before + after)
        )
    plans()
    nodes()


def nodes() -> None:
    """Who works on the journal."""
    steps.table(
        "node",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("settings", steps.TEXT, nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_node")),
    )


def plans() -> None:
    """Their tables, and their kind of task."""
    steps.table(
        "plan",
        sa.Column("id", steps.KEY, autoincrement=True, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("strategy", sa.String(length=32), nullable=False),
        sa.Column("image_id", steps.ID, nullable=True),
        sa.Column("regions", steps.TEXT, nullable=False),
        sa.Column("unread", steps.TEXT, nullable=False),
        sa.Column("reason", steps.TEXT, nullable=True),
        sa.Column("actor", steps.TEXT, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("ready_at", sa.Double(), nullable=True),
        sa.Column("applied_at", sa.Double(), nullable=True),
        sa.Column("applied_by", steps.TEXT, nullable=True),
        sa.CheckConstraint(
            "state IN ('planning', 'ready', 'applying', 'applied', 'failed')",
            name=op.f("ck_plan_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan")),
    )
    op.create_index("ix_plan_created_at", "plan", ["created_at"], unique=False)
    steps.table(
        "step",
        sa.Column("plan_id", steps.KEY, autoincrement=False, nullable=False),
        sa.Column("region", sa.String(length=255), nullable=False),
        sa.Column("image_id", steps.ID, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("actions", steps.TEXT, nullable=False),
        sa.Column("why", steps.TEXT, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("adoptable", steps.TEXT, nullable=False),
        sa.Column("home", sa.String(length=64), nullable=False),
        sa.Column("observed", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("result", steps.TEXT, nullable=True),
        sa.Column("looked_at", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "state IN ('planned', 'asked', 'begun', 'done', 'stale', 'failed', 'cancelled')",
            name=op.f("ck_step_state"),
        ),
        sa.PrimaryKeyConstraint("plan_id", "region", "image_id", name=op.f("pk_step")),
    )
    steps.check("task", "kind", ("image", "replica", "watch", "audit", "plan"))
