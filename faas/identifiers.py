"""Random ids for tasks, made many at a time: asking the kernel for each would cost more than all the rest."""

from __future__ import annotations

import os

_AT_ONCE = 256
_ready: list[str] = []


def new_id() -> str:
    """A random UUID (version 4), as text.

    Example:
        >>> len(new_id())
        36
    """
    try:
        return _ready.pop()
    except IndexError:
        # Each call asks the kernel, and lets other threads run meanwhile, which takes far longer than the answer.
        digits = os.urandom(16 * _AT_ONCE).hex()
        made = [_uuid(digits[start : start + 32]) for start in range(0, len(digits), 32)]
        first = made.pop()
        _ready.extend(made)
        return first


def _uuid(digits: str) -> str:
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


os.register_at_fork(after_in_child=_ready.clear)
