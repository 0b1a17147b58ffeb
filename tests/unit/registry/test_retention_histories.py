"""Random histories of retention: nothing goes that is still needed, and in the end everything else has gone."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from faas.models import TERMINAL_STATES, Submission
from registry import objects, retention, schema
from registry.leases import Granted
from registry.objects import UNREFERENCED_S
from registry.resolving import CLASS_TOUCHED_S
from tests.unit.registry.federation import Agent, Federation, new_id

KEPT_S = 10 * 24 * 3600.0
_FINAL_ROUNDS = 5
_OBJECTS = 4
"""So few that tasks share them."""
picks = st.integers(0, 10_000)


@dataclass
class Record:
    """What the test itself knows of a task."""

    wanted: list[str]
    """Objects in its arguments."""
    parents: list[str]
    ended_at: float | None = None
    place: str = ""
    """The object its result lies in."""
    named: list[str] = field(default_factory=list)
    """Objects that its result refers to."""


class Retained(RuleBasedStateMachine):
    """A federation, and a model of what must still be there."""

    make: ClassVar[Callable[[], Federation]]

    @initialize()
    def begin(self) -> None:
        self.federation = type(self).make()
        self.ada = self.federation.person("ada")
        self.function = self.federation.function(self.ada)
        self.site: Agent = self.federation.agent(self.ada)
        self.records: dict[str, Record] = {}
        self.held: list[Granted] = []
        self.groups = [new_id() for _ in range(3)]
        self.bytes: set[str] = set()
        self.kept: set[str] = set()
        self.walked = retention.Walked(0, over=False)

    def teardown(self) -> None:
        try:
            if hasattr(self, "records"):
                self.everything_goes()
        finally:
            if hasattr(self, "federation"):
                if not self.federation.database.is_sqlite:
                    self.federation.empty()
                self.federation.close()

    # What people and sites do

    @precondition(lambda self: len(self.bytes) < _OBJECTS)
    @rule(kept=st.booleans())
    def put(self, kept: bool) -> None:
        made = self.federation.write(objects.create, self.ada.identity_id, "object", size_bytes=1)
        self.bytes.add(made.object_id)
        if kept:
            here = schema.objects.c.object_id == made.object_id
            with self.federation.database.engine.begin() as connection:
                connection.execute(sa.update(schema.objects).where(here).values(kept=True, expires_at=None))
            self.kept.add(made.object_id)

    @rule(
        objects_picked=st.lists(picks, max_size=2),
        parents_picked=st.lists(picks, max_size=2),
        group=st.integers(0, 2),
        priority=st.integers(0, 2),
    )
    def submit(self, objects_picked: list[int], parents_picked: list[int], group: int, priority: int) -> None:
        known = sorted(self.bytes)
        wanted = sorted({known[each % len(known)] for each in objects_picked}) if known else []
        earlier = list(self.records)
        parents = sorted({earlier[each % len(earlier)] for each in parents_picked}) if earlier else []
        submission = Submission(
            task_id=new_id(),
            function=self.function,
            objects=wanted,
            dependencies=parents,
            priority=priority,
            tags={"n": str(priority)},
        )
        answer = self.federation.submit(self.ada, submission, group_id=self.groups[group])
        # Only a segment, which nobody may name, or something that goes at this moment may be refused.
        if not answer.refused:
            self.records[submission.task_id] = Record(wanted, parents)

    @rule(count=st.integers(1, 3), named=st.lists(picks, max_size=2))
    def run(self, count: int, named: list[int]) -> None:
        """Tasks come to an end at once, as most do."""
        for granted in self.site.lease(count):
            self.held.append(granted)
            self.report(len(self.held) - 1, named, False, False)

    @rule(count=st.integers(1, 4))
    def lease(self, count: int) -> None:
        self.held += self.site.lease(count)

    @precondition(lambda self: self.held)
    @rule(pick=picks, named=st.lists(picks, max_size=2), fresh=st.booleans(), fails=st.booleans())
    def report(self, pick: int, named: list[int], fresh: bool, fails: bool) -> None:
        granted = self.held.pop(pick % len(self.held))
        if fails:
            self.site.fail(granted)
            return
        if fresh:
            self.site.segments.clear()
        outcome = self.site.success(granted)
        assert outcome.location is not None
        self.bytes.add(outcome.location.object_id)
        task = self.records[granted.task_id]
        given = [*task.wanted, *(name for parent in task.parents for name in self.records[parent].named)]
        outcome.objects = [given[each % len(given)] for each in named] if given else []
        self.site.report(outcome)
        if self.federation.state(granted.task_id) == "succeeded":  # the segment may have gone, unused for a day
            task.place, task.named = outcome.location.object_id, outcome.objects

    @precondition(lambda self: self.records)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        earlier = list(self.records)
        self.federation.cancel(self.ada, earlier[pick % len(earlier)])

    @rule()
    def beat(self) -> None:
        recalled = {(key.sequence, key.number) for key in self.site.beat(self.held)}
        self.held = [each for each in self.held if (each.key.sequence, each.key.number) not in recalled]

    # Time, and the housekeeping

    @rule(days=st.sampled_from([0.1, 0.5, 1.1, 4.0, 10.1]))
    def days_pass(self, days: float) -> None:
        self.federation.clock.advance(days * 24 * 3600)

    @rule(limit=st.integers(1, 5))
    def let_go(self, limit: int) -> None:
        """A slice of the walk; what follows a whole walk after its last one."""
        before = self.federation.clock.now - KEPT_S
        self.walked = self.federation.write(retention.expire_tasks, before, self.walked.position, limit)
        if self.walked.over:
            self.federation.write(retention.drop_classes, before, self.walked.position)
            self.federation.write(retention.drop_groups, before, "", 100)
            self.walked = retention.Walked(0, over=False)
        left = {row.task_id for row in self.federation.rows(sa.select(schema.tasks.c.task_id))}
        for task_id in [each for each in self.records if each not in left]:
            ended_at = self.records[task_id].ended_at
            assert ended_at is not None
            assert ended_at < before
            assert not self.is_awaited(task_id)
            del self.records[task_id]
            for other in self.records.values():
                other.parents = [parent for parent in other.parents if parent != task_id]

    @rule()
    def let_all_go(self) -> None:
        """What has ended gets old, and the housekeeping comes round twice."""
        for seconds in (KEPT_S + 1, UNREFERENCED_S + 1):
            self.federation.clock.advance(seconds)
            self.walked = retention.Walked(0, over=False)
            self.let_go(1000)
            self.delete_objects()

    @rule()
    def delete_objects(self) -> None:
        doomed = self.federation.write(retention.doom, 100)
        self.bytes -= {each.object_id for each in doomed}
        self.federation.write(retention.forget, [each.object_id for each in doomed])

    # What must hold

    def is_awaited(self, task_id: str) -> bool:
        return any(task_id in each.parents and each.ended_at is None for each in self.records.values())

    @invariant()
    def what_is_needed_is_there(self) -> None:
        if not hasattr(self, "records"):
            return
        rows = {row.task_id: row for row in self.federation.rows(sa.select(schema.tasks))}
        assert set(rows) == set(self.records)
        for task_id, task in self.records.items():
            if rows[task_id].state in TERMINAL_STATES and task.ended_at is None:
                task.ended_at = self.federation.clock.now
            needed = {*task.wanted, *task.named, *filter(None, [task.place])}
            assert needed <= self.bytes
        assert self.kept <= self.bytes
        groups = {row.group_id for row in self.federation.rows(sa.select(schema.groups))}
        classes = {row.class_id for row in self.federation.rows(sa.select(schema.classes))}
        for row in rows.values():
            assert row.group_id in groups
            assert row.class_id in classes

    def everything_goes(self) -> None:
        """Once all has ended and time has passed, nothing is left but what was kept on purpose."""
        self.beat()
        for _ in range(len(self.records) + 1):
            self.held += self.site.lease()
            while self.held:
                self.report(0, [0], False, False)
        self.site.beat([])
        self.what_is_needed_is_there()
        assert all(each.ended_at is not None for each in self.records.values())
        for _ in range(_FINAL_ROUNDS):
            self.federation.clock.advance(max(KEPT_S + 3 * CLASS_TOUCHED_S, UNREFERENCED_S + 1))
            self.walked = retention.Walked(0, over=False)
            self.let_go(1000)
            self.delete_objects()
        assert self.bytes == self.kept
        left = {row.object_id for row in self.federation.rows(sa.select(schema.objects.c.object_id))}
        assert left == self.kept
        empty = [schema.tasks, schema.attempts, schema.dependencies, schema.object_uses, schema.task_tags]
        for table in (*empty, schema.groups, schema.classes):
            assert self.federation.count(table) == 0, table.name


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


def test_no_history_loses_what_is_needed(empty_federations: Callable[[], Federation], registry_url: str) -> None:
    machine = type("Histories", (Retained,), {"make": staticmethod(empty_federations)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12 if registry_url.startswith("sqlite") else 3,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
