"""What people and tests say to a cluster's scheduler, by Slurm's own commands: submit, look, wait, cancel."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.services.processes import ServiceFailed
from tests.sites.dialects import commands_folder
from tests.sites.jobs import QUEUE_FORMAT, Job, Usage, parse_queue, parse_record

PARTITIONS = ("debug", "preempt", "urgent")
_COMMAND_TIMEOUT_S = 60.0


class Scheduler(ABC):
    """The scheduler of a cluster that runs.

    Args:
        name: of the cluster.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._forgotten: frozenset[str] = frozenset()

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where its state and logs are."""

    @property
    def slurm_conf(self) -> Path:
        """Its configuration file: the value of SLURM_CONF for whoever talks to it."""
        return self.folder / "slurm.conf"

    def environment(self, dialect: str = "") -> dict[str, str]:
        """What a process needs besides its own variables to use this cluster: SLURM_CONF and PATH.

        Args:
            dialect: whose commands to find besides Slurm's own: pbspro, lsf or cobalt.
        """
        path = os.environ.get("PATH", os.defpath)
        if dialect:
            path = f"{commands_folder(self.folder / 'commands', dialect)}{os.pathsep}{path}"
        return {"SLURM_CONF": str(self.slurm_conf), "PATH": path}

    def run(self, *command: str | Path) -> str:
        """Run one of Slurm's commands against this cluster.

        Returns:
            What it printed.

        Raises:
            ServiceFailed: it ended with an error, whose words are in the message.
        """
        done = subprocess.run(
            list(map(str, command)),
            env={**os.environ, **self.environment()},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise ServiceFailed(f"{command[0]} at {self.name} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def submit(self, command: str, *, options: list[str] | None = None) -> str:
        """Submit a shell command as a job, its output going to the folder ``log``.

        Args:
            command: what the job runs.
            options: of sbatch.

        Returns:
            The job's id.

        Raises:
            ServiceFailed: sbatch refused it.
        """
        output = self.folder / "log" / "job.%j"
        return self.run(
            "sbatch", "--parsable", "-o", output, "--open-mode=append", *(options or []), "--wrap", command
        ).strip()

    def output(self, job_id: str) -> str:
        """What a job of `submit` has printed so far, in all its stays on nodes."""
        path = self.folder / "log" / f"job.{job_id}"
        return path.read_text() if path.exists() else ""

    def jobs(self) -> list[Job]:
        """All jobs queued, running, and ended within the hour, in the order of their ids."""
        queue = parse_queue(self.run("squeue", "--noheader", "--states=all", f"--Format={QUEUE_FORMAT}"))
        return sorted((job for job in queue if job.job_id not in self._forgotten), key=lambda job: int(job.job_id))

    def job(self, job_id: str) -> Job:
        """One job."""
        for job in self.jobs():
            if job.job_id == job_id:
                return job
        raise ServiceFailed(f"{self.name} has no job {job_id}")

    def live_jobs(self) -> list[Job]:
        """Those jobs that hold a node or wait for one."""
        return [
            job for job in self.jobs() if job.state in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED")
        ]

    def left_jobs(self) -> list[Job]:
        """Those that hold a node or wait for one, when all that are on their way out are gone."""
        with contextlib.suppress(ServiceFailed):
            self.wait_until(lambda: all(job.state != "COMPLETING" for job in self.live_jobs()))
        return self.live_jobs()

    def wait_for(self, job_id: str, *states: str, timeout_s: float = 60.0) -> Job:
        """Wait until a job is in one of some states, and return it.

        Raises:
            ServiceFailed: it took too long; the message tells the state it is in.
        """
        self.wait_until(
            lambda: self.job(job_id).state in states, timeout_s, lambda: f"{self.job(job_id)} never got to {states}"
        )
        return self.job(job_id)

    def wait_until(
        self, condition: Callable[[], bool], timeout_s: float = 60.0, told: Callable[[], str] | None = None
    ) -> None:
        """Wait until something is so, looking a few times a second.

        Raises:
            ServiceFailed: it took too long.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise ServiceFailed(told() if told else f"{self.name}: not so within {timeout_s:.0f} s")
            time.sleep(0.1)

    def cancel_all(self) -> None:
        """Cancel every job and wait until none holds a node."""
        live = [job.job_id for job in self.live_jobs()]
        if live:
            self.run("scancel", *live)
            self.wait_until(lambda: not self.live_jobs())

    def usage(self) -> list[Usage]:
        """The scheduler's own record of every stay of a job on nodes that has ended, in that order."""
        record = parse_record((self.folder / "log" / "jobs").read_text())
        return [stay for stay in record if stay.job_id not in self._forgotten]

    def forget(self) -> None:
        """Tell no more of the jobs there are now: the next test is not to see them."""
        self._forgotten |= {job.job_id for job in self.jobs()}

    def close_queue(self, partition: str = "debug") -> None:
        """From now on jobs are taken, and wait; those that run go on."""
        self.run("scontrol", "update", f"PartitionName={partition}", "State=DOWN")

    def open_queue(self, partition: str = "debug") -> None:
        """Let waiting jobs start again."""
        self.run("scontrol", "update", f"PartitionName={partition}", "State=UP")

    @contextlib.contextmanager
    def queue_closed(self, partition: str = "debug") -> Iterator[None]:
        """Keep jobs waiting for the length of a ``with`` block."""
        self.close_queue(partition)
        try:
            yield
        finally:
            self.open_queue(partition)
