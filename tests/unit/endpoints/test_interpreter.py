"""Set-up lines before an interpreter, commands that wrap it, and what is said when they fail."""

from __future__ import annotations

import shlex
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from endpoints.processes import find_processes
from endpoints.worker import stop_runners
from tests.unit.endpoints.chunks import ChunkMaker, failure, value


@pytest.fixture
def chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChunkMaker]:
    nonce = uuid.uuid4().hex
    monkeypatch.setenv("FAAS_NONCE", nonce)
    stop_runners()
    yield ChunkMaker(tmp_path / "with space", environment="xpcs")
    stop_runners()
    assert find_processes(nonce) == []


def variable(name: str) -> str:
    import os

    return os.environ[name]


def interpreter_and_arguments() -> tuple[str, int]:
    import sys

    return sys.executable, len(sys.argv)


def test_set_up_lines_make_what_functions_run_in(chunk: ChunkMaker, tmp_path: Path) -> None:
    script = tmp_path / "modules.sh"
    script.write_text('module() { export LOADED="$LOADED:$2"; }\ntest $# -eq 0 || export LOADED="got arguments $*"\n')
    chunk.setup = [
        f"source {script}",
        "module load hdf5",
        "module load 'it''s'",
        f"export PATH={tmp_path}:$PATH",
        "cd /",
    ]
    chunk.variables = {"LOADED": "first"}
    (tmp_path / "python3").symlink_to(sys.executable)
    chunk.add(variable, "LOADED")
    chunk.add(interpreter_and_arguments)
    loaded, (executable, arguments) = (value(task) for task in chunk.run().tasks)
    assert loaded == "first:hdf5:its"
    assert executable == str(tmp_path / "python3")
    assert arguments == 1


def test_what_set_up_lines_print_is_no_tasks_output(chunk: ChunkMaker) -> None:
    chunk.interpreter = [sys.executable]
    chunk.setup = ["echo welcome", "echo beware >&2"]
    chunk.add_source("def f():\n    print('mine')\n")
    (task,) = chunk.run().tasks
    assert (task.stdout, task.stderr) == ("mine\n", "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("echo no such module >&2; false", ["ended with exit code 1", "It said: no such module"]),
        ("(exit 3)", ["ended with exit code 3", "It said: nothing"]),
        ("module_of_nobody load hdf5", ["ended with exit code 127", "not found"]),
        ("echo 'left open", ["unexpected EOF"]),
        ("source /nowhere/activate", ["/nowhere/activate: No such file"]),
    ],
)
def test_a_line_that_fails_is_named_with_its_own_words(chunk: ChunkMaker, line: str, words: list[str]) -> None:
    chunk.interpreter = [sys.executable]
    chunk.setup = ["true", line, "echo not reached >&2"]
    chunk.add(variable, "HOME")
    report = chunk.run()
    (task,) = report.tasks
    assert task.state == "released"
    assert f"Environment xpcs cannot be set up here: line 2 of its setup, `{line}`" in report.broken
    assert all(word in report.broken for word in words), report.broken
    assert "not reached" not in report.broken


def test_a_line_that_ends_the_shell_is_not_mistaken_for_success(chunk: ChunkMaker) -> None:
    chunk.interpreter = [sys.executable]
    chunk.setup = ["echo bye >&2; exit 0"]
    chunk.add(variable, "HOME")
    broken = chunk.run().broken
    assert "ended with exit code 0 before it was ready" in broken
    assert "bye" in broken


def test_an_environment_works_again_once_it_is_mended(chunk: ChunkMaker, tmp_path: Path) -> None:
    chunk.interpreter = [sys.executable]
    chunk.setup = [f"test -e {tmp_path}/mended"]
    chunk.add(variable, "FAAS_NONCE")
    assert chunk.run().broken
    (tmp_path / "mended").touch()
    report = chunk.run()
    assert report.broken == ""
    assert value(report.tasks[0])
    assert "packages" in report.runner


def test_a_command_may_wrap_the_interpreter_as_a_container_does(chunk: ChunkMaker, tmp_path: Path) -> None:
    """The stand-in for ``apptainer`` stays as the parent, passes descriptors on, and shows nothing of this tree."""
    wrapper = tmp_path / "apptainer"
    wrapper.write_text(
        "#!/bin/bash\n"
        'test "$1 $2" = "exec image.sif" || exit 9\n'
        "shift 2\n"
        f'export CONTAINER=yes; ( exec {shlex.quote(sys.executable)} -I -S "${{@:2}}" )\n'
    )
    wrapper.chmod(0o755)
    chunk.interpreter = [str(wrapper), "exec", "image.sif", "python3"]
    offset = 1
    chunk.add(variable, "CONTAINER")
    chunk.add(lambda number: number + offset, 1)
    chunk.add_source("def f():\n    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)\n")
    chunk.add_source("def f():\n    while True:\n        pass\n", timeout_s=0.3)
    chunk.add(variable, "CONTAINER")
    inside, closure, killed, late, after = chunk.run().tasks
    assert (value(inside), value(closure), value(after)) == ("yes", 2, "yes")
    assert "SIGKILL" in failure(killed).message
    assert failure(late).kind == "timeout"


def test_packages_are_listed_once_for_each_interpreter(chunk: ChunkMaker) -> None:
    chunk.add(variable, "HOME")
    listed = chunk.run().runner["packages"].split()
    assert listed == sorted(listed, key=lambda package: package.split("==")[0])
    assert all(package.count("==") == 1 for package in listed)
    assert any(package.startswith("dill==") for package in listed)
    assert chunk.run().runner == {}
    chunk.interpreter = [sys.executable, "-S"]
    assert [package.split("==")[0] for package in chunk.run().runner["packages"].split()] == ["dill"]
