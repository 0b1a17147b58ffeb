"""Environments at an agent: what they are, which chunks they make, and what becomes of one that is broken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from endpoints.environments import Environment, Environments
from faas.errors import ConfigurationError
from tests.unit.endpoints.fake_engine import FakeEngine
from tests.unit.endpoints.fake_service import FakeService, function_code
from tests.unit.endpoints.running_agent import places_in, running

CODE = function_code("def f(x):\n    return x\n", "f")
SETTINGS = "environments:\n  xpcs: {python: /opt/xpcs/bin/python, setup: [module load hdf5], variables: {A: 1}}\n"


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.mark.parametrize(
    ("python", "command"),
    [
        ("", []),
        (sys.executable, []),
        ("python3.12", ["python3.12"]),
        ("~/env/bin/python", [str(Path.home() / "env/bin/python")]),
        (
            "apptainer exec --bind '/a b' image.sif python3",
            ["apptainer", "exec", "--bind", "/a b", "image.sif", "python3"],
        ),
    ],
)
def test_python_is_an_interpreter_or_a_command(python: str, command: list[str]) -> None:
    assert Environment(python=python).command == command


def test_a_path_with_spaces_that_exists_is_one_word(tmp_path: Path) -> None:
    (tmp_path / "my python").touch()
    assert Environment(python=str(tmp_path / "my python")).command == [str(tmp_path / "my python")]


def test_after_set_up_lines_the_agents_own_python_must_be_named() -> None:
    assert Environment(setup=["true"]).command == []
    assert Environment(setup=["true"], python=sys.executable).command == [sys.executable]
    assert Environment(setup="true").setup == ["true"]  # type: ignore[arg-type]


def test_a_command_that_is_none_is_refused() -> None:
    from endpoints.configuration import Configuration

    with pytest.raises(ConfigurationError, match=r"environments\.x\.python: .*is no command"):
        Configuration.parse('name: lab\nenvironments: {x: {python: "it\'s"}}', "config.yaml")


def test_a_broken_one_is_left_alone_for_longer_each_time_until_it_works() -> None:
    now = [1000.0]
    environments = Environments({"default": Environment(), "xpcs": Environment()}, clock=lambda: now[0])
    news = []
    environments.changed = lambda: news.append(now[0])
    pauses = []
    for _ in range(9):
        environments.broke("xpcs", "no module")
        began = now[0]
        environments.broke("xpcs", "another worker's word")
        while environments.problem("xpcs"):
            assert environments.told() == {"default": {}, "xpcs": {"problem": "no module"}}
            now[0] += 1
        pauses.append(now[0] - began)
        assert environments.told() == {"default": {}, "xpcs": {}}
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (5, 300)
    assert len(news) == 9
    environments.worked("xpcs")
    environments.broke("xpcs", "no module")
    now[0] += 5
    assert environments.problem("xpcs") == ""
    assert environments.problem("default") == ""


def test_what_runners_repeat_is_no_news() -> None:
    environments = Environments({"default": Environment()})
    news: list[int] = []
    environments.changed = lambda: news.append(1)
    for pid in "123":
        environments.learn("default", {"python": "3.11.7", "pid": pid})
    assert environments.told() == {"default": {"python": "3.11.7"}}
    assert len(news) == 1
    environments.learn("default", {"python": "3.12.1", "pid": "4"})
    assert len(news) == 2


@pytest.mark.anyio
async def test_heartbeats_go_through_while_work_comes_back(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    """Demand comes with their answers: each that is cut short by something to tell must tell it and be answered."""
    async with running(service, engine, tmp_path, SETTINGS):
        await service.until(lambda: any(beat.environments for beat in service.beats))
        for _ in range(5):
            attempt = service.add(CODE, b"pk\n")
            service.notify()
            await service.until(lambda attempt=attempt: service.ended(attempt))
        answered = service.beats_answered
        await service.until(lambda: service.beats_answered > answered + 1)
    assert all(beat.wait_s == 0 for beat in service.beats if beat.environments)
    assert not service.beats[-1].environments


@pytest.mark.anyio
async def test_chunks_hold_one_environment_and_say_which(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    service.run_s[CODE.function_id] = 0.0001
    async with running(service, engine, tmp_path, SETTINGS):
        attempts = [service.add(CODE, b"pk\n", environment=("", "xpcs", "default")[n % 3]) for n in range(60)]
        service.notify()
        await service.until(lambda: all(map(service.ended, attempts)))
    for attempt, environment in zip(attempts, ["default", "xpcs", "default"] * 20, strict=True):
        outcome = service.ended(attempt)
        assert outcome is not None
        assert (outcome.state, outcome.environment) == ("succeeded", environment)
        assert (outcome.node, outcome.job_id, outcome.block_id) == ("theta3", "4711", "ab-1")
    for chunk in engine.chunks:
        wanted = {"": "default"}.get(service_environment(service, chunk.tasks[0].task_id), "")
        assert {service_environment(service, task.task_id) or "default" for task in chunk.tasks} == {chunk.environment}
        assert wanted in ("", "default")
        if chunk.environment == "xpcs":
            assert (chunk.interpreter, chunk.setup) == (["/opt/xpcs/bin/python"], ["module load hdf5"])
            assert chunk.variables == {"A": "1"}
        else:
            assert (chunk.interpreter, chunk.setup, chunk.variables) == ([], [], {})
        assert chunk.output_directory == str(places_in(tmp_path).output)


def service_environment(service: FakeService, task_id: str) -> str:
    tasks = [task for answer in service.answers.values() for task in answer.tasks]
    return next(task.environment for task in tasks if task.task_id == task_id)


@pytest.mark.anyio
async def test_tasks_of_a_broken_environment_go_back_and_others_run(
    service: FakeService, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.broken_environments = {"xpcs": "Environment xpcs cannot be set up here: no module hdf5"}
    async with running(service, engine, tmp_path, SETTINGS):
        broken = [service.add(CODE, b"pk\n", environment="xpcs") for _ in range(20)]
        well = [service.add(CODE, b"pk\n") for _ in range(20)]
        service.notify()
        await service.until(lambda: all(map(service.ended, broken + well)))
        await service.until(lambda: any("problem" in beat.environments.get("xpcs", {}) for beat in service.beats))
    assert {service.ended(attempt).state for attempt in well} == {"succeeded"}  # type: ignore[union-attr]
    for attempt in broken:
        outcome = service.ended(attempt)
        assert outcome is not None
        assert outcome.state == "released"
        assert "no module hdf5" in outcome.message
    told = [beat.environments["xpcs"] for beat in service.beats if beat.environments]
    assert told[-1]["problem"].endswith("no module hdf5")


@pytest.mark.anyio
async def test_an_environment_there_is_not_is_refused(service: FakeService, engine: FakeEngine, tmp_path: Path) -> None:
    async with running(service, engine, tmp_path):
        attempt = service.add(CODE, b"pk\n", environment="nowhere")
        service.notify()
        await service.until(lambda: service.ended(attempt))
    outcome = service.ended(attempt)
    assert outcome is not None
    assert (outcome.state, outcome.kind) == ("failed", "refused")
    assert "no environment 'nowhere'" in outcome.message
