"""What the service knows and a client may look up: functions, endpoints, groups and tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import msgspec

from faas.link import Link
from faas.models import TERMINAL_STATES, Endpoint, Function, Group, Task, TaskPage, TaskQuery, WhoAmI

_PAGE_TASKS = 1_000


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
        return self.link.request("GET", "/v1/functions", response=list[Function], params=params)

    def get_endpoint(self, endpoint_id: str) -> Endpoint:
        """An endpoint, by id or name."""
        return self.link.request("GET", f"/v1/endpoints/{segment(endpoint_id)}", response=Endpoint)

    def get_endpoints(self) -> list[Endpoint]:
        """The endpoints you may use."""
        return self.link.request("GET", "/v1/endpoints", response=list[Endpoint])

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
        return [_described(task) for task in self._search(query, limit)]

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
    return described
