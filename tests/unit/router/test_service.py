"""The assembled service: what it refuses to start with, and its housekeeping."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from faas.errors import ConfigurationError
from faas.models import CreateObject, Task, Upload
from registry import objects, retention, sessions
from registry.database import Transaction
from router.service import Service
from router.settings import ServiceSettings
from tests.unit.router.callers import PATIENCE_S, Agent, Caller, Federation, federation, task

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_settings")]


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://faas:hunter2@host/faas", "postgresql://faas:hunter2@host:port/faas", "sqlite+x://"]
)
def test_a_database_url_that_is_not_understood(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="FAAS_DATABASE_URL") as refused:
        Service.assemble(ServiceSettings(data_directory=tmp_path, database_url=url))
    assert "hunter2" not in str(refused.value)


def test_any_postgresql_url_means_the_driver_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used") as refused:
        Service.assemble(ServiceSettings(data_directory=tmp_path, database_url="postgresql://u:hunter2@127.0.0.1:1/x"))
    assert "hunter2" not in str(refused.value)


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").write_bytes(b"this is a text, not a database" * 100)
    with pytest.raises(ConfigurationError, match=r"registry\.sqlite"):
        Service.assemble(ServiceSettings(data_directory=tmp_path))


async def test_silent_sessions_expire_and_their_tasks_go_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("registry.database.time.time", lambda: now)
    async with federation(tmp_path) as service:
        ada = await service.person("ada")
        silent, alive = await service.agent(ada, "silent"), await service.agent(ada, "alive")
        await ada.submit(task(await ada.register()))
        (leased,) = (await silent.lease()).tasks
        for _ in range(6):  # four beats of silence, in steps too small to be a pause of the service
            now += 4
            await alive.beat()
            await service.service.database.write(sessions.tick, service.service.settings.lease_timeout_s)
        (again,) = (await alive.lease()).tasks
        assert again.task_id == leased.task_id
        assert again.attempt.number == 2
        request = {"number": 9, "workers": 1, "idle_workers": 1, "wait_s": 0}
        problem = await silent.caller.refusal("POST", f"/v1/sessions/{silent.session_id}/lease", request)
        assert problem.status == 409
        shown = await ada.ask("GET", f"/v1/tasks/{leased.task_id}", answer=Task)
        assert shown.attempts[0].state == "released"


async def test_a_lease_wakes_when_a_session_expires(
    service: Federation, ada: Caller, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The housekeeping's changes are told like any others."""
    monkeypatch.setattr("router.wakeups.RECHECK_S", 10_000.0)
    await ada.submit(task(await ada.register()))
    await agent.lease()
    other = await service.agent(ada, "other")
    poll = asyncio.create_task(other.lease(wait_s=25))
    await service.service.database.write(sessions.close, agent.endpoint_id, agent.session_id)
    assert len((await asyncio.wait_for(poll, PATIENCE_S)).tasks) == 1


async def test_housekeeping_outlives_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("router.janitor.TICK_S", 0.001)
    again = asyncio.Event()
    loop = asyncio.get_running_loop()
    beats: list[int] = []

    def broken(transaction: Transaction, lease_timeout_s: float) -> list[str]:
        beats.append(1)
        if len(beats) == 1:
            raise ZeroDivisionError
        loop.call_soon_threadsafe(again.set)
        return []

    monkeypatch.setattr(sessions, "tick", broken)
    async with federation(tmp_path):
        await asyncio.wait_for(again.wait(), PATIENCE_S)
    assert "could not look for silent sessions" in caplog.text


async def test_objects_nothing_refers_to_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.janitor.SWEEP_S", 0.001)
    monkeypatch.setattr(objects, "UNREFERENCED_S", -1.0)
    forgotten = asyncio.Event()
    forget: Any = retention.forget
    loop = asyncio.get_running_loop()

    def watched(transaction: Transaction, object_ids: list[str]) -> None:
        forget(transaction, object_ids)
        loop.call_soon_threadsafe(forgotten.set)

    monkeypatch.setattr(retention, "forget", watched)
    async with federation(tmp_path) as service:
        ada = await service.person("ada")
        await ada.ask("POST", "/v1/objects", CreateObject(size_bytes=3), answer=Upload)
        await asyncio.wait_for(forgotten.wait(), PATIENCE_S)
        assert [found.key async for found in service.service.store.list()] == []
