"""A small stand-in for the service, in this process: the agent-facing API over httpx, with everything on view."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from typing import Any

import httpx
import msgspec

from faas import codec
from faas.link import AsyncLink
from faas.models import (
    AttemptKey,
    Demand,
    FunctionCode,
    Grant,
    GrantsGiven,
    GrantsWanted,
    Heartbeat,
    HeartbeatResponse,
    LeasedTask,
    LeaseRequest,
    LeaseResponse,
    Location,
    LogFound,
    LogRequest,
    OpenSession,
    Outcome,
    Problem,
    ReportRequest,
    ReportResponse,
    SessionOpened,
)
from faas.packing import function_id

OWNER_ID = "11111111-1111-4111-8111-111111111111"


def function_code(source: str, name: str, owner_id: str = OWNER_ID) -> FunctionCode:
    """Code as the client would have packed it: the source strategy."""
    code = f"st\n{name}:{source}".encode()
    return FunctionCode(
        function_id=function_id(owner_id, "st", code), owner_id=owner_id, name=name, serializer="st", code=code
    )


class FakeService:
    """Leases the tasks put into :attr:`queue`; keeps every report, object and request."""

    def __init__(self) -> None:
        self.queue: list[LeasedTask] = []
        self.codes: dict[str, FunctionCode] = {}
        self.objects: dict[str, bytes] = {}
        self.outcomes: dict[AttemptKey, list[Outcome]] = {}
        self.reports: list[ReportRequest] = []
        self.leases: list[LeaseRequest] = []
        self.beats: list[Heartbeat] = []
        self.opened: list[OpenSession] = []
        self.closed: list[str] = []
        self.sessions: dict[str, str] = {}
        self.recalled: set[AttemptKey] = set()
        self.logs_wanted: list[LogRequest] = []
        self.logs_found: list[LogFound] = []
        self.gone: set[str] = set()
        self.down = False
        self.refuse_token = False
        self.lose_answers = 0
        self.refuse_outcomes = 0
        self.conflict = ""
        self.refused_puts = 0
        self.expired: set[str] = set()
        """Addresses of grants that are not good any more."""
        self.renewed: list[tuple[AttemptKey, list[str]]] = []
        self.no_renewal = False
        self.renewals_help = True
        self.grants_given = 0
        self.inline_grants = False
        self.beats_answered = 0
        self.answers: dict[tuple[str, int], LeaseResponse] = {}
        self.requests: list[tuple[str, str]] = []
        self.run_s: dict[str, float] = {}
        self.heartbeat_s = 1.0
        self.demand = Demand()
        self.per_worker = 1000
        self._sequence = 0
        self._changed = asyncio.Event()

    def link(self) -> AsyncLink:
        """A link that leads here."""
        return AsyncLink("http://service", "token", attempts=1, connect=lambda _: httpx.MockTransport(self._answer))

    def add(self, code: FunctionCode, payload: bytes = b"", **fields: Any) -> AttemptKey:
        """Queue a task."""
        self._sequence += 1
        self.codes[code.function_id] = code
        attempt = AttemptKey(self._sequence, 1)
        fields = {"owner_id": OWNER_ID, "owner": "owner", **fields}
        self.queue.append(
            LeasedTask(
                attempt=attempt,
                task_id=str(uuid.uuid4()),
                function_id=code.function_id,
                payload=payload,
                **fields,
            )
        )
        return attempt

    def grant_unheard(self, number: int) -> AttemptKey:
        """Grant a task to a lease request whose sender does not listen any more."""
        (session_id,) = self.sessions.values()
        attempt = self.add(function_code("def f():\n    return 1\n", "f"))
        self.answers[session_id, number] = LeaseResponse(number=number, tasks=[self.queue.pop()])
        self.notify()
        return attempt

    def notify(self) -> None:
        """Something changed: wake the long polls."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Any, timeout_s: float = 60) -> None:
        """Wait for a condition over what was reported."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            changed = self._changed
            left_s = deadline - time.monotonic()
            assert left_s > 0, "the condition did not come true in time"
            try:
                await asyncio.wait_for(changed.wait(), min(left_s, 0.2))
            except asyncio.TimeoutError:
                continue

    def ended(self, attempt: AttemptKey) -> Outcome | None:
        """The outcome an attempt ended with, if it has."""
        return next((o for o in self.outcomes.get(attempt, []) if o.state != "started"), None)

    def result(self, attempt: AttemptKey) -> bytes:
        """The bytes an attempt's outcome points at."""
        outcome = self.ended(attempt)
        assert outcome is not None and outcome.location is not None
        return self._range(outcome.location)

    def _range(self, location: Location) -> bytes:
        return self.objects[location.object_id][location.offset : location.offset + location.length_bytes]

    def put(self, data: bytes) -> str:
        """Store an object."""
        identifier = hashlib.sha256(data).hexdigest()
        self.objects[identifier] = data
        return identifier

    def get_grant(self, identifier: str) -> Grant:
        return Grant(object_id=identifier, verb="GET", url=f"/v1/store/{identifier}", expires_at=time.time() + 600)

    def want_log(self, attempt: AttemptKey, task_id: str, stream: str = "stdout") -> str:
        """Ask the agent for output; returns the id of the object it is to store."""
        grant = self._put_grant()
        self.logs_wanted.append(
            LogRequest(
                request_id=str(uuid.uuid4()),
                attempt=attempt,
                task_id=task_id,
                stream="stderr" if stream == "stderr" else "stdout",
                grant=grant,
            )
        )
        self.notify()
        return grant.object_id

    def _put_grant(self) -> Grant:
        self.grants_given += 1
        identifier = f"object-{self.grants_given}"
        return Grant(
            object_id=identifier,
            verb="PUT",
            url=f"/v1/store/{identifier}",
            expires_at=time.time() + 600,
            inline=self.inline_grants,
        )

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.requests.append((request.method, path))
        if self.down:
            raise httpx.ConnectError("connection refused", request=request)
        if self.refuse_token:
            return _problem(401, "The token was revoked.")
        parts = path.strip("/").split("/")
        body = await request.aread()
        try:
            return await self._route(request.method, parts, body, request)
        except LookupError as error:
            return _problem(404, str(error))
        except PermissionError as error:
            return _problem(409, str(error))

    async def _route(self, method: str, parts: list[str], body: bytes, request: httpx.Request) -> httpx.Response:
        if request.url.path in self.expired and "renewed" not in request.url.params:
            return httpx.Response(403, text="Request has expired")
        if parts[1] == "store":
            return self._store(method, parts[2], body, request)
        if parts[1] == "functions":
            return _model(self.codes[parts[2]])
        if len(parts) == 2:
            return _model(self._open(codec.decode(body, OpenSession)))
        if method == "DELETE":
            self.closed.append(parts[2])
            self.notify()
            return _model({})
        if parts[3] == "report":
            if self.refuse_outcomes and codec.decode(body, ReportRequest).outcomes:
                self.refuse_outcomes -= 1
                return _problem(400, "outcomes[0].state: Invalid value.")
            return _model(self._report(codec.decode(body, ReportRequest)))
        if parts[2] in self.gone:
            raise PermissionError("The session is over.")
        if parts[3] == "logs":
            self.logs_found.append(codec.decode(body, LogFound))
            self.notify()
            return _model({})
        if parts[3] == "grants":
            return self._renew(codec.decode(body, GrantsWanted))
        if parts[3] == "lease":
            return _model(await self._lease(parts[2], codec.decode(body, LeaseRequest)))
        return _model(await self._heartbeat(parts[2], codec.decode(body, Heartbeat)))

    def _store(self, method: str, identifier: str, body: bytes, request: httpx.Request) -> httpx.Response:
        if method == "PUT":
            if self.refused_puts:
                self.refused_puts -= 1
                return httpx.Response(403, text="Request has expired")
            self.objects[identifier] = body
            return httpx.Response(200)
        data = self.objects[identifier]
        wanted = request.headers.get("Range")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            return httpx.Response(206, content=data[int(first) : int(last) + 1])
        return httpx.Response(200, content=data)

    def _renew(self, wanted: GrantsWanted) -> httpx.Response:
        if self.no_renewal:
            return _problem(404, "There is no such thing.")
        self.renewed.append((wanted.attempt, wanted.names))
        renewed = "renewed" if self.renewals_help else "again"
        leased = {task.attempt: task for answer in self.answers.values() for task in answer.tasks}[wanted.attempt]
        grants = {
            name: leased.inputs[name].grant if name in leased.inputs else leased.output_grants[name]
            for name in wanted.names
        }
        return _model(
            GrantsGiven(
                grants={
                    name: msgspec.structs.replace(grant, url=f"{grant.url}?{renewed}") for name, grant in grants.items()
                }
            )
        )

    def _open(self, request: OpenSession) -> SessionOpened:
        self.opened.append(request)
        if self.conflict:
            raise PermissionError(self.conflict)
        session_id = self.sessions.setdefault(request.nonce, f"session-{len(self.sessions) + 1}")
        return SessionOpened(
            session_id=session_id,
            endpoint_id="endpoint",
            endpoint="lab",
            owner="owner",
            owner_id=OWNER_ID,
            lease_timeout_s=15,
            heartbeat_s=self.heartbeat_s,
        )

    async def _lease(self, session_id: str, request: LeaseRequest) -> LeaseResponse:
        self.leases.append(request)
        deadline = time.monotonic() + request.wait_s
        repeated = (session_id, request.number)
        while (
            not self.queue
            and repeated not in self.answers
            and (left_s := deadline - time.monotonic()) > 0
            and session_id not in self.gone
        ):
            try:
                await asyncio.wait_for(self._changed.wait(), left_s)
            except asyncio.TimeoutError:
                break
        if session_id in self.gone:
            raise PermissionError("The session is over.")
        if (session_id, request.number) in self.answers:
            return self.answers[session_id, request.number]
        count = min(request.max_tasks, self.per_worker * request.workers)
        tasks, self.queue = self.queue[:count], self.queue[count:]
        answer = LeaseResponse(
            number=request.number,
            tasks=tasks,
            segments={task.owner_id: [self._put_grant()] for task in tasks},
            run_s={task.function_id: self.run_s[task.function_id] for task in tasks if task.function_id in self.run_s},
        )
        if tasks:
            self.answers[session_id, request.number] = answer
            if self.lose_answers:
                self.lose_answers -= 1
                raise httpx.ReadError("connection reset")
        return answer

    def _report(self, request: ReportRequest) -> ReportResponse:
        self.reports.append(request)
        self.objects.update(request.segments)
        for outcome in request.outcomes:
            self.outcomes.setdefault(outcome.attempt, []).append(outcome)
        self.notify()
        return ReportResponse(segments={owner: [self._put_grant()] for owner in request.owners})

    async def _heartbeat(self, session_id: str, beat: Heartbeat) -> HeartbeatResponse:
        self.beats.append(beat)
        deadline = time.monotonic() + beat.wait_s
        while True:
            recalled = [attempt for attempt in beat.held if attempt in self.recalled]
            left_s = deadline - time.monotonic()
            if session_id in self.gone:
                raise PermissionError("The session is over.")
            done = {found.request_id for found in self.logs_found}
            asked = [each for each in self.logs_wanted if each.request_id not in {*done, *beat.delivering}]
            if recalled or asked or left_s <= 0:
                self.beats_answered += 1
                return HeartbeatResponse(recalled=recalled, logs_wanted=asked, demand=self.demand)
            try:
                await asyncio.wait_for(self._changed.wait(), left_s)
            except asyncio.TimeoutError:
                continue


def _model(model: Any) -> httpx.Response:
    return httpx.Response(200, content=codec.encode(model), headers={"Content-Type": codec.MSGPACK})


def _problem(status: int, detail: str) -> httpx.Response:
    problem = Problem(title="Problem", status=status, detail=detail)
    return httpx.Response(
        status, content=msgspec.json.encode(problem), headers={"Content-Type": "application/problem+json"}
    )
