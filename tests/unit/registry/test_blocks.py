"""Blocks in the database: written from heartbeats, settled when their session is over."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from faas.models import Block, Endpoint
from registry import endpoints, schema
from registry.database import AnyRow
from registry.identities import Principal
from tests.unit.registry.federation import LEASE_TIMEOUT_S, Agent, Federation

WALLTIME_S = 600.0


def block(federation: Federation, state: str, name: str = "faas-1", **fields: Any) -> Block:
    """A report on a block of two nodes; a running one has just started unless told."""
    now = federation.clock.now
    given = {"block_id": name, "job_id": "17", "nodes": 2, "walltime_s": WALLTIME_S, "requested_at": now, **fields}
    if state == "running":
        given = {"started_at": now, **given}
    return msgspec.convert({"state": state, **given}, Block)


def rows(federation: Federation) -> list[AnyRow]:
    return federation.rows(sa.select(schema.blocks).order_by(schema.blocks.c.block_id, schema.blocks.c.run))


def shown(federation: Federation, principal: Principal) -> Endpoint:
    [endpoint] = federation.read(endpoints.shown, principal)
    return endpoint


def hours(federation: Federation, principal: Principal) -> float:
    """Node-hours spent, settled and reserved."""
    spent = shown(federation, principal).spent
    assert spent is not None
    return spent.total_node_hours


def test_a_heartbeat_tells_of_blocks(federation: Federation, ada: Principal, site: Agent) -> None:
    waiting = block(federation, "queued", "faas-2", message="(Priority)", shape="big")
    site.beat(blocks=[block(federation, "running", workers=4, idle_workers=4), waiting])
    federation.clock.advance(30)
    ready, queued = shown(federation, ada).blocks
    assert (ready.block_id, ready.job_id, ready.state, ready.nodes, ready.workers) == ("faas-1", "17", "running", 2, 4)
    assert ready.idle_since == federation.clock.now - 30
    assert (queued.state, queued.message, queued.shape, queued.idle_since) == ("queued", "(Priority)", "big", None)


def test_a_block_that_is_not_mentioned_stays(federation: Federation, ada: Principal, site: Agent) -> None:
    site.beat(blocks=[block(federation, "running")])
    site.beat()
    assert [one.state for one in shown(federation, ada).blocks] == ["running"]


def test_the_same_report_writes_nothing(federation: Federation, ada: Principal, site: Agent) -> None:
    report = block(federation, "running", workers=4, idle_workers=4)
    written: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "blocks" in statement and not statement.startswith("SELECT"):
            written.append(statement)

    site.beat(blocks=[report])
    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        federation.clock.advance(4)
        site.beat(blocks=[report])
        assert written == []
        site.beat(blocks=[msgspec.structs.replace(report, idle_workers=3)])
        assert len(written) == 1
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def test_a_block_twice_in_one_report_counts_once(federation: Federation, site: Agent) -> None:
    site.beat(blocks=[block(federation, "queued"), block(federation, "running")])
    assert [row.state for row in rows(federation)] == ["running"]


def test_endpoints_have_their_own_blocks(federation: Federation, ada: Principal, bob: Principal, site: Agent) -> None:
    other = federation.agent(bob, "other")
    site.beat(blocks=[block(federation, "running")])
    other.beat(blocks=[block(federation, "queued")])
    assert [one.state for one in shown(federation, ada).blocks] == ["running"]
    assert [one.state for one in shown(federation, bob).blocks] == ["queued"]


def test_an_ended_block_is_shown_for_a_while(federation: Federation, ada: Principal, site: Agent) -> None:
    site.beat(blocks=[block(federation, "failed", message="sbatch: error: invalid account")])
    assert [one.message for one in shown(federation, ada).blocks] == ["sbatch: error: invalid account"]
    federation.clock.advance(601)
    assert shown(federation, ada).blocks == []


def test_a_requeued_job_is_shown_once_and_costs_both_runs(federation: Federation, ada: Principal, site: Agent) -> None:
    running = block(federation, "running")
    site.beat(blocks=[running])
    federation.clock.advance(180)
    site.beat(blocks=[msgspec.structs.replace(running, state="queued", started_at=None)])
    assert [one.state for one in shown(federation, ada).blocks] == ["queued"]
    federation.clock.advance(60)
    site.beat(blocks=[msgspec.structs.replace(running, started_at=federation.clock.now)])
    federation.clock.advance(360)
    site.beat(blocks=[msgspec.structs.replace(running, state="ended", started_at=None)])
    assert hours(federation, ada) == pytest.approx(2 * (180 + 360) / 3600)
    assert [one.state for one in shown(federation, ada).blocks] == ["ended"]


def test_text_of_the_scheduler_may_be_anything(federation: Federation, ada: Principal, site: Agent) -> None:
    text = "no\x00such " + "x" * 10_000
    site.beat(blocks=[block(federation, "failed", "a\x00b", message=text, job_id="\x00")], problem=text)
    endpoint = shown(federation, ada)
    assert endpoint.problem.startswith("no\N{REPLACEMENT CHARACTER}such xxx")
    assert len(endpoint.blocks[0].message) == len(endpoint.problem) == 2_000


def test_a_problem_is_shown_until_it_is_solved(federation: Federation, ada: Principal, site: Agent) -> None:
    site.beat(problem="sbatch was not found")
    assert (shown(federation, ada).problem, shown(federation, ada).standing) == ("sbatch was not found", "broken")
    site.beat()
    assert (shown(federation, ada).problem, shown(federation, ada).standing) == ("", "online")
    site.beat(problem="sbatch was not found")
    site.close()
    assert (shown(federation, ada).problem, shown(federation, ada).standing) == ("", "offline")


def test_a_new_session_begins_well(federation: Federation, ada: Principal, site: Agent) -> None:
    site.beat(problem="sbatch was not found")
    federation.agent(ada, replaces=site.session_id)
    assert shown(federation, ada).problem == ""


# Sessions that are over


def end(federation: Federation, agent: Agent, how: str) -> None:
    """Bring a session to its end: the agent's word, silence, or a successor and then silence."""
    if how == "closed":
        agent.close()
    elif how == "expired":
        federation.let_pass(LEASE_TIMEOUT_S + 4)
    else:
        successor = federation.agent(federation.person("ada"), takeover=True)
        for _ in range(5):
            successor.beat()
            federation.let_pass(4)


HOWS = pytest.mark.parametrize("how", ["closed", "expired", "fenced"])


@HOWS
def test_a_block_that_never_started_costs_nothing(
    federation: Federation, ada: Principal, site: Agent, how: str
) -> None:
    site.beat(blocks=[block(federation, "queued"), block(federation, "requested", "faas-2", job_id="")])
    assert hours(federation, ada) == pytest.approx(2 * 2 * WALLTIME_S / 3600)
    end(federation, site, how)
    assert hours(federation, ada) == 0
    assert {one.state for one in shown(federation, ada).blocks} == {"ended"}
    assert "had not started" in shown(federation, ada).blocks[0].message


@HOWS
def test_a_block_that_had_started_is_held_until_its_walltime(
    federation: Federation, ada: Principal, site: Agent, how: str
) -> None:
    site.beat(blocks=[block(federation, "running", workers=4)])
    started_at = federation.clock.now
    end(federation, site, how)
    [held] = shown(federation, ada).blocks
    assert (held.state, held.workers) == ("running", 0)
    assert "until its end is reported" in held.message
    assert hours(federation, ada) == pytest.approx(2 * WALLTIME_S / 3600)
    federation.clock.now = started_at + WALLTIME_S + 1
    federation.tick()
    [row] = rows(federation)
    assert (row.state, row.ended_at) == ("ended", started_at + WALLTIME_S)
    assert hours(federation, ada) == pytest.approx(2 * WALLTIME_S / 3600)


@HOWS
@pytest.mark.parametrize("waits", [False, True])
def test_what_the_next_session_reports_counts(
    federation: Federation, ada: Principal, site: Agent, how: str, waits: bool
) -> None:
    site.beat(blocks=[block(federation, "running")])
    started_at = federation.clock.now
    end(federation, site, how)
    if waits:  # until the end has been presumed
        federation.clock.now = started_at + WALLTIME_S + 1
        federation.tick()
    successor = federation.agent(ada, takeover=True)
    successor.beat(blocks=[block(federation, "ended", nodes=1, walltime_s=0.0, ended_at=started_at + 90)])
    assert hours(federation, ada) == pytest.approx(2 * 90 / 3600)


def test_a_job_that_started_after_its_agent_died_counts(federation: Federation, ada: Principal, site: Agent) -> None:
    site.beat(blocks=[block(federation, "queued")])
    site.close()
    successor = federation.agent(ada)
    now = federation.clock.now
    successor.beat(blocks=[block(federation, "ended", started_at=now + 10, ended_at=now + 70)])
    assert hours(federation, ada) == pytest.approx(2 * 60 / 3600)


def test_a_block_that_its_agent_keeps_goes_over_to_the_next_session(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    running = block(federation, "running", workers=2)
    site.beat(blocks=[running])
    successor = federation.agent(ada, takeover=True)
    for _ in range(5):
        successor.beat(blocks=[running])
        federation.let_pass(4)
    [kept] = shown(federation, ada).blocks
    assert (kept.state, kept.workers, kept.message) == ("running", 2, "")
    assert rows(federation)[0].held_until is None


def test_a_block_without_walltime_ends_with_its_session(federation: Federation, ada: Principal, site: Agent) -> None:
    site.beat(blocks=[block(federation, "running", walltime_s=0.0)])
    federation.clock.advance(36)
    site.close()
    federation.tick()
    assert hours(federation, ada) == pytest.approx(2 * 36 / 3600)


# What was spent


def test_reserved_first_and_settled_in_the_end(federation: Federation, ada: Principal, site: Agent) -> None:
    running = block(federation, "running")
    site.beat(blocks=[running])
    assert hours(federation, ada) == pytest.approx(2 * WALLTIME_S / 3600)
    federation.clock.advance(90)
    site.beat(blocks=[msgspec.structs.replace(running, state="ended")])
    assert hours(federation, ada) == pytest.approx(2 * 90 / 3600)


def test_each_day_counts_what_was_used_on_it(federation: Federation, ada: Principal, site: Agent) -> None:
    midnight = federation.clock.now - federation.clock.now % 86_400 + 86_400
    federation.clock.now = midnight - 60
    before = block(federation, "ended", started_at=midnight - 600, ended_at=midnight - 300)
    across = block(federation, "running", "faas-2", started_at=midnight - 120)
    site.beat(blocks=[before, across])
    federation.clock.now = midnight + 30
    endpoint = shown(federation, ada)
    assert endpoint.spent is not None
    assert endpoint.spent.day_node_hours == pytest.approx(2 * (WALLTIME_S - 120) / 3600)
    assert endpoint.spent.total_node_hours == pytest.approx(2 * (300 + WALLTIME_S) / 3600)
    site.beat(blocks=[msgspec.structs.replace(across, state="ended", ended_at=midnight + 30)])
    endpoint = shown(federation, ada)
    assert endpoint.spent is not None
    assert endpoint.spent.day_node_hours == pytest.approx(2 * 30 / 3600)
    assert endpoint.spent.total_node_hours == pytest.approx(2 * (300 + 150) / 3600)
    federation.clock.now = midnight + 2 * 86_400
    endpoint = shown(federation, ada)
    assert endpoint.spent is not None
    assert endpoint.spent.day_node_hours == 0
    assert endpoint.spent.total_node_hours == pytest.approx(2 * (300 + 150) / 3600)


def test_what_was_spent_stays_when_the_endpoint_goes(federation: Federation, ada: Principal, site: Agent) -> None:
    site.beat(blocks=[block(federation, "ended", started_at=federation.clock.now - 60)])
    site.close()
    federation.write(endpoints.delete, ada, site.endpoint_id)
    assert federation.count(schema.blocks) == 1
