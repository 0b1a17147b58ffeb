"""Child processes that are kept running, against real ones."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from faas.commands.supervision import SupervisedProcess
from tests.services.processes import still_running

WAITS = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
FAILS = "import sys; sys.exit('faas: the moon is in the way')"


class Lines(list[str]):
    """What was announced, with a way to wait for more."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.append(line)
        self.changed.set()

    async def have(self, text: str) -> None:
        while not any(text in line for line in self):
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 60)


def child(tmp_path: Path, code: str, lines: Lines) -> SupervisedProcess:
    return SupervisedProcess("child", [sys.executable, "-c", code], os.environ, tmp_path / "log", lines)


async def wrote(path: Path, text: str) -> None:
    """Wait for a child to have written to its log; the test's own time-out is the limit."""
    while not path.exists() or text not in path.read_text():
        await asyncio.sleep(0.01)


async def at_once() -> None: ...


def run(scenario: Callable[[Lines], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Lines())

    asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_dies_is_started_again(tmp_path: Path, number: signal.Signals) -> None:
    async def scenario(lines: Lines) -> None:
        process = child(tmp_path, WAITS, lines)
        await process.start()
        first = process.pid
        keeping = asyncio.ensure_future(process.keep_running(at_once))
        os.kill(first, number)
        await lines.have("runs again")
        assert process.pid != first
        assert psutil.pid_exists(process.pid)
        assert lines == [
            f"child (pid {first}) was killed by {number.name}; starting it again in 0.25 s",
            f"child runs again (pid {process.pid})",
        ]
        keeping.cancel()
        await process.stop(60, asyncio.Event())
        assert not psutil.pid_exists(process.pid)

    run(scenario)


def test_the_last_line_of_a_child_that_fails_is_told_and_pauses_grow(tmp_path: Path) -> None:
    async def scenario(lines: Lines) -> None:
        process = child(tmp_path, FAILS, lines)
        await process.start()
        keeping = asyncio.ensure_future(process.keep_running(at_once))
        await lines.have("in 0.5 s")
        keeping.cancel()
        await process.ended()
        assert "ended with exit code 1: the moon is in the way; starting it again in 0.25 s" in lines[0]

    run(scenario)


def test_stop_lets_a_child_end_by_itself(tmp_path: Path) -> None:
    async def scenario(lines: Lines) -> None:
        process = child(tmp_path, WAITS, lines)
        await process.start()
        await wrote(tmp_path / "log", "up")
        await process.stop(60, asyncio.Event())
        assert process.code == -signal.SIGTERM
        assert lines == []
        await process.stop(60, asyncio.Event())  # has no more to do

    run(scenario)


def test_stop_kills_what_does_not_end(tmp_path: Path) -> None:
    async def scenario(lines: Lines) -> None:
        process = child(tmp_path, STUBBORN, lines)
        await process.start()
        await wrote(tmp_path / "log", "up")
        await process.stop(0, asyncio.Event())
        assert process.code == -signal.SIGKILL
        assert lines == [f"child (pid {process.pid}) does not stop; killing it"]

    run(scenario)


def test_a_person_in_a_hurry_need_not_wait(tmp_path: Path) -> None:
    async def scenario(lines: Lines) -> None:
        process = child(tmp_path, STUBBORN, lines)
        await process.start()
        await wrote(tmp_path / "log", "up")
        hurry = asyncio.Event()
        stopping = asyncio.ensure_future(process.stop(3600, hurry))
        hurry.set()
        await stopping
        assert process.code == -signal.SIGKILL

    run(scenario)


def test_a_large_log_is_moved_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faas.commands.supervision._LOG_KEPT_BYTES", 10)
    (tmp_path / "log").write_text("a line of long ago\n")

    async def scenario(lines: Lines) -> None:
        process = child(tmp_path, FAILS, lines)
        await process.start()
        await process.ended()
        assert process.last_words() == "the moon is in the way"

    run(scenario)
    assert (tmp_path / "log.old").read_text() == "a line of long ago\n"


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_children_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    supervisor = f"""
import asyncio, os, sys
at_once = lambda: asyncio.sleep(0)
from pathlib import Path
from faas.commands.supervision import SupervisedProcess
from tests.services.processes import still_running

async def main():
    log = Path({str(tmp_path / "log")!r})
    child = SupervisedProcess("child", [sys.executable, "-c", {WAITS!r}], os.environ, log, print)
    await child.start()
    print(child.pid, flush=True)
    await child.keep_running(at_once)

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", supervisor], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        grandchild = psutil.Process(int(process.stdout.readline()))
        process.kill()
    assert still_running([grandchild]) == []


def test_a_child_that_ends_before_it_is_ready_is_not_said_to_run(tmp_path: Path) -> None:
    async def scenario(lines: Lines) -> None:
        process = child(tmp_path, FAILS, lines)
        await process.start()
        keeping = asyncio.ensure_future(process.keep_running(asyncio.Event().wait))
        await lines.have("in 0.5 s")
        keeping.cancel()
        await process.ended()
        assert not any("runs again" in line for line in lines)

    run(scenario)
