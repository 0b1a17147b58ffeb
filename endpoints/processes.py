"""Finds and stops processes: an agent's leftovers by the nonce they carry, a runner's by their descent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

NONCE_VARIABLE = "FAAS_NONCE"
"""Every process of an agent has this in its environment; engine, workers and runners inherit it."""
RUNNER_VARIABLE = "FAAS_RUNNER"
"""Names the runner a process descends from."""
_PR_SET_CHILD_SUBREAPER = 36


def find_processes(nonce: str) -> list[psutil.Process]:
    """Every process started with this nonce, except this one and those it descends from.

    Args:
        nonce: the value of ``FAAS_NONCE``.

    Returns:
        The processes, in no order. Those of other accounts cannot be read and are not found.
    """
    return _find(NONCE_VARIABLE, nonce)


def stop_processes(nonce: str, grace_s: float = 3.0) -> int:
    """Stop every process with this nonce: SIGTERM, then SIGKILL after a grace, until none is left.

    Args:
        nonce: the value of ``FAAS_NONCE``.
        grace_s: how long they may take to end by themselves.

    Returns:
        How many processes were found in all.
    """
    seen: set[int] = set()
    deadline = time.monotonic() + grace_s + 5.0
    gentle = True
    while True:
        found = find_processes(nonce)
        if not found or time.monotonic() > deadline:
            return len(seen)
        seen.update(process.pid for process in found)
        for process in found:
            try:
                if gentle:
                    process.terminate()
                else:
                    process.kill()
            except psutil.NoSuchProcess:
                continue
        await_ends([process.pid for process in found], grace_s if gentle else 1.0)
        gentle = False


def open_end_descriptor(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the system has no such thing."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def await_ends(pids: Iterable[int], timeout_s: float) -> None:
    """Wait for processes to end, leaving their exit codes to whoever started them.

    Args:
        pids: their ids.
        timeout_s: how long to wait for all of them together.
    """
    deadline = time.monotonic() + timeout_s
    for pid in pids:
        descriptor = open_end_descriptor(pid)
        if descriptor is not None:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            os.close(descriptor)
            continue
        while psutil.pid_exists(pid) and time.monotonic() < deadline:
            with contextlib.suppress(psutil.NoSuchProcess):
                if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                    break
            time.sleep(0.02)


def adopt_orphans() -> bool:
    """Make this process the parent of its descendants' orphans, so that none escapes (Linux).

    Returns:
        Whether the system can do that.
    """
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def child_processes() -> set[int]:
    """The ids of this process's own children."""
    try:
        return {
            int(word) for listing in Path("/proc/self/task").glob("*/children") for word in listing.read_text().split()
        }
    except OSError:
        return {child.pid for child in psutil.Process().children()}


def peak_memory_bytes(pid: int) -> int | None:
    """The most memory a process had resident, while it lives; None where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split(None, 1)[0]) * 1024
    except (OSError, ValueError, IndexError):
        return None


def boot_clock_s() -> float:
    """Seconds since this machine was started, the clock of `kill_orphans`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else 0.0


def kill_orphans(runner: str, group: int, since_s: float, spare: Iterable[int], timeout_s: float = 5.0) -> int:
    """Kill what a dead runner left: its process group, orphans that came to us, and whatever carries its mark.

    Args:
        runner: the runner's mark, the value of ``FAAS_RUNNER``.
        group: its process group.
        since_s: `boot_clock_s` when it got the work it did last; an orphan without a mark is its if it is younger.
        spare: children of this process that are none of that runner's.
        timeout_s: how long killed processes may take to go.

    Returns:
        How many processes were left.
    """
    spared = set(spare)
    killed: set[int] = set()
    deadline = time.monotonic() + timeout_s
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    while time.monotonic() < deadline:
        orphans = [pid for pid in child_processes() - spared if _descends(pid, runner, group, since_s)]
        if sys.platform != "linux":
            orphans += [process.pid for process in _find(RUNNER_VARIABLE, runner)]
        if not orphans:
            break
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        # Their own children come to us in turn.
        await_ends(orphans, 1.0)
        for pid in orphans:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
    return len(killed)


def _descends(pid: int, runner: str, group: int, since_s: float) -> bool:
    """Whether a child of ours is a runner's orphan: by its session or mark; if it has no mark, by its age."""
    try:
        session = os.getsid(pid)
        # Runners lead sessions of their own, and our helpers do not.
        if session in (group, os.getsid(0)):
            return session == group
        variables = b""
        with contextlib.suppress(OSError):  # One that has ended has none.
            variables = Path(f"/proc/{pid}/environ").read_bytes()
        if RUNNER_VARIABLE.encode() in variables:
            return f"{RUNNER_VARIABLE}={runner}".encode() in variables.split(b"\0")
        started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        return started / os.sysconf("SC_CLK_TCK") >= since_s - 0.02
    except (OSError, ValueError, IndexError):
        return False


def _find(variable: str, value: str) -> list[psutil.Process]:
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        try:
            if process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
