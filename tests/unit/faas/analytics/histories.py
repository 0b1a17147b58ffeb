"""Histories as services tell them, of any shape: retries, tasks that go on, endpoints without blocks."""

from __future__ import annotations

from hypothesis import strategies as st

from faas.analytics import AttemptRecord, BlockRecord, History, TaskRecord

UNTIL = 1_000.0
moments = st.floats(0, UNTIL, allow_nan=False)
_ENDPOINTS = st.sampled_from(["theta", "summit", "cori"])
_ENDS = ["succeeded", "failed", "lost"]


@st.composite
def _tasks(draw: st.DrawFn) -> TaskRecord:
    # The times of a task's life, in order: submitted, then leased, started and ended for each attempt.
    count = draw(st.integers(0, 3))
    times = sorted(draw(st.lists(moments, min_size=2 + 3 * count, max_size=2 + 3 * count)))
    attempts = []
    for number in range(count):
        leased, started, ended = times[1 + 3 * number : 4 + 3 * number]
        state = draw(st.sampled_from(_ENDS)) if number == count - 1 else "failed"
        run_s = draw(st.none() | st.floats(0, ended - started))
        attempts.append(AttemptRecord(number + 1, draw(_ENDPOINTS), state, leased, started, ended, run_s))
    over = draw(st.booleans())
    state = (attempts[-1].state if attempts else "cancelled") if over else "queued"
    ended_at = (attempts[-1].ended_at if attempts else times[-1]) if over else None
    owner = draw(st.sampled_from(["APS", "ALS"]))
    return TaskRecord("task", "group", owner, "xpcs", state, times[0], ended_at, {}, tuple(attempts))


@st.composite
def _blocks(draw: st.DrawFn) -> BlockRecord:
    times = sorted(draw(st.lists(moments, min_size=4, max_size=4)))
    known = draw(st.integers(1, 4))
    requested, started, ready, ended = [*times[:known], None, None, None][:4]
    assert requested is not None
    return BlockRecord(
        draw(_ENDPOINTS), "block", 1, "running", 1, draw(st.integers(0, 8)), requested, started, ready, ended
    )


def histories() -> st.SearchStrategy[History]:
    """Any history up to ``UNTIL``."""
    return st.builds(History, st.lists(_tasks(), max_size=8), st.lists(_blocks(), max_size=5), st.just(UNTIL))
