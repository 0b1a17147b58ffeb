"""Stops an endpoint, wherever on its site it runs, and sees to it that neither process nor batch job is left."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress

from endpoints.agent_jobs import AgentJobs
from endpoints.claim import claimed, close_session
from endpoints.configuration import Configuration, load_credentials
from endpoints.job_queue import QueueUnavailable
from endpoints.places import Places
from endpoints.processes import await_ends, stop_processes
from endpoints.recovery import cancel_leftover_jobs
from endpoints.session import SessionState
from faas.credentials import Credentials
from faas.errors import AlreadyRunning, ConfigurationError, FaasError, ServiceUnavailable

_DOWN_S = 30.0


def stop_agent(places: Places, *, force: bool, waiting: Callable[[str], None] = lambda _: None) -> str:
    """Stop the agent of an endpoint, and see to it that nothing is left of it.

    Args:
        places: the endpoint's files.
        force: do not wait for running tasks; kill it if need be; believe that an agent on another host is dead if
            the service cannot be asked.
        waiting: called with what is waited for.

    Returns:
        What was done, as a sentence.

    Raises:
        FaasError: it runs on another host, or does not end, or the scheduler does not cancel its jobs.
    """
    configuration: Configuration | None = None
    credentials: Credentials | None = None
    try:
        configuration = Configuration.load(places)
        credentials = load_credentials(places)
    except ConfigurationError:  # If it is spoilt since it was started, there is no reason to let the agent run.
        if not places.directory.is_dir():
            raise
    agent_jobs = _cancel_agent_jobs(places, configuration, credentials, waiting)
    _cancel_check(places, configuration)
    state = SessionState.load(places.state)
    if state is None:
        return f"Stopped endpoint {places.name}." if agent_jobs else f"Endpoint {places.name} is not running."
    if not state.on_this_host:
        known_dead = bool(agent_jobs)
        if not known_dead and (configuration is None or credentials is None):
            raise FaasError(f"Endpoint {places.name} was last started on host {state.host} (pid {state.pid}).")
        assert configuration is not None and credentials is not None
        return _stop_elsewhere(places, configuration, credentials, state, known_dead=known_dead, force=force)
    grace_s = configuration.stop_grace_s if configuration is not None else 0.0
    process = state.process()
    if process is None:
        left, jobs = _clear_up(places, configuration, state)
        if agent_jobs and credentials is not None:
            _settle(places, credentials, state)
            return f"Stopped endpoint {places.name}."
        return (
            f"Endpoint {places.name} is not running; {left} process(es) it had left behind were stopped,"
            f" {jobs} batch job(s) cancelled."
        )
    waiting(f"Stopping pid {process.pid} …")
    if not agent_jobs:  # else the scheduler has told it
        process.send_signal(signal.SIGTERM)
    if force:
        process.send_signal(signal.SIGTERM)
    await_ends([process.pid], _DOWN_S if force else grace_s + _DOWN_S)
    if state.process() is not None:
        if not force:
            raise FaasError(
                f"The agent of {places.name} (pid {process.pid}) is still stopping."
                f" Wait, or use: faas endpoint stop {places.name} --force"
            )
        process.kill()
        await_ends([process.pid], _DOWN_S)
    _clear_up(places, configuration, state)
    return f"Stopped endpoint {places.name}."


def _cancel_agent_jobs(
    places: Places,
    configuration: Configuration | None,
    credentials: Credentials | None,
    waiting: Callable[[str], None],
) -> int:
    """Cancel the batch jobs in which the agent runs or is to run; returns how many there were."""
    if configuration is None or credentials is None or not places.agent_jobs.is_dir():
        return 0
    jobs = AgentJobs(places, credentials.endpoint_id)
    try:
        if queued := jobs.queued(configuration):
            waiting(f"Cancelling batch job {', '.join(job.job_id for job in queued)} …")
        gone = jobs.cancel(configuration)
        left = jobs.queued(configuration)
    except QueueUnavailable as error:
        raise FaasError(f"The batch jobs of {places.name} cannot be cancelled: {error}") from None
    if left:
        raise FaasError(
            f"Batch job {', '.join(job.job_id for job in left)}, in which the agent of {places.name} runs, is cancelled"
            f" but has not ended yet. Wait, and say again: faas endpoint stop {places.name}"
        )
    return len(gone)


def _cancel_check(places: Places, configuration: Configuration | None) -> None:
    """Cancel the block of a check that was killed."""
    if configuration is None or not places.check.is_dir():
        return
    from endpoints.check_block import clear_up

    try:
        clear_up(places, configuration)
    except QueueUnavailable as error:
        raise FaasError(f"The block of a check of {places.name} cannot be cancelled: {error}") from None


def _stop_elsewhere(
    places: Places,
    configuration: Configuration,
    credentials: Credentials,
    state: SessionState,
    *,
    known_dead: bool,
    force: bool,
) -> str:
    """Clear up after an agent of another host, if it is dead: the service tells, for it has heard of it or not."""
    if known_dead:
        _cancel_jobs(places, configuration, state)
        _settle(places, credentials, state)
        return f"Stopped endpoint {places.name}."
    with ExitStack() as stack:
        try:
            stack.enter_context(claimed(configuration, credentials))
        except AlreadyRunning as error:
            raise AlreadyRunning(
                f"{error} If that host is dead, stop it from here in a few seconds, when the service has noticed."
            ) from None
        except ServiceUnavailable as error:
            if not force:
                raise FaasError(
                    f"Endpoint {places.name} was last started on host {state.host} (pid {state.pid}). Stop it there."
                    f" Whether it still runs cannot be asked: {error} If that host is dead, use --force."
                ) from None
        jobs = _cancel_jobs(places, configuration, state)
        places.state.unlink(missing_ok=True)
    return (
        f"Endpoint {places.name} is not running; its agent on host {state.host} is dead,"
        f" and {jobs} batch job(s) it had left behind were cancelled."
    )


def _clear_up(places: Places, configuration: Configuration | None, state: SessionState) -> tuple[int, int]:
    """Cancel the jobs and stop the processes of a dead agent; returns how many processes and jobs there were."""
    try:
        # While its pilots live: those on this host would end with their processes, and be gone when they are counted.
        jobs = _cancel_jobs(places, configuration, state)
    finally:
        left = stop_processes(state.nonce)
    if left:
        # One of them may have been submitting a job just now.
        jobs += _cancel_jobs(places, configuration, state)
    return left, jobs


def _cancel_jobs(places: Places, configuration: Configuration | None, state: SessionState) -> int:
    if configuration is None:
        return 0
    try:
        return sum(cancel_leftover_jobs(each, places, configuration) for each in (state, *state.left))
    except QueueUnavailable as error:
        raise FaasError(f"Batch jobs that {places.name} may have left cannot be cancelled: {error}") from None


def _settle(places: Places, credentials: Credentials, state: SessionState) -> None:
    """Give back what a killed agent held, rather than have the service wait for its word."""
    if state.session_id:
        with suppress(FaasError):
            close_session(state.session_id, credentials)
    places.state.unlink(missing_ok=True)
