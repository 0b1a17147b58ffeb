"""Hints: the bytes at a location or none, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faas.models import Location
from router.hints import Hints


def test_bytes_come_back_by_location() -> None:
    hints = Hints()
    hints.put(Location("segment", 0, 3), b"one")
    hints.put(Location("segment", 3, 5), b"three")
    assert hints.get(Location("segment", 0, 3)) == b"one"
    assert hints.get(Location("segment", 3, 5)) == b"three"
    assert hints.get(Location("other", 0, 3)) is None
    assert hints.get(Location("segment", 0, 2)) is None


def test_an_empty_result_is_not_taken_for_the_next_one() -> None:
    hints = Hints()
    hints.put(Location("segment", 0, 0), b"")
    hints.put(Location("segment", 0, 3), b"one")
    assert hints.get(Location("segment", 0, 0)) == b""
    assert hints.get(Location("segment", 0, 3)) == b"one"


def test_parts_and_giants_are_not_remembered() -> None:
    hints = Hints(limit_bytes=1_000)
    hints.put(Location("segment", 0, 4), b"one")
    hints.put(Location("segment", 0, 2_000), bytes(2_000))
    assert hints.get(Location("segment", 0, 4)) is None
    assert hints.get(Location("segment", 0, 2_000)) is None


def test_the_oldest_go_first() -> None:
    hints = Hints(limit_bytes=1_000)
    places = [Location("segment", number * 100, 100) for number in range(3)]
    for place in places:
        hints.put(place, bytes(100))
    assert [hints.get(place) is not None for place in places] == [False, True, True]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 400)), max_size=100), st.integers(0, 3_000))
def test_memory_is_bounded_whatever_comes(puts: list[tuple[int, int]], limit_bytes: int) -> None:
    hints = Hints(limit_bytes=limit_bytes)
    locations = [Location("segment", offset, size) for offset, size in puts]
    for place in locations:
        hints.put(place, bytes(place.length_bytes))
        held = [len(data) for other in set(locations) if (data := hints.get(other)) is not None]
        assert sum(held) + 300 * len(held) <= limit_bytes
