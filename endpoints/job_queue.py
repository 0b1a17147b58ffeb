"""Batch jobs by name: how an agent's leftovers are found and cancelled, whatever else is in the queue."""

from __future__ import annotations

import getpass
import logging
import subprocess
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from faas.errors import FaasError

logger = logging.getLogger(__name__)

_LOOK_AGAIN_S = 0.3


class QueueUnavailable(FaasError):
    """The scheduler's commands do not work; the message is theirs."""


@dataclass(frozen=True)
class QueuedJob:
    """A job that waits or runs."""

    job_id: str
    name: str


class JobQueue(Protocol):
    """A batch system's queue, as far as this account sees it."""

    def find(self, prefix: str) -> list[QueuedJob]:
        """The jobs that wait or run and whose names start so.

        Raises:
            QueueUnavailable: it cannot be told.
        """

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs; those that have ended already are no error.

        Raises:
            QueueUnavailable: they cannot be cancelled.
        """


class NoQueue:
    """Where blocks are processes of this host: those are found by the nonce in their environment."""

    def find(self, prefix: str) -> list[QueuedJob]:
        """None."""
        return []

    def cancel(self, job_ids: Sequence[str]) -> None:
        """There is nothing to cancel."""


class SlurmQueue:
    """Slurm's.

    Args:
        timeout_s: how long its commands may take.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def find(self, prefix: str) -> list[QueuedJob]:
        """The jobs of this account whose names start so."""
        listing = run_command(["squeue", "-h", "-u", getpass.getuser(), "-o", "%i %j"], self._timeout_s)
        jobs = (line.partition(" ") for line in listing.splitlines())
        return [QueuedJob(job_id, name) for job_id, _, name in jobs if name.startswith(prefix)]

    def cancel(self, job_ids: Sequence[str]) -> None:
        """``scancel``; it is content with jobs that have ended."""
        run_command(["scancel", *job_ids], self._timeout_s)


def run_command(command: Sequence[str], timeout_s: float) -> str:
    """Run a scheduler's command and return what it printed.

    Raises:
        QueueUnavailable: it is absent, failed, or took too long.
    """
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    except FileNotFoundError:
        raise QueueUnavailable(f"There is no command {command[0]} on this host.") from None
    except subprocess.TimeoutExpired:
        raise QueueUnavailable(f"{command[0]} did not answer in {timeout_s:g} s.") from None
    if ended.returncode != 0:
        said = " ".join((ended.stderr or ended.stdout).split())
        raise QueueUnavailable(f"{command[0]} failed: {said or f'exit code {ended.returncode}'}")
    return ended.stdout


def cancel_all(queue: JobQueue, prefix: str, timeout_s: float, names: Collection[str] | None = None) -> list[QueuedJob]:
    """Cancel every job with such a name, and wait until the queue has let them go.

    Args:
        queue: where to look.
        prefix: how the names start.
        timeout_s: how long to wait for all of them to be gone.
        names: only these; None for any.

    Returns:
        The jobs there were.

    Raises:
        QueueUnavailable: they cannot be found or cancelled.
    """
    found: dict[str, QueuedJob] = {}
    deadline = time.monotonic() + timeout_s
    while jobs := [job for job in queue.find(prefix) if names is None or job.name in names]:
        if new := [job.job_id for job in jobs if job.job_id not in found]:
            queue.cancel(new)
        found.update({job.job_id: job for job in jobs})
        if time.monotonic() > deadline:
            logger.warning("still in the queue after %.0f s: job(s) %s", timeout_s, ", ".join(found))
            break
        time.sleep(_LOOK_AGAIN_S)
    return list(found.values())
