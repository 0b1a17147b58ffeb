"""A task group to hold on to: look at it, wait for it, iterate over its results, cancel it, come back to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from faas import analytics
from faas.errors import FaasError, RequestRefused, ServiceUnavailable, TaskPending
from faas.models import CancelResponse, Grant, GroupResult, GroupResults, Location
from faas.outcomes import outcome
from faas.progress import bar_html, done_of, progress_of
from faas.tables import html_table, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from faas.client import Client

_POLL_S = 20.0
_PAGE_TASKS = 1_000
_LOOK_EVERY_S = 0.25
"""Counting a group reads all of it: ends that follow each other are counted together."""
_PAUSE_S = 2.0


@dataclass(frozen=True)
class EndedTask:
    """A task of a group that has ended, its value not fetched yet."""

    task_id: str
    state: str
    message: str
    _client: Client = field(repr=False)
    _hint: bytes | None = field(repr=False)
    _grant: Grant | None = field(repr=False)
    _location: Location | None = field(repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether it has a value."""
        return self.state == "succeeded"

    def result(self) -> Any:
        """Its value, fetched now unless it came along.

        Raises:
            TaskFailed: it ended without one.
            ServiceUnavailable: the store did not answer.
        """
        return outcome(self.task_id, self.state, self.message, self._data())

    def exception(self) -> FaasError | None:
        """Why there is no value; None if there is one."""
        try:
            self.result()
        except FaasError as error:
            return error
        return None

    def _data(self) -> bytes | None:
        if self._hint is not None or self._location is None:
            return self._hint
        link = self._client.link
        if self._grant is not None:
            try:
                return link.get_object(self._grant, self._location)
            except RequestRefused:
                pass  # it has expired since
        fresh = link.request("GET", f"/v1/objects/{self._location.object_id}", response=Grant)
        return link.get_object(fresh, self._location)


class Group:
    """A task group of yours. Made by :meth:`faas.Client.group`; it keeps nothing but the id.

    Args:
        client: to reach the service with.
        group_id: of the group.

    Example:
        >>> answer = client.batch_run("any", batch)                     # doctest: +SKIP
        >>> group = client.group(answer["task_group_id"])               # doctest: +SKIP
        >>> group.wait()                                                # doctest: +SKIP
        >>> [task.result() for task in group if task.succeeded]         # doctest: +SKIP
        >>> group.timeline().savefig("timeline.png")                    # doctest: +SKIP
    """

    def __init__(self, client: Client, group_id: str) -> None:
        self._client = client
        self.group_id = str(group_id)

    def __repr__(self) -> str:
        return f"<Group {self.group_id}>"

    @property
    def states(self) -> dict[str, int]:
        """How many of its tasks are in each state, now.

        Raises:
            NotFound: there is no such group of yours.
        """
        return self._client.get_group(self.group_id).states

    def __len__(self) -> int:
        return sum(self.states.values())

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[EndedTask]:
        return self.results()

    def results(self, timeout: float | None = None) -> Iterator[EndedTask]:
        """Its tasks as they end, each once, until none is left that has not ended.

        Values are fetched when asked for, a page of tasks at a time: a group of a million fits in memory.

        Args:
            timeout: seconds to wait in all; None for as long as it takes.

        Raises:
            NotFound: there is no such group of yours.
            TaskPending: some had not ended within ``timeout``.

        Example:
            >>> for task in group.results():                            # doctest: +SKIP
            ...     print(task.task_id, task.state)
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        cursor = seen = expected = 0
        over = False
        with self._leaving_work():
            while True:
                page = self._ended(cursor, 0 if over else _wait_s(deadline), _PAGE_TASKS)
                grants = {grant.object_id: grant for grant in page.grants}
                for result in page.results:
                    yield self._task(result, grants)
                cursor = page.cursor
                seen += len(page.results)
                if over and not page.results:
                    return
                if seen >= expected or not page.results:  # counting reads the whole group: seldom, then
                    done, total = done_of(self.states)
                    over = done == total
                    expected = seen + total - done
                    if not page.results and not over:
                        self._check(deadline, total - done)

    def wait(self, timeout: float | None = None, *, progress: bool | None = None) -> dict[str, int]:
        """Wait until all of its tasks have ended.

        Args:
            timeout: seconds to wait; None for as long as it takes.
            progress: whether to show a bar; None for where somebody can see it: a terminal or a notebook.

        Returns:
            How many ended in each state.

        Raises:
            NotFound: there is no such group of yours.
            TaskPending: some had not ended within ``timeout``; they go on.
            KeyboardInterrupt: of Ctrl-C; the tasks go on, and the message says how to come back to them.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._leaving_work(), progress_of(f"group {self.group_id[:8]}", progress) as bar:
            while True:
                standing = self._client.get_group(self.group_id)
                bar.show(standing.states)
                done, total = done_of(standing.states)
                if done == total:
                    return standing.states
                self._check(deadline, total - done)
                began = time.monotonic()
                self._ended(standing.cursor, _wait_s(deadline), 1)
                left_s = _LOOK_EVERY_S - (time.monotonic() - began)
                if left_s > 0:
                    threading.Event().wait(min(left_s, _wait_s(deadline)))

    def cancel(self, *, running: bool = True) -> CancelResponse:
        """Cancel its tasks.

        Args:
            running: False leaves tasks alone that already run.

        Returns:
            Which were cancelled, and the state of those that were not.
        """
        return self._client.cancel(task_group_id=self.group_id, running=running)

    def history(self) -> analytics.History:
        """Its tasks with the times of all their stages, and the blocks they may have run in."""
        return self._client.history(task_group_id=self.group_id)

    def summary(self) -> dict[str, Any]:
        """What became of it, in numbers.

        Returns:
            ``group_id``, ``tasks``, ``states``, ``functions``, ``endpoints`` (how many tasks each ran), ``retries``,
            ``duration_s`` (first submission to last end, or until now), ``per_s``, and ``stages``: a row for each
            endpoint as :func:`faas.analytics.stage_table` makes them.
        """
        return summarized(self.group_id, self._client.history(task_group_id=self.group_id, blocks=False))

    def timeline(self) -> Figure:
        """A figure with a line for each task: when it waited, and when it ran where.

        Raises:
            ConfigurationError: matplotlib is missing; the message says what to install.
        """
        return analytics.figure_timeline(self.history())

    def _repr_html_(self) -> str:
        states = self.states
        rows = [[shown(state.replace("_", " ")), str(count)] for state, count in sorted(states.items())]
        return bar_html(f"group {self.group_id}", states) + html_table(["state", "tasks"], rows)

    def _task(self, result: GroupResult, grants: Mapping[str, Grant]) -> EndedTask:
        place = result.location
        grant = grants.get(place.object_id) if place else None
        return EndedTask(result.task_id, result.state, result.message, self._client, result.hint, grant, place)

    def _ended(self, cursor: int, wait_s: float, limit: int) -> GroupResults:
        """Tasks that ended after a cursor, none if nothing did in time; while the service is away, nothing does."""
        try:
            return self._client.link.request(
                "GET",
                f"/v1/groups/{self.group_id}/results",
                response=GroupResults,
                params={"after": cursor, "wait_s": wait_s, "limit": limit},
                wait_s=wait_s,
            )
        except ServiceUnavailable:
            threading.Event().wait(min(_PAUSE_S, wait_s))
            return GroupResults(results=[], cursor=cursor)

    def _check(self, deadline: float | None, open_tasks: int) -> None:
        if deadline is not None and time.monotonic() >= deadline:
            raise TaskPending(
                f"{open_tasks} tasks of group {self.group_id} have not ended. They go on; wait again with "
                f"client.group({self.group_id!r}).wait()."
            )

    def _leaving_work(self) -> _LeavingWork:
        return _LeavingWork(self.group_id)


class _LeavingWork:
    """Says, when somebody presses Ctrl-C, that the work goes on."""

    def __init__(self, group_id: str) -> None:
        self._group_id = group_id

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyboardInterrupt) and not error.args:
            error.args = (
                f"The tasks go on without you. Come back to them with client.group({self._group_id!r}), "
                f"or end them with client.group({self._group_id!r}).cancel().",
            )


def summarized(group_id: str, history: analytics.History) -> dict[str, Any]:
    """What :meth:`Group.summary` returns, from a history."""
    states: dict[str, int] = {}
    functions: dict[str, int] = {}
    endpoints: dict[str, int] = {}
    for task in history.tasks:
        states[task.state] = states.get(task.state, 0) + 1
        functions[task.function] = functions.get(task.function, 0) + 1
        if task.endpoint:
            endpoints[task.endpoint] = endpoints.get(task.endpoint, 0) + 1
    duration_s = history.end - history.begin
    done, total = done_of(states)
    return {
        "group_id": group_id,
        "tasks": total,
        "states": states,
        "functions": functions,
        "endpoints": endpoints,
        "retries": sum(max(0, len(task.attempts) - 1) for task in history.tasks),
        "duration_s": duration_s,
        "per_s": done / duration_s if duration_s > 0 else None,
        "stages": analytics.stage_table(history, by=("endpoint",)),
    }


def _wait_s(deadline: float | None) -> float:
    return _POLL_S if deadline is None else max(0.0, min(_POLL_S, deadline - time.monotonic()))
