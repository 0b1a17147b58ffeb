"""How large objects are cut into parts, which travel side by side: the one plan that every side reckons with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from faas.models import MAX_PARTS, PART_BYTES

_STEP = 1024 * 1024
RANGE_BYTES = 16 * 1024 * 1024
"""Downloads are cut into ranges of this size, whatever parts the object went up in."""


class Part(NamedTuple):
    """A piece of an object.

    Args:
        number: from 1, in order.
        offset: its first byte.
        length: its bytes.
    """

    number: int
    offset: int
    length: int


def part_bytes(size_bytes: int) -> int:
    """The size of every part but the last.

    Args:
        size_bytes: the object's size.

    Returns:
        Bytes; 0 where the object goes up as a whole.

    Example:
        >>> part_bytes(1_000_000), part_bytes(10**9), part_bytes(10**12)
        (0, 67108864, 100663296)
    """
    if size_bytes <= PART_BYTES:
        return 0
    least = -(-size_bytes // MAX_PARTS)
    return max(PART_BYTES, -(-least // _STEP) * _STEP)


def parts(size_bytes: int, each_bytes: int) -> Iterator[Part]:
    """The parts of an object, in order.

    Args:
        size_bytes: the object's size.
        each_bytes: the size of every part but the last; 0 for one part.

    Example:
        >>> list(parts(10, 4))
        [Part(number=1, offset=0, length=4), Part(number=2, offset=4, length=4), Part(number=3, offset=8, length=2)]
    """
    each_bytes = each_bytes or max(1, size_bytes)
    for number, offset in enumerate(range(0, max(1, size_bytes), each_bytes), 1):
        yield Part(number, offset, min(each_bytes, size_bytes - offset))


def part(number: int, size_bytes: int, each_bytes: int) -> Part | None:
    """One part by its number; None if the object has no such part.

    Example:
        >>> part(3, 10, 4), part(4, 10, 4)
        (Part(number=3, offset=8, length=2), None)
    """
    offset = (number - 1) * each_bytes
    if number < 1 or offset >= size_bytes:
        return None
    return Part(number, offset, min(each_bytes, size_bytes - offset))


def count(size_bytes: int, each_bytes: int) -> int:
    """How many parts an object has.

    Example:
        >>> count(10, 4), count(8, 4), count(0, 4)
        (3, 2, 1)
    """
    return max(1, -(-size_bytes // each_bytes)) if each_bytes else 1
