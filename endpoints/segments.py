"""Where results go: grants for segments kept in stock per owner, and many results joined into one object."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from faas.models import Grant, Location, Outcome

_MARGIN_S = 30.0
_SHORTEST_S = 60.0
STOCK = 2
"""Grants to have in hand for each owner at work."""


class GrantStock:
    """PUT grants in hand, by owner. One that is about to expire is not given out."""

    def __init__(self) -> None:
        self._grants: dict[str, deque[tuple[float, Grant]]] = {}

    def add(self, segments: dict[str, list[Grant]]) -> None:
        """Take in what a lease or a report brought."""
        now = time.time()
        for owner_id, grants in segments.items():
            stock = self._grants.setdefault(owner_id, deque())
            for grant in grants:
                # Reckoned from now on, so that a clock that goes wrong here cannot void every grant.
                life_s = max(grant.expires_at - now - _MARGIN_S, _SHORTEST_S)
                stock.append((time.monotonic() + life_s, grant))

    def take(self, owner_id: str) -> Grant | None:
        """A grant for an object of this owner, None if there is none left."""
        stock = self._grants.get(owner_id)
        while stock:
            good_until, grant = stock.popleft()
            if good_until > time.monotonic():
                return grant
        return None

    def counts(self) -> dict[str, int]:
        """How many grants are in hand for each owner."""
        return {owner_id: len(stock) for owner_id, stock in self._grants.items() if stock}

    def short_of(self, owner_ids: Iterable[str]) -> list[str]:
        """Those owners for whom more grants should be asked."""
        return [owner_id for owner_id in owner_ids if len(self._grants.get(owner_id, ())) < STOCK]


@dataclass
class Upload:
    """One object to store, and the outcomes whose bytes it holds."""

    owner_id: str
    file: Path | None = None
    """A large result by itself; None for a segment."""
    outcomes: list[Outcome] = field(default_factory=list)
    members: list[bytes] = field(default_factory=list)
    size_bytes: int = 0

    def content(self) -> bytes | Path:
        """What to store."""
        if self.file is not None:
            return self.file
        return self.members[0] if len(self.members) == 1 else b"".join(self.members)

    def locate(self, object_id: str) -> None:
        """The object is stored: tell every outcome where its bytes lie."""
        offset = 0
        if self.file is not None:
            self.outcomes[0].location = Location(object_id, 0, self.size_bytes)
            return
        for outcome, member in zip(self.outcomes, self.members, strict=True):
            outcome.location = Location(object_id, offset, len(member))
            offset += len(member)


def uploads(owner_id: str, results: Iterable[tuple[Outcome, bytes, str]], segment_bytes: int) -> list[Upload]:
    """Sort one owner's results into segments and objects of their own.

    Args:
        owner_id: the owner of all of them; owners never share a segment.
        results: outcome, bytes and file; those with neither bytes nor file need no upload.
        segment_bytes: a segment that has reached this size is closed.
    """
    whole: list[Upload] = []
    segment: Upload | None = None
    for outcome, data, file in results:
        if file:
            path = Path(file)
            whole.append(Upload(owner_id, path, [outcome], [], path.stat().st_size))
        elif data:
            if segment is None or segment.size_bytes >= segment_bytes:
                segment = Upload(owner_id)
                whole.append(segment)
            segment.outcomes.append(outcome)
            segment.members.append(data)
            segment.size_bytes += len(data)
    return whole
