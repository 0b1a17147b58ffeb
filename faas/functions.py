"""``@faas.function``: called as before it runs here, and by ``.remote``, ``.submit`` or ``.map`` at a site."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import as_completed as as_completed
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from types import ModuleType
from typing import Any, Generic, TypeVar, overload

from typing_extensions import ParamSpec

from faas.client import Client
from faas.executor import Executor
from faas.futures import TaskFuture
from faas.options import TaskOptions

P = ParamSpec("P")
R = TypeVar("R")

AT_ONCE = 2_000
"""Calls of one ``map`` that are under way at the same time, unless told."""


@dataclass(frozen=True)
class _Registration:
    """What a function is registered with."""

    name: str | None = None
    description: str | None = None
    public: bool = False
    modules: tuple[ModuleType | str, ...] = ()
    resources: Mapping[str, float] = field(default_factory=dict)
    environment: str | None = None


class _Premises:
    """A client and its executors: one for each process and place that tasks are sent to, made when first needed."""

    def __init__(self, client: Client | None) -> None:
        self._client = client
        self._executors: dict[str, Executor] = {}
        self._lock = threading.Lock()

    @property
    def client(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = Client()
            return self._client

    def executor(self, endpoint_id: str) -> Executor:
        client = self.client
        with self._lock:
            if endpoint_id not in self._executors:
                self._executors[endpoint_id] = Executor(client, endpoint_id)
            return self._executors[endpoint_id]


_default = _Premises(None)


class RemoteFunction(Generic[P, R]):
    """A function and how it is to be run at a site; made by :func:`function`.

    Called like the function itself, it runs here. It is registered when it is first sent anywhere. Inside another
    function that travels to a site, it is the plain function.

    Example:
        >>> @faas.function(timeout_s=60)                         # doctest: +SKIP
        ... def area(width, height=1.0):
        ...     return width * height
        >>> area(3), area.remote(3), area.submit(3).result()     # doctest: +SKIP
        (3.0, 3.0, 3.0)
        >>> sum(area.map(range(1_000_000)))                      # doctest: +SKIP
        499999500000.0
    """

    def __init__(
        self,
        plain: Callable[P, R],
        *,
        registration: _Registration,
        options: TaskOptions,
        endpoint_id: str,
        premises: _Premises,
    ) -> None:
        functools.update_wrapper(self, plain)
        self.__wrapped__ = plain
        self._registration = registration
        self._options = options
        self._endpoint_id = endpoint_id
        self._premises = premises
        self._function_id = ""
        self._registering = threading.Lock()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.__wrapped__(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<faas.function {getattr(self.__wrapped__, '__qualname__', self.__wrapped__)}>"

    def __reduce__(self) -> Any:
        # At a site it is called as it is called here: without a client, and without this package.
        return functools.partial, (self.__wrapped__,)

    @property
    def function_id(self) -> str:
        """The function's ID; it is registered if that has not been done."""
        with self._registering:
            if not self._function_id:
                of = self._registration
                self._function_id = self._premises.client.register_function(
                    self.__wrapped__,
                    of.name,
                    of.description,
                    of.public,
                    modules=of.modules,
                    resources=of.resources or None,
                    environment=of.environment,
                )
            return self._function_id

    def using(
        self,
        *,
        endpoint_id: str | None = None,
        client: Client | None = None,
        task_options: TaskOptions | None = None,
        resources: Mapping[str, float] | None = None,
        environment: str | None = None,
    ) -> RemoteFunction[P, R]:
        """The same function, to be run otherwise.

        Args:
            endpoint_id: where: an endpoint's id or name, a pool's name, or ``any``.
            client: the connection to use.
            task_options: how its tasks are to be treated.
            resources: what their workers must have, over and above that.
            environment: the environment they run in.

        Example:
            >>> area.using(endpoint_id="theta", task_options=faas.TaskOptions(priority=5)).remote(3)  # doctest: +SKIP
        """
        other = RemoteFunction(
            self.__wrapped__,
            registration=self._registration,
            options=(task_options or self._options).needing(resources, environment),
            endpoint_id=self._endpoint_id if endpoint_id is None else str(endpoint_id),
            premises=self._premises if client is None else _Premises(client),
        )
        if client is None:
            other._function_id = self._function_id
        return other

    def submit(self, *args: Any, **kwargs: Any) -> TaskFuture:
        """Call it at a site.

        Args:
            args: its positional arguments; a future among them stands for its result.
            kwargs: its keyword arguments, likewise.

        Returns:
            The task's future, which can also be awaited.

        Raises:
            SerializationFailed: the function or an argument cannot be packed.
            RequestRefused: the function was not accepted.
        """
        executor = self._premises.executor(self._endpoint_id)
        return executor.submit_to_registered_function(self.function_id, args, kwargs, task_options=self._options)

    def remote(self, *args: Any, **kwargs: Any) -> R:
        """Call it at a site and wait for the result; interrupted, it leaves the task running.

        Raises:
            TaskFailed: it ended without a value; with the remote traceback.
        """
        return self.submit(*args, **kwargs).result()  # type: ignore[no-any-return]

    async def aremote(self, *args: Any, **kwargs: Any) -> R:
        """:meth:`remote`, to be awaited; cancelled, it takes the task back if it does not run yet."""
        return await self.submit(*args, **kwargs)  # type: ignore[no-any-return]

    def map(self, *iterables: Iterable[Any], ordered: bool = True, at_once: int = AT_ONCE) -> Iterator[R]:
        """Call it for every item, results as they are asked for; inputs are taken as there is room for them.

        Args:
            iterables: one for each argument, of any length; the shortest ends it.
            ordered: results in the order of the inputs; else as they come.
            at_once: calls under way at the same time; more inputs than these are never held.

        Returns:
            The results. Leaving it early cancels the calls that do not run yet.

        Raises:
            ValueError: ``at_once`` is less than 1.
        """
        if at_once < 1:
            raise ValueError(f"at_once is {at_once!r}; give 1 or more.")
        calls = zip(*iterables)  # noqa: B905  # the shortest ends it
        return self._in_order(calls, at_once) if ordered else self._as_they_come(calls, at_once)

    def _in_order(self, calls: Iterator[tuple[Any, ...]], at_once: int) -> Iterator[R]:
        under_way: deque[TaskFuture] = deque()
        try:
            for args in calls:
                under_way.append(self.submit(*args))
                if len(under_way) >= at_once:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            _take_back(under_way)

    def _as_they_come(self, calls: Iterator[tuple[Any, ...]], at_once: int) -> Iterator[R]:
        ended: SimpleQueue[Future[R]] = SimpleQueue()
        under_way: set[Future[R]] = set()
        try:
            for args in calls:
                future = self.submit(*args)
                under_way.add(future)
                future.add_done_callback(ended.put)
                if len(under_way) >= at_once:
                    first = ended.get()
                    under_way.discard(first)
                    yield first.result()
            while under_way:
                first = ended.get()
                under_way.discard(first)
                yield first.result()
        finally:
            _take_back(under_way)

    async def amap(self, *iterables: Iterable[Any], ordered: bool = True, at_once: int = AT_ONCE) -> AsyncIterator[R]:
        """:meth:`map` for ``async for``; the loop goes on while it waits."""
        results = self.map(*iterables, ordered=ordered, at_once=at_once)
        nothing = object()
        while (value := await asyncio.to_thread(next, results, nothing)) is not nothing:
            yield value  # type: ignore[misc]


def _take_back(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future.cancel()


@overload
def function(plain: Callable[P, R], /) -> RemoteFunction[P, R]: ...
@overload
def function(
    *,
    name: str | None = None,
    description: str | None = None,
    public: bool = False,
    environment: str | None = None,
    resources: Mapping[str, float] | None = None,
    modules: Iterable[ModuleType | str] = (),
    endpoint_id: str = "any",
    timeout_s: float | None = None,
    retries: int = 0,
    idempotent: bool = True,
    task_options: TaskOptions | None = None,
    client: Client | None = None,
) -> Callable[[Callable[P, R]], RemoteFunction[P, R]]: ...
def function(
    plain: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    public: bool = False,
    environment: str | None = None,
    resources: Mapping[str, float] | None = None,
    modules: Iterable[ModuleType | str] = (),
    endpoint_id: str = "any",
    timeout_s: float | None = None,
    retries: int = 0,
    idempotent: bool = True,
    task_options: TaskOptions | None = None,
    client: Client | None = None,
) -> RemoteFunction[P, R] | Callable[[Callable[P, R]], RemoteFunction[P, R]]:
    """Make a function one that can also be called at a site.

    Args:
        plain: the function, where this is used without parentheses.
        name: what to register it as; by default its own name.
        description: one or two sentences; by default the docstring's first line.
        public: let everyone run it, at endpoints they may use.
        environment: the environment at the endpoint it runs in.
        resources: what its workers must have: any of ``cores``, ``gpus``, ``memory_gb``.
        modules: local modules or packages to ship with it.
        endpoint_id: where: an endpoint's id or name, a pool's name, or ``any``.
        timeout_s: the run time after which a call is killed.
        retries: how often a call that failed is started again.
        idempotent: False if a call must not run twice.
        task_options: everything else on how calls are treated; those above go before it.
        client: the connection to use; by default one made when it is first needed.

    Returns:
        The function, with ``.remote``, ``.submit`` and ``.map``.

    Raises:
        ValueError: an option is impossible.

    Example:
        >>> @faas.function(environment="xpcs", timeout_s=600, retries=1)    # doctest: +SKIP
        ... def correlate(path): ...
    """
    if retries < 0:
        raise ValueError(f"retries is {retries!r}; give 0 or more.")
    options = task_options or TaskOptions()
    if timeout_s is not None:
        options = replace(options, timeout_s=timeout_s)
    if retries:
        options = replace(options, max_attempts=retries + 1)
    if not idempotent:
        options = replace(options, idempotent=False)
    shipped = (modules,) if isinstance(modules, (str, ModuleType)) else tuple(modules)
    registration = _Registration(name, description, public, shipped, resources or {}, environment)

    def decorate(each: Callable[P, R]) -> RemoteFunction[P, R]:
        premises = _default if client is None else _Premises(client)
        return RemoteFunction(
            each, registration=registration, options=options, endpoint_id=str(endpoint_id), premises=premises
        )

    return decorate if plain is None else decorate(plain)


def gather(*futures: TaskFuture | Iterable[TaskFuture], return_exceptions: bool = False) -> list[Any]:
    """Wait for futures and return their results, in the order given.

    Args:
        futures: futures, or iterables of them.
        return_exceptions: put exceptions among the results rather than raise the first.

    Returns:
        The results.

    Raises:
        TaskFailed: a task ended without a value, and ``return_exceptions`` is false.

    Example:
        >>> faas.gather(area.submit(1), area.submit(2))      # doctest: +SKIP
        [1.0, 2.0]
    """
    flat = [each for given in futures for each in ([given] if isinstance(given, Future) else given)]
    if return_exceptions:
        return [future.exception() or future.result() for future in flat]
    return [future.result() for future in flat]
