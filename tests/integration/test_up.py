"""`faas up` for real: service, agent and workers as processes, killed in turn, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import faas
from faas.credentials import read_credentials
from tests.services.processes import free_port, still_running


class Up:
    """A running `faas up`, whose lines are read as they come."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        options = ["--data-dir", str(directory), "--port", str(port), "--workers", "1"]
        unwanted = ("FAAS_URL", "FAAS_TOKEN", "FAAS_CREDENTIALS", "FAAS_HOME", "FAAS_DATABASE_URL", "FAAS_STORE")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "faas.commands.app", "up", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={name: value for name, value in os.environ.items() if name not in unwanted},
        )
        self.output = ""

    def read_until(self, pattern: str) -> re.Match[str]:
        """Wait for a line; the test's own time-out is the limit."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"no {pattern!r} in:\n{self.output}\n{self.logs()}")

    def logs(self) -> str:
        return "\n".join(log.read_text() for log in self.directory.glob("logs/*.log"))

    def processes(self) -> list[psutil.Process]:
        """Every process that was started with this data directory as its home."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("FAAS_HOME") == str(self.directory):
                    found.append(process)
            except psutil.Error:  # gone, or a zombie
                continue
        return found


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    up = Up(tmp_path / "data", free_port())
    try:
        yield up
    finally:
        up.process.kill()
        up.process.wait()
        for process in up.processes():
            process.kill()


def double(x: int) -> int:
    return 2 * x


def test_what_is_killed_comes_back_and_stop_leaves_nothing(up: Up) -> None:
    service = int(up.read_until(r"service .*\(pid (\d+)").group(1))
    endpoint = int(up.read_until(r"endpoint .*\(pid (\d+), 1 workers").group(1))
    up.read_until("Ctrl-C stops it")
    found = read_credentials(up.directory / "credentials.json")
    with faas.Client(found.url, found.token) as client:
        function_id = client.register_function(double)
        assert client.get_result(client.run(1, function_id=function_id), timeout=120) == 2

        os.kill(service, signal.SIGKILL)
        up.read_until(rf"service \(pid {service}\) was killed by SIGKILL; starting it again")
        up.read_until(r"service runs again \(pid \d+\)")
        assert client.get_result(client.run(2, function_id=function_id), timeout=120) == 4

        os.kill(endpoint, signal.SIGKILL)
        up.read_until(rf"endpoint \(pid {endpoint}\) was killed by SIGKILL; starting it again")
        up.read_until(r"endpoint runs again \(pid \d+\)")
        assert client.get_result(client.run(3, function_id=function_id), timeout=120) == 6

    second = Up(up.directory, free_port())
    assert (
        f"faas: `faas up` runs on {up.directory} already (pid {up.process.pid})" in second.read_until("runs on").string
    )
    assert second.process.wait() == 1

    up.process.send_signal(signal.SIGINT)
    up.read_until("Stopping the endpoint, then the service")
    up.read_until("Stopped.")
    assert up.process.wait() == 0
    assert up.processes() == []


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_nothing_survives_its_own_kill(up: Up) -> None:
    up.read_until("Ctrl-C stops it")
    processes = up.processes()
    assert len(processes) >= 2
    up.process.kill()
    assert still_running(processes) == []
    assert up.processes() == []
