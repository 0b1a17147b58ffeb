"""Segments minted lately, so that the report that fills one needs no look into the database to find it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from registry.objects import StoredObject


class Minted:
    """The newest segments by endpoint and id; the report's transaction checks all it says again.

    >>> minted = Minted()
    >>> minted.remember("site", [StoredObject("a", "segments/a", "ada")])
    >>> minted.find("site", {"a"})
    {'a': StoredObject(object_id='a', key='segments/a', owner_id='ada', size_bytes=None)}
    >>> minted.find("elsewhere", {"a"}) is None
    True
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._segments: OrderedDict[tuple[str, str], StoredObject] = OrderedDict()

    def remember(self, endpoint_id: str, segments: Iterable[StoredObject]) -> None:
        """Take note of segments granted to an endpoint."""
        for segment in segments:
            self._segments[endpoint_id, segment.object_id] = segment
        while len(self._segments) > self._limit:
            self._segments.popitem(last=False)

    def forget(self, endpoint_id: str, object_ids: Iterable[str]) -> None:
        """These are filled: what is said of them from now on is for the registry to judge, which knows their sizes."""
        for object_id in object_ids:
            self._segments.pop((endpoint_id, object_id), None)

    def find(self, endpoint_id: str, object_ids: set[str]) -> dict[str, StoredObject] | None:
        """These segments of the endpoint; None unless all of them are known."""
        found = {object_id: self._segments.get((endpoint_id, object_id)) for object_id in object_ids}
        known = {object_id: segment for object_id, segment in found.items() if segment is not None}
        return known if len(known) == len(found) else None
