"""A whole federation as real processes: the service, and endpoints started by the `faas` command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import httpx

import faas
from endpoints.processes import find_processes
from endpoints.session import SessionState
from faas.credentials import read_credentials
from tests.services.processes import Process, free_port

COMMAND = [sys.executable, "-m", "faas.commands.app"]


class Federation:
    """A service with its data in a directory, and endpoints beside it; a context manager.

    Args:
        directory: for everything; made if need be.
        environment: variables of the service, ``FAAS_DATABASE_URL`` for instance.

    Example:
        >>> with Federation(tmp_path) as federation:
        ...     federation.add_endpoint("lab", workers=2)
        ...     client = federation.client()
    """

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.port = free_port()
        self._environment = dict(environment or {})
        self._endpoints: dict[str, Process] = {}
        self._variables: dict[str, dict[str, str]] = {}
        self._service: Process | None = None

    def __enter__(self) -> Federation:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.start_service()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._endpoints):
            self.stop_endpoint(name)
        if self._service is not None:
            self._service.stop()

    def client(self) -> faas.Client:
        """A client with the credentials that the service wrote."""
        credentials = read_credentials(self.directory / "credentials.json")
        return faas.Client(url=credentials.url, token=credentials.token)

    def start_service(self) -> None:
        """Start the service, or start it again; returns once it listens."""
        self._service = Process(
            [*COMMAND, "serve", "--data-dir", str(self.directory), "--port", str(self.port)],
            self.directory / "service.log",
            environment=self._environment,
        )
        self._service.wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/v1/health", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    @property
    def service_pid(self) -> int:
        """The service's process id."""
        assert self._service is not None
        return self._service.pid

    def kill_service(self) -> None:
        """Kill the service as a crash would."""
        assert self._service is not None
        self._service.kill()

    def add_endpoint(
        self,
        name: str,
        *,
        workers: int = 2,
        settings: str = "",
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Configure an endpoint and start its agent; returns once it can take work.

        Args:
            name: of the endpoint.
            workers: on each node.
            settings: further lines of its configuration, its profile among them.
            options: of the command that configures it.
            environment: variables of its agent.
        """
        self.faas("endpoint", "configure", name, "--workers", str(workers), *options)
        if settings:
            self.reconfigure(name, settings, workers=workers)
        self._variables[name] = dict(environment or {})
        self.start_endpoint(name)

    def reconfigure(self, name: str, settings: str, *, workers: int = 2) -> None:
        """Write an endpoint's configuration anew; its agent reads it at its next start."""
        path = self.directory / "endpoints" / name / "config.yaml"
        path.write_text(f"name: {name}\nworkers: {workers}\n{settings}")

    def start_endpoint(self, name: str) -> None:
        """Start an endpoint's agent, or start it again."""
        agent = Process(
            [*COMMAND, "endpoint", "start", name],
            self.directory / f"{name}.log",
            environment={**self._variables.get(name, {}), "FAAS_HOME": str(self.directory)},
        )
        self._endpoints[name] = agent
        agent.wait_until(lambda: self.state(name).pid == agent.pid and self.state(name).ready)

    def stop_endpoint(self, name: str) -> None:
        """Stop an agent as its owner would, and see that nothing of it is left."""
        state = SessionState.load(self._state(name))
        self._endpoints.pop(name).stop(timeout_s=30)
        assert state is None or find_processes(state.nonce) == []

    def kill_agent(self, name: str) -> str:
        """Kill an agent, and only it, with -9; returns the nonce its leftovers carry."""
        agent = self._endpoints.pop(name)
        nonce = self.state(name).nonce
        os.kill(agent.pid, signal.SIGKILL)
        agent.wait()
        return nonce

    def state(self, name: str) -> SessionState:
        """What an endpoint's agent wrote of itself."""
        return SessionState.load(self._state(name)) or SessionState.new()

    def faas(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Run the command; it must succeed."""
        ended = subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **(environment or {}), "FAAS_HOME": str(self.directory)},
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def _state(self, name: str) -> Path:
        return self.directory / "endpoints" / name / "state.json"
