"""The policy `pinned`: tasks run where their submitter said, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from faas.errors import InvalidRequest
from router.outlook import Outlook

from .first_free import FirstFree


class Pinned(FirstFree):
    """Binds at submission to the one endpoint that was named; there, who waits longest is first."""

    early = True

    def bind(self, function_id: str, candidates: Sequence[str], outlook: Outlook, number: int) -> str | None:
        """See ``Policy.bind``."""
        if len(candidates) != 1:
            raise InvalidRequest(
                f"The policy 'pinned' needs one endpoint, and this target names {len(candidates)}.",
                fix="Name an endpoint as the target, or choose another policy.",
                field="target",
            )
        return candidates[0]
