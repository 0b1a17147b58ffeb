"""The whole way of a task, on real processes: by batch and by executor, through kills, on every database and store."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import faas
from endpoints.processes import find_processes
from faas.credentials import read_credentials
from faas.models import Group, TaskPage, TaskQuery
from tests.services.ceph import CephGateway
from tests.services.federation import Federation
from tests.services.moto_server import MotoServer
from tests.services.postgres import PostgresServer


def square(x: int) -> int:
    return x * x


def pause_and_square(x: int, seconds: float) -> int:
    import time

    time.sleep(seconds)
    return x * x


def note_and_square(x: int, directory: str) -> int:
    """Leaves one file for each time it ran."""
    import pathlib
    import time
    import uuid

    (pathlib.Path(directory) / f"{x}.{uuid.uuid4()}").touch()
    time.sleep(0.005)
    return x * x


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    with Federation(tmp_path / "federation") as running:
        yield running


def call_a_thousand_times(client: faas.Client) -> Counter[str]:
    """By batch and by executor; returns how many tasks ran at each endpoint."""
    function_id = client.register_function(square)
    batch = client.create_batch()
    for x in range(1000):
        batch.add(function_id, args=(x,))
    sent = client.batch_run("any", batch)
    task_ids = sent["tasks"][function_id]
    assert [client.get_result(task_id, timeout=120) for task_id in task_ids] == [x * x for x in range(1000)]
    with faas.Executor(client=client, endpoint_id="any") as executor:
        futures = [executor.submit_to_registered_function(function_id, args=(x,)) for x in range(1000)]
        assert [future.result(timeout=120) for future in futures] == [x * x for x in range(1000)]
    query = TaskQuery(group_id=sent["task_group_id"], limit=1000)
    page = client.link.request("POST", "/v1/tasks/search", query, response=TaskPage)
    return Counter(task.endpoint for task in page.tasks)


def check_each_ended_once(client: faas.Client, group_id: str, tasks: int) -> None:
    """Every task of the group succeeded, and its cursor counted each end once."""
    group = client.link.request("GET", f"/v1/groups/{group_id}", response=Group)
    assert group.states == {"succeeded": tasks}
    assert group.cursor == tasks


def test_two_endpoints_share_a_thousand_tasks(federation: Federation) -> None:
    federation.add_endpoint("theta", workers=1)
    federation.add_endpoint("cori", workers=1)
    client = federation.client()
    at = call_a_thousand_times(client)
    assert sum(at.values()) == 1000
    assert set(at) == {"theta", "cori"}
    for name in at:
        task_id = client.run(7, function_id=client.register_function(square), endpoint_id=name)
        assert client.get_result(task_id) == 49
        assert client.get_task(task_id)["endpoint"] == name


def test_on_postgresql_and_s3(tmp_path: Path, postgres_url: str, moto_server: MotoServer) -> None:
    with moto_server.account.bucket() as bucket:
        environment = {
            **moto_server.account.environment,
            "FAAS_DATABASE_URL": postgres_url,
            "FAAS_STORE": f"s3://{bucket}/results",
        }
        with Federation(tmp_path / "federation", environment) as federation:
            federation.add_endpoint("theta")
            call_a_thousand_times(federation.client())
        stored = moto_server.account.client().list_objects_v2(Bucket=bucket, Prefix="results/segments/")
        assert stored["KeyCount"] > 0


def test_killed_service_and_agent_on_postgresql_and_ceph(tmp_path: Path, ceph_gateway: CephGateway) -> None:
    with PostgresServer(durable=True) as server, server.database() as url, ceph_gateway.account.bucket() as bucket:
        environment = {
            **ceph_gateway.account.environment,
            "FAAS_DATABASE_URL": url,
            "FAAS_STORE": f"s3://{bucket}/results",
        }
        with Federation(tmp_path / "federation", environment) as federation:
            federation.add_endpoint("theta")
            survive_kills(federation)


def test_killed_service_and_agent(federation: Federation) -> None:
    federation.add_endpoint("theta")
    survive_kills(federation)


def survive_kills(federation: Federation) -> None:
    """2,000 tasks while the agent, and then the service, are killed and started again."""
    client = federation.client()
    function_id = client.register_function(pause_and_square)
    group_id = str(uuid.uuid4())
    with faas.Executor(client=client, task_group_id=group_id) as executor:
        futures = [
            executor.submit_to_registered_function(
                function_id, args=(x, 0.005), task_options=faas.TaskOptions(max_losses=9)
            )
            for x in range(2000)
        ]
        futures[100].result(timeout=120)
        nonce = federation.kill_agent("theta")
        federation.start_endpoint("theta")
        assert find_processes(nonce) == []
        futures[800].result(timeout=120)
        federation.kill_service()
        federation.start_service()
        assert [future.result(timeout=240) for future in futures] == [x * x for x in range(2000)]
    check_each_ended_once(client, group_id, 2000)


def test_tasks_that_must_not_run_twice_never_do(federation: Federation, tmp_path: Path) -> None:
    federation.add_endpoint("theta")
    client = federation.client()
    runs = tmp_path / "runs"
    runs.mkdir()
    function_id = client.register_function(note_and_square)
    with faas.Executor(client=client) as executor:
        futures = [
            executor.submit_to_registered_function(
                function_id, args=(x, str(runs)), task_options=faas.TaskOptions(idempotent=False)
            )
            for x in range(200)
        ]
        futures[20].result(timeout=120)
        federation.kill_agent("theta")
        federation.start_endpoint("theta")
        outcomes = Counter[str]()
        for x, future in enumerate(futures):
            error = future.exception(timeout=120)
            assert error is None or isinstance(error, faas.TaskLost)
            outcomes["lost" if error else "done"] += 1
            if error is None:
                assert future.result() == x * x
    ran = Counter(path.name.partition(".")[0] for path in runs.iterdir())
    assert set(ran.values()) == {1}
    assert outcomes["done"] > 100
    assert outcomes["lost"] <= 4


def test_results_outlive_everybody(federation: Federation) -> None:
    """Another client reads them after the service was killed, which loses every hint in memory."""
    federation.add_endpoint("theta")
    task_id = federation.client().run(12, function_id=federation.client().register_function(square))
    assert federation.client().get_result(task_id) == 144
    federation.stop_endpoint("theta")
    federation.kill_service()
    federation.start_service()
    assert federation.client().get_result(task_id) == 144


def test_nothing_secret_is_logged(federation: Federation) -> None:
    federation.add_endpoint("theta")
    call_a_thousand_times(federation.client())
    credentials = [
        federation.directory / "credentials.json",
        federation.directory / "admin-credentials.json",
        federation.directory / "endpoints" / "theta" / "credentials.json",
    ]
    secrets = [read_credentials(path).token for path in credentials]
    for folder, _, names in os.walk(federation.directory):
        for name in names:
            path = Path(folder) / name
            if path not in credentials:
                content = path.read_bytes()
                assert not any(secret.encode() in content for secret in secrets), path
                if path.suffix == ".log":
                    assert b"signature=" not in content, path
