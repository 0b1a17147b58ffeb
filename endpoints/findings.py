"""What `faas endpoint check` finds: good, doubtful or bad, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Args:
        state: how it is.
        what: the thing.
        told: how it was found.
        fix: what to do; empty if it is well, or if the words tell.
    """

    state: State
    what: str
    told: str
    fix: str = ""

    def __str__(self) -> str:
        line = f"{self.state:<5} {self.what}: {self.told}"
        return f"{line} - {self.fix}" if self.fix else line


def ok(what: str, told: str) -> Finding:
    """It is as it should be."""
    return Finding("ok", what, told)


def doubtful(what: str, told: str, fix: str = "") -> Finding:
    """It may be a hindrance."""
    return Finding("warn", what, told, fix)


def failed(what: str, told: str, fix: str = "") -> Finding:
    """The endpoint cannot run so."""
    return Finding("FAIL", what, told, fix)
