"""A few daemon threads that carry bytes: they never hold up the end of the interpreter, as a stdlib pool would."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Crew:
    """Runs jobs in at most ``size`` threads, started when needed.

    Args:
        name: of the threads, for debuggers.
        size: how many threads.
    """

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def do(self, job: Callable[[], None]) -> None:
        """Run a job soon; it deals with its own errors."""
        self._jobs.put(job)
        with self._lock:
            if len(self._threads) < self._size:
                thread = threading.Thread(
                    target=_work, args=(self._jobs,), name=f"{self._name}-{len(self._threads)}", daemon=True
                )
                thread.start()
                self._threads.append(thread)

    def dismiss(self) -> None:
        """End the threads once the jobs given so far are done."""
        for _ in self._threads:
            self._jobs.put(None)


def _work(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # or the last one's data would live until the next comes
