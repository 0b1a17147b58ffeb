"""The pilot controller that the simulator drives: found by name, for what runs at a site is not imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from faas.errors import ConfigurationError
from faas.plugins import find_plugins

GROUP = "faas.pilot_controllers"


class PilotController(Protocol):
    """What an entry point of the group names: a module, or anything else with these."""

    Backlog: Any
    """Made of ``tasks``, ``seconds`` and ``busy_workers``."""
    PilotBlock: Any
    """Made of ``block_id``, ``state``, ``ready``, ``busy``, ``idle_s``, ``running_s`` and ``fits_s``."""
    Limits: Any
    """Made of ``max_blocks``, ``workers_per_block``, ``fresh_s``, ``max_idletime_s`` and ``horizon_s``."""

    def decide(self, backlog: Any, blocks: Sequence[Any], limits: Any, *, surplus_s: float = 0.0) -> Any:
        """A verdict with ``decisions`` (each with ``action``, ``count`` and ``block_ids``) and ``wanted`` blocks."""
        ...


def find_controller(name: str = "standard") -> PilotController:
    """A pilot controller by name.

    Args:
        name: of the entry point; ``standard`` is the one that agents use.

    Raises:
        ConfigurationError: there is none of that name, or a package it needs is missing.
    """
    found = find_plugins(GROUP)
    if name not in found:
        raise ConfigurationError(
            f"There is no pilot controller {name!r}. Choose one of {', '.join(found) or 'none: none is installed'}."
        )
    try:
        controller: PilotController = found[name].load()
    except ImportError as error:
        raise ConfigurationError(
            f"The pilot controller {name!r} ({found[name].value}) cannot be loaded: {error}. "
            "Install it with: pip install 'faas-federation[endpoint]'"
        ) from error
    return controller
