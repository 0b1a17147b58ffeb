"""Our embedded default as people start it: `faas up` as a process of its own, and the processes beneath it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

import faas
from tests.benchmarks.measuring import no_op

ROOT = Path(__file__).parents[2]
_START_S = 120.0


@dataclass(frozen=True)
class Deployment:
    """A running service with one endpoint."""

    client: faas.Client
    service: psutil.Process
    agent: psutil.Process


class Federation:
    """Calls through an executor of ours.

    Args:
        executor: connected to the deployment.
    """

    def __init__(self, executor: faas.Executor) -> None:
        self._executor = executor

    def call(self) -> None:
        """Run one no-op."""
        self._executor.submit(no_op, 0).result()

    def call_many(self, count: int) -> None:
        """Run many."""
        for _ in self._executor.map(no_op, range(count)):
            pass


@contextmanager
def deployed(directory: Path, workers: int) -> Iterator[Deployment]:
    """Start a service and an endpoint, and stop them.

    Args:
        directory: where they keep everything.
        workers: of the endpoint.

    Raises:
        RuntimeError: they did not come up; the message holds what they said.
    """
    port = _free_port()
    command = [sys.executable, "-m", "faas.commands.app", "up"]
    command += ["--data-dir", str(directory), "--port", str(port), "--workers", str(workers)]
    log = directory.with_suffix(".log")
    with log.open("wb") as output:
        up = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield _wait_until_ready(up, directory, log)
    finally:
        up.send_signal(signal.SIGTERM)
        try:
            up.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(up.pid, signal.SIGKILL)
            raise


def _wait_until_ready(up: subprocess.Popen[bytes], directory: Path, log: Path) -> Deployment:
    from faas.credentials import read_credentials

    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if up.poll() is not None:
            break
        if (directory / "credentials.json").exists():
            known = read_credentials(directory / "credentials.json")
            client = faas.Client(known.url, known.token)
            try:
                endpoints = client.get_endpoints()
            except faas.FaasError:
                endpoints = []
            if endpoints and endpoints[0].workers:
                return _with_processes(up, client, endpoints[0].pid)
        time.sleep(0.2)
    raise RuntimeError(f"`faas up` did not come up:\n{log.read_text()[-4000:]}")


def _with_processes(up: subprocess.Popen[bytes], client: faas.Client, agent_pid: int) -> Deployment:
    children = psutil.Process(up.pid).children()
    service = next(process for process in children if "serve" in process.cmdline())
    return Deployment(client, service, psutil.Process(agent_pid))


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def resident_mb(process: psutil.Process) -> float:
    """Resident memory of one process, without its children."""
    return float(process.memory_info().rss) / 1e6


def idle_cpu_percent(processes: dict[str, psutil.Process], seconds: float) -> dict[str, float]:
    """Per cent of one core that each process uses by itself while nothing happens (its children apart).

    Args:
        processes: what to look at.
        seconds: for how long.
    """

    def used() -> dict[str, float]:
        times = {name: process.cpu_times() for name, process in processes.items()}
        return {name: time.user + time.system for name, time in times.items()}

    before, start = used(), time.monotonic()
    time.sleep(seconds)
    after, elapsed = used(), time.monotonic() - start
    return {name: 100 * (after[name] - before[name]) / elapsed for name in processes}
