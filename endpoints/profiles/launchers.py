"""Parsl's launchers: how the workers of a block get to its nodes once the job runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from endpoints.profiles.engine_parts import absent

if TYPE_CHECKING:
    from endpoints.allocation import Scheduler

SINGLE_NODE: Mapping[str, Any] = {"type": "SingleNodeLauncher"}


def choose_launcher(scheduler: Scheduler, otherwise: Mapping[str, Any] | None = None) -> Any:
    """The launcher that the owner has chosen, or the one that a profile holds right.

    Args:
        scheduler: with the owner's choice.
        otherwise: a launcher as in ``config.yaml``; None for one that needs no help on a single node.
    """
    chosen = scheduler.launcher
    words = dict(otherwise or SINGLE_NODE) if chosen is None else chosen.model_dump(exclude_unset=True)
    return make_launcher(words)


def make_launcher(words: Mapping[str, Any]) -> Any:
    """One of Parsl's launchers.

    Args:
        words: its class under ``type``, and what that takes.
    """
    with absent():
        from parsl import launchers

    settings = dict(words)
    return getattr(launchers, settings.pop("type"))(**settings)
