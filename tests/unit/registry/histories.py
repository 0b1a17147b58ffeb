"""Random histories of the registry beside a small model of what its invariants allow.

The model knows tasks and attempts as plain records and is told only what its agents did. After each
step the tables are compared with what the invariants allow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from faas.errors import Conflict
from faas.models import TERMINAL_STATES, GroupResult, Outcome, Shape
from registry import results, schema
from registry.database import AnyRow, Transaction
from registry.leases import Granted
from tests.unit.registry.federation import LEASE_TIMEOUT_S, Agent, Federation, new_id
from tests.unit.registry.model import Job, Seat, Try

SITES = ("north", "south")
SHAPES = {"north": {"small": Shape(cores=1), "big": Shape(cores=4)}, "south": {"only": Shape(cores=2)}}
WORKERS = {("north", 0): "small", ("north", 4): "big", ("south", 0): "only"}
"""The shape of worker for tasks that need so many cores; tasks of 4 cores cannot run in the south."""
ENDS = ["succeeded", "succeeded", "failed", "forgiven", "released", "lost"]
"""What attempts come to; ``forgiven`` is a failure for which the endpoint was blamed, not the task."""


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
        self.granted: list[Try] = []
        self.cancels = 0
        self.seen: dict[str, list[str]] = {group: [] for group in self.groups}
        self.cursors: dict[str, int] = {}
        self.fenced: dict[str, float] = {}
        """Sessions that were replaced, and when each was last heard from."""
        self.seats = {name: Seat(self.agent(name), heard_at=self.now) for name in SITES}
        self.federation.tick()
        self.resumed_at = self.now

    def agent(self, name: str, *, takeover: bool = False) -> Agent:
        return self.federation.agent(self.ada, name, shapes=SHAPES[name], takeover=takeover)

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
        if outcome == "forgiven" and job.idempotent and job.losses < job.max_losses:
            job.losses += 1
        elif outcome in ("failed", "forgiven"):
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

    @initialize(parents=st.integers(1, 3), children=st.integers(0, 2), losses=st.integers(0, 1))
    def begin(self, parents: int, children: int, losses: int) -> None:
        """A few tasks of every kind, so that short histories have something to do."""
        group = self.groups[0]
        first = self.federation.run(self.ada, parents, function=self.function, group_id=group, max_losses=losses)
        self.know(first, group, max_losses=losses)
        once = self.federation.run(self.ada, 2, function=self.function, group_id=group, idempotent=False)
        self.know(once, group, idempotent=False)
        after = [first[0], once[0]]
        last = self.federation.run(self.ada, children, function=self.function, group_id=self.groups[1], after=after)
        self.know(last, self.groups[1], parents=after)

    @precondition(lambda self: len(self.jobs) < 20)
    @rule(
        count=st.integers(1, 3),
        idempotent=st.booleans(),
        max_attempts=st.integers(1, 3),
        max_losses=st.integers(0, 2),
        cores=st.sampled_from([0, 0, 4]),
        data=st.data(),
    )
    def submit(
        self, count: int, idempotent: bool, max_attempts: int, max_losses: int, cores: int, data: st.DataObject
    ) -> None:
        known = list(self.jobs)
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
            resources={"cores": cores},
        )
        self.know(
            task_ids,
            group,
            idempotent=idempotent,
            max_attempts=max_attempts,
            max_losses=max_losses,
            parents=parents,
            cores=cores,
        )

    def know(
        self,
        task_ids: list[str],
        group: str,
        *,
        idempotent: bool = True,
        max_attempts: int = 1,
        max_losses: int = 3,
        parents: Sequence[str] = (),
        cores: int = 0,
    ) -> None:
        """Take submitted tasks into the model."""
        for task_id in task_ids:
            job = self.jobs[task_id] = Job(task_id, group, idempotent, max_attempts, max_losses, list(parents), cores)
            self.by_sequence[self.federation.row(task_id).sequence] = job
            if any(self.jobs[parent].end not in ("", "succeeded") for parent in parents):
                self.end(job, "dependency_failed")

    @precondition(lambda self: self.cancels <= len(self.granted) // 4)  # or most histories would be of nothing else
    @rule(data=st.data(), running=st.booleans())
    def cancel(self, data: st.DataObject, running: bool) -> None:
        self.cancels += 1
        job = self.jobs[data.draw(st.sampled_from(list(self.jobs)))]
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
            assert each.shape == WORKERS[name, job.cores]
            attempt = Try(each, name, seat.agent.session_id, number)
            job.tries.append(attempt)
            tries.append(attempt)
        self.granted += tries
        return tries

    @rule(name=st.sampled_from(SITES), at_most=st.integers(1, 4), lost=st.booleans())
    def lease(self, name: str, at_most: int, lost: bool) -> None:
        """Ask for work; a lost answer is asked for again with the same number."""
        seat = self.seats[name]
        if not seat.alive:  # its agent learns it here, and opens a new session
            with pytest.raises(Conflict):
                seat.agent.lease()
            seat = self.open(name)
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

    @rule(
        name=st.sampled_from(SITES),
        ends=st.lists(st.tuples(st.booleans(), st.sampled_from(ENDS)), min_size=1, max_size=4),
    )
    def work(self, name: str, ends: list[tuple[bool, Any]]) -> None:
        """What agents mostly do: lease, start and report."""
        self.lease(name, len(ends), False)
        seat = self.seats[name]
        for attempt, (started, outcome) in zip(seat.held[-len(ends) :], ends, strict=False):
            if started:
                self.said(seat, [attempt], "started")
            self.said(seat, [attempt], outcome)

    @precondition(lambda self: any(seat.held for seat in self.seats.values()))
    @rule(name=st.sampled_from(SITES), data=st.data())
    def heartbeat(self, name: str, data: st.DataObject) -> None:
        """An inventory, from which something may be missing; what is missing may still be reported later."""
        seat = self.seats[name]
        if seat.alive:
            missing = data.draw(st.lists(st.sampled_from(seat.held), unique_by=id)) if seat.held else []
            self.beat_with(seat, missing)

    @rule(
        name=st.sampled_from(SITES),
        outcome=st.sampled_from(["started", *ENDS]),
        recent=st.booleans(),
        wrong=st.integers(0, 9).map(lambda number: number == 9),
        data=st.data(),
    )
    def report(self, name: str, outcome: Any, recent: bool, wrong: bool, data: st.DataObject) -> None:
        """Report on some attempts of the endpoint, new and old, whatever became of their session.

        This is also how the spool of an old session is delivered. Through another endpoint nothing counts.
        """
        tries = [attempt for attempt in self.granted if attempt.site == name]
        if not tries:
            return
        live = [attempt for attempt in tries if not attempt.over]
        some = live if live and recent else tries
        chosen = data.draw(st.lists(st.sampled_from(some), min_size=1, max_size=3, unique_by=id))
        reporter = self.seats[SITES[SITES.index(name) - 1] if wrong else name].agent
        if wrong:
            assert self.told(reporter, chosen, outcome) == len(chosen)
        else:
            self.said(self.seats[name], chosen, outcome)

    def said(self, seat: Seat, chosen: list[Try], outcome: Any) -> None:
        self.told(seat.agent, chosen, outcome)
        for attempt in chosen:
            self.counted(attempt, outcome)

    def told(self, reporter: Agent, chosen: list[Try], outcome: Any) -> int:
        if outcome == "succeeded":
            return reporter.succeed(*(attempt.granted for attempt in chosen))
        if outcome == "forgiven":
            failed = [Outcome(attempt=each.granted.key, state="failed", kind="exception") for each in chosen]
            return reporter.report(*failed, forgive=lambda *blamed: True)
        return reporter.report(*(Outcome(attempt=attempt.granted.key, state=outcome) for attempt in chosen))

    def open(self, name: str) -> Seat:
        """A new session of the endpoint; what the old agent held may still be reported."""
        old = self.seats[name]
        agent = self.agent(name, takeover=True)
        agent.segments = old.agent.segments
        seat = self.seats[name] = Seat(agent, heard_at=self.now)
        return seat

    @rule(name=st.sampled_from(SITES), orderly=st.booleans())
    def stop(self, name: str, orderly: bool) -> None:
        """The agent closes its session, or a new one takes the endpoint over."""
        seat = self.seats[name]
        if orderly:
            seat.agent.close()
            seat.alive = False
            self.session_over(seat.agent.session_id)
            return
        if seat.alive:
            self.fenced[seat.agent.session_id] = seat.heard_at
        self.open(name)

    # Time

    @rule(seconds=st.integers(1, 5), beats=st.integers(1, 4), beating=st.lists(st.sampled_from(SITES), unique=True))
    def time_passes(self, seconds: int, beats: int, beating: list[str]) -> None:
        """The service beats on, and so do some of the agents."""
        for _ in range(beats):
            self.beat(seconds)
            for name in beating:
                if self.seats[name].alive:
                    self.beat_with(self.seats[name], [])

    def beat(self, seconds: int) -> None:
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
    def nothing_is_lost_and_nothing_ends_twice(self) -> None:
        tasks, attempts, pages = self.federation.read(self.look)
        rows = {row.task_id: row for row in tasks}
        assert set(rows) == set(self.jobs)
        for task_id, job in self.jobs.items():
            row = rows[task_id]
            working = [each for each in attempts if each.sequence == row.sequence and each.state != "recalled"]
            assert (row.state if row.state in TERMINAL_STATES else "") == job.end
            assert row.attempts == len(job.tries)
            if job.end:
                assert not working
                assert job.last is None or job.last == row, "it changed after its end"
                job.last = row
                assert row.location_object or job.end != "succeeded"
            else:
                assert (row.charged, row.losses) == (job.charged, job.losses)
                assert len(working) == (row.state in ("leased", "running")), "it is lost, or it runs twice"
                unready = any(not self.jobs[parent].end for parent in job.parents)
                assert (row.state == "waiting") == unready
        for group, page in pages.items():
            seen = self.seen[group]
            for result in page:
                seen.append(result.task_id)
                last = self.cursors.get(group)  # a group need not begin to count at one
                assert last is None or result.cursor == last + 1, "a cursor is skipped or used twice"
                self.cursors[group] = result.cursor
            ended = {job.task_id for job in self.jobs.values() if job.group_id == group and job.end}
            assert len(seen) == len(ended)
            assert set(seen) == ended

    def look(self, transaction: Transaction) -> tuple[list[AnyRow], list[AnyRow], dict[str, list[GroupResult]]]:
        """All tasks, the live attempts, and what is new in each group since its last cursor."""
        attempts = sa.select(schema.attempts).where(schema.attempts.c.ended_at.is_(None))
        return (
            list(transaction.execute(sa.select(schema.tasks)).all()),
            list(transaction.execute(attempts).all()),
            {
                group: results.group_results(transaction, self.ada, group, self.cursors.get(group, 0), 1000)
                for group in self.seen
            },
        )
