"""Executor: what concurrent.futures promises, kept across a network, outages and cancellation."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import faas
from tests.unit.faas.fake_service import FakeService


def double(number: int) -> int:
    return 2 * number


def total(numbers: list[int]) -> int:
    return sum(numbers)


def fail(message: str) -> None:
    raise KeyError(message)


def size(data: bytes) -> int:
    return len(data)


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as service:
        yield service


@pytest.fixture
def held() -> Iterator[FakeService]:
    """A service where nothing runs until told."""
    with FakeService(running=False) as service:
        yield service


def client_of(service: FakeService) -> faas.Client:
    return faas.Client("http://service.test", "good", transport=service.transport)


def executor_of(service: FakeService, **options: Any) -> faas.Executor:
    return faas.Executor(client_of(service), **options)


def until_submitted(service: FakeService, number: int) -> None:
    """Wait until the service has that many tasks: each submission is followed by a request that asks for results."""
    while len(service.tasks) < number:
        threading.Event().wait(0.001)


def test_submits_and_returns_the_value(service: FakeService) -> None:
    with executor_of(service) as executor:
        future = executor.submit(double, 21)
        assert future.result(60) == 42
        assert future.task_id in service.tasks
        assert isinstance(future, concurrent.futures.Future)


def test_registers_a_function_once(service: FakeService) -> None:
    with executor_of(service) as executor:
        assert [executor.submit(double, number).result(60) for number in range(5)] == [0, 2, 4, 6, 8]
    assert service.requests.count(("POST", "/v1/functions")) == 1


def test_packs_a_bound_method_anew_when_its_object_has_changed(service: FakeService) -> None:
    class Scale:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def apply(self, number: int) -> int:
            return self.factor * number

    scale = Scale(2)
    with executor_of(service) as executor:
        assert executor.submit(scale.apply, 1).result(60) == 2
        scale.factor = 3
        assert executor.submit(scale.apply, 1).result(60) == 3


def test_runs_a_registered_function(service: FakeService) -> None:
    client = client_of(service)
    function_id = client.register_function(double)
    with faas.Executor(client) as executor:
        assert executor.submit_to_registered_function(function_id, args=(4,)).result(60) == 8
        assert executor.submit_to_registered_function(function_id, kwargs={"number": 5}).result(60) == 10


def test_maps_in_order_with_few_requests(service: FakeService) -> None:
    with executor_of(service) as executor:
        assert list(executor.map(double, range(3000))) == [2 * number for number in range(3000)]
    assert sum(service.batches) == 3000
    assert len(service.batches) < 300


def test_map_stops_at_the_shortest_iterable(service: FakeService) -> None:
    with executor_of(service) as executor:
        assert list(executor.map(pow, [1, 2, 3], [2, 2])) == [1, 4]


def test_map_times_out(held: FakeService) -> None:
    with executor_of(held) as executor:
        results = executor.map(double, [1], timeout=0.01)
        with pytest.raises(concurrent.futures.TimeoutError):
            next(results)
        held.work()


def test_leaving_map_early_cancels_the_rest_in_one_request(held: FakeService) -> None:
    with executor_of(held) as executor:
        results = executor.map(double, range(500), timeout=0.01)
        until_submitted(held, 500)
        with pytest.raises(concurrent.futures.TimeoutError):
            next(results)
    assert held.requests.count(("POST", "/v1/tasks/cancel")) == 1


def test_works_with_wait_and_as_completed(service: FakeService) -> None:
    with executor_of(service) as executor:
        futures = [executor.submit(double, number) for number in range(20)]
        assert sorted(future.result() for future in concurrent.futures.as_completed(futures)) == list(range(0, 40, 2))
        assert concurrent.futures.wait(futures).not_done == set()


def test_failure_carries_the_original_exception_and_the_remote_traceback(service: FakeService) -> None:
    with executor_of(service) as executor:
        error = executor.submit(fail, "peak 7").exception(10)
    assert isinstance(error, faas.TaskFailed)
    assert isinstance(error.__cause__, KeyError)
    assert "KeyError: 'peak 7'" in error.remote_traceback
    assert error.task_id in service.tasks


def test_futures_as_arguments_become_dependencies(service: FakeService) -> None:
    with executor_of(service) as executor:
        first, second = executor.submit(double, 1), executor.submit(double, 2)
        assert executor.submit(total, [first, second]).result(60) == 6
        assert executor.submit(double, first).result(60) == 4
    assert service.tasks[first.task_id].dependencies == []
    assert {tuple(task.dependencies) for task in service.tasks.values()} >= {(first.task_id, second.task_id)}


def test_large_arguments_become_objects(service: FakeService) -> None:
    with executor_of(service) as executor:
        assert executor.submit(size, b"x" * 300_000).result(60) == 300_000
    (task,) = service.tasks.values()
    assert task.argument_object
    assert not task.payload


def test_a_task_waits_for_its_dependency_to_be_uploaded(service: FakeService) -> None:
    with executor_of(service) as executor:
        futures = []
        for _ in range(20):
            large = executor.submit(size, b"x" * 300_000)
            futures.append(executor.submit(double, executor.submit(double, large)))
        assert [future.result(20) for future in futures] == [1_200_000] * 20


def test_stored_results_are_read_in_few_requests() -> None:
    with FakeService(stored=True, running=False) as service, executor_of(service) as executor:
        futures = [executor.submit(double, number) for number in range(1000)]
        until_submitted(service, 1000)
        service.work()
        assert [future.result(20) for future in futures] == [2 * number for number in range(1000)]
        assert len(service.object_reads) < 500


def test_an_expired_grant_is_asked_for_again() -> None:
    with FakeService(stored=True) as service, executor_of(service) as executor:
        service.expired.add("first")
        assert executor.submit(double, 3).result(60) == 6


def test_a_refused_task_fails_alone(service: FakeService) -> None:
    with executor_of(service) as executor:
        bad = executor.submit_to_registered_function("no-such-function")
        good = executor.submit(double, 1)
        assert good.result(60) == 2
        with pytest.raises(faas.NotFound, match="no-such-function"):
            bad.result(60)


def test_a_function_that_is_refused_raises_at_once(service: FakeService) -> None:
    def refused() -> None:
        pass

    with executor_of(service) as executor, pytest.raises(faas.TooLarge):
        executor.submit(refused)


def test_a_batch_that_is_too_large_is_sent_in_parts(service: FakeService) -> None:
    service.largest_batch = 3
    with executor_of(service) as executor:
        assert list(executor.map(double, range(40))) == list(range(0, 80, 2))


def test_a_wrong_token_fails_futures(service: FakeService) -> None:
    with faas.Executor(faas.Client("http://service.test", "bad", transport=service.transport)) as executor:
        future = executor.submit_to_registered_function("f")
        assert isinstance(future.exception(10), faas.NotAuthenticated)


def test_a_lost_answer_makes_no_second_task(service: FakeService) -> None:
    service.lose_answers = 2
    with executor_of(service) as executor:
        assert list(executor.map(double, range(10))) == list(range(0, 20, 2))
    assert len(service.tasks) == 10


def test_an_outage_loses_nothing(service: FakeService) -> None:
    with executor_of(service) as executor:
        assert executor.submit(double, 1).result(60) == 2
        service.go_down()
        futures = [executor.submit(double, number) for number in range(100)]
        assert not any(future.done() for future in futures)
        service.come_up()
        assert [future.result(60) for future in futures] == [2 * number for number in range(100)]


def test_a_long_outage_fails_submissions(service: FakeService) -> None:
    with executor_of(service, patience_s=0) as executor:
        executor.submit(double, 1).result(60)
        service.go_down()
        future = executor.submit(double, 2)
        with pytest.raises(faas.ServiceUnavailable, match="faas up"):
            future.result(60)


def test_cancel_before_it_runs(held: FakeService) -> None:
    with executor_of(held) as executor:
        future = executor.submit(double, 1)
        until_submitted(held, 1)
        assert future.cancel()
        assert future.cancelled()
        assert future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(0)
        assert concurrent.futures.wait([future], timeout=0).done == {future}


def test_cancel_of_a_task_not_yet_sent_stays_here(held: FakeService) -> None:
    with executor_of(held) as executor:
        function_id = executor.client.register_function(double)
        held.go_down()
        executor.submit_to_registered_function(function_id, (1,))  # keeps the sender busy
        while ("POST", "/v1/tasks") not in held.requests:
            threading.Event().wait(0.001)
        future = executor.submit_to_registered_function(function_id, (2,))
        assert future.cancel()
        held.come_up()
        held.work()
    assert future.task_id not in held.tasks


def test_cancel_is_false_once_running(service: FakeService) -> None:
    release = threading.Event()
    service._loaded["blocking"] = lambda: release.wait(30)
    with executor_of(service) as executor:
        service.functions["blocking"] = None  # type: ignore[assignment]
        future = executor.submit_to_registered_function("blocking")
        with service.changed:
            service.changed.wait_for(lambda: "running" in service.states.values(), 10)
        assert not future.cancel()
        release.set()
        assert future.result(60) is True
        assert not future.cancel()


def test_cancelled_by_someone_else(held: FakeService) -> None:
    with executor_of(held) as executor:
        future = executor.submit(double, 1)
        until_submitted(held, 1)
        executor.client.cancel(future.task_id)
        assert isinstance(future.exception(10), faas.TaskCancelled)
        assert not future.cancelled()


def test_shutdown_can_cancel(held: FakeService) -> None:
    executor = executor_of(held)
    futures = [executor.submit(double, number) for number in range(10)]
    executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(double, 1)


def test_shutdown_without_waiting_still_resolves(held: FakeService) -> None:
    executor = executor_of(held)
    future = executor.submit(double, 4)
    executor.shutdown(wait=False)
    held.work()
    assert future.result(60) == 8


def test_threads_end_with_the_executor(service: FakeService) -> None:
    before = set(threading.enumerate())
    with executor_of(service) as executor:
        executor.submit(size, b"x" * 100_000).result(60)
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


def test_threads_end_when_an_executor_is_forgotten(service: FakeService) -> None:
    before = set(threading.enumerate())
    assert executor_of(service).submit(double, 1).result(60) == 2
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


def test_awaiting(service: FakeService) -> None:
    async def both() -> list[int]:
        with executor_of(service) as executor:
            return list(await asyncio.gather(executor.submit(double, 1), executor.submit(double, 2)))

    assert asyncio.run(both()) == [2, 4]


def test_awaiting_too_long_cancels(held: FakeService) -> None:
    executor = executor_of(held)

    async def wait() -> faas.TaskFuture:
        future = executor.submit(double, 1)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(future, 0.01)
        return future

    future = asyncio.run(wait())
    assert concurrent.futures.wait([future], 60).done
    assert future.cancelled()
    executor.shutdown()


def test_options_reach_the_service(service: FakeService) -> None:
    options = faas.TaskOptions(timeout_s=5, max_attempts=2, max_losses=0, priority=7, idempotent=False, tags={"a": "b"})
    with executor_of(service, endpoint_id="theta", task_options=options) as executor:
        future = executor.submit(double, 1)
        future.result(60)
    task = service.tasks[future.task_id]
    assert (task.target, task.timeout_s, task.max_attempts, task.max_losses) == ("theta", 5, 2, 0)
    assert (task.priority, task.idempotent, task.tags) == (7, False, {"a": "b"})


def test_what_tasks_need_reaches_the_service(service: FakeService) -> None:
    client = client_of(service)
    function_id = client.register_function(double)
    with executor_of(service, resources={"cores": 2}, environment="xpcs") as executor:
        as_all = executor.submit(double, 1)
        as_told = executor.submit_to_registered_function(function_id, (1,), resources={"gpus": 1}, environment="ml")
        concurrent.futures.wait([as_all, as_told], 60)
    tasks = [service.tasks[future.task_id] for future in (as_all, as_told)]
    assert [(task.resources, task.environment) for task in tasks] == [
        ({"cores": 2}, "xpcs"),
        ({"cores": 2, "gpus": 1}, "ml"),
    ]
    with pytest.raises(ValueError, match="cores is -1"):
        executor_of(service, resources={"cores": -1})


def test_many_threads_may_submit(service: FakeService) -> None:
    with executor_of(service) as executor, concurrent.futures.ThreadPoolExecutor(8) as threads:
        futures = list(threads.map(lambda number: executor.submit(double, number), range(200)))
        assert [future.result(20) for future in futures] == [2 * number for number in range(200)]


def test_a_callback_may_submit(service: FakeService) -> None:
    done = threading.Event()
    with executor_of(service) as executor:

        def again(future: concurrent.futures.Future[Any]) -> None:
            executor.submit(double, future.result()).add_done_callback(lambda _: done.set())

        executor.submit(double, 1).add_done_callback(again)
        assert done.wait(60)


def test_the_end_of_the_interpreter_sends_what_is_queued_and_does_not_wait() -> None:
    script = """
import atexit
from tests.unit.faas.fake_service import FakeService
from tests.unit.faas.test_executor import double, executor_of

service = FakeService(running=False)
# Exit functions run last in, first out: this one after the library's, which is registered by the Executor below.
atexit.register(lambda: print(len(service.tasks)))
executor = executor_of(service)
for number in range(2000):
    executor.submit(double, number)
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "2000", done.stderr
    assert done.stderr == ""
