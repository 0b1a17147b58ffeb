"""The application: encodings, its OpenAPI document, limits, and errors nobody foresaw."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from faas import codec
from faas.errors import ServiceUnavailable
from faas.models import MAX_BODY_BYTES, CreateObject, Function, Problem, TaskPage
from registry import functions, search
from tests.unit.router.callers import Caller, Federation, json_of, refused, task

pytestmark = pytest.mark.anyio


# Encodings


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "application/msgpack"])
@pytest.mark.parametrize("accept", ["application/json", "application/msgpack", "*/*"])
async def test_bodies_and_answers_in_either_encoding(ada: Caller, content_type: str, accept: str) -> None:
    body = {"name": "f", "serializer": "st", "code": b"st\nf:def f(): pass"}
    response = await ada.send("POST", "/v1/functions", body, content_type=content_type, accept=accept)
    assert response.status_code == 200, response.text
    expected = codec.MSGPACK if "msgpack" in accept else codec.JSON
    assert response.headers["content-type"] == expected
    assert codec.decode(response.content, Function, expected).code_bytes == len(body["code"])


async def test_json_without_a_word_on_it(service: Federation, ada: Caller) -> None:
    response = await service.http.post(
        "/v1/tasks/search", content=b'{"limit": 5}', headers={"Authorization": f"Bearer {ada.token}"}
    )
    assert response.headers["content-type"] == codec.JSON
    assert codec.decode(response.content, TaskPage, codec.JSON).tasks == []


async def test_a_batch_in_json(ada: Caller) -> None:
    await ada.register()
    body = {"group_id": str(uuid.uuid4()), "tasks": [{"task_id": str(uuid.uuid4()), "function": "double"}]}
    response = await ada.send("POST", "/v1/tasks", body, content_type=codec.JSON, accept=codec.JSON)
    assert response.json()["accepted"] == 1
    assert list(response.json()["functions"]) == ["double"]


async def test_both_encodings_are_the_same_task(ada: Caller) -> None:
    submission = task(await ada.register(), payload=b'11\n{"args": [1]}')
    group_id = (await ada.submit(submission)).group_id
    body = b'{"group_id":"%s","tasks":[%s]}' % (group_id.encode(), json_of(submission))
    again = await ada.send("POST", "/v1/tasks", content=body, content_type=codec.JSON, accept=codec.JSON)
    assert again.json() == {"group_id": group_id, "accepted": 1}


async def test_problems_are_json_whatever_is_asked_for(ada: Caller) -> None:
    assert (await ada.refusal("GET", "/v1/tasks/nowhere", accept=codec.MSGPACK)).status == 404


# OpenAPI


async def openapi(caller: Caller) -> dict[str, Any]:
    response = await caller.send("GET", "/v1/openapi.json")
    assert response.status_code == 200
    document: dict[str, Any] = response.json()
    return document


async def test_the_openapi_document_is_valid(ada: Caller) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(await openapi(ada))


async def test_every_route_is_documented_with_its_models(ada: Caller) -> None:
    document = await openapi(ada)
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len(operations) > 30
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            assert operation["description"], path
            assert set(operation["responses"]["200"]["content"]) == set(codec.CONTENT_TYPES)
            assert operation["responses"]["4XX"]["content"]["application/problem+json"]
            posted = path == "/v1/triggers/{trigger_id}/deliveries/{secret}"  # by stores, in their own words
            assert ("requestBody" in operation) == (verb == "post" and not posted), path
            assert ("security" in operation) == (path != "/v1/health" and not posted)
            assert bool(operation.get("x-scopes")) == (path != "/v1/health" and not posted)


async def test_every_reference_of_the_openapi_document_leads_somewhere(ada: Caller) -> None:
    document = await openapi(ada)
    named = set(references(document))
    assert {"SubmitRequest", "Problem", "LeaseResponse", "Location"} <= named
    assert named <= set(document["components"]["schemas"])


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        found = [node["$ref"].removeprefix("#/components/schemas/")] if "$ref" in node else []
        return found + [name for inner in node.values() for name in references(inner)]
    if isinstance(node, list):
        return [name for inner in node for name in references(inner)]
    return []


async def test_a_field_keeps_its_documented_bounds(ada: Caller) -> None:
    schemas = (await openapi(ada))["components"]["schemas"]
    assert schemas["LeaseRequest"]["properties"]["max_tasks"]["maximum"] == 2**31 - 1


# Limits


async def pieces(size_bytes: int) -> AsyncIterator[bytes]:
    """A body of unstated length, which httpx sends chunked."""
    piece = b" " * 1024 * 1024
    for _ in range(size_bytes // len(piece) + 1):
        yield piece


async def test_an_oversized_body_is_refused_unread(ada: Caller) -> None:
    response = await ada.http.post(
        "/v1/functions",
        content=pieces(0),
        headers={"Authorization": f"Bearer {ada.token}", "Content-Length": str(MAX_BODY_BYTES + 1)},
    )
    problem = refused(response)
    assert problem.status == 413
    assert problem.fix


async def test_an_oversized_body_of_unstated_length_is_refused(ada: Caller) -> None:
    for path in ("/v1/functions", "/v1/tasks"):
        assert (await ada.refusal("POST", path, content=pieces(MAX_BODY_BYTES))).status == 413


async def test_a_body_of_just_the_limit_is_read(ada: Caller) -> None:
    body = b"{" + b" " * (MAX_BODY_BYTES - 2) + b"}"
    assert len(body) == MAX_BODY_BYTES
    response = await ada.send("POST", "/v1/tasks/search", content=body, content_type=codec.JSON)
    assert response.status_code == 200


async def test_a_token_is_asked_for_before_the_body_is_read(service: Federation) -> None:
    problem = await service.nobody.refusal("POST", "/v1/functions", content=pieces(MAX_BODY_BYTES))
    assert problem.status == 401


async def test_oversized_code(ada: Caller) -> None:
    body = {"name": "f", "serializer": "st", "code": bytes(8 * 1024 * 1024 + 1)}
    problem = await ada.refusal("POST", "/v1/functions", body)
    assert (problem.status, problem.field) == (413, "code")


# Errors


async def send_and_fail(service: Federation, caller: Caller, method: str, path: str, body: Any = None) -> Problem:
    """What a client sees of an error; the transport would raise it here otherwise."""
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
        response = await Caller(http, caller.token).send(method, path, body)
    assert response.headers["content-type"] == "application/problem+json"
    problem = codec.decode(response.content, Problem, codec.JSON)
    assert problem.status == response.status_code
    return problem


async def test_an_unforeseen_error_tells_the_log_and_not_the_client(
    service: Federation, ada: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secrets of the implementation")

    monkeypatch.setattr(search, "show", broken)
    problem = await send_and_fail(service, ada, "GET", f"/v1/tasks/{uuid.uuid4()}")
    assert problem.status == 500
    assert "secrets" not in problem.detail
    assert problem.fix
    assert "secrets of the implementation" in caplog.text
    assert ada.token not in caplog.text


async def test_a_failing_database_does_not_tell_what_people_sent(
    service: Federation, ada: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(functions, "content_id", lambda *_: None)  # which no primary key can be
    body = {"name": "f", "serializer": "st", "code": b"st", "description": "hunter2"}
    problem = await send_and_fail(service, ada, "POST", "/v1/functions", body)
    assert problem.status == 500
    assert "NOT NULL" in caplog.text
    assert "hunter2" not in caplog.text
    assert "hunter2" not in problem.detail


async def test_a_store_that_is_down_is_503(
    service: Federation, ada: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def down(*_: object, **__: object) -> None:
        raise ServiceUnavailable("The store s3://bucket does not answer.")

    monkeypatch.setattr(service.service.store, "grant", down)
    caplog.set_level(logging.WARNING)
    response = await ada.send("POST", "/v1/objects", CreateObject(size_bytes=1))
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "s3://bucket" in msgspec.json.decode(response.content)["detail"]
    assert "Traceback" not in caplog.text
