"""What the model of random histories remembers: tasks, attempts and agents as plain records."""

from __future__ import annotations

from dataclasses import dataclass, field

from registry.database import AnyRow
from registry.leases import Granted
from tests.unit.registry.federation import Agent

Key = tuple[int, int]


@dataclass
class Try:
    """An attempt, as its agent knows it."""

    granted: Granted
    site: str
    session: str
    lease_number: int
    started: bool = False
    over: bool = False
    """The service has counted its end."""

    @property
    def key(self) -> Key:
        return self.granted.key.sequence, self.granted.key.number


@dataclass
class Job:
    """A task, as the person who submitted it sees it."""

    task_id: str
    group_id: str
    idempotent: bool
    max_attempts: int
    max_losses: int
    parents: list[str]
    cores: int = 0
    """What its worker must have."""
    charged: int = 0
    losses: int = 0
    end: str = ""
    tries: list[Try] = field(default_factory=list)
    last: AnyRow | None = None
    """Its row when it had ended."""


@dataclass
class Seat:
    """An endpoint: the session of its agent, and what that agent holds and has not said yet."""

    agent: Agent
    alive: bool = True
    heard_at: float = 0.0
    held: list[Try] = field(default_factory=list)
