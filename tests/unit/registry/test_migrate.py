"""Migration: the migrations make exactly the tables of the schema, once, and refuse a newer database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic import autogenerate
from alembic.runtime.migration import MigrationContext

from faas.errors import SchemaMismatch
from registry import schema
from registry.database import Database, opened
from registry.migrate import migrate


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database without tables."""
    with opened(database_url) as made:
        yield made


def _described(database: Database) -> set[tuple[str, ...]]:
    """Tables and indexes as the database itself tells them, with conditions of partial indexes."""
    told = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    if not database.is_sqlite:
        told = """
            SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
            UNION ALL
            SELECT table_name, column_name, concat_ws(' ', data_type, character_maximum_length, is_nullable,
                   column_default) FROM information_schema.columns WHERE table_schema = 'public'
            UNION ALL
            SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
        """
    with database.engine.begin() as connection:
        rows = connection.exec_driver_sql(told).all()
    return {
        tuple(" ".join(str(value).replace("VARCHAR", "varchar").split()) for value in row)
        for row in rows
        if "alembic_version" not in " ".join(map(str, row))
    }


def test_alembic_finds_no_difference_to_the_schema(database: Database) -> None:
    migrate(database)
    with database.engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert autogenerate.compare_metadata(context, schema.metadata) == []


def test_a_missing_column_would_be_found(database: Database) -> None:
    migrate(database)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE tasks DROP COLUMN message")
        found = autogenerate.compare_metadata(MigrationContext.configure(connection), schema.metadata)
    assert len(found) == 1


def test_the_database_tells_the_same_of_both(database: Database) -> None:
    schema.metadata.create_all(database.engine)
    made = _described(database)
    schema.metadata.drop_all(database.engine)
    assert _described(database) == set()
    migrate(database)
    migrated = _described(database)
    assert len(migrated) > 20
    if database.is_sqlite:  # the same statements, but for the order of constraints and the spelling
        migrated, made = {row[:2] for row in migrated}, {row[:2] for row in made}
    assert migrated == made


def test_partial_indexes_keep_their_conditions(database: Database) -> None:
    migrate(database)
    text = "\n".join(" ".join(row) for row in _described(database)).lower()
    for name in ("ix_tasks_queue", "ix_attempts_live", "ix_objects_unreferenced", "ix_sessions_unsettled"):
        [line] = [line for line in text.splitlines() if f"index {name} " in line]
        assert " where " in line


def test_migrating_again_changes_nothing(database: Database) -> None:
    migrate(database)
    before = _described(database)
    migrate(database)
    assert _described(database) == before


def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    migrate(database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch) as error:
        migrate(database)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert "9999" in message
    assert "Upgrade faas-federation" in message
    if database.url.password:
        assert str(database.url.password) not in message
