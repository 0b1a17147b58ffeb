"""When a file that is being written is complete: a pure decision over what was seen of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Version(NamedTuple):
    """What tells one content of a file from another."""

    size_bytes: int
    mtime_ns: int


@dataclass
class _Observed:
    version: Version
    since: float


class Settling:
    """Which files are complete: those that were closed or renamed in, and those that have been quiet for a while.

    Every version of a file is told once. That a quiet file is complete is a guess, and the only one there is where
    nothing tells of closing: on network file systems, or before the watch began.

    Args:
        settle_s: how long a file must not have changed.

    Example:
        >>> settling = Settling(2.0)
        >>> settling.seen("scan.h5", Version(10, 1), now=0.0)
        >>> list(settling.due(now=1.0))
        []
        >>> list(settling.due(now=2.0))
        [('scan.h5', Version(size_bytes=10, mtime_ns=1))]
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._changing: dict[str, _Observed] = {}
        self._told: dict[str, Version] = {}

    def seen(self, path: str, version: Version, now: float) -> None:
        """A file was found to be like this; it may still be written."""
        if self._told.get(path) == version:
            self._changing.pop(path, None)
            return
        before = self._changing.get(path)
        if before is None or before.version != version:
            self._changing[path] = _Observed(version, now)

    def closed(self, path: str, version: Version) -> bool:
        """A file was closed after writing, or renamed in; returns whether that is news."""
        self._changing.pop(path, None)
        if self._told.get(path) == version:
            return False
        self._told[path] = version
        return True

    def due(self, now: float) -> Iterator[tuple[str, Version]]:
        """Files that have been quiet for long enough; each is told once."""
        quiet = [path for path, each in self._changing.items() if now - each.since >= self._settle_s]
        for path in quiet:
            version = self._changing.pop(path).version
            self._told[path] = version
            yield path, version

    def changing(self) -> list[str]:
        """Files that are not complete yet."""
        return list(self._changing)

    def next_due(self) -> float | None:
        """When the next file may be complete; None if none is being written."""
        return min((each.since + self._settle_s for each in self._changing.values()), default=None)

    def gone(self, path: str) -> None:
        """There is no such file any more; the same content there again is news."""
        self._changing.pop(path, None)
        self._told.pop(path, None)

    def keep_only(self, present: set[str]) -> None:
        """All other files are gone."""
        for path in [path for path in (*self._changing, *self._told) if path not in present]:
            self.gone(path)
