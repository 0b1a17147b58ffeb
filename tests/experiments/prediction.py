"""What the simulator says of a scenario, to be held against what was measured."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.services.federation import COMMAND

_LIMIT_S = 120.0


def predicted_makespan_s(scenario: Path, policy: str, seeds: int = 5) -> float | None:
    """The mean makespan that ``faas simulate`` predicts.

    Args:
        scenario: the file.
        policy: the one that decided.
        seeds: how often it is simulated.

    Returns:
        Seconds; None where the command cannot tell.
    """
    command = [*COMMAND, "simulate", str(scenario), "--policy", policy, "--seeds", str(seeds), "--json"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        return None
    if ended.returncode:
        return None
    told: dict[str, Any] = json.loads(ended.stdout)
    return float(told["policies"][policy]["makespan_s"])
