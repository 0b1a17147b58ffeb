"""How blocks are shown: one line each that fits the terminal, and the scheduler's words in full."""

from __future__ import annotations

import time
from typing import Any

import pytest

from endpoints.block_table import print_blocks
from faas.commands.display import costs
from faas.models import Block, BlockState, Spent


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Prints blocks; gives the lines."""
    monkeypatch.setenv("COLUMNS", "80")

    def show(*blocks: Block) -> list[str]:
        print_blocks(blocks)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines), default=0) <= 80
        return lines

    return show


def block(state: BlockState = "running", **fields: Any) -> Block:
    now = time.time()
    given = {"block_id": "faas-b1946ac92492d2347c6235b4d2611184-12", "job_id": "4711", "walltime_s": 3600.0, **fields}
    return Block(state=state, requested_at=now - 300.5, **given)


def test_a_running_block_tells_workers_idle_time_and_what_is_left(shown: Any) -> None:
    started_at = time.time() - 599.5
    *_, line = shown(block(nodes=2, workers=8, idle_workers=8, idle_since=time.time() - 42, started_at=started_at))
    assert line.split()[0] == "4711"
    for part in ("running", "default", " 2 ", "8, 8 idle", "42 s", "50 min left"):
        assert part in line


def test_a_waiting_block_tells_how_long_and_why(shown: Any) -> None:
    *_, line, why = shown(block("queued", message="(QOSMaxJobsPerUserLimit)"))
    assert "waits 5.0 min" in line or "waits 5 min" in line
    assert why == "job 4711 (queued): (QOSMaxJobsPerUserLimit)"


def test_a_refusal_is_told_in_full(shown: Any) -> None:
    words = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
    lines = shown(block("failed", job_id="", message=words, ended_at=time.time() - 59.5))
    assert "1 min ago" in " ".join(lines) or "60 s ago" in " ".join(lines)
    told = " ".join(line.strip() for line in lines[-2:])
    assert told.endswith(words.split(" ", 3)[-1])
    assert "faas-b1946ac92492d2347c6235b4d2611184-12 (failed)" in " ".join(lines)


def test_control_sequences_of_a_scheduler_reach_no_terminal(shown: Any) -> None:
    assert "\x1b" not in "".join(shown(block("queued", message="\x1b[2Jgone", job_id="\x1b[31m1")))


def test_no_blocks_are_not_mentioned(shown: Any) -> None:
    assert shown() == []


@pytest.mark.parametrize(
    ("spent", "text"),
    [
        (None, ""),
        (Spent(), ""),
        (Spent(day_node_hours=1, total_node_hours=33.333), "1.00 node-hours today (UTC), 33.33 in total"),
        (
            Spent(total_node_hours=3, reserved_node_hours=2),
            "0.00 node-hours today (UTC), 3.00 in total, 2.00 of it reserved",
        ),
    ],
)
def test_costs_in_a_line(spent: Spent | None, text: str) -> None:
    assert costs(spent) == text
