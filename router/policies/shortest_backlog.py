"""The policy `shortest_backlog`: where the least waits, chosen at submission, as the reference does. For comparison."""

from __future__ import annotations

from collections.abc import Sequence

from router.outlook import Outlook

from .first_free import FirstFree


class ShortestBacklog(FirstFree):
    """Binds every task at submission to the endpoint with the fewest unfinished tasks; in turn among equals."""

    early = True

    def bind(self, function_id: str, candidates: Sequence[str], outlook: Outlook, number: int) -> str | None:
        """See ``Policy.bind``."""
        turn = number % len(candidates)
        in_turn = [*candidates[turn:], *candidates[:turn]]
        return min(in_turn, key=lambda endpoint_id: outlook.backlog.get(endpoint_id, 0))
