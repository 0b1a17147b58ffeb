"""Reports: each outcome counts once, and a success only with a result where the endpoint may put it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from faas.models import AllowedFunctions, AttemptKey, FailureKind, Location, Outcome, RunPolicy
from registry import objects, reports, schema
from registry.identities import Principal
from registry.leases import Granted
from tests.unit.registry.federation import SEGMENT_BYTES, Agent, Federation, new_id


def _success(granted: Granted, place: Location | None) -> Outcome:
    return Outcome(attempt=granted.key, state="succeeded", location=place)


def test_success_ends_a_task_with_the_place_of_its_result(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    federation.clock.advance(3)
    place = Location(site.segment(ada.identity_id).object_id, 10, 20)
    outcome = Outcome(
        attempt=granted.key,
        state="succeeded",
        location=place,
        started_at=federation.clock.now - 1,
        run_s=0.75,
        host="node7",
        worker="w3",
        python_version="3.12.1",
        stdout="hello",
        stderr="warning",
        node="theta3",
        job_id="4711",
        block_id="ab-1",
        environment="xpcs",
        peak_memory_bytes=2**40,
    )
    assert site.report(outcome) == 0
    task = federation.show(ada, task_id)
    assert (task.state, task.location, task.endpoint) == ("succeeded", place, "site")
    assert (task.started_at, task.ended_at) == (federation.clock.now - 1, federation.clock.now)
    [attempt] = task.attempts
    assert (attempt.state, attempt.run_s, attempt.host, attempt.worker) == ("succeeded", 0.75, "node7", "w3")
    assert (attempt.python_version, attempt.stdout, attempt.stderr) == ("3.12.1", "hello", "warning")
    assert (attempt.node, attempt.job_id, attempt.block_id) == ("theta3", "4711", "ab-1")
    assert (attempt.environment, attempt.peak_memory_bytes) == ("xpcs", 2**40)


def test_started_makes_a_task_running(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    assert site.report(Outcome(attempt=granted.key, state="started", started_at=123.0)) == 0
    assert federation.state(task_id) == "running"
    assert federation.attempts(task_id) == ["started"]
    assert federation.row(task_id).started_at == 123.0
    assert site.start(granted) == 1  # once is enough
    assert site.succeed(granted) == 0
    assert federation.state(task_id) == "succeeded"


def test_a_repeated_report_changes_nothing(federation: Federation, ada: Principal, site: Agent) -> None:
    task_ids = federation.run(ada, 2)
    good, bad = site.lease()
    assert site.succeed(good) + site.fail(bad) == 0
    before = [federation.row(task_id) for task_id in task_ids]
    federation.clock.advance(1)
    assert site.succeed(good) == 1
    assert site.fail(bad) == 1
    assert site.succeed(bad) == 1
    assert [federation.row(task_id) for task_id in task_ids] == before


def test_nothing_reported_later_changes_a_task_that_ended(federation: Federation, ada: Principal, site: Agent) -> None:
    task_ids = federation.run(ada, 2, max_attempts=2)
    first, second = site.lease()
    site.succeed(first)
    federation.cancel(ada, task_ids[1])
    before = [federation.row(task_id) for task_id in task_ids]
    for act in (site.start, site.fail, site.lose, site.release, site.succeed):
        act(first, second)
        assert [federation.row(task_id) for task_id in task_ids] == before


@pytest.mark.parametrize("order", [("failed", "released"), ("failed", "lost"), ("released", "failed")])
def test_only_the_first_of_contradicting_outcomes_in_one_report_counts(
    federation: Federation, ada: Principal, site: Agent, order: tuple[str, str]
) -> None:
    [task_id] = federation.run(ada, max_attempts=3)
    [granted] = site.lease()
    outcomes = [Outcome(attempt=granted.key, state=state) for state in order]  # type: ignore[arg-type]
    assert site.report(*outcomes) == 1
    assert federation.attempts(task_id) == [order[0]]
    row = federation.row(task_id)
    assert (row.state, row.charged, row.losses) == ("queued", int(order[0] == "failed"), 0)


def test_the_same_end_twice_in_one_report_ends_a_task_once(federation: Federation, ada: Principal, site: Agent) -> None:
    group_id = new_id()
    federation.run(ada, 3, group_id=group_id)
    good, bad, lost = site.lease()
    doubled = [site.success(good)] * 2 + [Outcome(attempt=bad.key, state="failed")] * 2
    assert site.report(*doubled, site.success(lost), Outcome(attempt=lost.key, state="lost")) == 3
    ended = federation.results(ada, group_id)
    assert [each.cursor for each in ended] == [1, 2, 3]
    assert sorted(each.state for each in ended) == ["failed", "succeeded", "succeeded"]


def test_started_and_failed_in_one_report_are_both_taken(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada, max_attempts=2)
    [granted] = site.lease()
    started = Outcome(attempt=granted.key, state="started", started_at=5.0)
    assert site.report(started, Outcome(attempt=granted.key, state="failed")) == 0
    row = federation.row(task_id)
    assert (row.state, row.charged) == ("queued", 1)


# Where a result may lie


def test_a_result_beyond_the_stored_size_is_a_loss(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    segment = site.segment(ada.identity_id)
    beyond = Location(segment.object_id, SEGMENT_BYTES - 5, 6)
    assert site.report(_success(granted, beyond)) == 0
    row = federation.row(task_id)
    assert (row.state, row.losses, row.charged) == ("queued", 1, 0)
    [attempt] = federation.show(ada, task_id).attempts
    assert attempt.state == "lost"
    assert segment.object_id in attempt.message
    [again] = site.lease()
    assert site.report(_success(again, Location(segment.object_id, SEGMENT_BYTES - 5, 5))) == 0
    assert federation.state(task_id) == "succeeded"


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), (2**62, 2**62)])
def test_an_impossible_range_is_a_loss(
    federation: Federation, ada: Principal, site: Agent, offset: int, length: int
) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    site.report(_success(granted, Location(site.segment(ada.identity_id).object_id, offset, length)))
    assert federation.attempts(task_id) == ["lost"]
    assert federation.state(task_id) == "queued"


def test_success_without_a_result_is_a_loss(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    site.report(_success(granted, None))
    assert federation.attempts(task_id) == ["lost"]


def test_a_segment_that_is_not_in_the_store_is_a_loss(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    site.report(site.success(granted), sizes={})
    assert federation.attempts(task_id) == ["lost"]


@pytest.mark.parametrize("which", ["another endpoint's", "another owner's", "an argument", "unknown"])
def test_an_object_not_granted_for_the_result_is_a_loss(
    federation: Federation, ada: Principal, bob: Principal, site: Agent, which: str
) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    if which == "another endpoint's":
        object_id = federation.agent(ada, "other").segment(ada.identity_id).object_id
    elif which == "another owner's":
        object_id = site.segment(bob.identity_id).object_id
    elif which == "an argument":
        stored = federation.write(objects.create, ada.identity_id, "argument", endpoint_id=site.endpoint_id)
        object_id = stored.object_id
    else:
        object_id = new_id()
    site.report(_success(granted, Location(object_id, 0, 1)), sizes={object_id: 100})
    assert federation.attempts(task_id) == ["lost"]
    assert federation.state(task_id) == "queued"
    assert "not granted" in federation.show(ada, task_id).attempts[0].message


def test_a_misplaced_failure_is_a_loss_too(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    site.report(Outcome(attempt=granted.key, state="failed", location=Location(new_id(), 0, 1)))
    row = federation.row(task_id)
    assert (row.state, row.charged, row.losses) == ("queued", 0, 1)


def test_a_misplaced_result_does_not_touch_its_neighbours(federation: Federation, ada: Principal, site: Agent) -> None:
    task_ids = federation.run(ada, 3)
    first, second, third = site.lease()
    site.report(site.success(first), _success(second, None), site.success(third))
    assert federation.states(task_ids) == ["succeeded", "queued", "succeeded"]


def _expires_at(federation: Federation, object_id: str) -> float | None:
    query = sa.select(schema.objects.c.expires_at).where(schema.objects.c.object_id == object_id)
    return federation.rows(query)[0].expires_at  # type: ignore[no-any-return]


def test_a_segment_with_a_result_is_kept_with_its_size(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.run(ada)
    segment = site.segment(ada.identity_id)
    assert _expires_at(federation, segment.object_id) is not None
    site.succeed(*site.lease())
    assert _expires_at(federation, segment.object_id) is None
    assert federation.read(objects.find, {segment.object_id})[segment.object_id].size_bytes == SEGMENT_BYTES


def test_a_segment_whose_results_were_all_dropped_still_expires(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    task_ids = federation.run(ada)
    [granted] = site.lease()
    federation.cancel(ada, *task_ids)
    site.succeed(granted)
    assert _expires_at(federation, site.segment(ada.identity_id).object_id) is not None


# Whose attempt


def test_reports_count_only_for_attempts_of_the_endpoint(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    other = federation.agent(ada, "other")
    for act in (other.start, other.succeed, other.fail, other.lose, other.release):
        assert act(granted) == 1
    assert federation.state(task_id) == "leased"
    assert federation.attempts(task_id) == ["leased"]


def test_an_attempt_never_granted_changes_nothing(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    sequence = federation.row(task_id).sequence
    place = Location(site.segment(ada.identity_id).object_id, 0, 1)
    invented = [AttemptKey(sequence, 1), AttemptKey(sequence, 2), AttemptKey(sequence + 99, 1)]
    outcomes = [Outcome(attempt=key, state="succeeded", location=place) for key in invented]
    assert site.report(*outcomes) == 3
    assert federation.state(task_id) == "queued"


def test_a_report_may_be_empty(site: Agent) -> None:
    assert site.report() == 0


# What comes with an outcome


def test_text_from_a_site_may_hold_anything(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    odd = "a\x00b\x1b[31m☢"
    site.report(Outcome(attempt=granted.key, state="failed", message=odd, stdout=odd, stderr=odd, host=odd, worker=odd))
    task = federation.show(ada, task_id)
    assert task.state == "failed"
    assert task.message == task.attempts[0].stdout == "a\ufffdb\x1b[31m☢"


def test_a_long_message_is_cut(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    site.report(Outcome(attempt=granted.key, state="failed", message="x" * 100_000))
    assert len(federation.row(task_id).message) == 2000


def test_an_endpoint_stores_results_for_those_it_serves(federation: Federation, ada: Principal, bob: Principal) -> None:
    eve = federation.person("eve")
    site = federation.agent(ada, policy=RunPolicy(identities={"bob": AllowedFunctions(functions=[])}))
    asked = [ada.identity_id, bob.identity_id, eve.identity_id, new_id()]
    served = federation.read(reports.owners_served, site.endpoint_id, asked)
    assert served == [ada.identity_id, bob.identity_id]


def test_a_failure_may_be_taken_for_the_endpoints(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada, max_attempts=1, max_losses=1)
    asked: list[tuple[str, int]] = []

    def forgive(endpoint_id: str, function_id: str, class_id: int, before: int) -> bool:
        asked.append((endpoint_id, before))
        return True

    def failure(granted: Granted, kind: FailureKind = "exception") -> Outcome:
        return Outcome(attempt=granted.key, state="failed", kind=kind, message="ImportError")

    [granted] = site.lease()
    for _ in range(2):  # told again, it says nothing new
        site.report(failure(granted), forgive=forgive)
    assert (federation.state(task_id), federation.row(task_id).charged) == ("queued", 0)
    [attempt] = federation.show(ada, task_id).attempts
    assert (attempt.state, attempt.message) == ("lost", "ImportError")
    [again] = site.lease()
    site.report(failure(again), forgive=forgive)  # max_losses are used up: now it is the task's own
    assert (federation.state(task_id), federation.row(task_id).charged) == ("failed", 1)
    assert asked == [(site.endpoint_id, 0), (site.endpoint_id, 1)]


@pytest.mark.parametrize("kind", ["timeout", "serialization", "refused"])
def test_other_kinds_of_failure_are_nobodys_but_the_tasks(
    federation: Federation, ada: Principal, site: Agent, kind: FailureKind
) -> None:
    [task_id] = federation.run(ada, max_attempts=1)
    [granted] = site.lease()
    site.report(Outcome(attempt=granted.key, state="failed", kind=kind), forgive=lambda *asked: True)
    assert federation.state(task_id) == "failed"
