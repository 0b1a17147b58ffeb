"""PBS Pro's queue: this account's jobs found by name and cancelled, and how to read what ``qstat -f`` prints."""

from __future__ import annotations

import getpass
from collections.abc import Sequence

from endpoints.job_queue import QueuedJob, QueueUnavailable, run_command

_ENDED = ("has finished", "Unknown Job Id", "invalid state for job")


def job_number(job_id: str) -> str:
    """A job's id without its server, which PBS writes now in full and now cut off.

    Example:
        >>> job_number("1234.polaris-pbs-01")
        '1234'
    """
    return job_id.partition(".")[0]


def read_jobs(listing: str) -> dict[str, dict[str, str]]:
    r"""Jobs' attributes by job number, from ``qstat -f``.

    Its JSON is not used: PBS does not escape all that users can put into a variable.

    Example:
        >>> read_jobs("Job Id: 7.pbs\n    job_state = Q\n    comment = Not\n\t Running\n")
        {'7': {'job_state': 'Q', 'comment': 'Not Running'}}
    """
    jobs: dict[str, dict[str, str]] = {}
    attributes: dict[str, str] = {}
    for line in listing.replace("\n\t", "").splitlines():
        if line.startswith("Job Id:"):
            attributes = jobs[job_number(line.partition(":")[2].strip())] = {}
        elif " = " in line:
            name, _, value = line.strip().partition(" = ")
            attributes[name] = value
    return jobs


class PbsQueue:
    """PBS Pro's.

    Args:
        timeout_s: how long its commands may take.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def find(self, prefix: str) -> list[QueuedJob]:
        """The jobs of this account whose names start so."""
        job_ids = run_command(["qselect", "-u", getpass.getuser()], self._timeout_s).split()
        if not job_ids:
            return []
        # One that ends in between makes the command fail: -x has it told all the same.
        jobs = read_jobs(run_command(["qstat", "-x", "-f", *job_ids], self._timeout_s))
        named = [(job_id, jobs.get(job_number(job_id), {})) for job_id in job_ids]
        return [
            QueuedJob(job_id, job["Job_Name"])
            for job_id, job in named
            if job.get("Job_Name", "").startswith(prefix) and job.get("job_state") not in ("F", "X")
        ]

    def cancel(self, job_ids: Sequence[str]) -> None:
        """``qdel``, which complains of jobs that have ended."""
        try:
            run_command(["qdel", *job_ids], self._timeout_s)
        except QueueUnavailable as refusal:
            if not any(words in str(refusal) for words in _ENDED):
                raise
