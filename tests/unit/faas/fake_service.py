"""The service's HTTP API in this process, for tests of the client: tasks are kept in memory and run on a thread."""

from __future__ import annotations

import base64
import itertools
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import dill
import httpx
import msgspec

from faas import codec
from faas.models import (
    INLINE_ARGUMENT_BYTES,
    CancelRequest,
    CancelResponse,
    CreateObject,
    Failure,
    Function,
    Grant,
    GroupResult,
    GroupResults,
    Location,
    Problem,
    Refusal,
    RegisterFunction,
    Submission,
    SubmitRequest,
    SubmitResponse,
    TaskResult,
    Upload,
)
from faas.packing import function_id, pack_value, unpack_value
from faas.references import TaskReference

OWNER = "6f6a3d60-3f1c-4f0e-9d0c-0a5a5c1d2e3f"


class Refused(Exception):
    """Answer with this problem."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(title="Refused", status=status, detail=detail, fix="Do otherwise.")


class FakeService:
    """Answers as the service does; give ``transport`` to a client.

    Args:
        stored: results lie in the object store, one segment for all, instead of in hints.
        running: False leaves submitted tasks queued until :meth:`work`.
    """

    def __init__(self, *, stored: bool = False, running: bool = True) -> None:
        self.stored = stored
        self.changed = threading.Condition()
        self.functions: dict[str, RegisterFunction] = {}
        self.tasks: dict[str, Submission] = {}
        self.groups: dict[str, str] = {}
        self.states: dict[str, str] = {}
        self.ended: list[GroupResult] = []
        self.values: dict[str, bytes] = {}
        self.objects: dict[str, bytearray] = {"segment": bytearray()}
        self.batches: list[int] = []
        self.requests: list[tuple[str, str]] = []
        self.object_reads: list[str] = []
        self.expired: set[str] = set()
        self.down = False
        self.closed = False
        self.lose_answers = 0
        """Submissions to take, but whose answer gets lost."""
        self.largest_batch = 10_000
        self.transport = httpx.MockTransport(self.answer)
        self._work: SimpleQueue[str | None] = SimpleQueue()
        self._numbers = itertools.count()
        self._loaded: dict[str, Callable[..., Any]] = {}
        self._worker: threading.Thread | None = None
        if running:
            self.work()

    def work(self) -> None:
        """Start running tasks, those that are queued first."""
        self._worker = threading.Thread(target=self._run, daemon=True)
        self._worker.start()

    def close(self) -> None:
        """Stop; whoever waits gets an answer."""
        self._work.put(None)
        if self._worker is not None:
            self._worker.join()
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def __enter__(self) -> FakeService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def go_down(self) -> None:
        """Refuse connections, and drop those that wait."""
        with self.changed:
            self.down = True
            self.changed.notify_all()

    def come_up(self) -> None:
        self.down = False

    # HTTP

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.requests.append((request.method, path))
        if self.down:
            raise httpx.ConnectError("[Errno 111] Connection refused", request=request)
        if path.startswith("/v1/store/"):
            return self._store(request, path.removeprefix("/v1/store/"))
        if request.headers.get("Authorization") != "Bearer good":
            return _problem(Problem(title="Not authenticated", status=401, detail="The token is unknown."))
        try:
            answer = self._route(request, path)
        except Refused as refused:
            return _problem(refused.problem)
        if self.down:
            raise httpx.ReadError("connection reset", request=request)
        return httpx.Response(200, headers={"Content-Type": codec.MSGPACK}, content=codec.encode(answer))

    def _route(self, request: httpx.Request, path: str) -> Any:
        body = request.read()
        if (request.method, path) == ("POST", "/v1/functions"):
            return self._register(codec.decode(body, RegisterFunction))
        if (request.method, path) == ("POST", "/v1/tasks"):
            answer = self._submit(codec.decode(body, SubmitRequest))
            if self.lose_answers:
                self.lose_answers -= 1
                raise httpx.ReadError("connection reset", request=request)
            return answer
        if (request.method, path) == ("POST", "/v1/tasks/cancel"):
            return self._cancel(codec.decode(body, CancelRequest))
        if (request.method, path) == ("POST", "/v1/objects"):
            return self._create_object(codec.decode(body, CreateObject))
        if path.startswith("/v1/objects/"):
            name = path.removeprefix("/v1/objects/")
            return Grant(object_id=name, verb="GET", url=f"/v1/store/{name}?signature=fresh")
        if path.startswith("/v1/groups/"):
            query = request.url.params
            return self._results(path.split("/")[3], int(query["after"]), float(query["wait_s"]), int(query["limit"]))
        if path.endswith("/result"):
            return self._result(path.split("/")[3], float(request.url.params["wait_s"]))
        raise Refused(404, f"There is no {path}.")

    def _store(self, request: httpx.Request, name: str) -> httpx.Response:
        assert "Authorization" not in request.headers, "a grant must not carry the token"
        if request.method == "PUT":
            self.objects[name][:] = request.read()
            return httpx.Response(200)
        self.object_reads.append(name)
        if request.url.params.get("signature") in self.expired:
            return httpx.Response(403, text="<Error><Code>AccessDenied</Code></Error>")
        data = bytes(self.objects[name])
        first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
        return httpx.Response(206, content=data[int(first) : int(last) + 1])

    # What the service does

    def _register(self, request: RegisterFunction) -> Function:
        if request.name == "refused":
            raise Refused(413, "The function is too large.")
        identifier = function_id(OWNER, request.serializer, request.code, request.modules)
        self.functions[identifier] = request
        return Function(
            function_id=identifier, owner="me", name=request.name, serializer=request.serializer, code_bytes=1
        )

    def _submit(self, request: SubmitRequest) -> SubmitResponse:
        if len(request.tasks) > self.largest_batch:
            raise Refused(413, "The batch is too large.")
        refused = []
        for index, raw in enumerate(request.tasks):
            task = msgspec.msgpack.decode(raw, type=Submission)
            fault = self._fault(task)
            if fault:
                refused.append(Refusal(index=index, status=404, detail=fault, task_id=task.task_id))
            elif task.task_id not in self.tasks:
                self.tasks[task.task_id] = task
                self.groups[task.task_id] = request.group_id
                self.states[task.task_id] = "queued"
                self._work.put(task.task_id)
        self.batches.append(len(request.tasks))
        accepted = len(request.tasks) - len(refused)
        return SubmitResponse(group_id=request.group_id, accepted=accepted, refused=refused)

    def _fault(self, task: Submission) -> str:
        if task.function not in self.functions:
            return f"There is no function {task.function}."
        missing = [name for name in task.dependencies if name not in self.tasks]
        if missing:
            return f"There is no task {missing[0]}."
        assert len(task.payload) <= INLINE_ARGUMENT_BYTES
        return ""

    def _create_object(self, request: CreateObject) -> Upload:
        name = f"object-{next(self._numbers)}"
        self.objects[name] = bytearray()
        put = Grant(object_id=name, verb="PUT", url=f"/v1/store/{name}?signature=put")
        return Upload(object_id=name, size_bytes=request.size_bytes, grants=[put])

    def _cancel(self, request: CancelRequest) -> CancelResponse:
        cancelled, others = [], {}
        for task_id in request.task_ids:
            with self.changed:
                state = self.states.get(task_id, "unknown")
                if state == "queued" or (state == "running" and request.running):
                    self.states[task_id] = state = "cancelled"
                    self._record(task_id, "cancelled", None)
            if state == "cancelled":
                cancelled.append(task_id)
            else:
                others[task_id] = state
        return CancelResponse(cancelled=cancelled, not_cancelled=others)

    def _results(self, group_id: str, after: int, wait_s: float, limit: int) -> GroupResults:
        def page() -> list[GroupResult]:
            return [one for one in self.ended[after : after + limit] if self.groups[one.task_id] == group_id]

        with self.changed:
            self.changed.wait_for(lambda: page() or self.down or self.closed, timeout=wait_s)
            results = page()
        cursor = results[-1].cursor if results else after
        segments = {one.location.object_id for one in results if one.location and one.hint is None}
        grants = [Grant(object_id=name, verb="GET", url=f"/v1/store/{name}?signature=first") for name in segments]
        return GroupResults(results=results, cursor=cursor, grants=grants)

    def _result(self, task_id: str, wait_s: float) -> TaskResult:
        if task_id not in self.tasks:
            raise Refused(404, f"There is no task {task_id}.")
        with self.changed:
            self.changed.wait_for(lambda: self._ended(task_id) or self.down, timeout=wait_s)
            ended = self._ended(task_id)
        if ended is None:
            return TaskResult(task_id=task_id, state=self.states[task_id])  # type: ignore[arg-type]
        grant = Grant(object_id="segment", verb="GET", url="/v1/store/segment?signature=first")
        return TaskResult(
            task_id=task_id,
            state=ended.state,
            message=ended.message,
            hint=ended.hint,
            location=ended.location,
            grant=grant if ended.location else None,
        )

    def _ended(self, task_id: str) -> GroupResult | None:
        return next((one for one in self.ended if one.task_id == task_id), None)

    # What a site does

    def _run(self) -> None:
        while (task_id := self._work.get()) is not None:
            with self.changed:
                if self.states[task_id] != "queued":
                    continue
                self.states[task_id] = "running"
                self.changed.notify_all()
            state, data = self._perform(self.tasks[task_id])
            with self.changed:
                if self.states[task_id] == "running":
                    self.states[task_id] = state
                    self._record(task_id, state, data)

    def _perform(self, task: Submission) -> tuple[str, bytes]:
        payload = bytes(self.objects[task.argument_object]) if task.argument_object else task.payload
        try:
            args, kwargs = unpack_value(payload) if payload else ((), {})
            if task.dependencies:
                args, kwargs = tuple(value for _, value in args), {name: value for name, (_, value) in kwargs.items()}
            args = tuple(map(self._resolved, args))
            result = pack_value(self._load(task.function)(*args, **kwargs))
        except Exception as error:
            failure = Failure(
                kind="exception",
                message=f"{type(error).__name__}: {error}",
                exception_type=type(error).__name__,
                traceback=f"Traceback (most recent call last):\n{type(error).__name__}: {error}\n",
                exception=pack_value(error),
            )
            return "failed", codec.encode(failure)
        self.values[task.task_id] = result
        return "succeeded", result

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, TaskReference):
            return unpack_value(self.values[value.task_id])
        return [self._resolved(item) for item in value] if isinstance(value, list) else value

    def _load(self, identifier: str) -> Callable[..., Any]:
        if identifier not in self._loaded:
            code = self.functions[identifier].code
            strategy, rest = code[:3], code[3:]
            if strategy == b"st\n":
                name, source = rest.decode().split(":", 1)
                namespace: dict[str, Any] = {}
                exec(source, namespace)
                self._loaded[identifier] = namespace[name]
            else:
                self._loaded[identifier] = dill.loads(base64.b64decode(rest))
        return self._loaded[identifier]

    def _record(self, task_id: str, state: str, data: bytes | None) -> None:
        result = GroupResult(task_id=task_id, state=state, cursor=len(self.ended) + 1)  # type: ignore[arg-type]
        if data is not None and self.stored:
            segment = self.objects["segment"]
            result.location = Location("segment", len(segment), len(data))
            segment += data
        elif data is not None:
            result.hint = data
        self.ended.append(result)
        self.changed.notify_all()


def _problem(problem: Problem) -> httpx.Response:
    headers = {"Content-Type": "application/problem+json"}
    return httpx.Response(problem.status, headers=headers, content=codec.encode(problem, codec.JSON))
