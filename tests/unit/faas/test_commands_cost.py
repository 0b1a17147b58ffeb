"""What commands show of blocks and of what they cost, against a real service."""

from __future__ import annotations

import time

import pytest

from faas.models import Block
from tests.unit.faas.played_site import Faas, Site

pytestmark = pytest.mark.usefixtures("credentials")


def test_an_endpoint_shows_its_blocks_and_why_it_is_broken(faas: Faas, site: Site) -> None:
    now = time.time()
    running = Block(
        block_id="faas-1", job_id="17", state="running", requested_at=now, nodes=2, walltime_s=3600, started_at=now
    )
    waiting = Block(
        block_id="faas-2", job_id="18", state="queued", requested_at=now, walltime_s=3600, message="(Resources)"
    )
    words = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
    site.beat(running, waiting, problem=words, ports=(54321, 54322))
    output = faas("endpoint", "status", "played")
    assert "broken, seen" in output
    assert words in " ".join(output.split())
    for text in ("54321, 54322", "17", "60 min left", "job 18 (queued): (Resources)", "3.00 node-hours today"):
        assert text in output
    for command in (("endpoint", "list"), ("status",)):
        output = faas(*command)
        assert " broken " in output
        assert f"played is broken: {words}" in " ".join(output.split())
    shown = faas.json("endpoint", "status", "played")["service"]
    assert shown["problem"] == words
    assert [one["job_id"] for one in shown["blocks"]] == ["17", "18"]
    assert shown["spent"]["reserved_node_hours"] == 3.0
    site.beat()
    assert "broken" not in faas("endpoint", "status", "played") + faas("endpoint", "list") + faas("status")


def test_usage_is_listed_by_endpoint_identity_and_function(faas: Faas, site: Site) -> None:
    now = time.time()
    site.beat(
        Block(
            block_id="faas-3",
            state="ended",
            requested_at=now,
            nodes=2,
            started_at=now - 1800,
            ready_at=now - 1800,
            ended_at=now,
        )
    )
    (row,) = faas.json("usage", "--since", "1h")["rows"]
    assert row["name"] == "played"
    assert row["settled_node_hours"] == pytest.approx(1.0)
    spent = faas.json("endpoint", "status", "played")["service"]["spent"]
    assert row["settled_node_hours"] + row["reserved_node_hours"] == pytest.approx(spent["total_node_hours"])
    assert "1.000" in faas("usage", "--endpoint", "played")
    assert "idle (nobody)" in faas("usage", "--by", "identity")
    assert "function" in faas("usage", "--by", "function")
    assert "'nowhere'" in faas.fails("usage", "--endpoint", "nowhere")
    assert "endpoint, identity, function" in faas.fails("usage", "--by", "colour", code=2)
    assert faas("usage", "--since", "2100-01-01") == ""
