"""The fixtures: one server of each kind for a whole test run, started by the first test that asks for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.services.ceph import CephGateway
from tests.services.moto_server import MotoServer
from tests.services.postgres import PostgresServer


def pytest_configure() -> None:
    """Let SIGTERM end the run as Ctrl-C does, so that a cancelled run stops its servers too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """Tests marked ``anyio`` run on asyncio alone, as the service does."""
    return "asyncio"


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


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    """Moto's S3 mock; each test makes its own bucket in ``moto_server.account``."""
    with MotoServer() as server:
        yield server


@pytest.fixture(scope="session")
def ceph_gateway() -> Iterator[CephGateway]:
    """Ceph's S3 server; each test makes its own bucket in ``ceph_gateway.account``."""
    with CephGateway() as gateway:
        yield gateway
