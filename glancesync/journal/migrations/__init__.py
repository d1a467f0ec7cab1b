# SPDX-License-Identifier: Apache-2.0
"""Upgrades of the journal's database, made by Alembic."""

from __future__ import annotations

import pathlib

import sqlalchemy as sa
from alembic import command
from alembic.config import Config


def upgrade(connection: sa.Connection) -> None:
    """Bring a database to this program's revision; the caller commits."""
    config = alembic()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def alembic() -> Config:
    """What Alembic must know to find the revisions."""
    config = Config()
    directory = str(pathlib.Path(__file__).parent)
    config.set_main_option("script_location", directory.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
