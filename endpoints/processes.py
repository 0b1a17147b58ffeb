"""Finds and stops processes: an agent's leftovers by the nonce they carry, a runner's by their descent."""

from __future__ import annotations

import contextlib
import ctypes
import os
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
        psutil.wait_procs(found, timeout=grace_s if gentle else 1.0)
        gentle = False


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


def kill_orphans(runner: str, group: int, spare: Iterable[int], timeout_s: float = 5.0) -> int:
    """Kill what a dead runner left: its process group, orphans that came to us, and whatever carries its mark.

    Args:
        runner: the runner's mark, the value of ``FAAS_RUNNER``.
        group: its process group.
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
        orphans = [pid for pid in child_processes() - spared if _descends(pid)]
        if sys.platform != "linux":
            orphans += [process.pid for process in _find(RUNNER_VARIABLE, runner)]
        if not orphans:
            break
        for pid in orphans:
            try:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError, PermissionError):
                continue
    return len(killed)


def _descends(pid: int) -> bool:
    """Whether a child may descend from a runner: runners lead sessions of their own, our helpers do not."""
    try:
        return os.getsid(pid) != os.getsid(0)
    except OSError:
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
