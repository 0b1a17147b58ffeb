"""The agent from lease to report, against stand-ins for the service and the engine."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from endpoints.chunk import Chunk, ChunkTask, TaskReport
from endpoints.session import SessionState
from faas.errors import AlreadyRunning, NotAuthenticated
from faas.models import Failure, Input, Location
from tests.unit.endpoints.fake_engine import FakeEngine, ManagerLost, echo
from tests.unit.endpoints.fake_service import FakeService, function_code
from tests.unit.endpoints.running_agent import killed, make_agent, places_in, running

pytestmark = pytest.mark.anyio

CODE = function_code("def f(x):\n    return x\n", "f")
OTHER = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


async def test_a_task_is_run_and_its_result_is_stored_before_it_is_reported(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE, b"pk\nsomething")
        service.notify()
        await service.until(lambda: service.ended(attempt))
        outcome = service.ended(attempt)
        assert outcome is not None
        assert (outcome.state, outcome.hint, outcome.host) == ("succeeded", b"pk\nsomething", "node")
        assert service.result(attempt) == b"pk\nsomething"
        assert (places_in(tmp_path).run / "code" / CODE.function_id).exists()
    paths = [path for _, path in service.requests]
    stored = next(index for index, path in enumerate(paths) if path.startswith("/v1/store/"))
    reported = next(index for index, path in enumerate(paths) if path.endswith("/report"))
    assert stored < reported
    assert service.closed == ["session-1"]
    assert engine.stops >= 1
    assert not list(places_in(tmp_path).spool.iterdir())
    assert not list((places_in(tmp_path).run / "journal").iterdir())


async def test_many_short_tasks_go_in_few_chunks_and_few_reports(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    service.run_s[CODE.function_id] = 0.0001
    async with running(service, engine, tmp_path):
        attempts = [service.add(CODE, b"pk\n%d" % index) for index in range(2000)]
        service.notify()
        await service.until(lambda: all(map(service.ended, attempts)))
        assert [service.result(attempt) for attempt in attempts] == [b"pk\n%d" % index for index in range(2000)]
    assert len(engine.chunks) <= 2000 / 50
    assert len(service.reports) <= len(engine.chunks) + 10
    assert max(len(lease.segments) for lease in service.leases) <= 1
    means = [report.run_s[CODE.function_id] for report in service.reports if report.run_s]
    assert means
    assert all(mean == pytest.approx(0.0001) for mean in means)


async def test_tasks_of_unknown_length_are_spread_and_not_hoarded(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.open.clear()
    async with running(service, engine, tmp_path):
        for _ in range(10):
            service.add(CODE)
        service.per_worker = 1
        service.notify()
        await service.until(lambda: len(engine.chunks) == 2)
        await service.until(lambda: service.beats and len(service.beats[-1].held) == 2)
        assert [len(chunk.tasks) for chunk in engine.chunks] == [1, 1]
        assert len(service.queue) == 8


async def test_the_code_is_fetched_once_and_kept(service: FakeService, engine: FakeEngine, tmp_path: Path) -> None:
    for _ in range(2):
        async with running(service, engine, tmp_path):
            attempts = [service.add(CODE) for _ in range(3)]
            service.notify()
            await service.until(lambda: all(map(service.ended, attempts)))  # noqa: B023
    assert [path for _, path in service.requests].count(f"/v1/functions/{CODE.function_id}/code") == 1


async def test_code_that_is_not_the_functions_is_refused(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    evil = msgspec.structs.replace(CODE, code=b"st\nf:def f(x):\n    return 'evil'\n")
    async with running(service, engine, tmp_path):
        attempt = service.add(evil)
        service.notify()
        await service.until(lambda: service.ended(attempt))
        outcome = service.ended(attempt)
        assert outcome is not None
        assert (outcome.state, outcome.kind) == ("failed", "refused")
        failure = msgspec.msgpack.decode(service.result(attempt), type=Failure)
        assert failure.kind == "refused"
        assert "another id" in failure.message
    assert engine.chunks == []


async def test_a_function_id_cannot_name_a_file_elsewhere(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    async with running(service, engine, tmp_path):
        attempt = service.add(msgspec.structs.replace(CODE, function_id="..%2F..%2Fstate.json"))
        service.notify()
        await service.until(lambda: service.ended(attempt))
        outcome = service.ended(attempt)
        assert outcome is not None
        assert outcome.kind == "refused"


async def test_the_site_refuses_whom_its_configuration_does_not_allow(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    async with running(service, engine, tmp_path, "allow: {grace: true}\n"):
        refused = service.add(CODE, owner_id=OTHER, owner="mallory")
        allowed = service.add(CODE, owner_id=OTHER, owner="grace")
        service.notify()
        await service.until(lambda: service.ended(refused) and service.ended(allowed))
        outcome = service.ended(refused)
        assert outcome is not None
        assert (outcome.state, outcome.kind) == ("failed", "refused")
        assert service.result(refused)
        assert service.ended(allowed).state == "succeeded"  # type: ignore[union-attr]
    assert service.opened[0].policy.identities["grace"].functions is None


async def test_owners_share_neither_chunk_nor_segment(service: FakeService, engine: FakeEngine, tmp_path: Path) -> None:
    service.run_s[CODE.function_id] = 0.0001
    async with running(service, engine, tmp_path, "allow: {grace: true}\n"):
        attempts = [
            service.add(CODE, b"pk\nx", **({} if index % 2 else {"owner_id": OTHER, "owner": "grace"}))
            for index in range(200)
        ]
        service.notify()
        await service.until(lambda: all(map(service.ended, attempts)))
    for chunk in engine.chunks:
        assert len({task.attempt.sequence % 2 for task in chunk.tasks}) == 1
    objects: dict[str, set[int]] = {}
    for attempt in attempts:
        location = service.ended(attempt).location  # type: ignore[union-attr]
        assert location is not None
        objects.setdefault(location.object_id, set()).add(attempt.sequence % 2)
    assert all(len(owners) == 1 for owners in objects.values())


async def test_arguments_and_dependencies_are_fetched_by_their_grants(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    seen: list[ChunkTask] = []

    def look(chunk: Chunk, task: ChunkTask) -> TaskReport:
        seen.append(task)
        assert Path(task.value_files["large parent"]).read_bytes() == b"L" * 300_000
        assert Path(task.value_files[small]).read_bytes() == b"..pk\nparent.."
        return echo(chunk, task)

    engine.body = look
    small = service.put(b"..pk\nparent..")
    large = service.put(b"L" * 300_000)
    arguments = service.put(b"A" * 400_000)
    fields: dict[str, Any] = {
        "argument_object": service.get_grant(arguments),
        "dependencies": {
            "parent": Location(small, 2, 9),
            "large parent": Location(large, 0, 300_000),
            "at hand": Location("not granted", 0, 7),
        },
        "values": {"at hand": b"pk\nhint"},
        "dependency_grants": [service.get_grant(small), service.get_grant(large)],
        "inputs": {small: Input(grant=service.get_grant(small))},
    }
    async with running(service, engine, tmp_path):
        attempts = [service.add(CODE, **fields) for _ in range(5)]
        service.notify()
        await service.until(lambda: all(map(service.ended, attempts)))
        assert {service.ended(attempt).state for attempt in attempts} == {"succeeded"}  # type: ignore[union-attr]
        assert service.result(attempts[0]) == b"A" * 400_000
        assert seen[0].values == {"parent": b"pk\nparent", "at hand": b"pk\nhint"}
        fetched = [path for method, path in service.requests if method == "GET" and "/store/" in path]
        assert fetched.count(f"/v1/store/{large}") == 1
        assert not list((places_in(tmp_path).run / "values").iterdir())


async def test_arguments_that_are_gone_fail_the_task_with_a_reason(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE, argument_object=service.get_grant("nothing"))
        service.notify()
        await service.until(lambda: service.ended(attempt))
        outcome = service.ended(attempt)
        assert outcome is not None
        assert (outcome.state, outcome.kind) == ("failed", "serialization")
        assert "cannot be fetched" in outcome.message


async def test_a_large_result_is_stored_as_an_object_of_its_own(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    def write(chunk: Chunk, task: ChunkTask) -> TaskReport:
        name = f"{task.attempt.sequence}.{task.attempt.number}"
        (Path(chunk.run_directory) / "results" / name).write_bytes(b"R" * 2_000_000)
        return TaskReport(attempt=task.attempt, state="succeeded", result_file=name)

    engine.body = write
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE)
        service.notify()
        await service.until(lambda: service.ended(attempt))
        outcome = service.ended(attempt)
        assert outcome is not None
        assert outcome.hint is None
        assert service.result(attempt) == b"R" * 2_000_000
        await service.until(lambda: not list((places_in(tmp_path).run / "results").iterdir()))


async def test_a_task_that_must_not_run_twice_is_announced_before_it_starts(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    known: list[bool] = []

    def look(chunk: Chunk, task: ChunkTask) -> TaskReport:
        known.append(any(o.state == "started" for o in service.outcomes.get(task.attempt, [])))
        return echo(chunk, task)

    engine.body = look
    async with running(service, engine, tmp_path):
        attempts = [service.add(CODE, idempotent=False) for _ in range(3)]
        service.notify()
        await service.until(lambda: all(map(service.ended, attempts)))
    assert known == [True, True, True]
    assert all(len(chunk.tasks) == 1 for chunk in engine.chunks)


async def test_a_recalled_task_that_waits_is_dropped_and_one_that_runs_is_marked(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.open.clear()
    async with running(service, engine, tmp_path):
        attempts = [service.add(CODE) for _ in range(3)]
        service.notify()
        await service.until(lambda: len(engine.chunks) == 2)
        service.recalled = set(attempts)
        service.notify()
        waiting = attempts[2]
        await service.until(lambda: service.ended(waiting))
        assert service.ended(waiting).state == "cancelled"  # type: ignore[union-attr]
        recalled = places_in(tmp_path).run / "recalled"
        assert {path.name for path in recalled.iterdir()} == {"1.1", "2.1"}
        engine.open.set()
        await service.until(lambda: all(map(service.ended, attempts)))
        assert not list(recalled.iterdir())


async def test_heartbeats_carry_the_inventory_and_what_has_started(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    hold = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(chunk: Chunk, task: ChunkTask) -> TaskReport:
        asyncio.run_coroutine_threadsafe(hold.wait(), loop).result(60)
        return echo(chunk, task)

    engine.body = wait
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE)
        service.notify()
        await service.until(lambda: any("1.1" in beat.started for beat in service.beats))
        beat = next(beat for beat in service.beats if beat.started)
        assert beat.held == [attempt]
        assert beat.lease_number == 1
        assert abs(beat.started["1.1"] - time.time()) < 60
        assert (beat.workers, beat.idle_workers) == (2, 1)
        hold.set()
        await service.until(lambda: service.ended(attempt))
        await service.until(lambda: service.beats[-1].held == [])
        await service.until(lambda: any(beat.environments.get("default") for beat in service.beats))


async def test_what_a_lost_worker_had_started_is_lost_and_the_rest_goes_back(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    def die(chunk: Chunk, task: ChunkTask) -> TaskReport:
        if task.payload == b"poison":
            raise ManagerLost("Task failure due to loss of manager")
        return echo(chunk, task)

    engine.body = die
    service.run_s[CODE.function_id] = 0.0001
    async with running(service, engine, tmp_path, "leasing: {chunk_tasks: 4}\n"):
        payloads = [b"good", b"poison", b"after", b"after"]
        attempts = [service.add(CODE, payload) for payload in payloads * 2]
        service.notify()
        await service.until(lambda: all(map(service.ended, attempts)))
        states = [service.ended(attempt).state for attempt in attempts]  # type: ignore[union-attr]
        assert states == ["lost", "lost", "released", "released"] * 2
        assert "loss of manager" in service.ended(attempts[1]).message  # type: ignore[union-attr]


async def test_a_task_lost_before_shares_no_chunk(service: FakeService, engine: FakeEngine, tmp_path: Path) -> None:
    service.run_s[CODE.function_id] = 0.0001
    async with running(service, engine, tmp_path):
        attempts = [service.add(CODE, losses=index % 2) for index in range(10)]
        service.notify()
        await service.until(lambda: all(map(service.ended, attempts)))
    for chunk in engine.chunks:
        if any(task.attempt.sequence % 2 == 0 for task in chunk.tasks):
            assert len(chunk.tasks) == 1


async def test_a_site_whose_workers_cannot_run_anything_stops_asking(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    class Broken(Exception):
        pass

    def submit(payload: bytes) -> asyncio.Future[bytes]:
        raise Broken("No module named 'dill'")

    engine.submit = submit  # type: ignore[method-assign,assignment]
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE)
        service.notify()
        await service.until(lambda: service.ended(attempt))
        outcome = service.ended(attempt)
        assert outcome is not None
        assert outcome.state == "released"
        assert "dill" in outcome.message


async def test_a_broken_engine_is_started_again(service: FakeService, engine: FakeEngine, tmp_path: Path) -> None:
    engine.open.clear()
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE)
        service.notify()
        await service.until(lambda: engine.chunks)
        engine.broken = "The engine's interchange ended with exit code -9."
        await service.until(lambda: service.ended(attempt))
        assert service.ended(attempt).state == "released"  # type: ignore[union-attr]
        await service.until(lambda: engine.starts == 2)
        engine.open.set()
        again = service.add(CODE)
        service.notify()
        await service.until(lambda: service.ended(again))


async def test_results_wait_while_the_service_is_away(
    service: FakeService, engine: FakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine.open.clear()
    caplog.set_level("INFO", "endpoints")
    async with running(service, engine, tmp_path):
        attempts = [service.add(CODE, b"pk\n1"), service.add(CODE, b"pk\n2")]
        service.notify()
        await service.until(lambda: len(engine.chunks) == 2)
        service.down = True
        engine.open.set()
        await service.until(lambda: len(list(places_in(tmp_path).spool.glob("*.batch"))) == 2)
        before = len(service.requests)
        await service.until(lambda: len(service.requests) > before + 10)
        service.down = False
        await service.until(lambda: all(map(service.ended, attempts)))
        assert [service.result(attempt) for attempt in attempts] == [b"pk\n1", b"pk\n2"]
    for who in ("service", "object store"):
        assert sum(f"{who} is away" in record.message for record in caplog.records) <= 1
        assert sum(record.message == f"the {who} is back" for record in caplog.records) <= 1


async def test_a_lost_answer_to_a_lease_comes_again(service: FakeService, engine: FakeEngine, tmp_path: Path) -> None:
    async with running(service, engine, tmp_path):
        attempts = [service.add(CODE) for _ in range(3)]
        service.lose_answers = 1
        service.notify()
        await service.until(lambda: all(map(service.ended, attempts)))
    assert [len(service.outcomes[attempt]) for attempt in attempts] == [1, 1, 1]


async def test_a_fenced_agent_stops_its_engine_and_opens_a_new_session(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.open.clear()
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE)
        service.notify()
        await service.until(lambda: engine.chunks)
        service.gone.add("session-1")
        service.notify()
        await service.until(lambda: len(service.opened) == 2)
        assert service.opened[0].nonce != service.opened[1].nonce
        assert engine.stops >= 1
        engine.open.set()
        again = service.add(CODE)
        service.notify()
        await service.until(lambda: service.ended(again))
        await service.until(lambda: service.ended(attempt))  # its end was spooled, and delivered in the new session
        assert service.ended(attempt).state in ("released", "lost")  # type: ignore[union-attr]
        state = SessionState.load(places_in(tmp_path).state)
        assert state is not None
        assert state.session_id == "session-2"


async def test_an_endpoint_held_elsewhere_is_left_alone(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    service.conflict = "The endpoint 'lab' already runs on host elsewhere (pid 7)."
    with pytest.raises(AlreadyRunning, match=r"host elsewhere \(pid 7\)"):
        await make_agent(service, engine, tmp_path).run()
    assert engine.starts == 0
    assert not places_in(tmp_path).state.exists()


async def test_a_successor_waits_for_its_turn(service: FakeService, engine: FakeEngine, tmp_path: Path) -> None:
    service.conflict = "The endpoint 'lab' already runs on host elsewhere (pid 7)."
    agent = make_agent(service, engine, tmp_path, patient=True)
    run = asyncio.ensure_future(agent.run())
    await service.until(lambda: len(service.requests) >= 2)
    assert not run.done() and engine.starts == 0
    service.conflict = ""
    await service.until(lambda: service.beats)
    agent.stop()
    assert await asyncio.wait_for(run, 30) == 0


async def test_a_successor_waits_for_an_agent_of_this_host(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    places = places_in(tmp_path)
    places.prepare()
    agent = make_agent(service, engine, tmp_path, patient=True)
    with places.held():
        run = asyncio.ensure_future(agent.run())
        await asyncio.wait({run}, timeout=0.1)
        assert not run.done()
    await service.until(lambda: service.beats)
    agent.stop()
    assert await asyncio.wait_for(run, 30) == 0


async def test_what_an_agent_that_took_over_wrote_is_left_alone(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    agent = make_agent(service, engine, tmp_path)
    run = asyncio.ensure_future(agent.run())
    await service.until(lambda: service.beats)
    other = SessionState.new()
    other.host, other.session_id = "elsewhere", "its session"
    other.save(places_in(tmp_path).state)
    service.conflict = "The endpoint 'lab' already runs on host elsewhere (pid 7)."
    service.gone.add("session-1")
    service.notify()
    with pytest.raises(AlreadyRunning, match="elsewhere"):
        await asyncio.wait_for(run, 60)
    assert SessionState.load(places_in(tmp_path).state) == other


async def test_a_token_that_is_refused_ends_the_agent(service: FakeService, engine: FakeEngine, tmp_path: Path) -> None:
    service.refuse_token = True
    with pytest.raises(NotAuthenticated):
        await make_agent(service, engine, tmp_path).run()


async def test_stopping_gives_back_what_waits_and_loses_only_what_runs(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    hold = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(chunk: Chunk, task: ChunkTask) -> TaskReport:
        asyncio.run_coroutine_threadsafe(hold.wait(), loop).result(60)
        return echo(chunk, task)

    engine.body = wait
    agent = make_agent(service, engine, tmp_path)
    run = asyncio.ensure_future(agent.run())
    attempts = [service.add(CODE) for _ in range(3)]
    service.notify()
    journal = places_in(tmp_path).run / "journal"
    await service.until(lambda: journal.exists() and sum(path.stat().st_size > 0 for path in journal.iterdir()) == 2)
    agent.stop()
    assert await run == 0
    hold.set()
    states = [service.ended(attempt).state for attempt in attempts]  # type: ignore[union-attr]
    assert states == ["lost", "lost", "released"]
    assert service.closed == ["session-1"]
    assert not places_in(tmp_path).state.exists()


async def test_running_tasks_may_end_within_the_grace(service: FakeService, engine: FakeEngine, tmp_path: Path) -> None:
    engine.open.clear()
    agent = make_agent(service, engine, tmp_path, "")
    agent._configuration = agent._configuration.model_copy(update={"stop_grace_s": 60.0})
    run = asyncio.ensure_future(agent.run())
    attempt = service.add(CODE)
    service.notify()
    await service.until(lambda: engine.chunks)
    agent.stop()
    engine.open.set()
    assert await run == 0
    assert service.ended(attempt).state == "succeeded"  # type: ignore[union-attr]


async def test_a_second_signal_does_not_wait(service: FakeService, engine: FakeEngine, tmp_path: Path) -> None:
    engine.open.clear()
    agent = make_agent(service, engine, tmp_path)
    agent._configuration = agent._configuration.model_copy(update={"stop_grace_s": 3600.0})
    run = asyncio.ensure_future(agent.run())
    service.add(CODE)
    service.notify()
    await service.until(lambda: engine.chunks)
    agent.stop()
    agent.stop()
    assert await asyncio.wait_for(run, 30) == 0
    assert engine.stops >= 1
    engine.open.set()


async def test_after_a_kill_the_next_agent_settles_what_the_last_one_held(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    hold = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(chunk: Chunk, task: ChunkTask) -> TaskReport:
        asyncio.run_coroutine_threadsafe(hold.wait(), loop).result(60)
        return echo(chunk, task)

    agent = make_agent(service, engine, tmp_path)
    run = asyncio.ensure_future(agent.run())
    done = service.add(CODE, b"pk\ndone")
    service.notify()
    await service.until(lambda: service.ended(done))
    engine.body = wait
    attempts = [service.add(CODE) for _ in range(3)]
    service.notify()
    journal = places_in(tmp_path).run / "journal"
    await service.until(lambda: sum(path.stat().st_size > 0 for path in journal.iterdir()) == 2)
    await killed(service, engine, run, tmp_path)
    hold.set()
    assert not any(map(service.ended, attempts))

    following = FakeEngine()
    async with running(service, following, tmp_path):
        await service.until(lambda: len(service.opened) == 2)
        order = [(method, path) for method, path in service.requests if "sessions" in path]
        closing = order.index(("DELETE", "/v1/sessions/session-1"))
        assert closing < len(order) - 1 - order[::-1].index(("POST", "/v1/sessions"))
        assert service.opened[1].replaces == "session-1"
        ended = [service.ended(attempt) for attempt in attempts]
        assert sorted(each.state if each else "" for each in ended) == ["", "lost", "lost"]
        again = service.add(CODE)
        service.notify()
        await service.until(lambda: service.ended(again))


async def test_after_a_kill_finished_results_are_delivered_in_the_old_session(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.open.clear()
    agent = make_agent(service, engine, tmp_path)
    run = asyncio.ensure_future(agent.run())
    attempts = [service.add(CODE, b"pk\nfinished %d" % index) for index in range(2)]
    service.notify()
    await service.until(lambda: len(engine.chunks) == 2)
    service.down = True
    engine.open.set()
    await service.until(lambda: len(list(places_in(tmp_path).spool.glob("*.batch"))) == 2)
    await killed(service, engine, run, tmp_path)

    async with running(service, FakeEngine(), tmp_path):
        await service.until(lambda: len(service.opened) == 2)
        assert [service.result(attempt) for attempt in attempts] == [b"pk\nfinished 0", b"pk\nfinished 1"]
        paths = [path for _, path in service.requests]
        assert "/v1/sessions/session-1/report" in paths
        assert not list(places_in(tmp_path).spool.iterdir())


async def test_a_session_opened_just_before_a_kill_is_found_by_its_nonce(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    places = places_in(tmp_path)
    places.prepare()
    state = SessionState.new()
    state.pid = 4194305
    state.save(places.state)
    async with running(service, engine, tmp_path):
        await service.until(lambda: service.opened)
    assert service.opened[0].nonce == state.nonce


async def test_an_agent_that_runs_here_already_is_not_disturbed(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    places = places_in(tmp_path)
    places.prepare()
    SessionState.new().save(places.state)
    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
        await make_agent(service, engine, tmp_path).run()
    assert service.opened == []


async def test_the_nonce_is_on_disk_before_the_session_opens(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    service.down = True
    agent = make_agent(service, engine, tmp_path)
    run = asyncio.ensure_future(agent.run())
    await service.until(lambda: service.requests)
    state = SessionState.load(places_in(tmp_path).state)
    assert state is not None
    assert state.session_id == ""
    agent.stop()
    assert await asyncio.wait_for(run, 30) == 0


async def test_the_files_of_an_agent_on_another_host_are_left_alone(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    places = places_in(tmp_path)
    places.prepare()
    state = SessionState.new()
    state.host, state.session_id = "elsewhere", "its session"
    state.save(places.state)
    journal = places.run / "journal" / "its-chunk"
    journal.write_text("started 1.1 1.0 1\n")
    service.conflict = "The endpoint 'lab' already runs on host elsewhere (pid 7)."
    with pytest.raises(AlreadyRunning, match="elsewhere"):
        await make_agent(service, engine, tmp_path).run()
    assert journal.exists()
    assert SessionState.load(places.state) == state
    assert service.opened[0].replaces == ""


async def test_stop_is_heard_while_a_new_session_cannot_be_opened(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    agent = make_agent(service, engine, tmp_path)
    run = asyncio.ensure_future(agent.run())
    await service.until(lambda: service.beats)
    service.gone.add("session-1")
    service.down = True
    service.notify()
    await service.until(lambda: ("POST", "/v1/sessions/session-1/heartbeat") in service.requests)
    agent.stop()
    assert await asyncio.wait_for(run, 60) == 0


async def test_a_report_that_cannot_be_taken_in_does_not_keep_its_tasks(
    service: FakeService, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from endpoints.handout import Handout

    def broken(self: Handout, *_: object) -> None:
        raise RuntimeError("a defect")

    async with running(service, engine, tmp_path):
        await service.until(lambda: service.beats)
        monkeypatch.setattr(Handout, "_take_apart", broken)
        attempt = service.add(CODE)
        service.notify()
        await service.until(lambda: any(attempt in beat.held for beat in service.beats) or engine.chunks)
        await service.until(lambda: service.leases and service.beats[-1].lease_number == 1)
        await service.until(lambda: attempt not in service.beats[-1].held)
