"""Usage: shared out to those who used it, shown to those it concerns, and the same sum however it is listed."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from faas.errors import InvalidRequest, NotFound
from faas.models import AllowedFunctions, Block, Outcome, RunPolicy, Usage, UsageRow
from registry import endpoints, usage
from registry.identities import Principal
from tests.unit.registry.federation import Agent, Federation

HOUR_S = 3_600.0


@pytest.fixture
def shared(federation: Federation, ada: Principal, bob: Principal) -> Agent:
    """Ada's endpoint, where bob may run too."""
    return federation.agent(ada, "cluster", policy=RunPolicy(identities={"bob": AllowedFunctions()}))


@pytest.fixture
def admin(federation: Federation) -> Principal:
    return federation.person("root", scope="admin")


def block(federation: Federation, ran_s: float, *, waited_s: float = 0.0, state: str = "ended", **fields: Any) -> Block:
    """A block of two nodes that began so long ago, with four workers from then on."""
    now = federation.clock.now
    given = {
        "block_id": "faas-1",
        "state": state,
        "nodes": 2,
        "walltime_s": 2 * HOUR_S,
        "workers": 4,
        "requested_at": now - ran_s - waited_s,
        "started_at": now - ran_s,
        "ready_at": now - ran_s,
        **fields,
    }
    return msgspec.convert(given, Block)


def ran(
    federation: Federation,
    site: Agent,
    owner: Principal,
    run_s: float,
    *,
    ago_s: float = 0.0,
    block_id: str = "",
    **task: Any,
) -> str:
    """A task that ended so long ago; gives its id."""
    [task_id] = federation.run(owner, target=site.endpoint_id, **task)
    [granted] = site.lease()
    began = federation.clock.now - ago_s - run_s
    success = msgspec.structs.replace(site.success(granted), started_at=began, run_s=run_s, block_id=block_id)
    assert site.report(success) == 0
    return task_id


def report(federation: Federation, principal: Principal, by: str = "endpoint", **options: Any) -> dict[str, UsageRow]:
    found: Usage = federation.read(usage.report, principal, by, **options)
    assert found.by == by
    return {row.name: row for row in found.rows}


def test_an_endpoint_settles_reserves_and_is_busy(federation: Federation, ada: Principal, shared: Agent) -> None:
    shared.beat(blocks=[block(federation, HOUR_S), block(federation, 900, state="running", block_id="faas-2")])
    ran(federation, shared, ada, 1_800)
    row = report(federation, ada)["cluster"]
    assert row.owner == "ada"
    assert (row.settled_node_hours, row.reserved_node_hours) == pytest.approx((2, 4))
    assert (row.busy_worker_hours, row.worker_hours) == pytest.approx((0.5, 4 + 1))
    assert row.utilisation == pytest.approx(0.1)
    assert row.attempts == 1


def test_idle_time_falls_to_those_who_used_the_block(
    federation: Federation, ada: Principal, bob: Principal, shared: Agent
) -> None:
    ran(federation, shared, ada, 900, ago_s=600)
    ran(federation, shared, bob, 300, ago_s=60)
    shared.beat(blocks=[block(federation, HOUR_S)])
    rows = report(federation, ada, "identity")
    assert {name: row.settled_node_hours for name, row in rows.items()} == {
        "ada": pytest.approx(1.5),
        "bob": pytest.approx(0.5),
    }


def test_attempts_count_in_the_block_they_ran_in(
    federation: Federation, ada: Principal, bob: Principal, shared: Agent
) -> None:
    shared.beat(blocks=[block(federation, HOUR_S), block(federation, HOUR_S, block_id="faas-2", nodes=6)])
    ran(federation, shared, ada, 900, block_id="faas-1")
    ran(federation, shared, bob, 900, block_id="faas-2")
    rows = report(federation, ada, "identity")
    assert rows["ada"].settled_node_hours == pytest.approx(2)
    assert rows["bob"].settled_node_hours == pytest.approx(6)


def test_attempts_count_in_that_run_of_a_block_in_which_they_ran(
    federation: Federation, ada: Principal, bob: Principal, shared: Agent
) -> None:
    """A job that was put back into the queue: ada had its first run, and half of the second."""
    shared.beat(blocks=[block(federation, 4 * HOUR_S, state="running")])
    federation.clock.advance(HOUR_S)
    shared.beat(blocks=[block(federation, 0.0, state="queued", started_at=None, ready_at=None)])
    ran(federation, shared, ada, 1_800, ago_s=900, block_id="faas-1")
    federation.clock.advance(2 * HOUR_S)
    shared.beat(blocks=[block(federation, HOUR_S)])
    for person in (ada, bob):
        ran(federation, shared, person, 300, ago_s=60, block_id="faas-1")
    rows = report(federation, ada, "identity")
    assert {name: row.settled_node_hours for name, row in rows.items()} == {
        "ada": pytest.approx(2 * 5 + 1),
        "bob": pytest.approx(1),
    }


def test_what_no_attempt_used_is_nobodys(federation: Federation, ada: Principal, shared: Agent) -> None:
    ran(federation, shared, ada, 60, ago_s=3 * HOUR_S)  # before there was a block
    shared.beat(blocks=[block(federation, HOUR_S)])
    rows = report(federation, ada, "identity")
    assert rows["idle (nobody)"].id == ""
    assert rows["idle (nobody)"].settled_node_hours == pytest.approx(2)
    assert rows["ada"].settled_node_hours == 0
    assert rows["ada"].busy_worker_hours == pytest.approx(60 / HOUR_S)
    assert list(rows)[-1] == "idle (nobody)"


def test_functions_are_told_apart(federation: Federation, ada: Principal, bob: Principal, shared: Agent) -> None:
    fit = federation.function(ada, "fit")
    plot = federation.function(bob, "plot", b"st:plot")
    ran(federation, shared, ada, 900, function=fit, ago_s=600)
    ran(federation, shared, bob, 300, function=plot, ago_s=60)
    shared.beat(blocks=[block(federation, HOUR_S)])
    rows = report(federation, ada, "function")
    assert (rows["fit"].id, rows["fit"].owner, rows["plot"].owner) == (fit, "ada", "bob")
    assert rows["fit"].settled_node_hours == pytest.approx(1.5)


def test_a_running_task_uses_its_worker(federation: Federation, ada: Principal, shared: Agent) -> None:
    shared.beat(blocks=[block(federation, HOUR_S, state="running")])
    federation.run(ada)
    granted = shared.lease()
    shared.report(
        *(Outcome(attempt=each.key, state="started", started_at=federation.clock.now - 360) for each in granted)
    )
    row = report(federation, ada, "identity")["ada"]
    assert (row.busy_worker_hours, row.reserved_node_hours) == pytest.approx((0.1, 4))


def test_failed_and_lost_attempts_count(federation: Federation, ada: Principal, shared: Agent) -> None:
    federation.run(ada, 2, max_losses=0)
    failed, lost = shared.lease()
    shared.report(
        Outcome(attempt=failed.key, state="failed", started_at=federation.clock.now - 360, run_s=360.0),
        Outcome(attempt=lost.key, state="started", started_at=federation.clock.now - 360),
    )
    shared.lose(lost)
    row = report(federation, ada)["cluster"]
    assert (row.attempts, row.busy_worker_hours) == pytest.approx((2, 0.2))


def test_only_what_was_used_since_then(federation: Federation, ada: Principal, shared: Agent) -> None:
    ran(federation, shared, ada, 600, ago_s=1_500)
    ran(federation, shared, ada, 600, ago_s=0)
    shared.beat(blocks=[block(federation, HOUR_S)])
    row = report(federation, ada, since=federation.clock.now - 1_800)["cluster"]
    assert (row.settled_node_hours, row.busy_worker_hours) == pytest.approx((1, 900 / HOUR_S))
    assert row.attempts == 2
    assert report(federation, ada, since=federation.clock.now) == {}


def test_a_block_that_never_started_is_not_listed(federation: Federation, ada: Principal, shared: Agent) -> None:
    shared.beat(blocks=[block(federation, 0, state="failed", started_at=None, ready_at=None, workers=0)])
    assert report(federation, ada) == report(federation, ada, "identity") == {}


# Who may know


def test_a_person_sees_the_own_share_elsewhere(
    federation: Federation, ada: Principal, bob: Principal, shared: Agent
) -> None:
    ran(federation, shared, ada, 900, ago_s=600)
    ran(federation, shared, bob, 300, ago_s=60)
    shared.beat(blocks=[block(federation, HOUR_S), block(federation, HOUR_S, waited_s=HOUR_S, block_id="faas-2")])
    assert report(federation, bob)["cluster"].settled_node_hours == pytest.approx(1)
    rows = report(federation, bob, "identity")
    assert list(rows) == ["bob"]
    assert rows["bob"].busy_worker_hours == pytest.approx(300 / HOUR_S)
    assert list(report(federation, bob, "function")) == ["fit"]


def test_an_administrator_sees_everything(
    federation: Federation, ada: Principal, bob: Principal, admin: Principal, shared: Agent
) -> None:
    ran(federation, shared, bob, 300)
    shared.beat(blocks=[block(federation, HOUR_S)])
    federation.agent(bob, "unused").beat(blocks=[block(federation, HOUR_S)])
    assert set(report(federation, admin)) == {"cluster", "unused"}
    assert set(report(federation, admin, "identity")) == {"bob", "idle (nobody)"}
    assert set(report(federation, admin, endpoint="unused")) == {"unused"}


def test_nobody_sees_what_does_not_concern_them(federation: Federation, ada: Principal, shared: Agent) -> None:
    ran(federation, shared, ada, 300)
    shared.beat(blocks=[block(federation, HOUR_S)])
    stranger = federation.person("eve")
    for by in ("endpoint", "identity", "function"):
        assert report(federation, stranger, by) == {}
    assert report(federation, stranger, endpoint=shared.endpoint_id) == {}
    with pytest.raises(NotFound, match="'cluster'"):
        federation.read(usage.report, stranger, "endpoint", endpoint="cluster")


def test_usage_of_one_endpoint(federation: Federation, ada: Principal, shared: Agent) -> None:
    other = federation.agent(ada, "other")
    for agent in (shared, other):
        agent.beat(blocks=[block(federation, HOUR_S)])
    assert set(report(federation, ada)) == {"cluster", "other"}
    for reference in ("other", other.endpoint_id):
        assert set(report(federation, ada, endpoint=reference)) == {"other"}


def test_what_was_used_of_an_endpoint_that_is_gone_is_still_told(
    federation: Federation, ada: Principal, shared: Agent
) -> None:
    ran(federation, shared, ada, 300)
    shared.beat(blocks=[block(federation, HOUR_S)])
    shared.close()
    federation.write(endpoints.delete, ada, shared.endpoint_id)
    assert report(federation, ada)["(deleted)"].settled_node_hours == pytest.approx(2)
    assert report(federation, ada, endpoint=shared.endpoint_id)["(deleted)"].id == shared.endpoint_id
    assert report(federation, ada, "identity")["ada"].settled_node_hours == pytest.approx(2)


def test_another_listing_is_refused(federation: Federation, ada: Principal) -> None:
    with pytest.raises(InvalidRequest, match="endpoint, identity, function") as refusal:
        federation.read(usage.report, ada, "colour")
    assert refusal.value.field == "by"


# Sums


@pytest.mark.parametrize("since_s", [0.0, 5_000.0, 2_000.0])
def test_every_listing_adds_up_to_the_same(
    federation: Federation, ada: Principal, bob: Principal, admin: Principal, shared: Agent, since_s: float
) -> None:
    other = federation.agent(bob, "other", policy=RunPolicy(identities={"ada": AllowedFunctions()}))
    fit, plot = federation.function(ada, "fit", public=True), federation.function(bob, "plot", b"st:plot", public=True)
    for number, (site, owner, function) in enumerate(
        [(shared, ada, fit), (shared, bob, plot), (other, ada, plot), (shared, bob, fit), (other, ada, fit)]
    ):
        ran(federation, site, owner, 100 + 700 * number, ago_s=900 * number, function=function)
    for site in (shared, other):
        site.beat(
            blocks=[
                block(federation, 5_400, ended_at=federation.clock.now - 1_000),
                block(federation, 2_500, block_id="faas-2", nodes=5),
                block(federation, 1_200, block_id="faas-3", state="running", nodes=1),
                block(federation, 0, block_id="faas-4", state="queued", started_at=None, ready_at=None, workers=0),
            ]
        )
    since = federation.clock.now - since_s if since_s else 0.0
    columns = ("settled_node_hours", "reserved_node_hours", "busy_worker_hours", "worker_hours", "attempts")
    for principal in (ada, bob, admin):
        listings = [report(federation, principal, by, since=since) for by in ("endpoint", "identity", "function")]
        for column in columns:
            first, *rest = [math.fsum(getattr(row, column) for row in rows.values()) for rows in listings]
            assert first > 0
            assert rest == [pytest.approx(first)] * 2
    whole = report(federation, ada, since=since)["cluster"]
    used_s = {0.0: 2 * 4_400 + 5 * 2_500, 5_000.0: 2 * 4_000 + 5 * 2_500, 2_000.0: 2 * 1_000 + 5 * 2_000}[since_s]
    assert whole.settled_node_hours == pytest.approx(used_s / HOUR_S)
