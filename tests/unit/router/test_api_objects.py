"""Objects on their way up: parts, completion, tickets of workers, and what becomes of uploads nobody finishes."""

from __future__ import annotations

import hashlib
import os
import uuid

import pytest

from faas import tickets
from faas.models import (
    AttemptKey,
    CompleteUpload,
    CreateObject,
    Grant,
    LeasedTask,
    Location,
    Nothing,
    ObjectInfo,
    ObjectPage,
    Outcome,
    Upload,
    WantParts,
)
from router.store.files import UPLOADS
from tests.unit.router.callers import Agent, Caller, Callers, Federation, task

pytestmark = pytest.mark.anyio

PART = 1000


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faas.parts.PART_BYTES", PART)
    monkeypatch.setattr("faas.parts._STEP", 1)


async def begin(caller: Caller, size_bytes: int, **fields: object) -> Upload:
    wanted = CreateObject(size_bytes=size_bytes, **fields)  # type: ignore[arg-type]
    return await caller.ask("POST", "/v1/objects", wanted, answer=Upload)


async def put(caller: Caller, grant: Grant, data: bytes) -> str:
    answer = await caller.http.put(grant.url, content=data, headers=grant.headers)
    assert answer.status_code == 200, answer.text
    return str(answer.headers.get("etag", ""))


async def put_parts(caller: Caller, upload: Upload, data: bytes) -> dict[int, str]:
    return {
        number: await put(caller, grant, data[(number - 1) * PART : number * PART])
        for number, grant in enumerate(upload.grants, 1)
    }


async def test_an_object_in_parts(callers: Callers) -> None:
    ada, data = callers.ada, os.urandom(2 * PART + 10)
    upload = await begin(ada, len(data), kind="object", name="scan.h5", content="bytes")
    assert (upload.part_bytes, len(upload.grants)) == (PART, 3)
    path = f"/v1/objects/{upload.object_id}"
    tags = await put_parts(ada, upload, data)
    assert (await ada.refusal("GET", path)).status == 409
    answer = await ada.submit(task(await ada.register(), objects=[upload.object_id]))
    assert [refusal.status for refusal in answer.refused] == [409]
    digest = hashlib.sha256(data).hexdigest()
    for _ in range(2):  # the first answer may have been lost
        info = await ada.ask("POST", f"{path}/complete", CompleteUpload(parts=tags, sha256=digest), answer=ObjectInfo)
        assert (info.size_bytes, info.sha256, info.name, info.unfinished) == (len(data), digest, "scan.h5", False)
    grant = await ada.ask("GET", path, answer=Grant)
    assert grant.sha256 == digest
    assert (await ada.http.get(grant.url)).content == data
    assert (await ada.refusal("POST", f"{path}/parts", WantParts(numbers=[1]))).status == 409


async def test_what_is_missing_is_told(callers: Callers) -> None:
    ada, data = callers.ada, os.urandom(3 * PART)
    upload = await begin(ada, len(data))
    path = f"/v1/objects/{upload.object_id}"
    await put(ada, upload.grants[1], data[PART : 2 * PART])
    seen = await ada.ask("GET", f"{path}/upload", answer=Upload)
    assert list(seen.stored) == [2]
    problem = await ada.refusal("POST", f"{path}/complete", CompleteUpload())
    assert problem.status == 409 and "1, 3" in problem.detail
    rest = await ada.ask("POST", f"{path}/parts", WantParts(numbers=[3, 1]), answer=Upload)
    await put(ada, rest.grants[0], data[2 * PART :])
    await put(ada, rest.grants[1], data[:PART])
    await ada.ask("POST", f"{path}/complete", CompleteUpload(), answer=ObjectInfo)
    grant = await ada.ask("GET", path, answer=Grant)
    assert (await ada.http.get(grant.url)).content == data
    for numbers, field in (([1, 4], "numbers[1]"), ([0], "numbers[0]"), (list(range(201)), "numbers")):
        other = await begin(ada, 3 * PART)
        problem = await ada.refusal("POST", f"/v1/objects/{other.object_id}/parts", WantParts(numbers=numbers))
        assert problem.field == field


async def test_a_part_has_exactly_its_length(callers: Callers) -> None:
    upload = await begin(callers.ada, PART + 1)
    for data in (b"x" * (PART - 1), b"x" * (PART + 1)):
        answer = await callers.ada.http.put(upload.grants[0].url, content=data)
        assert 400 <= answer.status_code < 500
    seen = await callers.ada.ask("GET", f"/v1/objects/{upload.object_id}/upload", answer=Upload)
    assert seen.stored == {}


async def test_an_object_that_never_came_is_not_complete(callers: Callers) -> None:
    upload = await begin(callers.ada, 10)
    problem = await callers.ada.refusal("POST", f"/v1/objects/{upload.object_id}/complete", CompleteUpload())
    assert problem.status == 409 and "announced with 10" in problem.detail


async def test_anothers_upload_looks_unknown(callers: Callers) -> None:
    upload = await begin(callers.ada, 2 * PART)
    bob = await callers.service.stranger("bob")
    path = f"/v1/objects/{upload.object_id}"
    for method, below, body in (
        ("GET", "/upload", None),
        ("GET", "/info", None),
        ("POST", "/parts", WantParts(numbers=[1])),
        ("POST", "/complete", CompleteUpload()),
        ("POST", "/keep", Nothing()),
        ("DELETE", "", None),
    ):
        assert (await bob.refusal(method, path + below, body)).status == 404
    assert (await bob.ask("GET", "/v1/objects", answer=ObjectPage)).objects == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"sha256": "AB" * 32}, "sha256"),
        ({"sha256": "ab"}, "sha256"),
        ({"name": "a/b"}, "name"),
        ({"name": "\n"}, "name"),
    ],
)
async def test_impossible_descriptions(callers: Callers, fields: dict[str, str], field: str) -> None:
    problem = await callers.ada.refusal("POST", "/v1/objects", CreateObject(size_bytes=1, **fields))  # type: ignore[arg-type]
    assert problem.field == field


async def test_a_list_goes_by_pages(callers: Callers) -> None:
    made = [(await begin(callers.ada, 1, kind="object")).object_id for _ in range(5)]
    await begin(callers.ada, 1)  # an argument is not listed
    found: list[str] = []
    before = ""
    while True:
        params = {"limit": "2", "before": before}
        page = await callers.ada.ask("GET", "/v1/objects", answer=ObjectPage, params=params)
        found += [each.object_id for each in page.objects]
        before = page.next_before
        if not before:
            break
    assert sorted(found) == sorted(made)
    assert (await callers.ada.refusal("GET", "/v1/objects", params={"before": "x"})).field == "before"


async def test_an_object_in_use_is_not_deleted(callers: Callers) -> None:
    ada = callers.ada
    upload = await begin(ada, 4)
    await put(ada, upload.grants[0], b"used")
    answer = await ada.submit(task(await ada.register(), objects=[upload.object_id]))
    assert answer.accepted == 1
    assert (await ada.refusal("DELETE", f"/v1/objects/{upload.object_id}")).status == 409


async def test_an_upload_that_nobody_finishes_goes_with_its_parts(
    service: Federation, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.objects.UNREFERENCED_S", -1.0)
    upload = await begin(ada, 2 * PART, keep=True)
    await put(ada, upload.grants[0], b"x" * PART)
    uploads = service.service.settings.data_directory / "store" / UPLOADS
    assert len(list(uploads.iterdir())) == 1
    await service.service.janitor.delete_objects()
    assert list(uploads.iterdir()) == []
    assert (await ada.refusal("GET", f"/v1/objects/{upload.object_id}/info")).status == 404


# Tickets


async def leased(agent: Agent, owner: Caller) -> LeasedTask:
    await owner.submit(task(await owner.register()))
    return (await agent.lease()).tasks[0]


def worker(agent: Agent, attempt: AttemptKey, *, session_id: str = "") -> Caller:
    """A worker with the ticket that its agent gave it."""
    token_hash = hashlib.sha256(agent.caller.token.encode()).hexdigest()
    return Caller(agent.caller.http, tickets.issue(token_hash, session_id or agent.session_id, attempt))


async def test_a_worker_stores_the_result_of_its_attempt(callers: Callers) -> None:
    one = await leased(callers.agent, callers.ada)
    holder, data = worker(callers.agent, one.attempt), os.urandom(2 * PART + 1)
    upload = await begin(holder, len(data))
    digest = hashlib.sha256(data).hexdigest()
    tags = await put_parts(holder, upload, data)
    path = f"/v1/objects/{upload.object_id}"
    await holder.ask("POST", f"{path}/complete", CompleteUpload(parts=tags, sha256=digest), answer=ObjectInfo)
    place = Location(upload.object_id, 0, len(data))
    report = await callers.agent.report(Outcome(attempt=one.attempt, state="succeeded", location=place))
    assert report.dropped == 0
    info = await callers.ada.ask("GET", f"{path}/info", answer=ObjectInfo)
    assert info.location_key.startswith(f"results/{callers.ada.identity_id}/")
    assert f"/{one.task_id}.{one.attempt.number}." in info.location_key
    assert (info.expires_at, info.sha256) == (None, digest)
    grant = await callers.ada.ask("GET", path, answer=Grant)
    assert await callers.ada.fetch(grant, place) == data
    assert (await holder.refusal("POST", "/v1/objects", CreateObject(size_bytes=1))).status == 409


async def test_a_result_that_is_not_there_does_not_count(callers: Callers) -> None:
    one = await leased(callers.agent, callers.ada)
    holder = worker(callers.agent, one.attempt)
    for size_bytes in (5, 2 * PART):
        upload = await begin(holder, size_bytes)
        place = Location(upload.object_id, 0, size_bytes)
        await callers.agent.report(Outcome(attempt=one.attempt, state="succeeded", location=place))
        one = (await callers.agent.lease()).tasks[0]
        holder = worker(callers.agent, one.attempt)


async def test_a_ticket_is_for_one_attempt(callers: Callers) -> None:
    first, second = await leased(callers.agent, callers.ada), await leased(callers.agent, callers.ada)
    mine, theirs = worker(callers.agent, first.attempt), worker(callers.agent, second.attempt)
    upload = await begin(mine, 5)
    await put(mine, upload.grants[0], b"mine!")
    assert (await theirs.refusal("POST", f"/v1/objects/{upload.object_id}/complete", CompleteUpload())).status == 404
    assert (await theirs.refusal("DELETE", f"/v1/objects/{upload.object_id}")).status == 404
    place = Location(upload.object_id, 0, 5)
    await callers.agent.report(Outcome(attempt=second.attempt, state="succeeded", location=place))
    leased_again = (await callers.agent.lease()).tasks
    assert [each.task_id for each in leased_again] == [second.task_id]
    for method, path in (("GET", f"/v1/objects/{upload.object_id}"), ("GET", "/v1/objects"), ("GET", "/v1/whoami")):
        assert (await mine.refusal(method, path)).status == 403


async def test_tickets_that_are_none(callers: Callers) -> None:
    one = await leased(callers.agent, callers.ada)
    stranger = await callers.service.stranger("eve")
    other = await callers.service.agent(stranger, "elsewhere")
    wanted = CreateObject(size_bytes=1)
    forged = worker(callers.agent, one.attempt).token[:-1] + "x"
    for token in ("t1.", "t1.x", forged, worker(callers.agent, one.attempt, session_id=str(uuid.uuid4())).token):
        assert (await Caller(callers.ada.http, token).refusal("POST", "/v1/objects", wanted)).status == 401
    assert (await worker(other, one.attempt).refusal("POST", "/v1/objects", wanted)).status == 404
    unknown = AttemptKey(one.attempt.sequence, 99)
    assert (await worker(callers.agent, unknown).refusal("POST", "/v1/objects", wanted)).status == 404
