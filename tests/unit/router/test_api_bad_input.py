"""Bad input to every route, on both databases: a 4xx that says what is wrong, never a 500."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faas import codec
from faas.models import (
    MAX_BATCH_TASKS,
    CancelRequest,
    CreateIdentity,
    CreateObject,
    CreateToken,
    EndpointCreated,
    Function,
    Grant,
    Pool,
    RegisterEndpoint,
    RegisterFunction,
    Submission,
    SubmitResponse,
    Task,
    TaskQuery,
)
from tests.unit.router.callers import Agent, Caller, Federation, allow, refused, task

pytestmark = pytest.mark.anyio

POSTS = {
    "/v1/functions": "client",
    "/v1/endpoints": "client",
    "/v1/pools": "client",
    "/v1/tokens": "client",
    "/v1/identities": "admin",
    "/v1/tasks": "client",
    "/v1/tasks/search": "client",
    "/v1/tasks/cancel": "client",
    "/v1/objects": "client",
    "/v1/sessions": "endpoint",
    "/v1/sessions/SESSION/lease": "endpoint",
    "/v1/sessions/SESSION/report": "endpoint",
    "/v1/sessions/SESSION/heartbeat": "endpoint",
}
TYPES = (codec.MSGPACK, codec.JSON)


class Callers:
    """Somebody of every scope."""

    def __init__(self, service: Federation, ada: Caller, agent: Agent) -> None:
        self.service = service
        self.ada = ada
        self.agent = agent

    def at(self, path: str) -> tuple[Caller, str]:
        """Who may call a POST route, and its path."""
        caller = {"client": self.ada, "admin": self.service.admin, "endpoint": self.agent.caller}[POSTS[path]]
        return caller, path.replace("SESSION", self.agent.session_id)


@pytest.fixture
async def callers(any_service: Federation, monkeypatch: pytest.MonkeyPatch) -> Callers:
    # Polls are cut short: what is said here is said before the wait, or after it.
    for name in ("router.dispatch.MAX_WAIT_S", "router.api.results.MAX_WAIT_S"):
        monkeypatch.setattr(name, 0.0)
    monkeypatch.setattr("router.api.sessions._MAX_HEARTBEAT_WAIT_S", 0.0)
    ada = await any_service.stranger("ada")
    return Callers(any_service, ada, await any_service.agent(ada, "beamline"))


async def test_every_post_route_is_tried(any_service: Federation) -> None:
    listed: dict[str, Any] = any_service.app.openapi()["paths"]
    assert {re.sub("{.*}", "SESSION", path) for path, verbs in listed.items() if "post" in verbs} == set(POSTS)


MALFORMED = [b"", b"{", b"[1,", b'"text"', b"17", b"null", b"\xc1", b"\xff\xfe", b"\x80", b"[]"]


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("path", POSTS)
async def test_malformed_bodies(callers: Callers, path: str, content_type: str) -> None:
    caller, url = callers.at(path)
    for content in MALFORMED:
        response = await caller.send("POST", url, content=content, content_type=content_type)
        # An empty map is a good body where every field has a default.
        if not (content == b"\x80" and response.status_code == 200):
            refused(response)


@pytest.mark.parametrize("path", POSTS)
async def test_a_body_of_another_type(callers: Callers, path: str) -> None:
    caller, url = callers.at(path)
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "", "nonsense"):
        problem = await caller.refusal("POST", url, content=b"{}", content_type=content_type)
        assert problem.field == "Content-Type"
        assert "application/json" in problem.fix


@pytest.mark.parametrize("path", POSTS)
async def test_nesting_without_end(callers: Callers, path: str) -> None:
    caller, url = callers.at(path)
    for depth in (900, 100_000):
        for content in (
            b'{"metadata":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}",
            b"[" * depth + b"]" * depth,
            b'{"tasks":[' + b"[" * depth + b"]" * depth + b'],"group_id":"x"}',
        ):
            response = await caller.send("POST", url, content=content, content_type=codec.JSON)
            # What is not too deep to be passed over may be passed over.
            if depth > 900 or response.status_code != 200:
                refused(response)
        packed = b"\x81\xa8metadata" + b"\x91" * depth + b"\xc0"
        response = await caller.send("POST", url, content=packed)
        if depth > 900 or response.status_code != 200:
            refused(response)


async def test_metadata_nested_deeply(callers: Callers) -> None:
    body = b'{"name":"f","serializer":"st","code":"AAAA","metadata":' + b'{"a":' * 900 + b"1" + b"}" * 901
    response = await callers.ada.send("POST", "/v1/functions", content=body, content_type=codec.JSON)
    if response.status_code != 200:
        assert refused(response).field == "metadata"


# Random bodies. Hypothesis runs one example after the other, each a request within the test's event loop.

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text()
    | st.sampled_from(["\x00", "a\x00b", "\ud800", "any", "queued", "\U0001f52c", "ﷺ" * 50]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
FIELDS = sorted(
    {
        name
        for model in (
            RegisterFunction,
            RegisterEndpoint,
            Pool,
            CreateToken,
            CreateIdentity,
            Submission,
            TaskQuery,
            CancelRequest,
            CreateObject,
        )
        for name in model.__struct_fields__
    }
    | {"nonce", "host", "pid", "version", "number", "workers", "idle_workers", "wait_s", "held_s", "max_tasks"}
    | {"outcomes", "lease_number", "held", "started", "segments", "owners", "run_s", "environments", "group_id"}
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=6)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()  # with NaN and lone surrogates, which nobody forbids a client to send


@pytest.fixture(scope="module")
def examples() -> list[tuple[str, bytes, str]]:
    """Bodies from Hypothesis, drawn once: its own runner cannot await."""
    drawn: list[tuple[str, bytes, str]] = []

    @settings(max_examples=400, deadline=None, database=None, derandomize=True)
    @given(st.sampled_from(sorted(POSTS)), BODIES, st.binary(max_size=60), st.sampled_from(["json", "bytes"]))
    def draw(path: str, body: dict[str, Any], noise: bytes, kind: str) -> None:
        if kind == "json":
            drawn.append((path, as_json(body), codec.JSON))
        else:
            drawn.extend((path, noise, content_type) for content_type in TYPES)

    draw()
    return drawn


async def test_random_bodies(callers: Callers, examples: list[tuple[str, bytes, str]]) -> None:
    assert len(examples) > 400
    for path, content, content_type in examples:
        caller, url = callers.at(path)
        response = await caller.send("POST", url, content=content, content_type=content_type)
        if response.status_code != 200:
            refused(response)


def filled(path: str, callers: Callers, group_id: str) -> dict[str, Any]:
    """A body every field of which is good, to be spoilt one at a time."""
    attempt = {"attempt": [1, 1], "state": "failed", "message": "m", "run_s": 1.0, "started_at": 1.0}
    outcome = {**attempt, "stdout": "s", "host": "h", "location": ["o", 0, 0], "kind": "exception"}
    submission = {
        **{"task_id": str(uuid.uuid4()), "function": "f", "payload": "", "argument_object": "", "objects": ["o"]},
        **{"dependencies": [], "target": "any", "timeout_s": 1.0, "max_attempts": 1, "max_losses": 1, "priority": 0},
        **{"tags": {"a": "b"}, "retry_of": str(uuid.uuid4()), "idempotent": True},
    }
    bodies: dict[str, dict[str, Any]] = {
        "/v1/functions": {
            **{"name": "f", "serializer": "st", "code": "AAAA", "modules": "", "python_version": "3", "metadata": {}},
            **{"description": "d", "public": False},
        },
        "/v1/endpoints": {"name": "e", "labels": {"a": "b"}, "description": "d"},
        "/v1/pools": {"name": "p", "endpoints": ["beamline"], "labels": {"a": "b"}, "owner": ""},
        "/v1/tokens": {"scope": "client", "label": "l", "identity": "ada", "endpoint": "e", "expires_s": 5.0},
        "/v1/identities": {"name": "i"},
        "/v1/tasks": {"group_id": group_id, "tasks": [submission]},
        "/v1/tasks/search": {
            **{"state": ["queued"], "function": "f", "endpoint": "e", "group_id": group_id, "tags": {"a": "b"}},
            **{"since": 0.0, "until": 1.0, "before": 1, "limit": 1},
        },
        "/v1/tasks/cancel": {"task_ids": ["t"], "group_id": group_id, "running": True},
        "/v1/objects": {"size_bytes": 1, "sha256": ""},
        "/v1/sessions": {
            **{"nonce": "n", "host": "h", "pid": 1, "version": "1", "labels": {"a": "b"}, "replaces": "r"},
            **{"policy": {"identities": {"bob": {"functions": ["f"]}}}, "takeover": False},
        },
        "/v1/sessions/SESSION/lease": {
            **{"number": 1, "workers": 1, "idle_workers": 1, "held_s": 0.0, "wait_s": 0.0, "max_tasks": 1},
            "segments": {"o": 1},
        },
        "/v1/sessions/SESSION/report": {"outcomes": [outcome], "run_s": {"f": 1.0}, "owners": ["o"]},
        "/v1/sessions/SESSION/heartbeat": {
            **{"lease_number": 1, "held": [[1, 1]], "started": {"1.1": 1.0}, "workers": 1, "idle_workers": 1},
            **{"environments": {"default": {"python": "3"}}, "wait_s": 0.0},
        },
    }
    return bodies[path]


STRANGE: list[Any] = [
    None,
    True,
    "",
    "a\x00b",
    "\x00",
    "\ud800",
    "\udcff",
    "‮" + "\U0001f52c" * 300,
    "x" * 100_000,
    -1,
    2**31,
    2**63 - 1,
    2**63,
    2**64,
    -(2**70),
    10**400,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    [],
    ["\x00"],
    [2**70],
    {"\x00": "\x00"},
    {"a": "\x00"},
    {"a": 2**70},
    {"a": float("inf")},
]


def spoilt(value: Any) -> list[Any]:
    """A body with each value in it, however deep, replaced by each strange one."""
    found: list[Any] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += [{**value, key: strange} for strange in spoilt(inner)]
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += [[*value[:index], strange, *value[index + 1 :]] for strange in spoilt(inner)]
    return found + STRANGE


@pytest.mark.parametrize("path", POSTS)
async def test_every_field_with_every_strange_value(callers: Callers, path: str) -> None:
    caller, url = callers.at(path)
    group_id = str(uuid.uuid4())
    for body in spoilt(filled(path, callers, group_id)):
        response = await caller.send("POST", url, content=as_json(body), content_type=codec.JSON)
        if response.status_code != 200:
            refused(response)
    # None of it broke anything: a good request still succeeds.
    await callers.ada.register()


QUERIES = [
    "limit={}",
    "after={}",
    "wait_s={}",
    "name={}",
]


@pytest.mark.parametrize(
    "value", ["%00", "nan", "inf", "-1", "1e400", str(2**80), "x", "", "%ff", "\u0661"]
)
async def test_strange_queries(callers: Callers, value: str) -> None:
    for path in ("functions", f"groups/{uuid.uuid4()}/results", f"tasks/{uuid.uuid4()}/result"):
        for query in QUERIES:
            response = await callers.ada.send("GET", f"/v1/{path}?{query.format(value)}")
            if response.status_code != 200:
                refused(response)


@pytest.mark.parametrize(
    "value", ["%00", "a%00b", "%ff", "%F0%9F%94%AC", "x" * 5000, "..", "%2e%2e", "'; DROP TABLE tasks"]
)
async def test_strange_paths(callers: Callers, value: str) -> None:
    for noun in ("functions", "endpoints", "pools", "tokens", "tasks", "groups", "objects"):
        for method in ("GET", "DELETE"):
            refused(await callers.ada.send(method, f"/v1/{noun}/{value}"))
    for path in (f"functions/{value}/code", f"tasks/{value}/result"):
        refused(await callers.ada.send("GET", f"/v1/{path}"))
    response = await callers.ada.send("GET", f"/v1/groups/{value}/results")
    if response.status_code != 200:  # an unknown group is empty
        refused(response)
    for verb in ("lease", "report", "heartbeat"):
        refused(await callers.agent.caller.send("POST", f"/v1/sessions/{value}/{verb}", content=b"\x80"))


async def test_unknown_things_are_named(callers: Callers) -> None:
    ada, unknown = callers.ada, str(uuid.uuid4())
    for path in (
        f"functions/{unknown}",
        "functions/nowhere",
        f"functions/{unknown}/code",
        f"endpoints/{unknown}",
        "endpoints/nowhere",
        "pools/nowhere",
        f"tasks/{unknown}",
        f"tasks/{unknown}/result",
        f"groups/{unknown}",
        f"objects/{unknown}",
    ):
        problem = await ada.refusal("GET", f"/v1/{path}")
        assert problem.status == 404, path
        assert path.split("/")[1] in problem.detail
    for path in (f"endpoints/{unknown}", "pools/nowhere", f"tokens/{unknown}"):
        assert (await ada.refusal("DELETE", f"/v1/{path}")).status == 404


async def test_unknown_paths_and_verbs(callers: Callers) -> None:
    assert (await callers.ada.refusal("GET", "/v2/tasks")).status == 404
    assert "/v1/openapi.json" in (await callers.ada.refusal("GET", "/")).fix
    response = await callers.ada.send("PATCH", "/v1/functions")
    assert refused(response).status == 405
    assert response.headers["allow"]


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


@pytest.mark.parametrize("group_id", ["", "no uuid", "\x00", str(uuid.uuid4()).upper()])
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
    grant = await ada.ask("POST", "/v1/objects", CreateObject(size_bytes=3), answer=Grant)
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
    grant = await ada.ask("POST", "/v1/objects", CreateObject(size_bytes=3), answer=Grant)
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


@pytest.mark.parametrize("name", ["", "any", "a b", "../up", "-x", "ü", "x" * 65, "a\x00b", "a/b", str(uuid.uuid4())])
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
        ({"name": str(uuid.uuid4())}, "name"),
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


@pytest.mark.parametrize("size_bytes", [-1, 6 * 1024**3, 2**62, 2**70])
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
