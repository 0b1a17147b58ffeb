"""A test bench over a registry: people, sites and tasks in one-line calls, with a clock that tests set."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar
from unittest import mock

import sqlalchemy as sa

from faas.models import (
    AttemptKey,
    Block,
    CancelRequest,
    CancelResponse,
    GroupResult,
    Heartbeat,
    Location,
    Mount,
    OpenSession,
    Outcome,
    RegisterEndpoint,
    RegisterFunction,
    RunPolicy,
    Scope,
    Shape,
    Submission,
    SubmitResponse,
    Task,
)
from registry import (
    cancellation,
    endpoints,
    functions,
    identities,
    leases,
    objects,
    reports,
    results,
    schema,
    search,
    sessions,
    tasks,
)
from registry.changes import Changes
from registry.database import AnyRow, Database, Transaction
from registry.endpoints import Site
from registry.identities import Principal
from registry.leases import Choose, Granted, Pick, QueuedClass, Share
from registry.objects import StoredObject

P = ParamSpec("P")
T = TypeVar("T")

SEGMENT_BYTES = 1_000_000
LEASE_TIMEOUT_S = 15.0
ANSWER_S = 60.0
"""How long a test waits for the database before it fails."""


@dataclass
class Clock:
    """The database's clock, moved by hand."""

    now: float = 1_750_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def new_id() -> str:
    """A fresh UUID."""
    return str(uuid.uuid4())


def everything(site: Site, waiting: list[QueuedClass]) -> list[Share]:
    """The simplest policy: highest priority first, then the longest waiting; as much as fits."""
    return [Share(each.class_id, 10_000) for each in sorted(waiting, key=lambda each: (-each.priority, each.head))]


class Federation:
    """A migrated database, and the registry's functions by the names tests think in.

    Args:
        url: of a migrated database with empty tables.

    Example:
        >>> federation = Federation(url)
        >>> ada = federation.person("ada")
        >>> site = federation.agent(ada)
        >>> [task_id] = federation.run(ada)
        >>> site.succeed(*site.lease())
        >>> federation.state(task_id)
        'succeeded'
    """

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.changes: list[Changes] = []
        with mock.patch("registry.database._SYNCHRONOUS", "OFF"):  # no test pulls the plug
            self.database = Database(url, clock=self.clock, on_commit=self.changes.append)
            self.write(lambda transaction: None)  # the writer is connected
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self.database.close()
        self._loop.close()

    def empty(self) -> None:
        """Forget everything, for the next test."""
        with self.database.engine.begin() as connection:
            for table in reversed(schema.metadata.sorted_tables):
                connection.execute(sa.delete(table))
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("ALTER SEQUENCE tasks_sequence_seq RESTART"))

    def write(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of the registry in a transaction."""
        return self.database.write_soon(work, *args, **kwargs).result(ANSWER_S)

    def read(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of the registry that only reads."""
        return self._loop.run_until_complete(self.database.read(work, *args, **kwargs))

    def rows(self, query: sa.Select[Any]) -> list[AnyRow]:
        """Look into the tables."""
        return self.read(lambda transaction: list(transaction.execute(query).all()))

    def count(self, table: sa.Table) -> int:
        """How many rows a table has."""
        return int(self.rows(sa.select(sa.func.count()).select_from(table))[0][0])

    # People and what they register

    def person(self, name: str = "ada", scope: Scope = "client") -> Principal:
        """An identity (created at first use) with a new token."""
        identity_id = self.write(identities.ensure_identity, name)
        token = self.write(identities.create_token, identity_id, scope)
        return self.read(identities.authenticate, token.secret)

    def function(
        self, owner: Principal, name: str = "fit", code: bytes = b"st:fit", *, public: bool = False, **needed: Any
    ) -> str:
        """Register a function; returns its id."""
        request = RegisterFunction(name=name, serializer="st", code=code, public=public, **needed)
        return self.write(functions.register, owner, request).function_id

    def endpoint(self, owner: Principal, name: str = "site", labels: dict[str, str] | None = None) -> str:
        """Register an endpoint; returns its id."""
        return self.write(endpoints.register, owner, RegisterEndpoint(name=name, labels=labels or {}))

    def agent(
        self,
        owner: Principal,
        name: str = "site",
        *,
        labels: dict[str, str] | None = None,
        policy: RunPolicy | None = None,
        shapes: dict[str, Shape] | None = None,
        environments: Sequence[str] = (),
        locations: dict[str, Mount] | None = None,
        cached: dict[str, int] | None = None,
        replaces: str = "",
        takeover: bool = False,
        nonce: str = "",
        host: str = "login1",
        pid: int = 4711,
    ) -> Agent:
        """Register an endpoint (or find it again) and open a session for its agent."""
        endpoint_id = self.endpoint(owner, name, labels)
        request = OpenSession(
            nonce=nonce or new_id(),
            host=host,
            pid=pid,
            version="0",
            policy=policy or RunPolicy(),
            shapes=shapes or {},
            environments=list(environments),
            locations=locations or {},
            cached=cached or {},
            replaces=replaces,
            takeover=takeover,
        )
        session_id, _ = self.write(sessions.open_session, endpoint_id, request)
        return Agent(self, endpoint_id, session_id)

    # Tasks

    def submit(self, owner: Principal, *submissions: Submission, group_id: str = "") -> SubmitResponse:
        """Send a batch as it is."""
        items = [tasks.Item(index, submission) for index, submission in enumerate(submissions)]
        return self.write(tasks.submit, owner, group_id or new_id(), items, [])

    def run(
        self,
        owner: Principal,
        count: int = 1,
        *,
        function: str = "",
        target: str = "any",
        group_id: str = "",
        after: Sequence[str] = (),
        payload: bytes = b"",
        max_attempts: int = 1,
        max_losses: int = 3,
        idempotent: bool = True,
        priority: int = 0,
        resources: dict[str, float] | None = None,
        environment: str = "",
        tags: dict[str, str] | None = None,
    ) -> list[str]:
        """Submit equal tasks (of a function registered for them, if none is named); returns their ids."""
        name = function or self.function(owner)
        batch = [
            Submission(
                task_id=new_id(),
                function=name,
                payload=payload,
                dependencies=list(after),
                target=target,
                max_attempts=max_attempts,
                max_losses=max_losses,
                idempotent=idempotent,
                priority=priority,
                resources=resources or {},
                environment=environment,
                tags=tags or {},
            )
            for _ in range(count)
        ]
        answer = self.submit(owner, *batch, group_id=group_id)
        assert not answer.refused, answer.refused
        return [each.task_id for each in batch]

    def cancel(self, owner: Principal, *task_ids: str, group_id: str = "", running: bool = True) -> CancelResponse:
        request = CancelRequest(task_ids=list(task_ids), group_id=group_id, running=running)
        return self.write(cancellation.cancel, owner, request)

    def results(self, owner: Principal, group_id: str, after: int = 0, limit: int = 1000) -> list[GroupResult]:
        return self.read(results.group_results, owner, group_id, after, limit)

    def show(self, owner: Principal, task_id: str) -> Task:
        return self.read(search.show, owner, task_id)

    def row(self, task_id: str) -> AnyRow:
        """A task as it lies in its table."""
        return self.rows(sa.select(schema.tasks).where(schema.tasks.c.task_id == task_id))[0]

    def state(self, task_id: str) -> str:
        return str(self.row(task_id).state)

    def states(self, task_ids: Iterable[str]) -> list[str]:
        return [self.state(task_id) for task_id in task_ids]

    def attempts(self, task_id: str) -> list[str]:
        """The states of a task's attempts, in order."""
        query = sa.select(schema.attempts.c.state).order_by(schema.attempts.c.number)
        return [row.state for row in self.rows(query.where(schema.attempts.c.sequence == self.row(task_id).sequence))]

    # Time

    def tick(self) -> list[str]:
        """One beat of the service; returns the sessions that expired."""
        return self.write(sessions.tick, LEASE_TIMEOUT_S)

    def let_pass(self, seconds: float) -> list[str]:
        """Let time pass while the service runs, beat by beat; returns the sessions that expired."""
        expired = []
        while seconds > 0:
            self.clock.advance(min(seconds, 2.0))
            seconds -= 2.0
            expired += self.tick()
        return expired


@dataclass
class Agent:
    """An endpoint's session, as its agent drives it."""

    federation: Federation
    endpoint_id: str
    session_id: str
    number: int = 0
    segments: dict[str, StoredObject] = field(default_factory=dict)

    @property
    def principal(self) -> Principal:
        """What the endpoint's token stands for."""
        query = sa.select(schema.endpoints).where(schema.endpoints.c.endpoint_id == self.endpoint_id)
        owner_id = self.federation.rows(query)[0].owner_id
        return Principal(owner_id, "", "endpoint", "", endpoint_id=self.endpoint_id)

    def lease(
        self,
        max_tasks: int = 1000,
        *,
        number: int | None = None,
        choose: Choose = everything,
        pick: Pick = leases.first_come,
    ) -> list[Granted]:
        """Ask for work with the next number, or with a given one."""
        if number is None:
            self.number += 1
        asked = self.number if number is None else number
        return self.federation.write(leases.lease, self.endpoint_id, self.session_id, asked, max_tasks, choose, pick)

    def segment(self, owner_id: str) -> StoredObject:
        """The segment for an owner's results, granted at first use."""
        if owner_id not in self.segments:
            self.segments[owner_id] = self.federation.write(
                objects.create, owner_id, "segment", endpoint_id=self.endpoint_id
            )
        return self.segments[owner_id]

    def report(
        self, *outcomes: Outcome, sizes: dict[str, int] | None = None, forgive: reports.Forgive | None = None
    ) -> int:
        """Report; every segment of this agent is stored, unless ``sizes`` says otherwise."""
        if sizes is None:
            sizes = {segment.object_id: SEGMENT_BYTES for segment in self.segments.values()}
        return self.federation.write(reports.report, self.endpoint_id, list(outcomes), sizes, forgive)

    def start(self, *granted: Granted) -> int:
        return self.report(*(Outcome(attempt=each.key, state="started") for each in granted))

    def succeed(self, *granted: Granted) -> int:
        return self.report(*(self.success(each) for each in granted))

    def success(self, granted: Granted) -> Outcome:
        """The report of a success, with its result in this agent's segment for the task's owner."""
        place = Location(self.segment(granted.owner_id).object_id, granted.key.sequence, 1)
        return Outcome(attempt=granted.key, state="succeeded", location=place, started_at=1.0, run_s=0.5)

    def fail(self, *granted: Granted, kind: Literal["exception", "refused"] = "exception") -> int:
        return self.report(
            *(Outcome(attempt=each.key, state="failed", kind=kind, message="ValueError") for each in granted)
        )

    def release(self, *granted: Granted) -> int:
        return self.report(*(Outcome(attempt=each.key, state="released") for each in granted))

    def lose(self, *granted: Granted) -> int:
        return self.report(*(Outcome(attempt=each.key, state="lost") for each in granted))

    def beat(
        self,
        held: Iterable[Granted] = (),
        *,
        started: Iterable[Granted] = (),
        lease_number: int | None = None,
        blocks: Iterable[Block] = (),
        problem: str = "",
    ) -> list[AttemptKey]:
        """A heartbeat with this inventory; returns what is recalled."""
        beat = Heartbeat(
            lease_number=self.number if lease_number is None else lease_number,
            held=[each.key for each in held],
            started={f"{each.key.sequence}.{each.key.number}": self.federation.clock.now for each in started},
            workers=4,
            idle_workers=2,
            blocks=list(blocks),
            problem=problem,
        )
        return self.federation.write(sessions.heartbeat, self.endpoint_id, self.session_id, beat)

    def close(self) -> None:
        self.federation.write(sessions.close, self.endpoint_id, self.session_id)
