"""Reports: checks where results are said to lie, remembers hints, and counts the outcomes."""

from __future__ import annotations

import asyncio

from faas.models import HINT_BYTES, AttemptKey, ReportRequest, ReportResponse
from registry import objects, sessions
from registry import reports as report_registry
from registry.database import Database, Transaction
from registry.identities import Principal
from registry.objects import StoredObject
from router.foresight import Foresight
from router.grants import grant
from router.hints import Hints
from router.minted import Minted
from router.run_times import RunTimes
from router.store import Store


class Reports:
    """Takes in what agents report."""

    def __init__(
        self,
        database: Database,
        store: Store,
        hints: Hints,
        run_times: RunTimes,
        minted: Minted,
        foresight: Foresight | None = None,
    ) -> None:
        self._database = database
        self._store = store
        self._hints = hints
        self._run_times = run_times
        self._minted = minted
        self._foresight = foresight
        self._forgive = None if foresight is None else foresight.forgive

    async def take(self, principal: Principal, session_id: str, request: ReportRequest) -> ReportResponse:
        """Count a report's outcomes; says what was dropped, what to stop, and where the next results go."""
        sizes = await self._sizes(principal.endpoint_id, request)
        for outcome in request.outcomes:
            place = outcome.location
            if place is None or place.object_id not in sizes:
                continue
            segment = request.segments.get(place.object_id)
            hint = outcome.hint if segment is None else segment[place.offset : place.offset + place.length_bytes]
            if hint is not None and len(hint) <= HINT_BYTES:
                self._hints.put(place, hint)
        self._run_times.learn(request.run_s)
        dropped, segments, recalled = await self._database.write(
            self._count, principal.endpoint_id, session_id, request, sizes
        )
        if self._foresight is not None:
            self._foresight.reported(principal.endpoint_id, request)
        # A segment that counts is never written again: only the registry's word of it, with its size, is taken now.
        self._minted.forget(principal.endpoint_id, sizes)
        self._minted.remember(principal.endpoint_id, segments)
        grants = await asyncio.gather(*(grant(self._store, segment, "PUT") for segment in segments))
        return ReportResponse(
            dropped=dropped,
            segments={segment.owner_id: [minted] for segment, minted in zip(segments, grants, strict=True)},
            recalled=recalled,
        )

    async def _sizes(self, endpoint_id: str, request: ReportRequest) -> dict[str, int]:
        """Stored sizes of the segments named that this endpoint was granted, once those that came along are stored."""
        if not any(outcome.location for outcome in request.outcomes):
            return {}
        named = {outcome.location.object_id for outcome in request.outcomes if outcome.location is not None}
        granted = self._minted.find(endpoint_id, named)
        if granted is None:
            granted = await self._database.glance(report_registry.named_segments, endpoint_id, request.outcomes)
        sizes = {each.object_id: each.size_bytes for each in granted.values() if each.size_bytes is not None}
        unseen = [each for each in granted.values() if each.size_bytes is None]
        found = await asyncio.gather(*(self._stored(each, request.segments.get(each.object_id)) for each in unseen))
        for each, size_bytes in zip(unseen, found, strict=True):
            if size_bytes is not None:
                sizes[each.object_id] = size_bytes
        return sizes

    async def _stored(self, segment: StoredObject, data: bytes | None) -> int | None:
        """The size of a segment in the store, once what came of it with the report is there."""
        if data is None or not self._store.carried:
            return await self._store.size(segment.key)
        await self._store.write(segment.key, data)
        return len(data)

    def _count(
        self, transaction: Transaction, endpoint_id: str, session_id: str, request: ReportRequest, sizes: dict[str, int]
    ) -> tuple[int, list[StoredObject], list[AttemptKey]]:
        dropped = report_registry.report(transaction, endpoint_id, request.outcomes, sizes, self._forgive)
        wanted = list(dict.fromkeys(request.owners))
        owners = report_registry.owners_served(transaction, endpoint_id, wanted) if wanted else []
        segments = [objects.create(transaction, owner_id, "segment", endpoint_id=endpoint_id) for owner_id in owners]
        return dropped, segments, sessions.recalled(transaction, endpoint_id, session_id)
