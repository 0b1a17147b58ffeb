"""How an endpoint's blocks are shown: one line each, then why they wait or failed, in the scheduler's words."""

from __future__ import annotations

import time
from collections.abc import Sequence

import typer

from faas.commands.display import ago, print_table, print_wrapped, span
from faas.models import Block

_ENDED = ("ended", "failed")


def print_blocks(blocks: Sequence[Block]) -> None:
    """Print a table of blocks and what is to be said of them; nothing if there are none."""
    if not blocks:
        return
    typer.echo()
    print_table(
        ["job", "block", "state", "shape", "nodes", "workers", "idle", "time"],
        (
            [
                block.job_id or "-",
                block.block_id,
                block.state,
                block.shape,
                str(block.nodes),
                f"{block.workers}, {block.idle_workers} idle" if block.workers else "",
                span(max(1, round(time.time() - block.idle_since))) if block.idle_since else "",
                _time(block),
            ]
            for block in blocks
        ),
        empty="",
    )
    for block in blocks:
        if block.message:
            which = f"job {block.job_id}" if block.job_id else block.block_id
            print_wrapped(f"{which} ({block.state}): {block.message}", indent=2)


def _time(block: Block) -> str:
    """How long it has waited, has left, or has been over."""
    now = time.time()
    if block.state in _ENDED:
        return ago(block.ended_at)
    if block.started_at is None:
        return f"waits {span(max(1, round(now - block.requested_at)))}"
    if not block.walltime_s:
        return ""
    left_s = block.started_at + block.walltime_s - now
    return f"{span(round(left_s))} left" if left_s >= 1 else "over its walltime"
