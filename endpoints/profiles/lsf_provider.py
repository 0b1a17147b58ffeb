"""Parsl's LSF provider, made to tell what LSF says: of a job it refuses, and of each job's state.

Imported only where an engine is built, for Parsl takes a second to import.
"""

from __future__ import annotations

from typing import Any

from parsl.jobs.states import JobState, JobStatus
from parsl.providers import LSFProvider
from parsl.providers.cluster_provider import ClusterProvider
from parsl.providers.errors import SubmitException

from endpoints.profiles.lsf_queue import LsfQueue

_STATES = {
    "PEND": JobState.PENDING,
    "WAIT": JobState.PENDING,
    "PROV": JobState.PENDING,
    "RUN": JobState.RUNNING,
    "PSUSP": JobState.HELD,
    "USUSP": JobState.HELD,
    "SSUSP": JobState.HELD,
    "UNKWN": JobState.RUNNING,
    "DONE": JobState.COMPLETED,
}
_LIMITS = ("TERM_RUNLIMIT", "TERM_PREEMPT", "TERM_DEADLINE", "TERM_WINDOW")
_GONE = "is not found"
_SILENT = ("", "-")


class _Remembering(ClusterProvider):
    """Keeps what the last command said: Parsl's provider only logs it."""

    said = ("", "")

    def execute_wait(self, command: str, timeout: float | None = None) -> tuple[int, str, str]:
        code, output, complaint = super().execute_wait(command, timeout)
        self.said = (output, complaint)
        return code, output, complaint


class TellingLSFProvider(LSFProvider, _Remembering):
    """Asks ``bjobs`` for its jobs, ended ones included, and keeps its words."""

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.lsf") -> Any:
        """Submit a block.

        Raises:
            SubmitException: LSF does not take it; with its words.
        """
        job_id = super().submit(command, tasks_per_node, job_name)
        if not job_id:
            output, complaint = self.said
            raise SubmitException(job_name, "bsub failed", stdout=output, stderr=complaint)
        files = f"{self.script_dir}/{job_name}.submit"
        self.resources[job_id].update(job_stdout_path=f"{files}.stdout", job_stderr_path=f"{files}.stderr")
        return job_id

    def _status(self) -> None:
        asked = [job_id for job_id, job in self.resources.items() if not job["status"].terminal]
        if not asked:
            return
        columns = "jobid stat exec_host exit_reason pend_reason delimiter='|'"
        code, listing, complaint = self.execute_wait(f'bjobs -noheader -o "{columns}" {" ".join(asked)}')
        if code != 0 and _GONE not in complaint:
            raise OSError(f"bjobs failed: {' '.join(complaint.split()) or f'exit code {code}'}")
        told = {}
        for line in listing.splitlines():
            job_id, _, rest = line.strip().partition("|")
            told[job_id] = rest
        for job_id in asked:
            self.resources[job_id]["status"] = self._read(job_id, told.get(job_id))

    def _read(self, job_id: str, rest: str | None) -> JobStatus:
        files = {
            "stdout_path": self.resources[job_id]["job_stdout_path"],
            "stderr_path": self.resources[job_id]["job_stderr_path"],
        }
        if rest is None:
            return JobStatus(JobState.COMPLETED, "LSF has forgotten the job", **files)
        word, host, ended, waits = (*rest.split("|", 3), "", "", "")[:4]
        state = _STATES.get(word, JobState.FAILED)
        if any(limit in ended for limit in _LIMITS):
            state = JobState.TIMEOUT
        elif "TERM_OWNER" in ended:
            state = JobState.CANCELLED
        why = waits if state is JobState.PENDING else ended
        words = word if why in _SILENT else f"{word} ({why})"
        words += f" on {host}" if host not in _SILENT else ""
        return JobStatus(state, words, **files)

    def cancel(self, job_ids: list[str]) -> list[bool]:
        """Cancel jobs; what became of each is told by LSF, not assumed."""
        LsfQueue(self.cmd_timeout).cancel(job_ids)
        return [True] * len(job_ids)
