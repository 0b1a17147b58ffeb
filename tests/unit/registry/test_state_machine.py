"""Random histories of the registry against a small model: one end, nothing lost, nothing run twice without cause.

The model knows tasks and attempts as plain records and is told only what its agents did. After each
step the tables are compared with what the invariants allow.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from faas.errors import Conflict
from faas.models import TERMINAL_STATES, Outcome
from registry import schema
from registry.database import AnyRow
from registry.leases import Granted
from tests.unit.registry.federation import LEASE_TIMEOUT_S, Agent, Federation, new_id

Key = tuple[int, int]
SITES = ("north", "south")


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


class Registry(RuleBasedStateMachine):
    """What people, agents and the service may do, in any order."""

    make: Callable[[], Federation]

    def __init__(self) -> None:
        super().__init__()
        self.federation = type(self).make()
        self.ada = self.federation.person("ada")
        self.function = self.federation.function(self.ada)
        self.groups = [new_id(), new_id()]
        self.jobs: dict[str, Job] = {}
        self.by_sequence: dict[int, Job] = {}
        self.seen: dict[str, list[str]] = {group: [] for group in self.groups}
        self.fenced: dict[str, float] = {}
        """Sessions that were replaced, and when each was last heard from."""
        self.seats = {name: Seat(self.federation.agent(self.ada, name), heard_at=self.now) for name in SITES}
        self.federation.tick()
        self.resumed_at = self.now

    def teardown(self) -> None:
        if not self.federation.database.is_sqlite:
            self.federation.empty()
        self.federation.close()

    @property
    def now(self) -> float:
        return self.federation.clock.now

    # The model's rules

    def end(self, job: Job, state: str) -> None:
        """The task ends, and with it, unless it succeeded, all that depend on it."""
        assert not job.end
        job.end = state
        if state != "succeeded":
            for child in self.jobs.values():
                if job.task_id in child.parents and not child.end:
                    self.end(child, "dependency_failed")

    def counted(self, attempt: Try, outcome: str) -> None:
        """The service takes in an outcome of an attempt."""
        job = self.by_sequence[attempt.key[0]]
        if outcome == "succeeded":
            attempt.over = True
            if not job.end:
                self.end(job, "succeeded")
            return
        if attempt.over:
            return
        if outcome == "started":
            if not job.end:
                attempt.started = True
            return
        attempt.over = True
        if job.end:
            return
        if outcome == "failed":
            job.charged += 1
            if job.charged >= job.max_attempts or not job.idempotent:
                self.end(job, "failed")
        elif outcome == "lost" or (attempt.started and not job.idempotent):
            job.losses += 1
            if job.losses > job.max_losses or not job.idempotent:
                self.end(job, "lost")

    def session_over(self, session: str) -> None:
        for job in self.jobs.values():
            for attempt in job.tries:
                if attempt.session == session and not attempt.over:
                    self.counted(attempt, "lost" if attempt.started else "released")

    # People

    @rule(
        count=st.integers(1, 3),
        idempotent=st.booleans(),
        max_attempts=st.integers(1, 3),
        max_losses=st.integers(0, 2),
        data=st.data(),
    )
    def submit(self, count: int, idempotent: bool, max_attempts: int, max_losses: int, data: st.DataObject) -> None:
        known = sorted(self.jobs)
        parents = data.draw(st.lists(st.sampled_from(known), max_size=2, unique=True)) if known else []
        group = data.draw(st.sampled_from(self.groups))
        task_ids = self.federation.run(
            self.ada,
            count,
            function=self.function,
            group_id=group,
            after=parents,
            idempotent=idempotent,
            max_attempts=max_attempts,
            max_losses=max_losses,
        )
        for task_id in task_ids:
            job = self.jobs[task_id] = Job(task_id, group, idempotent, max_attempts, max_losses, parents)
            self.by_sequence[self.federation.row(task_id).sequence] = job
            if any(self.jobs[parent].end not in ("", "succeeded") for parent in parents):
                self.end(job, "dependency_failed")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), running=st.booleans())
    def cancel(self, data: st.DataObject, running: bool) -> None:
        job = self.jobs[data.draw(st.sampled_from(sorted(self.jobs)))]
        runs = any(attempt.started and not attempt.over for attempt in job.tries)
        answer = self.federation.cancel(self.ada, job.task_id, running=running)
        if not job.end and (running or not runs):
            self.end(job, "cancelled")
        assert (answer.cancelled == [job.task_id]) == (job.end == "cancelled")

    # Agents

    def grant(self, name: str, granted: list[Granted], number: int) -> list[Try]:
        seat = self.seats[name]
        tries = []
        for each in granted:
            job = self.by_sequence[each.key.sequence]
            assert not job.end, "an ended task was granted"
            assert all(attempt.over for attempt in job.tries), "two live attempts of one task"
            assert all(self.jobs[parent].end == "succeeded" for parent in job.parents), "granted before its parents"
            if not job.idempotent:
                assert not any(attempt.started for attempt in job.tries), "granted again though it must not run twice"
            assert each.key.number == len(job.tries) + 1
            attempt = Try(each, name, seat.agent.session_id, number)
            job.tries.append(attempt)
            tries.append(attempt)
        return tries

    @rule(name=st.sampled_from(SITES), at_most=st.integers(1, 4), lost=st.booleans())
    def lease(self, name: str, at_most: int, lost: bool) -> None:
        """Ask for work; a lost answer is asked for again with the same number."""
        seat = self.seats[name]
        if not seat.alive:
            with pytest.raises(Conflict):
                seat.agent.lease(number=seat.agent.number + 1)
            return
        seat.heard_at = self.now
        granted = seat.agent.lease(at_most)
        tries = self.grant(name, granted, seat.agent.number)
        if lost:
            self.beat_with(seat, [], seat.agent.number - 1)
            again = seat.agent.lease(at_most, number=seat.agent.number)
            if granted:
                assert again == granted
            else:
                tries = self.grant(name, again, seat.agent.number)
        seat.held += tries

    def beat_with(self, seat: Seat, missing: list[Try], lease_number: int | None = None) -> None:
        """A heartbeat with all that is held but some."""
        number = seat.agent.number if lease_number is None else lease_number
        kept = [attempt for attempt in seat.held if attempt not in missing]
        recalled = seat.agent.beat([attempt.granted for attempt in kept], lease_number=number)
        seat.heard_at = self.now
        keys = {(key.sequence, key.number) for key in recalled}
        expected = {a.key for a in kept if not a.over and self.by_sequence[a.key[0]].end}
        assert keys == expected, "recalled are those held whose tasks have ended"
        for job in self.jobs.values():
            for attempt in job.tries:
                mine = attempt.session == seat.agent.session_id and attempt.lease_number <= number
                if mine and attempt not in kept and not attempt.over:
                    self.counted(attempt, "lost" if attempt.started else "released")

    @rule(name=st.sampled_from(SITES), data=st.data())
    def heartbeat(self, name: str, data: st.DataObject) -> None:
        """An inventory, from which something may be missing; what is missing may still be reported later."""
        seat = self.seats[name]
        if seat.alive:
            missing = data.draw(st.lists(st.sampled_from(seat.held), unique_by=id)) if seat.held else []
            self.beat_with(seat, missing)

    @rule(
        name=st.sampled_from(SITES),
        outcome=st.sampled_from(["started", "started", "succeeded", "succeeded", "failed", "released", "lost"]),
        via=st.sampled_from(SITES),
        data=st.data(),
    )
    def report(self, name: str, outcome: Any, via: str, data: st.DataObject) -> None:
        """Report on some attempts of the endpoint, new and old, whatever became of their session.

        This is also how the spool of an old session is delivered. Through another endpoint nothing counts.
        """
        tries = [attempt for job in self.jobs.values() for attempt in job.tries if attempt.site == name]
        if not tries:
            return
        chosen = data.draw(st.lists(st.sampled_from(tries), min_size=1, max_size=3, unique_by=id))
        reporter = self.seats[via].agent
        outcomes = []
        for attempt in chosen:
            plain = Outcome(attempt=attempt.granted.key, state=outcome)
            outcomes.append(reporter.success(attempt.granted) if outcome == "succeeded" else plain)
        dropped = reporter.report(*outcomes)
        if via != name:
            assert dropped == len(chosen)
            return
        for attempt in chosen:
            self.counted(attempt, outcome)

    @rule(name=st.sampled_from(SITES))
    def restart(self, name: str) -> None:
        """A new session takes the endpoint over; what the old agent held it may still report."""
        seat = self.seats[name]
        if seat.alive:
            self.fenced[seat.agent.session_id] = seat.heard_at
        agent = self.federation.agent(self.ada, name, takeover=True)
        agent.segments = seat.agent.segments
        self.seats[name] = Seat(agent, heard_at=self.now)

    @rule(name=st.sampled_from(SITES))
    def close(self, name: str) -> None:
        seat = self.seats[name]
        seat.agent.close()
        seat.alive = False
        self.session_over(seat.agent.session_id)

    # Time

    @rule(seconds=st.integers(1, 5))
    def time_passes(self, seconds: int) -> None:
        self.federation.clock.advance(seconds)
        expired = set(self.federation.tick())
        since = self.now - LEASE_TIMEOUT_S
        silent = {session for session, heard_at in self.fenced.items() if heard_at < since}
        silent |= {each.agent.session_id for each in self.seats.values() if each.alive and each.heard_at < since}
        assert expired == (silent if self.resumed_at < since else set())
        for session in expired:
            self.fenced.pop(session, None)
            self.session_over(session)
        for seat in self.seats.values():
            seat.alive = seat.alive and seat.agent.session_id not in expired

    # What holds at every moment

    @invariant()
    def the_tables_agree(self) -> None:
        rows = {row.task_id: row for row in self.federation.rows(sa.select(schema.tasks))}
        live: dict[int, list[AnyRow]] = {}
        for row in self.federation.rows(sa.select(schema.attempts).where(schema.attempts.c.ended_at.is_(None))):
            live.setdefault(row.sequence, []).append(row)
        assert set(rows) == set(self.jobs)
        for task_id, job in self.jobs.items():
            row = rows[task_id]
            assert (row.state if row.state in TERMINAL_STATES else "") == job.end
            assert row.attempts == len(job.tries)
            working = [each for each in live.get(row.sequence, ()) if each.state != "recalled"]
            if job.end:
                assert not working
                assert job.last is None or job.last == row, "it changed after its end"
                job.last = row
                assert row.location_object if job.end == "succeeded" else True
            else:
                assert (row.charged, row.losses) == (job.charged, job.losses)
                assert len(working) == (row.state in ("leased", "running")), "it is lost, or it runs twice"
                unready = any(not self.jobs[parent].end for parent in job.parents)
                assert (row.state == "waiting") == unready

    @invariant()
    def cursors_skip_nothing(self) -> None:
        for group in self.groups:
            seen = self.seen[group]
            for result in self.federation.results(self.ada, group, after=len(seen)):
                seen.append(result.task_id)
                assert result.cursor == len(seen)
            ended = {job.task_id for job in self.jobs.values() if job.group_id == group and job.end}
            assert len(seen) == len(ended)
            assert set(seen) == ended


@pytest.fixture
def empty_federations(registry_url: str, tmp_path: Path) -> Callable[[], Federation]:
    """Makes an empty federation for each history."""
    if not registry_url.startswith("sqlite"):
        return lambda: Federation(registry_url)
    numbers = itertools.count()

    def copied() -> Federation:
        path = tmp_path / f"history-{next(numbers)}.db"
        shutil.copy(tmp_path / "registry.db", path)
        return Federation(f"sqlite:///{path}")

    return copied


def test_no_history_breaks_the_invariants(empty_federations: Callable[[], Federation], registry_url: str) -> None:
    histories = 60 if registry_url.startswith("sqlite") else 15
    machine = type("Histories", (Registry,), {"make": staticmethod(empty_federations)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
