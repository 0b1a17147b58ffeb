"""The worker's side of one runner: starts it, sends and reads frames, keeps the tail of its output, ends it."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import msgspec

from endpoints import processes, runner
from endpoints.interpreter import Interpreter, Lent
from endpoints.output_tail import OpenFile, OutputTail

START_TIMEOUT_S = 120.0
_READ_BYTES = 256 * 1024
_BELL_ONLY_S = 0.005
"""How long only the bell and the runner's end are waited for. After that also every answer wakes
the worker, and every output, because a full pipe blocks the function."""
_WITHOUT_PIDFD_S = 0.25
_SECRETS = ("FAAS_TOKEN", "FAAS_CREDENTIALS")
"""Of the agent's environment; functions have no business with them."""


class RunnerUnavailable(Exception):
    """A runner could not be started; the message names the interpreter and what it said."""


class RunnerEnded(Exception):
    """The runner's process has ended; every frame it sent has been delivered before."""


class Answer(msgspec.Struct):
    """The header of a frame from a runner."""

    what: str = msgspec.field(name="is")
    task: int = -1
    at_ns: int = 0
    run_ns: int = 0
    unfit: str = ""
    """Why the runner should not be used again."""
    file: str = ""
    kind: str = ""
    message: str = ""
    exception_type: str = msgspec.field(name="type", default="")
    traceback: str = ""
    peak_bytes: int | None = None
    """The most memory the task had, where it took long enough to be measured."""
    objects: tuple[str, ...] = ()
    """Ids of the objects that the result refers to."""


@dataclass(frozen=True)
class RunnerKey:
    """What two tasks must agree in to share a runner."""

    owner_id: str
    interpreter: Interpreter
    modules_directory: str


class RunnerProcess:
    """A runner and the pipes to it.

    Args:
        key: whose tasks it runs, in which interpreter, with which variables and modules.
        scratch: an empty directory that is the functions' working directory.
        lent: what the interpreter may lack.
        list_packages: whether it is to say what is installed there.

    Raises:
        RunnerUnavailable: it could not be started.
    """

    def __init__(self, key: RunnerKey, scratch: Path, lent: Lent, *, list_packages: bool) -> None:
        self.key = key
        self.functions: set[str] = set()
        """Ids of the functions it has been sent."""
        self._results_directory: Path | None = None
        self.facts: dict[str, str] = {}
        """What it said of itself."""
        self.peak_bytes: int | None = None
        """The most memory it had since it was last measured, once it has ended."""
        self._scratch = scratch
        self._runner_file = lent.runner
        self._mark = uuid.uuid4().hex
        self._unsent = b""
        self._received = b""
        self._busy_since_s = processes.boot_clock_s()
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        self._bell, bell = os.pipe()
        environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        environment.update(key.interpreter.variables)
        environment[processes.RUNNER_VARIABLE] = self._mark
        environment["GC_TASK_SANDBOX_DIR"] = str(scratch)  # Where a Globus Compute ShellFunction runs its command.
        packages = str(lent.packages) if key.interpreter.foreign else ""
        arguments = [str(lent.runner), str(commands), str(answers), str(bell), packages, "list" * list_packages]
        try:
            self._process = subprocess.Popen(
                key.interpreter.command_line(arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(commands, answers, bell),
                start_new_session=True,
                env=environment,
                bufsize=0,
            )
        except OSError as error:
            for descriptor in (self._commands, self._answers, self._bell):
                os.close(descriptor)
            shutil.rmtree(scratch, ignore_errors=True)
            raise RunnerUnavailable(key.interpreter.explain(f"could not be started: {error}")) from error
        finally:
            for descriptor in (commands, answers, bell):
                os.close(descriptor)
        _live.add(self._process.pid)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        marker = f"\0faas {uuid.uuid4().hex} end of task\0"
        self._outputs = (
            OutputTail(self._process.stdout, marker.encode()),
            OutputTail(self._process.stderr, marker.encode()),
        )
        os.set_blocking(self._commands, False)
        os.set_blocking(self._answers, False)
        os.set_blocking(self._bell, False)
        self._process_descriptor = processes.open_end_descriptor(self._process.pid)
        self._quick, self._full = select.poll(), select.poll()
        for poll in (self._quick, self._full):
            poll.register(self._bell, select.POLLIN)
            if self._process_descriptor is not None:
                poll.register(self._process_descriptor, select.POLLIN)
        for descriptor in (self._answers, *(output.descriptor for output in self._outputs)):
            self._full.register(descriptor, select.POLLIN)
        self._answers_open = True
        self._await_hello()
        for output in self._outputs:
            output.take_unfinished()  # what set-up lines said is no task's
        self.send({"is": "setup", "scratch": str(scratch), "marker": marker, "path": self._path()})

    def _path(self) -> list[str]:
        return [self.key.modules_directory] if self.key.modules_directory else []

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process.poll() is None

    def reuse(
        self, results_directory: Path, large_result_bytes: int, open_output: OpenFile, open_errors: OpenFile
    ) -> None:
        """Get ready for another chunk.

        Args:
            results_directory: where large results go from now on.
            large_result_bytes: those over this size.
            open_output: gives the file for what a task prints.
            open_errors: gives the file for what it writes to stderr.
        """
        self._outputs[0].keep(open_output)
        self._outputs[1].keep(open_errors)
        self._busy_since_s = processes.boot_clock_s()
        if self._results_directory != results_directory:
            self._results_directory = results_directory
            self.send({"is": "results", "directory": str(results_directory), "over_bytes": large_result_bytes})

    def _await_hello(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        status: int | None = None
        reason = f"was not ready within {START_TIMEOUT_S:.0f} s"
        try:
            while time.monotonic() < deadline:
                for _, header in self._frames_raw(deadline - time.monotonic()):
                    self.facts = msgspec.json.decode(header, type=dict[str, str])
                    self.facts.pop("is", None)
                    return
        except RunnerEnded:
            status = self._process.wait()
        except (msgspec.MsgspecError, ValueError):
            reason = "did not answer like a Python interpreter"
        self.kill()
        said = self._outputs[1].take_unfinished()
        for output in self._outputs:
            output.close()
        interpreter = self.key.interpreter
        explained = interpreter.explain(reason, said) if status is None else interpreter.explain_start(status, said)
        raise RunnerUnavailable(explained)

    def send(self, header: dict[str, object], *bodies: bytes) -> None:
        """Queue a frame; `flush` or `receive` sends it."""
        encoded = msgspec.json.encode(header)
        self._unsent += runner.PREFIX.pack(len(encoded), sum(map(len, bodies))) + encoded + b"".join(bodies)

    def flush(self) -> None:
        """Send what the pipe takes."""
        while self._unsent:
            try:
                sent = os.write(self._commands, self._unsent)
            except BlockingIOError:
                return
            except OSError:
                self._unsent = b""  # It ended, or closed the pipe; `receive` will tell.
                return
            self._unsent = self._unsent[sent:]

    def receive(self, timeout_s: float) -> list[tuple[Answer, bytes]]:
        """The frames that have come, waiting for at least one.

        Args:
            timeout_s: how long to wait; the list is empty after that.

        Returns:
            Headers with bodies, in order.

        Raises:
            RunnerEnded: the process has ended and nothing it sent is left to deliver.
            ValueError: what came is no frame.
        """
        return [(_ANSWERS.decode(header), body) for body, header in self._frames_raw(timeout_s)]

    def _frames_raw(self, timeout_s: float) -> list[tuple[bytes, bytes]]:
        self.flush()
        deadline = time.monotonic() + timeout_s
        quick = not self._unsent
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            if quick:
                events = self._quick.poll(min(left_s, _BELL_ONLY_S) * 1000)
            else:
                if self._process_descriptor is None:
                    left_s = min(left_s, _WITHOUT_PIDFD_S)
                if self._unsent:
                    self._full.register(self._commands, select.POLLOUT)
                events = self._full.poll(left_s * 1000)
                if self._unsent:
                    self._full.unregister(self._commands)
                    self.flush()
                for output in self._outputs:
                    output.drain()
                    if not output.open:
                        self._forget(output.descriptor)
            ended = self._process_descriptor is None and not events and not self.alive
            for descriptor, _ in events:
                if descriptor == self._bell:
                    self._hear_bell()
                elif descriptor == self._process_descriptor:
                    ended = True
            frames = self._read_frames(ended) if events or ended else []
            if frames:
                return frames
            if ended:
                raise RunnerEnded
            if not quick and time.monotonic() >= deadline:
                return []
            quick = False

    def _hear_bell(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if not os.read(self._bell, 4096):
                self._forget(self._bell)

    def _forget(self, descriptor: int) -> None:
        for poll in (self._quick, self._full):
            try:
                poll.unregister(descriptor)
            except KeyError:
                continue

    def _read_frames(self, everything: bool) -> list[tuple[bytes, bytes]]:
        while self._answers_open:
            try:
                data = os.read(self._answers, _READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                # Ended, or the function closed the pipe and goes on: then only its end will tell.
                self._answers_open = False
                self._forget(self._answers)
                break
            self._received += data
            if not everything:
                break
        frames = []
        received, position = self._received, 0
        while len(received) >= position + runner.PREFIX.size:
            header_bytes, body_bytes = runner.PREFIX.unpack_from(received, position)
            if header_bytes + body_bytes > 1 << 30:
                raise ValueError("not a frame")
            middle = position + runner.PREFIX.size + header_bytes
            if len(received) < middle + body_bytes:
                break
            frames.append((received[middle : middle + body_bytes], received[middle - header_bytes : middle]))
            position = middle + body_bytes
        self._received = received[position:]
        return frames

    def where(self) -> str:
        """Ask a runner that runs too long where it is, waiting at most a second for each part of the answer.

        Returns:
            Something like a traceback of the function; empty when it cannot be had.
        """
        if not runner.WHERE_SIGNAL or self.facts.get("pid") != str(self._process.pid) or not self.alive:
            return ""
        os.kill(self._process.pid, runner.WHERE_SIGNAL)
        stack = b""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        while not stack.endswith(b"in <module>\n") and poll.poll(1000):
            with contextlib.suppress(BlockingIOError):
                if not (part := os.read(self._bell, 65536)):
                    break
                stack += part
        frames = [line for line in stack.decode(errors="replace").splitlines() if line.startswith("  File ")]
        frames = [line for line in frames if f'"{self._runner_file}"' not in line]
        return "\n".join(["Where it was (most recent call last):", *reversed(frames), ""]) if frames else ""

    def take_output(self) -> tuple[str, str]:
        """Tails of stdout and stderr of the next task that ended."""
        return self._outputs[0].take(), self._outputs[1].take()

    def take_last_output(self) -> tuple[str, str]:
        """Tails of stdout and stderr of the task that was running when the process ended."""
        return self._outputs[0].take_unfinished(), self._outputs[1].take_unfinished()

    def exit_status(self) -> int:
        """Exit code, or minus the signal, of the ended process (of the runner behind a wrapping shell, too)."""
        status = self._await_end()
        wrapped = self.facts.get("pid") != str(self._process.pid)
        return 128 - status if wrapped and 128 < status < 192 else status

    def _await_end(self) -> int:
        """Wait for the process, and learn how much memory it had: the system tells that once."""
        if self._process.returncode is None:
            try:
                _, status, usage = os.wait4(self._process.pid, 0)
            except ChildProcessError:
                return self._process.wait()
            self._process.returncode = os.waitstatus_to_exitcode(status)
            # At first a process has its parent's memory, and that counts as its own: less than that tells nothing.
            own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if self.peak_bytes is None and usage.ru_maxrss > own:
                self.peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return self._process.returncode

    def kill(self) -> int:
        """Kill it with everything it started, at once; its output can still be taken.

        Returns:
            How many processes it left behind.
        """
        if self._answers < 0:
            return 0
        if self._process.returncode is None:
            self.peak_bytes = processes.peak_memory_bytes(self._process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._await_end()
        _live.discard(self._process.pid)
        left = processes.kill_orphans(self._mark, self._process.pid, self._busy_since_s, _live)
        self._close()
        return left

    def end(self, timeout_s: float = 2.0) -> None:
        """Let it end by itself, so that libraries clean up; kill it if it does not."""
        os.close(self._commands)
        self._commands = -1
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        self.kill()
        for output in self._outputs:
            output.close()

    def _close(self) -> None:
        if self._commands >= 0:
            os.close(self._commands)
            self._commands = -1
        if self._answers >= 0:
            os.close(self._answers)
            os.close(self._bell)
            self._answers = -1
            if self._process_descriptor is not None:
                os.close(self._process_descriptor)
            shutil.rmtree(self._scratch, ignore_errors=True)


_ANSWERS = msgspec.json.Decoder(Answer)
_live: set[int] = set()
"""The process ids of this process's runners."""
