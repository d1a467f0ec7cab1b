# SPDX-License-Identifier: Apache-2.0
"""Steps of upgrades that can be taken again: an upgrade that broke off is made anew.

MySQL and MariaDB don't roll back what changes tables.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

ID = sa.String(length=36).with_variant(sa.String(length=36, collation="C"), "postgresql")
TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPTIONS: dict[str, Any] = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mysql_engine": "InnoDB",
    "sqlite_autoincrement": True,
}


def table(name: str, *parts: sa.schema.SchemaItem) -> None:
    """Make a table; one that is there is what an upgrade that broke off had made."""
    op.execute(f"DROP TABLE IF EXISTS {name}")
    op.create_table(name, *parts, **_OPTIONS)


def add(name: str, column: sa.Column[Any]) -> None:
    """Add a column that an upgrade that broke off may have added."""
    there = {one["name"] for one in sa.inspect(op.get_bind()).get_columns(name)}
    if column.name not in there:
        op.add_column(name, column)


def check(name: str, column: str, values: tuple[str, ...]) -> None:
    """Let a column have other values than before."""
    bind, constraint = op.get_bind(), f"ck_{name}_{column}"
    found = sa.inspect(bind).get_check_constraints(name)
    before = [one["sqltext"] for one in found if one["name"] == constraint]
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
            {"before": before[0], "now": now, "name": name},
        )
        op.execute(f"PRAGMA schema_version = {version + 1}")
        op.execute("PRAGMA writable_schema = OFF")
        return
    if before:
        op.drop_constraint(op.f(constraint), name, type_="check")
    op.create_check_constraint(op.f(constraint), name, now)
