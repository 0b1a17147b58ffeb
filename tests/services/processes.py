"""Programs run for tests: started with a log, awaited until they answer, stopped by pid with all they started.

A program is also told to end by the kernel when the test run dies without a word, where ``setpriv`` (util-linux) is.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from endpoints.processes import await_ends


class ServiceFailed(Exception):
    """A service did not start; the message ends with its log."""


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A program in a session of its own, stopped with all it started; at exit too, should nobody stop it.

    Args:
        command: program and arguments.
        log: file for its output.
        environment: variables besides those of this process.
        stop_signal: asks it to end.
        user: whom to run it as, if this process is root's.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: str = "",
    ) -> None:
        self.log = log
        self._stop_signal = stop_signal
        self._name = Path(command[0]).name
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                as_user(command, user, end_with_parent=stop_signal),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.pid = self._process.pid
        atexit.register(self.stop)

    def has_ended(self) -> bool:
        """Tell whether the program has ended by itself, or was stopped."""
        return self._process.poll() is not None

    def wait(self) -> int:
        """Wait for the program to end; returns its exit code."""
        return self._process.wait()

    def wait_until(self, ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Wait until ``ready`` is true.

        Raises:
            ServiceFailed: the program ended before that, or it took too long.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self.has_ended():
                raise ServiceFailed(f"{self._name} ended with {self._process.returncode}:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{self._name} did not answer within {timeout_s:.0f} s:\n{self._tail()}")
            time.sleep(0.02)

    def stop(self, timeout_s: float = 10.0) -> None:
        """End it, kindly and then not, with all it started; a second call does nothing."""
        atexit.unregister(self.stop)
        if self._process.returncode is not None:
            return
        started = self._started()
        self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            _kill(started)

    def kill(self) -> None:
        """End it as a crash of the machine would, with all it started."""
        started = self._started()
        self._process.kill()
        self._process.wait()
        _kill(started)
        atexit.unregister(self.stop)

    def _started(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


def _kill(processes: list[psutil.Process]) -> None:
    # psutil compares start times, so a pid in use again is left alone.
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    still_running(processes, timeout_s=10.0)


def still_running(processes: Iterable[psutil.Process], timeout_s: float = 60.0) -> list[psutil.Process]:
    """Wait for processes to end, and return those that have not.

    One that waits for its exit code to be fetched has ended: where nobody fetches those of orphans, that is for ever.

    Args:
        processes: of anybody.
        timeout_s: how long to wait for all of them together.
    """
    waited = list(processes)
    await_ends([process.pid for process in waited if runs(process)], timeout_s)
    return [process for process in waited if runs(process)]


def runs(process: psutil.Process | int) -> bool:
    """Tell whether a process, or one with this id, runs; one that has ended and is not reaped does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        found = psutil.Process(process) if isinstance(process, int) else process
        return found.is_running() and bool(found.status() != psutil.STATUS_ZOMBIE)
    return False


def as_user(
    command: Sequence[str | Path], user: str = "", *, end_with_parent: signal.Signals | None = None
) -> list[str]:
    """Return a command line that runs a command as another user, if this process is root's.

    Args:
        command: program and arguments.
        user: the user; empty for this one.
        end_with_parent: the signal the program gets when this process dies.
    """
    before: list[str] = []
    if user and os.geteuid() == 0:
        before += ["--reuid", user, "--regid", user, "--init-groups"]
    if end_with_parent is not None and shutil.which("setpriv"):
        before += ["--pdeathsig", end_with_parent.name.removeprefix("SIG")]
    return [*(["setpriv", *before] if before else []), *map(str, command)]


def listens(port: int) -> bool:
    """Tell whether something accepts connections on 127.0.0.1:port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
