"""`faas endpoint` against a real service: configured, started, killed while tasks run, started again, stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from endpoints.processes import find_processes
from faas.client import Client
from faas.credentials import read_credentials
from faas.executor import Executor
from tests.services.processes import Process, free_port, runs

COMMAND = [sys.executable, "-m", "faas.commands.app"]
LIMIT_S = 120


class Site:
    """A home directory with a service running in it, and the command."""

    def __init__(self, home: Path, service: Process) -> None:
        self.home = home
        self.service = service
        self.directory = home / "endpoints" / "lab"

    def faas(self, *arguments: str, code: int = 0) -> str:
        unwanted = ("FAAS_URL", "FAAS_TOKEN", "FAAS_CREDENTIALS")
        environment = {name: value for name, value in os.environ.items() if name not in unwanted}
        environment["FAAS_HOME"] = str(self.home)
        ended = subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
            env={**environment, "COLUMNS": "80"},
        )
        assert ended.returncode == code, ended.stderr + ended.stdout
        assert "Traceback" not in ended.stderr
        return ended.stdout + ended.stderr

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.directory / "state.json").read_text())
        return state

    def client(self) -> Client:
        credentials = read_credentials(self.home / "credentials.json")
        return Client(url=credentials.url, token=credentials.token)


def until(condition: Callable[[], object]) -> None:
    """Wait for what other processes do."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    home = tmp_path / "home"
    home.mkdir()
    port = free_port()
    service = Process([*COMMAND, "serve", "--data-dir", str(home), "--port", str(port)], tmp_path / "service.log")
    made = Site(home, service)
    try:
        until((home / "credentials.json").exists)
        yield made
    finally:
        if (made.directory / "state.json").exists():
            nonce = made.state()["nonce"]
            made.faas("endpoint", "stop", "lab", "--force")
            assert find_processes(nonce) == []
        service.stop()


def sleep_and_tell(path: str, seconds: float) -> str:
    import pathlib
    import time

    with pathlib.Path(path).open("a") as file:
        file.write("started\n")
    time.sleep(seconds)
    return "slept"


def double(x: int) -> int:
    return 2 * x


def test_an_endpoint_from_configuration_to_stop(site: Site, tmp_path: Path) -> None:
    assert "There is no endpoint lab" in site.faas("endpoint", "start", "lab", code=1)
    assert "No endpoints yet" in site.faas("endpoint", "list")
    assert "configuration" in site.faas("endpoint", "configure", "lab", "--workers", "2")
    assert (site.directory / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert "stopped" in site.faas("endpoint", "list")

    assert "2 worker(s)" in site.faas("endpoint", "start", "lab", "--detach")
    assert "already running" in site.faas("endpoint", "start", "lab", code=3)
    assert site.faas("endpoint", "start", "lab", "--detach", "--unless-running") == ""
    listed = site.faas("endpoint", "list")
    assert re.search(r"lab +running +online", listed)
    assert max(map(len, listed.splitlines())) <= 80
    status = json.loads(site.faas("endpoint", "status", "lab", "--json"))
    assert (status["here"], status["service"]["status"], status["service"]["workers"]) == ("running", "online", 2)

    with site.client() as client, Executor(client=client, endpoint_id="lab") as executor:
        assert list(executor.map(double, range(100))) == list(range(0, 200, 2))

        # Killed while a task runs: everything goes with it, and the next start settles what it held.
        marks = tmp_path / "marks"
        future = executor.submit(sleep_and_tell, str(marks), 15)
        until(marks.exists)
        first = site.state()
        os.kill(first["pid"], signal.SIGKILL)
        until(lambda: not runs(first["pid"]))
        assert "died" in site.faas("endpoint", "list")
        assert "2 worker(s)" in site.faas("endpoint", "start", "lab", "--detach")
        assert find_processes(first["nonce"]) == []
        assert future.result(LIMIT_S) == "slept"
        assert marks.read_text() == "started\n" * 2
        attempts = client.get_task(future.task_id)["attempts"]
        # A long poll that the killed agent left open may have been granted the task for a moment.
        states = [attempt["state"] for attempt in attempts if attempt["state"] != "released"]
        assert states == ["lost", "succeeded"]

    second = site.state()
    assert "Stopped" in site.faas("endpoint", "stop", "lab")
    assert not runs(second["pid"])
    assert find_processes(second["nonce"]) == []
    assert not (site.directory / "state.json").exists()
    assert "not running" in site.faas("endpoint", "stop", "lab")
    log = (site.directory / "agent.log").read_text()
    assert "worker(s) ready" in log
    assert read_credentials(site.directory / "credentials.json").token not in log


def test_processes_of_a_killed_agent_end_by_themselves(site: Site) -> None:
    site.faas("endpoint", "configure", "lab", "--workers", "1")
    site.faas("endpoint", "start", "lab", "--detach")
    state = site.state()
    assert len(find_processes(state["nonce"])) > 2
    os.kill(state["pid"], signal.SIGKILL)
    until(lambda: not find_processes(state["nonce"]))


def test_what_cannot_work_is_said_in_one_line(site: Site) -> None:
    assert "'a/b' cannot name an endpoint" in site.faas("endpoint", "configure", "a/b", code=1)
    assert "There is no profile 'cray'" in site.faas("endpoint", "configure", "lab", "--profile", "cray", code=1)
    assert not site.directory.exists()
    site.faas("endpoint", "configure", "lab")
    configuration = site.directory / "config.yaml"
    configuration.write_text(configuration.read_text() + "wokers: 3\n")
    assert "unknown key 'wokers'" in site.faas("endpoint", "start", "lab", code=1)
    assert "unknown key 'wokers'" in site.faas("endpoint", "start", "lab", "--detach", code=1)
    assert "unknown key 'wokers'" in " ".join(site.faas("endpoint", "status", "lab").split())
    site.faas("endpoint", "status", "elsewhere", code=1)
    site.faas("endpoint", "start", code=2)
