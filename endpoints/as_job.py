"""The agent in a batch job: submitted from a login node, and renewed from within before its walltime ends."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import join
from typing import Any

from endpoints.agent_jobs import AgentJob, AgentJobs
from endpoints.allocation import WorkerShape
from endpoints.configuration import Configuration
from endpoints.job_queue import QueuedJob
from endpoints.places import Places
from endpoints.processes import NONCE_VARIABLE
from endpoints.profiles import find_profile
from endpoints.threads import in_thread
from faas.errors import ConfigurationError, FaasError

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
_TRY_AGAIN_S = 60.0
_SHAPE = "agent"
_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")
NETWORK_VARIABLES = (
    *("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
"""What leads an agent to its service."""


def start_command(places: Places, *options: str) -> list[str]:
    """The command that starts an endpoint, in full: nothing is found by PATH or the current directory.

    Args:
        places: the endpoint's files.
        options: of ``faas endpoint start``.
    """
    home = places.directory.parent.parent
    program = Path(sys.executable).with_name("faas")
    faas = [str(program)] if program.exists() else [sys.executable, "-m", "faas.commands.app"]
    return [*faas, "endpoint", "start", places.name, "--home", str(home), *options]


def network_settings() -> dict[str, str]:
    """The variables of this process that lead to the service; a job or a service of the system has none of them."""
    return {name: os.environ[name] for name in NETWORK_VARIABLES if os.environ.get(name)}


def submit_agent(places: Places, configuration: Configuration, jobs: AgentJobs, *, takeover: bool = False) -> AgentJob:
    """Submit a job in which the endpoint's agent runs; it is named on disk first.

    Args:
        places: the endpoint's files.
        configuration: the endpoint's.
        jobs: where it is noted.
        takeover: have its agent replace one that runs elsewhere.

    Returns:
        The job.

    Raises:
        FaasError: the scheduler refuses it, in its own words; or there is no scheduler.
    """
    provider = agent_provider(configuration, places.agent_jobs)
    job = jobs.new()
    command = agent_command(places, job.name, network_settings(), takeover=takeover)
    try:
        with _unmarked():
            job.job_id = str(provider.submit(command, 1, job.name) or "")
        if not job.job_id:
            raise OSError("the scheduler did not name it")
    except Exception as error:
        jobs.withdraw(job.name, configuration)
        raise FaasError(f"The agent's job was not submitted: {_said(error)}") from error
    jobs.save(job)
    return job


@contextmanager
def _unmarked() -> Iterator[None]:
    """Take this agent's mark off for a moment: schedulers copy the environment, and the next job is not to end with us.

    Where both run on one node, its shell would be taken for a process that this agent left behind.
    """
    mark = os.environ.pop(NONCE_VARIABLE, None)
    try:
        yield
    finally:
        if mark is not None:
            os.environ.setdefault(NONCE_VARIABLE, mark)


def agent_command(places: Places, name: str, variables: Mapping[str, str], *, takeover: bool = False) -> str:
    """What the job runs: the agent, as the last and only process of its shell."""
    start = start_command(places, "--in-job", name, *(["--takeover"] if takeover else []))
    settings = [f"{variable}={value}" for variable, value in variables.items()]
    return f"exec {join(['env', *settings, *start])}"


def agent_provider(configuration: Configuration, directory: Path) -> Any:
    """A Parsl provider of the endpoint's own scheduler for jobs of one core.

    Raises:
        ConfigurationError: the profile has no scheduler.
    """
    from endpoints.profiles.engine_parts import absent, drive

    profile = find_profile(configuration.profile)
    if profile.on_this_host:
        raise ConfigurationError(
            f"Profile {configuration.profile} of {configuration.name} has no batch scheduler to run the agent in."
            f" Start it here: faas endpoint start {configuration.name} --detach"
        )
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with absent():
        provider = drive(profile.provider(_as_one_core(configuration), _SHAPE, directory))
    provider.script_dir = str(directory)
    return provider


def _as_one_core(configuration: Configuration) -> Configuration:
    """The endpoint's configuration, as if its blocks were the agent's job."""
    wanted = configuration.agent_job
    own = {
        name: value
        for name in ("account", "partition", "qos", "constraint", "options")
        if (value := getattr(wanted, name)) is not None
    }
    scheduler = configuration.scheduler.model_copy(
        update={
            **own,
            "walltime_s": wanted.walltime_s,
            "nodes_per_block": 1,
            "exclusive": False,
            "worker_init": wanted.worker_init,
        }
    )
    shape = WorkerShape(cores=1, memory_gb=wanted.memory_gb, workers=1)
    return configuration.model_copy(update={"shapes": {_SHAPE: shape}, "workers": 1, "scheduler": scheduler})


class Renewal:
    """Has an agent's job followed by another one, and the agent stop in time.

    Args:
        places: the endpoint's files.
        configuration: the endpoint's.
        jobs: the endpoint's agent jobs.
        name: this job's.
    """

    def __init__(self, places: Places, configuration: Configuration, jobs: AgentJobs, name: str) -> None:
        self._places = places
        self._configuration = configuration
        self._jobs = jobs
        self._name = name
        self._began = time.monotonic()

    def arrive(self) -> None:
        """Tell the job before this one that it may go."""
        for variable in [name for name in os.environ if name.startswith("SLURM_") and name not in _KEPT]:
            # They tell of this job, and commands take them for settings of the jobs that the agent submits.
            del os.environ[variable]
        self._jobs.arrive(self._name)

    @property
    def grace_s(self) -> float:
        """How long running tasks may go on when it stops now."""
        wanted = self._configuration.agent_job
        at_last_s = min(self._configuration.stop_grace_s, (wanted.walltime_s - wanted.stops_at_s) / 2)
        return max(at_last_s, min(wanted.handover_s, wanted.stops_at_s - self._passed_s))

    @property
    def _passed_s(self) -> float:
        return time.monotonic() - self._began

    async def run(self, stop: Callable[[float], None]) -> None:
        """Submit the next job when it is time to, and stop the agent when that one is there, or at the latest moment.

        Args:
            stop: stops the agent in order, given how long running tasks may go on.
        """
        wanted = self._configuration.agent_job
        await asyncio.sleep(max(0.0, wanted.renews_at_s - self._passed_s))
        submitting = asyncio.ensure_future(self._submit())
        try:
            while not (submitting.done() and self._jobs.has_arrived(submitting.result())):
                if self._passed_s >= wanted.stops_at_s:
                    logger.warning("the walltime of the agent's job is nearly over, and the next one has not started")
                    break
                await asyncio.sleep(_LOOK_S)
            else:
                logger.info("the agent's next job is there; this one hands over")
        finally:
            submitting.cancel()
        stop(self.grace_s)

    async def _submit(self) -> str:
        """Submit the next job, as often as it takes; returns its name."""
        while True:
            try:
                job = await in_thread(lambda: submit_agent(self._places, self._configuration, self._jobs))
            except FaasError as error:
                logger.error("%s Trying again in %.0f s.", error, _TRY_AGAIN_S)
                await asyncio.sleep(_TRY_AGAIN_S)
            else:
                logger.info("the agent's next job is %s (%s)", job.job_id, job.name)
                return job.name


def describe_jobs(jobs: Iterable[AgentJob | QueuedJob]) -> str:
    """Jobs as one reads them: ``12 (faasA993fbc-1), 13 (faasA993fbc-2)``."""
    return ", ".join(f"{job.job_id or 'not numbered yet'} ({job.name})" for job in jobs)


def _said(error: BaseException) -> str:
    words = getattr(error, "stderr", "") or str(error) or type(error).__name__
    return " ".join(str(words).split())
