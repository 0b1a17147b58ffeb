"""Files with all that tasks print: who gets one, what it holds, how long it stays."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from endpoints.journal import read_journal
from endpoints.output_file import find, find_unnamed, place, remove_old, tail
from endpoints.processes import find_processes
from endpoints.worker import stop_runners
from faas.models import AttemptKey
from tests.unit.endpoints.chunks import ChunkMaker, failure, value


@pytest.fixture
def chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChunkMaker]:
    nonce = uuid.uuid4().hex
    monkeypatch.setenv("FAAS_NONCE", nonce)
    yield ChunkMaker(tmp_path)
    stop_runners()
    assert find_processes(nonce) == []


def text(chunk: ChunkMaker, index: int, stream: str = "out") -> str | None:
    """What the file of a task holds; None if there is none."""
    task = chunk.tasks[index]
    path = find(chunk.output, task.attempt, task.task_id, stream)  # type: ignore[arg-type]
    return None if path is None else path.read_text()


def test_who_prints_nothing_has_no_file(chunk: ChunkMaker) -> None:
    for _ in range(50):
        chunk.add_source("def f():\n    return 1\n")
    chunk.run()
    assert not chunk.output.exists()


def test_each_task_has_its_own_with_all_of_it(chunk: ChunkMaker) -> None:
    for number in range(20):
        chunk.add_source(
            "def f(n):\n    import sys\n    for i in range(2000):\n        print(n, i)\n"
            "    if n % 2:\n        sys.stderr.write(f'{n} \\0 odd')\n",
            number,
        )
    report = chunk.run()
    for number in range(20):
        assert text(chunk, number) == "".join(f"{number} {i}\n" for i in range(2000))
        assert text(chunk, number, "err") == (f"{number} \0 odd" if number % 2 else None)
        assert text(chunk, number) != report.tasks[number].stdout
        assert (text(chunk, number) or "").endswith(report.tasks[number].stdout)


def test_no_more_is_kept_than_allowed_and_the_file_says_so(chunk: ChunkMaker) -> None:
    chunk.output_bytes = 10_000
    chunk.add_source("def f():\n    for i in range(100):\n        print('x' * 999)\n    print('the end')\n")
    (task,) = chunk.run().tasks
    kept = text(chunk, 0) or ""
    assert kept.startswith(("x" * 999 + "\n") * 10)
    assert len(kept) < 10_200
    assert "output.task_bytes" in kept
    assert task.stdout.endswith("the end\n")


def test_files_can_be_turned_off(chunk: ChunkMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChunkMaker, "output", "")
    chunk.add_source("def f():\n    print('x')\n")
    (task,) = chunk.run().tasks
    assert task.stdout == "x\n"
    assert not (chunk.run_directory / "output").exists()


def test_a_disk_that_takes_nothing_does_not_harm_the_task(chunk: ChunkMaker) -> None:
    chunk.output.write_text("a file where the directory should be")
    chunk.add_source("def f():\n    print('x')\n    return 5\n")
    (task,) = chunk.run().tasks
    assert value(task) == 5
    assert task.stdout == "x\n"


def test_a_task_that_kills_its_process_keeps_what_it_printed(chunk: ChunkMaker) -> None:
    chunk.add_source(
        "def f():\n    import os\n    for i in range(5000):\n        print(i)\n    os.kill(os.getpid(), 9)\n"
    )
    assert failure(chunk.run().tasks[0]).kind == "crash"
    assert text(chunk, 0) == "".join(f"{i}\n" for i in range(5000))


_WORKER = """
import sys
from endpoints.worker import run_chunk
from pathlib import Path
run_chunk(Path(sys.argv[1]).read_bytes())
"""


def test_it_survives_the_worker_that_wrote_it(chunk: ChunkMaker, tmp_path: Path) -> None:
    """As when a node runs out of memory, or a block out of time."""
    chunk.add_source("def f():\n    import time\n    print('begun')\n    time.sleep(600)\n")
    (tmp_path / "chunk").write_bytes(chunk.encode())
    worker = subprocess.Popen([sys.executable, "-c", _WORKER, str(tmp_path / "chunk")], cwd=Path.cwd())
    deadline = time.monotonic() + 60
    while text(chunk, 0) != "begun\n" and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    (runner,) = read_journal(chunk.run_directory / "journal" / chunk.chunk_id).runners.values()
    with contextlib.suppress(ChildProcessError):  # ours now, if a worker in this process has made it adopt orphans
        os.waitpid(runner, 0)
    assert text(chunk, 0) == "begun\n"
    assert tail(find_unnamed(chunk.output, AttemptKey(1, 1), "out"), 4) == "gun\n"


def test_a_task_id_names_no_other_file(tmp_path: Path) -> None:
    assert place(tmp_path, AttemptKey(7, 2), "../../../etc/passwd", 0) == tmp_path / "1970-01-01" / "7.2.task"
    assert place(tmp_path, AttemptKey(7, 2), "ab-c", 0).name == "7.2.ab-c"


def test_old_days_go_and_nothing_else(tmp_path: Path) -> None:
    for name in ("2026-01-01", "2026-01-05", "2026-01-09", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.1.task.out").touch()
    assert remove_old(tmp_path, 4, today=datetime.date(2026, 1, 9)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2026-01-05", "2026-01-09", "notes"]
    assert remove_old(tmp_path / "absent", 4) == 0
