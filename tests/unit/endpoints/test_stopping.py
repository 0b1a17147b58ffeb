"""An endpoint is stopped with all it has: jobs first, processes in any case, whoever is to reap them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from endpoints import profiles
from endpoints.block_book import name_prefix
from endpoints.job_queue import QueuedJob, QueueUnavailable
from endpoints.places import Places
from endpoints.processes import NONCE_VARIABLE, stop_processes
from endpoints.profiles import Profile
from endpoints.session import SessionState
from endpoints.stopping import stop_agent
from faas.errors import FaasError
from tests.services.processes import runs

WAITS = "import signal; print('ready', flush=True); signal.pause()"
NEVER_REAPS = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {WAITS!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


class Queue:
    """A queue whose jobs live as long as a process of this host, as pilots beside the agent do.

    Args:
        prefix: how the jobs' names start.
        jobs: the process of each, by id.
        submitting: processes that, when they end, turn out to have submitted a job.
    """

    def __init__(self, prefix: str, jobs: dict[str, int], submitting: dict[int, str] | None = None) -> None:
        self.prefix = prefix
        self.jobs = jobs
        self.submitting = submitting or {}
        self.says = ""
        self.cancelled: list[str] = []

    def find(self, prefix: str) -> list[QueuedJob]:
        if self.says:
            raise QueueUnavailable(self.says)
        assert prefix == self.prefix
        arrived = [job_id for pid, job_id in self.submitting.items() if not runs(pid) and job_id not in self.cancelled]
        alive = [job_id for job_id, pid in self.jobs.items() if runs(pid)]
        return [QueuedJob(job_id, f"{prefix}1") for job_id in alive + arrived]

    def cancel(self, job_ids: Sequence[str]) -> None:
        self.cancelled += job_ids
        for job_id in job_ids:
            if job_id in self.jobs:
                os.kill(self.jobs[job_id], signal.SIGKILL)


class Endpoint:
    """An endpoint's files, and processes that are said to be its own."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.places = Places(directory / "endpoints" / "lab")
        self.places.prepare()
        self.places.configuration.write_text("name: lab\nprofile: queued\nstop_grace_s: 0\n")
        self.nonce = uuid.uuid4().hex
        self.queue = Queue(name_prefix(self.nonce), {})
        profiles.find_profile("local")
        made = Profile("queued", lambda *_: None, lambda _: self.queue)
        monkeypatch.setitem(profiles.PROFILES, "queued", made)

    def start(self, program: str = WAITS) -> subprocess.Popen[str]:
        """Start a process with the endpoint's mark; returns once it runs."""
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, NONCE_VARIABLE: self.nonce},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def write_state(self, pid: int) -> None:
        state = SessionState.new(self.nonce)
        state.pid, state.profile = pid, "queued"
        state.process_started_at = psutil.Process(pid).create_time()
        state.save(self.places.state)

    def write_state_of_a_dead_agent(self) -> None:
        agent = self.start()
        self.write_state(agent.pid)
        agent.kill()
        agent.communicate()

    def stop(self) -> str:
        return stop_agent(self.places, force=False)


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    made = Endpoint(tmp_path, monkeypatch)
    yield made
    stop_processes(made.nonce)


@pytest.fixture
def started(endpoint: Endpoint) -> Iterator[Callable[[], int]]:
    """Starts processes of the endpoint."""
    processes: list[subprocess.Popen[str]] = []

    def start() -> int:
        processes.append(endpoint.start())
        return processes[-1].pid

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_an_agent_that_ended_and_is_not_reaped_has_stopped(endpoint: Endpoint) -> None:
    """Where the agent's parent is dead and nobody else reaps, as in many a container, it stays in the process table."""
    with subprocess.Popen(
        [sys.executable, "-c", NEVER_REAPS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        endpoint.write_state(pid)
        assert endpoint.stop() == "Stopped endpoint lab."
        assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        parent.communicate()


def test_jobs_are_cancelled_while_their_processes_live(endpoint: Endpoint, started: Callable[[], int]) -> None:
    endpoint.write_state_of_a_dead_agent()
    endpoint.queue.jobs = {"7": started()}
    interchange = started()
    assert "1 process(es) it had left behind were stopped, 1 batch job(s) cancelled" in endpoint.stop()
    assert endpoint.queue.cancelled == ["7"]
    assert not runs(interchange)


def test_a_job_that_was_being_submitted_is_found(endpoint: Endpoint, started: Callable[[], int]) -> None:
    endpoint.write_state_of_a_dead_agent()
    endpoint.queue.submitting = {started(): "8"}
    assert "1 batch job(s) cancelled" in endpoint.stop()
    assert endpoint.queue.cancelled == ["8"]


def test_processes_are_stopped_though_the_scheduler_does_not_answer(
    endpoint: Endpoint, started: Callable[[], int]
) -> None:
    endpoint.write_state_of_a_dead_agent()
    endpoint.queue.says = "slurm_load_jobs error: Unable to contact slurm controller"
    left = started()
    with pytest.raises(FaasError, match="Unable to contact slurm controller"):
        endpoint.stop()
    assert not runs(left)
