"""Recent small results, in bounded memory: a hint saves the client a trip to the store, nothing more."""

from __future__ import annotations

from collections import OrderedDict

from faas.models import Location

_OVERHEAD_BYTES = 300
"""What an entry costs besides its bytes."""


class Hints:
    """A cache of result bytes by location; the oldest go first.

    >>> hints = Hints(limit_bytes=1000)
    >>> hints.put(Location("object", 0, 5), b"bytes")
    >>> hints.get(Location("object", 0, 5))
    b'bytes'
    """

    def __init__(self, limit_bytes: int = 32 * 1024 * 1024) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._entries: OrderedDict[Location, bytes] = OrderedDict()

    def put(self, location: Location, data: bytes) -> None:
        """Remember the bytes at a location, if they are all of them."""
        if len(data) != location.length_bytes or len(data) + _OVERHEAD_BYTES > self._limit_bytes:
            return
        if location in self._entries:
            return
        self._entries[location] = data
        self._used_bytes += len(data) + _OVERHEAD_BYTES
        while self._used_bytes > self._limit_bytes:
            _, dropped = self._entries.popitem(last=False)
            self._used_bytes -= len(dropped) + _OVERHEAD_BYTES

    def get(self, location: Location) -> bytes | None:
        """The bytes at a location, if they are still remembered."""
        return self._entries.get(location)
