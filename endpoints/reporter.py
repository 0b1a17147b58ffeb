"""Delivers outcomes: on disk at once, results into segments, then one report for all that finished meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from endpoints.configuration import Spool as SpoolSettings
from endpoints.segments import GrantStock, Upload, uploads
from endpoints.service import Service
from endpoints.spool import Batch, Spool
from faas.errors import Conflict, NotAuthenticated, NotFound, PermissionDenied, RequestRefused
from faas.models import (
    HINT_BYTES,
    INLINE_SEGMENT_BYTES,
    PART_BYTES,
    AttemptKey,
    Grant,
    Outcome,
    ReportRequest,
    ReportResponse,
)

logger = logging.getLogger(__name__)

_HINTS_BYTES = 8 * 1024 * 1024
_IN_MEMORY_BYTES = 64 * 1024 * 1024
_UPLOADS_AT_ONCE = 4
_GRANT_TRIES = 3
_NO_GRANT_PAUSE_S = 1.0


class Reporter:
    """The way of outcomes to the service, one report at a time; what comes meanwhile goes with the next.

    Args:
        service: to report to.
        stock: segment grants.
        spool: keeps outcomes until they are acknowledged.
        settings: sizes.
        settled: called with the attempts the service has acknowledged.
        recalled: called with attempts the service wants stopped.
    """

    def __init__(
        self,
        service: Service,
        stock: GrantStock,
        spool: Spool,
        settings: SpoolSettings,
        *,
        settled: Callable[[list[AttemptKey]], None] = lambda _: None,
        recalled: Callable[[list[AttemptKey]], None] = lambda _: None,
    ) -> None:
        self._service = service
        self._stock = stock
        self._spool = spool
        self._settings = settings
        self._settled = settled
        self._recalled = recalled
        self._waiting: deque[tuple[Path | None, Batch | None]] = deque()
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        self._all_delivered = asyncio.Event()
        self._all_delivered.set()
        self._uploading = asyncio.Semaphore(_UPLOADS_AT_ONCE)

    def add(self, batch: Batch) -> None:
        """Put outcomes on disk and in line; when this returns they survive a ``kill -9``."""
        path: Path | None = None
        try:
            path = self._spool.save(batch)
        except OSError as error:  # a full disk must not lose what is still in memory
            logger.error("cannot spool %d outcome(s), keeping them in memory: %s", len(batch.outcomes), error)
        size = batch.size_bytes
        if path is not None and self._waiting_bytes + size > _IN_MEMORY_BYTES:
            self._waiting.append((path, None))  # the service has been away for long: read it again later
        else:
            self._waiting.append((path, batch))
            self._waiting_bytes += size
        self._all_delivered.clear()
        self._news.set()

    def add_leftovers(self) -> int:
        """Put in line what earlier sessions could not deliver.

        Returns:
            How many batches there are.
        """
        paths = self._spool.paths()
        self._waiting.extendleft((path, None) for path in reversed(paths))
        if paths:
            self._all_delivered.clear()
            self._news.set()
        return len(paths)

    async def run(self) -> None:
        """Deliver, for ever.

        Raises:
            NotAuthenticated, PermissionDenied: the endpoint's token is not good any more; the spool is kept.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                await self._deliver(self._portion())
            self._all_delivered.set()

    async def delivered(self) -> None:
        """Wait until everything in line has been acknowledged."""
        await self._all_delivered.wait()

    def _portion(self) -> list[tuple[Path | None, Batch]]:
        """The batches for the next report: all there are, unless that is very much."""
        portion: list[tuple[Path | None, Batch]] = []
        outcomes = size = 0
        while self._waiting and outcomes < self._settings.batch_outcomes and size < _IN_MEMORY_BYTES:
            path, batch = self._waiting.popleft()
            if batch is None:
                batch = self._spool.load(path) if path is not None else None
                if batch is None:
                    continue
            else:
                self._waiting_bytes -= batch.size_bytes
            portion.append((path, batch))
            outcomes += len(batch.outcomes)
            size += batch.size_bytes
        return portion

    async def _deliver(self, portion: list[tuple[Path | None, Batch]]) -> None:
        results: dict[str, list[tuple[Outcome, bytes, str]]] = {}
        for _, batch in portion:
            own = results.setdefault(batch.owner_id, [])
            own.extend(zip(batch.outcomes, batch.results, batch.files, strict=True))
        planned = [
            upload
            for owner_id, own in results.items()
            for upload in uploads(owner_id, own, self._settings.segment_bytes)
        ]
        segments: dict[str, bytes] = {}
        if len(planned) == 1:
            await self._upload(planned[0], segments)
        elif planned:
            await asyncio.gather(*(self._upload(upload, segments) for upload in planned))
        outcomes = [outcome for own in results.values() for outcome, _, _ in own]
        if not outcomes:
            return
        _add_hints(results, segments)
        try:
            answer = await self._service.report(
                ReportRequest(
                    outcomes=outcomes,
                    segments=segments,
                    run_s=_mean_run_s(batch for _, batch in portion),
                    owners=self._stock.short_of(owner_id for owner_id in results if owner_id),
                )
            )
        except (NotAuthenticated, PermissionDenied):
            raise
        except RequestRefused as error:
            # Asking again would be refused again. The attempts are not held any more, so the service requeues them.
            logger.error("the service refused a report of %d outcomes: %s", len(outcomes), error)
            for path, _ in portion:
                if path is not None:
                    self._spool.set_aside(path)
        else:
            self._take_in(answer)
            for path, _ in portion:
                if path is not None:
                    self._spool.remove(path)
        for own in results.values():
            for _, _, file in own:
                if file:
                    Path(file).unlink(missing_ok=True)
        self._settled([outcome.attempt for outcome in outcomes])

    async def _upload(self, upload: Upload, segments: dict[str, bytes]) -> None:
        """Store one object, with a new grant if the one in hand turns out to have expired.

        A small one that the service would store itself joins ``segments`` instead, to go with the report.
        """
        async with self._uploading:
            if upload.file is not None and upload.size_bytes > PART_BYTES:
                return await self._upload_in_parts(upload, upload.file)
            tries = 0
            while True:
                grant = await self._grant(upload.owner_id)
                content = upload.content()
                if grant.inline and isinstance(content, bytes) and _fits(content, segments):
                    segments[grant.object_id] = content
                    upload.locate(grant.object_id)
                    return
                try:
                    await self._service.put_object(grant, content)
                except RequestRefused as error:
                    tries += 1
                    if tries >= _GRANT_TRIES:
                        logger.error("the object store refuses results, trying again: %s", error)
                        await asyncio.sleep(min(tries, 30) * _NO_GRANT_PAUSE_S)
                else:
                    upload.locate(grant.object_id)
                    return

    async def _upload_in_parts(self, upload: Upload, file: Path) -> None:
        [outcome] = upload.outcomes
        try:
            outcome.location = await self._service.store_result(outcome.attempt, file)
        except (Conflict, NotFound) as error:
            logger.info("a result of %d bytes is dropped: %s", upload.size_bytes, error)

    async def _grant(self, owner_id: str) -> Grant:
        while True:
            grant = self._stock.take(owner_id)
            if grant is not None:
                return grant
            self._take_in(await self._service.report(ReportRequest(outcomes=[], owners=[owner_id])))
            grant = self._stock.take(owner_id)
            if grant is not None:
                return grant
            logger.warning("the service gives no grant to store results of identity %s; asking again", owner_id)
            await asyncio.sleep(_NO_GRANT_PAUSE_S)

    async def announce(self, attempt: AttemptKey, at: float) -> None:
        """Tell the service that an attempt starts, and wait until it knows; the attempt may be recalled by this."""
        started = Outcome(attempt=attempt, state="started", started_at=at)
        self._take_in(await self._service.report(ReportRequest(outcomes=[started])))

    def _take_in(self, answer: ReportResponse) -> None:
        self._stock.add(answer.segments)
        if answer.recalled:
            self._recalled(answer.recalled)


def _fits(content: bytes, segments: dict[str, bytes]) -> bool:
    """Whether a segment may go with the report, together with those that do already."""
    return len(content) <= INLINE_SEGMENT_BYTES and sum(map(len, segments.values())) <= _HINTS_BYTES


def _mean_run_s(batches: Iterable[Batch]) -> dict[str, float]:
    total: dict[str, tuple[float, int]] = {}
    for batch in batches:
        for function_id, (seconds, calls) in batch.run_s.items():
            before = total.get(function_id, (0.0, 0))
            total[function_id] = (before[0] + seconds, before[1] + calls)
    return {function_id: seconds / calls for function_id, (seconds, calls) in total.items()}


def _add_hints(results: dict[str, list[tuple[Outcome, bytes, str]]], segments: dict[str, bytes]) -> None:
    """Repeat small results in the report, up to a total: the service may keep them in memory.

    Those in ``segments`` are in the report already.
    """
    left = _HINTS_BYTES
    for own in results.values():
        for outcome, data, _ in own:
            place = outcome.location
            if data and len(data) <= min(HINT_BYTES, left) and place is not None and place.object_id not in segments:
                outcome.hint = data
                left -= len(data)
