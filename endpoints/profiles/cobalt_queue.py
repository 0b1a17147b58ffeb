"""Cobalt's queue: this account's jobs as ``qstat`` tells of them, found by name and cancelled."""

from __future__ import annotations

import getpass
from collections.abc import Sequence

from endpoints.job_queue import QueuedJob, run_command

_COLUMNS = "JobID:JobName:State:Location"


def read_jobs(listing: str) -> dict[str, dict[str, str]]:
    r"""Jobs' columns by id, from ``qstat -l``.

    Example:
        >>> read_jobs("JobID: 1001\n    State    : queued\n")
        {'1001': {'state': 'queued'}}
    """
    jobs: dict[str, dict[str, str]] = {}
    columns: dict[str, str] = {}
    for line in listing.splitlines():
        name, colon, value = (part.strip() for part in line.partition(":"))
        if colon and name.lower() == "jobid":
            columns = jobs[value] = {}
        elif colon:
            columns[name.lower()] = value
    return jobs


class CobaltQueue:
    """Cobalt's.

    Args:
        timeout_s: how long its commands may take.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def jobs(self) -> dict[str, dict[str, str]]:
        """What Cobalt tells of the jobs of this account that have not ended.

        Raises:
            QueueUnavailable: it tells nothing.
        """
        command = ["qstat", "-l", "-u", getpass.getuser(), f"--header={_COLUMNS}"]
        return read_jobs(run_command(command, self._timeout_s))

    def find(self, prefix: str) -> list[QueuedJob]:
        """The jobs of this account whose names start so."""
        named = {job_id: job.get("jobname", "") for job_id, job in self.jobs().items()}
        return [QueuedJob(job_id, name) for job_id, name in named.items() if name.startswith(prefix)]

    def cancel(self, job_ids: Sequence[str]) -> None:
        """``qdel``; it is content with jobs that have ended."""
        run_command(["qdel", *job_ids], self._timeout_s)
