"""Functions that misbehave, run by `run_chunk`: each is reported for what it did, its neighbours are untouched."""

from __future__ import annotations

import os
import resource
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from endpoints.chunk import TaskReport
from endpoints.journal import read_journal
from endpoints.processes import find_processes
from endpoints.worker import stop_runners
from faas.models import AttemptKey
from tests.unit.endpoints.chunks import ChunkMaker, failure, value


@pytest.fixture
def chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChunkMaker]:
    """A chunk maker; afterwards no process of its runners is left."""
    nonce = uuid.uuid4().hex
    monkeypatch.setenv("FAAS_NONCE", nonce)
    stop_runners()
    before = set(psutil.Process().children(recursive=True))
    yield ChunkMaker(tmp_path)
    stop_runners()
    assert find_processes(nonce) == []
    assert set(psutil.Process().children(recursive=True)) <= before


def add_numbers(first: int, second: int) -> int:
    return first + second


def runner_process() -> int:
    import os

    return os.getpid()


def between_neighbours(chunk: ChunkMaker, source: str, timeout_s: float | None = None) -> TaskReport:
    """Run a misbehaving function among well-behaved ones; those must not notice."""
    chunk.add(add_numbers, 1, 1)
    chunk.add(add_numbers, 1, 2)
    index = chunk.add_source(source, timeout_s=timeout_s)
    chunk.add(add_numbers, 1, 3)
    chunk.add(add_numbers, 1, 4)
    tasks = chunk.run().tasks
    assert [value(task) for task in tasks[:index] + tasks[index + 1 :]] == [2, 3, 4, 5]
    assert not any(task.stdout or task.stderr or task.message for task in tasks[:index] + tasks[index + 1 :])
    return tasks[index]


# Deaths


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("os._exit(3)", ["exit code 3", "os._exit(3)"]),
        ("os._exit(0)", ["exit code 0"]),
        ("ctypes.string_at(0)", ["signal 11", "SIGSEGV"]),
        ("os.abort()", ["signal 6", "SIGABRT"]),
        ("os.kill(os.getpid(), signal.SIGKILL)", ["signal 9", "SIGKILL", "out of memory"]),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", ["signal 15", "SIGTERM", "its job went on"]),
        ("signal.alarm(1); time.sleep(60)", ["signal 14", "SIGALRM"]),
        ("os.closerange(0, 4096)", ["closed file descriptors"]),
        ("os.closerange(3, 4096); time.sleep(0.2)", ["closed file descriptors"]),
    ],
)
def test_death_is_reported_for_the_task_at_fault_only(chunk: ChunkMaker, statement: str, words: list[str]) -> None:
    report = between_neighbours(
        chunk, f"def f():\n    import os, ctypes, signal, time\n    print('last words')\n    {statement}\n"
    )
    failed = failure(report)
    assert failed.kind == "crash"
    assert all(word in failed.message for word in words), failed.message
    assert report.stdout == "last words\n"
    assert report.started_at is not None
    assert report.run_s is not None


def test_segfault_shows_where_in_stderr(chunk: ChunkMaker) -> None:
    report = between_neighbours(chunk, "def f():\n    import ctypes\n    ctypes.string_at(0)\n")
    assert "Segmentation fault" in report.stderr
    assert ", line 3 in f" in report.stderr


def test_death_in_the_first_and_in_the_last_task(chunk: ChunkMaker) -> None:
    deadly = "def f():\n    import os\n    os._exit(9)\n"
    chunk.add_source(deadly)
    chunk.add(add_numbers, 1, 1)
    chunk.add_source(deadly)
    chunk.add_source(deadly)
    assert [task.state for task in chunk.run().tasks] == ["failed", "succeeded", "failed", "failed"]


def test_death_while_code_is_loaded_is_the_tasks_own(chunk: ChunkMaker) -> None:
    report = between_neighbours(chunk, "import os\nos._exit(4)\ndef f():\n    pass\n")
    assert "exit code 4" in failure(report).message


# Time


def test_python_loop_past_its_time_is_killed(chunk: ChunkMaker) -> None:
    report = between_neighbours(chunk, "def f():\n    print('looping')\n    while True:\n        pass\n", timeout_s=1)
    failed = failure(report)
    assert failed.kind == "timeout"
    assert failed.message == "The function ran longer than its timeout_s of 1 s and was killed."
    assert report.stdout == "looping\n"
    assert report.run_s is not None
    assert report.run_s >= 1


def test_killed_at_its_time_says_where_it_was(chunk: ChunkMaker) -> None:
    report = between_neighbours(chunk, "def f():\n    while True:\n        pass\n", timeout_s=1)
    assert "line 2 in f" in failure(report).traceback or "line 3 in f" in failure(report).traceback


def test_compiled_loop_past_its_time_is_killed(chunk: ChunkMaker) -> None:
    # pow of huge numbers holds the interpreter lock in C for hours, with SIGTERM and SIGINT ignored.
    report = between_neighbours(
        chunk,
        "def f():\n"
        "    import signal\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "    return len(str(7 ** (7 ** 12)))\n",
        timeout_s=0.3,
    )
    assert failure(report).kind == "timeout"


def test_time_counts_for_each_task_by_itself(chunk: ChunkMaker) -> None:
    for _ in range(4):
        chunk.add_source("def f():\n    import time\n    time.sleep(0.5)\n    return 'done'\n", timeout_s=1.9)
    assert [value(task) for task in chunk.run().tasks] == ["done"] * 4


# Output


def test_hundred_megabytes_of_output_keep_their_tail(chunk: ChunkMaker) -> None:
    before = psutil.Process().memory_info().rss
    report = between_neighbours(
        chunk,
        "def f():\n"
        "    import sys\n"
        "    for number in range(100):\n"
        "        sys.stdout.write('x' * 999_999 + '\\n')\n"
        "        sys.stderr.write('e' * 10 + '\\n')\n"
        "    print('the end')\n",
    )
    assert value(report) is None
    assert len(report.stdout) == 4096
    assert report.stdout.endswith("x\nthe end\n")
    assert report.stderr == "eeeeeeeeee\n" * 100
    assert psutil.Process().memory_info().rss - before < 30e6


def test_output_goes_to_the_task_that_made_it(chunk: ChunkMaker) -> None:
    source = (
        "def f(n):\n"
        "    import os, subprocess, sys, ctypes\n"
        "    print('print', n)\n"
        "    os.write(1, b'write %d\\n' % n)\n"
        "    subprocess.run(['echo', 'child', str(n)])\n"
        "    sys.stderr.write('error %d' % n)\n"
        "    ctypes.CDLL(None).puts(b'puts %d' % n)\n"
    )
    identifier = chunk.register_code("f", "st", f"st\nf:{source}".encode())
    for number in range(20):
        chunk.add(identifier, number)
    for number, task in enumerate(chunk.run().tasks):
        assert task.stdout == f"print {number}\nwrite {number}\nchild {number}\nputs {number}\n"
        assert task.stderr == f"error {number}"


@pytest.mark.parametrize(
    "statement",
    [
        "os.close(1); os.close(2)",
        "sys.stdout.close(); sys.stderr.close()",
        "sys.stdout = open(os.devnull, 'w')",
        "sys.stdout = None",
        "os.dup2(os.open('log', os.O_WRONLY | os.O_CREAT), 1)",
        "sys.stdout.buffer.close()",
        "sys.stdout.detach()",
    ],
)
def test_output_meddled_with_is_whole_for_the_next_task(chunk: ChunkMaker, statement: str) -> None:
    assert value(between_neighbours(chunk, f"def f():\n    import os, sys\n    {statement}\n    return 7\n")) == 7
    chunk.tasks.clear()
    chunk.chunk_id = "chunk-2"
    chunk.add_source("def f():\n    print('still here')\n")
    assert chunk.run().tasks[0].stdout == "still here\n"


# What is left behind


@pytest.mark.parametrize(
    "statement",
    [
        "subprocess.Popen(['sleep', '1000'])",
        "subprocess.Popen(['sleep', '1000'], start_new_session=True)",
        "subprocess.Popen(['sleep', '1000'], start_new_session=True, env={})",
        "subprocess.run('(setsid sleep 1000 &) &', shell=True)",
        "multiprocessing.get_context('fork').Process(target=time.sleep, args=(1000,)).start()",
        "multiprocessing.get_context('fork').Pool(2).map_async(time.sleep, [1000])",
        "os.fork() or time.sleep(1000)",
    ],
)
@pytest.mark.parametrize("ending", ["return 7", "os._exit(5)", "raise ValueError"])
def test_processes_left_behind_are_killed(chunk: ChunkMaker, statement: str, ending: str) -> None:
    if "Pool" in statement and ending == "return 7":
        statement = "globals()['pool'] = " + statement  # or it would be ended with the last reference to it
    before = set(psutil.Process().children(recursive=True))
    report = between_neighbours(
        chunk,
        "def f():\n"
        "    import multiprocessing, os, subprocess, time\n"
        "    subprocess.run(['true'])\n"
        f"    {statement}\n"
        f"    {ending}\n",
    )
    assert {"return 7": "succeeded"}.get(ending, "failed") == report.state
    if ending == "return 7":
        assert "left processes running" in report.message
    # Only the runner of the neighbours, which stays warm.
    assert len(set(psutil.Process().children(recursive=True)) - before) == 1


@pytest.mark.parametrize(
    "ending",
    ["return 'child'", "raise ValueError('child')", "sys.exit(3)", "os._exit(3)", "time.sleep(0.01); return 'child'"],
)
def test_forked_child_never_answers(chunk: ChunkMaker, ending: str) -> None:
    report = between_neighbours(
        chunk,
        "def f():\n"
        "    import os, sys, time\n"
        "    if os.fork() == 0:\n"
        f"        {ending}\n"
        "    os.wait()\n"
        "    return 'parent'\n",
    )
    assert value(report) == "parent"


def test_forked_child_that_outlives_its_parent_never_answers(chunk: ChunkMaker) -> None:
    report = between_neighbours(
        chunk,
        "def f():\n    import os, time\n    if os.fork() == 0:\n        time.sleep(0.02)\n    return os.getpid()\n",
    )
    assert isinstance(value(report), int)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()", "left threads running"),
        ("threading.Thread(target=time.sleep, args=(1000,)).start()", "left threads running"),
        ("threading.Timer(1000, print).start()", "left threads running"),
        ("ThreadPoolExecutor(2).submit(print)", ""),  # ends by itself once dropped
    ],
)
def test_threads_left_running_do_not_reach_the_next_task(chunk: ChunkMaker, statement: str, expected: str) -> None:
    report = between_neighbours(
        chunk,
        "def f():\n"
        "    import threading, time\n"
        "    from concurrent.futures import ThreadPoolExecutor\n"
        f"    {statement}\n",
    )
    assert value(report) is None
    assert expected in report.message
    assert bool(expected) == bool(report.message)


STATE = """
def f():
    import _signal, os, signal, sys
    return {
        "directory": os.listdir("."),
        "umask": os.umask(0o77) and os.umask(0o22) * 0,
        "variables": sorted(os.environ.items()),
        "handlers": [str(_signal.getsignal(number)) for number in range(1, 65)],
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "path": sys.path,
        "limit": sys.getrecursionlimit(),
        "cwd": os.getcwd(),
        "runner": os.getpid(),
    }
"""


@pytest.mark.parametrize(
    "statement",
    [
        "os.chdir('/')",
        "os.mkdir('sub'); os.chdir('sub')",
        "open('data', 'w').write('x'); os.makedirs('a/b/c'); os.symlink('/etc', 'link')",
        "shutil.rmtree(os.getcwd())",
        "os.environ['NEW'] = 'x'; os.environ['PATH'] = ''; del os.environ['HOME']",
        "os.environ.clear()",
        "os.environ = {}",
        "os.umask(0o777)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "signal.signal(signal.SIGUSR1, lambda *_: None)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGALRM])",
        "signal.alarm(1)",
        "signal.setitimer(signal.ITIMER_REAL, 0.2)",
        "sys.path.insert(0, '/nowhere'); sys.setrecursionlimit(50_000)",
        "sys.stdin.close(); os.close(0)",
    ],
)
def test_surroundings_are_restored(chunk: ChunkMaker, statement: str) -> None:
    chunk.add_source(STATE)
    chunk.add_source(f"def f():\n    import os, shutil, signal, sys\n    {statement}\n    return 'meddled'\n")
    chunk.add_source(STATE)
    chunk.add_source("def f():\n    import time\n    time.sleep(0.3)\n    return open('file', 'w').write('xyz')\n")
    first, meddled, second, written = (value(task) for task in chunk.run().tasks)
    assert meddled == "meddled"
    assert second == first
    assert first["directory"] == []
    assert written == 3


def test_the_same_runner_serves_until_something_is_left(chunk: ChunkMaker) -> None:
    for _ in range(5):
        chunk.add(runner_process)
    chunk.add_source("def f():\n    import subprocess\n    subprocess.Popen(['sleep', '1000'])\n")
    chunk.add(runner_process)
    tasks = chunk.run().tasks
    assert len({value(task) for task in tasks[:5]}) == 1
    assert value(tasks[6]) != value(tasks[0])
    chunk.tasks.clear()
    chunk.add(runner_process)
    assert value(chunk.run().tasks[0]) == value(tasks[6])


# Recalls, journal, files


def test_recalled_task_is_killed_and_its_neighbours_run(chunk: ChunkMaker) -> None:
    chunk.add(add_numbers, 1, 1)
    chunk.add_source(
        "def f(path):\n    import time\n    open(path, 'w').close()\n    time.sleep(1000)\n",
        str(chunk.run_directory / "recalled" / "2.1"),
    )
    chunk.add(add_numbers, 1, 3)
    tasks = chunk.run().tasks
    assert [task.state for task in tasks] == ["succeeded", "cancelled", "succeeded"]
    assert tasks[1].kind == "cancelled"
    assert tasks[1].started_at is not None


def test_tasks_recalled_before_they_start_are_skipped(chunk: ChunkMaker) -> None:
    (chunk.run_directory / "recalled" / "2.1").touch()
    chunk.add(add_numbers, 1, 1)
    chunk.add_source("def f():\n    raise SystemError('ran')\n")
    chunk.add(add_numbers, 1, 3)
    tasks = chunk.run().tasks
    assert [task.state for task in tasks] == ["succeeded", "cancelled", "succeeded"]
    assert tasks[1].started_at is None


def test_journal_tells_what_started(chunk: ChunkMaker) -> None:
    chunk.add(add_numbers, 1, 1)
    chunk.add_source("def f():\n    import os\n    os._exit(1)\n")
    chunk.add(add_numbers, 1, 1)
    tasks = chunk.run().tasks
    entries = read_journal(chunk.run_directory / "journal" / chunk.chunk_id)
    assert set(entries.started) == entries.ended == {AttemptKey(1, 1), AttemptKey(2, 1), AttemptKey(3, 1)}
    assert entries.running == {}
    assert abs(entries.started[AttemptKey(2, 1)] - (tasks[1].started_at or 0)) < 0.01


def test_journal_is_on_disk_while_a_task_runs(chunk: ChunkMaker) -> None:
    chunk.add(add_numbers, 1, 1)
    chunk.add_source(
        "def f(path):\n"
        "    import time\n"
        "    while b'started 2.1' not in (text := open(path, 'rb').read()):\n"
        "        time.sleep(0.001)\n"
        "    return text.decode()\n",
        str(chunk.run_directory / "journal" / chunk.chunk_id),
        timeout_s=120,
    )
    assert "ended 1.1\n" in value(chunk.run().tasks[1])


def test_large_results_go_to_files(chunk: ChunkMaker) -> None:
    chunk.add_source("def f():\n    return b'x' * 3_000_000\n")
    chunk.add_source("def f():\n    return b'x' * 900_000\n")
    large, small = chunk.run().tasks
    assert large.result == b""
    assert Path(large.result_file) == chunk.run_directory / "results" / "1.1"
    assert value(large) == b"x" * 3_000_000
    assert small.result_file == ""
    assert value(small) == b"x" * 900_000
    assert [path.name for path in (chunk.run_directory / "results").iterdir()] == ["1.1"]


def test_large_arguments_come_inline_and_as_files(chunk: ChunkMaker, tmp_path: Path) -> None:
    from faas.packing import pack_arguments

    chunk.add_source("def f(data):\n    return len(data)\n", b"x" * 5_000_000)
    identifier = chunk.tasks[0].function_id
    (tmp_path / "payload").write_bytes(pack_arguments((b"x" * 7_000_000,), {}).payload)
    chunk.add_packed(identifier, b"", payload_file=str(tmp_path / "payload"))
    assert [value(task) for task in chunk.run().tasks] == [5_000_000, 7_000_000]


def test_many_tasks_with_results_larger_than_the_pipes(chunk: ChunkMaker) -> None:
    identifier = chunk.register_code("f", "st", b"st\nf:def f(data, n):\n    return data * n\n")
    for number in range(40):
        chunk.add(identifier, bytes([number]) * 60_000, 10)
    assert [value(task) for task in chunk.run().tasks] == [bytes([number]) * 600_000 for number in range(40)]


# Code and runners


def test_code_that_is_not_what_its_id_says_is_not_run(chunk: ChunkMaker) -> None:
    chunk.add_source("def f():\n    return 'evil'\n")
    honest = chunk.tasks[0].function_id
    chunk.add_source("def f():\n    return 'good'\n")
    code = chunk.run_directory / "code"
    (code / chunk.tasks[1].function_id).write_bytes((code / honest).read_bytes())
    evil, swapped = chunk.run().tasks
    assert value(evil) == "evil"
    assert "is not that of function" in failure(swapped).message


def test_missing_code_directory_is_explained(chunk: ChunkMaker) -> None:
    chunk.add_source("def f():\n    return 1\n")
    for path in (chunk.run_directory / "code").iterdir():
        path.unlink()
    (chunk.run_directory / "code").rmdir()
    assert "shared" in failure(chunk.run().tasks[0]).message


@pytest.mark.parametrize(
    ("interpreter", "words"),
    [
        (["/nowhere/python"], ["/nowhere/python", "No such file"]),
        (["/bin/false"], ["/bin/false", "exit code 1"]),
        (["/bin/sh", "-c", "echo no module named site >&2; exit 7"], ["exit code 7", "no module named site"]),
        (["/bin/cat"], ["/bin/cat"]),
    ],
)
def test_interpreter_that_does_not_start_gives_every_task_back(
    chunk: ChunkMaker, interpreter: list[str], words: list[str]
) -> None:
    chunk.interpreter = interpreter
    chunk.add(add_numbers, 1, 1)
    chunk.add(add_numbers, 1, 2)
    report = chunk.run()
    for task in report.tasks:
        assert task.state == "released"
        assert task.message == report.broken
    assert all(word in report.broken for word in words), report.broken


def test_runners_differ_by_owner_and_environment(chunk: ChunkMaker) -> None:
    chunk.add(runner_process)
    first = value(chunk.run().tasks[0])
    chunk.variables = {"SITE": "here"}
    second = value(chunk.run().tasks[0])
    chunk.variables = {}
    chunk.owner = str(uuid.uuid4())
    chunk.tasks.clear()
    chunk.add(runner_process)
    third = value(chunk.run().tasks[0])
    assert len({first, second, third}) == 3


def test_environment_variables_reach_the_function_and_secrets_do_not(
    chunk: ChunkMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAAS_TOKEN", "secret")
    chunk.variables = {"SITE": "here"}
    chunk.add_source("def f():\n    import os\n    return os.environ['SITE'], os.environ.get('FAAS_TOKEN')\n")
    assert value(chunk.run().tasks[0]) == ("here", None)


def test_few_runners_stay_warm(chunk: ChunkMaker) -> None:
    pids = []
    for number in range(5):
        chunk.variables = {"SITE": str(number)}
        chunk.tasks.clear()
        chunk.add(runner_process)
        pids.append(value(chunk.run().tasks[0]))
    assert [pid for pid in pids if psutil.pid_exists(pid)] == pids[-3:]


def test_runner_found_dead_is_replaced_without_blame(chunk: ChunkMaker) -> None:
    chunk.add(runner_process)
    first = value(chunk.run().tasks[0])
    psutil.Process(first).kill()
    assert value(chunk.run().tasks[0]) != first


def test_report_says_where_and_in_what_it_ran(chunk: ChunkMaker) -> None:
    chunk.add(add_numbers, 1, 1)
    report = chunk.run()
    assert report.worker == f"{os.getpid()}@{report.host}"
    assert report.runner["python"] == report.python_version
    assert any(package.startswith("msgspec==") for package in report.runner["packages"].split())
    assert report.runner["platform"].startswith(os.uname().sysname)


def test_report_names_the_node_the_job_and_the_block(chunk: ChunkMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", "theta3")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("FAAS_BLOCK", "ab12-3")
    chunk.add(add_numbers, 1, 1)
    report = chunk.run()
    assert (report.node, report.job_id, report.block_id) == ("theta3", "4711", "ab12-3")
    written = read_journal(chunk.run_directory / "journal" / chunk.chunk_id).worker
    assert (written.node, written.job_id, written.block_id) == ("theta3", "4711", "ab12-3")
    assert written.worker == report.worker


def test_peak_memory_is_each_tasks_own(chunk: ChunkMaker) -> None:
    source = (
        "def f(megabytes):\n    import time\n    taken = bytearray(megabytes << 20)\n"
        "    for i in range(0, len(taken), 4096):\n        taken[i] = 1\n    time.sleep(0.1)\n"
    )
    for megabytes in (300, 10, 200):
        chunk.add_source(source, megabytes)
    chunk.add(add_numbers, 1, 1)
    first, second, third, short = (task.peak_memory_bytes for task in chunk.run().tasks)
    assert first is not None and second is not None and third is not None
    assert 300 << 20 < first < 400 << 20
    assert second < 100 << 20
    assert 200 << 20 < third < 300 << 20
    assert short is None


@pytest.mark.parametrize(
    ("ending", "timeout_s"), [("os.kill(os.getpid(), 9)", None), ("os._exit(1)", None), ("time.sleep(60)", 5.0)]
)
def test_peak_memory_of_a_task_that_was_killed(chunk: ChunkMaker, ending: str, timeout_s: float | None) -> None:
    # A dead process's own peak shows only above that of the process it came from: of this one, which runs many tests.
    taken = (300 << 20) + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report = between_neighbours(
        chunk,
        f"def f():\n    import os, time\n    taken = bytearray({taken})\n"
        f"    for i in range(0, len(taken), 4096):\n        taken[i] = 1\n    {ending}\n",
        timeout_s,
    )
    assert report.peak_memory_bytes is not None
    assert taken < report.peak_memory_bytes < taken + (200 << 20)


def test_hundreds_of_tasks_in_one_chunk(chunk: ChunkMaker) -> None:
    identifier = chunk.register(add_numbers)
    for number in range(700):
        chunk.add(identifier, number, 1)
    assert [value(task) for task in chunk.run().tasks] == list(range(1, 701))
