"""`faas serve` as a process of its own, with people who use it over the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import httpx
import msgspec

from faas.credentials import Credentials, read_credentials
from faas.link import Link
from faas.models import Function, RegisterFunction, Submission, SubmitRequest, SubmitResponse
from tests.services.processes import Process, free_port

COMMAND = [sys.executable, "-m", "faas.commands.app", "serve"]
_UNWANTED = re.compile("FAAS_(?!TESTS)|AWS_|SSL_CERT|HTTPS?_PROXY|ALL_PROXY", re.IGNORECASE)


def surroundings(**variables: str) -> dict[str, str]:
    """This process's environment without anybody's settings, and with these."""
    kept = {name: value for name, value in os.environ.items() if not _UNWANTED.match(name)}
    return {**kept, **variables}


class Served:
    """A running service; a context manager. Killed, it can be started again on the same data and port.

    Args:
        directory: its data directory; its log lies beside it.
        options: further options of ``faas serve``.
        variables: environment variables.
    """

    def __init__(self, directory: Path, *options: str, variables: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory.with_suffix(".log")
        self._options = options
        self._variables = dict(variables or {})
        self._process: Process | None = None

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()

    @property
    def process(self) -> Process:
        """The process that runs now, or ran last."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [*COMMAND, "--data-dir", str(self.directory), "--port", str(self.port), *self._options]
        without = [f"--unset={name}" for name in os.environ if _UNWANTED.match(name)]
        self._process = Process(["env", *without, *command], self.log, environment=self._variables)
        self._process.wait_until(self._answers)

    @property
    def credentials(self) -> Credentials:
        """What the service left in its data directory."""
        return read_credentials(self.directory / "credentials.json")

    def link(self, *, attempts: int = 6) -> Link:
        """A connection with that token."""
        return Link(self.url, self.credentials.token, attempts=attempts)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v1/health", trust_env=False).is_success
        except httpx.TransportError:
            return False


def fail_to_serve(*options: str, **variables: str) -> str:
    """Run ``faas serve`` where it cannot; returns the line it says."""
    done = subprocess.run(
        [*COMMAND, *options],
        capture_output=True,
        text=True,
        env=surroundings(**variables),
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("faas: ")
    assert "Traceback" not in line
    assert "unexpected" not in line  # what nobody foresaw
    return line


def register(link: Link) -> str:
    """Register a function; returns its id."""
    request = RegisterFunction(name="double", serializer="st", code=b"st\ndouble:def double(x):\n    return 2 * x\n")
    return link.request("POST", "/v1/functions", request, response=Function).function_id


def batch(function_id: str, count: int) -> SubmitRequest:
    """A batch of tasks in a group of its own."""
    tasks = [
        Submission(task_id=str(uuid.uuid4()), function=function_id, payload=b"%d" % number) for number in range(count)
    ]
    return SubmitRequest(
        group_id=str(uuid.uuid4()), tasks=[msgspec.Raw(msgspec.msgpack.encode(each)) for each in tasks]
    )


def submit(link: Link, request: SubmitRequest) -> int:
    """Submit a batch; returns how many were accepted."""
    return link.request("POST", "/v1/tasks", request, response=SubmitResponse).accepted
