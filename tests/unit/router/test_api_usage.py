"""Blocks and usage through the API: told by agents, shown to those they concern."""

from __future__ import annotations

import time
from typing import Any

import pytest

from faas import codec
from faas.models import Block, Endpoint, Heartbeat, HeartbeatResponse, Outcome, Usage
from tests.unit.router.callers import Agent, Caller, Federation, allow, as_json, submit

pytestmark = pytest.mark.anyio


@pytest.fixture
def service(any_service: Federation) -> Federation:
    """These tests run on both databases."""
    return any_service


async def beat(agent: Agent, *blocks: Block, **fields: Any) -> HeartbeatResponse:
    body = Heartbeat(lease_number=agent.number, held=[], blocks=list(blocks), **fields)
    return await agent.caller.ask("POST", f"/v1/sessions/{agent.session_id}/heartbeat", body, answer=HeartbeatResponse)


def ended(hours: float, **fields: Any) -> Block:
    """A block of two nodes that has run so long."""
    now = time.time()
    return Block(
        block_id="faas-1",
        state="ended",
        requested_at=now,
        nodes=2,
        started_at=now - 3600 * hours,
        ended_at=now,
        **fields,
    )


async def test_an_agent_learns_what_was_spent(ada: Caller, agent: Agent) -> None:
    running = Block(block_id="faas-2", state="running", requested_at=1.0, walltime_s=7200, started_at=time.time())
    assert (await beat(agent)).spent.total_node_hours == 0
    spent = (await beat(agent, ended(0.5), running)).spent
    assert (spent.total_node_hours, spent.reserved_node_hours) == pytest.approx((3, 2))


async def test_an_endpoint_is_shown_with_blocks_problem_and_ports(service: Federation, ada: Caller) -> None:
    bob = await service.stranger("bob")
    agent = await service.agent(ada, "cluster", policy=allow(bob.name))
    queued = Block(block_id="faas-1", state="queued", requested_at=1.0, job_id="7", message="(Priority)")
    await beat(agent, queued, problem="no sbatch", ports=[54321])
    for caller in (ada, bob):
        shown = await caller.ask("GET", f"/v1/endpoints/{agent.endpoint_id}", answer=Endpoint)
        assert [(block.job_id, block.message) for block in shown.blocks] == [("7", "(Priority)")]
        assert (shown.problem, shown.ports, shown.standing) == ("no sbatch", [54321], "broken")
        assert (shown.spent is not None) == (caller is ada)


async def test_usage_is_told_by_what_is_asked(service: Federation, ada: Caller, agent: Agent) -> None:
    function = await ada.register("fit")
    await submit(ada, function, target=agent.endpoint_id)
    (task,) = (await agent.lease()).tasks
    started_at = time.time() - 360
    await agent.report(
        Outcome(attempt=task.attempt, state="failed", kind="exception", started_at=started_at, run_s=360.0)
    )
    await beat(agent, ended(0.5))
    for by, name in (("endpoint", "beamline"), ("identity", ada.name), ("function", "fit")):
        usage = await ada.ask("GET", "/v1/usage", answer=Usage, params={"by": by, "endpoint": "beamline"})
        [row] = usage.rows
        assert (usage.by, row.name) == (by, name)
        assert (row.settled_node_hours, row.busy_worker_hours) == pytest.approx((1, 0.1), rel=0.01)
    everything = await service.admin.ask("GET", "/v1/usage", answer=Usage)
    assert agent.endpoint_id in {row.id for row in everything.rows}
    later = await ada.ask("GET", "/v1/usage", answer=Usage, params={"since": str(time.time() + 60)})
    assert later.rows == []


async def test_bad_questions_are_refused(ada: Caller) -> None:
    for params, field in (({"by": "colour"}, "by"), ({"since": "x"}, "since"), ({"endpoint": "nowhere"}, "endpoint")):
        problem = await ada.refusal("GET", "/v1/usage", params=params)
        assert problem.field == field
        assert problem.detail


ODD: list[dict[str, Any]] = [
    {"block_id": "x" * 200, "shape": "\x00", "job_id": "y" * 100_000, "message": "z" * 100_000},
    {"block_id": "a\x00b", "state": "ended", "started_at": 1e12, "ended_at": -1e12},
    {"block_id": "n", "nodes": 0, "workers": 0, "idle_workers": 2**31 - 1, "walltime_s": 0.0},
    {"block_id": "n", "state": "running", "nodes": 2**31 - 1, "walltime_s": 1e12, "started_at": -1e12},
    {"block_id": "d"},
    {"block_id": "d", "state": "failed"},
]


async def test_odd_blocks_break_nothing(ada: Caller, agent: Agent) -> None:
    url = f"/v1/sessions/{agent.session_id}/heartbeat"
    body = as_json(
        {"lease_number": 0, "held": [], "blocks": [{"state": "queued", "requested_at": 1.0, **odd} for odd in ODD]}
    )
    response = await agent.caller.send("POST", url, content=body, content_type=codec.JSON)
    assert response.status_code == 200, response.text
    for by in ("endpoint", "identity", "function"):
        await ada.ask("GET", "/v1/usage", answer=Usage, params={"by": by})
    shown = await ada.ask("GET", "/v1/endpoints/beamline", answer=Endpoint)
    assert len(shown.blocks) == 4


@pytest.mark.parametrize(
    "block",
    [
        {},
        {"block_id": "b", "state": "queued"},
        {"block_id": "", "state": "queued", "requested_at": 1},
        {"block_id": "b" * 201, "state": "queued", "requested_at": 1},
        {"block_id": "b", "state": "lost", "requested_at": 1},
        {"block_id": "b", "state": "queued", "requested_at": 1, "nodes": -1},
        {"block_id": "b", "state": "queued", "requested_at": 1, "walltime_s": -1},
    ],
)
async def test_what_is_no_block_is_refused(agent: Agent, block: dict[str, Any]) -> None:
    url = f"/v1/sessions/{agent.session_id}/heartbeat"
    body = as_json({"lease_number": 0, "held": [], "blocks": [block]})
    problem = await agent.caller.refusal("POST", url, content=body, content_type=codec.JSON)
    assert "blocks" in problem.field + problem.detail
