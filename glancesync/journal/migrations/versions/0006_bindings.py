# SPDX-License-Identifier: Apache-2.0
"""Bindings of projects to regions; the capacity of a region, and since when it is known

Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from glancesync.journal.migrations import steps

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """In steps that can be taken again: MySQL and MariaDB don't roll back what changes tables."""
    steps.add("region", sa.Column("capacity", steps.TEXT, nullable=True))
    steps.add("region", sa.Column("capacity_at", sa.Double(), nullable=True))
    steps.add("region", sa.Column("found_at", sa.Double(), nullable=True))
    steps.table(
        "binding",
        sa.Column("id", steps.KEY, autoincrement=True, nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=False),
        sa.Column("group_name", sa.String(length=64), nullable=False),
        sa.Column("region", sa.String(length=255), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=True),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("cause", steps.TEXT, nullable=False),
        sa.Column("actor", steps.TEXT, nullable=False),
        sa.Column("began_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("end_cause", steps.TEXT, nullable=True),
        sa.Column("ended_by", steps.TEXT, nullable=True),
        sa.CheckConstraint("active IS NULL OR active = true", name=op.f("ck_binding_active")),
        sa.CheckConstraint(
            "(active IS NULL) = (ended_at IS NOT NULL)", name=op.f("ck_binding_ended")
        ),
        sa.CheckConstraint("active IS NULL OR released = false", name=op.f("ck_binding_released")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_binding")),
        sa.UniqueConstraint(
            "project_id",
            "group_name",
            "active",
            name=op.f("uq_binding_project_id_group_name_active"),
        ),
    )
    op.create_index("ix_binding_region_active", "binding", ["region", "active"])
