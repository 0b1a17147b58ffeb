"""Routes for agents: open a session, lease, report, give signs of life, close."""

from __future__ import annotations

import logging
import time

from faas.models import (
    AttemptKey,
    GrantsGiven,
    GrantsWanted,
    Heartbeat,
    HeartbeatResponse,
    LeaseRequest,
    LeaseResponse,
    Nothing,
    OpenSession,
    ReportRequest,
    ReportResponse,
    SessionOpened,
)
from registry import logs, sessions, spending
from registry.database import Transaction
from router.api.logs import requests_for
from router.api.routes import Call, Routes
from router.wakeups import WORK, session

log = logging.getLogger(__name__)
routes = Routes("sessions")

HEARTBEAT_S = 4.0
_MAX_HEARTBEAT_WAIT_S = 5.0


@routes.add("POST", "/sessions", "endpoint", body=OpenSession, answer=SessionOpened)
async def open_session(call: Call[OpenSession]) -> SessionOpened:
    """An agent comes up. Refused (409) while another one's session lives, unless it is replaced."""
    service = call.service
    session_id, site = await service.database.write(sessions.open_session, call.principal.endpoint_id, call.body)
    log.info("endpoint %s runs on %s (pid %d)", site.name, call.body.host, call.body.pid)
    return SessionOpened(
        session_id=session_id,
        endpoint_id=site.endpoint_id,
        endpoint=site.name,
        owner=site.owner,
        owner_id=site.owner_id,
        lease_timeout_s=service.settings.lease_timeout_s,
        heartbeat_s=min(HEARTBEAT_S, service.settings.lease_timeout_s / 4),
    )


@routes.add("POST", "/sessions/{session_id}/lease", "endpoint", body=LeaseRequest, answer=LeaseResponse)
async def lease(call: Call[LeaseRequest]) -> LeaseResponse:
    """Ask for work; waits for some. The same number again gets the same answer."""
    return await call.service.dispatch.lease(call.principal, call.path("session_id"), call.body)


@routes.add("POST", "/sessions/{session_id}/grants", "endpoint", body=GrantsWanted, answer=GrantsGiven)
async def renew_grants(call: Call[GrantsWanted]) -> GrantsGiven:
    """Grants anew for what a leased task reads or writes: those that came with it live for minutes only."""
    wanted = call.body
    grants = await call.service.dispatch.renew(call.principal, call.path("session_id"), wanted.attempt, wanted.names)
    return GrantsGiven(grants=grants)


@routes.add("POST", "/sessions/{session_id}/report", "endpoint", body=ReportRequest, answer=ReportResponse)
async def report(call: Call[ReportRequest]) -> ReportResponse:
    """Report outcomes of attempts, of this session or of earlier ones of the endpoint."""
    return await call.service.reports.take(call.principal, call.path("session_id"), call.body)


@routes.add("POST", "/sessions/{session_id}/heartbeat", "endpoint", body=Heartbeat, answer=HeartbeatResponse)
async def heartbeat(call: Call[Heartbeat]) -> HeartbeatResponse:
    """A sign of life with the attempts held; answered early when one is to be stopped, or work comes for no worker."""
    service, session_id, beat = call.service, call.path("session_id"), call.body
    endpoint_id = call.principal.endpoint_id
    recalled = await service.database.write(sessions.heartbeat, endpoint_id, session_id, beat)
    if service.foresight is not None:
        service.foresight.heard(endpoint_id, beat)
    asked: list[str] = []
    if not recalled:
        # An agent without workers does not ask for work: it has to be told that there is some.
        at_rest = not beat.workers and not beat.known_demand
        topics = [session(session_id), *([WORK] if at_rest else [])]

        async def look() -> tuple[list[AttemptKey], list[str]] | None:
            seen = await service.database.glance(_for_agent, endpoint_id, session_id, beat.delivering)
            waits = at_rest and (await service.dispatch.demand(endpoint_id, since=time.monotonic())).tasks
            return seen if any(seen) or waits else None

        wait_s = min(beat.wait_s, _MAX_HEARTBEAT_WAIT_S)
        recalled, asked = await service.wakeups.until(look, wait_s, *topics) or ([], [])
    costs = await service.database.read(spending.spent, [endpoint_id])
    return HeartbeatResponse(
        recalled=recalled,
        logs_wanted=await requests_for(service, endpoint_id, session_id, asked) if asked else [],
        demand=await service.dispatch.demand(endpoint_id),
        spent=costs[endpoint_id],
    )


def _for_agent(
    transaction: Transaction, endpoint_id: str, session_id: str, delivering: list[str]
) -> tuple[list[AttemptKey], list[str]]:
    """The attempts to stop, and the requests for output that the agent has not heard of."""
    return sessions.recalled(transaction, endpoint_id, session_id), logs.unheard(transaction, session_id, delivering)


@routes.add("DELETE", "/sessions/{session_id}", "endpoint", answer=Nothing)
async def close_session(call: Call[None]) -> Nothing:
    """The agent stops: what it still holds is lost (started) or goes back to the queue (not)."""
    await call.service.database.write(sessions.close, call.principal.endpoint_id, call.path("session_id"))
    return Nothing()
