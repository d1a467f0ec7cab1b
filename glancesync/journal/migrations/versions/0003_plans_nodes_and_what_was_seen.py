"""Readings of bytes, outages, removals that were seen, plans; longer steps between priorities

Revises: 0002
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.String(length=36).with_variant(sa.String(length=36, collation="C"), "postgresql")
TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLE: dict[str, Any] = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mysql_engine": "InnoDB",
    "sqlite_autoincrement": True,
}


def upgrade() -> None:
    """In steps that can be taken again: MySQL and MariaDB don't roll back what changes tables."""
    add("image", sa.Column("last_error", TEXT, nullable=True))
    add("replica", sa.Column("verified_at", sa.Double(), nullable=True))
    add("region", sa.Column("failing_since", sa.Double(), nullable=True))
    add("task", sa.Column("removed", sa.Boolean(), nullable=False, server_default=sa.false()))
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


def add(table: str, column: sa.Column[object]) -> None:
    """Add a column that an upgrade that broke off may have added."""
    there = {one["name"] for one in sa.inspect(op.get_bind()).get_columns(table)}
    if column.name not in there:
        op.add_column(table, column)


def check(table: str, column: str, values: tuple[str, ...]) -> None:
    """Let a column have other values than before."""
    bind, name = op.get_bind(), f"ck_{table}_{column}"
    found = sa.inspect(bind).get_check_constraints(table)
    before = [one["sqltext"] for one in found if one["name"] == name]
    now = f"{column} IN {values}"
    if bind.dialect.name == "sqlite":
        # As its page on ALTER TABLE has it, for what does not change how rows are stored.
        version = bind.scalar(sa.text("PRAGMA schema_version"))
        op.execute("PRAGMA writable_schema = ON")
        bind.execute(
            sa.text(
                "UPDATE sqlite_master SET sql = replace(sql, :before, :now) "
                "WHERE type = 'table' AND name = :name"
            ),
            {"before": before[0], "now": now, "name": table},
        )
        op.execute(f"PRAGMA schema_version = {version + 1}")
        op.execute("PRAGMA writable_schema = OFF")
        return
    if before:
        op.drop_constraint(op.f(name), table, type_="check")
    op.create_check_constraint(op.f(name), table, now)


def nodes() -> None:
    """Who works on the journal."""
    op.execute("DROP TABLE IF EXISTS node")
    op.create_table(
        "node",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("settings", TEXT, nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_node")),
        **TABLE,
    )


def plans() -> None:
    """Their tables, and their kind of task."""
    for name in ("plan", "step"):
        op.execute(f"DROP TABLE IF EXISTS {name}")
    op.create_table(
        "plan",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("strategy", sa.String(length=32), nullable=False),
        sa.Column("image_id", ID, nullable=True),
        sa.Column("regions", TEXT, nullable=False),
        sa.Column("unread", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("ready_at", sa.Double(), nullable=True),
        sa.Column("applied_at", sa.Double(), nullable=True),
        sa.Column("applied_by", TEXT, nullable=True),
        sa.CheckConstraint(
            "state IN ('planning', 'ready', 'applying', 'applied', 'failed')",
            name=op.f("ck_plan_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan")),
        **TABLE,
    )
    op.create_index("ix_plan_created_at", "plan", ["created_at"], unique=False)
    op.create_table(
        "step",
        sa.Column("plan_id", KEY, autoincrement=False, nullable=False),
        sa.Column("region", sa.String(length=255), nullable=False),
        sa.Column("image_id", ID, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("actions", TEXT, nullable=False),
        sa.Column("why", TEXT, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("adoptable", TEXT, nullable=False),
        sa.Column("home", sa.String(length=64), nullable=False),
        sa.Column("observed", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("result", TEXT, nullable=True),
        sa.Column("looked_at", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "state IN ('planned', 'asked', 'begun', 'done', 'stale', 'failed', 'cancelled')",
            name=op.f("ck_step_state"),
        ),
        sa.PrimaryKeyConstraint("plan_id", "region", "image_id", name=op.f("pk_step")),
        **TABLE,
    )
    check("task", "kind", ("image", "replica", "watch", "audit", "plan"))
