"""Parsl's Slurm provider, made to tell what Slurm says of each job: its state, and why it waits or ended.

Imported only where an engine is built, for Parsl takes a second to import.
"""

from __future__ import annotations

from parsl.jobs.states import JobState, JobStatus
from parsl.providers import SlurmProvider

_STATES = {
    "PENDING": JobState.PENDING,
    "CONFIGURING": JobState.PENDING,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.HELD,
    "REQUEUE_FED": JobState.PENDING,
    "SUSPENDED": JobState.HELD,
    "RUNNING": JobState.RUNNING,
    "COMPLETING": JobState.RUNNING,
    "STAGE_OUT": JobState.RUNNING,
    "COMPLETED": JobState.COMPLETED,
    "CANCELLED": JobState.CANCELLED,
    "TIMEOUT": JobState.TIMEOUT,
    "DEADLINE": JobState.TIMEOUT,
    "PREEMPTED": JobState.TIMEOUT,
}
_GONE = "Invalid job id"
_SILENT = ("None", "")


class TellingSlurmProvider(SlurmProvider):
    """Asks ``squeue`` for its jobs, ended ones included, and keeps its words."""

    def _status(self) -> None:
        asked = [job_id for job_id, job in self.resources.items() if not job["status"].terminal]
        if not asked:
            return
        clusters = f"--clusters={self.clusters} " if self.clusters else ""
        command = f"squeue -h -t all {clusters}-o '%i|%T|%r|%N' -j {','.join(asked)}"
        code, listing, complaint = self.execute_wait(command)
        if code != 0 and _GONE not in complaint:
            raise OSError(f"squeue failed: {' '.join(complaint.split()) or f'exit code {code}'}")
        told = {}
        for line in listing.splitlines():
            job_id, _, rest = line.partition("|")
            told[job_id] = rest
        for job_id in asked:
            self.resources[job_id]["status"] = self._read(job_id, told.get(job_id))

    def _read(self, job_id: str, rest: str | None) -> JobStatus:
        files = {
            "stdout_path": self.resources[job_id]["job_stdout_path"],
            "stderr_path": self.resources[job_id]["job_stderr_path"],
        }
        if rest is None:
            # Slurm forgets a job some minutes after its end.
            return JobStatus(JobState.COMPLETED, "Slurm has forgotten the job", **files)
        state, reason, nodes = rest.split("|")
        words = state if reason in _SILENT else f"{state} ({reason})"
        if nodes:
            words += f" on {nodes}"
        return JobStatus(_STATES.get(state, JobState.FAILED), words, **files)

    def cancel(self, job_ids: list[str]) -> list[bool]:
        """Cancel jobs; what became of each is told by Slurm, not assumed."""
        code, _, complaint = self.execute_wait(f"scancel {' '.join(job_ids)}")
        if code != 0:
            raise OSError(f"scancel failed: {' '.join(complaint.split()) or f'exit code {code}'}")
        return [True] * len(job_ids)
