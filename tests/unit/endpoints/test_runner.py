"""What the runner unpacks, calls and packs, under this Python and the oldest and newest others installed here."""

from __future__ import annotations

import base64
import json
import os
import pickle
import re
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dill
import psutil
import pytest
from globus_compute_sdk import ShellFunction

from endpoints.processes import find_processes
from endpoints.worker import stop_runners
from faas.packing import pack_arguments, pack_value, unpack_value
from faas.references import TaskReference
from tests.services.processes import still_running
from tests.services.pythons import other_pythons
from tests.unit.endpoints.chunks import ChunkMaker, failure, value

OTHERS = ("oldest", "newest")


@pytest.fixture
def chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChunkMaker]:
    nonce = uuid.uuid4().hex
    monkeypatch.setenv("FAAS_NONCE", nonce)
    yield ChunkMaker(tmp_path)
    stop_runners()
    assert find_processes(nonce) == []


def test_a_worker_that_is_ended_with_its_runner_blames_nobody(tmp_path: Path) -> None:
    """As at a job's walltime: the scheduler ends all its processes with one signal, the runner before the worker."""
    chunk = ChunkMaker(tmp_path)
    chunk.add_source(
        "def f(path):\n"
        "    import os, signal\n"
        "    with open(path, 'w') as file:\n"
        "        file.write(str(os.getpid()))\n"
        "    while True:\n"
        "        signal.pause()\n",
        str(tmp_path / "pid"),
    )
    os.mkfifo(tmp_path / "pid")
    (tmp_path / "payload").write_bytes(chunk.encode())
    program = (
        "import sys, pathlib; from endpoints import worker; worker.SHARED_END_S = 600.0\n"
        "worker.run_chunk(pathlib.Path(sys.argv[1]).read_bytes()); print('reported', flush=True)"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "payload")],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        runner = psutil.Process(int((tmp_path / "pid").read_text()))
        runner.terminate()
        assert still_running([runner]) == []
        assert worker.stdout is not None
        # Whoever reports at once does so within moments: it has nothing else to do.
        readable, _, _ = select.select([worker.stdout], [], [], 1.0)
        assert not readable
        worker.terminate()
        assert worker.communicate(timeout=60)[0] == ""
        assert worker.returncode == -signal.SIGTERM
    finally:
        worker.kill()
        worker.communicate()


def under_other(chunk: ChunkMaker, which: str) -> None:
    """Have the chunk run under another Python, or skip the test."""
    others = other_pythons()
    chunk.interpreter = [str(others[0 if which == "oldest" else -1].path)]


@pytest.fixture(params=("same", *OTHERS))
def any_chunk(request: pytest.FixtureRequest, chunk: ChunkMaker) -> ChunkMaker:
    if request.param != "same":
        under_other(chunk, request.param)
    return chunk


@pytest.fixture(params=OTHERS)
def other_chunk(request: pytest.FixtureRequest, chunk: ChunkMaker) -> ChunkMaker:
    under_other(chunk, request.param)
    return chunk


def double(number: int) -> int:
    return number * 2


def failing(number: int) -> float:
    divisor = number - number
    return number / divisor


# Under any Python


def test_source_runs(any_chunk: ChunkMaker) -> None:
    any_chunk.add(double, 21)
    any_chunk.add_source("def f(*args, **kwargs):\n    return args, kwargs\n", 1, "two")
    report = any_chunk.run()
    assert [value(task) for task in report.tasks] == [42, ((1, "two"), {})]
    assert re.fullmatch(r"3\.\d+\.\d+", report.python_version)


def test_traceback_shows_the_functions_lines_and_none_of_ours(any_chunk: ChunkMaker) -> None:
    any_chunk.add(failing, 1)
    failed = failure(any_chunk.run().tasks[0])
    assert failed.kind == "exception"
    assert failed.exception_type == "ZeroDivisionError"
    assert failed.message == "ZeroDivisionError: division by zero"
    assert "return number / divisor" in failed.traceback
    assert ", in failing" in failed.traceback
    assert "runner.py" not in failed.traceback
    assert isinstance(unpack_value(failed.exception), ZeroDivisionError)


def test_misbehaviour_is_survived(any_chunk: ChunkMaker) -> None:
    any_chunk.add(double, 1)
    any_chunk.add_source("def f():\n    import os\n    os._exit(3)\n")
    any_chunk.add_source("def f():\n    import ctypes\n    ctypes.string_at(0)\n")
    any_chunk.add_source("def f():\n    while True:\n        pass\n", timeout_s=0.3)
    any_chunk.add_source("def f():\n    import subprocess\n    subprocess.Popen(['sleep', '1000'])\n    print('x')\n")
    any_chunk.add_source("def f():\n    import os\n    os.closerange(0, 4096)\n")
    any_chunk.add_source("def f():\n    import os\n    if os.fork() == 0:\n        return 'child'\n    os.wait()\n")
    any_chunk.add(double, 2)
    tasks = any_chunk.run().tasks
    assert [task.kind for task in tasks] == [None, "crash", "crash", "timeout", None, "crash", None, None]
    assert tasks[4].stdout == "x\n"
    assert "in f" in failure(tasks[3]).traceback


def test_classes_made_by_the_function_come_back_by_value(any_chunk: ChunkMaker) -> None:
    any_chunk.add_source(
        "def f():\n    class Spectrum:\n        def peak(self):\n            return 7\n    return {'made': Spectrum}\n"
    )
    result = any_chunk.run().tasks[0]
    if any_chunk.interpreter:  # Its byte code is for that Python; here it is enough that it was packed.
        assert result.state == "succeeded"
        assert b"Spectrum" in result.result
    else:
        assert value(result)["made"]().peak() == 7


# Under another Python


def test_byte_code_of_another_python_is_refused_with_both_versions_named(other_chunk: ChunkMaker) -> None:
    offset = 1
    other_chunk.add(lambda number: number + offset, 1)
    other_chunk.add(double, 1)
    report = other_chunk.run()
    failed = failure(report.tasks[0])
    assert failed.kind == "serialization"
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in failed.message
    assert report.python_version in failed.message
    assert "travels as source" in failed.message
    assert value(report.tasks[1]) == 2


def test_newer_syntax_names_both_versions(other_chunk: ChunkMaker) -> None:
    other_chunk.add_source("def f():\n    return unclosed(\n")
    report = other_chunk.run()
    failed = failure(report.tasks[0])
    assert failed.kind == "serialization"
    assert "SyntaxError" in failed.message
    assert "3.11.7" in failed.message
    assert report.python_version in failed.message


# Forms of values


def test_no_arguments(chunk: ChunkMaker) -> None:
    chunk.add_source("def f(*args, **kwargs):\n    return len(args) + len(kwargs)\n")
    assert value(chunk.run().tasks[0]) == 0


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ([1, 2], [[1, 2], {}]),
        ({"args": [1], "kwargs": {"b": 2}}, [[1], {"b": 2}]),
        ({"kwargs": {"b": 2}}, [[], {"b": 2}]),
        ({}, [[], {}]),
    ],
)
def test_json_arguments_give_a_json_result(chunk: ChunkMaker, payload: Any, expected: Any) -> None:
    identifier = chunk.register_code("f", "st", b"st\nf:def f(*args, **kwargs):\n    return args, kwargs\n")
    chunk.add_packed(identifier, b"11\n" + json.dumps(payload).encode())
    report = chunk.run().tasks[0]
    assert report.result.startswith(b"11\n")
    assert json.loads(report.result[3:]) == expected


def test_json_arguments_with_a_result_that_json_cannot_hold(chunk: ChunkMaker) -> None:
    identifier = chunk.register_code("f", "st", b"st\nf:def f():\n    return {1, 2}\n")
    chunk.add_packed(identifier, b"11\n[]")
    report = chunk.run().tasks[0]
    assert report.result.startswith(b"pk\n")
    assert value(report) == {1, 2}


@pytest.mark.parametrize("payload", [b'11\n"text"', b'11\n{"arguments": []}', b"11\n5"])
def test_json_that_is_no_arguments_says_what_it_should_be(chunk: ChunkMaker, payload: bytes) -> None:
    chunk.add_packed(chunk.register(double), payload)
    failed = failure(chunk.run().tasks[0])
    assert failed.kind == "serialization"
    assert '{"args": [...], "kwargs": {...}}' in failed.message


def test_globus_computes_own_data_strategy(chunk: ChunkMaker) -> None:
    chunk.add_packed(chunk.register(double), b"00\n" + base64.encodebytes(dill.dumps(((4,), {}))))
    assert value(chunk.run().tasks[0]) == 8


@pytest.mark.parametrize("payload", [b"pk\ngarbage", b"zz\n", b"pk\n", b"11\n{", b"00\n!!"])
def test_arguments_that_do_not_unpack(chunk: ChunkMaker, payload: bytes) -> None:
    chunk.add_packed(chunk.register(double), payload)
    chunk.add(double, 1)
    broken, neighbour = chunk.run().tasks
    failed = failure(broken)
    assert failed.kind == "serialization"
    assert "The arguments of function double could not be unpacked" in failed.message
    assert value(neighbour) == 2


class Unknown:
    def __reduce__(self) -> Any:
        return __import__, ("no_such_module_here",)


def test_arguments_that_need_a_missing_module_say_what_to_do(chunk: ChunkMaker) -> None:
    chunk.add_packed(chunk.register(double), b"pk\n" + pickle.dumps(((Unknown(),), {})))
    message = failure(chunk.run().tasks[0]).message
    assert "'no_such_module_here'" in message
    assert "modules=[...]" in message
    assert "install it there" in message


def test_interpreter_without_dill_is_lent_ours(chunk: ChunkMaker) -> None:
    chunk.interpreter = [sys.executable, "-S"]  # without site-packages
    offset = 10
    chunk.add(lambda number: number + offset, 1)
    chunk.add_source("def f():\n    import dill\n    return dill.__file__, dill.__version__\n")
    report = chunk.run()
    assert value(report.tasks[0]) == 11
    file, version = value(report.tasks[1])
    assert not file.startswith(str(Path(dill.__file__).parent))
    assert version == dill.__version__
    assert f"dill=={version}" in report.runner["packages"].split()


def test_missing_module_in_the_code_and_in_the_function(chunk: ChunkMaker) -> None:
    chunk.add_source("import no_such_module_here\ndef f():\n    return 1\n")
    chunk.add_source("def f():\n    import no_such_module_here\n")
    loading, calling = (failure(task) for task in chunk.run().tasks)
    assert loading.kind == "serialization"
    assert calling.kind == "exception"
    for failed in (loading, calling):
        assert "Module 'no_such_module_here' is not installed" in failed.message
        assert "modules=[...]" in failed.message


# References


def test_references_are_replaced_by_values(chunk: ChunkMaker, tmp_path: Path) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    packed = pack_arguments(([TaskReference(first)],), {"other": {"deep": TaskReference(second)}})
    assert packed.dependencies == [first, second]
    (tmp_path / "value").write_bytes(pack_value(list(range(5))))
    identifier = chunk.register_code("f", "st", b"st\nf:def f(one, other):\n    return one[0], other['deep']\n")
    chunk.add_packed(
        identifier, packed.payload, values={first: b'11\n{"a": 1}'}, value_files={second: str(tmp_path / "value")}
    )
    assert value(chunk.run().tasks[0]) == ({"a": 1}, [0, 1, 2, 3, 4])


def test_references_among_arguments_packed_by_dill(chunk: ChunkMaker) -> None:
    reference = str(uuid.uuid4())
    offset = 3
    payload = pack_arguments((lambda number: number + offset, TaskReference(reference)), {}).payload
    assert b"dill" in payload
    identifier = chunk.register_code("f", "st", b"st\nf:def f(function, number):\n    return function(number)\n")
    chunk.add_packed(identifier, payload, values={reference: pack_value(4)})
    assert value(chunk.run().tasks[0]) == 7


def test_reference_without_its_value_is_explained(chunk: ChunkMaker) -> None:
    chunk.add_packed(chunk.register(double), pack_arguments((TaskReference("some-task"),), {}).payload)
    assert "task some-task, whose value did not come" in failure(chunk.run().tasks[0]).message


# Functions


def test_functions_by_value(chunk: ChunkMaker) -> None:
    offset = 10

    def closure(number: int) -> int:
        return double(number) + offset

    chunk.add(closure, 1)
    chunk.add(lambda number: number + offset, 1)
    assert [value(task) for task in chunk.run().tasks] == [12, 11]


def test_recursion_and_state_of_a_source_function(chunk: ChunkMaker) -> None:
    chunk.add_source("def f(n):\n    return 1 if n == 0 else n * f(n - 1)\n", 5)
    chunk.add_source("def f():\n    return __name__, f.__module__, '__builtins__' in globals()\n")
    assert [value(task) for task in chunk.run().tasks] == [120, ("__main__", "__main__", True)]


def test_annotations_are_evaluated_as_they_are_written(chunk: ChunkMaker) -> None:
    chunk.add_source("def f(n: int = 1):\n    return f.__annotations__['n'] is int\n")
    assert value(chunk.run().tasks[0]) is True


def test_multiprocessing_within_a_function(chunk: ChunkMaker) -> None:
    chunk.add_source(
        "def f(n=None):\n"
        "    if n is not None:\n"
        "        return n * n\n"
        "    import multiprocessing\n"
        "    with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "        return pool.map(f, [1, 2, 3])\n"
    )
    report = chunk.run().tasks[0]
    assert value(report) == [1, 4, 9]
    assert report.message == ""


def test_shipped_modules_come_first(chunk: ChunkMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "mine"
    (site / "spectra_of_mine").mkdir(parents=True)
    (site / "spectra_of_mine" / "__init__.py").write_text("from .peaks import peak\n")
    (site / "spectra_of_mine" / "peaks.py").write_text("def peak():\n    return 'found'\n")
    monkeypatch.syspath_prepend(str(site))
    import spectra_of_mine  # type: ignore[import-not-found]

    source = b"st\nf:def f():\n    import spectra_of_mine, sys\n    return spectra_of_mine.peak(), sys.path[0]\n"
    from faas.modules import pack_modules

    identifier = chunk.register_code("f", "st", source, pack_modules((spectra_of_mine,)))
    chunk.add(identifier)
    chunk.add(double, 1)
    with_modules, without = chunk.run().tasks
    found, first = value(with_modules)
    assert found == "found"
    assert Path(first).parent == chunk.run_directory / "modules"
    assert value(without) == 2


def test_nothing_of_ours_shadows_what_functions_import(chunk: ChunkMaker) -> None:
    chunk.add_source("def f():\n    import code, profile, sys\n    return code.__file__, sys.path\n")
    file, path = value(chunk.run().tasks[0])
    assert "endpoints" not in file
    assert not any(entry.endswith("endpoints") for entry in path)


def test_shell_function(chunk: ChunkMaker) -> None:
    chunk.add(ShellFunction("echo hello {name}; pwd", return_dict=True), name="site")
    result = value(chunk.run().tasks[0])
    assert result["returncode"] == 0
    assert result["stdout"].startswith("hello site\n/")


def test_dill_code_of_globus_compute(chunk: ChunkMaker) -> None:
    from globus_compute_sdk.serialize import DillCode, PureSourceDill, PureSourceTextInspect

    script = {"__name__": "__main__"}
    exec("def double(number):\n    return number * 2\n", script)
    for strategy, function in (
        (DillCode(), script["double"]),
        (PureSourceDill(), double),
        (PureSourceTextInspect(), double),
    ):
        code = strategy.serialize(function).encode()
        chunk.add(chunk.register_code("double", code[:2].decode(), code), 4)
    assert [value(task) for task in chunk.run().tasks] == [8, 8, 8]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (b"st\nf:def g():\n    pass\n", "KeyError"),
        (b"st\nf:f = 3\n", "a int, which cannot be called"),
        (b"01\n!!!!", "could not be loaded"),
        (b"99\nwhat", "unknown format"),
        (b"", "unknown format"),
        (b"st\nno colon", "could not be loaded"),
        (b"st\nf:raise SystemExit\n", "sys.exit"),
    ],
)
def test_code_that_does_not_load(chunk: ChunkMaker, code: bytes, words: str) -> None:
    chunk.add(chunk.register_code("f", code[:2].decode(), code))
    chunk.add(double, 1)
    broken, neighbour = chunk.run().tasks
    assert words in failure(broken).message
    assert value(neighbour) == 2


# Results and exceptions


def test_result_that_cannot_be_packed_names_its_type(chunk: ChunkMaker) -> None:
    chunk.add_source("def f():\n    return (n for n in 'abc')\n")
    chunk.add(double, 1)
    broken, neighbour = chunk.run().tasks
    failed = failure(broken)
    assert failed.kind == "serialization"
    assert "a generator, could not be packed" in failed.message
    assert value(neighbour) == 2


@pytest.mark.parametrize(
    ("statement", "words", "unpacks"),
    [
        ("raise KeyError('x')", "KeyError: 'x'", True),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", True),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(5)", "KeyboardInterrupt", True),
        ("sys.exit(3)", "sys.exit(3)", True),
        ("sys.exit()", "sys.exit(None)", True),
        ("raise GeneratorExit", "GeneratorExit", True),
        ("raise Custom(1, 2)", "Custom: two", False),  # pickles, but does not unpickle
        ("raise Locked()", "Locked: locked", False),
        ("raise Silent()", "Silent: (its message cannot be shown)", None),
        ("raise Evil()", "Evil: evil", False),
        ("raise ValueError('x' * 5_000_000)", "ValueError: xxx", False),
        ("f_deep(0)", "RecursionError", True),
        ("assert 1 == 2, 'unequal'", "AssertionError: unequal", True),
        *(
            [("raise ExceptionGroup('g', [ValueError(1), KeyError(2)])", "ExceptionGroup: g", True)]
            if sys.version_info >= (3, 11)
            else []
        ),
        ("return Unreducible()", "could not be packed", None),
    ],
)
def test_exceptions_of_all_kinds(chunk: ChunkMaker, statement: str, words: str, unpacks: bool | None) -> None:
    chunk.add_source(
        "import os, signal, sys, threading, time\n"
        "class Custom(Exception):\n"
        "    def __init__(self, one, two):\n"
        "        super().__init__('two')\n"
        "class Locked(Exception):\n"
        "    def __init__(self):\n"
        "        super().__init__('locked')\n"
        "        self.made = (n for n in 'abc')\n"
        "class Silent(Exception):\n"
        "    def __str__(self):\n"
        "        raise RuntimeError('no')\n"
        "class Evil(Exception):\n"
        "    def __str__(self):\n"
        "        return 'evil'\n"
        "    def __reduce__(self):\n"
        "        raise SystemExit('from reduce')\n"
        "class Unreducible:\n"
        "    def __reduce__(self):\n"
        "        raise RuntimeError('no')\n"
        "def f_deep(n):\n"
        "    return f_deep(n + 1)\n"
        f"def f():\n    {statement}\n"
    )
    chunk.add(double, 1)
    broken, neighbour = chunk.run().tasks
    failed = failure(broken)
    assert words in failed.message
    assert failed.traceback
    assert len(failed.traceback) < 30_000
    assert "runner.py" not in failed.traceback or "return Unreducible" in statement
    if unpacks is not None:
        assert bool(failed.exception) == unpacks
        if unpacks:
            assert type(unpack_value(failed.exception)).__name__ == failed.exception_type
    assert value(neighbour) == 2


def test_exception_with_a_cause_shows_both(chunk: ChunkMaker) -> None:
    chunk.add_source(
        "def f():\n    try:\n        int('x')\n    except ValueError as e:\n        raise KeyError('y') from e\n"
    )
    traceback = failure(chunk.run().tasks[0]).traceback
    assert "ValueError: invalid literal" in traceback
    assert "direct cause" in traceback
    assert traceback.rstrip().endswith("KeyError: 'y'")


@pytest.mark.parametrize(
    "made",
    ["None", "float('nan')", "b'x' * 2_000_000", "'ü' * 10", "{'a': [1, (2, 3)]}", "range(3)", "lambda: 3", "print"],
)
def test_results_of_all_kinds(chunk: ChunkMaker, made: str) -> None:
    chunk.add_source(f"def f():\n    return {made}\n")
    result, expected = value(chunk.run().tasks[0]), eval(made)  # noqa: S307 (the parameters above)
    if callable(expected):
        assert callable(result)
    else:
        assert result == expected or result != result


def test_alarm_that_fires_after_the_function_harms_nobody(chunk: ChunkMaker) -> None:
    for _ in range(20):
        chunk.add_source(
            "def f():\n"
            "    import signal\n"
            "    def fire(*_):\n"
            "        raise TimeoutError('late')\n"
            "    signal.signal(signal.SIGALRM, fire)\n"
            "    signal.setitimer(signal.ITIMER_REAL, 0.00002)\n"
        )
        chunk.add(double, 1)
    tasks = chunk.run().tasks
    assert [value(task) for task in tasks[1::2]] == [2] * 20
    for task in tasks[::2]:
        assert task.state == "succeeded" or "late" in task.message


# The worker's end


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_runner_dies_with_its_worker(tmp_path: Path, number: int) -> None:
    chunk = ChunkMaker(tmp_path)
    chunk.add_source(
        "def f(path):\n"
        "    import os\n"
        "    with open(path, 'w') as file:\n"
        "        file.write(str(os.getpid()))\n"
        "    len(str(7 ** (7 ** 12)))\n",
        str(tmp_path / "pid"),
    )
    os.mkfifo(tmp_path / "pid")
    (tmp_path / "payload").write_bytes(chunk.encode())
    nonce = uuid.uuid4().hex
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from endpoints.worker import run_chunk; "
            "run_chunk(pathlib.Path(sys.argv[1]).read_bytes())",
            str(tmp_path / "payload"),
        ],
        env={**os.environ, "FAAS_NONCE": nonce, "PYTHONPATH": str(Path.cwd())},
    )
    try:
        runner = psutil.Process(int((tmp_path / "pid").read_text()))
        worker.send_signal(number)
        worker.wait(60)
        assert still_running([runner]) == []
    finally:
        worker.kill()
        worker.wait()
    assert find_processes(nonce) == []


def test_large_results_of_every_kind_come_back_as_they_were(chunk: ChunkMaker) -> None:
    size = 3_000_000
    made = {
        "bytes(size)": bytes(size),
        "{'a': bytearray(size), 'b': 1}": {"a": bytearray(size), "b": 1},
        "[b'x' * size, (b'y' * size, None)]": [b"x" * size, (b"y" * size, None)],
        "['text'] * size": ["text"] * size,
        "memoryview(bytes(size)).tobytes()": bytes(size),
    }
    for expression in made:
        chunk.add_source(f"def f(size):\n    return {expression}\n", size)
    chunk.add_source(
        "def f(size):\n"
        "    class Scan:\n"
        "        frames = 7\n"
        "    globals()['Scan'] = Scan\n"
        "    Scan.__qualname__ = 'Scan'\n"
        "    return {'frames': bytes(size), 'scan': Scan()}\n",
        size,
    )
    chunk.add_source("def f(size):\n    return [bytes(size), (x for x in 'abc')]\n", size)
    *plain, by_value, impossible = chunk.run().tasks
    for report, expected in zip(plain, made.values(), strict=True):
        assert value(report) == expected
        assert report.result_file
    found = value(by_value)
    assert len(found["frames"]) == size and found["scan"].frames == 7
    assert "generator" in failure(impossible).message
    assert len(list((chunk.run_directory / "results").iterdir())) == len(made) + 1
