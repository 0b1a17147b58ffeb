"""The housekeeping as people see it: results stay for all who may read them, then they go, bytes and all."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from faas.models import TaskResult
from registry import objects
from router.janitor import STRAY_S, Janitor
from router.store.directory import DirectoryStore
from tests.unit.router.callers import federation, task

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_settings")]

_HOUR_S = 3600.0


class Clock:
    """The database's clock, as the test sets it; of the objects' own times the store's clock tells."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_790_000_000.0
        monkeypatch.setattr("registry.database.time.time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_results_stay_for_every_client_of_their_owner_until_their_time_is_over(
    tmp_path: Path, clock: Clock
) -> None:
    async with federation(tmp_path, retention_days=2) as service:
        ada, bob = await service.person("ada"), await service.person("bob")
        agent = await service.agent(ada, "lab")
        submission = task(await ada.register())
        await ada.submit(submission)
        (leased,) = (await agent.lease()).tasks
        await agent.succeed(leased, b"11\n42", hint=False)
        path = f"/v1/tasks/{submission.task_id}/result"

        async def read(caller_name: str) -> bytes:
            caller = await service.token(caller_name)
            told = await caller.ask("GET", path, answer=TaskResult)
            assert told.grant is not None
            assert told.location is not None
            return await caller.fetch(told.grant, told.location)

        clock.now += 47 * _HOUR_S
        await _all_of_it(service.service.janitor, clock)
        assert await asyncio.gather(*(read("ada") for _ in range(3))) == [b"11\n42"] * 3
        assert (await bob.refusal("GET", path)).status == 404
        clock.now += 2 * _HOUR_S
        await _all_of_it(service.service.janitor, clock)
        problem = await ada.refusal("GET", path)
        assert problem.status == 404
        assert "kept for 2 days after the end" in problem.fix
        assert [found.key async for found in service.service.store.list()] == []


async def test_bytes_that_no_row_knows_go_and_others_stay(tmp_path: Path) -> None:
    async with federation(tmp_path) as service:
        ada = await service.person("ada")
        store = service.service.store
        assert isinstance(store, DirectoryStore)
        known = await service.service.database.write(objects.create, ada.identity_id, "segment")
        day = known.key.split("/")[2]
        old = known.key.replace(day, "2020-01-01")
        stray, fresh, foreign = f"{old}.stray", f"{known.key}.fresh", f"segments/elsewhere/2020-01-01/{known.object_id}"
        await service.service.database.write(
            lambda transaction: transaction.connection.exec_driver_sql("UPDATE objects SET key = ?", (old,))
        )
        for key in (old, stray, fresh, foreign, "raw/scan12.h5"):
            await store.write(key, b"x")
            before = (store.root / key).stat().st_mtime - 2 * STRAY_S
            os.utime(store.root / key, (before, before))
        await store.write(f"{old}.new", b"x")
        await service.service.janitor.find_strays()
        left = {found.key async for found in store.list()}
        assert left == {old, fresh, foreign, "raw/scan12.h5", f"{old}.new"}


async def test_a_pass_over_the_store_goes_on_where_the_last_one_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.janitor.LISTED", 2)
    monkeypatch.setattr("router.janitor.STRAY_S", -1e9)
    async with federation(tmp_path) as service:
        ada = await service.person("ada")
        store, janitor = service.service.store, service.service.janitor
        for number in range(5):
            await store.write(f"logs/{ada.identity_id}/2020-01-01/{number}", b"x")
        janitor = Janitor(service.service.database, store, lease_timeout_s=15, retention_s=1e9)
        for left in (3, 1, 0, 0):
            await janitor.find_strays()
            assert len([found async for found in store.list()]) == left


async def _all_of_it(janitor: Janitor, clock: Clock) -> None:
    """Every duty once; twice, for what the first round frees."""
    for _ in range(2):
        clock.now += 1
        await janitor.let_go()
        await janitor.delete_objects()
