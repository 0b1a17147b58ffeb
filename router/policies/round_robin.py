"""The policy `round_robin`: each endpoint in turn, chosen at submission. For comparison."""

from __future__ import annotations

from collections.abc import Sequence

from router.outlook import Outlook

from .first_free import FirstFree


class RoundRobin(FirstFree):
    """Binds every task at submission, to the endpoints in turn, however fast or busy they are."""

    early = True

    def bind(self, function_id: str, candidates: Sequence[str], outlook: Outlook, number: int) -> str | None:
        """See ``Policy.bind``."""
        return candidates[number % len(candidates)]
