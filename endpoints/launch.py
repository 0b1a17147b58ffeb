"""Starts an agent in this process or in one of its own, and stops one that runs."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

import uvloop

from endpoints.configuration import Configuration, load_credentials
from endpoints.places import Places
from endpoints.processes import stop_processes
from endpoints.recovery import cancel_leftover_jobs
from endpoints.session import SessionState
from faas.errors import ConfigurationError, FaasError

_UP_S = 180.0
_DOWN_S = 30.0
_LOOK_EVERY_S = 0.1


def run_agent(places: Places, *, takeover: bool, terminal: bool) -> int:
    """Run an endpoint's agent until it is told to stop.

    Args:
        places: the endpoint's files.
        takeover: replace an agent that runs elsewhere.
        terminal: whether to show on stderr what happens.

    Returns:
        The exit code.

    Raises:
        FaasError: it cannot start, or the service refuses it.
    """
    configuration = Configuration.load(places)
    credentials = load_credentials(places)
    from endpoints.agent import Agent
    from endpoints.logs import log_to

    log_to(places.log, terminal=terminal)

    async def run() -> int:
        return await Agent(configuration, credentials, places, takeover=takeover).run()

    return uvloop.run(run())


def start_detached(places: Places, *, takeover: bool) -> SessionState:
    """Start an agent that outlives this process, and wait until its workers are ready.

    Returns:
        Its session.

    Raises:
        FaasError: it ended before it was ready; the message holds the last line of its log.
    """
    Configuration.load(places)  # complain here, where somebody sees it
    load_credentials(places)
    old = SessionState.load(places.state)
    if old is not None and old.process() is not None:
        raise ConfigurationError(
            f"Endpoint {places.name} is already running as pid {old.pid}."
            f" Stop it first: faas endpoint stop {places.name}"
        )
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _become_daemon(places, takeover)
    deadline = time.monotonic() + _UP_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            raise FaasError(
                f"The agent of {places.name} ended with exit code {os.waitstatus_to_exitcode(status)}:"
                f" {_last_line(places)} See {places.log}."
            )
        state = SessionState.load(places.state)
        if state is not None and state.pid == child and state.ready:
            return state
        time.sleep(_LOOK_EVERY_S)
    raise FaasError(f"The agent of {places.name} (pid {child}) has no workers after {_UP_S:.0f} s. See {places.log}.")


def _become_daemon(places: Places, takeover: bool) -> None:
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
    except FaasError as error:
        print(error, file=sys.stderr, flush=True)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def stop_agent(places: Places, *, force: bool, waiting: Callable[[int], None] = lambda _: None) -> str:
    """Stop the agent of an endpoint, and see to it that nothing is left of it on this host.

    Args:
        places: the endpoint's files.
        force: do not wait for running tasks; kill it if need be.
        waiting: called with the process id before waiting for it.

    Returns:
        What was done, as a sentence.

    Raises:
        FaasError: it runs on another host, or does not end.
    """
    configuration: Configuration | None = None
    try:
        configuration = Configuration.load(places)
    except ConfigurationError:
        if not places.directory.is_dir():
            raise
    # If it is spoilt since it was started, there is no reason to let the agent run.
    grace_s = configuration.stop_grace_s if configuration is not None else 0.0
    state = SessionState.load(places.state)
    if state is None:
        return f"Endpoint {places.name} is not running."
    if not state.on_this_host:
        raise FaasError(
            f"Endpoint {places.name} was last started on host {state.host} (pid {state.pid}). Stop it there."
        )
    process = state.process()
    if process is None:
        left = stop_processes(state.nonce)
        jobs = cancel_leftover_jobs(state, places, configuration) if configuration is not None else 0
        return (
            f"Endpoint {places.name} is not running; {left} process(es) it had left behind were stopped,"
            f" {jobs} batch job(s) cancelled."
        )
    waiting(process.pid)
    process.send_signal(signal.SIGTERM)
    if force:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_DOWN_S if force else grace_s + _DOWN_S)
    except Exception:
        if not force:
            raise FaasError(
                f"The agent of {places.name} (pid {process.pid}) is still stopping."
                f" Wait, or use: faas endpoint stop {places.name} --force"
            ) from None
        process.kill()
        process.wait(_DOWN_S)
    stop_processes(state.nonce)
    if configuration is not None and places.blocks.exists():
        cancel_leftover_jobs(state, places, configuration)
    return f"Stopped endpoint {places.name}."


def _last_line(places: Places) -> str:
    try:
        lines = places.log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
