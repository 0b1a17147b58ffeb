"""Routes: all that a task printed, fetched from its site when somebody asks for it."""

from __future__ import annotations

from faas.models import LogFound, LogQuery, LogRequest, Nothing, TaskLog
from registry import logs
from registry.logs import Asked
from router.api.routes import Call, Routes
from router.dispatch import MAX_WAIT_S
from router.grants import grant
from router.service import Service
from router.wakeups import session

routes = Routes("logs")


@routes.add("POST", "/tasks/{task_id}/logs", "client", body=LogQuery, answer=TaskLog)
async def task_log(call: Call[LogQuery]) -> TaskLog:
    """All that an attempt printed, while its endpoint is online; waits for the site. Pending: ask again."""
    service, query = call.service, call.body
    asked = await service.database.write(logs.ask, call.principal, call.path("task_id"), query.attempt, query.stream)

    async def look() -> Asked | None:
        seen = await service.database.read(logs.look, asked)
        return seen if seen.state in ("stored", "absent") else None

    if asked.session_id:
        wait_s = min(max(query.wait_s, 0.0), MAX_WAIT_S)
        asked = await service.wakeups.until(look, wait_s, session(asked.session_id)) or asked
    if asked.stored is not None:
        readable = await grant(service.store, asked.stored, "GET")
        return TaskLog(attempt=asked.number, state="stored", grant=readable, size_bytes=asked.stored.size_bytes or 0)
    if asked.state == "offline":
        return TaskLog(attempt=asked.number, state="offline")
    return TaskLog(attempt=asked.number, state="absent" if asked.state == "absent" else "pending")


@routes.add("POST", "/sessions/{session_id}/logs", "endpoint", body=LogFound, answer=Nothing)
async def log_found(call: Call[LogFound]) -> Nothing:
    """An agent has stored the output it was asked for, or has none."""
    await call.service.database.write(logs.settle, call.principal.endpoint_id, call.path("session_id"), call.body)
    return Nothing()


async def requests_for(service: Service, endpoint_id: str, session_id: str, request_ids: list[str]) -> list[LogRequest]:
    """What an agent is to store, each with leave to do so."""
    found = await service.database.read(logs.wanted, endpoint_id, session_id, request_ids)
    return [
        LogRequest(
            request_id=each.request_id,
            attempt=each.attempt,
            task_id=each.task_id,
            stream="stderr" if each.stream == "stderr" else "stdout",
            grant=await grant(service.store, each.stored, "PUT"),
        )
        for each in found
    ]
