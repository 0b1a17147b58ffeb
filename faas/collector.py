"""Fetches the results of a task group: one thread that long-polls, a few that read from the object store."""

from __future__ import annotations

import concurrent.futures
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from faas.crew import Crew
from faas.errors import FaasError, RequestRefused, ServiceUnavailable
from faas.futures import TaskFuture
from faas.link import Link
from faas.models import Grant, GroupResult, GroupResults, Location
from faas.objects import bind
from faas.outcomes import failure
from faas.packing import unpack_value
from faas.persistence import persist
from faas.transfer import fetch_result

POLL_S = 20.0
PAGE_TASKS = 1_000
_FETCHERS = 4
_GAP_BYTES = 16 * 1024
"""Ranges of one object that lie closer are read in one request."""
_READ_BYTES = 16 * 1024 * 1024
"""Ranges are joined up to this size."""
_PAUSE_S = 2.0


class Stored(NamedTuple):
    """A result that lies in the object store."""

    future: TaskFuture
    result: GroupResult
    location: Location


class Collector:
    """Ends futures as their tasks end.

    No lock is taken for a task: whoever takes its id out of ``_open`` ends the future, and then takes it out of
    ``_futures``.

    Args:
        link: to the service.
        group_id: the group to watch.
        patience_s: how long the service or store may be away before a result counts as unreachable.
        at_end: called by the last thread when all is done after :meth:`close`.
    """

    def __init__(self, link: Link, group_id: str, patience_s: float, at_end: Callable[[], None]) -> None:
        self._link = link
        self._path = f"/v1/groups/{group_id}/results"
        self._patience_s = patience_s
        self._at_end = at_end
        self._open: dict[str, TaskFuture] = {}
        self._futures: dict[str, TaskFuture] = {}
        self._fetching: set[str] = set()
        self._wanted = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._crew = Crew("faas-fetch", _FETCHERS)

    def expect(self, future: TaskFuture) -> None:
        """Watch for a task's end."""
        task_id = future.task_id
        self._futures[task_id] = future
        self._open[task_id] = future
        if not self._wanted.is_set():
            self._wanted.set()
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._collect, name="faas-results", daemon=True)
                self._thread.start()

    def outstanding(self) -> list[TaskFuture]:
        """Futures of tasks that have not ended."""
        return list(self._futures.values())

    def wait(self) -> None:
        """Wait until every future has ended."""
        while futures := self.outstanding():
            concurrent.futures.wait(futures)

    def close(self) -> None:
        """Stop when every future has ended."""
        self._closed = True
        if self._thread is None:
            self._at_end()
        self._wanted.set()

    # Ending futures; each only once, by whoever comes first

    def _mine(self, future: TaskFuture) -> bool:
        return self._open.pop(future.task_id, None) is not None

    def _ended(self, future: TaskFuture) -> None:
        del self._futures[future.task_id]
        if self._closed and not self._futures:
            self._wanted.set()

    def fail(self, future: TaskFuture, error: BaseException) -> None:
        """End a future with an error."""
        if self._mine(future):
            future.set_exception(error)
            self._ended(future)

    def end_cancelled(self, future: TaskFuture) -> None:
        """End a future whose task was cancelled on its behalf."""
        if self._mine(future):
            future.end_cancelled()
            self._ended(future)
        else:  # the other thread is at it
            concurrent.futures.wait([future])

    def _end(self, future: TaskFuture, result: GroupResult, data: bytes | bytearray | None) -> None:
        if not self._mine(future):
            return
        if result.state == "succeeded" and data is not None:
            try:
                value = unpack_value(data)
            except FaasError as error:
                future.set_exception(error)
            else:
                future.set_result(value)
        elif result.state == "cancelled" and future.cancelling:
            future.end_cancelled()
        else:
            future.set_exception(failure(future.task_id, result.state, result.message, data))
        self._ended(future)

    # The polling thread

    def _collect(self) -> None:
        cursor = 0
        bind(self._link)  # what results refer to is fetched by the same way
        while True:
            if len(self._futures) <= len(self._fetching):
                if self._closed and not self._futures:
                    break
                self._wanted.clear()
                if len(self._futures) <= len(self._fetching) and not (self._closed and not self._futures):
                    self._wanted.wait()
                continue
            try:
                page = self._link.request(
                    "GET",
                    self._path,
                    response=GroupResults,
                    params={"after": cursor, "wait_s": POLL_S, "limit": PAGE_TASKS},
                    wait_s=POLL_S,
                )
            except ServiceUnavailable:
                # For ever: what was accepted is kept by the service, and will be there when it is back.
                threading.Event().wait(random.uniform(0, _PAUSE_S))
                continue
            except Exception as error:
                for future in self.outstanding():
                    self.fail(future, error)
                continue
            cursor = page.cursor
            self._take(page)
            del page  # not to keep results alive while waiting
        self._crew.dismiss()
        self._at_end()

    def _take(self, page: GroupResults) -> None:
        stored: dict[str, list[Stored]] = defaultdict(list)
        open_futures = self._open
        for result in page.results:
            future = open_futures.get(result.task_id)
            if future is None:  # another program's, or ended before
                continue
            if result.hint is not None or result.location is None:
                self._end(future, result, result.hint)
            else:
                self._fetching.add(result.task_id)
                stored[result.location.object_id].append(Stored(future, result, result.location))
        if stored:
            grants = {grant.object_id: grant for grant in page.grants}
            for object_id, results in stored.items():
                for together in adjacent(results):
                    self._fetch_later(object_id, grants.get(object_id), together)

    def _fetch_later(self, object_id: str, grant: Grant | None, results: list[Stored]) -> None:
        self._crew.do(lambda: self._fetch(object_id, grant, results))

    def _fetch(self, object_id: str, grant: Grant | None, results: list[Stored]) -> None:
        bind(self._link)
        start = results[0].location.offset
        end = max(item.location.offset + item.location.length_bytes for item in results)
        wanted = Location(object_id, start, end - start)
        try:
            data = persist(lambda: self._read(wanted, grant), self._patience_s)
        except Exception as error:  # every future must end, whatever went wrong
            for item in results:
                self._fetching.discard(item.future.task_id)
                self.fail(item.future, error)
            return
        for item in results:
            offset = item.location.offset - start
            self._fetching.discard(item.future.task_id)
            whole = item.location.length_bytes == len(data)  # then it need not be copied
            self._end(item.future, item.result, data if whole else data[offset : offset + item.location.length_bytes])

    def _read(self, wanted: Location, grant: Grant | None) -> bytes | bytearray:
        if grant is not None:
            try:
                return fetch_result(self._link, wanted, grant)
            except RequestRefused:
                pass  # it has expired while others were read
        fresh = self._link.request("GET", f"/v1/objects/{wanted.object_id}", response=Grant)
        return fetch_result(self._link, wanted, fresh)


def adjacent(results: list[Stored]) -> Iterator[list[Stored]]:
    """Results of one object in portions to be read with one request each."""
    together: list[Stored] = []
    start = end = 0
    for item in sorted(results, key=lambda item: item.location.offset):
        after = item.location.offset + item.location.length_bytes
        if together and (item.location.offset > end + _GAP_BYTES or after - start > _READ_BYTES):
            yield together
            together = []
        if not together:
            start = item.location.offset
            end = after
        together.append(item)
        end = max(end, after)
    if together:
        yield together
