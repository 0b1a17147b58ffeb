"""Routes: results by cursor or by task, as long polls."""

from __future__ import annotations

from faas.errors import NotFound
from faas.models import TERMINAL_STATES, GroupResult, GroupResults, TaskResult
from registry import objects, results
from router.api.routes import Call, Routes
from router.dispatch import MAX_WAIT_S
from router.grants import grant, grant_each
from router.wakeups import group

routes = Routes("results")


@routes.add(
    "GET",
    "/groups/{group_id}/results",
    "client",
    answer=GroupResults,
    query={
        "after": "cursor of the last result seen, 0 at first",
        "wait_s": "how long to wait for one, 25 at most",
        "limit": "at most this many, 1000 unless told",
    },
)
async def group_results(call: Call[None]) -> GroupResults:
    """Tasks of a group that ended after a cursor; waits for one. None is ever skipped."""
    service = call.service
    group_id = call.path("group_id")
    after = int(call.number("after", 0, 0, 2**62))
    limit = int(call.number("limit", 1000, 1, 5000))

    async def look() -> list[GroupResult] | None:
        found = await service.database.glance(results.group_results, call.principal, group_id, after, limit)
        return found or None

    ended = await service.wakeups.until(look, call.number("wait_s", 0, 0, MAX_WAIT_S), group(group_id))
    if ended is None:
        return GroupResults(results=[], cursor=after)
    missing = set()
    for result in ended:
        if result.location is not None:
            result.hint = service.hints.get(result.location)
            if result.hint is None:
                missing.add(result.location.object_id)
    stored = await service.database.glance(objects.find, missing) if missing else {}
    grants = await grant_each(service.store, stored.values(), "GET")
    return GroupResults(results=ended, cursor=ended[-1].cursor, grants=list(grants.values()))


@routes.add(
    "GET",
    "/tasks/{task_id}/result",
    "client",
    answer=TaskResult,
    query={"wait_s": "how long to wait for the task to end, 25 at most"},
)
async def task_result(call: Call[None]) -> TaskResult:
    """One task's result: a hint with the bytes, or a grant to fetch them; the state while there is none."""
    service = call.service
    task_id = call.path("task_id")
    try:
        result, group_id = await service.database.glance(results.task_result, call.principal, task_id)
    except NotFound as refusal:
        days = service.settings.retention_days
        refusal.fix = f"{refusal.fix} Tasks and their results are kept for {days:g} days after the end, then they go."
        raise

    async def look() -> TaskResult | None:
        seen, _ = await service.database.glance(results.task_result, call.principal, task_id)
        return seen if seen.state in TERMINAL_STATES else None

    if result.state not in TERMINAL_STATES:
        wait_s = call.number("wait_s", 0, 0, MAX_WAIT_S)
        result = await service.wakeups.until(look, wait_s, group(group_id)) or result
    if result.location is not None:
        result.hint = service.hints.get(result.location)
        if result.hint is None:
            stored = await service.database.glance(objects.find, {result.location.object_id})
            for each in stored.values():
                result.grant = await grant(service.store, each, "GET")
    return result
