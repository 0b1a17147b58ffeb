"""What a committed transaction changed that somebody may be waiting for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

_NOTIFICATION_BYTES = 7_900
"""PostgreSQL refuses a notification of 8,000 bytes or more."""


@dataclass
class Changes:
    """Groups with newly ended tasks, sessions with recalled attempts, and whether there is new work."""

    work: bool = False
    groups: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    everything: bool = False
    """Too much to name: all waiters look again."""

    def __bool__(self) -> bool:
        return self.work or self.everything or bool(self.groups) or bool(self.sessions)

    def update(self, other: Changes) -> None:
        """Add what ``other`` changed."""
        self.work |= other.work
        self.everything |= other.everything
        self.groups |= other.groups
        self.sessions |= other.sessions

    def to_notification(self) -> str:
        """As text for PostgreSQL's NOTIFY.

        >>> Changes.from_notification(Changes(work=True, groups={"g"}).to_notification())
        Changes(work=True, groups={'g'}, sessions=set(), everything=False)
        """
        text = json.dumps([self.work, sorted(self.groups), sorted(self.sessions), self.everything])
        if len(text) > _NOTIFICATION_BYTES:
            return json.dumps([self.work, [], [], True])
        return text

    @classmethod
    def from_notification(cls, text: str) -> Changes:
        """The inverse of ``to_notification``."""
        work, groups, sessions, everything = json.loads(text)
        return cls(work, set(groups), set(sessions), everything)
