"""Work goes to its data, where that wins: which tasks an endpoint leaves for one that has a copy, and for how long.

An endpoint without a copy leaves a task for as long as it would take to fetch one. So the task never loses more by
waiting than fetching would have cost anyway: the rule of whoever does not know how long to rent before buying
(Karlin, Manasse, Rudolph, Sleator: "Competitive snoopy caching", Algorithmica 3, 1988).
"""

from __future__ import annotations

from registry.leases import Candidate, QueuedClass

BYTES_PER_S = 100e6
"""What a copy is taken to come at."""
LONGEST_HOLD_S = 60.0
LOCATION_HOLD_S = 20.0
"""How long a task is left for a site that has its files, where nobody knows how large they are."""


def hold_s(candidate: Candidate) -> float:
    """How long to leave a task for an endpoint that has more of its data.

    Example:
        >>> hold_s(Candidate(sequence=1, waited_s=0.0, here_bytes=0, elsewhere_bytes=500_000_000))
        5.0
    """
    return min(max(0, candidate.elsewhere_bytes - candidate.here_bytes) / BYTES_PER_S, LONGEST_HOLD_S)


def pick(candidates: list[Candidate], count: int) -> list[int]:
    """Of tasks that wait, in their order, those that an endpoint takes.

    First those whose data it has; then those of which nobody has more than it; then those that were left to others
    for long enough.

    Args:
        candidates: tasks of one class.
        count: how many to take, at most.

    Returns:
        Their sequences.
    """
    ready = [each for each in candidates if each.waited_s >= hold_s(each)]

    def turn(candidate: Candidate) -> int:
        if candidate.here_bytes and candidate.here_bytes >= candidate.elsewhere_bytes:
            return 0
        return 1 if candidate.elsewhere_bytes <= candidate.here_bytes else 2

    return [each.sequence for each in sorted(ready, key=turn)[:count]]


def near(waiting: list[QueuedClass]) -> list[QueuedClass]:
    """Classes that an endpoint may take from: those that no other one has the files of, or not for the moment."""
    return [each for each in waiting if each.local or not each.local_elsewhere or each.waited_s >= LOCATION_HOLD_S]
