"""The batch jobs in which an agent runs, each named on disk before it is submitted, so that all of them are found."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from endpoints.configuration import Configuration
from endpoints.job_queue import JobQueue, QueuedJob, QueueUnavailable, cancel_all
from endpoints.places import Places, write_atomically
from endpoints.profiles import find_profile

_GONE_S = 60.0
_MARK = "faasA"
_NUMBERS = 1000


class AgentJob(msgspec.Struct, kw_only=True):
    """One of them, as its file tells."""

    name: str
    job_id: str = ""
    """The scheduler's; empty until it has given one."""
    submitted_at: float = 0.0


def job_prefix(endpoint_id: str) -> str:
    """How the names of an endpoint's agent jobs start; none exceeds the 15 letters that some schedulers take.

    Example:
        >>> job_prefix("3f0c")
        'faasA993fbc-'
    """
    return f"{_MARK}{hashlib.sha256(endpoint_id.encode()).hexdigest()[:6]}-"


def jobs_on_file(places: Places) -> list[AgentJob]:
    """The agent jobs that an endpoint's directory tells of, the oldest first."""
    found = []
    for path in places.agent_jobs.glob("*.json"):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=AgentJob))
        except (OSError, msgspec.DecodeError):
            continue
    return sorted(found, key=lambda job: job.submitted_at)


class AgentJobs:
    """The agent jobs of one endpoint, in its directory and in the scheduler's queue.

    Files of one job are written by one process at a time, so that nothing has to be locked.

    Args:
        places: the endpoint's files.
        endpoint_id: its id.
    """

    def __init__(self, places: Places, endpoint_id: str) -> None:
        self.prefix = job_prefix(endpoint_id)
        self._places = places
        self._directory = places.agent_jobs

    def known(self) -> list[AgentJob]:
        """Those on file, the oldest first."""
        return jobs_on_file(self._places)

    def new(self) -> AgentJob:
        """A job about to be submitted; it is on disk when this returns."""
        known = self.known()
        last = int(known[-1].name.rpartition("-")[2]) if known else 0
        job = AgentJob(name=f"{self.prefix}{last % (_NUMBERS - 1) + 1}", submitted_at=time.time())
        self.save(job)
        return job

    def save(self, job: AgentJob) -> None:
        """Write a job down."""
        self._directory.mkdir(exist_ok=True, mode=0o700)
        write_atomically(self._file(job.name), msgspec.json.encode(job))

    def forget(self, name: str) -> None:
        """The job is over."""
        for path in (self._file(name), self._arrival(name)):
            path.unlink(missing_ok=True)

    def withdraw(self, name: str, configuration: Configuration) -> None:
        """The submission failed; it may have got through all the same, if its answer came too late."""
        with suppress(QueueUnavailable):
            cancel_all(_queue(configuration), name, _GONE_S, [name])
        self.forget(name)

    def arrive(self, name: str) -> None:
        """Called by the agent in a job: those before it may go now."""
        self._directory.mkdir(exist_ok=True, mode=0o700)
        self._arrival(name).touch()

    def has_arrived(self, name: str) -> bool:
        """Whether the agent in a job has started."""
        return self._arrival(name).exists()

    def queued(self, configuration: Configuration) -> list[QueuedJob]:
        """Those that wait or run, as the scheduler tells.

        Raises:
            QueueUnavailable: it does not tell.
        """
        return _queue(configuration).find(self.prefix)

    def cancel(self, configuration: Configuration) -> list[QueuedJob]:
        """Cancel all of them, wait until they are gone, and forget them.

        One that submits its successor meanwhile does so before it is gone itself, so that the successor is found too.

        Raises:
            QueueUnavailable: they cannot be found or cancelled.
        """
        gone = cancel_all(_queue(configuration), self.prefix, _GONE_S)
        for job in self.known():
            self.forget(job.name)
        return gone

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _arrival(self, name: str) -> Path:
        return self._directory / f"{name}.arrived"


def _queue(configuration: Configuration) -> JobQueue:
    return find_profile(configuration.profile).queue(configuration)
