"""Routes: submit tasks, search them, cancel them."""

from __future__ import annotations

import msgspec

from faas import codec
from faas.errors import InvalidRequest, RequestRefused
from faas.models import (
    MAX_BATCH_TASKS,
    CancelRequest,
    CancelResponse,
    Explanation,
    Group,
    Refusal,
    Submission,
    SubmitRequest,
    SubmitResponse,
    Task,
    TaskPage,
    TaskQuery,
)
from registry import cancellation, explaining, search, tasks
from registry.tasks import Item
from router.api.routes import Call, Routes
from router.explaining import explain

routes = Routes("tasks")


@routes.add("POST", "/tasks", "client", "submit", body=SubmitRequest, answer=SubmitResponse)
async def submit_tasks(call: Call[SubmitRequest]) -> SubmitResponse:
    """Submit a batch. Items are accepted or refused one by one; what is accepted is durable.

    Each task has an id made by the client (a UUID), so that the request may be repeated.
    """
    if len(call.body.tasks) > MAX_BATCH_TASKS:
        raise InvalidRequest(
            f"The batch has {len(call.body.tasks)} tasks.",
            fix=f"Send at most {MAX_BATCH_TASKS} at once.",
            field="tasks",
        )
    items, refused = _decode(call.body.tasks, call.content_type)
    foresight = call.service.foresight
    bind = foresight.bind if foresight is not None and foresight.policy.early else None
    return await call.service.database.write(tasks.submit, call.principal, call.body.group_id, items, refused, bind)


def _decode(raw: list[msgspec.Raw], content_type: str) -> tuple[list[Item], list[Refusal]]:
    items, refused = [], []
    for index, data in enumerate(raw):
        try:
            items.append(Item(index, codec.decode(data, Submission, content_type, at=f"tasks[{index}]")))
        except RequestRefused as refusal:
            refused.append(
                Refusal(index=index, status=refusal.status, detail=refusal.detail, fix=refusal.fix, field=refusal.field)
            )
    return items, refused


@routes.add("POST", "/tasks/search", "client", body=TaskQuery, answer=TaskPage)
async def search_tasks(call: Call[TaskQuery]) -> TaskPage:
    """The caller's tasks by state, tag, function, endpoint, group and time; newest first."""
    return await call.service.database.read(search.search, call.principal, call.body)


@routes.add("POST", "/tasks/cancel", "client", body=CancelRequest, answer=CancelResponse)
async def cancel_tasks(call: Call[CancelRequest]) -> CancelResponse:
    """Cancel tasks, or a whole group; those that run are stopped unless `running` is false."""
    return await call.service.database.write(cancellation.cancel, call.principal, call.body)


@routes.add("GET", "/tasks/{task_id}", "client", answer=Task)
async def show_task(call: Call[None]) -> Task:
    """One task, with its attempts."""
    return await call.service.database.read(search.show, call.principal, call.path("task_id"))


@routes.add("GET", "/tasks/{task_id}/explain", "client", answer=Explanation)
async def explain_task(call: Call[None]) -> Explanation:
    """Why a task runs where it does: every candidate with what speaks against it, predictions, choice and regret."""
    service = call.service
    grounds = await service.database.read(explaining.grounds, call.principal, call.path("task_id"))
    return explain(grounds, service.foresight, service.settings.policy)


@routes.add("GET", "/groups/{group_id}", "client", answer=Group)
async def show_group(call: Call[None]) -> Group:
    """A task group, its tasks counted by state."""
    return await call.service.database.read(search.group, call.principal, call.path("group_id"))
