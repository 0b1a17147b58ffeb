"""`faas status` and `faas endpoint stats`: what is shown, in 80 columns, once and live."""

from __future__ import annotations

import io
import threading
from unittest import mock

import pytest
from rich.console import Console

from faas.client import Client
from faas.commands.status import Snapshot, picture, watch
from faas.errors import ServiceUnavailable
from faas.models import Activity, Block, Endpoint, Health, Spent, WhoAmI
from tests.unit.faas.played_site import Faas, Site

HERE = WhoAmI(identity_id="1", identity="ada", scope="client", token_id="1")
QUEUED = Block(block_id="b1", state="queued", job_id="17", requested_at=1.0, message="(Priority)")
SITES = [
    Endpoint(endpoint_id="1", name="theta", owner="ada", status="online", workers=64, blocks=[QUEUED]),
    Endpoint(endpoint_id="2", name="cori", owner="bob", status="online", problem="no sbatch"),
    Endpoint(endpoint_id="3", name="summit", owner="ada", spent=Spent(day_node_hours=1.5, total_node_hours=3)),
]
BUSY = Activity(now=1.0, window_s=60.0, queued=1234, held=64, ended={"succeeded": 300}, ended_at={"1": 120})


def drawn(snapshot: Snapshot, trouble: str = "") -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(picture(snapshot, trouble))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_picture_of_sites_backlog_throughput_blocks_and_spending_fits_80_columns() -> None:
    shown = drawn(Snapshot("http://127.0.0.1:1", Health(status="ok", version="1"), HERE, SITES, BUSY), "gone")
    assert max(map(len, shown.splitlines())) <= 80
    for text in (
        "1,234 queued, 64 in hand; 300 succeeded in the last minute (5/s)",
        "1.50 node-hours today (UTC), 3.00 in total",
        "cori (bob)",
        "120",
        "1 wait",
        "cori is broken: no sbatch",
        "theta, job 17 (queued): (Priority)",
        "Not up to date: gone",
    ):
        assert text in shown


def test_without_endpoints_it_says_how_to_make_one() -> None:
    shown = drawn(Snapshot("u", Health(status="ok", version="1"), HERE))
    assert "Set one up with: faas endpoint configure NAME" in shown


def test_live_goes_on_while_the_service_is_away() -> None:
    first = Snapshot("u", Health(status="ok", version="1"), HERE)
    later = Snapshot("u", Health(status="ok", version="1"), HERE, SITES, BUSY)
    pause = mock.Mock(spec=threading.Event)
    pause.wait.side_effect = [False, False, True]
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with mock.patch.object(Snapshot, "take", side_effect=[ServiceUnavailable("It does not answer."), later]):
        watch(mock.Mock(), first, 2.0, console, pause)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "Not up to date: It does not answer." in shown
    assert shown.rindex("theta") > shown.rindex("Not up to date")


def test_ctrl_c_ends_the_live_view_quietly() -> None:
    pause = mock.Mock(spec=threading.Event)
    pause.wait.side_effect = KeyboardInterrupt
    console = Console(file=io.StringIO(), width=80)
    watch(mock.Mock(), Snapshot("u", Health(status="ok", version="1"), HERE), 2.0, console, pause)


@pytest.mark.usefixtures("credentials")
class TestAgainstAService:
    def test_status_counts_tasks(self, faas: Faas, site: Site, client: Client) -> None:
        client.run(1, function_id=client.register_function(int, name="whole"))
        assert "1 queued, 0 in hand; none ended" in faas("status")
        site.run(1)
        shown = faas("status", "--once")
        assert "0 queued, 0 in hand; 1 succeeded in the last minute" in shown
        assert faas.json("status")["activity"]["ended"] == {"succeeded": 1}

    def test_stats_of_endpoints(self, faas: Faas, site: Site, client: Client) -> None:
        client.run(1, function_id=client.register_function(int, name="whole"))
        site.run(1)
        shown = faas("endpoint", "stats")
        assert "played" in shown
        assert "12.0 ms" in shown
        [row] = faas.json("endpoint", "stats", "played", "--since", "2h")
        assert row["tasks"] >= 1
        assert row["run_median_s"] == 0.012
        assert "Look further back" in faas.fails("endpoint", "stats", "nowhere")
        assert "administrator" in faas.fails("endpoint", "stats", "--all")
