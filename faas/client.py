"""The client: register functions, run them, fetch their results, and look at what is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from faas import codec
from faas.batch import Batch
from faas.catalogue import Catalogue, segment
from faas.errors import FaasError, RequestRefused, ServiceUnavailable, TaskPending
from faas.identifiers import new_id
from faas.link import Link
from faas.models import (
    INLINE_ARGUMENT_BYTES,
    TERMINAL_STATES,
    CancelRequest,
    CancelResponse,
    CreateObject,
    Function,
    Nothing,
    ObjectInfo,
    RegisterFunction,
    Submission,
    SubmitRequest,
    SubmitResponse,
    TaskResult,
)
from faas.objects import ObjectRef, bound_to
from faas.options import TaskOptions
from faas.outcomes import outcome, refusal_error
from faas.packing import PackedFunction, pack_function, pack_value
from faas.transfer import Progress, fetch_result, upload_bytes, upload_file
from faas.triggers import Triggers
from faas.uploads import upload

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self

    from faas.groups import Group

_POLL_S = 20.0
_OUTAGE_S = 120.0
"""How long the service may be away while a result is waited for."""
_AT_ONCE = 8
_ATTEMPTS = 8
"""Some ten seconds of trying: a service that is started again is back by then."""


class Client(Catalogue, Triggers):
    """A connection to the service; safe to share between threads.

    Args:
        url: of the service; by default FAAS_URL, or what the credentials file says.
        token: the bearer token; by default FAAS_TOKEN, or what the credentials file says.
        timeout_s: how long the service may take to answer a request.
        transport: an httpx transport in place of the network.

    Raises:
        ConfigurationError: there is no URL or token to be found.

    Example:
        >>> client = faas.Client()                             # doctest: +SKIP
        >>> function_id = client.register_function(analyse)    # doctest: +SKIP
        >>> task_id = client.run(42, function_id=function_id)  # doctest: +SKIP
        >>> client.get_result(task_id)                         # doctest: +SKIP
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if not (url and token):
            from faas.settings import find_credentials

            found = find_credentials(url, token)
            url, token = found.url, found.token
        self.link = Link(url, token, timeout_s=timeout_s, attempts=_ATTEMPTS, transport=transport)

    @property
    def url(self) -> str:
        """The service's address."""
        return self.link.url

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.link.close()

    # Functions

    def register_function(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        description: str | None = None,
        public: bool = False,
        metadata: dict[str, Any] | None = None,
        modules: Iterable[ModuleType | str] = (),
        *,
        resources: Mapping[str, float] | None = None,
        environment: str | None = None,
    ) -> str:
        """Register a function; the same code gives the same id.

        Args:
            function: any callable; how it is packed is told in :func:`faas.packing.pack_function`.
            name: what to call it; by default its own name. A name stands for the newest version.
            description: one or two sentences; by default the docstring's first line.
            public: let everyone run it, at endpoints they may use.
            metadata: anything JSON holds.
            modules: local modules or packages to ship with it.
            resources: what the workers of its tasks must have, unless a call says otherwise: any of ``cores``,
                ``gpus``, ``memory_gb``.
            environment: the environment at the endpoint its tasks run in, unless a call says otherwise.

        Returns:
            The function id.

        Raises:
            SerializationFailed: it cannot be packed; the message says why and what to change.
            RequestRefused: the service did not take it.
        """
        packed = pack_function(function, modules)
        if description is None:
            description = (getattr(function, "__doc__", None) or "").strip().partition("\n")[0]
            if isinstance(function, type) or not hasattr(function, "__name__"):
                description = ""  # that of its class, or of functools.partial
        return self.register_packed(
            packed, name, description, public, metadata, resources=resources or {}, environment=environment or ""
        )

    def register_packed(
        self,
        packed: PackedFunction,
        name: str | None = None,
        description: str = "",
        public: bool = False,
        metadata: dict[str, Any] | None = None,
        *,
        resources: Mapping[str, float] | None = None,
        environment: str | None = None,
    ) -> str:
        """Register what :func:`faas.packing.pack_function` made; see :meth:`register_function`.

        Resources and environment that are None stay as the same code was registered with before.
        """
        request = RegisterFunction(
            name=name or packed.name,
            serializer=packed.serializer,
            code=packed.code,
            modules=packed.modules,
            python_version=packed.python_version,
            description=description,
            public=public,
            metadata=metadata or {},
            resources=None if resources is None else {name: float(amount) for name, amount in resources.items()},
            environment=environment,
        )
        return self.link.request("POST", "/v1/functions", request, response=Function).function_id

    # Running

    def run(
        self,
        *args: Any,
        function_id: str,
        endpoint_id: str = "any",
        task_options: TaskOptions | None = None,
        resources: Mapping[str, float] | None = None,
        environment: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Run a registered function once.

        Args:
            args: its positional arguments.
            function_id: the function's id, or the name of one of yours.
            endpoint_id: an endpoint's id or name, a pool's name, or ``any``.
            task_options: how the task is to be treated.
            resources: what its worker must have, over and above the options; see :class:`faas.TaskOptions`.
            environment: where to run, in place of what the options say.
            kwargs: its keyword arguments. Those of the names above go through :meth:`create_batch`.

        Returns:
            The task id.

        Raises:
            ValueError: the resources or the environment are impossible.
            SerializationFailed: an argument cannot be packed.
            RequestRefused: the task was not accepted; no endpoint has what it needs, for example.
        """
        batch = self.create_batch()
        options = (task_options or TaskOptions()).needing(resources, environment)
        task_id = batch.add(function_id, args, kwargs, task_options=options)
        self.batch_run(endpoint_id, batch)
        return task_id

    def create_batch(self, task_group_id: str | UUID | None = None) -> Batch:
        """An empty batch, for an existing task group if given."""
        return Batch(None if task_group_id is None else str(task_group_id))

    def batch_run(self, endpoint_id: str, batch: Batch) -> dict[str, Any]:
        """Run a batch. Repeated after an error, it makes no task twice; repeated after success, all of them anew.

        Args:
            endpoint_id: an endpoint's id or name, a pool's name, or ``any``.
            batch: the tasks.

        Returns:
            ``tasks`` (function to task ids), ``task_group_id``, ``request_id``, ``endpoint_id``; and ``refused``
            (task id to reason) if some, but not all, were refused.

        Raises:
            RequestRefused: none was accepted.
            ValueError: the batch is empty.
        """
        if not batch:
            raise ValueError("The batch is empty. Add tasks with batch.add(function_id, args=(…)).")
        batch.task_group_id = group_id = batch.task_group_id or new_id()
        for submission in batch.submissions:
            submission.target = str(endpoint_id)
            if len(submission.payload) > INLINE_ARGUMENT_BYTES:
                upload(self.link, submission)
        refused: dict[str, RequestRefused] = {}
        for portion in batch.requests():
            refused.update(self._submit(group_id, portion))
        if len(refused) == len(batch):
            raise next(iter(refused.values()))
        tasks = {
            function: [task_id for task_id in task_ids if task_id not in refused]
            for function, task_ids in batch.by_function().items()
        }
        answer: dict[str, Any] = {
            "request_id": new_id(),
            "task_group_id": group_id,
            "endpoint_id": str(endpoint_id),
            "tasks": tasks,
        }
        if refused:
            answer["refused"] = {task_id: str(error) for task_id, error in refused.items()}
        batch.sent()
        return answer

    def _submit(self, group_id: str, portion: list[Submission]) -> dict[str, RequestRefused]:
        tasks = [msgspec.structs.replace(task, payload=b"") if task.argument_object else task for task in portion]
        request = SubmitRequest(group_id=group_id, tasks=[msgspec.Raw(codec.encode(task)) for task in tasks])
        response = self.link.request("POST", "/v1/tasks", request, response=SubmitResponse)
        return {portion[refusal.index].task_id: refusal_error(refusal) for refusal in response.refused}

    def cancel(
        self, task_ids: str | Iterable[str] = (), *, task_group_id: str = "", running: bool = True
    ) -> CancelResponse:
        """Cancel tasks.

        Args:
            task_ids: one id, or several.
            task_group_id: a whole group.
            running: False leaves tasks alone that already run.

        Returns:
            Which were cancelled, and the state of those that were not.
        """
        ids = [task_ids] if isinstance(task_ids, str) else [str(task_id) for task_id in task_ids]
        request = CancelRequest(task_ids=ids, group_id=task_group_id, running=running)
        return self.link.request("POST", "/v1/tasks/cancel", request, response=CancelResponse)

    def group(self, task_group_id: str) -> Group:
        """A task group of yours, to wait for, look at, or come back to.

        Args:
            task_group_id: as :meth:`batch_run` or an executor told it. Nothing is asked of the service yet.
        """
        from faas.groups import Group

        return Group(self, task_group_id)

    # Results

    def get_result(self, task_id: str, timeout: float | None = None) -> Any:
        """Wait for a task's result.

        Args:
            task_id: what :meth:`run` returned.
            timeout: seconds to wait; None for as long as it takes, 0 to look only.

        Returns:
            What the function returned.

        Raises:
            TaskPending: it had not ended within ``timeout``.
            TaskFailed: it ended without a value; ``__cause__`` is what the function raised.
            NotFound: there is no such task.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        last_answer = time.monotonic()
        while True:
            left = _POLL_S if deadline is None else max(0.0, min(_POLL_S, deadline - time.monotonic()))
            try:
                told = self._ask_result(task_id, left)
                last_answer = time.monotonic()
                if told.state in TERMINAL_STATES:
                    with bound_to(self.link):
                        return outcome(told.task_id, told.state, told.message, self._result_bytes(told))
            except ServiceUnavailable:
                now = time.monotonic()
                if now - last_answer > _OUTAGE_S or (deadline is not None and now >= deadline):
                    raise
                continue
            if deadline is not None and time.monotonic() >= deadline:
                raise TaskPending(f"Task {task_id} is {told.state}. Ask again later.")

    def _ask_result(self, task_id: str, wait_s: float) -> TaskResult:
        path = f"/v1/tasks/{segment(task_id)}/result"
        return self.link.request("GET", path, response=TaskResult, params={"wait_s": wait_s}, wait_s=wait_s)

    def _result_bytes(self, told: TaskResult) -> bytes | bytearray | None:
        if told.hint is not None or told.grant is None or told.location is None:
            return told.hint
        return fetch_result(self.link, told.location, told.grant)

    def get_batch_result(self, task_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """How several tasks stand, without waiting.

        Args:
            task_ids: the tasks.

        Returns:
            For each task ``pending``, ``status``, and once it has ended ``result`` or ``exception``.
        """
        ids = [str(task_id) for task_id in task_ids]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="faas-results") as threads:
            return dict(zip(ids, threads.map(self._standing, ids), strict=True))

    def _standing(self, task_id: str) -> dict[str, Any]:
        told = self._ask_result(task_id, 0)
        standing: dict[str, Any] = {
            "task_id": task_id,
            "status": told.state,
            "pending": told.state not in TERMINAL_STATES,
            "endpoint_id": told.endpoint_id,
        }
        if not standing["pending"]:
            try:
                with bound_to(self.link):
                    standing["result"] = outcome(task_id, told.state, told.message, self._result_bytes(told))
            except FaasError as error:
                standing["exception"] = error
        return standing

    # Objects

    def put(
        self,
        value: Any,
        *,
        keep: bool = False,
        name: str | None = None,
        progress: Progress | None = None,
        resume: str = "",
    ) -> ObjectRef:
        """Store a value, bytes or a file, to be used as an argument of any number of tasks.

        It goes to the store directly, large ones in parts, side by side and in constant memory.

        Args:
            value: bytes, or a ``Path``: stored as they are; anything else: packed as an argument would be.
            keep: have it stay when no task refers to it; else it is deleted after a day in which none does.
            name: of the file it is to be at a site; by default the path's own.
            progress: told how many more bytes went, from any thread.
            resume: the id of an object whose upload broke off: parts that the store has are not sent again.

        Returns:
            A reference to it.

        Raises:
            SerializationFailed: the value cannot be packed.
            OSError: the file cannot be read.
            RequestRefused: the service or the store said no.
            ServiceUnavailable: one of them did not answer.

        Example:
            >>> reference = client.put(Path("mask.h5"), keep=True)    # doctest: +SKIP
            >>> client.run(reference, function_id=function_id)        # doctest: +SKIP
        """
        raw = isinstance(value, (bytes, bytearray, memoryview, Path))
        if name is None:
            name = value.name if isinstance(value, Path) else ""
        wanted = CreateObject(size_bytes=0, content="bytes" if raw else "value", name=name, keep=keep, kind="object")
        told = progress or (lambda _: None)
        if isinstance(value, Path):
            stored = upload_file(self.link, value, wanted, told, resume=resume)
        else:
            data = value if isinstance(value, (bytes, bytearray, memoryview)) else pack_value(value)
            stored = upload_bytes(self.link, data, wanted, told, resume=resume)
        made = ObjectRef(stored.object_id, stored.size_bytes, stored.sha256, wanted.content, name)
        return made.through(self.link)

    def get(self, reference: ObjectRef) -> Any:
        """Fetch what a reference stands for: the value, or the bytes; see :meth:`faas.ObjectRef.get`."""
        return reference.through(self.link).get()

    def object(self, object_id: str) -> ObjectRef:
        """A reference to one of your objects.

        Args:
            object_id: its id.

        Raises:
            NotFound: there is no such object of yours.
        """
        info = self.link.request("GET", f"/v1/objects/{segment(object_id)}/info", response=ObjectInfo)
        made = ObjectRef(info.object_id, info.size_bytes, info.sha256, info.content, info.name)
        return made.through(self.link)

    def keep(self, reference: ObjectRef | str) -> None:
        """Have an object stay until it is deleted, whether or not a task refers to it.

        Args:
            reference: to the object, or its id.

        Raises:
            NotFound: there is no such object of yours.
        """
        self.link.request("POST", f"/v1/objects/{_object_id(reference)}/keep", Nothing(), response=ObjectInfo)

    def delete(self, reference: ObjectRef | str) -> None:
        """Delete an object.

        Args:
            reference: to the object, or its id.

        Raises:
            NotFound: there is no such object of yours.
            Conflict: a task or its result refers to it.
        """
        self.link.request("DELETE", f"/v1/objects/{_object_id(reference)}", response=Nothing)


def _object_id(reference: ObjectRef | str) -> str:
    return segment(reference if isinstance(reference, str) else reference.object_id)
