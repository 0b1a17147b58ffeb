"""Reports: what is delivered, in which portions, and what happens when store or service say no."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from endpoints.configuration import Retry
from endpoints.configuration import Spool as SpoolSettings
from endpoints.reporter import Reporter
from endpoints.segments import GrantStock
from endpoints.service import Service
from endpoints.spool import Batch, Spool
from faas.models import HINT_BYTES, INLINE_SEGMENT_BYTES, AttemptKey, Outcome
from tests.unit.endpoints.fake_service import OWNER_ID, FakeService

pytestmark = pytest.mark.anyio


def batch(sequence: int, result: bytes = b"result", count: int = 1) -> Batch:
    made = Batch(owner_id=OWNER_ID)
    for index in range(count):
        made.add(Outcome(attempt=AttemptKey(sequence + index, 1), state="succeeded"), result)
    return made


@asynccontextmanager
async def reporting(
    fake: FakeService, directory: Path, settled: list[AttemptKey] | None = None
) -> AsyncIterator[Reporter]:
    service = Service(fake.link(), Retry(first_s=0.01, longest_s=0.05))
    service.session_id = "session-1"
    reporter = Reporter(
        service,
        GrantStock(),
        Spool(directory),
        SpoolSettings(),
        settled=(settled if settled is not None else []).extend,
    )
    run = asyncio.ensure_future(reporter.run())
    try:
        yield reporter
    finally:
        run.cancel()
        await asyncio.wait({run})
        await service.close()


async def test_what_comes_during_a_report_goes_together_with_the_next(tmp_path: Path) -> None:
    fake = FakeService()
    settled: list[AttemptKey] = []
    async with reporting(fake, tmp_path, settled) as reporter:
        for sequence in range(50):
            reporter.add(batch(sequence))
        await asyncio.wait_for(reporter.delivered(), 30)
    outcomes = [len(report.outcomes) for report in fake.reports if report.outcomes]
    assert outcomes == [50]
    assert len(settled) == 50
    assert len({fake.ended(key).location.object_id for key in settled}) == 1  # type: ignore[union-attr]
    assert not list(tmp_path.iterdir())


async def test_small_segments_go_with_the_report_where_they_may(tmp_path: Path) -> None:
    fake = FakeService()
    fake.inline_grants = True
    async with reporting(fake, tmp_path) as reporter:
        reporter.add(batch(1, b"small", count=3))
        await asyncio.wait_for(reporter.delivered(), 30)
        reporter.add(batch(4, b"x" * (INLINE_SEGMENT_BYTES + 1)))
        await asyncio.wait_for(reporter.delivered(), 30)
    assert [fake.result(AttemptKey(number, 1)) for number in (1, 2, 3)] == [b"small"] * 3
    assert len(fake.result(AttemptKey(4, 1)) or b"") == INLINE_SEGMENT_BYTES + 1
    assert [method for method, _ in fake.requests].count("PUT") == 1, "only the large one travelled by itself"
    first = next(report for report in fake.reports if report.outcomes)
    assert list(first.segments.values()) == [b"small" * 3]
    assert all(outcome.hint is None for outcome in first.outcomes), "the bytes are there once"


async def test_an_expired_grant_is_replaced(tmp_path: Path) -> None:
    fake = FakeService()
    fake.refused_puts = 2
    async with reporting(fake, tmp_path) as reporter:
        reporter.add(batch(1))
        await asyncio.wait_for(reporter.delivered(), 30)
    assert fake.result(AttemptKey(1, 1)) == b"result"
    assert fake.grants_given >= 3


async def test_a_refused_report_is_set_aside_and_does_not_block_the_next(tmp_path: Path) -> None:
    fake = FakeService()
    fake.refuse_outcomes = 1
    settled: list[AttemptKey] = []
    async with reporting(fake, tmp_path, settled) as reporter:
        reporter.add(batch(1))
        await asyncio.wait_for(reporter.delivered(), 30)
        reporter.add(batch(2))
        await asyncio.wait_for(reporter.delivered(), 30)
    assert fake.ended(AttemptKey(1, 1)) is None
    assert fake.ended(AttemptKey(2, 1)) is not None
    assert [path.suffix for path in tmp_path.iterdir()] == [".refused"]
    assert settled == [AttemptKey(1, 1), AttemptKey(2, 1)]  # neither is held any more


async def test_only_small_results_are_repeated_as_hints_and_not_too_many(tmp_path: Path) -> None:
    fake = FakeService()
    async with reporting(fake, tmp_path) as reporter:
        reporter.add(batch(1, b"x" * (HINT_BYTES + 1)))
        reporter.add(batch(2, b"x" * HINT_BYTES, count=400))
        await asyncio.wait_for(reporter.delivered(), 60)
    report = next(report for report in fake.reports if report.outcomes)
    hints = [outcome.hint for outcome in report.outcomes if outcome.hint is not None]
    assert report.outcomes[0].hint is None
    assert sum(map(len, hints)) <= 8 * 1024 * 1024
    assert len(hints) >= 200


async def test_a_full_disk_loses_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Spool, batch: Batch) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "save", full)
    fake = FakeService()
    async with reporting(fake, tmp_path) as reporter:
        reporter.add(batch(1))
        await asyncio.wait_for(reporter.delivered(), 30)
    assert fake.result(AttemptKey(1, 1)) == b"result"


async def test_leftovers_go_first_and_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for sequence in (1, 2):
        spool.save(batch(sequence))
    fake = FakeService()
    async with reporting(fake, tmp_path) as reporter:
        assert reporter.add_leftovers() == 2
        reporter.add(batch(3))
        await asyncio.wait_for(reporter.delivered(), 30)
    order = [outcome.attempt.sequence for report in fake.reports for outcome in report.outcomes]
    assert order == [1, 2, 3]
