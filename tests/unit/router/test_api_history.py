"""History and activity through the API: pages that follow one another, and questions that are refused."""

from __future__ import annotations

import time

import pytest

from faas.models import Activity, Block, BlockHistory, Heartbeat, HeartbeatResponse, TaskHistory
from tests.unit.router.callers import Agent, Caller, Federation, task

pytestmark = pytest.mark.anyio


@pytest.fixture
def service(any_service: Federation) -> Federation:
    """These tests run on both databases."""
    return any_service


async def test_history_is_told_page_by_page(service: Federation, ada: Caller, agent: Agent) -> None:
    function = await ada.register()
    sent = [task(function, tags={"n": str(number)}) for number in range(5)]
    await ada.submit(*sent)
    (first, *_) = (await agent.lease(workers=5)).tasks
    await agent.succeed(first, b"value")
    told: list[str] = []
    after, pages = "0", 0
    while after:
        page = await ada.ask("GET", "/v1/history/tasks", answer=TaskHistory, params={"after": after, "limit": "2"})
        told += page.tasks.task_id
        pages += 1
        after = str(page.next_after or "")
    assert (told, pages) == ([each.task_id for each in sent], 3)
    whole = await ada.ask("GET", "/v1/history/tasks", answer=TaskHistory)
    assert whole.tasks.state == ["succeeded", *["leased"] * 4]
    assert whole.attempts.run_s[0] == 0.001
    later = await ada.ask("GET", "/v1/history/tasks", answer=TaskHistory, params={"since": str(time.time() + 60)})
    assert later.tasks.task_id == told[1:]
    busy = await ada.ask("GET", "/v1/activity", answer=Activity)
    assert (busy.queued, busy.held, busy.ended, busy.window_s) == (0, 4, {"succeeded": 1}, 60.0)


async def test_blocks_are_told(ada: Caller, agent: Agent) -> None:
    beat = Heartbeat(lease_number=0, held=[], blocks=[Block(block_id="b", state="queued", requested_at=5.0, nodes=3)])
    path = f"/v1/sessions/{agent.session_id}/heartbeat"
    await agent.caller.ask("POST", path, beat, answer=HeartbeatResponse)
    page = await ada.ask("GET", "/v1/history/blocks", answer=BlockHistory, params={"limit": "1"})
    assert (page.blocks.nodes, page.blocks.requested_at, page.endpoints) == (
        [3],
        [5.0],
        {agent.endpoint_id: "beamline"},
    )
    last = await ada.ask("GET", "/v1/history/blocks", answer=BlockHistory, params={"after": page.next_after})
    assert (last.blocks.block_id, last.next_after) == ([], "")


async def test_everybodys_is_for_administrators(service: Federation, ada: Caller) -> None:
    function = await ada.register()
    await ada.submit(sent := task(function))
    for path in ("/v1/history/tasks", "/v1/history/blocks", "/v1/activity"):
        problem = await ada.refusal("GET", path, params={"all": "1"})
        assert (problem.status, problem.field) == (403, "all")
    after: object = ""
    found: list[str] = []
    while after is not None:
        params = {"all": "1", **({"after": str(after)} if after else {})}
        page = await service.admin.ask("GET", "/v1/history/tasks", answer=TaskHistory, params=params)
        found += page.tasks.task_id
        after = page.next_after
    assert sent.task_id in found


async def test_bad_questions_are_refused(ada: Caller) -> None:
    for path, params, field in (
        ("tasks", {"after": "x"}, "after"),
        ("tasks", {"since": "yesterday"}, "since"),
        ("tasks", {"group": "nowhere"}, "group"),
        ("blocks", {"after": "nonsense"}, "after"),
        ("blocks", {"limit": "many"}, "limit"),
    ):
        problem = await ada.refusal("GET", f"/v1/history/{path}", params=params)
        assert problem.field == field
