"""The rules of attempts, as pure decisions: what an outcome does to its attempt and to its task.

A task ends once. Success of *any* granted attempt ends a task that has not ended; every other
outcome touches only its own attempt, and the task only while that attempt is live. Attempts that
started and failed by themselves count against ``max_attempts``; attempts lost with their worker
count against ``max_losses``; attempts released unstarted count against neither. A task with
``idempotent=False`` is never run again once started.
"""

from __future__ import annotations

import msgspec

from faas.models import TERMINAL_STATES

MAX_HANDOUTS = 100
"""A task handed out this often without an end is ``lost``: no fault may repeat for ever."""


class TaskFacts(msgspec.Struct, frozen=True, gc=False):
    """What the decision needs to know of a task."""

    state: str
    attempts: int
    charged: int
    losses: int
    max_attempts: int
    max_losses: int
    idempotent: bool


class AttemptFacts(msgspec.Struct, frozen=True, gc=False):
    """What the decision needs to know of an attempt."""

    number: int
    live: bool
    started: bool
    recalled: bool = False


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What to write: None leaves the attempt, or the task's state, as it is."""

    attempt: str | None
    task: str | None
    charged: int = 0
    losses: int = 0
    message: str = ""


_NOTHING = Decision(None, None)


def decide(task: TaskFacts, attempt: AttemptFacts, outcome: str, *, kind: str | None = None) -> Decision:
    """What one reported (or inferred) outcome does.

    Args:
        task: the task as it stands.
        attempt: the attempt the outcome names.
        outcome: ``started``, ``succeeded``, ``failed``, ``released``, ``lost`` or ``cancelled``.
        kind: for ``failed``, what failed; ``refused`` never ran.

    >>> task = TaskFacts("leased", 1, 0, 0, max_attempts=1, max_losses=3, idempotent=True)
    >>> decide(task, AttemptFacts(1, live=True, started=True), "lost").task
    'queued'
    """
    over = task.state in TERMINAL_STATES
    if outcome == "succeeded":
        if over:
            return Decision("succeeded" if attempt.live else None, None)
        return Decision("succeeded", "succeeded")
    if not attempt.live:
        return _NOTHING
    if outcome == "started":
        if over or attempt.recalled or attempt.started:
            return _NOTHING
        return Decision("started", "running")
    if over or attempt.recalled:
        return Decision("cancelled" if attempt.recalled and outcome == "released" else outcome, None)
    if outcome == "failed":
        return _failed(task, kind)
    if outcome == "lost" or (attempt.started and not task.idempotent):
        return _lost(task)
    return _again(task, "released" if outcome == "cancelled" else outcome)


def _failed(task: TaskFacts, kind: str | None) -> Decision:
    charged = task.charged + 1
    if kind == "refused":
        return Decision("failed", "failed", task.charged, task.losses)
    if charged >= task.max_attempts or not task.idempotent:
        return Decision("failed", "failed", charged, task.losses)
    return _again(task, "failed", charged=charged)


def _lost(task: TaskFacts) -> Decision:
    losses = task.losses + 1
    if not task.idempotent:
        message = "Its worker was lost while it ran, and idempotent=False forbids running it again."
        return Decision("lost", "lost", task.charged, losses, message)
    if losses > task.max_losses:
        message = f"Its worker was lost {losses} times while it ran, more often than max_losses={task.max_losses}."
        return Decision("lost", "lost", task.charged, losses, message)
    return _again(task, "lost", losses=losses)


def _again(task: TaskFacts, attempt: str, *, charged: int | None = None, losses: int | None = None) -> Decision:
    charged = task.charged if charged is None else charged
    losses = task.losses if losses is None else losses
    if task.attempts >= MAX_HANDOUTS:
        message = f"It was handed out {task.attempts} times without coming to an end."
        return Decision(attempt, "lost", charged, losses, message)
    return Decision(attempt, "queued", charged, losses)
