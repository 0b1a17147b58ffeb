"""Starts an agent: in this process, in one of its own, or in a batch job."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable

import uvloop

from endpoints.agent_jobs import AgentJob, AgentJobs
from endpoints.claim import claimed
from endpoints.configuration import Configuration, load_credentials
from endpoints.job_queue import QueueUnavailable
from endpoints.places import Places
from endpoints.session import SessionState
from faas.errors import AlreadyRunning, FaasError

logger = logging.getLogger(__name__)

EXIT_RUNS_ALREADY = 3
"""An agent of the endpoint runs already, here or elsewhere."""

_UP_S = 180.0
_LOOK_EVERY_S = 0.1
_MESSAGE_BYTES = 4096


def start(places: Places, how: str, *, takeover: bool, job: str, tell: Callable[[str], None]) -> int:
    """Start an endpoint as a person asks for it.

    Args:
        places: the endpoint's files.
        how: ``foreground``, ``detached`` or ``job``.
        takeover: replace an agent that runs elsewhere.
        job: the name of the batch job this is, in the foreground.
        tell: shows what was done.

    Returns:
        The exit code.

    Raises:
        AlreadyRunning: one runs here, or elsewhere and is not to be replaced.
        FaasError: it cannot start.
    """
    if how == "foreground":
        return run_agent(places, takeover=takeover, terminal=True, job=job)
    if how == "detached":
        state = start_detached(places, takeover=takeover)
        tell(f"Endpoint {places.name} is running as pid {state.pid} with {state.workers} worker(s).")
    else:
        submitted = start_as_job(places, takeover=takeover)
        tell(
            f"Endpoint {places.name} runs in batch job {submitted.job_id} ({submitted.name})"
            " as soon as the scheduler starts it; it renews itself until it is stopped."
        )
        tell(f"How it is doing: faas endpoint status {places.name}")
    tell(f"Log: {places.log}")
    return 0


def run_agent(places: Places, *, takeover: bool, terminal: bool, job: str = "") -> int:
    """Run an endpoint's agent until it is told to stop.

    Args:
        places: the endpoint's files.
        takeover: replace an agent that runs elsewhere.
        terminal: whether to show on stderr what happens.
        job: the name of the batch job this is, if the agent is to see to the next one.

    Returns:
        The exit code.

    Raises:
        AlreadyRunning: one runs here, or elsewhere and is not to be replaced.
        FaasError: it cannot start, or the service refuses it.
    """
    configuration = Configuration.load(places)
    credentials = load_credentials(places)
    from endpoints.agent import Agent
    from endpoints.as_job import Renewal
    from endpoints.logs import log_to

    log_to(places.log, terminal=terminal)
    jobs = AgentJobs(places, credentials.endpoint_id)

    async def run() -> int:
        succeeds = bool(job) and any(other.name != job for other in jobs.known())
        agent = Agent(configuration, credentials, places, takeover=takeover, patient=succeeds)
        if not job:
            return await agent.run()
        renewal = Renewal(places, configuration, jobs, job)
        renewal.arrive()
        renewing = asyncio.ensure_future(renewal.run(agent.stop))
        try:
            return await agent.run()
        except FaasError as error:
            logger.error("%s", error)
            raise
        finally:
            renewing.cancel()
            jobs.forget(job)

    return uvloop.run(run())


def start_detached(places: Places, *, takeover: bool) -> SessionState:
    """Start an agent that outlives this process, and wait until its workers are ready.

    Returns:
        Its session.

    Raises:
        AlreadyRunning: one runs here, or elsewhere and is not to be replaced.
        FaasError: it ended before it was ready; the message holds the last line of its log.
    """
    Configuration.load(places)  # complain here, where somebody sees it
    load_credentials(places)
    _refuse_a_second(places)
    sys.stdout.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _become_daemon(places, takeover, writing)
    os.close(writing)
    try:
        return _await_start(places, child, reading)
    finally:
        os.close(reading)


def _await_start(places: Places, child: int, reading: int) -> SessionState:
    deadline = time.monotonic() + _UP_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            said = os.read(reading, _MESSAGE_BYTES).decode(errors="replace")
            if code == EXIT_RUNS_ALREADY:
                raise AlreadyRunning(said)
            why = said or _last_line(places)
            raise FaasError(f"The agent of {places.name} ended with exit code {code}: {why} See {places.log}.")
        state = SessionState.load(places.state)
        if state is not None and state.pid == child and state.on_this_host and state.ready:
            return state
        time.sleep(_LOOK_EVERY_S)
    raise FaasError(f"The agent of {places.name} (pid {child}) has no workers after {_UP_S:.0f} s. See {places.log}.")


def _become_daemon(places: Places, takeover: bool, writing: int) -> None:
    """The child's side: cut loose from the terminal, run the agent, end."""
    code = 1
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        places.directory.mkdir(parents=True, exist_ok=True)
        log = os.open(places.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(nowhere, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = run_agent(places, takeover=takeover, terminal=False)
    except AlreadyRunning as error:  # Whoever started it is told; asked again and again, it does not fill the log.
        os.write(writing, str(error).encode()[:_MESSAGE_BYTES])
        code = EXIT_RUNS_ALREADY
    except FaasError as error:
        os.write(writing, str(error).encode()[:_MESSAGE_BYTES])
        print(error, file=sys.stderr, flush=True)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def start_as_job(places: Places, *, takeover: bool) -> AgentJob:
    """Submit a batch job in which the agent runs, and which sees to its own successors.

    Returns:
        The job; the agent starts when the scheduler starts it.

    Raises:
        AlreadyRunning: there is such a job, or an agent runs elsewhere and is not to be replaced.
        FaasError: the scheduler refuses it.
    """
    from endpoints.as_job import describe_jobs, submit_agent

    configuration = Configuration.load(places)
    credentials = load_credentials(places)
    jobs = AgentJobs(places, credentials.endpoint_id)
    try:
        queued = jobs.queued(configuration)
    except QueueUnavailable as error:
        raise FaasError(f"The scheduler does not tell of the jobs of {places.name}: {error}") from None
    if queued:
        raise AlreadyRunning(
            f"Endpoint {places.name} already has batch job {describe_jobs(queued)}."
            f" Stop it first: faas endpoint stop {places.name}"
        )
    _refuse_a_second(places)
    if not takeover:
        with claimed(configuration, credentials):  # told here, where somebody sees it, rather than when the job starts
            pass
    for job in jobs.known():
        jobs.forget(job.name)
    return submit_agent(places, configuration, jobs, takeover=takeover)


def _refuse_a_second(places: Places) -> None:
    old = SessionState.load(places.state)
    if old is not None and old.process() is not None:
        raise AlreadyRunning(
            f"Endpoint {places.name} is already running on this host as pid {old.pid}."
            f" Stop it first: faas endpoint stop {places.name}"
        )


def _last_line(places: Places) -> str:
    try:
        lines = places.log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
