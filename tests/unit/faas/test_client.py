"""Client and Batch: register, run, wait, look, cancel."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import faas
from faas.models import Failure, TaskResult
from faas.outcomes import outcome
from tests.unit.faas.fake_service import FakeService
from tests.unit.faas.test_executor import client_of, double, fail, size


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as service:
        yield service


@pytest.fixture
def held() -> Iterator[FakeService]:
    with FakeService(running=False) as service:
        yield service


def documented() -> None:
    """Says what it does.

    At length.
    """


def test_registering_twice_gives_the_same_id(service: FakeService) -> None:
    with client_of(service) as client:
        assert client.register_function(double) == client.register_function(double, name="other", public=True)
    (request,) = service.functions.values()
    assert (request.name, request.public, request.serializer) == ("other", True, "st")
    assert request.python_version == sys.version.split()[0]


def test_the_description_is_the_first_line_of_the_docstring(service: FakeService) -> None:
    client = client_of(service)
    function_id = client.register_function(documented)
    assert service.functions[function_id].description == "Says what it does."
    client.register_function(documented, description="Mine.", metadata={"a": 1})
    assert service.functions[function_id].description == "Mine."
    assert service.functions[function_id].metadata == {"a": 1}


def test_run_and_get_result(service: FakeService) -> None:
    client = client_of(service)
    function_id = client.register_function(double)
    assert client.get_result(client.run(4, function_id=function_id)) == 8
    assert client.get_result(client.run(number=5, function_id=function_id, endpoint_id="theta")) == 10
    assert [task.target for task in service.tasks.values()] == ["any", "theta"]


def test_results_from_the_object_store() -> None:
    with FakeService(stored=True) as service:
        client = client_of(service)
        assert client.get_result(client.run(4, function_id=client.register_function(double))) == 8


def test_large_arguments(service: FakeService) -> None:
    client = client_of(service)
    assert client.get_result(client.run(b"x" * 200_000, function_id=client.register_function(size))) == 200_000


def test_pending(held: FakeService) -> None:
    client = client_of(held)
    task_id = client.run(1, function_id=client.register_function(double))
    for timeout in (0, 0.01):
        with pytest.raises(faas.TaskPending, match=task_id):
            client.get_result(task_id, timeout=timeout)
    held.work()
    assert client.get_result(task_id) == 2


def test_a_failure(service: FakeService) -> None:
    client = client_of(service)
    with pytest.raises(faas.TaskFailed, match="KeyError: 'peak 7'") as caught:
        client.get_result(client.run("peak 7", function_id=client.register_function(fail)))
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("state", "kind", "error"),
    [
        ("failed", "timeout", faas.TaskTimedOut),
        ("failed", "crash", faas.TaskFailed),
        ("failed", "refused", faas.TaskFailed),
        ("lost", None, faas.TaskLost),
        ("cancelled", None, faas.TaskCancelled),
        ("dependency_failed", None, faas.DependencyFailed),
        ("failed", None, faas.TaskFailed),
    ],
)
def test_every_end_has_its_error(state: str, kind: Any, error: type[Exception]) -> None:
    data = faas.codec.encode(Failure(kind=kind, message="Told.")) if kind else None
    with pytest.raises(error) as caught:
        outcome("t", state, "", data)
    assert type(caught.value) is error
    assert caught.value.task_id == "t"  # type: ignore[attr-defined]


def test_an_unknown_task_and_function(service: FakeService) -> None:
    client = client_of(service)
    with pytest.raises(faas.NotFound, match="no-such-task"):
        client.get_result("no-such-task")
    with pytest.raises(faas.NotFound, match="no-such-function"):
        client.run(1, function_id="no-such-function")


def test_ids_are_escaped(service: FakeService) -> None:
    with pytest.raises(faas.NotFound):
        client_of(service).get_task("../whoami?x=1")
    assert service.requests[-1] == ("GET", "/v1/tasks/../whoami?x=1")


def test_waiting_survives_an_outage(held: FakeService) -> None:
    client = client_of(held)
    task_id = client.run(3, function_id=client.register_function(double))
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(client.get_result(task_id)))
    waiting.start()
    held.go_down()
    held.come_up()
    held.work()
    waiting.join(60)
    assert found == [6]


def test_a_batch(service: FakeService) -> None:
    client = client_of(service)
    one, two = client.register_function(double), client.register_function(size)
    batch = client.create_batch(task_group_id="group")
    ids = [batch.add(one, args=(number,)) for number in range(3)]
    ids.append(batch.add(two, kwargs={"data": b"abc"}, task_options=faas.TaskOptions(tags={"a": "b"})))
    assert len(batch) == 4
    answer = client.batch_run("theta", batch)
    assert answer["tasks"] == {one: ids[:3], two: ids[3:]}
    assert answer["task_group_id"] == "group"
    assert answer["endpoint_id"] == "theta"
    assert answer["request_id"]
    assert [client.get_result(task_id) for task_id in ids] == [0, 2, 4, 3]
    results = client.get_batch_result(ids)
    assert [results[task_id]["result"] for task_id in ids] == [0, 2, 4, 3]
    assert not any(results[task_id]["pending"] for task_id in ids)
    assert service.tasks[ids[3]].tags == {"a": "b"}


def test_a_batch_run_again_makes_new_tasks_but_repeated_after_an_error_does_not(service: FakeService) -> None:
    client = client_of(service)
    batch = client.create_batch()
    function_id = client.register_function(size)
    batch.add(function_id, args=(b"x" * 100_000,))
    service.go_down()
    client.link._attempts = 1
    with pytest.raises(faas.ServiceUnavailable):
        client.batch_run("any", batch)
    service.come_up()
    first = client.batch_run("any", batch)["tasks"][function_id]
    second = client.batch_run("any", batch)["tasks"][function_id]
    assert first != second
    assert set(service.tasks) == {*first, *second}
    assert client.get_result(second[0]) == 100_000


def test_many_tasks_go_in_several_requests(service: FakeService) -> None:
    client = client_of(service)
    batch = client.create_batch()
    function_id = client.register_function(double)
    for number in range(2500):
        batch.add(function_id, args=(number,))
    client.batch_run("any", batch)
    assert service.batches == [1000, 1000, 500]


def test_tasks_refused_in_part_are_told(service: FakeService) -> None:
    client = client_of(service)
    batch = client.create_batch()
    good = batch.add(client.register_function(double), args=(1,))
    bad = batch.add("no-such-function")
    answer = client.batch_run("any", batch)
    assert list(answer["refused"]) == [bad]
    assert "no-such-function" in answer["refused"][bad]
    assert answer["tasks"]["no-such-function"] == []
    assert client.get_result(good) == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"args": 3}, r"args=\(value,\)"),
        ({"args": "abc"}, "args"),
        ({"kwargs": {1: 2}}, "kwargs"),
        ({"kwargs": []}, "kwargs"),
    ],
)
def test_wrong_arguments_of_add(wrong: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        faas.Batch().add("f", **wrong)


def test_an_empty_batch_is_refused(service: FakeService) -> None:
    with pytest.raises(ValueError, match="empty"):
        client_of(service).batch_run("any", faas.Batch())


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout_s": 0},
        {"timeout_s": -1},
        {"max_attempts": 0},
        {"max_losses": -1},
        {"tags": {"a": 1}},
        {"resources": {"gpu": 1}},
        {"resources": {"cores": -1}},
        {"resources": {"cores": float("nan")}},
        {"resources": {"cores": "4"}},
        {"environment": "no such name"},
    ],
)
def test_impossible_options_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        faas.TaskOptions(**wrong)


def test_a_function_says_what_its_tasks_need(service: FakeService) -> None:
    client = client_of(service)
    function_id = client.register_function(double, resources={"cores": 4}, environment="xpcs")
    assert service.functions[function_id].resources == {"cores": 4}
    assert service.functions[function_id].environment == "xpcs"
    client.register_function(double)
    assert (service.functions[function_id].resources, service.functions[function_id].environment) == ({}, "")


def test_an_executor_leaves_what_a_function_needs_as_it_is(service: FakeService) -> None:
    client = client_of(service)
    with faas.Executor(client) as executor:
        assert executor.submit(double, 2).result(60) == 4
    (request,) = service.functions.values()
    assert (request.resources, request.environment) == (None, None)


def test_a_call_says_what_it_needs(service: FakeService) -> None:
    client = client_of(service)
    function_id = client.register_function(double)
    options = faas.TaskOptions(resources={"cores": 4, "memory_gb": 8}, priority=3)
    task_id = client.run(2, function_id=function_id, task_options=options, resources={"cores": 1}, environment="xpcs")
    task = service.tasks[task_id]
    assert (task.resources, task.environment, task.priority) == ({"cores": 1, "memory_gb": 8}, "xpcs", 3)
    batch = client.create_batch()
    batch.add(function_id, args=(1,), resources={"gpus": 1})
    batch.add(function_id, args=(1,), environment="ml")
    (ids,) = client.batch_run("any", batch)["tasks"].values()
    assert [(service.tasks[one].resources, service.tasks[one].environment) for one in ids] == [
        ({"gpus": 1}, ""),
        ({}, "ml"),
    ]


def test_impossible_needs_of_a_call_are_refused_before_anything_is_sent(service: FakeService) -> None:
    client = client_of(service)
    function_id = client.register_function(double)
    with pytest.raises(ValueError, match="there is no 'cpus'; give cores, gpus or memory_gb"):
        client.run(1, function_id=function_id, resources={"cpus": 1})
    assert not service.tasks


def test_cancel(held: FakeService) -> None:
    client = client_of(held)
    function_id = client.register_function(double)
    first, second = client.run(1, function_id=function_id), client.run(2, function_id=function_id)
    assert client.cancel(first).cancelled == [first]
    assert client.cancel([first, second]).cancelled == [first, second]
    with pytest.raises(faas.TaskCancelled):
        client.get_result(first)
    assert isinstance(client.get_batch_result([second])[second]["exception"], faas.TaskCancelled)


def test_a_result_without_bytes_is_a_failure_not_a_crash() -> None:
    told = TaskResult(task_id="t", state="succeeded")
    with pytest.raises(faas.TaskFailed):
        outcome(told.task_id, told.state, told.message, None)


def test_importing_faas_is_light() -> None:
    script = (
        "import sys, faas\n"
        "heavy = {'httpx', 'dill', 'pydantic', 'msgspec', 'globus_compute_sdk', 'typer', 'boto3'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert {'Client', 'Executor', 'TaskFailed', 'TaskOptions'} <= set(dir(faas))\n"
        "for name in faas._HOMES: getattr(faas, name)\n"
        "assert 'globus_compute_sdk' not in sys.modules and 'boto3' not in sys.modules\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True, timeout=60)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        faas.no_such_name  # noqa: B018
