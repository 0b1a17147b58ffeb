"""Jobs done side by side, a few at a time, their results in order; what runs is told when the rest is given up."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

from faas.crew import Crew

if TYPE_CHECKING:
    from typing_extensions import Self

R = TypeVar("R")
Check = Callable[[], None]


class GivenUp(Exception):
    """Another job failed, or nobody wants the results any more."""


class SideBySide(Generic[R]):
    """Jobs that run in threads from now on; iterating gives their results in order, or raises what one raised.

    When one fails, or the context is left, no further one is begun, and those that run are waited for.

    Args:
        jobs: each is given a function to call now and then, which raises when the job is to be given up.
        threads: how many run at once.
        name: of the threads.

    Example:
        >>> with SideBySide([lambda check: 1, lambda check: 2], 2) as going:
        ...     print(list(going))
        [1, 2]
    """

    def __init__(self, jobs: Iterable[Callable[[Check], R]], threads: int, name: str = "faas-transfer") -> None:
        self._stop = threading.Event()
        self._crew = Crew(name, threads)
        self._futures: list[Future[R]] = []
        for job in jobs:
            future: Future[R] = Future()
            self._futures.append(future)
            self._crew.do(self._once(job, future))

    def _once(self, job: Callable[[Check], R], future: Future[R]) -> Callable[[], None]:
        def run() -> None:
            try:
                self._check()
                future.set_result(job(self._check))
            except BaseException as error:  # told to whoever waits for it
                self._stop.set()
                future.set_exception(error)

        return run

    def _check(self) -> None:
        if self._stop.is_set():
            raise GivenUp

    def __iter__(self) -> Iterator[R]:
        for future in self._futures:
            try:
                yield future.result()
            except GivenUp:
                concurrent.futures.wait(self._futures)
                errors = (each.exception() for each in self._futures)
                raise next(error for error in errors if error and not isinstance(error, GivenUp)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._crew.dismiss()
        concurrent.futures.wait(self._futures)
