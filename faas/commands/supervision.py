"""Keeps a child process running: starts it, notices its end, starts it again, stops it for good."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 30.0
_PROVEN_AFTER_S = 30.0
"""A process that lived so long starts with the first pause again."""
_LOG_KEPT_BYTES = 10_000_000
_LAST_WORDS_BYTES = 4096


class SupervisedProcess:
    """A child process that is kept running until it is stopped.

    It leads a session of its own, so that a Ctrl-C at the terminal reaches the supervisor alone, and gets SIGTERM when
    the supervisor dies, however that happens.

    Args:
        name: for messages, ``service``.
        command: program and arguments.
        environment: all of its environment.
        log: takes its standard output and standard error; moved to ``.old`` at 10 MB.
        announce: called with one line for each end and each new start.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        announce: Callable[[str], None],
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self.log = log
        self._log_start = 0
        self._announce = announce
        self._process: asyncio.subprocess.Process | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int:
        """Of the process that runs, or ran last; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def code(self) -> int | None:
        """The exit code of the process that ran last, or minus the signal; None while it runs."""
        return self._process.returncode if self._process else None

    async def start(self) -> None:
        """Start the process.

        Raises:
            OSError: it cannot be started, or its log cannot be written.
        """
        if self.log.exists() and self.log.stat().st_size > _LOG_KEPT_BYTES:
            self.log.replace(self.log.with_suffix(".old"))
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._log_start = os.fstat(log).st_size
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=dict(self._environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )
        finally:
            os.close(log)
        self._started_at = time.monotonic()

    async def keep_running(self, ready: Callable[[], Awaitable[object]]) -> None:
        """Start the process again whenever it ends; runs until it is cancelled.

        Args:
            ready: waits until the process, just started, does its work.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            ending = await self.ended()
            if time.monotonic() - self._started_at > _PROVEN_AFTER_S:
                pause_s = _FIRST_PAUSE_S
            self._announce(f"{ending}; starting it again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            try:
                await self.start()
            except OSError as error:  # out of processes, or the disk is full: may pass
                self._announce(f"{self.name} cannot be started: {error}")
            else:
                await self._announce_when(ready())

    async def _announce_when(self, ready: Awaitable[object]) -> None:
        """Say that the process is back, unless it ends before."""
        back, ended = asyncio.ensure_future(ready), asyncio.ensure_future(self.ended())
        try:
            await asyncio.wait([back, ended], return_when=asyncio.FIRST_COMPLETED)
            if back.done() and not back.exception():  # whatever went wrong will show in how it ends
                self._announce(f"{self.name} runs again (pid {self.pid})")
        finally:
            back.cancel()
            ended.cancel()

    async def ended(self) -> str:
        """Wait for the end of the process, and say what it was."""
        if self._process is None:
            return f"{self.name} is not running"
        code = await self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        words = self.last_words().rstrip(".") if code > 0 else ""
        return f"{self.name} (pid {self.pid}) {how}{f': {words}' if words else ''}"

    def last_words(self) -> str:
        """The last line that the present process wrote to its log."""
        try:
            with self.log.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, end - _LAST_WORDS_BYTES))
                lines = file.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return next((line.strip().removeprefix("faas: ") for line in reversed(lines) if line.strip()), "")

    async def stop(self, patience_s: float, hurry: asyncio.Event) -> None:
        """Stop the process with SIGTERM, and with SIGKILL what is left of its session's group.

        Args:
            patience_s: between the two.
            hurry: set when a person does not want to wait any longer.
        """
        if self._process is None:
            return
        if self._process.returncode is None:
            self._signal(signal.SIGTERM)
            waits = [asyncio.ensure_future(self._process.wait()), asyncio.ensure_future(hurry.wait())]
            await asyncio.wait(waits, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        if self._process.returncode is None:
            self._announce(f"{self.name} (pid {self.pid}) does not stop; killing it")
            self._signal(signal.SIGKILL, group=True)
            await self._process.wait()

    def _signal(self, number: signal.Signals, *, group: bool = False) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
            (os.killpg if group else os.kill)(self.pid, number)


def watch_children_without_threads() -> None:
    """Let asyncio wait for children by file descriptors, where the kernel has them, as Python 3.12 does by itself.

    When a process is killed, each of its threads hands its children on to another one, and every time the children get
    the signal they asked for: one thread, one SIGTERM.
    """
    if sys.version_info < (3, 12) and sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.close(os.pidfd_open(os.getpid()))
            asyncio.set_child_watcher(asyncio.PidfdChildWatcher())


def _die_with_parent() -> Callable[[], None] | None:
    """What a child runs before its program: ask the kernel (Linux only) for SIGTERM when its parent dies."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return in_child
