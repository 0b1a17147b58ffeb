"""Parts of objects: every byte in exactly one, none too many, none too small."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from faas.models import MAX_PARTS, PART_BYTES
from faas.parts import Part, count, part, part_bytes, parts


@given(st.integers(0, 5 * 1024**4))
def test_no_object_has_too_many_parts_or_too_small_ones(size_bytes: int) -> None:
    each = part_bytes(size_bytes)
    assert (each == 0) == (size_bytes <= PART_BYTES)
    assert each == 0 or each >= PART_BYTES
    assert 1 <= count(size_bytes, each) <= MAX_PARTS


@given(st.integers(0, 10_000), st.integers(0, 1_000))
def test_parts_cover_an_object_without_a_gap(size_bytes: int, each: int) -> None:
    found = list(parts(size_bytes, each))
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    assert found[0].offset == 0
    assert all(before.offset + before.length == after.offset for before, after in itertools.pairwise(found))
    assert found[-1].offset + found[-1].length == size_bytes
    assert len(found) == count(size_bytes, each)
    if each and size_bytes:
        assert [part(number, size_bytes, each) for number in range(1, len(found) + 1)] == found
        assert part(len(found) + 1, size_bytes, each) is None
        assert part(0, size_bytes, each) is None


def test_an_empty_object_is_one_empty_part() -> None:
    assert list(parts(0, 0)) == [Part(1, 0, 0)]
