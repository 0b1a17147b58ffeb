"""Transactions that really run at the same time on PostgreSQL: cursors, leases, submissions and lost races.

Each rival has its own connection and is stopped in the middle of its transaction; the other one then
runs in a thread, and is known to wait when the database says that it does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from faas.models import Submission
from registry import leases, objects, reports, retention, schema, tasks
from registry.database import Database, Overtaken, Transaction, opened
from registry.identities import Principal
from registry.leases import Granted
from registry.migrate import migrate
from registry.objects import UNREFERENCED_S
from tests.unit.registry.federation import ANSWER_S, SEGMENT_BYTES, Agent, Federation, everything, new_id

T = TypeVar("T")
Work = Callable[[Transaction], T]


@pytest.fixture
def federation(postgres_url: str) -> Iterator[Federation]:
    """An empty federation on PostgreSQL."""
    with opened(postgres_url) as database:
        migrate(database)
    bench = Federation(postgres_url)
    yield bench
    bench.close()


@pytest.fixture
def ada(federation: Federation) -> Principal:
    return federation.person("ada")


@pytest.fixture
def site(federation: Federation, ada: Principal) -> Agent:
    return federation.agent(ada)


class Rival:
    """A transaction of its own connection, ended by the test."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._connection = federation.database.engine.connect()
        self._begun = self._connection.begin()
        self.process = int(self._connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())
        self.transaction = Transaction(self._connection, lambda connection: federation.clock())

    def run(self, work: Work[T]) -> T:
        return work(self.transaction)

    def commit(self) -> None:
        self._begun.commit()

    def close(self) -> None:
        self._begun.close()
        self._connection.close()

    def wait_until_it_waits(self) -> None:
        """Return once this transaction waits for a lock of another."""
        waits = sa.text("SELECT cardinality(pg_blocking_pids(:process)) > 0").bindparams(process=self.process)
        _ask_until(self._federation.database, waits)


def _ask_until(database: Database, question: sa.TextClause) -> None:
    for _ in range(20_000):
        with database.engine.begin() as connection:
            if connection.execute(question).scalar_one():
                return
    raise AssertionError("the other transaction never came to wait")


@contextmanager
def _rivals(federation: Federation) -> Iterator[tuple[Rival, Rival, ThreadPoolExecutor]]:
    """Two open transactions, and a thread for the one that will have to wait."""
    first, second = Rival(federation), Rival(federation)
    with ThreadPoolExecutor(1) as thread:
        try:
            yield first, second, thread
        finally:
            first.close()
            thread.shutdown()
            second.close()


def _success(site: Agent, granted: Granted) -> Work[int]:
    outcome = site.success(granted)
    sizes = {segment.object_id: SEGMENT_BYTES for segment in site.segments.values()}
    return lambda transaction: reports.report(transaction, site.endpoint_id, [outcome], sizes)


def _lease(site: Agent, number: int, count: int) -> Work[list[Granted]]:
    return lambda transaction: leases.lease(transaction, site.endpoint_id, site.session_id, number, count, everything)


def _submit(ada: Principal, *submissions: Submission, group_id: str) -> Work[Any]:
    items = [tasks.Item(index, submission) for index, submission in enumerate(submissions)]
    return lambda transaction: tasks.submit(transaction, ada, group_id, items, [])


# Cursors


@pytest.mark.parametrize("first_ends", [0, 1])
def test_no_cursor_skips_an_end_that_is_committed_later(
    federation: Federation, ada: Principal, site: Agent, first_ends: int
) -> None:
    """Without the group's lock, the second would commit cursor 2 before the first commits cursor 1."""
    group_id = new_id()
    federation.run(ada, 2, group_id=group_id)
    granted = site.lease()
    early, late = granted[first_ends], granted[1 - first_ends]
    work = [_success(site, early), _success(site, late)]
    seen: list[tuple[str, int]] = []

    def look() -> int:
        after = seen[-1][1] if seen else 0
        seen.extend((each.task_id, each.cursor) for each in federation.results(ada, group_id, after))
        return len(seen)

    with _rivals(federation) as (first, second, thread):
        assert first.run(work[0]) == 0
        waiting = thread.submit(second.run, work[1])
        second.wait_until_it_waits()
        assert look() == 0
        first.commit()
        assert waiting.result(ANSWER_S) == 0
        assert look() == 1
        second.commit()
        assert look() == 2
    assert seen == [(early.task_id, 1), (late.task_id, 2)]


def test_a_cursor_given_up_is_used_again(federation: Federation, ada: Principal, site: Agent) -> None:
    group_id = new_id()
    federation.run(ada, 2, group_id=group_id)
    granted = site.lease()
    work = [_success(site, each) for each in granted]
    with _rivals(federation) as (first, second, thread):
        first.run(work[0])
        waiting = thread.submit(second.run, work[1])
        second.wait_until_it_waits()
        first.close()  # rolls back, as a killed service would
        waiting.result(ANSWER_S)
        second.commit()
    assert [(each.task_id, each.cursor) for each in federation.results(ada, group_id)] == [(granted[1].task_id, 1)]


def test_ends_in_two_groups_do_not_wait_for_one_another(federation: Federation, ada: Principal, site: Agent) -> None:
    one, other = new_id(), new_id()
    federation.run(ada, group_id=one)
    federation.run(ada, group_id=other)
    granted = site.lease()
    work = [_success(site, granted[0])]
    site.segments = {}  # each its own segment, which a report locks too
    work.append(_success(site, granted[1]))
    with _rivals(federation) as (first, second, _):
        assert first.run(work[0]) == second.run(work[1]) == 0  # in this thread: neither may wait
        second.commit()
        assert [each.cursor for each in federation.results(ada, other)] == [2]  # begun after one task
        first.commit()
    assert [each.cursor for each in federation.results(ada, one)] == [1]


def test_two_ends_of_one_task_leave_one(federation: Federation, ada: Principal, site: Agent) -> None:
    """An expired attempt's success and the failure of the attempt that runs now."""
    group_id = new_id()
    [task_id] = federation.run(ada, group_id=group_id)
    [old] = site.lease()
    site.lose(old)
    other = federation.agent(ada, "other")
    [new] = other.lease()
    late = _success(site, old)
    current = _success(other, new)
    with _rivals(federation) as (first, second, thread):
        assert first.run(late) == 0
        waiting = thread.submit(second.run, current)
        second.wait_until_it_waits()
        first.commit()
        assert waiting.result(ANSWER_S) == 0  # its attempt is over, its task had ended
        second.commit()
    row = federation.row(task_id)
    assert (row.state, row.endpoint_id, row.end_cursor) == ("succeeded", site.endpoint_id, 1)
    assert federation.attempts(task_id) == ["succeeded", "succeeded"]


# Dependencies


@pytest.mark.parametrize("submitted_first", [True, False])
def test_no_end_of_a_parent_falls_between(
    federation: Federation, ada: Principal, site: Agent, submitted_first: bool
) -> None:
    [parent] = federation.run(ada)
    [granted] = site.lease()
    child = Submission(task_id=new_id(), function="fit", dependencies=[parent])
    work: list[Work[Any]] = [_submit(ada, child, group_id=new_id()), _success(site, granted)]
    if not submitted_first:
        work.reverse()
    with _rivals(federation) as (first, second, thread):
        first.run(work[0])
        waiting = thread.submit(second.run, work[1])
        second.wait_until_it_waits()
        first.commit()
        waiting.result(ANSWER_S)
        second.commit()
    assert federation.states([parent, child.task_id]) == ["succeeded", "queued"]


# Leases


def test_two_sessions_lease_at_once_without_waiting_or_sharing(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    other = federation.agent(ada, "other")
    submitted = federation.run(ada, 6)
    with _rivals(federation) as (first, second, _):
        mine = first.run(_lease(site, 1, 3))
        theirs = second.run(_lease(other, 1, 2))  # in this thread: it must not wait for the first
        assert [each.task_id for each in mine] == submitted[:3]
        assert [each.task_id for each in theirs] == submitted[3:5]
        second.commit()
        first.close()  # never answered: its tasks are free again
    assert [each.task_id for each in other.lease(number=2)] == [*submitted[:3], submitted[5]]


def test_the_same_request_twice_at_once_gets_one_answer(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.run(ada, 5)
    with _rivals(federation) as (first, second, thread):
        answer = first.run(_lease(site, 1, 3))
        waiting = thread.submit(second.run, _lease(site, 1, 3))
        second.wait_until_it_waits()
        first.commit()
        assert waiting.result(ANSWER_S) == answer
        second.commit()
    assert federation.count(schema.attempts) == 3


def test_many_sessions_lease_everything_once(federation: Federation, ada: Principal) -> None:
    agents = [federation.agent(ada, f"site{number}") for number in range(4)]
    submitted = federation.run(ada, 200)
    with ThreadPoolExecutor(len(agents)) as threads:
        leased = threads.map(lambda agent: [each.task_id for _ in range(30) for each in agent.lease(3)], agents)
        together = [task_id for each in leased for task_id in each]
    together += [each.task_id for each in agents[0].lease()]
    assert sorted(together) == sorted(submitted)


# Submissions and lost races


def test_two_identical_submissions_at_once_are_one(federation: Federation, ada: Principal) -> None:
    function_id = federation.function(ada)
    batch = [Submission(task_id=new_id(), function=function_id, tags={"run": "7"}) for _ in range(3)]
    group_id = new_id()
    rival = Rival(federation)
    try:
        assert rival.run(_submit(ada, *batch, group_id=group_id)).accepted == 3
        waiting: Future[Any] = federation.database.write_soon(_submit(ada, *batch, group_id=group_id))
        blocked = (
            f"SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND {rival.process} = ANY(pg_blocking_pids(pid))"
        )
        _ask_until(federation.database, sa.text(blocked))
        rival.commit()
    finally:
        rival.close()
    answer = waiting.result(ANSWER_S)
    assert (answer.accepted, answer.refused) == (3, [])
    assert federation.count(schema.tasks) == federation.count(schema.task_tags) == 3


def test_identical_batches_from_many_replicas_are_one(
    federation: Federation, ada: Principal, postgres_url: str
) -> None:
    function_id = federation.function(ada)
    batches = [[Submission(task_id=new_id(), function=function_id) for _ in range(5)] for _ in range(10)]
    group_id = new_id()
    with opened(postgres_url) as replica:
        futures = [
            database.write_soon(_submit(ada, *batch, group_id=group_id))
            for batch in batches
            for database in (federation.database, replica, federation.database)
        ]
        assert [each.result(ANSWER_S).accepted for each in futures] == [5] * 30
    assert federation.count(schema.tasks) == 50
    assert federation.count(schema.groups) == federation.count(schema.classes) == 1


def test_work_that_met_a_deadlock_is_repeated(federation: Federation, ada: Principal) -> None:
    names = [federation.person(name).identity_id for name in ("x", "y")]
    both_hold_one = threading.Barrier(2)
    tries: list[int] = []

    def touch(transaction: Transaction, first: int) -> None:
        tries.append(first)
        table = schema.identities
        for step, which in enumerate((first, 1 - first)):
            change = sa.update(table).where(table.c.identity_id == names[which])
            transaction.execute(change.values(created_at=table.c.created_at + 1))
            if not step and tries.count(first) == 1:
                both_hold_one.wait(ANSWER_S)

    futures = [federation.database.write_soon(touch, first) for first in (0, 1)]
    for future in futures:
        future.result(ANSWER_S)
    assert len(tries) >= 3  # the repetition may meet the other once more, on a busy machine
    query = sa.select(schema.identities.c.created_at).where(schema.identities.c.identity_id.in_(names))
    assert [row.created_at - federation.clock.now for row in federation.rows(query)] == [2, 2]


# Objects


def test_an_object_kept_meanwhile_is_not_doomed(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.run(ada)
    [granted] = site.lease()
    work = _success(site, granted)
    segment = site.segment(ada.identity_id)
    federation.clock.advance(UNREFERENCED_S + 1)
    with _rivals(federation) as (first, second, thread):
        assert first.run(work) == 0
        waiting = thread.submit(second.run, lambda transaction: retention.doom(transaction, 10))
        second.wait_until_it_waits()
        first.commit()
        assert waiting.result(ANSWER_S) == []
        second.commit()
    assert federation.read(objects.find, {segment.object_id})


def test_nothing_is_kept_in_an_object_that_is_being_doomed(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    work = _success(site, granted)
    federation.clock.advance(UNREFERENCED_S + 1)
    with _rivals(federation) as (first, second, thread):
        assert len(first.run(lambda transaction: retention.doom(transaction, 10))) == 1
        waiting = thread.submit(second.run, work)
        second.wait_until_it_waits()
        first.commit()
        waiting.result(ANSWER_S)
        second.commit()
    assert federation.attempts(task_id) == ["lost"]


def test_nobody_submits_a_task_that_refers_to_an_object_being_doomed(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    argument = federation.write(objects.create, ada.identity_id, "argument")
    submission = Submission(task_id=new_id(), function=federation.function(ada), objects=[argument.object_id])
    federation.clock.advance(UNREFERENCED_S + 1)
    with _rivals(federation) as (first, second, thread):
        assert len(first.run(lambda transaction: retention.doom(transaction, 10))) == 1
        items = [tasks.Item(0, submission)]
        waiting = thread.submit(
            second.run, lambda transaction: tasks.submit(transaction, ada, submission.task_id, items, [])
        )
        second.wait_until_it_waits()
        first.commit()
        with pytest.raises(Overtaken):
            waiting.result(ANSWER_S)
    [refusal] = federation.submit(ada, submission).refused
    assert refusal.status == 404


def test_work_that_was_overtaken_is_repeated(federation: Federation) -> None:
    tries: list[int] = []

    def work(transaction: Transaction) -> int:
        tries.append(1)
        if len(tries) < 3:
            raise Overtaken("somebody was quicker")
        return len(tries)

    assert federation.write(work) == 3
