"""Brings a database to this version's tables, or says why it cannot."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from faas.errors import SchemaMismatch

from .database import Database

_ADVISORY_LOCK = 0x66616173
"""PostgreSQL: one replica migrates, the others wait for it."""


def alembic_config() -> Config:
    """Alembic's configuration: the migrations beside this file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def migrate(database: Database) -> None:
    """Create or upgrade the tables.

    Raises:
        SchemaMismatch: the database was written by a newer version.
    """
    config = alembic_config()
    scripts = ScriptDirectory.from_config(config)
    with database.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        current = MigrationContext.configure(connection).get_current_revision()
        known = {script.revision for script in scripts.walk_revisions()}
        if current is not None and current not in known:
            shown = database.url.render_as_string(hide_password=True)
            raise SchemaMismatch(
                f"The database {shown} has schema {current}, which this version does not know: a newer one wrote it. "
                "Upgrade faas-federation, or name another data directory or database."
            )
        if current != scripts.get_current_head():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
