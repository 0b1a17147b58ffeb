"""All that an attempt printed: from the task's record where that holds it all, else from the site."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from faas.commands.display import one_line
from faas.link import Link
from faas.models import Attempt, Location, LogQuery, TaskLog

Stream = Literal["stdout", "stderr"]

SITE_MAY_TAKE_S = 60.0
_ASK_S = 20.0
_RECORDED_BYTES = 4096
"""A record holds this much of the end of each stream; what is shorter is all there was."""
_CUT_CHARACTER_BYTES = 4
_PIECE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Log:
    """One stream of one attempt."""

    pieces: Iterator[bytes]
    note: str = ""
    """Why this is only its end; empty if it is all there was."""


def read_log(link: Link, task_id: str, attempt: Attempt, stream: Stream) -> Log:
    """Get what an attempt printed.

    Args:
        link: to the service.
        task_id: the task's full id.
        attempt: one of its attempts.
        stream: which of the two.

    Returns:
        The whole stream where it can be had, else its recorded end with a note.

    Raises:
        RequestRefused: the store does not give it.
    """
    recorded = attempt.stdout if stream == "stdout" else attempt.stderr
    end = recorded.encode()
    reported = attempt.ended_at is not None and bool(attempt.host)
    if attempt.started_at is None or (reported and len(end) < _RECORDED_BYTES - _CUT_CHARACTER_BYTES):
        return Log(iter([end] if end else []))
    found = _ask(link, task_id, attempt.number, stream)
    if found.state == "stored":
        return Log(_pieces(link, found))
    if found.state == "absent" and not end:
        return Log(iter([]))
    name = one_line(attempt.endpoint)
    reason = {
        "offline": f"endpoint {name} is offline",
        "absent": f"endpoint {name} has no file of it (any more)",
        "pending": f"endpoint {name} did not answer within {SITE_MAY_TAKE_S:.0f} s",
    }[found.state]
    kept = "this is what was recorded of its end" if end else "nothing of it was recorded"
    return Log(iter([end] if end else []), f"{reason}; {kept}")


def _ask(link: Link, task_id: str, number: int, stream: Stream) -> TaskLog:
    deadline = time.monotonic() + SITE_MAY_TAKE_S
    query = LogQuery(stream=stream, attempt=number, wait_s=_ASK_S)
    while True:
        found = link.request("POST", f"/v1/tasks/{task_id}/logs", query, response=TaskLog, wait_s=_ASK_S)
        if found.state != "pending" or time.monotonic() > deadline:
            return found


def _pieces(link: Link, found: TaskLog) -> Iterator[bytes]:
    """Piece by piece: a log need not fit into memory."""
    if found.grant is None:
        return
    for offset in range(0, found.size_bytes, _PIECE_BYTES):
        length = min(_PIECE_BYTES, found.size_bytes - offset)
        yield link.get_object(found.grant, Location(found.grant.object_id, offset, length))
