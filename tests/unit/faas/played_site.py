"""An endpoint whose agent is the test, and a keyboard for the `faas` command."""

from __future__ import annotations

import json
import os
import pickle
import time
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from faas.client import Client
from faas.commands import app
from faas.link import Link
from faas.models import (
    AttemptKey,
    Block,
    EndpointCreated,
    Failure,
    Heartbeat,
    HeartbeatResponse,
    LeasedTask,
    LeaseRequest,
    LeaseResponse,
    Location,
    LogFound,
    LogRequest,
    Nothing,
    OpenSession,
    Outcome,
    RegisterEndpoint,
    ReportRequest,
    ReportResponse,
    SessionOpened,
)


class Site:
    """An endpoint whose agent is the test: it leases tasks and reports what it is told to."""

    def __init__(self, client: Client) -> None:
        created = client.link.request(
            "POST", "/v1/endpoints", RegisterEndpoint(name="played"), response=EndpointCreated
        )
        self.endpoint_id = created.endpoint_id
        self.link = Link(client.url, created.token)
        opening = OpenSession(nonce=str(uuid4()), host="here", pid=os.getpid(), version="0", takeover=True)
        self.session = self.link.request("POST", "/v1/sessions", opening, response=SessionOpened)
        self.number = 0

    def lease(self) -> tuple[LeasedTask, LeaseResponse]:
        """Take the next task."""
        self.number += 1
        request = LeaseRequest(number=self.number, workers=1, idle_workers=1, wait_s=20, max_tasks=1)
        path = f"/v1/sessions/{self.session.session_id}/lease"
        answer = self.link.request("POST", path, request, response=LeaseResponse, wait_s=20)
        return answer.tasks[0], answer

    def hand_over(self, content: bytes | None) -> LogRequest:
        """Wait until output is wanted, and store it; None for none."""
        path = f"/v1/sessions/{self.session.session_id}"
        beat = Heartbeat(lease_number=self.number, held=[], wait_s=5)
        asked: list[LogRequest] = []
        deadline = time.monotonic() + 60
        while not asked:
            assert time.monotonic() < deadline
            answer = self.link.request("POST", f"{path}/heartbeat", beat, response=HeartbeatResponse, wait_s=5)
            asked = answer.logs_wanted
        if content is not None:
            self.link.put_object(asked[0].grant, content)
        found = LogFound(request_id=asked[0].request_id, size_bytes=None if content is None else len(content))
        self.link.request("POST", f"{path}/logs", found, response=Nothing)
        return asked[0]

    def run(self, value: Any = None, *, failure: Failure | None = None, stdout: str = "", stderr: str = "") -> str:
        """Take a task and end it with a value or a failure; gives its id."""
        task, answer = self.lease()
        segment = answer.segments[task.owner_id][0]
        data = msgspec.msgpack.encode(failure) if failure else b"pk\n" + pickle.dumps(value)
        self.link.put_object(segment, data)
        outcome = Outcome(
            attempt=AttemptKey(task.attempt.sequence, task.attempt.number),
            state="failed" if failure else "succeeded",
            kind=failure.kind if failure else None,
            message=failure.message if failure else "",
            location=Location(segment.object_id, 0, len(data)),
            started_at=1_700_000_000.0,
            run_s=0.012,
            host="node7",
            node="theta3",
            job_id="4711",
            block_id="ab12-3",
            environment="xpcs",
            python_version="3.12.1",
            peak_memory_bytes=3_210_000_000,
            stdout=stdout,
            stderr=stderr,
        )
        path = f"/v1/sessions/{self.session.session_id}/report"
        self.link.request("POST", path, ReportRequest(outcomes=[outcome]), response=ReportResponse)
        return task.task_id

    def beat(self, *blocks: Block, problem: str = "", ports: tuple[int, ...] = ()) -> None:
        """Tell what there is at the scheduler."""
        beat = Heartbeat(lease_number=self.number, held=[], blocks=list(blocks), problem=problem, ports=list(ports))
        path = f"/v1/sessions/{self.session.session_id}/heartbeat"
        self.link.request("POST", path, beat, response=HeartbeatResponse)


class Faas:
    """Types a command; keeps both outputs."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""

    def __call__(self, *arguments: str, code: int = 0) -> str:
        self._capsys.readouterr()
        assert app.run(list(arguments)) == code
        output = self._capsys.readouterr()
        self.err = output.err
        assert "Traceback" not in output.err
        if "--json" not in arguments and {"list", "status", "stats", "usage"} & set(arguments):
            assert [line for line in output.out.splitlines() if len(line) > 80] == [], output.out
        return output.out

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def fails(self, *arguments: str, code: int = 1) -> str:
        """The one line a failing command writes."""
        assert self(*arguments, code=code) == ""
        (line,) = self.err.splitlines()
        assert line.startswith("faas: ")
        return line
