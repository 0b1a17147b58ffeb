"""``concurrent.futures.Executor`` over every site there is."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from types import FunctionType, ModuleType
from typing import Any

from faas.client import Client
from faas.courier import Courier, Parcel
from faas.futures import TaskFuture
from faas.identifiers import new_id
from faas.models import Submission
from faas.options import TaskOptions
from faas.packing import PackedFunction, pack_arguments, pack_function

_PORTION = 256


class Executor(concurrent.futures.Executor):
    """Runs functions at the sites of the federation; futures resolve as results come back.

    Tasks are sent in batches as fast as the service takes them, and survive its restarts: nothing submitted is
    lost, and nothing is run twice for it. When the interpreter ends without :meth:`shutdown`, what is queued is
    still sent, but results are not waited for: they stay in the service.

    Args:
        client: the connection to use; by default a new one from FAAS_URL, FAAS_TOKEN or the credentials file.
        endpoint_id: where tasks go: an endpoint's id or name, a pool's name, or ``any``.
        task_group_id: the group of all tasks; a new one by default.
        task_options: how tasks are to be treated; the attribute may be changed between submissions.
        resources: what their workers must have, over and above the options; see :class:`faas.TaskOptions`.
        environment: where they run, in place of what the options say.
        modules: local modules to ship with functions registered on first use.
        patience_s: how long the service may be away before submissions fail with ``ServiceUnavailable``.

    Example:
        >>> with faas.Executor() as executor:                        # doctest: +SKIP
        ...     print(executor.submit(pow, 2, 10).result())
        ...     print(sum(executor.map(analyse, range(1000))))
    """

    def __init__(
        self,
        client: Client | None = None,
        endpoint_id: str = "any",
        task_group_id: str | None = None,
        *,
        task_options: TaskOptions | None = None,
        resources: Mapping[str, float] | None = None,
        environment: str | None = None,
        modules: Iterable[ModuleType | str] = (),
        patience_s: float = 600.0,
    ) -> None:
        self.task_options = (task_options or TaskOptions()).needing(resources, environment)
        self.client = client or Client()
        self.endpoint_id = str(endpoint_id)
        self.task_group_id = str(task_group_id or new_id())
        self._modules = (modules,) if isinstance(modules, (str, ModuleType)) else tuple(modules)
        at_end = self.client.close if client is None else None
        self._courier = Courier(self.client.link, self.task_group_id, patience_s, at_end)
        self._functions: dict[FunctionType, str] = {}
        self._registered: dict[PackedFunction, str] = {}
        self._registering = threading.Lock()

    def __repr__(self) -> str:
        return f"<Executor {self.endpoint_id} of {self.client.url}, group {self.task_group_id}>"

    def __del__(self) -> None:
        courier = getattr(self, "_courier", None)
        if courier is not None:
            courier.close(wait=False, cancel=False)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture:
        """Call a function at a site; it is registered when first used, as it is then.

        Args:
            fn: any callable that can be packed; see :func:`faas.packing.pack_function`.
            args: its positional arguments; a future among them stands for its result, wherever in them it is.
            kwargs: its keyword arguments, likewise.

        Returns:
            The task's future.

        Raises:
            SerializationFailed: the function or an argument cannot be packed.
            RequestRefused: the function was not accepted.
            RuntimeError: after :meth:`shutdown`.
        """
        return self._call(self._function_id(fn), args, kwargs, self.task_options)

    def submit_to_registered_function(
        self,
        function_id: str,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        *,
        task_options: TaskOptions | None = None,
        resources: Mapping[str, float] | None = None,
        environment: str | None = None,
    ) -> TaskFuture:
        """Call a function registered before, by its id or, if it is yours, its name.

        Args:
            function_id: what :meth:`Client.register_function` returned.
            args: positional arguments.
            kwargs: keyword arguments.
            task_options: how this task is to be treated; by default as all of this executor's.
            resources: what its worker must have, over and above the options; see :class:`faas.TaskOptions`.
            environment: where to run, in place of what the options say.

        Returns:
            The task's future; it ends with ``NotFound`` if there is no such function.

        Raises:
            ValueError: the resources or the environment are impossible.
            SerializationFailed: an argument cannot be packed.
        """
        options = (task_options or self.task_options).needing(resources, environment)
        return self._call(str(function_id), tuple(args or ()), kwargs or {}, options)

    def map(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Any]:
        """Like ``map``, all calls submitted at once, results in order as they are asked for.

        Args:
            fn: the function.
            iterables: one per argument; the shortest ends it.
            timeout: seconds from now after which asking for a result raises ``TimeoutError``.
            chunksize: ignored; tasks are grouped by their run time instead.

        Returns:
            The results. Leaving it early cancels the tasks that do not run yet.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        function_id = self._function_id(fn)
        options = self.task_options
        # Where all arguments are there already, tasks are queued in growing portions: the first at once, and the
        # sending thread is not woken for each of the rest. A slow iterator's are queued as they come.
        largest = _PORTION if all(isinstance(each, Sized) for each in iterables) else 1
        futures: list[TaskFuture] = []
        portion: list[Parcel] = []
        wanted = 1
        try:
            for args in zip(*iterables):  # noqa: B905  # the shortest ends it
                future, parcel = self._prepare(function_id, args, {}, options)
                futures.append(future)
                if parcel is not None:
                    portion.append(parcel)
                if len(portion) >= wanted:
                    self._courier.send(portion)
                    portion = []
                    wanted = min(2 * wanted, largest)
        except BaseException:
            self._courier.cancel_all(futures)
            raise
        if portion:
            self._courier.send(portion)
        return self._results(futures, deadline)

    def _results(self, futures: list[TaskFuture], deadline: float | None) -> Iterator[Any]:
        futures.reverse()
        try:
            while futures:
                value = futures[-1].result(None if deadline is None else max(0.0, deadline - time.monotonic()))
                futures.pop()  # a result is not kept here once it was taken
                yield value
        finally:
            if futures:
                self._courier.cancel_all(futures)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks.

        Args:
            wait: return when every future has ended.
            cancel_futures: cancel the tasks that do not run yet.
        """
        self._courier.close(wait=wait, cancel=cancel_futures)

    def _call(
        self, function_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: TaskOptions
    ) -> TaskFuture:
        future, parcel = self._prepare(function_id, args, kwargs, options)
        if parcel is not None:
            self._courier.send([parcel])
        return future

    def _prepare(
        self, function_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: TaskOptions
    ) -> tuple[TaskFuture, Parcel | None]:
        packed = pack_arguments(args, kwargs)
        task_id = new_id()
        future = TaskFuture(task_id, self._courier)
        submission = Submission(
            task_id=task_id,
            function=function_id,
            payload=packed.payload,
            dependencies=packed.dependencies,
            objects=packed.objects,
            files=packed.files,
            outputs=packed.outputs,
            target=self.endpoint_id,
            **options.fields,
        )
        return future, self._courier.admit(future, submission)

    def _function_id(self, function: Callable[..., Any]) -> str:
        """Register a function unless that was done already.

        A plain function counts as unchanged; anything else (a bound method, a partial, an object) has a state,
        so it is packed each time, and registered anew when that gives something new.
        """
        plain = type(function) is FunctionType
        if plain and (known := self._functions.get(function)):  # type: ignore[call-overload]
            return str(known)
        with self._registering:
            packed = pack_function(function, self._modules)
            function_id = self._registered.get(packed)
            if function_id is None:
                function_id = self._registered[packed] = self.client.register_packed(packed)
            if isinstance(function, FunctionType):
                self._functions[function] = function_id
            return function_id
