"""Bad input to every route, on both databases: a 4xx that says what is wrong, never a 500."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faas import codec
from faas.models import (
    CancelRequest,
    CreateIdentity,
    CreateObject,
    CreateToken,
    Pool,
    RegisterEndpoint,
    RegisterFunction,
    Submission,
    TaskQuery,
)
from tests.unit.router.callers import Caller, Callers, Federation, as_json, refused

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
    "/v1/tasks/SESSION/logs": "client",
    "/v1/objects": "client",
    "/v1/objects/SESSION/parts": "client",
    "/v1/objects/SESSION/complete": "client",
    "/v1/objects/SESSION/keep": "client",
    "/v1/locations": "admin",
    "/v1/triggers": "client",
    "/v1/triggers/trial": "client",
    "/v1/triggers/SESSION/pause": "client",
    "/v1/triggers/SESSION/resume": "client",
    "/v1/triggers/SESSION/trial": "client",
    "/v1/triggers/SESSION/replay": "client",
    "/v1/triggers/SESSION/events": "client",
    "/v1/sessions": "endpoint",
    "/v1/sessions/SESSION/lease": "endpoint",
    "/v1/sessions/SESSION/grants": "endpoint",
    "/v1/sessions/SESSION/report": "endpoint",
    "/v1/sessions/SESSION/heartbeat": "endpoint",
    "/v1/sessions/SESSION/logs": "endpoint",
}
TYPES = (codec.MSGPACK, codec.JSON)


def at(callers: Callers, path: str) -> tuple[Caller, str]:
    """Who may call a POST route, and its path."""
    caller = {"client": callers.ada, "admin": callers.service.admin, "endpoint": callers.agent.caller}[POSTS[path]]
    return caller, path.replace("SESSION", callers.agent.session_id)


async def test_every_post_route_is_tried(any_service: Federation) -> None:
    listed: dict[str, Any] = any_service.app.openapi()["paths"]
    posts = {path for path, verbs in listed.items() if "requestBody" in verbs.get("post", {})}
    assert {re.sub("{.*}", "SESSION", path) for path in posts} == set(POSTS)


MALFORMED = [b"", b"{", b"[1,", b'"text"', b"17", b"null", b"\xc1", b"\xff\xfe", b"\x80", b"[]"]


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("path", POSTS)
async def test_malformed_bodies(callers: Callers, path: str, content_type: str) -> None:
    caller, url = at(callers, path)
    for content in MALFORMED:
        response = await caller.send("POST", url, content=content, content_type=content_type)
        # An empty map is a good body where every field has a default.
        if not (content == b"\x80" and response.status_code == 200):
            refused(response)


@pytest.mark.parametrize("path", POSTS)
async def test_a_body_of_another_type(callers: Callers, path: str) -> None:
    caller, url = at(callers, path)
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "", "nonsense"):
        problem = await caller.refusal("POST", url, content=b"{}", content_type=content_type)
        assert problem.field == "Content-Type"
        assert "application/json" in problem.fix


@pytest.mark.parametrize("path", POSTS)
async def test_nesting_without_end(callers: Callers, path: str) -> None:
    caller, url = at(callers, path)
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
        caller, url = at(callers, path)
        response = await caller.send("POST", url, content=content, content_type=content_type)
        if response.status_code != 200:
            refused(response)


def filled(path: str, callers: Callers, group_id: str) -> dict[str, Any]:
    """A body every field of which is good, to be spoilt one at a time."""
    attempt = {"attempt": [1, 1], "state": "failed", "message": "m", "run_s": 1.0, "started_at": 1.0}
    outcome = {**attempt, "stdout": "s", "host": "h", "location": ["o", 0, 0], "kind": "exception"}
    outcome |= {"node": "n", "job_id": "1", "block_id": "b", "environment": "e", "peak_memory_bytes": 1}
    submission = {
        **{"task_id": str(uuid.uuid4()), "function": "f", "payload": "", "argument_object": "", "objects": ["o"]},
        **{"dependencies": [], "target": "any", "timeout_s": 1.0, "max_attempts": 1, "max_losses": 1, "priority": 0},
        **{"tags": {"a": "b"}, "retry_of": str(uuid.uuid4()), "idempotent": True},
    }
    trigger = {"name": "t", "source": "push", "function": "f", "target": "any", "backfill": False, "settings": {}}
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
        "/v1/tasks/SESSION/logs": {"stream": "stdout", "attempt": 1, "wait_s": 0.0},
        "/v1/objects": {"size_bytes": 1, "sha256": "", "content": "value", "name": "n", "keep": False},
        "/v1/objects/SESSION/parts": {"numbers": [1]},
        "/v1/objects/SESSION/complete": {"parts": {"1": "e"}, "sha256": "s"},
        "/v1/objects/SESSION/keep": {},
        "/v1/locations": {"name": "l", "url": "", "readers": ["ada"], "writers": ["ada"]},
        **{f"/v1/triggers{path}": trigger for path in ("", "/trial")},
        **{f"/v1/triggers/SESSION/{verb}": {} for verb in ("pause", "resume", "trial", "replay")},
        "/v1/triggers/SESSION/events": {"events": [{"bucket": "b", "key": "k", "size_bytes": 1, "mtime_ns": 1}]},
        "/v1/sessions": {
            **{"nonce": "n", "host": "h", "pid": 1, "version": "1", "labels": {"a": "b"}, "replaces": "r"},
            **{"policy": {"identities": {"bob": {"functions": ["f"]}}}, "takeover": False},
        },
        "/v1/sessions/SESSION/lease": {
            **{"number": 1, "workers": 1, "idle_workers": 1, "held_s": 0.0, "wait_s": 0.0, "max_tasks": 1},
            "segments": {"o": 1},
        },
        "/v1/sessions/SESSION/grants": {"attempt": [1, 1], "names": ["n"]},
        "/v1/sessions/SESSION/report": {"outcomes": [outcome], "run_s": {"f": 1.0}, "owners": ["o"]},
        "/v1/sessions/SESSION/heartbeat": {
            **{"lease_number": 1, "held": [[1, 1]], "started": {"1.1": 1.0}, "workers": 1, "idle_workers": 1},
            **{"environments": {"default": {"python": "3"}}, "wait_s": 0.0, "problem": "p", "ports": [1]},
            "delivering": ["r"],
            "blocks": [
                {"block_id": "b", "requested_at": 1.0, "job_id": "1", "state": "queued", "message": "m", "shape": "s"}
            ],
        },
        "/v1/sessions/SESSION/logs": {"request_id": "r", "size_bytes": 1},
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
    caller, url = at(callers, path)
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


@pytest.mark.parametrize("value", ["%00", "nan", "inf", "-1", "1e400", str(2**80), "x", "", "%ff", "\u0661"])
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
