"""Measures triggers: from an upload to the start of its task, intake of 10,000 uploads, memory of a large listing.

python -m tests.benchmarks.triggers [--uploads 30] [--objects 100000]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import msgspec
import psutil

import faas
from faas.models import Trigger
from tests.services.federation import Federation
from tests.services.moto_server import MotoServer

_PATIENCE_S = 300.0


def nothing(path):  # type: ignore[no-untyped-def]
    return None


def main() -> None:
    """Print what was measured, a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=30)
    parser.add_argument("--objects", type=int, default=100_000)
    options = parser.parse_args()
    with (
        MotoServer() as moto,
        moto.account.bucket() as bucket,
        tempfile.TemporaryDirectory() as folder,
        Federation(Path(folder) / "federation", moto.account.environment) as federation,
        httpx.Client(base_url=f"http://127.0.0.1:{federation.port}", trust_env=False) as store,
    ):
        federation.add_endpoint("lab", workers=2)
        client = federation.client()
        client.register_function(nothing, name="nothing")
        directory = Path(folder) / "incoming"
        directory.mkdir()
        client.create_trigger("directory", str(directory), "nothing")
        pushed = client.create_trigger("push", "push", "nothing", arguments={"path": "{key}"})
        account = moto.account
        sqs = account.client("sqs")
        url = sqs.create_queue(QueueName=bucket)["QueueUrl"]
        client.create_trigger("queue", f"sqs:{url}", "nothing", arguments={"path": "{key}"})
        _first_task(client, directory)
        for name in ("directory", "push", "queue"):
            started = []
            for number in range(options.uploads):
                key = f"{name}-{number}"
                at = time.time()
                if name == "directory":
                    (directory / key).write_bytes(b"1")
                elif name == "push":
                    _post(store, pushed, key)
                else:
                    sqs.send_message(QueueUrl=url, MessageBody=_message(key).decode())
                started.append(_started_at(client, name, key) - at)
            print(f"{name}: upload to start p50 {statistics.median(started) * 1000:.0f} ms", flush=True)
        _list(federation, client, moto, bucket, options.objects)


def _list(federation: Federation, client: faas.Client, moto: MotoServer, bucket: str, objects: int) -> None:
    from concurrent.futures import ThreadPoolExecutor

    s3 = moto.account.client()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: s3.put_object(Bucket=bucket, Key=f"{n:07}", Body=b"1"), range(objects)))
    admin = {"FAAS_CREDENTIALS": str(federation.directory / "admin-credentials.json")}
    federation.faas("location", "add", "raw", f"s3://{bucket}?addressing=path", "--read", "*", environment=admin)
    process = psutil.Process(federation.service_pid)
    before = peak = process.memory_info().rss
    at = time.monotonic()
    client.create_trigger("listing", f"s3://{bucket}/", "nothing", arguments={"path": "{key}"}, backfill=True)
    while client.get_trigger("listing").listed_at is None and time.monotonic() - at < _PATIENCE_S:
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.1)
    print(
        f"listing {objects} objects: {time.monotonic() - at:.1f} s, memory {before >> 20} MiB before,"
        f" {peak >> 20} MiB at most"
    )


def _first_task(client: faas.Client, directory: Path) -> None:
    (directory / "first").write_bytes(b"1")
    _started_at(client, "directory", "first")


def _started_at(client: faas.Client, trigger: str, key: str) -> float:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for event in client.get_trigger_events(trigger, limit=1):
            if event.key == key and event.task_id:
                client.get_result(event.task_id, timeout=_PATIENCE_S)
                started = client.get_task(event.task_id)["times"]["started_at"]
                if started:
                    return float(started)
        time.sleep(0.01)
    raise SystemExit(f"{key} never became a task.")


def _message(key: str) -> bytes:
    stored = {"bucket": {"name": "raw"}, "object": {"key": key, "eTag": key, "size": 1}}
    return msgspec.json.encode({"Records": [{"eventName": "ObjectCreated:Put", "s3": stored}]})


def _post(store: httpx.Client, trigger: Trigger, key: str) -> None:
    store.post(trigger.secret, content=_message(key)).raise_for_status()


if __name__ == "__main__":
    main()
