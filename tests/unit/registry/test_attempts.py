"""Attempts: which outcome of which attempt touches the task, and what counts against its bounds."""

from __future__ import annotations

import pytest

from faas.models import AttemptKey, Location, Outcome
from registry.identities import Principal
from tests.unit.registry.federation import LEASE_TIMEOUT_S, Agent, Federation


def test_success_of_an_expired_attempt_ends_the_task(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    site.start(granted)
    assert federation.let_pass(LEASE_TIMEOUT_S + 6) == [site.session_id]
    assert federation.state(task_id) == "queued"
    assert site.succeed(granted) == 0
    assert federation.state(task_id) == "succeeded"
    assert federation.attempts(task_id) == ["succeeded"]
    assert federation.agent(ada).lease() == []


def test_late_success_recalls_the_attempt_that_runs_now(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [old] = site.lease()
    federation.let_pass(LEASE_TIMEOUT_S + 6)
    other = federation.agent(ada, "other")
    [new] = other.lease()
    assert new.key == AttemptKey(old.key.sequence, 2)
    site.succeed(old)
    assert federation.state(task_id) == "succeeded"
    assert federation.attempts(task_id) == ["succeeded", "recalled"]
    assert other.beat([new]) == [new.key]
    assert other.succeed(new) == 0  # the attempt is over; the task had its end
    row = federation.row(task_id)
    assert (row.location_object, row.endpoint_id) == (site.segment(ada.identity_id).object_id, site.endpoint_id)


def test_failure_of_an_expired_attempt_leaves_the_new_one_alone(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    [task_id] = federation.run(ada, max_attempts=1)
    [old] = site.lease()
    federation.let_pass(LEASE_TIMEOUT_S + 6)
    other = federation.agent(ada, "other")
    [new] = other.lease()
    for act in (site.fail, site.lose, site.release, site.start):
        assert act(old) == 1
    assert federation.state(task_id) == "leased"
    other.succeed(new)
    assert federation.state(task_id) == "succeeded"


def test_failures_count_up_to_max_attempts(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada, max_attempts=3)
    for charged in (1, 2):
        site.fail(*site.lease())
        assert (federation.state(task_id), federation.row(task_id).charged) == ("queued", charged)
    site.fail(*site.lease())
    row = federation.row(task_id)
    assert (row.state, row.charged, row.message) == ("failed", 3, "ValueError")
    assert federation.attempts(task_id) == ["failed"] * 3


def test_a_failed_task_keeps_where_its_failure_lies(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    place = Location(site.segment(ada.identity_id).object_id, 3, 4)
    site.report(Outcome(attempt=granted.key, state="failed", kind="exception", location=place))
    assert federation.show(ada, task_id).location == place


def test_losses_count_apart_up_to_max_losses(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada, max_losses=2, max_attempts=1)
    for losses in (1, 2):
        site.lose(*site.lease())
        assert (federation.state(task_id), federation.row(task_id).losses) == ("queued", losses)
    site.lose(*site.lease())
    row = federation.row(task_id)
    assert (row.state, row.charged, row.losses) == ("lost", 0, 3)
    assert "max_losses=2" in row.message


def test_a_release_counts_against_nothing(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada, max_losses=0, max_attempts=1)
    for _ in range(3):
        site.release(*site.lease())
        row = federation.row(task_id)
        assert (row.state, row.charged, row.losses) == ("queued", 0, 0)
    site.succeed(*site.lease())
    assert federation.state(task_id) == "succeeded"


def test_a_refusal_by_the_site_fails_the_task_uncharged(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada, max_attempts=5)
    site.fail(*site.lease(), kind="refused")
    row = federation.row(task_id)
    assert (row.state, row.charged) == ("failed", 0)


@pytest.mark.parametrize(("act", "end"), [("fail", "failed"), ("lose", "lost"), ("release", "lost")])
def test_a_task_that_must_not_run_twice_never_does(
    federation: Federation, ada: Principal, site: Agent, act: str, end: str
) -> None:
    [task_id] = federation.run(ada, idempotent=False, max_attempts=5, max_losses=5)
    [granted] = site.lease()
    site.start(granted)
    getattr(site, act)(granted)
    assert federation.state(task_id) == end
    assert site.lease() == []


def test_a_task_that_must_not_run_twice_may_be_handed_on_before_it_starts(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    [task_id] = federation.run(ada, idempotent=False)
    site.release(*site.lease())
    site.lease()
    federation.let_pass(LEASE_TIMEOUT_S + 6)
    again = federation.agent(ada)
    again.succeed(*again.lease())
    assert federation.state(task_id) == "succeeded"


def test_started_counts_for_a_task_that_must_not_run_twice_only_while_its_attempt_lives(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    [task_id] = federation.run(ada, idempotent=False)
    [granted] = site.lease()
    federation.let_pass(LEASE_TIMEOUT_S + 6)
    assert site.start(granted) == 1  # so its agent does not run it
    assert federation.state(task_id) == "queued"


def test_in_one_report_a_success_goes_before_a_failure_of_the_same_task(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    """A spooled success of an earlier attempt arrives with the failure of the present one."""
    [task_id] = federation.run(ada, max_attempts=1)
    [old] = site.lease()
    site.release(old)
    [new] = site.lease()
    assert site.report(Outcome(attempt=new.key, state="failed"), site.success(old)) == 0
    assert federation.state(task_id) == "succeeded"
    assert federation.attempts(task_id) == ["succeeded", "failed"]
