"""Triggers over HTTP: who may create which, what stores post, and what is refused."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from faas import codec
from faas.models import (
    CreateTrigger,
    Dataset,
    Nothing,
    Taken,
    TaskPage,
    TaskQuery,
    Trigger,
    TriggerEvent,
    TriggerSettings,
    TriggerTrial,
    UploadEvent,
    UploadEvents,
)
from tests.unit.router.callers import Caller, Federation, refused

pytestmark = pytest.mark.anyio


def wanted(function: str, source: str = "push", **settings: Any) -> CreateTrigger:
    arguments = settings.pop("arguments", {"path": "{key}"})
    return CreateTrigger(
        name="fits", source=source, function=function, settings=TriggerSettings(arguments=arguments, **settings)
    )


async def create(ada: Caller, **settings: Any) -> Trigger:
    return await ada.ask("POST", "/v1/triggers", wanted(await ada.register(), **settings), answer=Trigger)


def message(*keys: str, source: str = "ceph:s3") -> bytes:
    records = [
        {
            "eventName": "ObjectCreated:Put",
            "eventSource": source,
            "s3": {"bucket": {"name": "raw"}, "object": {"key": key, "size": 5, "eTag": "1"}},
        }
        for key in keys
    ]
    return json.dumps({"Records": records}).encode()


async def count(ada: Caller) -> int:
    return len((await ada.ask("POST", "/v1/tasks/search", TaskQuery(limit=100), answer=TaskPage)).tasks)


async def test_what_a_store_posts_becomes_tasks_once(service: Federation, ada: Caller) -> None:
    made = await create(ada, suffix=".h5")
    for _ in range(2):
        response = await service.nobody.send("POST", made.secret, content=message("a b.h5", "b.txt", "c.h5"))
        assert response.status_code == 200
    assert await count(ada) == 2
    events = await ada.ask("GET", "/v1/triggers/fits/events", answer=list[TriggerEvent])
    assert {each.key for each in events} == {"a b.h5", "c.h5"}
    shown = await ada.ask("GET", "/v1/triggers/fits", answer=Trigger)
    assert shown.counts == {"task": 2}
    assert shown.secret == ""


async def test_what_nobody_can_read_is_a_dead_letter(service: Federation, ada: Caller) -> None:
    made = await create(ada)
    assert (await service.nobody.send("POST", made.secret, content=b"<xml/>")).status_code == 200
    [dead] = await ada.ask("GET", "/v1/triggers/fits/events", answer=list[TriggerEvent], params={"state": "dead"})
    assert "no event message" in dead.reason
    replayed = await ada.ask("POST", "/v1/triggers/fits/replay", Nothing(), answer=Trigger)
    assert replayed.counts == {"dead": 1}


async def test_a_guessed_secret_opens_nothing(service: Federation, ada: Caller) -> None:
    made = await create(ada)
    guessed = f"{made.secret.rpartition('/')[0]}/guessed"
    problem = refused(await service.nobody.send("POST", guessed, content=message("a.h5")))
    assert problem.status == 401
    assert await count(ada) == 0


async def test_a_watcher_with_a_token_that_may_only_submit(service: Federation, ada: Caller, bob: Caller) -> None:
    await create(ada)
    events = UploadEvents(events=[UploadEvent(bucket="/data", key="a.h5", size_bytes=1, mtime_ns=7)])
    watcher = await service.token(ada.name, "submit")
    taken = await watcher.ask("POST", "/v1/triggers/fits/events", events, answer=Taken)
    assert taken == Taken(new=1)
    assert await watcher.ask("POST", "/v1/triggers/fits/events", events, answer=Taken) == Taken(repeats=1)
    assert (await bob.refusal("POST", "/v1/triggers/fits/events", events)).status == 404
    assert (await watcher.refusal("GET", "/v1/triggers/fits")).status == 403


async def test_a_dataset_by_its_manifest(ada: Caller) -> None:
    await create(ada, arguments={}, group_by=r"(scan\d+)/", complete_when="marker=DONE")
    one = UploadEvent(bucket="/data", key="scan7/1.h5", size_bytes=1, mtime_ns=7)
    await ada.ask("POST", "/v1/triggers/fits/events", UploadEvents(events=[one]), answer=Taken)
    [dataset] = await ada.ask("GET", "/v1/triggers/fits/datasets", answer=list[Dataset])
    assert (dataset.name, dataset.files, dataset.missing) == ("scan7", 1, "its marker DONE")
    done = UploadEvent(bucket="/data", key="scan7/DONE", size_bytes=0, mtime_ns=8)
    await ada.ask("POST", "/v1/triggers/fits/events", UploadEvents(events=[done]), answer=Taken)
    assert await ada.ask("GET", "/v1/triggers/fits/datasets", answer=list[Dataset]) == []
    assert await count(ada) == 1


async def test_directories_and_queues_of_the_service_are_not_everybodys(
    service: Federation, ada: Caller, tmp_path: Path
) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    function_id = await ada.register()
    for source in (str(incoming), "sqs:https://sqs.eu-west-1.amazonaws.com/1/raw"):
        problem = await ada.refusal("POST", "/v1/triggers", wanted(function_id, source))
        assert problem.status == 403
        assert "faas watch" in problem.fix
        assert (await ada.refusal("POST", "/v1/triggers/trial", wanted(function_id, source))).status == 403
    (incoming / "a.h5").touch()
    owner = await service.token(getpass.getuser())
    trial = await owner.ask(
        "POST", "/v1/triggers/trial", wanted(await owner.register(), str(incoming)), answer=TriggerTrial
    )
    assert (trial.matching, trial.sample) == (1, ["a.h5"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"source": "nowhere"}, "source"),
        ({"source": "s3://"}, "source"),
        ({"source": "sqs:queue"}, "source"),
        ({"name": "a/b"}, "name"),
        ({"target": "nowhere"}, "target"),
        ({"function": "nothing"}, "function"),
        ({"settings": TriggerSettings(group_by="(")}, "settings.group_by"),
        ({"settings": TriggerSettings(arguments={"x": "{secret}"})}, "settings.arguments"),
        ({"settings": TriggerSettings(listing="raw")}, "settings.listing"),
    ],
)
async def test_what_cannot_work_is_refused(ada: Caller, change: dict[str, Any], field: str) -> None:
    request = wanted(await ada.register())
    for name, value in change.items():
        setattr(request, name, value)
    problem = await ada.refusal("POST", "/v1/triggers", request, content_type=codec.JSON)
    assert problem.field == field


async def test_a_bucket_needs_a_location_that_its_owner_may_read(ada: Caller) -> None:
    problem = await ada.refusal("POST", "/v1/triggers", wanted(await ada.register(), "s3://raw/in/"))
    assert problem.status == 404
    assert "location" in problem.fix
