"""The fixtures: one server of each kind for a whole test run, started by the first test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """PostgreSQL, fast and not crash-proof; a test that kills it makes its own ``PostgresServer(durable=True)``."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """SQLAlchemy URL of an empty database, dropped after the test."""
    with postgres_server.database() as url:
        yield url
