"""Routes: what happened to tasks and blocks, in bulk; how busy it is now."""

from __future__ import annotations

from faas.models import Activity, BlockHistory, TaskHistory
from registry import history
from registry.history import MAX_PAGE
from router.api.routes import Call, Routes

routes = Routes("history")

_MAX_WINDOW_S = 3600.0
_PAGE = {
    "limit": f"How many a page, {MAX_PAGE} at most and unless said.",
    "since": "Leave out what ended before: seconds since the epoch, UTC.",
    "all": "1 for everyone's; for administrators.",
}


@routes.add(
    "GET",
    "/history/tasks",
    "client",
    answer=TaskHistory,
    query={
        "after": "The next_after of the page before; 0 at first.",
        "group": "Only the tasks of this group, by id.",
        **_PAGE,
    },
)
async def task_history(call: Call[None]) -> TaskHistory:
    """The caller's tasks with their attempts and times, oldest first, in columns.

    A page may have fewer rows than its limit, or none, and not be the last: ask on while there is a `next_after`.
    """
    return await call.service.database.read(
        history.task_history,
        call.principal,
        after=int(call.number("after", 0, 0, 2**62)),
        limit=_limit(call),
        since=_since(call),
        group_id=call.text("group"),
        everyone=_everyone(call),
    )


@routes.add(
    "GET",
    "/history/blocks",
    "client",
    answer=BlockHistory,
    query={"after": "The next_after of the page before; empty at first.", **_PAGE},
)
async def block_history(call: Call[None]) -> BlockHistory:
    """The blocks of the endpoints the caller may use: when requested, started, ready and ended, in columns."""
    return await call.service.database.read(
        history.block_history,
        call.principal,
        after=call.text("after"),
        limit=_limit(call),
        since=_since(call),
        everyone=_everyone(call),
    )


@routes.add(
    "GET",
    "/activity",
    "client",
    answer=Activity,
    query={
        "window_s": "How far back to count ended tasks, in seconds: 60 unless said, 3600 at most.",
        "all": _PAGE["all"],
    },
)
async def show_activity(call: Call[None]) -> Activity:
    """How many tasks wait, are in hand, and ended within the last minute."""
    return await call.service.database.read(
        history.activity,
        call.principal,
        call.number("window_s", 60.0, 1.0, _MAX_WINDOW_S),
        everyone=_everyone(call),
    )


def _limit(call: Call[None]) -> int:
    return int(call.number("limit", MAX_PAGE, 1, MAX_PAGE))


def _since(call: Call[None]) -> float:
    return call.number("since", 0.0, 0.0, 1e12)


def _everyone(call: Call[None]) -> bool:
    return call.text("all") in ("1", "true")
