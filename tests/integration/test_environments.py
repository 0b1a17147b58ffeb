"""Environments and what is left after a failure, on real processes, as a person sees it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import faas
from endpoints.processes import find_processes
from faas.models import Endpoint
from tests.services.federation import Federation
from tests.services.pythons import other_pythons

LINES = 200_000
ALL_LINES = "".join(f"line {number}\n" for number in range(LINES))


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    with Federation(tmp_path / "federation") as running:
        yield running


def site() -> tuple[str, str]:
    import os
    import sys

    return os.environ.get("SITE", ""), sys.executable


def versions() -> tuple[tuple[int, ...], bool]:
    import importlib.util
    import sys

    return tuple(sys.version_info[:2]), importlib.util.find_spec("parsl") is not None


def print_much(lines: int) -> None:
    import sys

    for number in range(lines):
        print("line", number)
    sys.stderr.write("done")


def print_and_wait(seconds: float) -> None:
    import time

    print("begun")
    time.sleep(seconds)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def shown(federation: Federation, task_id: str) -> dict[str, Any]:
    task: dict[str, Any] = json.loads(federation.faas("task", "show", task_id, "--json"))
    return task


def environments(federation: Federation) -> dict[str, dict[str, str]]:
    (endpoint,) = federation.client().link.request("GET", "/v1/endpoints", response=list[Endpoint])
    return endpoint.environments


def test_a_broken_environment_is_told_and_mended_while_others_run(federation: Federation, tmp_path: Path) -> None:
    module = tmp_path / "module.sh"
    settings = f"environments: {{xpcs: {{setup: ['source {module}'], python: '{sys.executable}'}}}}\n"
    federation.add_endpoint("theta", workers=1, settings=settings)
    client = federation.client()
    function_id = client.register_function(site, environment="xpcs")
    task_id = client.run(function_id=function_id, endpoint_id="theta")
    until(lambda: "problem" in environments(federation).get("xpcs", {}))
    problem = environments(federation)["xpcs"]["problem"]
    assert f"line 1 of its setup, `source {module}`" in problem
    assert "No such file" in problem
    assert "broken: Environment xpcs" in " ".join(federation.faas("endpoint", "status", "theta").split())
    plain = client.run(function_id=client.register_function(print_and_wait), endpoint_id="theta", seconds=0)
    assert client.get_result(plain, timeout=120) is None
    module.write_text("export SITE=theta\n")
    assert client.get_result(task_id, timeout=120) == ("theta", sys.executable)
    until(lambda: "problem" not in environments(federation)["xpcs"])
    known = environments(federation)["xpcs"]
    assert known["python"] == ".".join(map(str, sys.version_info[:3]))
    assert any(package.startswith("msgspec==") for package in known["packages"].split())
    attempts = shown(federation, task_id)["attempts"]
    assert [attempt["state"] for attempt in attempts] == ["released"] * (len(attempts) - 1) + ["succeeded"]
    assert attempts[-1]["environment"] == "xpcs"


def test_functions_run_under_another_python_without_anything_of_ours(federation: Federation, tmp_path: Path) -> None:
    others = other_pythons()
    named = "".join(f"  py{other.version[1]}: {{python: {other.path}}}\n" for other in others)
    federation.add_endpoint("theta", workers=1, settings=f"environments:\n{named}")
    client = federation.client()
    for other in others:
        function_id = client.register_function(versions, environment=f"py{other.version[1]}")
        version, parsl = client.get_result(client.run(function_id=function_id), timeout=60)
        assert version == other.version
        assert not parsl


def test_all_that_a_task_printed_is_fetched_from_its_site(federation: Federation, tmp_path: Path) -> None:
    federation.add_endpoint("theta", workers=1, settings="output: {days: 3}\n")
    client = federation.client()
    task_id = client.run(LINES, function_id=client.register_function(print_much))
    assert client.get_result(task_id, timeout=120) is None
    assert federation.faas("task", "logs", task_id) == ALL_LINES + "done\n"
    assert federation.faas("task", "logs", task_id, "--stderr", "--attempt", "1") == "done\n"
    federation.faas("task", "logs", task_id, "--output", str(tmp_path / "log"))
    assert (tmp_path / "log").read_text() == ALL_LINES
    (attempt,) = shown(federation, task_id)["attempts"]
    assert (attempt["node"], attempt["environment"]) == (os.uname().nodename, "default")
    assert attempt["peak_memory_bytes"] > 5_000_000
    federation.stop_endpoint("theta")
    (log,) = json.loads(federation.faas("task", "logs", task_id, "--json"))
    assert ALL_LINES.endswith(log["stdout"])
    assert len(log["stdout"]) > 4000
    assert log["stderr"] == "done"
    assert "endpoint theta is offline" in log["notes"][0]


def test_the_output_of_a_running_task_can_be_seen(federation: Federation) -> None:
    federation.add_endpoint("theta", workers=1)
    client = federation.client()
    task_id = client.run(600, function_id=client.register_function(print_and_wait))
    until(lambda: bool(shown(federation, task_id)["state"] == "running"))
    until(lambda: federation.faas("task", "logs", task_id) == "begun\n")
    federation.faas("task", "cancel", task_id)


def test_output_survives_the_worker_and_the_lost_attempt_says_where_it_was(federation: Federation) -> None:
    federation.add_endpoint("theta", workers=1)
    client = federation.client()
    options = faas.TaskOptions(max_losses=0)
    with faas.Executor(client=client, endpoint_id="theta", task_options=options) as executor:
        future = executor.submit(print_and_wait, 600)
        output = federation.directory / "endpoints" / "theta" / "output"
        until(lambda: any(path.read_text() == "begun\n" for path in output.glob("*/*.out")))
        for process in find_processes(federation.state("theta").nonce):
            with contextlib.suppress(psutil.NoSuchProcess):  # its parent was the one before
                if "process_worker_pool" in " ".join(process.cmdline()):
                    process.send_signal(signal.SIGKILL)
        with pytest.raises(faas.TaskFailed):
            future.result(timeout=60)
        task = shown(federation, str(future.task_id))
    assert task["state"] == "lost"
    attempt = task["attempts"][-1]
    assert attempt["stdout"] == "begun\n"
    assert attempt["node"] == os.uname().nodename
    assert attempt["worker"].partition("@")[0].isdigit()
    said = federation.faas("task", "show", task["task_id"])
    assert "lost at theta" in said
    assert max(map(len, said.splitlines())) < 100
