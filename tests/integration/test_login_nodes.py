"""One endpoint and several login nodes that share its files: the service's session tells where it runs."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import faas
from endpoints.session import SessionState
from tests.services.federation import COMMAND, Federation
from tests.services.hosts import on_host
from tests.services.processes import Process

LIMIT_S = 120


class Nodes:
    """Login nodes of one site."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.environment = {"FAAS_HOME": str(federation.directory)}

    def faas(self, host: str, *arguments: str, code: int = 0) -> str:
        ended = subprocess.run(
            on_host(host, [*COMMAND, *arguments]),
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
            env={**os.environ, **self.environment},
        )
        assert ended.returncode == code, ended.stderr + ended.stdout
        return ended.stdout + ended.stderr

    def start(self, host: str) -> Process:
        agent = Process(
            on_host(host, [*COMMAND, "endpoint", "start", "lab"]),
            self.federation.directory / f"{host}.log",
            environment=self.environment,
        )
        agent.wait_until(lambda: self.state.host == host and self.state.ready)
        return agent

    @property
    def state(self) -> SessionState:
        return self.federation.state("lab")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with Federation(tmp_path) as federation:
        federation.faas("endpoint", "configure", "lab", "--workers", "1")
        yield Nodes(federation)


def test_a_second_start_tells_where_the_first_one_runs(nodes: Nodes) -> None:
    agent = nodes.start("login1")
    try:
        before = nodes.state
        where = rf"already runs on host login1 \(pid {before.pid}\), since 20\d\d-\d\d-\d\d \d\d:\d\d UTC"
        for how in ([], ["--detach"]):
            said = nodes.faas("login2", "endpoint", "start", "lab", *how, code=3)
            assert re.search(where, said)
            assert "faas endpoint stop" in said and "--takeover" in said
        assert nodes.faas("login2", "endpoint", "start", "lab", "--detach", "--unless-running") == ""
        assert re.search(where, nodes.faas("login2", "endpoint", "stop", "lab", code=1))
        assert nodes.state == before
        with faas.Executor(client=nodes.federation.client(), endpoint_id="lab") as executor:
            assert executor.submit(pow, 2, 3).result(LIMIT_S) == 8
        assert "on login1" in nodes.faas("login2", "endpoint", "list")
    finally:
        agent.stop(timeout_s=30)
    assert "not running" in nodes.faas("login2", "endpoint", "stop", "lab")


def test_another_node_takes_over(nodes: Nodes) -> None:
    agent = nodes.start("login1")
    try:
        assert "is running" in nodes.faas("login2", "endpoint", "start", "lab", "--detach", "--takeover")
        assert agent.wait() == 3
        assert nodes.state.host == "login2"
        with faas.Executor(client=nodes.federation.client(), endpoint_id="lab") as executor:
            assert executor.submit(pow, 2, 3).result(LIMIT_S) == 8
    finally:
        agent.stop()
        assert "Stopped" in nodes.faas("login2", "endpoint", "stop", "lab")


def test_cron_finds_it_running_or_starts_it(nodes: Nodes) -> None:
    printed = nodes.faas("login1", "endpoint", "start", "lab", "--print-unit")
    command = next(line for line in printed.splitlines() if line.startswith("*/5")).removeprefix("*/5 * * * * ")
    for _ in range(2):
        # As little as cron gives.
        ended = subprocess.run(
            on_host("login1", ["env", "-i", "PATH=/usr/bin:/bin", "/bin/sh", "-c", command]),
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        assert nodes.state.ready
    nodes.faas("login1", "endpoint", "stop", "lab")
