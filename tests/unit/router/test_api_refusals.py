"""What a request asks that cannot be: item by item, of whom it belongs to, by name and by size."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest

from faas import codec
from faas.models import (
    MAX_BATCH_TASKS,
    CancelRequest,
    CreateIdentity,
    CreateObject,
    EndpointCreated,
    Function,
    Pool,
    RegisterEndpoint,
    RegisterFunction,
    SubmitResponse,
    Task,
    Upload,
)
from tests.unit.router.callers import Caller, Callers, allow, as_json, refused, task

pytestmark = pytest.mark.anyio

AN_ID = "9b1d5f0c-2c5e-4f0e-8c3d-0123456789ab"


# A batch, item by item


async def submit_json(caller: Caller, *tasks: dict[str, Any]) -> SubmitResponse:
    body = as_json({"group_id": str(uuid.uuid4()), "tasks": tasks})
    response = await caller.send("POST", "/v1/tasks", content=body, content_type=codec.JSON)
    assert response.status_code == 200, response.text
    return codec.decode(response.content, SubmitResponse, response.headers["content-type"])


BAD_ITEMS: list[tuple[dict[str, Any], str]] = [
    ({"function": "nowhere"}, "function"),
    ({"function": str(uuid.uuid4())}, "function"),
    ({"function": "a\x00b"}, "function"),
    ({"function": 5}, "function"),
    ({"target": "nowhere"}, "target"),
    ({"target": str(uuid.uuid4())}, "target"),
    ({"target": "a\x00b"}, "target"),
    ({"task_id": "no uuid"}, "task_id"),
    ({"task_id": "\x00"}, "task_id"),
    ({"task_id": str(uuid.uuid4()).upper()}, "task_id"),
    ({"payload": "no base64!"}, "payload"),
    ({"timeout_s": 0}, "timeout_s"),
    ({"timeout_s": -1}, "timeout_s"),
    ({"timeout_s": 1e300}, "timeout_s"),
    ({"timeout_s": "soon"}, "timeout_s"),
    ({"max_attempts": 0}, "max_attempts"),
    ({"max_attempts": 2**31}, "max_attempts"),
    ({"max_attempts": 2**80}, "max_attempts"),
    ({"max_losses": -1}, "max_losses"),
    ({"priority": 2**63}, "priority"),
    ({"priority": -1_000_001}, "priority"),
    ({"tags": {f"{number}": "x" for number in range(33)}}, "tags"),
    ({"tags": {"a": "\x00"}}, "tags"),
    ({"tags": {"a": "x" * 501}}, "tags"),
    ({"tags": {"a": 5}}, "tags"),
    ({"retry_of": "no uuid"}, "retry_of"),
    ({"dependencies": [str(uuid.uuid4())]}, "dependencies"),
    ({"dependencies": ["\x00"]}, "dependencies"),
    ({"argument_object": str(uuid.uuid4())}, "object_id"),
    ({"argument_object": "\x00"}, "argument_object"),
    ({"objects": ["\x00"]}, "objects"),
    ({"objects": [str(uuid.uuid4())]}, "object_id"),
    ({"idempotent": "yes"}, "idempotent"),
    ({"resources": {"gpu": 1}}, "resources"),
    ({"resources": {"cores": -1}}, "resources"),
    ({"resources": {"cores": 1e9}}, "resources"),
    ({"resources": {"cores": "four"}}, "resources"),
    ({"resources": [1]}, "resources"),
    ({"resources": {"gpus": 1}}, "resources"),
    ({"environment": "a b"}, "environment"),
    ({"environment": "\x00"}, "environment"),
    ({"environment": "xpcs"}, "environment"),
]


async def test_a_batch_is_refused_item_by_item(callers: Callers) -> None:
    function_id = await callers.ada.register()

    def good() -> dict[str, Any]:
        return {"task_id": str(uuid.uuid4()), "function": function_id}

    items: list[dict[str, Any]] = []
    for change, _ in BAD_ITEMS:
        items += [good(), {**good(), **change}]
    answer = await submit_json(callers.ada, *items, good())
    assert answer.accepted == len(BAD_ITEMS) + 1
    assert [refusal.index for refusal in answer.refused] == list(range(1, 2 * len(BAD_ITEMS), 2))
    for refusal, (change, field) in zip(answer.refused, BAD_ITEMS, strict=True):
        assert refusal.field.startswith(f"tasks[{refusal.index}].{field}"), change
        assert 400 <= refusal.status < 500
        assert refusal.detail


async def test_a_batch_with_a_broken_item_in_msgpack(callers: Callers) -> None:
    function_id = await callers.ada.register()
    good = [msgspec.msgpack.encode(task(function_id)) for _ in range(2)]
    tasks = b"\x93" + good[0] + b"\x05" + good[1]
    body = b"\x82\xa8group_id" + msgspec.msgpack.encode(str(uuid.uuid4())) + b"\xa5tasks" + tasks
    response = await callers.ada.send("POST", "/v1/tasks", content=body)
    answer = codec.decode(response.content, SubmitResponse)
    assert answer.accepted == 2
    assert [(refusal.index, refusal.field) for refusal in answer.refused] == [(1, "tasks[1]")]


async def test_an_id_in_use_for_something_else(callers: Callers) -> None:
    function_id = await callers.ada.register()
    first = task(function_id, payload=b"one")
    assert (await callers.ada.submit(first)).accepted == 1
    again = await callers.ada.submit(first, msgspec.structs.replace(first, payload=b"two"))
    assert again.accepted == 1
    assert [(refusal.index, refusal.status) for refusal in again.refused] == [(1, 409)]


async def test_an_oversized_batch(callers: Callers) -> None:
    body = as_json({"group_id": str(uuid.uuid4()), "tasks": [{}] * (MAX_BATCH_TASKS + 1)})
    problem = await callers.ada.refusal("POST", "/v1/tasks", content=body, content_type=codec.JSON)
    assert problem.field == "tasks"
    assert str(MAX_BATCH_TASKS) in problem.fix


@pytest.mark.parametrize("group_id", ["", "no uuid", "\x00", AN_ID.upper()])
async def test_a_group_needs_an_id(callers: Callers, group_id: str) -> None:
    body = as_json({"group_id": group_id, "tasks": []})
    problem = await callers.ada.refusal("POST", "/v1/tasks", content=body, content_type=codec.JSON)
    assert problem.field == "group_id"


# What belongs to somebody else


async def test_another_owners_things_look_unknown(callers: Callers) -> None:
    ada, agent = callers.ada, callers.agent
    bob = await callers.service.stranger("bob")
    function_id = await ada.register()
    mine = task(function_id)
    group_id = (await ada.submit(mine)).group_id
    [grant] = (await ada.ask("POST", "/v1/objects", CreateObject(size_bytes=3), answer=Upload)).grants
    await ada.send("POST", "/v1/pools", Pool(name="fast", endpoints=["beamline"]))
    for path in (
        f"functions/{function_id}",
        f"functions/{function_id}/code",
        "functions/double",
        f"tasks/{mine.task_id}",
        f"tasks/{mine.task_id}/result",
        f"groups/{group_id}",
        f"groups/{group_id}/results",
        f"objects/{grant.object_id}",
        f"endpoints/{agent.endpoint_id}",
        "endpoints/beamline",
        "pools/fast",
    ):
        await ada.send("GET", f"/v1/{path}")
        assert (await bob.refusal("GET", f"/v1/{path}")).status == 404, path
    assert (await bob.refusal("DELETE", f"/v1/endpoints/{agent.endpoint_id}")).status == 404
    assert (await bob.refusal("DELETE", "/v1/pools/fast")).status == 404
    answer = await bob.send("POST", "/v1/tasks/cancel", CancelRequest(task_ids=[mine.task_id], group_id=group_id))
    assert codec.decode(answer.content, dict[str, Any]) == {
        "cancelled": [],
        "not_cancelled": {mine.task_id: "unknown"},
    }
    assert (await ada.ask("GET", f"/v1/tasks/{mine.task_id}", answer=Task)).state == "queued"


async def test_another_owners_things_cannot_be_used_in_tasks(callers: Callers) -> None:
    ada = callers.ada
    bob = await callers.service.stranger("bob")
    private, public = await ada.register("private"), await ada.register("public", public=True)
    mine = task(private)
    await ada.submit(mine)
    [grant] = (await ada.ask("POST", "/v1/objects", CreateObject(size_bytes=3), answer=Upload)).grants
    answer = await bob.submit(
        task(private),
        task(public, target="beamline"),
        task(public, target=callers.agent.endpoint_id),
        task(public, objects=[grant.object_id]),
        task(public, argument_object=grant.object_id),
        task(public, dependencies=[mine.task_id]),
        msgspec.structs.replace(mine, function=public),
        task(public),
    )
    assert answer.accepted == 1
    assert [(refusal.index, refusal.status) for refusal in answer.refused] == [
        *[(index, 404) for index in range(6)],
        (6, 409),
    ]


async def test_another_owners_group_cannot_be_joined(callers: Callers) -> None:
    bob = await callers.service.stranger("bob")
    group_id = (await callers.ada.submit(task(await callers.ada.register()))).group_id
    body = as_json({"group_id": group_id, "tasks": []})
    problem = await bob.refusal("POST", "/v1/tasks", content=body, content_type=codec.JSON)
    assert (problem.status, problem.field) == (409, "group_id")


async def test_a_pinned_endpoint_that_does_not_allow_the_function(callers: Callers) -> None:
    bob = await callers.service.stranger("bob")
    allowed, other = await bob.register("allowed"), await bob.register("other")
    await callers.agent.open(policy=allow(bob.name, functions=[allowed]), takeover=True)
    target = callers.agent.endpoint_id
    answer = await bob.submit(task(allowed, target=target), task(other, target=target))
    assert answer.accepted == 1
    (refusal,) = answer.refused
    assert (refusal.index, refusal.status, refusal.field) == (1, 403, "tasks[1].target")
    assert "beamline" in refusal.detail
    assert callers.ada.name in refusal.fix


async def test_another_endpoints_session_cannot_be_used(callers: Callers) -> None:
    bob = await callers.service.stranger("bob")
    intruder = await callers.service.agent(bob, "elsewhere")
    session_id, own = callers.agent.session_id, intruder.session_id
    intruder.session_id = session_id
    for verb, body in (
        ("lease", {"number": 1, "workers": 1, "idle_workers": 1, "wait_s": 0}),
        ("heartbeat", {"lease_number": 0, "held": []}),
    ):
        problem = await intruder.caller.refusal("POST", f"/v1/sessions/{session_id}/{verb}", body)
        assert problem.status == 409
    await intruder.caller.send("DELETE", f"/v1/sessions/{session_id}")
    assert (await callers.agent.beat()).recalled == []  # and it lives on
    assert own != session_id


# Names and sizes


@pytest.mark.parametrize("name", ["", "any", "a b", "../up", "-x", "ü", "x" * 65, "a\x00b", "a/b", AN_ID])
async def test_names_of_endpoints_and_pools(callers: Callers, name: str) -> None:
    assert (await callers.ada.refusal("POST", "/v1/endpoints", RegisterEndpoint(name=name))).field == "name"
    assert (await callers.ada.refusal("POST", "/v1/pools", Pool(name=name, labels={"a": "b"}))).field == "name"


async def test_an_endpoint_and_a_pool_cannot_share_a_name(callers: Callers) -> None:
    pool = Pool(name="beamline", labels={"gpu": "yes"})
    assert (await callers.ada.refusal("POST", "/v1/pools", pool)).status == 409
    await callers.ada.send("POST", "/v1/pools", Pool(name="fast", labels={"gpu": "yes"}))
    assert (await callers.ada.refusal("POST", "/v1/endpoints", RegisterEndpoint(name="fast"))).status == 409


async def test_a_pool_must_select_something_known(callers: Callers) -> None:
    assert (await callers.ada.refusal("POST", "/v1/pools", Pool(name="empty"))).field == "endpoints"
    assert (await callers.ada.refusal("POST", "/v1/pools", Pool(name="lost", endpoints=["nowhere"]))).status == 404


@pytest.mark.parametrize("name", ["", " ", "a\x00b", "x" * 201, "a\nb"])
async def test_names_of_identities(callers: Callers, name: str) -> None:
    problem = await callers.service.admin.refusal("POST", "/v1/identities", CreateIdentity(name=name))
    assert problem.field == "name"


async def test_an_identity_exists_once(callers: Callers) -> None:
    problem = await callers.service.admin.refusal("POST", "/v1/identities", CreateIdentity(name=callers.ada.name))
    assert problem.status == 409


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"serializer": "xx"}, "serializer"),
        ({"code": b""}, "code"),
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": AN_ID}, "name"),
        ({"metadata": {"bytes": b"\xff"}}, "metadata"),
        ({"metadata": {"nan": float("nan")}}, "metadata"),
        ({"metadata": {"much": "x" * 70_000}}, "metadata"),
        ({"description": "a\x00b"}, ""),
    ],
)
async def test_functions(callers: Callers, change: dict[str, Any], field: str) -> None:
    request = RegisterFunction(**{"name": "f", "serializer": "st", "code": b"st\nf:def f(): pass", **change})
    response = await callers.ada.send("POST", "/v1/functions", request)
    if "description" in change and response.status_code == 200:
        return  # SQLite holds NUL characters
    assert refused(response).field == field


async def test_metadata_comes_back_as_it_went(callers: Callers) -> None:
    metadata = {"energy_keV": 12.4, "ü": ["\x00", "\U0001f52c", None, True, 2**40, {"a": {}}]}
    request = RegisterFunction(name="f", serializer="st", code=b"st\nf:def f(): pass", metadata=metadata)
    answer = await callers.ada.ask("POST", "/v1/functions", request, answer=Function)
    assert answer.metadata == metadata


@pytest.mark.parametrize("size_bytes", [-1, 6 * 1024**4, 2**62, 2**70])
async def test_sizes_of_objects(callers: Callers, size_bytes: int) -> None:
    body = as_json({"size_bytes": size_bytes})
    problem = await callers.ada.refusal("POST", "/v1/objects", content=body, content_type=codec.JSON)
    assert problem.field == "size_bytes"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1_001}, "limit"),
        ({"limit": 2**70}, "limit"),
        ({"before": 2**70}, "before"),
        ({"state": ["sleeping"]}, "state"),
        ({"state": ["queued"] * 40_000 + ["\x00"]}, "state"),
        ({"tags": {str(number): "" for number in range(2_000)}}, "tags"),
    ],
)
async def test_searches(callers: Callers, query: dict[str, Any], field: str) -> None:
    content = as_json(query)
    problem = await callers.ada.refusal("POST", "/v1/tasks/search", content=content, content_type=codec.JSON)
    assert problem.field == field


async def test_nothing_to_cancel(callers: Callers) -> None:
    assert (await callers.ada.refusal("POST", "/v1/tasks/cancel", CancelRequest())).field == "task_ids"


async def test_an_endpoint_that_runs_cannot_be_deleted_but_then_it_can(callers: Callers) -> None:
    ada, agent = callers.ada, callers.agent
    problem = await ada.refusal("DELETE", f"/v1/endpoints/{agent.endpoint_id}")
    assert problem.status == 409
    assert "node1" in problem.detail
    assert "faas endpoint stop" in problem.fix
    assert (await agent.caller.send("DELETE", f"/v1/sessions/{agent.session_id}")).status_code == 200
    assert (await ada.send("DELETE", f"/v1/endpoints/{agent.endpoint_id}")).status_code == 200
    assert (await ada.refusal("GET", "/v1/endpoints/beamline")).status == 404
    again = await ada.ask("POST", "/v1/endpoints", RegisterEndpoint(name="beamline"), answer=EndpointCreated)
    assert again.endpoint_id != agent.endpoint_id
