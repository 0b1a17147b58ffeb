"""Routes: what was spent, and by whom."""

from __future__ import annotations

from faas.models import Usage
from registry import usage
from router.api.routes import Call, Routes

routes = Routes("usage")


@routes.add(
    "GET",
    "/usage",
    "client",
    answer=Usage,
    query={
        "by": "What to list: endpoint, identity or function; endpoint unless said.",
        "endpoint": "Only this endpoint, by id or name.",
        "since": "Only what was used since then: seconds since the epoch, UTC.",
    },
)
async def show_usage(call: Call[None]) -> Usage:
    """What the caller's tasks used anywhere, and all that was used of the caller's endpoints."""
    since = call.number("since", 0.0, 0.0, 1e12)
    return await call.service.database.read(
        usage.report, call.principal, call.text("by", "endpoint"), endpoint=call.text("endpoint"), since=since
    )
