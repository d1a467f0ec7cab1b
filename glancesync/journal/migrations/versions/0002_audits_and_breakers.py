# SPDX-License-Identifier: Apache-2.0
"""Text compared byte by byte, audits, breakers; only what is due is ready

Every table is made anew, and what the old one held is put into it: no database lets one change all
of what changes here in place.

Revises: 0001
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
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

#: Table -> its columns as of 0001. The mark stays as it is: by it a journal is known.
OLD = {
    "image": "image_id generation fingerprint present name owner status size kernel_id ramdisk_id "
    "changed_at observed_at",
    "replica": "image_id region state replica_id made observed_generation baseline transport "
    "bytes_done bytes_total refused last_error synced_at updated_at",
    "task": "id task_key open_key kind image_id region state priority asked attempt force due_at "
    "waiting_since lease_owner lease_token lease_until actor reason created_at updated_at ended_at",
    "region": "name url home present enabled maintenance labels limits seen_at last_error",
    "event": "id at image_id region what detail actor",
}
#: Table -> values of new columns that can't be empty.
NEW: dict[str, dict[str, Any]] = {
    "replica": {"kept": sa.literal("{}")},
    "task": {"verify": sa.false(), "since": sa.column("created_at")},
    "region": {"failures": sa.literal(0)},
}
ADDED = ("audit", "finding", "tally")


def upgrade() -> None:
    """In steps that can be taken again: MySQL and MariaDB don't roll back what makes tables.

    Old tables go when all are copied, and copies when all new tables are filled.
    """
    tables = set(sa.inspect(op.get_bind()).get_table_names())
    copies = {name: f"{name}_0001" for name in OLD}
    if ADDED[0] not in tables or tables.issuperset(copies.values()):
        for name, copy in copies.items():
            if copy not in tables:
                op.execute(f"CREATE TABLE {copy} AS SELECT * FROM {name}")  # noqa: S608
        for name in (*OLD, *ADDED):
            op.execute(f"DROP TABLE IF EXISTS {name}")
        create()
        for name, columns in OLD.items():
            refill(name, columns.split())
    for copy in copies.values():
        op.execute(f"DROP TABLE IF EXISTS {copy}")


def refill(name: str, columns: list[str]) -> None:
    """Put the rows of the old table into the new one."""
    connection = op.get_bind()
    old = sa.table(f"{name}_0001", *(sa.column(column) for column in columns))
    new = sa.table(
        name,
        *(sa.column(column) for column in columns),
        *(sa.column(column) for column in NEW.get(name, {})),
    )
    values: dict[str, Any] = {column: old.c[column] for column in columns} | NEW.get(name, {})
    if name == "task":  # in 0001 what waited was ready, too; and 10, 50, 90 were the priorities
        waits = sa.or_(old.c.attempt > 0, old.c.waiting_since.is_not(None))
        later = sa.and_(old.c.state == "ready", waits)
        values["state"] = sa.case((later, "waiting"), else_=old.c.state)
        values["priority"] = sa.case(
            (old.c.priority <= 10, 0), (old.c.priority <= 50, 60), else_=1800
        )
    connection.execute(sa.insert(new).from_select(list(values), sa.select(*values.values())))
    if "id" in columns and connection.dialect.name == "postgresql":
        connection.execute(
            sa.text(
                f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name}"  # noqa: S608
            )
        )


def create() -> None:
    """The tables as of this revision."""
    op.create_table(
        "audit",
        sa.Column("region", sa.String(length=255), nullable=False),
        sa.Column("watched_to", sa.String(length=40), nullable=True),
        sa.Column("strategy", sa.String(length=32), nullable=True),
        sa.Column("marker", ID, nullable=True),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("took", sa.Double(), nullable=True),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("drifted", sa.BigInteger(), nullable=False),
        sa.Column("missing", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("region", name=op.f("pk_audit")),
        **TABLE,
    )
    op.create_table(
        "event",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("image_id", ID, nullable=False),
        sa.Column("region", sa.String(length=255), nullable=False),
        sa.Column("what", sa.String(length=32), nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        **TABLE,
    )
    op.create_index("ix_event_at", "event", ["at"], unique=False)
    op.create_index("ix_event_image_id", "event", ["image_id", "id"], unique=False)
    op.create_table(
        "finding",
        sa.Column("region", sa.String(length=255), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("image_id", ID, nullable=False),
        sa.Column("other_id", ID, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("found_at", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "what IN ('gone', 'corrupt', 'adoptable')", name=op.f("ck_finding_what")
        ),
        sa.PrimaryKeyConstraint("region", "what", "image_id", "other_id", name=op.f("pk_finding")),
        **TABLE,
    )
    op.create_table(
        "image",
        sa.Column("image_id", ID, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("owner", sa.String(length=255), nullable=True),
        sa.Column("status", sa.String(length=30), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("os_hash_value", sa.String(length=128), nullable=True),
        sa.Column("kernel_id", ID, nullable=True),
        sa.Column("ramdisk_id", ID, nullable=True),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("observed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_image")),
        **TABLE,
    )
    op.create_index("ix_image_kernel_id", "image", ["kernel_id"], unique=False)
    op.create_index("ix_image_os_hash_value", "image", ["os_hash_value"], unique=False)
    op.create_index("ix_image_owner", "image", ["owner", "image_id"], unique=False)
    op.create_index("ix_image_ramdisk_id", "image", ["ramdisk_id"], unique=False)
    op.create_table(
        "region",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("url", TEXT, nullable=False),
        sa.Column("home", sa.Boolean(), nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("maintenance", sa.Boolean(), nullable=False),
        sa.Column("labels", TEXT, nullable=False),
        sa.Column("limits", TEXT, nullable=False),
        sa.Column("delete_mode", sa.String(length=16), nullable=True),
        sa.Column("seen_at", sa.Double(), nullable=True),
        sa.Column("last_error", TEXT, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("broken_until", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "delete_mode IN ('mirror', 'deactivate', 'hide', 'keep')",
            name=op.f("ck_region_delete_mode"),
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_region")),
        **TABLE,
    )
    op.create_table(
        "replica",
        sa.Column("image_id", ID, nullable=False),
        sa.Column("region", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("replica_id", ID, nullable=True),
        sa.Column("made", sa.Boolean(), nullable=False),
        sa.Column("observed_generation", sa.Integer(), nullable=False),
        sa.Column("baseline", sa.String(length=64), nullable=True),
        sa.Column("transport", sa.String(length=32), nullable=True),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=True),
        sa.Column("refused", TEXT, nullable=False),
        sa.Column("kept", TEXT, nullable=False),
        sa.Column("last_error", TEXT, nullable=True),
        sa.Column("synced_at", sa.Double(), nullable=True),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'copying', 'waiting', 'in_sync', 'partial', 'conflict', 'failed', 'stalled', 'expiring', 'deleted', 'released')",
            name=op.f("ck_replica_state"),
        ),
        sa.CheckConstraint(
            "made = false OR replica_id IS NOT NULL", name=op.f("ck_replica_made_has_id")
        ),
        sa.PrimaryKeyConstraint("image_id", "region", name=op.f("pk_replica")),
        sa.UniqueConstraint("region", "replica_id", name=op.f("uq_replica_region_replica_id")),
        **TABLE,
    )
    op.create_index("ix_replica_region_state", "replica", ["region", "state"], unique=False)
    op.create_table(
        "tally",
        sa.Column("counter", sa.String(length=32), nullable=False),
        sa.Column("region", sa.String(length=255), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("amount", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("counter", "region", "label", name=op.f("pk_tally")),
        **TABLE,
    )
    op.create_table(
        "task",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("task_key", sa.String(length=300), nullable=False),
        sa.Column("open_key", sa.String(length=300), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("image_id", ID, nullable=False),
        sa.Column("region", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("asked", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("verify", sa.Boolean(), nullable=False),
        sa.Column("decision", sa.String(length=64), nullable=True),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("rank", sa.Double(), sa.Computed("due_at + priority", persisted=True)),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("waiting_since", sa.Double(), nullable=True),
        sa.Column("lease_owner", sa.String(length=255), nullable=True),
        sa.Column("lease_token", ID, nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "(state = 'running') = (lease_token IS NOT NULL)", name=op.f("ck_task_lease")
        ),
        sa.CheckConstraint(
            "(state IN ('done', 'cancelled')) = (open_key IS NULL)", name=op.f("ck_task_open_key")
        ),
        sa.CheckConstraint(
            "kind IN ('image', 'replica', 'watch', 'audit')", name=op.f("ck_task_kind")
        ),
        sa.CheckConstraint(
            "state IN ('ready', 'waiting', 'running', 'failed', 'done', 'cancelled')",
            name=op.f("ck_task_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("open_key", name=op.f("uq_task_open_key")),
        **TABLE,
    )
    op.create_index("ix_task_ended_at", "task", ["ended_at"], unique=False)
    op.create_index("ix_task_image_id", "task", ["image_id"], unique=False)
    op.create_index("ix_task_lease_until", "task", ["lease_until"], unique=False)
    op.create_index("ix_task_state_due_at", "task", ["state", "due_at"], unique=False)
    op.create_index(
        "ix_task_state_region_rank", "task", ["state", "region", "rank", "id"], unique=False
    )
