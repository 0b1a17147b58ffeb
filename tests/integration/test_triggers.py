"""Triggers on real processes: files that land, stores that post, queues, and a service that is killed."""

from __future__ import annotations

import contextlib
import getpass
import json
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

import faas
from faas.credentials import read_credentials
from faas.models import CreateTrigger, Group, Taken, Trigger, TriggerEvent, TriggerSettings, UploadEvent, UploadEvents
from tests.services.ceph import CephGateway
from tests.services.federation import COMMAND, Federation
from tests.services.moto_server import MotoServer
from tests.services.processes import Process

PATIENCE_S = 90.0


def measure(path):  # type: ignore[no-untyped-def]
    import pathlib

    return pathlib.Path(path).name, len(pathlib.Path(path).read_bytes())


def length(data):  # type: ignore[no-untyped-def]
    return len(data)


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    with Federation(tmp_path / "federation") as running:
        yield running


def until(true: Callable[[], bool]) -> None:
    """Wait for a condition that other processes bring about."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def shown(client: faas.Client, name: str) -> Trigger:
    return client.link.request("GET", f"/v1/triggers/{name}", response=Trigger)


def results(client: faas.Client, name: str) -> dict[str, object]:
    """What the tasks of a trigger returned, by key."""
    events = client.link.request("GET", f"/v1/triggers/{name}/events", response=list[TriggerEvent])
    return {each.key: client.get_result(each.task_id, timeout=PATIENCE_S) for each in events if each.task_id}


def test_files_that_land_in_a_watched_directory(federation: Federation, tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (incoming / "before.dat").write_bytes(b"it was there before")
    federation.add_endpoint("lab")
    client = federation.client()
    client.register_function(measure, name="measure")
    options = ["--source", str(incoming), "--function", "measure", "--suffix", ".dat", "--settle", "0.2"]
    assert "is active" in federation.faas("trigger", "create", "fits", *options)
    (incoming / "a.dat").write_bytes(b"1234")
    (incoming / "notes.txt").write_bytes(b"of no interest")
    (incoming / "run").mkdir()
    (incoming / "run" / "b.dat").write_bytes(b"12")
    (incoming / "c.dat.part").write_bytes(b"123")
    (incoming / "c.dat.part").rename(incoming / "c.dat")
    until(lambda: shown(client, "fits").counts.get("ended") == 3)
    assert results(client, "fits") == {"a.dat": ("a.dat", 4), "run/b.dat": ("b.dat", 2), "c.dat": ("c.dat", 3)}
    # The next version of a file is another task; one that came while the service was down is one, too.
    federation.kill_service()
    (incoming / "a.dat").write_bytes(b"123456")
    federation.start_service()
    until(lambda: shown(client, "fits").counts.get("ended") == 4)
    assert shown(client, "fits").counts == {"ended": 4, "passed_over": 1}
    assert "4 files match" in federation.faas("trigger", "test", "fits")
    assert "fits" in federation.faas("trigger", "list")
    federation.faas("trigger", "pause", "fits")
    assert "paused" in federation.faas("trigger", "show", "fits")
    federation.faas("trigger", "resume", "fits")
    (incoming / "d.dat").write_bytes(b"1")
    until(lambda: shown(client, "fits").counts.get("ended") == 5)
    federation.faas("trigger", "delete", "fits", "--yes")
    assert json.loads(federation.faas("trigger", "list", "--json")) == []


def test_uploads_told_twice_and_shuffled_while_the_service_is_killed_twice(federation: Federation) -> None:
    count, at_once = 10_000, 250
    client = federation.client()
    function_id = client.register_function(measure)
    settings = TriggerSettings(hourly_cap=1_000_000, concurrency_cap=1_000_000, arguments={"path": "{key}"})
    wanted = CreateTrigger(name="fits", source="push", function=function_id, settings=settings)
    made = client.link.request("POST", "/v1/triggers", wanted, response=Trigger)
    uploads = [UploadEvent(bucket="raw", key=f"{number}.h5", etag="1", size_bytes=1) for number in range(count)]
    chance = random.Random(7)
    told = uploads + chance.sample(uploads, count // 10)
    chance.shuffle(told)
    credentials = read_credentials(federation.directory / "credentials.json")
    url = f"{credentials.url}/v1/triggers/fits/events"
    headers = {"Authorization": f"Bearer {credentials.token}", "Content-Type": "application/json"}
    batches = [told[start : start + at_once] for start in range(0, len(told), at_once)]
    for number, batch in enumerate(batches):
        if number in (len(batches) // 3, 2 * len(batches) // 3):
            # Amid a delivery of which nobody learns what became of it.
            with contextlib.suppress(httpx.TransportError):
                body = msgspec.json.encode(UploadEvents(events=batch))
                httpx.post(url, content=body, headers=headers, timeout=0.03, trust_env=False)
            federation.kill_service()
            federation.start_service()
        client.link.request("POST", "/v1/triggers/fits/events", UploadEvents(events=batch), response=Taken)
    group = client.link.request("GET", f"/v1/groups/{made.group_id}", response=Group)
    assert group.states == {"queued": count}
    assert shown(client, "fits").counts == {"task": count}


def test_a_store_that_posts_and_a_bucket_that_is_listed(tmp_path: Path, ceph_gateway: CephGateway) -> None:
    account = ceph_gateway.account
    with account.bucket() as bucket, Federation(tmp_path / "federation", account.environment) as federation:
        client = federation.client()
        client.register_function(measure, name="measure")
        _add_location(federation, bucket)
        federation.add_endpoint("lab")
        created = federation.faas("trigger", "create", "fits", "--source", "push", "--function", "measure", "--json")
        topic = account.client("sns").create_topic(
            Name="fits", Attributes={"push-endpoint": json.loads(created)["push_url"]}
        )["TopicArn"]
        told = {"Id": "fits", "TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}
        s3 = account.client()
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"TopicConfigurations": [told]}
        )
        s3.put_object(Bucket=bucket, Key="in/a b+é.bin", Body=b"12345")
        until(lambda: shown(client, "fits").counts.get("ended") == 1)
        assert results(client, "fits") == {"in/a b+é.bin": ("a b+é.bin", 5)}
        # What is there already, by listing.
        source = f"s3://{bucket}/in/"
        federation.faas("trigger", "create", "old", "--source", source, "--function", "measure", "--backfill")
        until(lambda: shown(client, "old").counts.get("ended") == 1)
        assert results(client, "old") == {"in/a b+é.bin": ("a b+é.bin", 5)}


def test_a_queue(tmp_path: Path, moto_server: MotoServer) -> None:
    account = moto_server.account
    with account.bucket() as bucket, Federation(tmp_path / "federation", account.environment) as federation:
        client = federation.client()
        client.register_function(measure, name="measure")
        _add_location(federation, bucket)
        federation.add_endpoint("lab")
        sqs = account.client("sqs")
        url = sqs.create_queue(QueueName=bucket)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        told = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}
        s3 = account.client()
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [told]}
        )
        sqs.send_message(QueueUrl=url, MessageBody="no event message")
        federation.faas("trigger", "create", "fits", "--source", f"sqs:{url}", "--function", "measure")
        s3.put_object(Bucket=bucket, Key="in/a b+é.bin", Body=b"12345")
        until(lambda: shown(client, "fits").counts == {"ended": 1, "dead": 1})
        until(lambda: _left(sqs, url) == 0)


def test_files_are_told_of_once_the_service_is_back(federation: Federation, tmp_path: Path) -> None:
    incoming = tmp_path / "daq"
    incoming.mkdir()
    federation.add_endpoint("lab")
    client = federation.client()
    client.register_function(length, name="length")
    federation.faas("trigger", "create", "fits", "--source", "push", "--function", "length")
    token = re.findall(r"faas_\S+", federation.faas("token", "create", "--scope", "submit"))[0]
    command = [*COMMAND, "watch", str(incoming), "--trigger", "fits", "--poll", "--look", "0.1", "--settle", "0.2"]
    spool = tmp_path / "spool"
    environment = {"FAAS_URL": client.link.url, "FAAS_TOKEN": token, "FAAS_HOME": str(tmp_path / "home")}
    federation.kill_service()
    watcher = Process([*command, "--store", "--spool", str(spool)], tmp_path / "watch.log", environment=environment)
    try:
        (incoming / "a.dat").write_bytes(b"1234")
        until(lambda: bool(list(spool.glob("*.json"))))
        watcher.kill()
        watcher = Process([*command, "--store", "--spool", str(spool)], tmp_path / "watch.log", environment=environment)
        federation.start_service()
        until(lambda: shown(client, "fits").counts.get("ended") == 1)
        until(lambda: not list(spool.glob("*.json")))
    finally:
        watcher.stop()
    assert results(client, "fits") == {"a.dat": 4}


def _add_location(federation: Federation, bucket: str) -> None:
    admin = {"FAAS_CREDENTIALS": str(federation.directory / "admin-credentials.json")}
    url = f"s3://{bucket}?addressing=path"
    federation.faas("location", "add", "raw", url, "--read", getpass.getuser(), environment=admin)


def _left(sqs: object, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]  # type: ignore[attr-defined]
    return sum(int(found[name]) for name in names)
