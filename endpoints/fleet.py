"""The blocks of one engine: submitted, watched, held, cancelled, each with what its scheduler says of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, TypeVar

from endpoints.allocation import Blocks
from endpoints.block_book import BlockBook
from endpoints.fleet_block import FleetBlock, fresh_s
from endpoints.job_queue import JobQueue, QueueUnavailable, cancel_all
from endpoints.pilots import Failures, PilotBlock
from endpoints.scheduler_words import last_lines, last_words, said
from endpoints.threads import in_thread
from faas.models import Block

logger = logging.getLogger(__name__)

T = TypeVar("T")

_SILENCE_S = 1.0
_SHORT_LIFE_S = 5.0
_GONE_S = 20.0
_MISSED_S = 15.0
"""The interchange has missed a block's workers when it has been over for so long."""
_EXPECTED_S = 20.0
"""Workers are looked for often for so long after a request or start."""


class Fleet:
    """Blocks from request to end.

    Args:
        shape: of their workers.
        book: where their names are written first.
        queue: where jobs are found by name.
        nodes: of each block.
        walltime_s: of each block; 0 for none.
        settings: the owner's.
        status_period_s: how often the scheduler is asked.
        changed: called when a block's state has.
    """

    def __init__(
        self,
        shape: str,
        book: BlockBook,
        queue: JobQueue,
        *,
        nodes: int,
        walltime_s: float,
        settings: Blocks,
        status_period_s: float,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._shape = shape
        self._provider: Any = None
        self._command: Callable[[str], str] = str
        self._book = book
        self._queue = queue
        self._nodes = nodes
        self._walltime_s = walltime_s
        self._drain_s = min(settings.drain_s, walltime_s / 2)
        self._status_period_s = status_period_s
        self._changed = changed
        self._lock = asyncio.Lock()
        self._working: set[asyncio.Task[None]] = set()
        self._asked_at = -inf
        self._asking: asyncio.Task[None] | None = None
        self._blocks: dict[str, FleetBlock] = {}
        self._failures = 0
        self._failed_at = -inf
        self._words = ""
        self._ended_at: dict[str, float] = {}

    def attach(self, provider: Any, command: Callable[[str], str]) -> None:
        """Get blocks from here on.

        Args:
            provider: Parsl's; only ever called from here, one call at a time.
            command: from a block's name, what starts its workers.
        """
        self._provider, self._command = provider, command

    # What others ask

    def blocks(self) -> list[Block]:
        """Those that live, and those that ended and were not yet `forgotten`."""
        return [each.block for each in self._blocks.values()]

    def views(self) -> list[PilotBlock]:
        """Those that live, as the controller judges them."""
        now = time.time()
        return [each.view(now) for each in self._blocks.values() if each.live]

    def failures(self) -> Failures:
        """How the last requests went."""
        return Failures(self._failures, time.monotonic() - self._failed_at, self._words)

    def longest_s(self) -> float | None:
        """The longest run time that fits every block that takes work; None for any."""
        now = time.time()
        fits = [
            each.fits_s(now) for each in self._blocks.values() if each.block.state == "running" and each.block.ready_at
        ]
        return None if not fits or min(fits) == inf else min(fits)

    @property
    def fresh_s(self) -> float:
        """The longest run time that fits a new block."""
        return fresh_s(self._walltime_s)

    def accepts(self, block_id: str) -> bool:
        """Whether the workers of a block take new work."""
        each = self._blocks.get(block_id)
        return each is not None and each.block.state == "running" and not each.held

    def is_over(self, block_id: str) -> bool:
        """Whether a block has no job any more."""
        each = self._blocks.get(block_id)
        return each is None or not each.live

    def doomed(self, managers: Sequence[dict[str, Any]]) -> int:
        """Chunks of blocks that ended moments ago: they are to run again, though the interchange does not know yet."""
        late = time.monotonic() - _MISSED_S
        self._ended_at = {block_id: at for block_id, at in self._ended_at.items() if at > late}
        return sum(manager["tasks"] for manager in managers if manager["block_id"] in self._ended_at)

    def word_of(self, block_id: str) -> str:
        """What the scheduler last said of a block, as a sentence; empty if it said nothing."""
        each = self._blocks.get(block_id)
        if each is None or not each.block.message:
            return ""
        return f"Its block {block_id} (job {each.block.job_id}) was {each.block.state}: {each.block.message}."

    @property
    def restless(self) -> bool:
        """Whether something is about to happen: workers coming up, or a block about to end."""
        now = time.time()
        return any(
            each.held
            or (each.block.ready_at is None and now - (each.block.started_at or each.block.requested_at) < _EXPECTED_S)
            for each in self._blocks.values()
            if each.live
        )

    def forget(self, block_ids: set[str]) -> list[Block]:
        """Drop ended blocks that the service knows of; returns them."""
        over = [each.block for each in self._blocks.values() if not each.live and each.block.block_id in block_ids]
        for block in over:
            del self._blocks[block.block_id]
        return over

    # Requests

    def request(self, count: int) -> None:
        """Submit so many blocks; they count from now on."""
        for _ in range(count):
            block = self._book.new(self._shape, self._nodes, self._walltime_s)
            each = self._blocks[block.block_id] = FleetBlock(block, self._drain_s)
            self._spawn(self._submit(each))
        self._changed()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _call(self, call: Callable[[], T]) -> T:
        async with self._lock:
            return await in_thread(call, name="scheduler")

    async def _submit(self, each: FleetBlock) -> None:
        block = each.block
        began = time.monotonic()
        try:
            job_id = await self._call(lambda: self._provider.submit(self._command(block.block_id), 1, block.block_id))
            if not job_id:
                raise OSError("the scheduler did not name the job")
        except Exception as error:
            await self._cancel_nameless(each)
            self._over(each, "failed", said(error))
            return
        block.job_id = str(job_id)
        self._book.save()
        self._asked_at = -inf
        if block.state == "requested":
            block.state = "queued"
        logger.info("block %s is job %s (submitted in %.2f s)", block.block_id, block.job_id, time.monotonic() - began)
        self._changed()

    async def _cancel_nameless(self, each: FleetBlock) -> None:
        """A submission that failed may have got through all the same, if its answer came too late."""
        try:
            await self._call(lambda: cancel_all(self._queue, each.block.block_id, _GONE_S, [each.block.block_id]))
        except QueueUnavailable as error:
            logger.debug("could not look for a job of %s: %s", each.block.block_id, error)

    # What is seen

    def observe(self, managers: Sequence[dict[str, Any]]) -> list[str]:
        """Take in who is connected to the interchange.

        Returns:
            Managers to be held: of blocks that take no more work.
        """
        by_block: dict[str, list[dict[str, Any]]] = {}
        for manager in managers:
            by_block.setdefault(manager["block_id"], []).append(manager)
        to_hold = []
        now = time.time()
        for each in list(self._blocks.values()):
            mine = by_block.pop(each.block.block_id, [])
            self._observe(each, mine, now)
            if each.held or not each.live:
                to_hold += [manager["manager"] for manager in mine if manager["active"]]
        for strays in by_block.values():
            to_hold += [manager["manager"] for manager in strays if manager["active"]]
        return to_hold

    def _observe(self, each: FleetBlock, managers: Sequence[dict[str, Any]], now: float) -> None:
        block = each.block
        if not each.live:
            return
        each.managers = [manager["manager"] for manager in managers]
        each.busy = sum(manager["tasks"] for manager in managers)
        each.worked = each.worked or each.busy > 0
        each.idle_s = min((manager["idle_duration"] for manager in managers), default=0.0) if not each.busy else 0.0
        block.workers = sum(manager["worker_count"] for manager in managers)
        block.idle_workers = max(0, block.workers - each.busy)
        if managers:
            each.seen_at = time.monotonic()
            if block.ready_at is None:
                self._ready(each, now)
        stayed = block.ready_at is not None and now - block.ready_at >= _SHORT_LIFE_S
        if not each.proven and (each.worked or stayed):
            each.proven = True
            self._failures = 0
        if block.state == "running" and each.too_late(now):
            self.drain([block.block_id], "its walltime is nearly over")
        if block.ready_at is not None and not managers and each.seen_at < time.monotonic() - _SILENCE_S:
            self.end(each, each.ending or "its workers fell silent")
        elif each.held and not each.busy and not any(manager["active"] for manager in managers):
            self.end(each, each.ending)

    def _ready(self, each: FleetBlock, now: float) -> None:
        block = each.block
        block.ready_at = now
        if block.state in ("requested", "queued"):  # Its workers were quicker than the scheduler's word of it.
            self._turn(each, "running", "")
        block.started_at = block.started_at or now
        waited_s = now - block.requested_at
        logger.info("block %s has %d worker(s), %.1f s after its request", block.block_id, block.workers, waited_s)
        self._changed()

    def poll(self) -> None:
        """Ask the scheduler about the jobs that live, if it is time to; the answer comes later."""
        known = any(each.live and each.block.job_id for each in self._blocks.values())
        due = time.monotonic() - self._asked_at >= self._status_period_s
        if known and due and (self._asking is None or self._asking.done()):
            self._asked_at = time.monotonic()
            self._asking = asyncio.ensure_future(self._ask())

    async def _ask(self) -> None:
        asked = [each for each in self._blocks.values() if each.live and each.block.job_id]
        try:
            answers = await self._call(lambda: self._provider.status([each.block.job_id for each in asked]))
        except Exception as error:
            logger.warning("the scheduler does not tell the state of its jobs: %s", said(error))
            return
        for each, status in zip(asked, answers, strict=True):
            if each.live:
                self._told(each, status)

    def _told(self, each: FleetBlock, status: Any) -> None:
        """What the scheduler says of a block's job."""
        block, name = each.block, status.state.name
        words = str(status.message or "")
        if status.terminal:
            failed = block.ready_at is None and not each.ending
            words = "; ".join(part for part in (each.ending, words or name.lower(), last_lines(status, failed)) if part)
            self._over(each, "failed" if failed else "ended", words)
        elif name == "RUNNING":
            if block.state == "queued":
                block.started_at = block.started_at or time.time()
                self._turn(each, "running", words)
        else:
            if block.state == "running":  # The scheduler took its nodes away and lets it wait again.
                block.started_at = block.ready_at = None
                self._turn(each, "queued", words)
            block.message = words

    def _turn(self, each: FleetBlock, state: Any, words: str) -> None:
        block = each.block
        block.state, block.message = state, words
        logger.info("block %s (job %s) is %s%s", block.block_id, block.job_id, state, f": {words}" if words else "")
        self._changed()

    def _over(self, each: FleetBlock, state: Any, words: str) -> None:
        block = each.block
        now = time.time()
        if state == "failed" or not (each.proven or each.ending):
            self._failures += 1
            self._failed_at = time.monotonic()
            self._words = words
        block.ended_at = now
        self._ended_at[block.block_id] = time.monotonic()
        block.workers = block.idle_workers = 0
        each.busy = 0
        self._book.over(block.block_id)
        self._turn(each, state, words)

    # Ends

    def drain(self, block_ids: Sequence[str], why: str) -> None:
        """Give these no more work; each ends when it has nothing to do."""
        for block_id in block_ids:
            each = self._blocks[block_id]
            each.held, each.ending = True, why
            self._turn(each, "draining", why)

    def cancel(self, block_ids: Sequence[str], why: str, *, failed: bool = False) -> None:
        """End these now."""
        for block_id in block_ids:
            each = self._blocks[block_id]
            if failed:
                self._spawn(self._cancel(each))
                self._over(each, "failed", f"{why}{last_words(self._provider, each.block.job_id)}")
            else:
                self.end(each, why)

    def end(self, each: FleetBlock, why: str) -> None:
        """Cancel a block's job, and count it as over: whatever it held is free to be had again."""
        each.ending = why
        self._spawn(self._cancel(each))
        self._over(each, "ended", why)

    async def _cancel(self, each: FleetBlock) -> None:
        try:
            await self._call(lambda: self._provider.cancel([each.block.job_id]))
        except Exception as error:
            logger.warning("job %s could not be cancelled: %s", each.block.job_id, said(error))

    async def stop(self) -> None:
        """Cancel every job, and wait until the scheduler has let go of all of them."""
        while self._working:
            await asyncio.wait(self._working)
        if self._asking is not None:
            await asyncio.wait({self._asking})
        live = [each for each in self._blocks.values() if each.live]
        if not live:
            return
        job_ids = [each.block.job_id for each in live]
        try:
            await self._call(lambda: self._provider.cancel(job_ids))
            names = [each.block.block_id for each in live]
            await self._call(lambda: cancel_all(self._queue, self._book.prefix, _GONE_S, names))
        except Exception as error:
            logger.error("jobs %s could not be cancelled: %s", ", ".join(job_ids), said(error))
        for each in live:
            each.ending = each.ending or "the endpoint stopped"
            self._over(each, "ended", each.ending)
