# SPDX-License-Identifier: Apache-2.0
"""The tables. Alembic's revisions in ``migrations`` make them; a test holds the two together.

Times are seconds since the epoch by the database's clock. JSON is kept as text: nothing in it is
ever searched for.
"""

from __future__ import annotations

import enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from glancesync.states import (
    DeleteMode,
    FindingKind,
    ItemState,
    PlanState,
    ReplicaState,
    StepState,
    TaskKind,
    TaskState,
)

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Words(sa.TypeDecorator[str]):
    """Text from anywhere: what no database can hold, NUL and lone surrogates, is replaced."""

    impl = sa.String
    cache_ok = True

    def __init__(self, kind: sa.types.TypeEngine[str]) -> None:
        super().__init__()
        self.kind = kind

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return dialect.type_descriptor(self.kind.dialect_impl(dialect))

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()


BigKey = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Time: sa.Double[float] = sa.Double()
# Ordered byte by byte, as Python does: the reconciler merges by it.
Id = Words(sa.String(36).with_variant(sa.String(36, collation="C"), "postgresql"))
Name = Words(sa.String(255))
ShortName = Words(sa.String(64))
Key = Words(sa.String(300))  # a kind, an id and a name
Text = Words(sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql"))  # its TEXT ends at 64 KiB


def _in(column: str, values: type[enum.StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(v.value) for v in values)})"


def _table(name: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    """A table whose text MySQL and MariaDB, too, compare byte by byte.

    And in which SQLite, too, never gives a number twice.
    """
    return sa.Table(
        name,
        metadata,
        *parts,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        sqlite_autoincrement=True,
    )


# Stays empty: that it is there tells a journal from the database of another program.
mark = _table("journal_mark", sa.Column("mark", sa.String(32), primary_key=True))

image = _table(
    "image",
    sa.Column("image_id", Id, primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("present", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("name", Name),
    sa.Column("owner", Name),
    sa.Column("status", sa.String(30), nullable=False),
    sa.Column("size", sa.BigInteger),
    sa.Column("os_hash_value", sa.String(128)),
    sa.Column("kernel_id", Id),
    sa.Column("ramdisk_id", Id),
    sa.Column("changed_at", Time, nullable=False),
    sa.Column("observed_at", Time, nullable=False),
    sa.Column("last_error", Text),
    sa.Column("actor", Text),
    sa.Column("origin", Name),
    sa.Column("origin_id", Id),
    sa.Index("ix_image_owner", "owner", "image_id"),
    sa.Index("ix_image_os_hash_value", "os_hash_value"),
    sa.Index("ix_image_kernel_id", "kernel_id"),
    sa.Index("ix_image_ramdisk_id", "ramdisk_id"),
)

replica = _table(
    "replica",
    sa.Column("image_id", Id, primary_key=True),
    sa.Column("region", Name, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("replica_id", Id),
    sa.Column("made", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("observed_generation", sa.Integer, nullable=False),
    sa.Column("baseline", sa.String(64)),
    sa.Column("transport", sa.String(32)),
    sa.Column("source", Name),
    sa.Column("copying_since", Time),
    sa.Column("bytes_done", sa.BigInteger, nullable=False),
    sa.Column("bytes_total", sa.BigInteger),
    sa.Column("refused", Text, nullable=False),
    sa.Column("kept", Text, nullable=False),
    sa.Column("last_error", Text),
    sa.Column("synced_at", Time),
    sa.Column("verified_at", Time),
    sa.Column("expires_at", Time),
    sa.Column("delete_mode", sa.String(16)),
    sa.Column("updated_at", Time, nullable=False),
    sa.UniqueConstraint("region", "replica_id"),
    sa.CheckConstraint(_in("state", ReplicaState), name="state"),
    sa.CheckConstraint("made = false OR replica_id IS NOT NULL", name="made_has_id"),
    sa.Index("ix_replica_region_state", "region", "state"),
    sa.Index("ix_replica_source_copying_since", "source", "copying_since"),
)

pin = _table(
    "pin",
    sa.Column("image_id", Id, primary_key=True),
    sa.Column("region", Name, primary_key=True),
    sa.Column("cause", Text, nullable=False),
    sa.Column("actor", Text, nullable=False),
    sa.Column("pinned_at", Time, nullable=False),
    sa.Column("used_at", Time, nullable=False),
)

task = _table(
    "task",
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("task_key", Key, nullable=False),
    # Equals task_key while the task is open and is NULL after: unique among open tasks on
    # every database, without partial indexes.
    sa.Column("open_key", Key, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("image_id", Id, nullable=False),
    sa.Column("region", Name, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("asked", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("force", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("verify", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column(
        "removed", sa.Boolean(create_constraint=False), nullable=False, server_default=sa.false()
    ),
    sa.Column("decision", sa.String(64)),
    sa.Column("due_at", Time, nullable=False),
    # What claims are ordered by: see model.Priority.
    sa.Column("rank", Time, sa.Computed("due_at + priority", persisted=True)),
    sa.Column("since", Time, nullable=False),
    sa.Column("waiting_since", Time),
    sa.Column("lease_owner", Name),
    sa.Column("lease_token", Id),
    sa.Column("lease_until", Time),
    sa.Column("actor", Text, nullable=False),
    sa.Column("reason", Text),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("updated_at", Time, nullable=False),
    sa.Column("ended_at", Time),
    sa.CheckConstraint(_in("state", TaskState), name="state"),
    sa.CheckConstraint(_in("kind", TaskKind), name="kind"),
    sa.CheckConstraint("(state IN ('done', 'cancelled')) = (open_key IS NULL)", name="open_key"),
    sa.CheckConstraint("(state = 'running') = (lease_token IS NOT NULL)", name="lease"),
    sa.Index("ix_task_state_region_rank", "state", "region", "rank", "id"),
    sa.Index("ix_task_state_due_at", "state", "due_at"),
    sa.Index("ix_task_image_id", "image_id"),
    sa.Index("ix_task_lease_until", "lease_until"),
    sa.Index("ix_task_ended_at", "ended_at"),
)

binding = _table(
    "binding",
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("project_id", Name, nullable=False),
    sa.Column("group_name", ShortName, nullable=False),
    sa.Column("region", Name, nullable=False),
    # True while it is active and NULL after: so one of a project and group is at most, on every
    # database, without partial indexes.
    sa.Column("active", sa.Boolean(create_constraint=False)),
    sa.Column("released", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("cause", Text, nullable=False),
    sa.Column("actor", Text, nullable=False),
    sa.Column("began_at", Time, nullable=False),
    sa.Column("ended_at", Time),
    sa.Column("end_cause", Text),
    sa.Column("ended_by", Text),
    sa.UniqueConstraint("project_id", "group_name", "active"),
    sa.CheckConstraint("active IS NULL OR active = true", name="active"),
    sa.CheckConstraint("(active IS NULL) = (ended_at IS NOT NULL)", name="ended"),
    sa.CheckConstraint("active IS NULL OR released = false", name="released"),
    sa.Index("ix_binding_region_active", "region", "active"),
)

region = _table(
    "region",
    sa.Column("name", Name, primary_key=True),
    sa.Column("url", Text, nullable=False),
    sa.Column("home", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("present", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("enabled", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("maintenance", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("labels", Text, nullable=False),
    sa.Column("limits", Text, nullable=False),
    sa.Column("delete_mode", sa.String(16)),
    sa.Column("capacity", Text),
    sa.Column("capacity_at", Time),
    sa.Column("found_at", Time),
    sa.Column("seen_at", Time),
    sa.Column("last_error", Text),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("failing_since", Time),
    sa.Column("broken_until", Time),
    sa.CheckConstraint(_in("delete_mode", DeleteMode), name="delete_mode"),
)

audit = _table(
    "audit",
    sa.Column("region", Name, primary_key=True),
    sa.Column("watched_to", sa.String(40)),
    sa.Column("strategy", sa.String(32)),
    sa.Column("marker", Id),
    sa.Column("started_at", Time),
    sa.Column("finished_at", Time),
    sa.Column("took", sa.Double),
    sa.Column("seen", sa.BigInteger, nullable=False),
    sa.Column("drifted", sa.BigInteger, nullable=False),
    sa.Column("missing", sa.BigInteger, nullable=False),
    sa.Column("held", sa.BigInteger, nullable=False),
)

finding = _table(
    "finding",
    sa.Column("region", Name, primary_key=True),
    sa.Column("what", sa.String(16), primary_key=True),
    sa.Column("image_id", Id, primary_key=True),
    sa.Column("other_id", Id, primary_key=True),
    sa.Column("detail", Text, nullable=False),
    sa.Column("found_at", Time, nullable=False),
    sa.CheckConstraint(_in("what", FindingKind), name="what"),
)

tally = _table(
    "tally",
    sa.Column("counter", sa.String(32), primary_key=True),
    sa.Column("region", Name, primary_key=True),
    sa.Column("label", sa.String(64), primary_key=True),
    sa.Column("amount", sa.Double, nullable=False),
)

plan = _table(
    "plan",
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("strategy", sa.String(32), nullable=False),
    sa.Column("image_id", Id),
    sa.Column("regions", Text, nullable=False),
    sa.Column("unread", Text, nullable=False),
    sa.Column("reason", Text),
    sa.Column("actor", Text, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("ready_at", Time),
    sa.Column("applied_at", Time),
    sa.Column("applied_by", Text),
    sa.CheckConstraint(_in("state", PlanState), name="state"),
    sa.Index("ix_plan_created_at", "created_at"),
)

step = _table(
    "step",
    sa.Column("plan_id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("region", Name, primary_key=True),
    sa.Column("image_id", Id, primary_key=True),
    sa.Column("name", Name),
    sa.Column("actions", Text, nullable=False),
    sa.Column("why", Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("adoptable", Text, nullable=False),
    sa.Column("home", sa.String(64), nullable=False),
    sa.Column("observed", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("result", Text),
    sa.Column("looked_at", Time, nullable=False),
    sa.CheckConstraint(_in("state", StepState), name="state"),
)

job = _table(
    "job",
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("project_id", Name),
    sa.Column("everything", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("wishes", Text, nullable=False),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("actor", Text, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("cancelled_at", Time),
    sa.Index("ix_job_project_id", "project_id"),
    sa.Index("ix_job_created_at", "created_at"),
)

item = _table(
    "item",
    sa.Column("job_id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("resource", Name, nullable=False),
    sa.Column("source", Name, nullable=False),
    sa.Column("region", Name, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("source_id", Id),
    sa.Column("image_id", Id),
    sa.Column("name", Name),
    sa.Column("size", sa.BigInteger),
    sa.Column("force", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("replace", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("needs", Text, nullable=False),
    sa.Column("part", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("pinned", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("touched", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("result", Text),
    sa.Column("ended_at", Time),
    sa.CheckConstraint(_in("state", ItemState), name="state"),
    sa.Index("ix_item_image_id", "image_id", "region"),
    sa.Index("ix_item_job_id_state", "job_id", "state"),
    sa.Index("ix_item_job_id_source_id", "job_id", "source_id"),
)

node = _table(
    "node",
    sa.Column("name", Name, primary_key=True),
    sa.Column("settings", Text, nullable=False),
    sa.Column("seen_at", Time, nullable=False),
)

event = _table(
    "event",
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("at", Time, nullable=False),
    sa.Column("image_id", Id, nullable=False),
    sa.Column("region", Name, nullable=False),
    sa.Column("what", sa.String(32), nullable=False),
    sa.Column("detail", Text, nullable=False),
    sa.Column("actor", Text, nullable=False),
    sa.Index("ix_event_image_id", "image_id", "id"),
    sa.Index("ix_event_at", "at"),
)
