"""What the service knows and a client may look up: functions, endpoints, groups and tasks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from faas.link import Link
from faas.models import (
    TERMINAL_STATES,
    BlockHistory,
    Endpoint,
    Function,
    Group,
    Task,
    TaskHistory,
    TaskPage,
    TaskQuery,
    WhoAmI,
)
from faas.tables import Record, Table

if TYPE_CHECKING:
    from faas.analytics import History

_PAGE_TASKS = 1_000
_Page = TypeVar("_Page", TaskHistory, BlockHistory)


class Catalogue:
    """The part of :class:`faas.Client` that only looks."""

    link: Link

    def whoami(self) -> WhoAmI:
        """The identity and scope of the token."""
        return self.link.request("GET", "/v1/whoami", response=WhoAmI)

    def get_function(self, function_id: str) -> Function:
        """What is known of a function, by id or name."""
        return self.link.request("GET", f"/v1/functions/{segment(function_id)}", response=Function)

    def get_functions(self, name: str | None = None, limit: int = 100) -> list[Function]:
        """Your functions and public ones, newest first; those of one name if given."""
        params: dict[str, str | int | float] = {"limit": limit}
        if name:
            params["name"] = name
        found = self.link.request("GET", "/v1/functions", response=list[Function], params=params)
        return Table(found, ("name", "function_id", "owner", "description", "registered_at"))

    def get_endpoint(self, endpoint_id: str) -> Endpoint:
        """An endpoint, by id or name."""
        return self.link.request("GET", f"/v1/endpoints/{segment(endpoint_id)}", response=Endpoint)

    def get_endpoints(self) -> list[Endpoint]:
        """The endpoints you may use."""
        found = self.link.request("GET", "/v1/endpoints", response=list[Endpoint])
        return Table(found, ("name", "endpoint_id", "owner", "standing", "workers", "idle_workers", "last_seen_at"))

    def get_task(self, task_id: str) -> dict[str, Any]:
        """A task as it stands.

        Args:
            task_id: what :meth:`run` returned.

        Returns:
            ``task_id``, ``status``, ``pending``, ``endpoint_id``, ``attempts``, ``times`` (``submitted_at``,
            ``started_at``, ``ended_at``), and the other fields of :class:`faas.models.Task`.
        """
        return _described(self.link.request("GET", f"/v1/tasks/{segment(task_id)}", response=Task))

    def get_group(self, task_group_id: str) -> Group:
        """A task group with its tasks counted by state."""
        return self.link.request("GET", f"/v1/groups/{segment(task_group_id)}", response=Group)

    def search_tasks(
        self,
        *,
        state: str | Iterable[str] = (),
        function: str = "",
        endpoint: str = "",
        task_group_id: str = "",
        tags: dict[str, str] | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Your tasks, newest first, each as :meth:`get_task` gives it.

        Args:
            state: one state, or several.
            function: id or name.
            endpoint: id or name.
            task_group_id: a group.
            tags: all of which the task has.
            since: submitted at or after, in seconds since the epoch.
            until: submitted before.
            limit: how many, at most.

        Returns:
            The tasks.
        """
        query = TaskQuery(
            state=[state] if isinstance(state, str) else list(state),
            function=function,
            endpoint=endpoint,
            group_id=task_group_id,
            tags=tags or {},
            since=since,
            until=until,
        )
        columns = ("task_id", "function", "status", "endpoint", "times.submitted_at", "times.ended_at", "message")
        return Table((_described(task) for task in self._search(query, limit)), columns)

    def history(
        self,
        *,
        since: float | timedelta | None = None,
        task_group_id: str = "",
        blocks: bool = True,
        everyone: bool = False,
    ) -> History:
        """Your tasks with the times of all their stages, and the blocks of endpoints you may use, to analyse.

        Args:
            since: leaves out what ended before: seconds since the epoch, or how long ago.
            task_group_id: only the tasks of this group.
            blocks: whether to fetch blocks, too.
            everyone: everybody's tasks and all blocks; for administrators.

        Returns:
            Tasks in the order of submission, and blocks.

        Raises:
            NotFound: there is no such group.
            PermissionDenied: everybody's are asked for without an administrator's token.

        Example:
            >>> history = client.history(since=timedelta(hours=1))      # doctest: +SKIP
            >>> faas.analytics.figure_overview(history)                 # doctest: +SKIP
        """
        from faas.analytics import History

        asked: dict[str, str | int | float] = {"all": int(everyone)}
        if since is not None:
            asked["since"] = time.time() - since.total_seconds() if isinstance(since, timedelta) else since
        group = {"group": task_group_id} if task_group_id else {}
        pages = self._pages("/v1/history/tasks", TaskHistory, {**asked, **group})
        runs = self._pages("/v1/history/blocks", BlockHistory, asked) if blocks else ()
        return History.of_pages(pages, runs)

    def _pages(self, path: str, response: type[_Page], params: dict[str, str | int | float]) -> Iterator[_Page]:
        while True:
            page = self.link.request("GET", path, response=response, params=params)
            yield page
            if not page.next_after:
                return
            params = {**params, "after": page.next_after}

    def _search(self, query: TaskQuery, limit: int) -> Iterator[Task]:
        while limit > 0:
            query.limit = min(limit, _PAGE_TASKS)
            page = self.link.request("POST", "/v1/tasks/search", query, response=TaskPage)
            yield from page.tasks
            limit -= len(page.tasks)
            query.before = page.next_before
            if query.before is None:
                return


def segment(text: str) -> str:
    """Text as one segment of a URL's path, whatever is in it."""
    return quote(str(text), safe="")


def _described(task: Task) -> dict[str, Any]:
    described = msgspec.structs.asdict(task)
    described["attempts"] = [msgspec.structs.asdict(attempt) for attempt in task.attempts]
    described["location"] = msgspec.structs.asdict(task.location) if task.location else None
    described["status"] = described.pop("state")
    described["pending"] = task.state not in TERMINAL_STATES
    described["times"] = {name: described.pop(name) for name in ("submitted_at", "started_at", "ended_at")}
    return Record(described)
