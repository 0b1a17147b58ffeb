"""Parsl's PBS Pro provider, made to tell what PBS says of each job: its state, and why it waits or ended.

Imported only where an engine is built, for Parsl takes a second to import.
"""

from __future__ import annotations

from parsl.jobs.states import JobState, JobStatus
from parsl.providers import PBSProProvider

from endpoints.profiles.pbspro_queue import PbsQueue, job_number, read_jobs

_STATES = {
    "B": (JobState.RUNNING, "begun"),
    "E": (JobState.RUNNING, "exiting"),
    "H": (JobState.HELD, "held"),
    "M": (JobState.PENDING, "moved"),
    "Q": (JobState.PENDING, "queued"),
    "R": (JobState.RUNNING, "running"),
    "S": (JobState.HELD, "suspended"),
    "T": (JobState.PENDING, "in transit"),
    "U": (JobState.HELD, "suspended"),
    "W": (JobState.PENDING, "waiting"),
}
_GONE = "Unknown Job Id"


class TellingPBSProProvider(PBSProProvider):
    """Asks ``qstat`` for its jobs, finished ones included, and keeps its words."""

    def _status(self) -> None:
        asked = [job_id for job_id, job in self.resources.items() if not job["status"].terminal]
        if not asked:
            return
        code, listing, complaint = self.execute_wait(f"qstat -x -f {' '.join(asked)}")
        if code != 0 and _GONE not in complaint:
            raise OSError(f"qstat failed: {' '.join(complaint.split()) or f'exit code {code}'}")
        told = read_jobs(listing)
        for job_id in asked:
            self.resources[job_id]["status"] = self._read(job_id, told.get(job_number(job_id)))

    def _read(self, job_id: str, job: dict[str, str] | None) -> JobStatus:
        files = {
            "stdout_path": self.resources[job_id]["job_stdout_path"],
            "stderr_path": self.resources[job_id]["job_stderr_path"],
        }
        if job is None:
            return JobStatus(JobState.COMPLETED, "PBS has forgotten the job", **files)
        comment, host = job.get("comment", ""), job.get("exec_host", "")
        if job.get("job_state") in _STATES:
            state, words = _STATES[job["job_state"]]
        else:
            code = job.get("Exit_status", "")
            state = JobState.COMPLETED if code in ("", "0") else JobState.FAILED
            words = f"finished with exit status {code}" if code else "finished"
        words += f" ({comment})" if comment else ""
        words += f" on {host}" if host else ""
        return JobStatus(state, words, **files)

    def cancel(self, job_ids: list[str]) -> list[bool]:
        """Cancel jobs; what became of each is told by PBS, not assumed."""
        PbsQueue(self.cmd_timeout).cancel(job_ids)
        return [True] * len(job_ids)
