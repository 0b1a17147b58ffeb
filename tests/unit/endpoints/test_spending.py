"""Node-hours: reserved while a block lives, settled at its end, never counted twice, held to the limits."""

from __future__ import annotations

import time
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from endpoints.allocation import NodeHours
from endpoints.pilots import Backlog, Limits, decide
from endpoints.spending import Spending, node_hours
from faas.models import Block, Spent


def live(name: str = "b", *, nodes: int = 2, walltime_s: float = 1800, started: bool = True) -> Block:
    now = time.time()
    return Block(
        block_id=name,
        state="running",
        nodes=nodes,
        walltime_s=walltime_s,
        requested_at=now - 20,
        started_at=now - 10 if started else None,
    )


def ended(name: str = "b", *, ran_s: float = 360, nodes: int = 1) -> Block:
    now = time.time()
    return Block(
        block_id=name,
        state="ended",
        nodes=nodes,
        walltime_s=1800,
        requested_at=now - ran_s - 1,
        started_at=now - ran_s,
        ended_at=now,
    )


def test_a_live_block_costs_its_reservation_and_an_ended_one_what_it_used() -> None:
    now = time.time()
    assert node_hours(live(started=False), now) == 1.0
    assert node_hours(ended(ran_s=360), now) == 0.1
    assert node_hours(Block(block_id="b", state="failed", requested_at=now, walltime_s=60, ended_at=now), now) == 0
    unlimited = Block(block_id="b", state="running", requested_at=now - 3600, started_at=now - 3600)
    assert node_hours(unlimited, now) == 1.0


def test_no_limit_leaves_everything() -> None:
    assert Spending(NodeHours()).budget([live()]).left == inf


def test_what_the_service_has_counted_is_not_counted_again() -> None:
    spending = Spending(NodeHours(per_day=10, total=100))
    first, second = live("first"), live("second")
    spending.told(Spent(day_node_hours=8.0, total_node_hours=20.0), [first])
    budget = spending.budget([first, second])
    assert budget.left == 1.0
    assert "per_day is 10, and 9 are" in budget.words


def test_the_total_may_be_the_tighter_limit() -> None:
    spending = Spending(NodeHours(per_day=10, total=100))
    spending.told(Spent(day_node_hours=1.0, total_node_hours=99.5), [])
    assert spending.budget([]).left == 0.5
    assert "total is 100" in spending.budget([]).words


def test_the_limits_hold_even_where_the_service_counts_nothing() -> None:
    spending = Spending(NodeHours(total=1.0))
    block = ended(ran_s=1800)
    spending.told(Spent(), [block])
    spending.forgotten([block])
    assert round(spending.budget([]).left, 6) == 0.5


@given(st.lists(st.floats(0, 2000), max_size=30), st.floats(0.5, 20), st.integers(1, 4))
def test_reservations_never_exceed_the_budget(runs_s: list[float], limit: float, nodes: int) -> None:
    """Blocks are started whenever the controller says so, and end after some time; all of them stay within it."""
    spending = Spending(NodeHours(total=limit))
    limits = Limits(max_blocks=1000, workers_per_block=1, node_hours_per_block=nodes * 0.5, horizon_s=1)
    blocks: list[Block] = []
    for number, ran_s in enumerate(runs_s):
        verdict = decide(Backlog(1000, 1e6), [], limits, budget=spending.budget(blocks))
        for decision in verdict.decisions:
            blocks += [live(f"{number}.{n}", nodes=nodes, started=False) for n in range(decision.count)]
        now = time.time()
        assert sum(node_hours(block, now) for block in blocks) <= limit + 1e-6
        for block in blocks:
            if block.ended_at is None:
                block.started_at, block.ended_at, block.state = now - min(ran_s, 1800), now, "ended"
