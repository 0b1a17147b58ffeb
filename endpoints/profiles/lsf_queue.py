"""LSF's queue: this account's jobs found by name and cancelled."""

from __future__ import annotations

import getpass
from collections.abc import Sequence

from endpoints.job_queue import QueuedJob, QueueUnavailable, run_command

_NONE = "No unfinished job found"
_ENDED = ("has already finished", "No matching job found", "is not found")


class LsfQueue:
    """LSF's.

    Args:
        timeout_s: how long its commands may take.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def find(self, prefix: str) -> list[QueuedJob]:
        """The jobs of this account whose names start so."""
        command = ["bjobs", "-noheader", "-u", getpass.getuser(), "-o", "jobid job_name delimiter='|'"]
        try:
            listing = run_command(command, self._timeout_s)
        except QueueUnavailable as refusal:
            if _NONE in str(refusal):
                return []
            raise
        jobs = (line.strip().partition("|") for line in listing.splitlines() if line.strip())
        return [QueuedJob(job_id, name) for job_id, _, name in jobs if name.startswith(prefix)]

    def cancel(self, job_ids: Sequence[str]) -> None:
        """``bkill``, which complains of jobs that have ended."""
        try:
            run_command(["bkill", *job_ids], self._timeout_s)
        except QueueUnavailable as refusal:
            if not any(words in str(refusal) for words in _ENDED):
                raise
