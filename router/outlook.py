"""What a decision is based on: predictions, and what is known of every endpoint, at one moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from router.plan import Plan


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Outlook:
    """What a policy may know. What is costly is reckoned when it asks, and shared by decisions for a moment."""

    run_s: Mapping[str, float] = field(default_factory=dict)
    """Measured run times in seconds by function, wherever it ran; absent where unknown."""
    now: float = 0.0
    """On the clock that plan and holds are told on."""
    foresee: Callable[[], Plan | None] = _nothing
    """Makes the plan; by default nothing is foreseen, and so nothing is worth waiting for."""
    backlog: Mapping[str, int] = field(default_factory=dict)
    """Unfinished tasks bound to each endpoint, for policies that bind early."""

    @property
    def plan(self) -> Plan | None:
        """Who would finish what when; None where nothing is foreseen."""
        return self.foresee()
