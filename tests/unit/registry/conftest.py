"""The registry's tests run on SQLite and, where it is installed, on a real PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.database import opened
from registry.identities import Principal
from registry.migrate import migrate
from tests.services.postgres import PostgresServer
from tests.unit.registry.federation import Agent, Federation


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database of either kind, without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with empty tables, to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("registry") / "template.db"
    with opened(f"sqlite:///{path}") as database:
        migrate(database)
    return path


@pytest.fixture(scope="session")
def postgres_registry(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of a PostgreSQL database with tables, which tests empty: creating one takes seconds."""
    with postgres_server.database() as url:
        with opened(url) as database:
            migrate(database)
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database of either kind with empty tables."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_registry"))
    path = tmp_path / "registry.db"
    shutil.copy(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite:///{path}"


@pytest.fixture
def federation(registry_url: str) -> Iterator[Federation]:
    """An empty federation."""
    bench = Federation(registry_url)
    yield bench
    if not bench.database.is_sqlite:
        bench.empty()
    bench.close()


@pytest.fixture
def sqlite_registry(sqlite_template: Path, tmp_path: Path) -> Iterator[Federation]:
    """An empty federation on SQLite, for what only that has."""
    path = tmp_path / "registry.db"
    shutil.copy(sqlite_template, path)
    bench = Federation(f"sqlite:///{path}")
    yield bench
    bench.close()


@pytest.fixture
def ada(federation: Federation) -> Principal:
    """A person."""
    return federation.person("ada")


@pytest.fixture
def bob(federation: Federation) -> Principal:
    """Another person."""
    return federation.person("bob")


@pytest.fixture
def site(federation: Federation, ada: Principal) -> Agent:
    """Ada's running endpoint."""
    return federation.agent(ada)
