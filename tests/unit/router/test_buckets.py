"""Buckets behind locations: one that is away, or whose location is gone, holds up nobody else's work."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from faas.models import Mount, Nothing, SaveLocation
from registry import schema
from registry.database import Transaction
from registry.locations import Registered
from router.buckets import Buckets, InBucket
from tests.services.processes import free_port
from tests.unit.router.callers import Agent, Caller, Federation, task

pytestmark = pytest.mark.anyio


def _back(transaction: Transaction, name: str, url: str) -> None:
    """Give a location a bucket that need not be there, as the route would not."""
    transaction.execute(sa.update(schema.locations).where(schema.locations.c.name == name).values(url=url))


async def test_a_file_of_a_bucket_that_does_not_answer_is_granted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    url = f"s3://bucket/raw?endpoint_url=http://127.0.0.1:{free_port()}"
    file = InBucket("raw:/a.h5", Registered("raw", url, frozenset("*"), frozenset()))
    buckets = Buckets()
    try:
        told = (await buckets.inputs({file}))[file]
    finally:
        await buckets.close()
    assert (told.size_bytes, told.etag, told.name) == (-1, "", "a.h5")
    assert "/bucket/raw/a.h5?" in told.grant.url


async def test_a_location_that_was_removed_spoils_no_lease(service: Federation, ada: Caller) -> None:
    agent: Agent = await service.agent(ada, "with-files", locations={"gone": Mount()})
    wanted = SaveLocation(name="gone", readers=["*"])
    await service.admin.ask("POST", "/v1/locations", wanted, answer=Nothing)
    function_id = await ada.register()
    await service.service.database.write(_back, "gone", "s3://bucket/raw")
    sent = [task(function_id, files=["s3://bucket/raw/a.h5"], target=agent.endpoint_id), task(function_id)]
    assert (await ada.submit(*sent)).accepted == 2
    await service.admin.ask("DELETE", "/v1/locations/gone", answer=Nothing)
    leased = {each.task_id: each for each in (await agent.lease()).tasks}
    assert {each.task_id for each in sent} <= set(leased)
    assert leased[sent[0].task_id].inputs == {}
