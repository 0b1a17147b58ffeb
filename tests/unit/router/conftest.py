"""Fixtures of the service's tests: a service in this process, on SQLite or on both databases."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.unit.router.callers import Agent, Caller, Callers, Federation, federation


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the tests of a module, so that they can share a service."""
    return "asyncio"


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the settings of whoever runs the tests."""
    forget_settings(monkeypatch)


def forget_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FAAS_") and name != "FAAS_TESTS_REQUIRE_ALL":
            monkeypatch.delenv(name)


@pytest.fixture
async def service(tmp_path: Path, no_settings: None, anyio_backend: str) -> AsyncIterator[Federation]:
    """A service on SQLite with a directory store."""
    async with federation(tmp_path / "data") as running:
        yield running


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
async def any_service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, anyio_backend: str
) -> AsyncIterator[Federation]:
    """One for all tests of a module, on SQLite and then on PostgreSQL, which is stricter."""
    directory = tmp_path_factory.mktemp("service") / "data"
    with ExitStack() as stack:
        forget_settings(stack.enter_context(pytest.MonkeyPatch.context()))
        settings = {}
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            settings["database_url"] = stack.enter_context(server.database())
        async with federation(directory, **settings) as running:
            yield running


@pytest.fixture
async def ada(service: Federation) -> Caller:
    """Somebody with functions and endpoints."""
    return await service.stranger("ada")


@pytest.fixture
async def bob(service: Federation) -> Caller:
    """Somebody else."""
    return await service.stranger("bob")


@pytest.fixture
async def agent(service: Federation, ada: Caller) -> Agent:
    """The agent of ada's endpoint, with a session."""
    return await service.agent(ada, "beamline")


@pytest.fixture
async def other_agent(service: Federation, ada: Caller) -> Agent:
    """The agent of another endpoint of ada's, which has a GPU."""
    return await service.agent(ada, "cluster", labels={"gpu": "yes"})


@pytest.fixture
async def callers(any_service: Federation, monkeypatch: pytest.MonkeyPatch) -> Callers:
    """Somebody of every scope, on both databases, whose polls are cut short."""
    for name in ("router.dispatch.MAX_WAIT_S", "router.api.results.MAX_WAIT_S"):
        monkeypatch.setattr(name, 0.0)
    monkeypatch.setattr("router.api.sessions._MAX_HEARTBEAT_WAIT_S", 0.0)
    ada = await any_service.stranger("ada")
    return Callers(any_service, ada, await any_service.agent(ada, "beamline"))
