"""Promises in force: what was kept back from free workers, and whose time is over."""

from __future__ import annotations

import heapq
from dataclasses import dataclass


@dataclass(frozen=True)
class Hold:
    """Work that is kept back from a free worker, and until when: a promise that is not prolonged."""

    class_id: int
    head: int
    """The sequence of the task that is promised a better place."""
    until: float
    """When the promise ends (on the outlook's clock): from then on any free worker may have the task."""
    finish_here_s: float
    """Predicted time to its end, had it been started where it was kept back."""
    finish_there_s: float
    """Predicted time to its end where it is to run instead."""


class Holds:
    """The promises made and not kept yet, one for each class: that of its first task.

    Example:
        >>> holds = Holds()
        >>> holds.promise(Hold(1, 7, 20.0, 100.0, 50.0))
        True
        >>> holds.next_end(0.0), holds.over(19.0), holds.over(20.0)
        (20.0, [], [1])
        >>> holds.moved(1, 8)  # its first task is another one now
        >>> holds.over(21.0), holds.next_end(0.0)
        ([], None)
    """

    def __init__(self) -> None:
        self._holds: dict[int, Hold] = {}
        self._ends: list[tuple[float, int, int]] = []
        self._over: dict[int, int] = {}

    def get(self, class_id: int) -> Hold | None:
        """The promise of a class's first task, if one was made."""
        return self._holds.get(class_id)

    def promise(self, hold: Hold) -> bool:
        """Take a promise down; one that was made before is not changed.

        Returns:
            Whether it is new.
        """
        before = self._holds.get(hold.class_id)
        if before is not None and before.head == hold.head:
            return False
        self._over.pop(hold.class_id, None)
        self._holds[hold.class_id] = hold
        heapq.heappush(self._ends, (hold.until, hold.class_id, hold.head))
        return True

    def moved(self, class_id: int, head: int | None) -> None:
        """A class's first task is this one now; None for no task at all. Tell after each grant."""
        hold = self._holds.get(class_id)
        if hold is not None and hold.head != head:
            del self._holds[class_id]
            self._over.pop(class_id, None)

    def over(self, now: float) -> list[int]:
        """Classes whose first task has been held back for as long as was said: anybody may have it."""
        while self._ends and self._ends[0][0] <= now:
            _, class_id, head = heapq.heappop(self._ends)
            if self._is(class_id, head):
                self._over[class_id] = head
        return list(self._over)

    def next_end(self, now: float) -> float | None:
        """When the next promise ends: sites that were held back from are to be looked at again then."""
        self.over(now)
        while self._ends and not self._is(self._ends[0][1], self._ends[0][2]):
            heapq.heappop(self._ends)
        return self._ends[0][0] if self._ends else None

    def _is(self, class_id: int, head: int) -> bool:
        hold = self._holds.get(class_id)
        return hold is not None and hold.head == head
