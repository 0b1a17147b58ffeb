"""A service in this process, and people and agents who use it through its HTTP API."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
from fastapi import FastAPI

from faas import codec
from faas.models import (
    AllowedFunctions,
    AttemptKey,
    CreateIdentity,
    CreateToken,
    EndpointCreated,
    Function,
    Grant,
    GroupResults,
    Heartbeat,
    HeartbeatResponse,
    Identity,
    LeasedTask,
    LeaseRequest,
    LeaseResponse,
    Location,
    Model,
    Mount,
    Offer,
    OpenSession,
    Outcome,
    Problem,
    RegisterEndpoint,
    RegisterFunction,
    ReportRequest,
    ReportResponse,
    RunPolicy,
    Scope,
    SessionOpened,
    Shape,
    Submission,
    SubmitRequest,
    SubmitResponse,
    Token,
)
from router.app import create_app
from router.bootstrap import write_credentials
from router.service import Service
from router.settings import ServiceSettings
from router.wakeups import Wakeups

T = TypeVar("T")

PATIENCE_S = 15.0
"""A wait that a wake-up ends gets this long: less than a poll, which would see the change by itself at its end."""


class Caller:
    """Somebody with a token."""

    def __init__(self, http: httpx.AsyncClient, token: str, name: str = "", identity_id: str = "") -> None:
        self.http = http
        self.token = token
        self.name = name
        self.identity_id = identity_id

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: Any = None,
        content_type: str = codec.MSGPACK,
        accept: str = codec.MSGPACK,
        params: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request; a body is encoded as the content type says."""
        headers = {"Accept": accept, "Content-Type": content_type}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            content = codec.encode(body, content_type)
        return await self.http.request(method, path, content=content, headers=headers, params=params)

    async def ask(
        self, method: str, path: str, body: Any = None, *, answer: type[T], params: Mapping[str, str] | None = None
    ) -> T:
        """Send a request that must succeed, and decode the answer."""
        response = await self.send(method, path, body, params=params)
        assert response.status_code == 200, response.text
        return codec.decode(response.content, answer, response.headers["content-type"])

    async def refusal(self, method: str, path: str, body: Any = None, **options: Any) -> Problem:
        """Send a request that must be refused."""
        return refused(await self.send(method, path, body, **options))

    async def register(self, name: str = "double", *, public: bool = False, code: str = "") -> str:
        """Register a function; returns its id."""
        source = code or f"def {name}(x):\n    return 2 * x\n"
        request = RegisterFunction(name=name, serializer="st", code=f"st\n{name}:{source}".encode(), public=public)
        return (await self.ask("POST", "/v1/functions", request, answer=Function)).function_id

    async def submit(self, *tasks: Submission, group_id: str = "") -> SubmitResponse:
        """Submit a batch, in a new group unless told."""
        request = SubmitRequest(
            group_id=group_id or str(uuid.uuid4()), tasks=[msgspec.Raw(msgspec.msgpack.encode(task)) for task in tasks]
        )
        return await self.ask("POST", "/v1/tasks", request, answer=SubmitResponse)

    async def results(self, group_id: str, after: int = 0, wait_s: float = 0) -> GroupResults:
        """Results of a group after a cursor."""
        params = {"after": str(after), "wait_s": str(wait_s)}
        return await self.ask("GET", f"/v1/groups/{group_id}/results", answer=GroupResults, params=params)

    async def fetch(self, grant: Grant, location: Location) -> bytes:
        """Read a range of an object by the URL granted, as a client does: without a token."""
        assert grant.verb == "GET"
        last = location.offset + location.length_bytes - 1
        response = await self.http.get(grant.url, headers={**grant.headers, "Range": f"bytes={location.offset}-{last}"})
        assert response.status_code == 206, response.text
        return response.content


@dataclass
class Agent:
    """An endpoint's agent, played by the test."""

    caller: Caller
    endpoint_id: str
    session_id: str = ""
    number: int = 0
    segments: dict[str, list[Grant]] = field(default_factory=dict)

    async def open(
        self,
        *,
        policy: RunPolicy | None = None,
        labels: dict[str, str] | None = None,
        shapes: dict[str, Shape] | None = None,
        environments: list[str] | None = None,
        locations: dict[str, Mount] | None = None,
        cached: dict[str, int] | None = None,
        nonce: str = "",
        takeover: bool = False,
    ) -> SessionOpened:
        """Open a session."""
        request = OpenSession(
            nonce=nonce or str(uuid.uuid4()),
            host="node1",
            pid=4242,
            version="1",
            policy=policy or RunPolicy(),
            labels=labels or {},
            shapes=shapes or {},
            environments=environments or [],
            locations=locations or {},
            cached=cached or {},
            takeover=takeover,
        )
        opened = await self.caller.ask("POST", "/v1/sessions", request, answer=SessionOpened)
        self.session_id, self.number = opened.session_id, 0
        return opened

    async def lease(
        self,
        *,
        wait_s: float = 0,
        workers: int = 4,
        max_tasks: int = 100,
        number: int | None = None,
        offers: Sequence[Offer] = (),
    ) -> LeaseResponse:
        """Ask for work with idle workers; a number asks again."""
        if number is None:
            self.number += 1
            number = self.number
        request = LeaseRequest(
            number=number,
            workers=workers,
            idle_workers=workers,
            wait_s=wait_s,
            max_tasks=max_tasks,
            offers=list(offers),
        )
        response = await self.caller.ask("POST", f"/v1/sessions/{self.session_id}/lease", request, answer=LeaseResponse)
        for owner_id, grants in response.segments.items():
            self.segments.setdefault(owner_id, []).extend(grants)
        return response

    async def store(self, owner_id: str, data: bytes) -> Location:
        """Put bytes into the next segment of this owner."""
        grant = self.segments[owner_id].pop(0)
        assert grant.verb == "PUT"
        response = await self.caller.http.put(grant.url, content=data, headers=grant.headers)
        assert response.status_code == 200, response.text
        return Location(grant.object_id, 0, len(data))

    async def report(self, *outcomes: Outcome, **fields: Any) -> ReportResponse:
        """Report outcomes."""
        request = ReportRequest(outcomes=list(outcomes), **fields)
        return await self.caller.ask("POST", f"/v1/sessions/{self.session_id}/report", request, answer=ReportResponse)

    async def succeed(self, task: LeasedTask, value: bytes, *, hint: bool = True) -> Location:
        """Store a task's result and report it."""
        location = await self.store(task.owner_id, value)
        outcome = Outcome(
            attempt=task.attempt, state="succeeded", location=location, hint=value if hint else None, run_s=0.001
        )
        assert (await self.report(outcome)).dropped == 0
        return location

    async def beat(
        self,
        *held: AttemptKey,
        wait_s: float = 0,
        lease_number: int | None = None,
        workers: int = 4,
        **fields: Any,
    ) -> HeartbeatResponse:
        """Give a sign of life with what is held."""
        number = self.number if lease_number is None else lease_number
        request = Heartbeat(
            lease_number=number, held=list(held), workers=workers, idle_workers=workers, wait_s=wait_s, **fields
        )
        return await self.caller.ask(
            "POST", f"/v1/sessions/{self.session_id}/heartbeat", request, answer=HeartbeatResponse
        )


class Federation:
    """A service that runs in this process, with an administrator."""

    def __init__(self, app: FastAPI, service: Service, http: httpx.AsyncClient, admin: str) -> None:
        self.app = app
        self.service = service
        self.http = http
        self.admin = Caller(http, admin, "admin")
        self.nobody = Caller(http, "")

    async def person(self, name: str) -> Caller:
        """A new identity with a token of scope client."""
        made = await self.admin.ask("POST", "/v1/identities", CreateIdentity(name=name), answer=Identity)
        caller = await self.token(name)
        caller.identity_id = made.identity_id
        return caller

    async def stranger(self, name: str) -> Caller:
        """A new identity with a name nobody else has, in a service that tests share."""
        return await self.person(f"{name}-{uuid.uuid4().hex[:8]}")

    async def token(self, name: str, scope: Scope = "client", **fields: Any) -> Caller:
        """Another token for an identity."""
        request = CreateToken(identity=name, scope=scope, **fields)
        made = await self.admin.ask("POST", "/v1/tokens", request, answer=Token)
        return Caller(self.http, made.secret, name)

    async def agent(self, owner: Caller, name: str, *, start: bool = True, **session: Any) -> Agent:
        """A new endpoint with its agent's session."""
        made = await owner.ask("POST", "/v1/endpoints", RegisterEndpoint(name=name), answer=EndpointCreated)
        agent = Agent(Caller(self.http, made.token, owner.name), made.endpoint_id)
        if start:
            await agent.open(**session)
        return agent


@dataclass
class Callers:
    """Somebody of every scope."""

    service: Federation
    ada: Caller
    agent: Agent


def task(function: str, **fields: Any) -> Submission:
    """A submission with a new id."""
    return Submission(task_id=str(uuid.uuid4()), function=function, **fields)


def allow(*names: str, functions: list[str] | None = None) -> RunPolicy:
    """A site's leave for these identities."""
    return RunPolicy(identities={name: AllowedFunctions(functions=functions) for name in names})


def refused(response: httpx.Response) -> Problem:
    """The problem in an answer that must be a refusal."""
    assert 400 <= response.status_code < 500, f"{response.status_code}: {response.text}"
    assert response.headers["content-type"] == "application/problem+json"
    problem = codec.decode(response.content, Problem, codec.JSON)
    assert problem.status == response.status_code
    assert problem.title
    assert problem.detail
    return problem


async def asleep(wakeups: Wakeups, topic: str) -> None:
    """Wait until somebody sleeps on a topic: has looked, seen nothing, and waits to be woken."""
    async with _patience():
        # An event's own list of waiters is the only witness that a coroutine is past its look.
        while not any(signal._waiters for signal in wakeups._waiting.get(topic, ())):
            await asyncio.sleep(0)


@asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    # asyncio.timeout needs Python 3.11.
    current = asyncio.current_task()
    assert current is not None
    handle = asyncio.get_running_loop().call_later(PATIENCE_S, current.cancel)
    try:
        yield
    finally:
        handle.cancel()


@asynccontextmanager
async def federation(directory: Path, **settings: Any) -> AsyncIterator[Federation]:
    """Run a service in this process; an error nobody foresaw is raised in the test."""
    service = Service.assemble(ServiceSettings(data_directory=directory, **settings))
    await service.store.check()
    await write_credentials(service)
    admin = msgspec.json.decode((directory / "admin-credentials.json").read_bytes())["token"]
    app = create_app(service)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", timeout=60) as http,
    ):
        yield Federation(app, service, http, admin)


async def submit(caller: Caller, function_id: str, count: int = 1, **fields: Any) -> tuple[str, list[str]]:
    """Submit tasks alike, but for their payload; returns their group's and their own ids."""
    tasks = [task(function_id, payload=b"%d" % number, **fields) for number in range(count)]
    return (await caller.submit(*tasks)).group_id, [each.task_id for each in tasks]


def as_json(value: Any) -> bytes:
    """Any value as JSON, with NaN and lone surrogates, which nobody forbids a client to send."""
    return json.dumps(value).encode()


def json_of(model: Model) -> bytes:
    """A model as a person would type it."""
    return codec.encode(model, codec.JSON)
