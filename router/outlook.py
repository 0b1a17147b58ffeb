"""What a decision is based on: predictions, and what is known of every endpoint, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from router.plan import Plan


@dataclass(frozen=True)
class Outlook:
    """Shared by all decisions for a moment; reckoned anew when it is older than what it cost is worth."""

    run_s: Mapping[str, float] = field(default_factory=dict)
    """Measured run times in seconds by function, wherever it ran; absent where unknown."""
    now: float = 0.0
    """On the clock that plan and holds are told on."""
    plan: Plan | None = None
    """None where nothing is foreseen: then nothing is worth waiting for."""
    backlog: Mapping[str, int] = field(default_factory=dict)
    """Unfinished tasks bound to each endpoint, for policies that bind early."""
